//! What `--opt` may say of a network, in docker's words.
//!
//! Invariant: an option that is read does its work; one that nobody would heed is refused by name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use berth_oci::{Error, Result};

use super::network::Driver;

/// The options of one network, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The bridge's name; the host's interface for macvlan and ipvlan.
    pub(super) interface: Option<String>,
    /// Containers do not reach one another.
    pub(super) isolated: bool,
    /// Addresses are seen outside as they are.
    pub(super) unmasked: bool,
    /// Where ports are published that name no address.
    pub(super) publish_at: Option<IpAddr>,
    /// The largest packet.
    pub(super) mtu: Option<u32>,
    /// What containers call their interfaces.
    pub(super) interface_prefix: Option<String>,
    /// Macvlan's or ipvlan's mode.
    pub(super) mode: u16,
}

const BRIDGE: &str = "com.docker.network.bridge.";
const ANY: &str = "com.docker.network.";

impl Options {
    /// Reads what was given for a network of this kind.
    pub(super) fn read(driver: Driver, given: &BTreeMap<String, String>) -> Result<Self> {
        let mut options = Self { mode: usual_mode(driver), ..Self::default() };
        for (name, value) in given {
            let known = options.common(name, value)?
                || match driver {
                    Driver::Bridge => options.bridge(name, value)?,
                    Driver::Macvlan | Driver::Ipvlan => options.shared(driver, name, value)?,
                };
            if !known {
                return Err(unknown(driver, name));
            }
        }
        Ok(options)
    }

    fn common(&mut self, name: &str, value: &str) -> Result<bool> {
        match name.strip_prefix(ANY) {
            Some("driver.mtu") => {
                self.mtu = Some(
                    value
                        .parse()
                        .ok()
                        .filter(|mtu| (68..=65535).contains(mtu))
                        .ok_or_else(|| wrong(name, value, "strconv.Atoi", "a number from 68 to 65535"))?,
                );
            }
            Some("container_iface_prefix") => self.interface_prefix = Some(prefix(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn bridge(&mut self, name: &str, value: &str) -> Result<bool> {
        match name.strip_prefix(BRIDGE) {
            Some("name") => self.interface = Some(interface(value)?),
            Some("enable_icc") => self.isolated = !flag(name, value)?,
            Some("enable_ip_masquerade") => self.unmasked = !flag(name, value)?,
            Some("host_binding_ipv4") => {
                let ip: Ipv4Addr = value.parse().map_err(|_| {
                    Error::invalid(format!("failed to parse {name} value: {value} (parse {value} as IPv4)"))
                })?;
                self.publish_at = Some(ip.into()).filter(|_| !ip.is_unspecified());
            }
            Some("gateway_mode_ipv4" | "gateway_mode_ipv6") if value == "nat" => {}
            Some("gateway_mode_ipv4" | "gateway_mode_ipv6") => {
                return Err(Error::unsupported(format!("{name}={value} is not supported"))
                    .hint("only `nat`; for addresses that are seen outside turn enable_ip_masquerade off"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn shared(&mut self, driver: Driver, name: &str, value: &str) -> Result<bool> {
        match (driver, name) {
            (_, "parent") => self.interface = Some(interface(value)?),
            (Driver::Macvlan, "macvlan_mode") => {
                self.mode = match value {
                    "private" => 1,
                    "vepa" => 2,
                    "bridge" | "" => 4,
                    "passthru" => 8,
                    _ => return Err(unknown_mode("macvlan", value)),
                };
            }
            (Driver::Ipvlan, "ipvlan_mode") => {
                self.mode = match value {
                    "l2" | "" => 0,
                    "l3" => 1,
                    "l3s" => 2,
                    _ => return Err(unknown_mode("ipvlan", value)),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn usual_mode(driver: Driver) -> u16 {
    if driver == Driver::Macvlan { 4 } else { 0 }
}

fn unknown(driver: Driver, name: &str) -> Error {
    let own = match driver {
        Driver::Bridge => {
            "com.docker.network.bridge.{name,enable_icc,enable_ip_masquerade,host_binding_ipv4}, \
             com.docker.network.driver.mtu and com.docker.network.container_iface_prefix"
        }
        Driver::Macvlan => "parent, macvlan_mode and com.docker.network.driver.mtu",
        Driver::Ipvlan => "parent, ipvlan_mode and com.docker.network.driver.mtu",
    };
    Error::invalid(format!("a network of driver {} has no option {name}", driver.as_str()))
        .hint(format!("it has {own}"))
}

fn unknown_mode(driver: &str, value: &str) -> Error {
    Error::invalid(format!("requested {driver} mode '{value}' is not valid"))
}

fn wrong(name: &str, value: &str, parser: &str, wanted: &str) -> Error {
    Error::invalid(format!(
        "failed to parse {name} value: {value} ({parser}: parsing {value:?}: invalid syntax)"
    ))
    .hint(format!("it takes {wanted}"))
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong(name, value, "strconv.ParseBool", "true or false")),
    }
}

/// The kernel's rules for names of interfaces.
fn interface(value: &str) -> Result<String> {
    let good = (1..=15).contains(&value.len())
        && !matches!(value, "." | "..")
        && value.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'));
    match good {
        true => Ok(value.to_owned()),
        false => {
            Err(Error::invalid(format!("invalid interface name {value:?}: numerical result out of range"))
                .hint("1 to 15 letters, digits, dots and hyphens"))
        }
    }
}

/// A number comes behind it.
fn prefix(value: &str) -> Result<String> {
    interface(value).and_then(|prefix| match prefix.len() <= 12 && prefix != "lo" {
        true => Ok(prefix),
        false => {
            Err(Error::invalid(format!("invalid interface prefix {value:?}")).hint("at most 12 letters"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: Driver, name: &str, value: &str) -> Result<Options> {
        Options::read(driver, &[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn options_do_their_work() {
        let bridge =
            |name: &str, value: &str| read(Driver::Bridge, &format!("{BRIDGE}{name}"), value).unwrap();
        assert_eq!(bridge("name", "lan0").interface.as_deref(), Some("lan0"));
        assert!(bridge("enable_icc", "false").isolated && !bridge("enable_icc", "1").isolated);
        assert!(bridge("enable_ip_masquerade", "0").unmasked);
        assert_eq!(bridge("host_binding_ipv4", "127.0.0.1").publish_at, "127.0.0.1".parse().ok());
        assert_eq!(bridge("host_binding_ipv4", "0.0.0.0").publish_at, None);
        let mtu = read(Driver::Bridge, "com.docker.network.driver.mtu", "1400").unwrap();
        assert_eq!(mtu.mtu, Some(1400));
        let modes = [(Driver::Macvlan, "macvlan_mode", "vepa", 2), (Driver::Ipvlan, "ipvlan_mode", "l3", 1)];
        for (driver, name, value, mode) in modes {
            assert_eq!(read(driver, name, value).unwrap().mode, mode);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let rows = [
            (Driver::Bridge, "foo", "x", "a network of driver bridge has no option foo"),
            (Driver::Bridge, "parent", "eth0", "a network of driver bridge has no option parent"),
            (Driver::Macvlan, "macvlan_mode", "x", "requested macvlan mode 'x' is not valid"),
            (
                Driver::Bridge,
                "com.docker.network.bridge.enable_icc",
                "x",
                "failed to parse com.docker.network.bridge.enable_icc value: x \
                 (strconv.ParseBool: parsing \"x\": invalid syntax)",
            ),
            (
                Driver::Bridge,
                "com.docker.network.driver.mtu",
                "x",
                "failed to parse com.docker.network.driver.mtu value: x \
                 (strconv.Atoi: parsing \"x\": invalid syntax)",
            ),
            (
                Driver::Bridge,
                "com.docker.network.bridge.name",
                "waytoolongnameforabridge",
                "invalid interface name \"waytoolongnameforabridge\": numerical result out of range",
            ),
            (
                Driver::Bridge,
                "com.docker.network.bridge.gateway_mode_ipv4",
                "routed",
                "com.docker.network.bridge.gateway_mode_ipv4=routed is not supported",
            ),
        ];
        for (driver, name, value, expected) in rows {
            assert_eq!(read(driver, name, value).unwrap_err().message(), expected);
        }
    }
}
