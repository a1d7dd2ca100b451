//! `berth network inspect`: docker's document about a network.

use crate::cli::{Context, inspect};
use crate::exit::Outcome;
use berth_engine::network::Network;
use berth_oci::Result;
use berth_runtime::net::Pool;
use serde_json::{Map, Value, json};

/// Display detailed information on one or more networks.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// The networks
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        inspect::show(context, &self.networks, self.format.as_deref(), |name| get(context, name))
    }
}

/// Docker's document about the network that `name` means.
pub(crate) fn get(context: &Context, name: &str) -> Result<Value> {
    Ok(document(&context.engine()?.network(name)?))
}

fn document(network: &Network) -> Value {
    let pools: Vec<Value> = network.ipv4.iter().chain(&network.ipv6).map(pool).collect();
    let has_pools = !pools.is_empty();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created.to_string(),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": network.ipv4.is_some() || !has_pools,
        "EnableIPv6": network.ipv6.is_some(),
        "IPAM": {
            "Driver": "default",
            "Options": if network.is_builtin() { Value::Null } else { json!({}) },
            "Config": if has_pools { Value::Array(pools) } else { Value::Null },
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": members(network),
        "Options": network.options,
        "Labels": network.labels,
    })
}

fn pool(pool: &Pool) -> Value {
    let mut config = json!({"Subnet": pool.subnet.to_string()});
    if let Some(range) = pool.range {
        config["IPRange"] = json!(range.to_string());
    }
    config["Gateway"] = json!(pool.gateway);
    if !pool.auxiliary.is_empty() {
        config["AuxiliaryAddresses"] = json!(pool.auxiliary);
    }
    config
}

fn members(network: &Network) -> Value {
    let address = |ip: Option<std::net::IpAddr>, pool: &Option<Pool>| match (ip, pool) {
        (Some(ip), Some(pool)) => format!("{ip}/{}", pool.subnet.prefix()),
        _ => String::new(),
    };
    let mut members = Map::new();
    for member in &network.members {
        let document = json!({
            "Name": member.name,
            "EndpointID": member.endpoint,
            "MacAddress": member.mac.to_string(),
            "IPv4Address": address(member.ipv4, &network.ipv4),
            "IPv6Address": address(member.ipv6, &network.ipv6),
        });
        members.insert(member.container.clone(), document);
    }
    Value::Object(members)
}
