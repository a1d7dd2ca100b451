//! Which users of the host the users of a container are: ranges of `/etc/subuid` and `/etc/subgid`.
//!
//! Here: choosing a range that no other container of this root has. Not here: what a namespace is made of
//! (`runtime_spec/users.rs`). Invariant: two containers never have a user in common, whether they run or not.

use crate::engine::Engine;
use crate::spec::{KeepId, UsersMode};
use berth_oci::{AtPath, Error, Result};
use berth_runtime::Users;
use berth_store::Renumbered;
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
    /// A user and a group among them, or beyond them, who are the host's root: he whose berth it is.
    #[serde(default)]
    pub caller: Option<(u32, u32)>,
    /// Whether its files lie on the disk with the host's numbers. Otherwise they lie there with its own, and are shown.
    #[serde(default)]
    pub is_given: bool,
}

/// Users of a container, the host's whom they are, and how many of them follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) size: u32,
}

/// Who is nobody, wherever one looks from.
const NOBODY: u32 = 65_534;

impl UserRange {
    /// Numbers of the host as the container knows them.
    pub(crate) fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let number = |id: u32, spans: &[Span]| {
            let inside = |span: &Span| {
                let at = id.checked_sub(span.outside).filter(|at| *at < span.size)?;
                Some(span.inside + at)
            };
            spans.iter().find_map(inside).unwrap_or(NOBODY)
        };
        let [uids, gids] = self.spans();
        (number(uid, &uids), number(gid, &gids))
    }

    /// Numbers of the container's as the host knows them; what the container has no number for becomes its root's.
    pub(crate) fn outside(self, uid: u32, gid: u32) -> (u32, u32) {
        let number = |id: u32, spans: &[Span], root: u32| {
            let outside = |span: &Span| {
                let at = id.checked_sub(span.inside).filter(|at| *at < span.size)?;
                Some(span.outside + at)
            };
            spans.iter().find_map(outside).unwrap_or(root)
        };
        let [uids, gids] = self.spans();
        (number(uid, &uids, self.uid), number(gid, &gids, self.gid))
    }

    /// The same as a table of users and one of groups.
    pub(crate) fn spans(self) -> [Vec<Span>; 2] {
        let spans = |first: u32, caller: Option<u32>| {
            let Some(caller) = caller else {
                return vec![Span { inside: 0, outside: first, size: self.size }];
            };
            // Those before him are one further on outside, where he comes first.
            let before = caller.min(self.size);
            [
                Span { inside: 0, outside: first, size: before },
                Span { inside: caller, outside: 0, size: 1 },
                Span { inside: caller.saturating_add(1), outside: first + before, size: self.size - before },
            ]
            .into_iter()
            .filter(|span| span.size > 0)
            .collect()
        };
        [spans(self.uid, self.caller.map(|c| c.0)), spans(self.gid, self.caller.map(|c| c.1))]
    }

    /// The same for whoever reads the disk.
    pub(super) fn spans_on_disk(self) -> [Vec<Renumbered>; 2] {
        let renumbered =
            |span: Span| Renumbered { disk: span.outside, archive: span.inside, count: span.size };
        self.spans().map(|spans| spans.into_iter().map(renumbered).collect())
    }

    /// The last of its groups, counted from 0 on without a gap.
    pub(crate) fn last_group(self) -> u32 {
        let gap = self.caller.is_none_or(|(_, gid)| gid > self.size);
        if gap { self.size - 1 } else { self.size }
    }

    /// Whether files have to change hands to be its own.
    pub(crate) fn moves_files(self) -> bool {
        let same = |span: &Span| span.inside == span.outside;
        self.is_given && !self.spans().iter().flatten().all(same)
    }
}

impl Engine {
    /// A range for a container to be, none where it has the host's users. To be called with the lock held under
    /// which it is written down.
    pub(super) fn choose_users(&self, mode: UsersMode) -> Result<Option<UserRange>> {
        match mode {
            UsersMode::Host => Ok(None),
            UsersMode::Auto(size) => self.free_range(size).map(Some),
            UsersMode::KeepId(keep) if self.settings().apart.is_some() => keep_id(keep).map(Some),
            // As podman has it: root is himself, and so is everybody else.
            UsersMode::KeepId(_) => {
                Ok(Some(UserRange { uid: 0, gid: 0, size: u32::MAX, caller: None, is_given: true }))
            }
            UsersMode::NoMap if self.settings().apart.is_some() => no_map().map(Some),
            UsersMode::NoMap => Err(Error::invalid("nomap is only supported in rootless mode")
                .hint("--userns auto: users that nobody else has")),
        }
    }

    fn free_range(&self, size: Option<u32>) -> Result<UserRange> {
        if self.settings().apart.is_some() {
            return Err(Error::unsupported(
                "without root, all containers have the users that you have been given",
            )
            .hint(
                "leave out `--userns auto`, or say keep-id, or nomap: none of them is the machine's root",
            ));
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
        Ok(UserRange { uid, gid, size, caller: None, is_given: false })
    }
}

impl super::Document {
    /// Whoever keeps his id is the container's user, where neither he nor the image names another one.
    pub(super) fn become_caller(&mut self) {
        if let (Some((uid, gid)), true) = (self.caller(), self.process.user.is_empty()) {
            self.process.user = format!("{uid}:{gid}");
        }
    }

    /// Who he is in there.
    pub(super) fn caller(&self) -> Option<(u32, u32)> {
        self.users.and_then(|users| users.caller)
    }
}

/// How many users there are besides the caller.
fn others(users: &Users) -> Result<u32> {
    match users.last_user.min(users.last_group) {
        0 => Err(Error::unsupported("you have no users but yourself to give to a container")
            .hint("a range in `/etc/subuid` and `/etc/subgid` (usermod --add-subuids) gives you some")),
        count => Ok(count),
    }
}

fn keep_id(keep: KeepId) -> Result<UserRange> {
    let users = berth_runtime::users()?;
    // As podman counts: he is one of them.
    let size = others(&users)?.min(keep.size.map_or(u32::MAX, |size| size - 1));
    let caller = (keep.uid.unwrap_or(users.caller.0), keep.gid.unwrap_or(users.caller.1));
    Ok(UserRange { uid: 1, gid: 1, size, caller: Some(caller), is_given: true })
}

fn no_map() -> Result<UserRange> {
    let size = others(&berth_runtime::users()?)?;
    Ok(UserRange { uid: 1, gid: 1, size, caller: None, is_given: true })
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
        let range = UserRange { uid: 1000, gid: 5000, size: 100, caller: None, is_given: false };
        assert_eq!((range.inside(1033, 5000), range.outside(33, 0)), ((33, 0), (1033, 5000)));
        assert_eq!((range.inside(0, 5100), range.outside(100, 99)), ((NOBODY, NOBODY), (1000, 5099)));
    }

    #[test]
    fn the_caller_is_among_them_or_beyond() {
        let range = |caller| UserRange { uid: 1, gid: 1, size: 100, caller: Some(caller), is_given: true };
        let span = |inside, outside, size| Span { inside, outside, size };
        for (caller, expected, last) in [
            (10, vec![span(0, 1, 10), span(10, 0, 1), span(11, 11, 90)], 100),
            (0, vec![span(0, 0, 1), span(1, 1, 100)], 100),
            (100, vec![span(0, 1, 100), span(100, 0, 1)], 100),
            (5000, vec![span(0, 1, 100), span(5000, 0, 1)], 99),
        ] {
            let range = range((caller, caller));
            assert_eq!(range.spans(), [expected.clone(), expected], "{caller}");
            assert_eq!((range.last_group(), range.moves_files()), (last, caller != 0), "{caller}");
            for inside in [0, 5, 10, 11, 99, caller] {
                let (uid, gid) = range.outside(inside, inside);
                assert_eq!(range.inside(uid, gid), (inside, inside), "{caller} {inside}");
            }
            assert_eq!(range.outside(7000, 0).0, 1);
        }
        let nobody = UserRange { caller: None, ..range((0, 0)) };
        assert_eq!((nobody.inside(0, 1), nobody.outside(0, 0)), ((NOBODY, 0), (1, 1)));
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
