//! What the local driver is told: `type`, `device` and `o`, the words of mount(8).
//!
//! Invariant: pure; addresses are looked up where it is mounted.

use berth_oci::{Error, Result};
use rustix::mount::MountFlags;
use std::collections::BTreeMap;

/// A file system to be mounted on a volume's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalMount {
    /// `tmpfs`, `nfs`, `none`, …
    pub(super) kind: String,
    /// What is mounted.
    pub(super) device: String,
    /// What the kernel takes as bits.
    pub(super) flags: MountFlags,
    /// What the file system takes as text.
    pub(super) data: String,
}

const KNOWN: [&str; 4] = ["type", "device", "o", "size"];
const TOGETHER: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("type", &["device"]), ("o", &["device", "type"])];

impl LocalMount {
    /// `None`: the directory itself is the volume.
    ///
    /// # Errors
    /// An option is unknown, or needs another one.
    pub(super) fn read(options: &BTreeMap<String, String>) -> Result<Option<Self>> {
        if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(Error::invalid(format!("invalid option: \"{unknown}\"")));
        }
        for (option, others) in TOGETHER {
            let missing = others.iter().find(|other| !options.contains_key(**other));
            if let (true, Some(missing)) = (options.contains_key(option), missing) {
                return Err(Error::invalid(format!("missing required option: \"{missing}\"")));
            }
        }
        if options.contains_key("size") {
            return Err(Error::unsupported("quota size requested but no quota support")
                .hint("a volume in memory has a size: -o type=tmpfs -o device=tmpfs -o o=size=100m"));
        }
        let Some(kind) = options.get("type") else { return Ok(None) };
        let text = |key: &str| options.get(key).cloned().unwrap_or_default();
        let (flags, data) = words(&text("o"));
        Ok(Some(Self { kind: kind.clone(), device: text("device"), flags, data }))
    }

    /// Whether an existing directory is seen here instead of a file system being mounted.
    pub(super) fn is_bind(&self) -> bool {
        self.flags.contains(MountFlags::BIND)
    }
}

/// Sorts the words of `o` into bits and text.
fn words(text: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "rw" => flags.remove(MountFlags::RDONLY),
            "ro" => flags.insert(MountFlags::RDONLY),
            "bind" => flags.insert(MountFlags::BIND),
            "rbind" => flags.insert(MountFlags::BIND | MountFlags::REC),
            "nosuid" => flags.insert(MountFlags::NOSUID),
            "suid" => flags.remove(MountFlags::NOSUID),
            "nodev" => flags.insert(MountFlags::NODEV),
            "dev" => flags.remove(MountFlags::NODEV),
            "noexec" => flags.insert(MountFlags::NOEXEC),
            "exec" => flags.remove(MountFlags::NOEXEC),
            "sync" => flags.insert(MountFlags::SYNCHRONOUS),
            "async" => flags.remove(MountFlags::SYNCHRONOUS),
            "dirsync" => flags.insert(MountFlags::DIRSYNC),
            "noatime" => flags.insert(MountFlags::NOATIME),
            "nodiratime" => flags.insert(MountFlags::NODIRATIME),
            "relatime" => flags.insert(MountFlags::RELATIME),
            "strictatime" => flags.insert(MountFlags::STRICTATIME),
            "defaults" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_local_driver() {
        for (text, expected) in [
            ("", "a directory"),
            ("type=tmpfs device=tmpfs", "tmpfs tmpfs MountFlags(0x0) "),
            ("type=tmpfs device=tmpfs o=size=1m,uid=7,ro", "tmpfs tmpfs MountFlags(RDONLY) size=1m,uid=7"),
            ("type=none device=/srv o=bind", "none /srv MountFlags(BIND) "),
            ("type=none device=/srv o=rbind,ro,rw", "none /srv MountFlags(BIND | REC) "),
            (
                "type=nfs device=:/x o=addr=1.2.3.4,nosuid,noexec,exec",
                "nfs :/x MountFlags(NOSUID) addr=1.2.3.4",
            ),
            ("bad=1", "invalid option: \"bad\""),
            ("type=nfs", "missing required option: \"device\""),
            ("device=/x", "missing required option: \"type\""),
            ("o=bind type=none", "missing required option: \"device\""),
            ("size=1g", "quota size requested but no quota support"),
        ] {
            let options = text.split_whitespace().filter_map(|word| word.split_once('='));
            let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let shown = match LocalMount::read(&options) {
                Ok(None) => "a directory".to_owned(),
                Ok(Some(m)) => format!("{} {} {:?} {}", m.kind, m.device, m.flags, m.data),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
