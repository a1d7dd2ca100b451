//! Devices of the host: `--device`, `--device-cgroup-rule`, `--gpus`, and the names of CDI.
//!
//! Not here: whether a device exists, or what a name of CDI means. Invariant: a [`CdiName`] has a vendor, a class and a
//! device, each of the letters that the CDI specification allows.

use super::csv;
use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What one `--device` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceFlag {
    /// A device file, or a directory of them.
    File(Device),
    /// What a CDI specification of this machine says about that name.
    Cdi(CdiName),
}

impl FromStr for DeviceFlag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(name) => Ok(Self::Cdi(name)),
            Err(_) => text.parse().map(Self::File),
        }
    }
}

/// A device of the host, to be made in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// `r`ead, `w`rite, `m`ake.
    pub access: String,
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, access) = match parts[..] {
            [source] => (source, source, "rwm"),
            [source, second] if is_access(second) => (source, source, second),
            [source, target] => (source, target, "rwm"),
            [source, target, access] => (source, target, access),
            _ => return Err(Error::invalid(format!("bad format for path: {text}"))),
        };
        if let Some(relative) = [source, target].iter().find(|path| !path.starts_with('/')) {
            return Err(Error::invalid(format!("{relative} is not an absolute path")));
        }
        match is_access(access) {
            true => Ok(Self { source: source.into(), target: target.into(), access: access.to_owned() }),
            false => Err(Error::invalid(format!("bad mode specified: {access}"))),
        }
    }
}

/// Some of `r`, `w` and `m`, each once.
fn is_access(text: &str) -> bool {
    let once = |letter: char| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && ['r', 'w', 'm'].into_iter().all(once)
}

/// A qualified name of the Container Device Interface: `vendor.com/class=name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CdiName {
    /// `vendor.com/class`.
    pub kind: String,
    /// The device's own name.
    pub name: String,
}

impl FromStr for CdiName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("`{text}` is not a CDI device name"))
                .hint("it looks like vendor.com/class=name")
        };
        let (kind, name) = text.split_once('=').ok_or_else(invalid)?;
        match is_cdi_kind(kind) && is_cdi_device(name) {
            true => Ok(Self { kind: kind.to_owned(), name: name.to_owned() }),
            false => Err(invalid()),
        }
    }
}

/// Whether `kind` is a vendor and a class.
pub(crate) fn is_cdi_kind(kind: &str) -> bool {
    let word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    kind.split_once('/').is_some_and(|(vendor, class)| word(vendor, "_-.") && word(class, "_-."))
}

/// Whether `name` may be a device's.
pub(crate) fn is_cdi_device(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(edge) && name.ends_with(edge) && name.chars().all(|c| edge(c) || "_-.:".contains(c))
}

impl fmt::Display for CdiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.name)
    }
}

impl TryFrom<String> for CdiName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<CdiName> for String {
    fn from(name: CdiName) -> Self {
        name.to_string()
    }
}

/// Access to devices that may come later: `c 188:* rwm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceRule {
    /// `a`ll, `b`lock or `c`haracter.
    pub kind: char,
    /// The major number; any where none is given.
    pub major: Option<i64>,
    /// The minor number; any where none is given.
    pub minor: Option<i64>,
    /// Some of `rwm`.
    pub access: String,
}

impl FromStr for DeviceRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("invalid device cgroup format '{text}'"))
                .hint("for example \"c 188:* rwm\": a, b or c, the numbers, and what is allowed")
        };
        let number = |part: &str| match part {
            "*" => Ok(None),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map(Some).map_err(|_| invalid())
            }
            _ => Err(invalid()),
        };
        let parts: Vec<&str> = text.split(' ').collect();
        let [kind @ ("a" | "b" | "c"), numbers, access] = parts[..] else { return Err(invalid()) };
        let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
        match !access.is_empty() && access.len() <= 3 && access.chars().all(|c| "rwm".contains(c)) {
            true => Ok(Self {
                kind: kind.chars().next().unwrap_or('a'),
                major: number(major)?,
                minor: number(minor)?,
                access: access.to_owned(),
            }),
            false => Err(invalid()),
        }
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<i64>| number.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

impl TryFrom<String> for DeviceRule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceRule> for String {
    fn from(rule: DeviceRule) -> Self {
        rule.to_string()
    }
}

/// One `--gpus`: so many, all, or those that are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuRequest {
    /// How many; -1 is all of them, 0 those that are named.
    pub count: i64,
    /// Which.
    pub devices: Vec<String>,
    /// Whose driver is meant.
    pub driver: String,
    /// What they are to be able to do, beside being GPUs.
    pub capabilities: Vec<String>,
    /// Words for the driver.
    pub options: BTreeMap<String, String>,
}

impl FromStr for GpuRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut request = Self::default();
        let mut counted = false;
        for field in csv(text)? {
            let (key, value) = field.split_once('=').unwrap_or(("count", &field));
            let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
            match key {
                "count" => {
                    counted = true;
                    request.count = count(value)?;
                }
                "device" => request.devices = list(),
                "driver" => value.clone_into(&mut request.driver),
                "capabilities" => request.capabilities = list(),
                "options" => {
                    let pair = |item: String| {
                        let (key, value) = item.split_once('=').unwrap_or((&item, ""));
                        (key.to_owned(), value.to_owned())
                    };
                    request.options = list().into_iter().map(pair).collect();
                }
                _ => return Err(Error::invalid(format!("unexpected key '{key}' in '{field}'"))),
            }
        }
        if !counted && request.devices.is_empty() {
            request.count = 1;
        }
        Ok(request)
    }
}

fn count(text: &str) -> Result<i64> {
    match text {
        "all" => Ok(-1),
        _ => text.parse().map_err(|_| {
            Error::invalid(format!(
                "invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, expected) in [
            ("/dev/fuse", "/dev/fuse /dev/fuse rwm"),
            ("/dev/fuse:/dev/x", "/dev/fuse /dev/x rwm"),
            ("/dev/fuse:rw", "/dev/fuse /dev/fuse rw"),
            ("/dev/fuse:/dev/x:r", "/dev/fuse /dev/x r"),
            ("/dev/fuse:/dev/x:rr", "bad mode specified: rr"),
            ("/dev/fuse:/dev/x:q", "bad mode specified: q"),
            ("dev/fuse", "dev/fuse is not an absolute path"),
            ("a:b:c:d", "bad format for path: a:b:c:d"),
        ] {
            let show = |d: Device| format!("{} {} {}", d.source.display(), d.target.display(), d.access);
            assert_eq!(text.parse::<Device>().map_or_else(|e| e.to_string(), show), expected);
        }
    }

    #[test]
    fn names_of_cdi() {
        for (text, expected) in [
            ("nvidia.com/gpu=0", "nvidia.com/gpu=0"),
            ("vendor.com/class=a:b_c.1-2", "vendor.com/class=a:b_c.1-2"),
            ("vendor.com/class", "`vendor.com/class` is not a CDI device name"),
            ("vendor.com=x", "`vendor.com=x` is not a CDI device name"),
            ("1vendor/class=x", "`1vendor/class=x` is not a CDI device name"),
            ("vendor/class-=x", "`vendor/class-=x` is not a CDI device name"),
            ("vendor/class=", "`vendor/class=` is not a CDI device name"),
            ("vendor/class=-x", "`vendor/class=-x` is not a CDI device name"),
            ("/dev/x=y", "`/dev/x=y` is not a CDI device name"),
        ] {
            assert_eq!(text.parse::<CdiName>().map_or_else(|e| e.to_string(), |n| n.to_string()), expected);
        }
    }

    #[test]
    fn rules() {
        for (text, expected) in [
            ("c 1:3 rwm", "c 1:3 rwm"),
            ("a *:* r", "a *:* r"),
            ("b 8:* m", "b 8:* m"),
            ("c_1:3", "invalid device cgroup format 'c_1:3'"),
            ("d 1:3 r", "invalid device cgroup format 'd 1:3 r'"),
            ("c 1 r", "invalid device cgroup format 'c 1 r'"),
            ("c 1:x r", "invalid device cgroup format 'c 1:x r'"),
            ("c 1:3 x", "invalid device cgroup format 'c 1:3 x'"),
            ("c 1:3 rwmr", "invalid device cgroup format 'c 1:3 rwmr'"),
        ] {
            assert_eq!(
                text.parse::<DeviceRule>().map_or_else(|e| e.to_string(), |r| r.to_string()),
                expected
            );
        }
    }

    #[test]
    fn gpus() {
        for (text, expected) in [
            ("all", "-1 [] []"),
            ("2", "2 [] []"),
            ("device=0", "0 [\"0\"] []"),
            ("\"device=0,GPU-1\"", "0 [\"0\", \"GPU-1\"] []"),
            ("count=all,capabilities=utility", "-1 [] [\"utility\"]"),
            ("driver=nvidia", "1 [] []"),
            ("x", "invalid count (x): value must be either \"all\" or an integer: invalid syntax"),
            ("foo=1", "unexpected key 'foo' in 'foo=1'"),
        ] {
            let shown = text.parse::<GpuRequest>().map_or_else(
                |e| e.to_string(),
                |r| format!("{} {:?} {:?}", r.count, r.devices, r.capabilities),
            );
            assert_eq!(shown, expected, "{text}");
        }
    }
}
