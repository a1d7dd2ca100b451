//! `berth network create`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::terminal;
use berth_engine::network::{NetworkFlagsOfCreate, pools};
use berth_engine::spec;
use berth_oci::{Error, Result};
use berth_runtime::net::{Driver, NetworkRequest};

/// Create a network.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Enable manual container attachment (only told again by inspect: every container may join)
    #[arg(long)]
    attachable: bool,
    /// Addresses on the network that somebody else has
    #[arg(long, value_name = "map", value_parser = spec::parse_pair)]
    aux_address: Vec<(String, String)>,
    /// Driver to manage the Network: bridge, macvlan or ipvlan
    #[arg(short, long, value_name = "string", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the subnet
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// IP Address Management Driver: only "default"
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Enable or disable IPv4 address assignment
    #[arg(
        long,
        action = clap::ArgAction::Set,
        value_name = "bool",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    ipv4: bool,
    /// Enable or disable IPv6 address assignment
    #[arg(long)]
    ipv6: bool,
    /// Set metadata on a network
    #[arg(long, value_name = "list", value_parser = spec::parse_label)]
    label: Vec<(String, String)>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map", value_parser = spec::parse_pair)]
    opt: Vec<(String, String)>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    subnet: Vec<String>,
    /// Its name
    #[arg(value_name = "NETWORK", required = true)]
    name: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if self.ipam_driver != "default" {
            return Err(
                Error::unsupported(format!("failed to find ipam driver {:?}", self.ipam_driver)).into()
            );
        }
        let flags = NetworkFlagsOfCreate {
            subnets: self.subnet,
            gateways: self.gateway,
            ranges: self.ip_range,
            auxiliary: self.aux_address.into_iter().collect(),
        };
        // What is only contradictory docker's client finds, what is no address its daemon.
        let pools = match pools(&flags) {
            Err(error) if error.message().starts_with("invalid network config") => return Err(error.into()),
            pools => pools.client()?,
        };
        let request = NetworkRequest {
            driver: driver(&self.driver)?,
            ipv4: self.ipv4,
            // A subnet says it too, as to docker since 28.
            ipv6: self.ipv6,
            pools,
            internal: self.internal,
            attachable: self.attachable,
            labels: self.label.into_iter().collect(),
            options: self.opt.into_iter().collect(),
            name: self.name,
        };
        check(&request)?;
        terminal::line(context.engine()?.create_network(&request)?.id)?;
        Ok(Exit::SUCCESS)
    }
}

fn check(request: &NetworkRequest) -> Result<()> {
    if !request.ipv4 && !request.ipv6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    for pool in &request.pools {
        let (wanted, family) = match pool.subnet.is_ipv4() {
            true => (request.ipv4, "IPv4"),
            false => (request.ipv6, "IPv6"),
        };
        if !wanted {
            return Err(Error::invalid(format!(
                "invalid network config:\ninvalid subnet {}: {family} has not been enabled for this network",
                pool.subnet
            ))
            .hint(format!("add --{}", family.to_lowercase())));
        }
    }
    Ok(())
}

fn driver(text: &str) -> Result<Driver> {
    match text {
        "bridge" | "" => Ok(Driver::Bridge),
        "macvlan" => Ok(Driver::Macvlan),
        "ipvlan" => Ok(Driver::Ipvlan),
        "host" => Err(Error::denied("only one instance of \"host\" network is allowed")),
        "null" => Err(Error::denied("only one instance of \"null\" network is allowed")),
        _ => Err(Error::not_found(format!("plugin {text:?} not found"))
            .hint("the drivers are bridge, macvlan and ipvlan")),
    }
}
