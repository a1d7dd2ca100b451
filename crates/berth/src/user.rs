//! Whoever runs this without being root: where his things are, and how he becomes root among his own.
//!
//! Not here: what happens then (`berth_runtime::rootless`). Invariant: root has nothing to do with any of this.

use crate::settings::Settings;
use crate::terminal;
use berth_oci::Result;
use berth_runtime::rootless::{self, Caller};
use std::fs;
use std::path::PathBuf;

/// An ordinary user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
    name: String,
    /// Where he lives, as `/etc/passwd` says.
    pub(crate) home: Option<PathBuf>,
}

impl User {
    /// Who this process belongs to; none for root.
    pub(crate) fn of_process(named: Option<String>) -> Option<Self> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        (!uid.is_root()).then(|| Self::among(&users, uid.as_raw(), gid.as_raw(), named))
    }

    fn among(users: &str, uid: u32, gid: u32, named: Option<String>) -> Self {
        let own = users.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, number, _, _, home, ..] = fields[..] else { return None };
            (number.parse() == Ok(uid)).then(|| (name.to_owned(), PathBuf::from(home)))
        });
        // Users of a directory service are not in the file.
        let name = || named.unwrap_or_else(|| uid.to_string());
        let (name, home) = own.map_or_else(|| (name(), None), |(name, home)| (name, Some(home)));
        Self { uid, gid, name, home }
    }

    /// The cgroup that systemd gives to a user who is logged in, where there is cgroup v2.
    pub(crate) fn cgroup(&self) -> String {
        format!("/user.slice/user-{0}.slice/user@{0}.service", self.uid)
    }

    /// Where mounts and sockets live when nobody says where.
    pub(crate) fn runroot(&self, xdg_runtime_dir: Option<PathBuf>) -> PathBuf {
        xdg_runtime_dir
            .map_or_else(|| PathBuf::from(format!("/tmp/berth-{}", self.uid)), |base| base.join("berth"))
    }
}

/// Makes an ordinary user root among his own; to be called before there is a second thread.
///
/// # Errors
/// The machine does not let him.
pub(crate) fn become_root(settings: &Settings) -> Result<()> {
    let Some(user) = &settings.user else { return Ok(()) };
    let caller = Caller {
        uid: user.uid,
        gid: user.gid,
        names: vec![user.uid.to_string(), user.name.clone()],
        runroot: settings.runroot.clone(),
        programs: settings.environment.programs.clone(),
    };
    rootless::enter(&caller)?.iter().for_each(|warning| terminal::warn(format!("WARNING: {warning}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_and_a_home() {
        let file = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000:Alice,,:/home/alice:/bin/sh\nbroken:x\n";
        let user = |uid, named: Option<&str>| User::among(file, uid, 100, named.map(str::to_owned));
        let alice = user(1000, Some("ignored"));
        assert_eq!((alice.name.as_str(), alice.home), ("alice", Some(PathBuf::from("/home/alice"))));
        assert_eq!(user(2000, Some("bob")).name, "bob");
        assert_eq!((user(2000, None).name.as_str(), user(2000, None).home), ("2000", None));
    }

    #[test]
    fn his_sockets_are_in_a_place_of_his_own() {
        let user = User::among("", 1000, 100, None);
        assert_eq!(user.runroot(Some("/run/user/1000".into())), PathBuf::from("/run/user/1000/berth"));
        assert_eq!(user.runroot(None), PathBuf::from("/tmp/berth-1000"));
    }
}
