//! Which users of the host the users of a container are: ranges of `/etc/subuid` and `/etc/subgid`.
//!
//! Here: choosing a range that no other container of this root has. Not here: what a namespace is made of
//! (`runtime_spec/users.rs`). Invariant: two containers never have a user in common, whether they run or not.

use crate::engine::Engine;
use crate::spec::UsersMode;
use berth_oci::{AtPath, Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;

/// Whose ranges are for containers: podman's name first, then whoever runs this.
const OWNERS: [&str; 2] = ["containers", "root"];
/// As many as programs expect: up to `nobody`, which is 65534.
const USUAL_SIZE: u32 = 65_536;

/// The users and groups of a container, in order from its 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRange {
    /// The user of the host that its root is.
    pub uid: u32,
    /// The same of groups.
    pub gid: u32,
    /// How many there are of either.
    pub size: u32,
}

/// Who is nobody, wherever one looks from.
const NOBODY: u32 = 65_534;

impl UserRange {
    /// Numbers of the host as the container knows them.
    pub(crate) fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let number = |id: u32, first| id.checked_sub(first).filter(|id| *id < self.size).unwrap_or(NOBODY);
        (number(uid, self.uid), number(gid, self.gid))
    }

    /// Numbers of the container's as the host knows them; what the container has no number for becomes its root's.
    pub(crate) fn outside(self, uid: u32, gid: u32) -> (u32, u32) {
        let number = |id: u32, first: u32| first + if id < self.size { id } else { 0 };
        (number(uid, self.uid), number(gid, self.gid))
    }
}

impl Engine {
    /// A range for a container to be, none where it has the host's users. To be called with the lock held under
    /// which it is written down.
    pub(super) fn choose_users(&self, mode: UsersMode) -> Result<Option<UserRange>> {
        let UsersMode::Auto(size) = mode else { return Ok(None) };
        if self.settings().apart.is_some() {
            return Err(Error::unsupported(
                "without root, all containers have the users that you have been given",
            )
            .hint("leave out `--userns auto`: none of them is the machine's root, nor yours but theirs"));
        }
        let mut taken = Vec::new();
        for record in self.store()?.containers()? {
            // One that cannot be read has none that anybody could know of.
            let document = serde_json::from_str::<super::Document>(&record.document).ok();
            taken.extend(document.and_then(|document| document.users));
        }
        let size = size.unwrap_or(USUAL_SIZE);
        let free = |path: &str, first: fn(&UserRange) -> u32| {
            let taken: Vec<_> = taken.iter().map(|range| (first(range), range.size)).collect();
            let ranges = ranges(&read(path)?);
            if ranges.is_empty() {
                return Err(Error::unsupported(format!("`{path}` has no users for containers")).hint(format!(
                    "append `containers:2147483648:1073741824` to it, a line with ranges that nobody else has ({} …)",
                    OWNERS.join(", ")
                )));
            }
            first_free(&ranges, &taken, size).ok_or_else(|| {
                Error::unsupported(format!("`{path}` has no {size} users left that no container has")).hint(
                    "remove containers, name fewer with --userns auto:size=…, or give it a larger range",
                )
            })
        };
        let uid = free("/etc/subuid", |range| range.uid)?;
        let gid = free("/etc/subgid", |range| range.gid)?;
        Ok(Some(UserRange { uid, gid, size }))
    }
}

fn read(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.at(path),
    }
}

/// `containers:100000:65536` a line; those of the first owner that has any.
fn ranges(text: &str) -> Vec<(u32, u32)> {
    let of = |owner: &str| -> Vec<(u32, u32)> {
        let range = |line: &str| {
            let mut fields = line.trim().split(':');
            (fields.next()? == owner).then_some(())?;
            let first: u32 = fields.next()?.parse().ok()?;
            let size: u32 = fields.next()?.parse().ok()?;
            // 0 would be the host's root, and the last number is nobody at all.
            (first > 0 && first.checked_add(size).is_some()).then_some((first, size))
        };
        text.lines().filter_map(range).collect()
    };
    OWNERS.iter().map(|owner| of(owner)).find(|ranges| !ranges.is_empty()).unwrap_or_default()
}

/// The first number with `size` of them from there on that are in a range and not taken.
fn first_free(ranges: &[(u32, u32)], taken: &[(u32, u32)], size: u32) -> Option<u32> {
    let ends = taken.iter().map(|(first, size)| first.saturating_add(*size));
    let mut starts: Vec<u32> = ranges.iter().map(|(first, _)| *first).chain(ends).collect();
    starts.sort_unstable();
    starts.into_iter().find(|start| {
        let Some(end) = start.checked_add(size) else { return false };
        ranges.iter().any(|(first, count)| first <= start && end <= first + count)
            && taken.iter().all(|(first, count)| end <= *first || first.saturating_add(*count) <= *start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_first_owner_that_has_any() {
        let text = "alice:100000:65536\nroot:5000:10\ncontainers:200000:100\ncontainers:x:1\ncontainers:0:5\n#\ncontainers:400000:300\n";
        assert_eq!(ranges(text), [(200_000, 100), (400_000, 300)]);
        assert_eq!(ranges("alice:1:1\nroot:5000:10"), [(5000, 10)]);
        assert_eq!(ranges("alice:1:1\nroot:4294967295:10"), []);
    }

    #[test]
    fn numbers_inside_and_outside() {
        let range = UserRange { uid: 1000, gid: 5000, size: 100 };
        assert_eq!((range.inside(1033, 5000), range.outside(33, 0)), ((33, 0), (1033, 5000)));
        assert_eq!((range.inside(0, 5100), range.outside(100, 99)), ((NOBODY, NOBODY), (1000, 5099)));
    }

    #[test]
    fn nobody_gets_what_another_has() {
        let ranges = [(1000, 100), (5000, 300)];
        for (taken, size, expected) in [
            (&[][..], 100, Some(1000)),
            (&[], 101, Some(5000)),
            (&[], 301, None),
            (&[(1000, 60)], 40, Some(1060)),
            (&[(1000, 60)], 41, Some(5000)),
            (&[(5000, 100), (5150, 150), (1000, 100)], 50, Some(5100)),
            (&[(5000, 100), (5150, 150), (1000, 100)], 51, None),
            // Ranges that somebody had before the file was changed.
            (&[(900, 150)], 50, Some(1050)),
            (&[(0, u32::MAX)], 1, None),
        ] {
            assert_eq!(first_free(&ranges, taken, size), expected, "{taken:?} {size}");
        }
    }
}
