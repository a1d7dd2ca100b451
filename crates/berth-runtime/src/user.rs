//! `user[:group]` of a container: names and numbers, looked up in its own `/etc/passwd` and `/etc/group`.

use crate::mount::in_root;
use berth_oci::{Context, Error, Result};
use rustix::fs::{FileType, OFlags, fstat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The home directory that `/etc/passwd` has for the user.
    pub home: Option<String>,
}

/// Larger files than this are not lists of users.
const LIMIT: u64 = 16 << 20;

/// Looks `text` up in the container whose root is `root`; links are followed inside that root only.
///
/// As docker does: a number that no line has is taken as it is, with group 0; with a group given, there are no
/// supplementary groups.
pub fn resolve_user(root: BorrowedFd<'_>, text: &str) -> Result<Identity> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    lookup(&passwd, &group, text)
}

/// Empty when it is not there.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    // A FIFO in its place would hang without NONBLOCK.
    let file = match in_root::open(root, Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).context(|| format!("cannot read `{path}` of the container")),
    };
    let stat = fstat(&file).map_err(io::Error::from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size as u64 > LIMIT {
        return Err(Error::invalid(format!("`{path}` of the container is not a list of users or groups")));
    }
    let mut bytes = Vec::new();
    File::from(file).take(LIMIT).read_to_end(&mut bytes).context(|| format!("cannot read `{path}`"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<_> = line.trim().split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

/// Name, number, members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, gid.parse().ok()?, fields.next().unwrap_or("")))
    })
}

fn lookup(passwd: &str, group: &str, text: &str) -> Result<Identity> {
    let (user_text, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let number = number(user_text)?;
    let user =
        users(passwd).find(|u| u.name == user_text).or_else(|| users(passwd).find(|u| Some(u.uid) == number));
    let mut identity = match (&user, number) {
        (Some(user), _) => {
            let home = Some(user.home.to_owned()).filter(|h| !h.is_empty());
            Identity { uid: user.uid, gid: user.gid, groups: Vec::new(), home }
        }
        (None, Some(uid)) => Identity { uid, gid: 0, groups: Vec::new(), home: None },
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {user_text}: no matching entries in passwd file"
            )));
        }
    };
    match (group_text, user) {
        (Some(text), _) => identity.gid = group_number(group, text)?,
        (None, Some(user)) => {
            let is_member = |members: &str| members.split(',').any(|m| m == user.name);
            let mine = groups(group).filter(|(_, _, members)| is_member(members));
            identity.groups = mine.map(|(_, gid, _)| gid).collect();
        }
        (None, None) => {}
    }
    Ok(identity)
}

/// A group by name or number.
fn group_number(group: &str, text: &str) -> Result<u32> {
    if let Some((_, gid, _)) = groups(group).find(|(name, ..)| *name == text) {
        return Ok(gid);
    }
    number(text)?.ok_or_else(|| {
        Error::invalid(format!("unable to find group {text}: no matching entries in group file"))
    })
}

/// `None` when it is not a number at all.
fn number(text: &str) -> Result<Option<u32>> {
    match text.parse::<i64>() {
        Ok(n) => match u32::try_from(n).ok().filter(|n| *n <= i32::MAX as u32) {
            Some(n) => Ok(Some(n)),
            None => Err(Error::invalid("uids and gids must be in range 0-2147483647")),
        },
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken line\nweb:x:33:34:Web:/var/www:/bin/false\n7:x:700:700::/seven:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,web\nvideo:x:44:web\n";

    type Row = (u32, u32, &'static [u32], Option<&'static str>);

    fn check(text: &str, expected: Result<Row, &str>) {
        match (lookup(PASSWD, GROUP, text), expected) {
            (Ok(got), Ok((uid, gid, groups, home))) => {
                let expected = Identity { uid, gid, groups: groups.to_vec(), home: home.map(Into::into) };
                assert_eq!(got, expected, "{text}");
            }
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn names_numbers_and_groups() {
        check("root", Ok((0, 0, &[10], Some("/root"))));
        check("", Ok((0, 0, &[10], Some("/root"))));
        check("web", Ok((33, 34, &[10, 44], Some("/var/www"))));
        check("33", Ok((33, 34, &[10, 44], Some("/var/www"))));
        check("web:video", Ok((33, 44, &[], Some("/var/www"))));
        check("web:1234", Ok((33, 1234, &[], Some("/var/www"))));
        check("4711", Ok((4711, 0, &[], None)));
        check("4711:wheel", Ok((4711, 10, &[], None)));
        check("7", Ok((700, 700, &[], Some("/seven"))));
        check("nobody", Err("unable to find user nobody: no matching entries in passwd file"));
        check("web:nope", Err("unable to find group nope: no matching entries in group file"));
        check("4294967296", Err("must be in range"));
        check("-1", Err("must be in range"));
    }

    #[test]
    fn a_passwd_that_leads_out_or_is_a_fifo_is_not_read() {
        use std::os::fd::AsFd;
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("root/etc");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(dir.path().join("passwd"), "out:x:1:1::/:\n").unwrap();
        std::os::unix::fs::symlink("../../passwd", etc.join("passwd")).unwrap();
        let root = File::open(dir.path().join("root")).unwrap();
        assert!(resolve_user(root.as_fd(), "out").is_err());
        std::fs::remove_file(etc.join("passwd")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, etc.join("passwd"), FileType::Fifo, 0o644.into(), 0).unwrap();
        assert!(resolve_user(root.as_fd(), "out").is_err());
    }
}
