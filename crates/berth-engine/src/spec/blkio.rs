//! How much of a disk a container may use: `--blkio-weight-device`, `--device-read-bps` and their like.
//!
//! Not here: whether the device exists; that is asked at every start, because numbers change.

use super::size::parse_ram;
use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What docker lets a weight be.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

/// Limits of reading and writing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// Weight against other containers.
    pub weight: Option<u16>,
    /// The same for one device.
    pub weight_devices: Vec<Rate>,
    /// Bytes that may be read in a second.
    pub read_bps: Vec<Rate>,
    /// Bytes that may be written in a second.
    pub write_bps: Vec<Rate>,
    /// Reads in a second.
    pub read_iops: Vec<Rate>,
    /// Writes in a second.
    pub write_iops: Vec<Rate>,
}

/// A number for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The device's file on the host.
    pub path: PathBuf,
    /// The weight, the bytes or the operations.
    pub rate: u64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.rate)
    }
}

impl BlockIo {
    /// Whether anything is limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Whether the weight is one.
    ///
    /// # Errors
    /// It is too small or too large.
    pub fn checked(self) -> Result<Self> {
        match self.weight {
            Some(weight) if weight != 0 && !WEIGHTS.contains(&weight) => {
                Err(Error::invalid("Range of blkio weight is from 10 to 1000"))
            }
            _ => Ok(Self { weight: self.weight.filter(|weight| *weight != 0), ..self }),
        }
    }
}

fn split(text: &str) -> Result<(&str, &str)> {
    let (path, number) = text.split_once(':').ok_or_else(|| Error::invalid(format!("bad format: {text}")))?;
    match path.starts_with("/dev/") {
        true => Ok((path, number)),
        false => Err(Error::invalid(format!("bad format for device path: {text}"))),
    }
}

/// Reads `/dev/sda:500`.
///
/// # Errors
/// Not a device's path, or not a weight.
pub fn parse_weight_device(text: &str) -> Result<Rate> {
    let (path, number) = split(text)?;
    let weight = number.parse::<u16>().ok().filter(|weight| *weight == 0 || WEIGHTS.contains(weight));
    let weight = weight.ok_or_else(|| Error::invalid(format!("invalid weight for device: {text}")))?;
    Ok(Rate { path: path.into(), rate: weight.into() })
}

/// Reads `/dev/sda:10mb`.
///
/// # Errors
/// Not a device's path, or not a size.
pub fn parse_bps(text: &str) -> Result<Rate> {
    let (path, number) = split(text)?;
    let rate = parse_ram(number).map_err(|_| {
        Error::invalid(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ))
    })?;
    Ok(Rate { path: path.into(), rate })
}

/// Reads `/dev/sda:1000`.
///
/// # Errors
/// Not a device's path, or not a number.
pub fn parse_iops(text: &str) -> Result<Rate> {
    let (path, number) = split(text)?;
    let rate = number.parse().map_err(|_| {
        Error::invalid(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        ))
    })?;
    Ok(Rate { path: path.into(), rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_devices() {
        let weight: fn(&str) -> Result<Rate> = parse_weight_device;
        for (parse, text, expected) in [
            (weight, "/dev/vda:100", "/dev/vda:100"),
            (weight, "vda:100", "bad format for device path: vda:100"),
            (weight, "/dev/vda:5", "invalid weight for device: /dev/vda:5"),
            (weight, "/dev/vda:1001", "invalid weight for device: /dev/vda:1001"),
            (weight, "/dev/vda", "bad format: /dev/vda"),
            (parse_bps, "/dev/vda:1mb", "/dev/vda:1048576"),
            (parse_bps, "/dev/vda", "bad format: /dev/vda"),
            (parse_bps, "/etc:1", "bad format for device path: /etc:1"),
            (
                parse_bps,
                "/dev/vda:x",
                "invalid rate for device: /dev/vda:x. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb",
            ),
            (parse_iops, "/dev/vda:100", "/dev/vda:100"),
            (
                parse_iops,
                "/dev/vda:1mb",
                "invalid rate for device: /dev/vda:1mb. The correct format is <device-path>:<number>. Number must be a positive integer",
            ),
        ] {
            assert_eq!(parse(text).map_or_else(|e| e.to_string(), |rate| rate.to_string()), expected);
        }
        for (weight, expected) in [(5, "Range of blkio weight is from 10 to 1000"), (0, "fine"), (10, "fine")]
        {
            let io = BlockIo { weight: Some(weight), ..BlockIo::default() };
            assert_eq!(io.checked().map_or_else(|e| e.to_string(), |_| "fine".to_owned()), expected);
        }
    }
}
