//! `berth network connect`.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use berth_engine::spec::{self, Attachment, Link};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connect a container to a network.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    alias: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values.
    #[arg(long, value_name = "int", default_value = "0")]
    gw_priority: i32,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "string", value_parser = spec::parse_ipv4)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "string", value_parser = spec::parse_ipv6)]
    ip6: Option<Ipv6Addr>,
    /// Add link to another container
    #[arg(long, value_name = "list")]
    link: Vec<Link>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "strings", value_delimiter = ',', value_parser = spec::parse_link_local)]
    link_local_ip: Vec<IpAddr>,
    /// The network
    #[arg(value_name = "NETWORK", required = true)]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let attachment = Attachment {
            network: self.network,
            aliases: self.alias,
            links: self.link,
            ipv4: self.ip,
            ipv6: self.ip6,
            link_local: self.link_local_ip,
            mac: None,
            gateway_priority: self.gw_priority,
        };
        context.engine()?.connect(&self.container, attachment)?;
        Ok(Exit::SUCCESS)
    }
}
