//! `network create`: the lists of `--subnet`, `--gateway`, `--ip-range` and `--aux-address` become pools.
//!
//! Invariant: pure; what docker's command line would have found is found here, in its words.

use berth_oci::{Error, Result};
use berth_runtime::net::{PoolRequest, Subnet};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the command line says about addresses.
#[derive(Clone, Debug, Default)]
pub struct NetworkFlagsOfCreate {
    /// Every `--subnet`.
    pub subnets: Vec<String>,
    /// Every `--gateway`.
    pub gateways: Vec<String>,
    /// Every `--ip-range`.
    pub ranges: Vec<String>,
    /// Every `--aux-address`.
    pub auxiliary: BTreeMap<String, String>,
}

/// A pool for each subnet, with what belongs to it.
///
/// # Errors
/// Something has no subnet, or is none.
pub fn pools(flags: &NetworkFlagsOfCreate) -> Result<Vec<PoolRequest>> {
    let others = flags.ranges.len().max(flags.gateways.len());
    if flags.subnets.len() < others {
        return Err(Error::invalid("every ip-range or gateway must have a corresponding subnet")
            .hint("name the subnet too: `--subnet 172.30.0.0/16`"));
    }
    let mut pools: Vec<PoolRequest> = Vec::new();
    for text in &flags.subnets {
        let subnet = subnet(text)?;
        if pools.iter().any(|pool| pool.subnet.overlaps(subnet)) {
            return Err(Error::invalid("multiple overlapping subnet configuration is not supported"));
        }
        pools.push(PoolRequest { subnet, gateway: None, range: None, auxiliary: BTreeMap::new() });
    }
    for text in &flags.ranges {
        let range: Subnet = text.parse()?;
        let pool = pools.iter_mut().find(|pool| pool.subnet.covers(range));
        let pool = pool.ok_or_else(|| Error::invalid(format!("no matching subnet for range {text}")))?;
        if pool.range.replace(range).is_some() {
            return Err(Error::invalid(format!(
                "cannot configure multiple ranges ({text}) on the same subnet ({})",
                pool.subnet
            )));
        }
    }
    for text in &flags.gateways {
        let pool = pool_of(&mut pools, text).ok_or_else(|| {
            Error::invalid(format!("no matching subnet for gateway {text}"))
                .hint("choose an address inside the subnet")
        })?;
        if pool.0.gateway.replace(pool.1).is_some() {
            return Err(Error::invalid(format!(
                "cannot configure multiple gateways ({text}) for the same subnet ({})",
                pool.0.subnet
            )));
        }
    }
    for (name, text) in &flags.auxiliary {
        let pool = pool_of(&mut pools, text)
            .ok_or_else(|| Error::invalid(format!("no matching subnet for aux-address {text}")))?;
        pool.0.auxiliary.insert(name.clone(), pool.1);
    }
    for is_ipv4 in [true, false] {
        if pools.iter().filter(|pool| pool.subnet.is_ipv4() == is_ipv4).count() > 1 {
            return Err(Error::denied("bridge driver doesn't support multiple subnets")
                .hint("one of IPv4 and one of IPv6"));
        }
    }
    Ok(pools)
}

fn subnet(text: &str) -> Result<Subnet> {
    let subnet: Subnet = text.parse().map_err(|error: Error| {
        let hint = error.hint_text().unwrap_or_default().to_owned();
        Error::invalid(format!("invalid network config:\n{error}")).hint(hint)
    })?;
    let address = text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
    if address.is_some_and(|address| address != subnet.address()) {
        let message = format!("invalid network config:\ninvalid subnet {text}: it should be {subnet}");
        return Err(Error::invalid(message).hint("a subnet is written by its first address"));
    }
    let most = if subnet.is_ipv4() { 30 } else { 126 };
    match subnet.prefix() <= most {
        true => Ok(subnet),
        false => {
            Err(Error::invalid(format!("invalid network config:\ninvalid subnet {text}: it has no room"))
                .hint(format!("at most /{most}: a gateway and a container need an address each")))
        }
    }
}

fn pool_of<'a>(pools: &'a mut [PoolRequest], text: &str) -> Option<(&'a mut PoolRequest, IpAddr)> {
    let ip: IpAddr = text.parse().ok()?;
    Some((pools.iter_mut().find(|pool| pool.subnet.contains(ip))?, ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(subnets: &[&str], gateways: &[&str], ranges: &[&str], auxiliary: &[(&str, &str)]) -> String {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let flags = NetworkFlagsOfCreate {
            subnets: texts(subnets),
            gateways: texts(gateways),
            ranges: texts(ranges),
            auxiliary: auxiliary.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect(),
        };
        let show = |pool: &PoolRequest| {
            let mut text = pool.subnet.to_string();
            pool.gateway.iter().for_each(|ip| text += &format!(" by {ip}"));
            pool.range.iter().for_each(|range| text += &format!(" from {range}"));
            pool.auxiliary.iter().for_each(|(name, ip)| text += &format!(" {name} {ip}"));
            text
        };
        pools(&flags).map_or_else(
            |error| error.message().to_owned(),
            |pools| pools.iter().map(show).collect::<Vec<_>>().join(", "),
        )
    }

    #[test]
    fn pools_as_docker_reads_them() {
        let n = &["10.7.9.0/24"][..];
        assert_eq!(read(&[], &[], &[], &[]), "");
        assert_eq!(
            read(n, &["10.7.9.9"], &["10.7.9.128/25"], &[("a", "10.7.9.5")]),
            "10.7.9.0/24 by 10.7.9.9 from 10.7.9.128/25 a 10.7.9.5"
        );
        assert_eq!(
            read(&["10.7.9.0/24", "fd00::/64"], &["fd00::7"], &[], &[]),
            "10.7.9.0/24, fd00::/64 by fd00::7"
        );
        assert_eq!(read(n, &["10.8.0.1"], &[], &[]), "no matching subnet for gateway 10.8.0.1");
        assert_eq!(read(n, &["x"], &[], &[]), "no matching subnet for gateway x");
        assert_eq!(read(n, &[], &["10.8.0.0/25"], &[]), "no matching subnet for range 10.8.0.0/25");
        assert_eq!(read(n, &[], &["10.7.0.0/16"], &[]), "no matching subnet for range 10.7.0.0/16");
        assert_eq!(read(n, &[], &[], &[("a", "1.1.1.1")]), "no matching subnet for aux-address 1.1.1.1");
        let lonely = "every ip-range or gateway must have a corresponding subnet";
        assert_eq!(read(&[], &["10.7.9.1"], &[], &[]), lonely);
        assert_eq!(read(n, &["10.7.9.1", "10.7.9.2"], &[], &[]), lonely);
        let overlapping = "multiple overlapping subnet configuration is not supported";
        assert_eq!(read(&["10.7.9.0/24", "10.7.9.0/25"], &[], &[], &[]), overlapping);
        let several = "bridge driver doesn't support multiple subnets";
        assert_eq!(read(&["10.7.9.0/24", "10.7.8.0/24"], &[], &[], &[]), several);
        let wrong = "invalid network config:\ninvalid subnet 10.7.9: invalid CIDR block notation";
        assert_eq!(read(&["10.7.9"], &[], &[], &[]), wrong);
        let small = "invalid network config:\ninvalid subnet 10.7.9.0/31: it has no room";
        assert_eq!(read(&["10.7.9.0/31"], &[], &[], &[]), small);
    }
}
