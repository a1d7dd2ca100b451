//! The user namespace of this process: whether it is the machine's own, and which groups it has numbers for.
//!
//! Invariant: nothing is remembered; a process may have entered another one since it last asked.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// `PROC_USER_INIT_INO`: the kernel's own number of the first user namespace, part of its interface (nsfs.h).
const INITIAL: u64 = 0xEFFF_FFFD;

/// Whether root is the machine's root here. In any other namespace nobody makes devices, and powers end at what
/// belongs to the namespace.
pub fn is_initial() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self/ns/user")?.ino() == INITIAL)
}

/// The last of the groups that have a number here, counted from 0 on without a gap.
pub fn last_group() -> io::Result<u32> {
    fs::read_to_string("/proc/self/gid_map").map(|text| last(&text))
}

/// The last of the users, likewise.
pub fn last_user() -> io::Result<u32> {
    fs::read_to_string("/proc/self/uid_map").map(|text| last(&text))
}

/// Who root here is outside, user and group.
pub fn root_outside() -> io::Result<(u32, u32)> {
    let read = |path| fs::read_to_string(path).map(|text| outside(&text));
    Ok((read("/proc/self/uid_map")?, read("/proc/self/gid_map")?))
}

/// What 0 is outside; itself where nothing says otherwise.
fn outside(map: &str) -> u32 {
    let root = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        (fields.next()?.ok()? == 0).then(|| fields.next()?.ok())?
    };
    map.lines().find_map(root).unwrap_or(0)
}

/// Whether supplementary groups may be chosen: not where a user has mapped himself alone.
pub fn may_set_groups() -> io::Result<bool> {
    Ok(fs::read_to_string("/proc/self/setgroups")?.trim() != "deny")
}

/// Lines of `first here`, `first outside`, `count`.
fn last(map: &str) -> u32 {
    let range = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (first, _, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
        Some((first, count))
    };
    let mut ranges: Vec<_> = map.lines().filter_map(range).collect();
    ranges.sort_unstable();
    let end = ranges.iter().fold(0, |end: u32, (first, count)| match *first <= end {
        true => end.max(first.saturating_add(*count)),
        false => end,
    });
    end.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_until_the_first_gap() {
        for (map, expected) in [
            ("         0          0 4294967295\n", 4_294_967_294),
            ("0 1000 1\n1 100000 65536\n", 65_536),
            ("1 100000 65536\n0 1000 1\n", 65_536),
            ("0 1000 1\n10 100000 10\n", 0),
            ("", 0),
        ] {
            assert_eq!(last(map), expected, "{map:?}");
        }
    }

    #[test]
    fn root_is_somebody_outside() {
        for (map, expected) in
            [("0 1000 1\n1 100000 65536\n", 1000), ("1 5 9\n0 7 1\n", 7), ("0 0 4294967295\n", 0), ("", 0)]
        {
            assert_eq!(outside(map), expected, "{map:?}");
        }
    }
}
