//! Which users and groups there are in a user's namespace: he is root, and the others come from `/etc/subuid` and
//! `/etc/subgid`.
//!
//! Only the two programs of the shadow suite may give somebody users that are not he. Invariant: without a range, and so
//! without them, he is there alone, which is told.

use super::Caller;
use super::lacks;
use berth_oci::{AtPath, Error, Result};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// First number inside, first outside, how many.
type Range = (u32, u32, u32);

/// The users and groups of a namespace to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl Mapping {
    /// What the machine gives to the caller.
    pub(super) fn of(caller: &Caller) -> Result<Self> {
        let given = |path: &str, own| -> Result<_> { Ok(ranges(own, &read(path)?, &caller.names)) };
        let (users, groups) = (given("/etc/subuid", caller.uid)?, given("/etc/subgid", caller.gid)?);
        match users.len() > 1 && groups.len() > 1 {
            true => Ok(Self { users, groups }),
            false => Ok(Self { users: vec![(0, caller.uid, 1)], groups: vec![(0, caller.gid, 1)] }),
        }
    }

    /// What a person should know of it.
    pub(super) fn warning(&self, name: &str) -> Option<String> {
        self.is_alone().then(|| {
            format!(
                "{name} has no range in /etc/subuid and /etc/subgid: containers have root as their only user, and all \
                 files of images are root's (as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \
                 {name}`, then `berth system reset`)"
            )
        })
    }

    fn is_alone(&self) -> bool {
        self.users.len() == 1
    }

    /// Gives them to the process `pid`, which has just got a namespace.
    pub(super) fn write(&self, pid: i32, programs: &[PathBuf]) -> Result<()> {
        if !self.is_alone() {
            give(programs, "newuidmap", pid, &self.users)?;
            return give(programs, "newgidmap", pid, &self.groups);
        }
        // Whoever could leave groups could get at what is closed to them; so the kernel wants that given up first.
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", lines(&self.users)),
            ("gid_map", lines(&self.groups)),
        ] {
            let path = format!("/proc/{pid}/{file}");
            fs::write(&path, text).map_err(|error| lacks::namespaces(&error)).at(&path)?;
        }
        Ok(())
    }
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, (inside, outside, count)| {
        writeln!(text, "{inside} {outside} {count}").expect("memory takes everything");
        text
    })
}

fn give(programs: &[PathBuf], name: &str, pid: i32, ranges: &[Range]) -> Result<()> {
    let numbers = ranges.iter().flat_map(|(inside, outside, count)| [inside, outside, count]);
    let numbers = numbers.map(ToString::to_string);
    let places = programs.iter().map(|directory| directory.join(name));
    let Some(program) = places.into_iter().find(|path| path.is_file()) else {
        return Err(Error::unsupported(format!(
            "this machine has no `{name}`, without which nobody but root has more than one user"
        ))
        .hint("install Debian's package `uidmap` (elsewhere `shadow` or `shadow-utils`)"));
    };
    let output = Command::new(&program).arg(pid.to_string()).args(numbers).output().at(&program)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(refused(&program, &String::from_utf8_lossy(&output.stderr))),
    }
}

fn refused(program: &Path, said: &str) -> Error {
    let first = said.lines().next().unwrap_or("it says nothing").trim();
    Error::unsupported(format!("`{}` does not give this user his range: {first}", program.display())).hint(
        "it has to be setuid root (or have CAP_SETUID as a file), and the line of /etc/subuid or /etc/subgid has to be \
         this user's alone",
    )
}

fn read(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.at(path),
    }
}

/// Root is `own`; from 1 on there are the numbers of every line `name:first:count` that one of these names has.
fn ranges(own: u32, text: &str, names: &[String]) -> Vec<Range> {
    let mut ranges = vec![(0, own, 1)];
    let mut next = 1u32;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let is_ours = fields.next().is_some_and(|owner| names.iter().any(|name| name == owner));
        let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (Some(first), Some(count), true) = (number(), number(), is_ours) else { continue };
        let Some(after) = next.checked_add(count).filter(|_| count > 0 && first.checked_add(count).is_some())
        else {
            continue;
        };
        ranges.push((next, first, count));
        next = after;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_user_follow_one_another() {
        let names = ["1000".to_owned(), "alice".to_owned()];
        for (text, expected) in [
            ("alice:100000:65536\n", &[(0, 1000, 1), (1, 100_000, 65_536)][..]),
            ("bob:1:2\n1000:5000:10\nalice:9000:5\n", &[(0, 1000, 1), (1, 5000, 10), (11, 9000, 5)]),
            ("alice:x:1\nalice:5:0\nalice:4294967295:2\nalice:7\n#alice:1:1\n", &[(0, 1000, 1)]),
            ("", &[(0, 1000, 1)]),
        ] {
            assert_eq!(ranges(1000, text, &names), expected, "{text:?}");
        }
    }

    #[test]
    fn who_is_alone_is_told() {
        let alone = Mapping { users: vec![(0, 1000, 1)], groups: vec![(0, 1000, 1)] };
        assert!(alone.warning("alice").is_some_and(|text| text.contains("--add-subuids")));
        let more = Mapping { users: vec![(0, 1000, 1), (1, 5000, 10)], ..alone };
        assert_eq!(more.warning("alice"), None);
    }
}
