//! `--tmpfs`, as docker reads it.

use super::{Mount, Tmpfs, clean_target};
use berth_oci::{Error, Result};

/// Reads `--tmpfs`: `/target[:options]`.
///
/// # Errors
/// The target is not a path, or an option is not one of tmpfs.
pub fn parse_tmpfs(text: &str) -> Result<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = clean_target(target)?;
    let options: Vec<String> = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
    match options.iter().find(|option| !is_tmpfs_option(option)) {
        Some(option) => Err(Error::invalid(format!("invalid tmpfs option \"{option}\""))),
        None => Ok(Mount::Tmpfs(Tmpfs { target, options, is_mount: false })),
    }
}

fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 22] = [
        "async",
        "atime",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "relatime",
        "ro",
        "rw",
        "strictatime",
        "suid",
        "sync",
    ];
    match option.split_once('=') {
        Some((key, value)) => {
            matches!(key, "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol")
                && !value.is_empty()
        }
        None => FLAGS.contains(&option),
    }
}
