//! The specification's mount, understood: what to make, with which attributes, where.

use crate::user_namespace::Mappings;
use berth_oci::{Error, Result};
use berth_sys::mount::Attributes;
use oci_spec::runtime::Mount;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPlan {
    pub(crate) kind: Kind,
    /// In the container.
    pub(crate) target: PathBuf,
    pub(crate) attributes: Attributes,
    /// Those of the mounts below it too. Set apart: a recursive change and a plain one are different calls.
    pub(crate) recursive: Attributes,
    /// `MS_SHARED`…, with `MS_REC` or not; 0 is the default, private and recursive.
    pub(crate) propagation: u64,
    /// Whose owners its files have, if not their own.
    pub(crate) owners: Option<Owners>,
    /// A new file system starts with a copy of what it covers.
    pub(crate) copy_up: bool,
    /// What is done about links at either end of a bind.
    pub(crate) links: Links,
}

/// Links in the place of what a bind shows, or of where: without a word about them both are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// The source is shown as the link that it is.
    pub(crate) shown: bool,
    /// A link in the target's place is covered.
    pub(crate) covered: bool,
    /// A source that is a link is made again in the target's place, and nothing is mounted.
    pub(crate) copied: bool,
}

impl Links {
    fn of(has: impl Fn(&str) -> bool, target: &Path) -> Result<Self> {
        let links =
            Self { shown: has("src-nofollow"), covered: has("dest-nofollow"), copied: has("copy-symlink") };
        match links.copied && (links.shown || links.covered) {
            false => Ok(links),
            true => Err(Error::invalid(format!(
                "the mount on `{}` has `copy-symlink`, and with it `src-nofollow` or `dest-nofollow`",
                target.display()
            ))),
        }
    }

    /// Whether a source that is a link is meant itself.
    pub(crate) fn keeps_source(self) -> bool {
        self.shown || self.copied
    }
}

/// Files shown with other owners than they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owners {
    /// `None`: as the container's user namespace maps them.
    pub(crate) mappings: Option<Mappings>,
    /// Also on the mounts below.
    pub(crate) recursive: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file or directory of the host.
    Bind { source: PathBuf, part: Option<PathBuf>, recursive: bool },
    /// Layers that are only read, uppermost first.
    Layers { lowers: Vec<PathBuf>, part: Option<PathBuf> },
    /// A new instance of a file system.
    New { name: String, source: Option<String>, options: Vec<(String, Option<String>)> },
    /// The container's own cgroups.
    Cgroup,
    /// What is there already, with other attributes.
    Again,
}

/// What an option word does to the attributes: set, clear, and whether it excludes other times of access.
struct Word(u64, u64);

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME_MASK: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Every word that means something to us for any file system.
pub(crate) fn option_words() -> Vec<String> {
    let attributes = [
        "atime",
        "dev",
        "diratime",
        "exec",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "relatime",
        "ro",
        "rw",
        "strictatime",
        "suid",
        "symfollow",
    ];
    let propagations = ["private", "shared", "slave", "unbindable"];
    let both = attributes.iter().chain(&propagations);
    let others = [
        "async",
        "bind",
        "copy-symlink",
        "defaults",
        "dest-nofollow",
        "dirsync",
        "idmap",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noiversion",
        "nolazytime",
        "nomand",
        "norelatime",
        "rbind",
        "remount",
        "ridmap",
        "silent",
        "src-nofollow",
        "sync",
        "tmpcopyup",
    ];
    let mut words: Vec<_> =
        both.flat_map(|w| [(*w).to_owned(), format!("r{w}")]).chain(others.map(ToOwned::to_owned)).collect();
    words.sort();
    words
}

fn word(option: &str) -> Option<Word> {
    Some(match option {
        "ro" => Word(RDONLY, 0),
        "rw" => Word(0, RDONLY),
        "nosuid" => Word(NOSUID, 0),
        "suid" => Word(0, NOSUID),
        "nodev" => Word(NODEV, 0),
        "dev" => Word(0, NODEV),
        "noexec" => Word(NOEXEC, 0),
        "exec" => Word(0, NOEXEC),
        "noatime" => Word(NOATIME, ATIME_MASK),
        "atime" | "relatime" | "nostrictatime" => Word(0, ATIME_MASK),
        "strictatime" | "norelatime" => Word(STRICTATIME, ATIME_MASK),
        "nodiratime" => Word(NODIRATIME, 0),
        "diratime" => Word(0, NODIRATIME),
        "nosymfollow" => Word(NOSYMFOLLOW, 0),
        "symfollow" => Word(0, NOSYMFOLLOW),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<u64> {
    let (recursive, option) = match option.strip_prefix('r') {
        Some(rest) => (libc::MS_REC, rest),
        None => (0, option),
    };
    let kind = match option {
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

impl Word {
    fn add_to(&self, attributes: &mut Attributes) {
        let Self(set, clear) = *self;
        attributes.set = attributes.set & !clear & !set | set;
        attributes.clear = (attributes.clear | clear) & !set | (clear & ATIME_MASK);
    }
}

impl MountPlan {
    /// Whether it is a directory of devices of the container's own, and not the host's.
    pub(crate) fn is_own_dev(&self) -> bool {
        self.target == Path::new("/dev") && !matches!(self.kind, Kind::Bind { .. })
    }

    /// A file system in memory becomes read-only when all that lies in it has been put there.
    pub(crate) fn is_read_only_later(&self) -> bool {
        matches!(&self.kind, Kind::New { name, .. } if name == "tmpfs") && self.attributes.set & RDONLY != 0
    }

    /// Reads one entry of `mounts`.
    pub(crate) fn new(mount: &Mount) -> Result<Self> {
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |word: &str| options.iter().any(|o| o == word);
        let name = mount.typ().as_deref().unwrap_or("none");
        let bind = name == "bind" || has("bind") || has("rbind");
        let mut plan = Self {
            kind: kind(mount, name, bind, has("rbind"))?,
            target: mount.destination().clone(),
            attributes: Attributes::default(),
            recursive: Attributes { recursive: true, ..Attributes::default() },
            propagation: 0,
            owners: owners(mount, options)?,
            copy_up: has("tmpcopyup"),
            links: if bind { Links::of(has, mount.destination())? } else { Links::default() },
        };
        if !plan.target.is_absolute() {
            return Err(Error::invalid(format!(
                "the mount target `{}` is not absolute",
                plan.target.display()
            )));
        }
        for option in options {
            plan.option(option)?;
        }
        Ok(plan)
    }

    /// The same, but of the source only this part is seen.
    pub(crate) fn with_part(mut self, wanted: Option<&PathBuf>) -> Self {
        if let Kind::Bind { part, .. } | Kind::Layers { part, .. } = &mut self.kind {
            *part = wanted.cloned();
        }
        self
    }

    /// The same, but made of these layers, where there are any.
    pub(crate) fn with_layers(mut self, layers: Option<&Vec<PathBuf>>) -> Self {
        if let Some(lowers) = layers {
            self.kind = Kind::Layers { lowers: lowers.clone(), part: None };
        }
        self
    }

    fn option(&mut self, option: &str) -> Result<()> {
        if let Some(word) = word(option) {
            word.add_to(&mut self.attributes);
            return Ok(());
        }
        if let Some(word) = option.strip_prefix('r').and_then(word) {
            word.add_to(&mut self.recursive);
            return Ok(());
        }
        if let Some(bits) = propagation(option) {
            self.propagation = bits;
            return Ok(());
        }
        match (&mut self.kind, option) {
            (_, "bind" | "rbind" | "defaults" | "remount" | "idmap" | "ridmap" | "tmpcopyup") => Ok(()),
            // Words of fstab that mean the kernel's default, or nothing to it, or only how much it says.
            (
                _,
                "async" | "nomand" | "norelatime" | "nouser" | "auto" | "noauto" | "silent" | "loud" | "",
            ) => Ok(()),
            // File systems that count versions of files do it unasked: the new calls for mounts have no word for it.
            (_, "iversion" | "noiversion" | "acl") => Ok(()),
            (Kind::Bind { .. }, "src-nofollow" | "dest-nofollow" | "copy-symlink") => Ok(()),
            (Kind::New { options, .. }, _) => {
                let (key, value) = match option.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (option, None),
                };
                options.push((key.to_owned(), value));
                Ok(())
            }
            // mount(2) has never looked at what a bind says about the contents of file systems, and bundles rely on it.
            (
                Kind::Bind { .. } | Kind::Again,
                "sync" | "dirsync" | "mand" | "lazytime" | "nolazytime" | "noacl",
            ) => Ok(()),
            (Kind::Bind { .. }, option)
                if ["mode=", "size=", "uid=", "gid="].iter().any(|w| option.starts_with(w)) =>
            {
                Ok(())
            }
            _ => Err(Error::invalid(format!(
                "the mount on `{}` has the unknown option `{option}`",
                self.target.display()
            ))),
        }
    }
}

fn owners(mount: &Mount, options: &[String]) -> Result<Option<Owners>> {
    let has = |word: &str| options.iter().any(|o| o == word);
    let (uids, gids) = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
    let mappings = match (uids.unwrap_or_default(), gids.unwrap_or_default()) {
        ([], []) => None,
        (uids, gids) if !uids.is_empty() && !gids.is_empty() => Some(Mappings::new(uids, gids)),
        _ => {
            return Err(Error::invalid(format!(
                "the mount on `{}` has mappings of only users or only groups",
                mount.destination().display()
            )));
        }
    };
    let wanted = mappings.is_some() || has("idmap") || has("ridmap");
    Ok(wanted.then(|| Owners { mappings, recursive: has("ridmap") }))
}

fn kind(mount: &Mount, name: &str, bind: bool, recursive: bool) -> Result<Kind> {
    let source = mount.source().as_ref();
    let again = mount.options().iter().flatten().any(|option| option == "remount");
    match (bind, name) {
        _ if again => Ok(Kind::Again),
        (true, _) => match source {
            Some(source) if source.is_absolute() => {
                Ok(Kind::Bind { source: source.clone(), part: None, recursive })
            }
            _ => Err(Error::invalid(format!(
                "the bind mount on `{}` needs an absolute source",
                mount.destination().display()
            ))),
        },
        (false, "none") => {
            Err(Error::invalid(format!("the mount on `{}` has no type", mount.destination().display())))
        }
        (false, "cgroup" | "cgroup2") => Ok(Kind::Cgroup),
        (false, name) => Ok(Kind::New {
            name: name.into(),
            source: source.map(|s| s.to_string_lossy().into_owned()),
            options: Vec::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::MountBuilder;

    fn plan(typ: &str, options: &[&str]) -> Result<MountPlan> {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        let builder = MountBuilder::default().destination("/t").source("/s").typ(typ).options(options);
        MountPlan::new(&builder.build().unwrap())
    }

    #[test]
    fn the_last_of_two_contrary_words_wins() {
        for (options, set, clear) in [
            (&["ro"][..], RDONLY, 0),
            (&["ro", "rw"], 0, RDONLY),
            (&["rw", "ro"], RDONLY, 0),
            (&["nosuid", "noexec", "nodev", "ro"], RDONLY | NOSUID | NODEV | NOEXEC, 0),
            (&["strictatime", "noatime"], NOATIME, ATIME_MASK),
            (&["noatime", "atime"], 0, ATIME_MASK),
        ] {
            let plan = plan("bind", options).unwrap();
            assert_eq!((plan.attributes.set, plan.attributes.clear), (set, clear), "{options:?}");
        }
    }

    #[test]
    fn what_is_announced_is_understood() {
        for option in option_words() {
            assert!(plan("bind", &[&option]).is_ok(), "{option}");
        }
    }

    #[test]
    fn kinds_options_and_propagation() {
        let tmpfs = plan("tmpfs", &["size=64k", "nosuid", "noswap"]).unwrap();
        let options = vec![("size".into(), Some("64k".into())), ("noswap".into(), None)];
        assert_eq!(tmpfs.kind, Kind::New { name: "tmpfs".into(), source: Some("/s".into()), options });
        let bind = plan("none", &["rbind", "rshared", "rro"]).unwrap();
        assert_eq!(bind.kind, Kind::Bind { source: "/s".into(), part: None, recursive: true });
        assert_eq!(bind.propagation, libc::MS_SHARED | libc::MS_REC);
        assert_eq!(bind.recursive.set, RDONLY);
        let below = plan("bind", &["rnosuid", "rnoexec", "rexec"]).unwrap().recursive;
        assert_eq!((below.set, below.clear), (NOSUID, NOEXEC));
        let owners = plan("bind", &["ridmap"]).unwrap().owners;
        assert_eq!(owners, Some(Owners { mappings: None, recursive: true }));
        assert!(plan("bind", &["size=1"]).is_ok() && plan("bind", &["colour=1"]).is_err());
        assert!(plan("none", &[]).is_err());
        for quiet in ["silent", "loud", "iversion", "noiversion", "acl", ""] {
            assert_eq!(plan("tmpfs", &[quiet]).unwrap(), plan("tmpfs", &[]).unwrap(), "{quiet}");
        }
    }

    #[test]
    fn links_are_followed_unless_a_word_says_otherwise() {
        let links = |options: &[&str]| plan("bind", options).map(|plan| plan.links);
        assert_eq!(links(&[]).unwrap(), Links::default());
        let both = Links { shown: true, covered: true, copied: false };
        assert_eq!(links(&["src-nofollow", "dest-nofollow"]).unwrap(), both);
        assert!(links(&["copy-symlink"]).unwrap().keeps_source());
        for other in ["src-nofollow", "dest-nofollow"] {
            assert!(links(&["copy-symlink", other]).is_err(), "{other}");
        }
    }
}
