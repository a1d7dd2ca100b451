//! What is written down about a container, and what it says together with the kernel.

use super::Runtime;
use super::place::Place;
use super::understand::{Understood, understand};
use crate::cgroup::Cgroup;
use crate::hook::Subject;
use crate::systemd::Unit;
use berth_oci::{AtPath, Error, Result};
use jiff::Timestamp;
use oci_spec::runtime::Spec;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Everything that does not change, and the first process once there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) subject: Subject,
    pub(super) rootfs: PathBuf,
    pub(super) created: Timestamp,
    pub(super) cgroup: Cgroup,
    /// What systemd calls its cgroup, if systemd has made it.
    #[serde(default)]
    pub(super) unit: Option<Unit>,
    pub(super) first: Option<FirstProcess>,
}

/// A number, and when the process with it began: together they mean one process of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FirstProcess {
    pub(super) pid: i32,
    born: u64,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Somebody is making it, or died while doing so.
    Creating,
    /// All is prepared, its program does not run yet.
    Created,
    /// Its program runs.
    Running,
    /// It runs, but nothing in it gets any time.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Condition {
    /// The specification's word, and the one more that runtimes have.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container's state in the specification's words, with what command lines show beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The version of the specification that the bundle follows.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// The number of its first process; 0 when there is none.
    pub pid: i32,
    /// How far it is.
    pub status: Condition,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// The bundle's annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<HashMap<String, String>>,
    /// Who made it; everything here is root's.
    pub owner: String,
}

impl FirstProcess {
    /// The process that has this number now.
    pub(super) fn with(pid: i32) -> Result<Self> {
        let born =
            birth_of(pid)?.ok_or_else(|| Error::conflict("the container's process has ended at once"))?;
        Ok(Self { pid, born })
    }

    /// A handle on it; `None` when it has ended.
    pub(super) fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        // Asked after the handle is there: were the number another's by now, its birth would say so.
        Ok((birth_of(self.pid)? == Some(self.born)).then_some(pidfd))
    }
}

/// When the process began, in ticks since boot; `None` when it has ended, even if nobody has taken note of that.
fn birth_of(pid: i32) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/stat");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(error) => return Err(error).at(&path),
    };
    // The name in parentheses may contain anything, parentheses too.
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    let mut fields = after.split(' ');
    let has_ended = matches!(fields.next(), Some("Z" | "X" | "x"));
    let born = fields.nth(18).and_then(|field| field.parse().ok());
    Ok(born.filter(|_| !has_ended))
}

impl Record {
    pub(super) fn read(place: &Place) -> Result<Self> {
        let path = place.record();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt(format!("`{}` cannot be read", path.display())).caused_by(e)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::not_found("container does not exist"))
            }
            Err(error) => Err(error).at(&path),
        }
    }

    pub(super) fn write(&self, place: &Place) -> Result<()> {
        let path = place.record();
        let temporary = place.path().join("state.json.tmp");
        fs::write(&temporary, serde_json::to_vec(self).expect("paths, numbers and texts")).at(&temporary)?;
        fs::rename(&temporary, &path).at(&path)
    }

    /// Its first process, while that lives.
    pub(super) fn process(&self) -> Result<Option<OwnedFd>> {
        self.first.map_or(Ok(None), |first| first.open())
    }

    pub(super) fn condition(&self, place: &Place) -> Result<Condition> {
        Ok(match (&self.first, self.process()?) {
            (None, _) => Condition::Creating,
            (Some(_), None) => Condition::Stopped,
            (Some(_), Some(_)) if place.awaits_start() => Condition::Created,
            (Some(_), Some(_)) if self.cgroup.is_frozen() => Condition::Paused,
            (Some(_), Some(_)) => Condition::Running,
        })
    }

    pub(super) fn view(&self, place: &Place) -> Result<View> {
        let status = self.condition(place)?;
        let pid = self.first.filter(|_| status != Condition::Stopped).map_or(0, |first| first.pid);
        Ok(View {
            oci_version: self.subject.version.clone(),
            id: self.subject.id.clone(),
            pid,
            status,
            bundle: self.subject.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: self.created,
            annotations: self.subject.annotations.clone(),
            owner: "root".into(),
        })
    }
}

/// A specification in a file.
pub(super) fn read_bundle(path: &std::path::Path) -> Result<Understood<Spec>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::not_found(format!("JSON specification file `{}` not found", path.display())));
        }
        result => result.at(path)?,
    };
    let what = format!("the runtime specification `{}`", path.display());
    let mut understood = understand::<Spec>(bytes, "/process", &what)?;
    forget_empty(&mut understood.document);
    Ok(understood)
}

/// What is empty was not said: programs in Go cannot tell the one from the other.
fn forget_empty(spec: &mut Spec) {
    let Some(linux) = spec.linux_mut() else { return };
    let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        let path = namespace.path().clone();
        namespace.set_path(path.filter(|path| !is_empty(path)));
    }
    let propagation = linux.rootfs_propagation().clone();
    linux.set_rootfs_propagation(propagation.filter(|word| !word.is_empty()));
}

/// A specification that was understood before.
pub(super) fn read_spec(path: &std::path::Path) -> Result<Spec> {
    Ok(read_bundle(path)?.document)
}

impl Runtime {
    pub(super) fn load(&self, id: &str) -> Result<(Place, Record)> {
        let place = Place::of(&self.root, id)?;
        let record = Record::read(&place)?;
        Ok((place, record))
    }

    /// The state of one container.
    pub fn state(&self, id: &str) -> Result<View> {
        let (place, record) = self.load(id)?;
        record.view(&place)
    }

    /// The state of each container, by name.
    pub fn list(&self) -> Result<Vec<View>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.at(&self.root)?,
        };
        let mut views = Vec::new();
        for entry in entries {
            let name = entry.at(&self.root)?.file_name();
            match self.load(&name.to_string_lossy()) {
                Ok((place, record)) => views.push(record.view(&place)?),
                // Of something else, or gone in this moment.
                Err(error)
                    if matches!(error.kind(), berth_oci::Kind::NotFound | berth_oci::Kind::Invalid) => {}
                Err(error) => return Err(error),
            }
        }
        views.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_not_a_process() {
        let us = std::process::id().cast_signed();
        let first = FirstProcess::with(us).unwrap();
        assert!(first.open().unwrap().is_some());
        assert!(FirstProcess { born: first.born + 1, ..first }.open().unwrap().is_none());
        assert!(FirstProcess { pid: i32::MAX, ..first }.open().unwrap().is_none());
    }
}
