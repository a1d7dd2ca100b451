//! Which cgroup hierarchies this machine has, and where: by asking each directory what it is, not by mountinfo.

use berth_oci::{AtPath, Error, Result};
use rustix::fs::{Access, statfs};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const CGROUP: i64 = 0x0027_e0eb;
const CGROUP2: i64 = 0x6367_7270;

/// The generation of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// v1: the controllers it has (`cpu`, `cpuacct`); v2: what its root offers.
    pub(crate) controllers: Vec<String>,
    pub(crate) mount: PathBuf,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// What is mounted under `/sys/fs/cgroup`.
    pub(crate) fn detect() -> Result<Self> {
        Self::under(Path::new("/sys/fs/cgroup"))
    }

    /// Those in which a cgroup `parent` is there or may be made: all of them for the machine's root, for somebody else
    /// what has been given to him, which may be nothing.
    pub(crate) fn for_parent(parent: &str) -> Result<Self> {
        if berth_sys::users::is_initial()? {
            return Self::detect();
        }
        // Without any, a container runs where its monitor does.
        let mut layout = Self::detect().unwrap_or(Self { hierarchies: Vec::new() });
        layout.hierarchies = layout.hierarchies.into_iter().filter_map(|h| h.given(parent)).collect();
        Ok(layout)
    }

    /// Whether such a cgroup may be made, but no process of ours moved there from where we are: the user's systemd has
    /// it, and his session is elsewhere, as one of ssh is.
    pub(crate) fn is_beyond_reach(parent: &str) -> Result<bool> {
        if berth_sys::users::is_initial()? {
            return Ok(false);
        }
        let layout = Self::detect().unwrap_or(Self { hierarchies: Vec::new() });
        Ok(layout.v2().is_some_and(|v2| v2.nearest(parent).is_some_and(|nearest| !v2.can_move_to(&nearest))))
    }

    fn under(root: &Path) -> Result<Self> {
        if let Some(only) = hierarchy(root, "")? {
            return Ok(Self { hierarchies: vec![only] });
        }
        let mut hierarchies = Vec::new();
        for entry in fs::read_dir(root).at(root)? {
            let entry = entry.at(root)?;
            // `cpu` may be a link to `cpu,cpuacct`: the directory itself is enough.
            if entry.file_type().at(entry.path())?.is_dir() {
                hierarchies.extend(hierarchy(&entry.path(), &entry.file_name().to_string_lossy())?);
            }
        }
        hierarchies.sort_by(|a, b| a.mount.cmp(&b.mount));
        if hierarchies.is_empty() {
            return Err(Error::unsupported(format!("no cgroup is mounted under `{}`", root.display()))
                .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup"));
        }
        Ok(Self { hierarchies })
    }

    /// The v2 hierarchy, alone or beside v1.
    pub(crate) fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.version == Version::V2)
    }

    /// The v1 hierarchy with this controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.version == Version::V1 && h.has(controller))
    }
}

impl Hierarchy {
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// The same with the controllers that are passed on to where `parent` is; none where we may make nothing there.
    fn given(self, parent: &str) -> Option<Self> {
        let nearest = self.nearest(parent)?;
        match self.version {
            Version::V1 => Some(self),
            Version::V2 if !self.can_move_to(&nearest) => None,
            Version::V2 => Some(Self { controllers: hierarchy(&nearest, "").ok()??.controllers, ..self }),
        }
    }

    /// The lowest cgroup that is there of those that lead to `parent`, if we may make others in it.
    fn nearest(&self, parent: &str) -> Option<PathBuf> {
        let path = self.mount.join(parent.trim_matches('/'));
        let mut above = path.ancestors().take_while(|dir| dir.starts_with(&self.mount));
        let nearest = above.find(|dir| dir.is_dir())?;
        rustix::fs::access(nearest, Access::WRITE_OK).ok().map(|()| nearest.to_owned())
    }

    /// Whoever moves a process needs a right on what lies above both places.
    fn can_move_to(&self, place: &Path) -> bool {
        rustix::fs::access(self.above(place).join("cgroup.procs"), Access::WRITE_OK).is_ok()
    }

    /// The lowest cgroup that has both this process and `place` below it.
    fn above(&self, place: &Path) -> PathBuf {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        common(&self.mount.join(own), place)
    }

    /// The name it has under `/sys/fs/cgroup`; empty for v2 alone.
    pub(crate) fn name(&self) -> String {
        match self.mount.strip_prefix("/sys/fs/cgroup") {
            Ok(name) => name.to_string_lossy().into_owned(),
            Err(_) => self.controllers.join(","),
        }
    }
}

/// As far as two paths are the same.
fn common(one: &Path, other: &Path) -> PathBuf {
    one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

fn hierarchy(mount: &Path, name: &str) -> Result<Option<Hierarchy>> {
    let kind = statfs(mount).map_err(io::Error::from).at(mount)?.f_type;
    let found = |version, controllers| Ok(Some(Hierarchy { version, controllers, mount: mount.into() }));
    match kind as i64 {
        CGROUP => found(Version::V1, name.split(',').map(Into::into).collect()),
        CGROUP2 => {
            let path = mount.join("cgroup.controllers");
            let text = fs::read_to_string(&path).at(&path)?;
            found(Version::V2, text.split_whitespace().map(Into::into).collect())
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_layout_with_pids_somewhere() {
        let layout = Layout::detect().unwrap();
        let v2 = layout.v2().is_some_and(|h| h.has("pids"));
        assert!(v2 || layout.v1("pids").is_some(), "{layout:?}");
    }

    #[test]
    fn two_places_have_something_above_them() {
        for (one, other, expected) in [
            ("/c/u/s1", "/c/u/s2/x", "/c/u"),
            ("/c/u/s1", "/c/u/s1/x", "/c/u/s1"),
            ("/c/user", "/c/us", "/c"),
        ] {
            assert_eq!(common(Path::new(one), Path::new(other)), Path::new(expected));
        }
    }

    #[test]
    fn a_directory_without_cgroups_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Layout::under(dir.path()).unwrap_err();
        assert!(error.to_string().starts_with("no cgroup is mounted"), "{error}");
    }
}
