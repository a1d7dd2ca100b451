//! The kernel's switches that a bridge with published ports needs.
//!
//! Not here: anything else in `/proc/sys`. Invariant: a switch that stands right is not written, so a read-only
//! `/proc/sys` is an error only where something is amiss.

use std::fs;
use std::io;

use berth_oci::{AtPath, Context, Result};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARDING6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Lets the host pass packets on. True when it did not before.
pub(super) fn forward() -> Result<bool> {
    set(FORWARDING, "1")
        .context(|| "the host does not forward packets between interfaces, and cannot be told to")
        .map_err(|error| error.hint("switch it on: `sysctl -w net.ipv4.ip_forward=1`"))
}

/// A bridge of ours has IPv6 when its network does, and learns of no router.
pub(super) fn for_bridge(bridge: &str, has_ipv6: bool) -> Result<()> {
    ipv6(bridge, has_ipv6)?;
    if has_ipv6 { ignore_routers(bridge) } else { Ok(()) }
}

/// Lets answers to the host's loopback come back by this bridge. The chain `guard` stops anything else that
/// names 127/8 there.
pub(super) fn route_loopback(bridge: &str) -> Result<()> {
    set(&format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), "1").map(|_| ())
}

/// Lets the host pass IPv6 packets on. True when it did not before.
pub(super) fn forward_ipv6() -> Result<bool> {
    set(FORWARDING6, "1")
        .context(|| "the host does not forward IPv6 packets between interfaces, and cannot be told to")
        .map_err(|error| error.hint("switch it on: `sysctl -w net.ipv6.conf.all.forwarding=1`"))
}

/// Gives an interface IPv6 or keeps it free of it: programs in a container whose network has none would try it
/// first, and wait. A kernel without IPv6 has no such switch, and then cannot be asked for it either.
pub(super) fn ipv6(interface: &str, on: bool) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    match fs::write(&path, if on { "0" } else { "1" }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !on => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(berth_oci::Error::unsupported("this kernel has no IPv6")
                .hint("make the network without --ipv6"))
        }
        other => other.at(&path),
    }
}

/// Lets no router tell a bridge of ours where the world is.
fn ignore_routers(bridge: &str) -> Result<()> {
    set(&format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"), "0").map(|_| ())
}

fn set(path: &str, value: &str) -> Result<bool> {
    if fs::read_to_string(path).at(path)?.trim() == value {
        return Ok(false);
    }
    fs::write(path, value).at(path)?;
    Ok(true)
}
