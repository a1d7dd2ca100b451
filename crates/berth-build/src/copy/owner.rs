//! Names of users and groups, as the root file system that they are used in knows them.

use super::target::Target;
use berth_oci::Result;
use std::io::Read;

/// A user and a group by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Larger files are no lists of users.
const LIMIT: u64 = 16 << 20;

/// The numbers behind `user[:group]`. A number needs no entry; alone it is user and group. A name that has none is
/// root's, as docker has it, and `unknown` hears of it.
pub(crate) fn look_up_owner(
    text: &str,
    target: &Target<'_>,
    unknown: &mut dyn FnMut(String),
) -> Result<Owner> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let mut owner = match user.parse::<u32>() {
        Ok(uid) => Owner { uid, gid: uid },
        Err(_) if user.is_empty() => Owner::default(),
        Err(_) => passwd_entry(user, target)?.unwrap_or_else(|| {
            unknown(format!("there is no user {user} in /etc/passwd"));
            Owner::default()
        }),
    };
    owner.gid = match (group, group.parse::<u32>()) {
        ("", _) => owner.gid,
        (_, Ok(gid)) => gid,
        (name, Err(_)) => group_entry(name, target)?.unwrap_or_else(|| {
            unknown(format!("there is no group {name} in /etc/group"));
            owner.gid
        }),
    };
    Ok(owner)
}

/// What `/etc/passwd` says about a user, by name or by number.
pub(crate) fn passwd_entry(user: &str, target: &Target<'_>) -> Result<Option<Owner>> {
    let text = read(target, b"etc/passwd")?;
    let entry = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (fields.first()?, fields.get(2)?, fields.get(3)?);
        let is_it = *name == user || *uid == user;
        is_it.then(|| Some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))?
    });
    Ok(entry)
}

fn group_entry(group: &str, target: &Target<'_>) -> Result<Option<u32>> {
    let text = read(target, b"etc/group")?;
    Ok(text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        if *fields.first()? == group { fields.get(2)?.parse().ok() } else { None }
    }))
}

fn read(target: &Target<'_>, path: &[u8]) -> Result<String> {
    let mut bytes = Vec::new();
    if let Some(file) = target.open_below(path)? {
        file.take(LIMIT).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
