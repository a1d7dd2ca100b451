//! Whose the files of a mount are: `idmap` and `U`, words of podman's.
//!
//! Not here: which users they are in the end; that is known when the container starts. Invariant: a mapping names every
//! number once.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is done about the owners of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owners {
    /// They are shown as they are.
    #[default]
    Kept,
    /// `idmap`: the owner of the source is seen as the container's user, and what that one makes belongs to that owner.
    Shown,
    /// `idmap=uids=…;gids=…`: as it says.
    Mapped(IdMaps),
    /// `U`: everything is given to the container's user, on the disk.
    Given,
}

/// A mapping of users and one of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

/// Numbers on the disk, and as which they are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first one on the disk.
    pub disk: u32,
    /// The first one that is seen.
    pub seen: u32,
    /// How many.
    pub size: u32,
    /// Whether `seen` is a number of the container's and not one of the host's.
    pub inside: bool,
}

impl Owners {
    /// Reads what stands behind `idmap=`: `uids=0-1000-1#1-100001-65535;gids=…`, each range as first on the disk, first
    /// seen (of the container's with an `@` before it), and how many.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse_idmap(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("invalid idmap `{text}`"))
                .hint("for example idmap=uids=1000-0-1;gids=1000-0-1: disk, seen, how many")
        };
        let mut maps = IdMaps::default();
        for part in text.split(';') {
            let (list, ranges) = match part.split_once('=').ok_or_else(invalid)? {
                ("uids", ranges) => (&mut maps.uids, ranges),
                ("gids", ranges) => (&mut maps.gids, ranges),
                _ => return Err(invalid()),
            };
            for range in ranges.split('#') {
                list.push(IdRange::parse(range).ok_or_else(invalid)?);
            }
        }
        match maps.is_sound() {
            true => Ok(Self::Mapped(maps)),
            false => Err(invalid()),
        }
    }
}

impl IdMaps {
    fn is_sound(&self) -> bool {
        let overlap = |a: (u32, u32), b: (u32, u32)| {
            u64::from(a.0) < u64::from(b.0) + u64::from(b.1)
                && u64::from(b.0) < u64::from(a.0) + u64::from(a.1)
        };
        let clash = |one: &IdRange, other: &IdRange| {
            let is_seen_twice = overlap((one.seen, one.size), (other.seen, other.size));
            overlap((one.disk, one.size), (other.disk, other.size))
                || (one.inside == other.inside && is_seen_twice)
        };
        let sound = |ranges: &[IdRange]| {
            let mut earlier = ranges.iter().enumerate().map(|(at, range)| (range, &ranges[..at]));
            !ranges.is_empty()
                && earlier.all(|(range, before)| !before.iter().any(|other| clash(range, other)))
        };
        sound(&self.uids) && sound(&self.gids)
    }
}

impl IdRange {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let disk = parts.next()?;
        let seen = parts.next()?;
        let size: u32 = parts.next()?.parse().ok().filter(|size| *size > 0)?;
        if parts.next().is_some() {
            return None;
        }
        let inside = disk.starts_with('@') || seen.starts_with('@');
        let number = |text: &str| text.trim_start_matches('@').parse::<u32>().ok();
        let (disk, seen) = (number(disk)?, number(seen)?);
        disk.checked_add(size)?;
        seen.checked_add(size)?;
        Some(Self { disk, seen, size, inside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let range = |disk, seen, size, inside| IdRange { disk, seen, size, inside };
        let read = |text: &str| match Owners::parse_idmap(text) {
            Ok(Owners::Mapped(maps)) => Ok((maps.uids, maps.gids)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(
            read("uids=0-1000-1#1-100001-65535;gids=@5-6-2"),
            Ok((vec![range(0, 1000, 1, false), range(1, 100_001, 65535, false)], vec![range(5, 6, 2, true)]))
        );
        for bad in [
            "",
            "uids=0-0-1",
            "gids=0-0-1",
            "uids=0-0-0;gids=0-0-1",
            "uids=0-0;gids=0-0-1",
            "uids=0-0-1-1;gids=0-0-1",
            "uids=0-5-10#9-100-1;gids=0-0-1",
            "uids=0-5-10#20-14-1;gids=0-0-1",
            "uids=4294967295-0-1;gids=0-0-1",
            "users=0-0-1;gids=0-0-1",
            "uids=x-0-1;gids=0-0-1",
        ] {
            assert_eq!(read(bad), Err(format!("invalid idmap `{bad}`")), "{bad}");
        }
    }
}
