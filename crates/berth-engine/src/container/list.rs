//! `ps`: which containers, and how much room they take.
//!
//! Not here: columns and words. Invariant: a filter that was given and fits nothing shows nothing.

use super::Container;
use crate::engine::Engine;
use crate::matching::patterns;
use crate::spec::{ExposedPort, Mount};
use berth_oci::{AtPath, Digest, Error, Kind, Result};
use berth_runtime::Status;
use jiff::Timestamp;
use regex::Regex;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Which containers are wanted; within one field any may fit, all fields must.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Also those that are not running.
    pub all: bool,
    /// Only so many of the youngest, running or not.
    pub last: Option<usize>,
    /// Patterns for ids.
    pub ids: Vec<String>,
    /// Patterns for names.
    pub names: Vec<String>,
    /// `created`, `running`, `paused`, `exited`, …
    pub statuses: Vec<String>,
    /// Exit codes of those that have ended.
    pub exited: Vec<i32>,
    /// `key` or `key=value`; all must fit.
    pub labels: Vec<String>,
    /// Images, by name or id, that a container is made from.
    pub ancestors: Vec<String>,
    /// Made before this container.
    pub before: Option<String>,
    /// Made after this container.
    pub since: Option<String>,
    /// Sources or targets of mounts.
    pub volumes: Vec<String>,
    /// `bridge`, `host`, `none`.
    pub networks: Vec<String>,
    /// Ports that are published.
    pub published: Vec<ExposedPort>,
    /// Ports that are listened on.
    pub exposed: Vec<ExposedPort>,
    /// `none` and docker's other words for health.
    pub health: Vec<String>,
}

/// How much room a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// What it has written.
    pub writable: u64,
    /// That and its image.
    pub total: u64,
}

/// A selection with its look-ups done.
struct Rules<'a> {
    wanted: &'a Selection,
    ids: Vec<Regex>,
    names: Vec<Regex>,
    ancestors: Option<HashSet<Digest>>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Engine {
    /// The containers that are wanted, the youngest first.
    ///
    /// # Errors
    /// A pattern or a named container is wrong; the store cannot be read.
    pub fn list(&self, wanted: &Selection) -> Result<Vec<Container>> {
        let rules = self.rules(wanted)?;
        // `last`, or asking for a status, is about all of them.
        let all = wanted.all || wanted.last.is_some() || !wanted.statuses.is_empty();
        let mut containers = self.containers()?;
        containers.retain(|container| (all || container.is_running()) && rules.fit(container));
        containers.truncate(wanted.last.unwrap_or(usize::MAX));
        Ok(containers)
    }

    fn rules<'a>(&self, wanted: &'a Selection) -> Result<Rules<'a>> {
        let created = |name: &Option<String>| match name {
            Some(name) => Ok::<_, Error>(Some(self.store()?.container(name)?.created)),
            None => Ok(None),
        };
        Ok(Rules {
            wanted,
            ids: patterns("id", &wanted.ids)?,
            names: patterns("name", &wanted.names)?,
            ancestors: self.ancestors(&wanted.ancestors)?,
            before: created(&wanted.before)?,
            since: created(&wanted.since)?,
        })
    }

    /// The targets that the names mean; an unknown image has no containers.
    fn ancestors(&self, names: &[String]) -> Result<Option<HashSet<Digest>>> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut targets = HashSet::new();
        for name in names {
            match self.store()?.resolve(name) {
                Ok(image) => {
                    targets.insert(image.target);
                }
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Invalid) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(targets))
    }

    /// How much room a container takes.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn size(&self, container: &Container) -> Result<ContainerSize> {
        let writable = self.writable_size(&container.id)?;
        let image = match &container.image {
            Some(target) => self.unpacked_size(target, container.manifest.as_ref())?,
            None => 0,
        };
        Ok(ContainerSize { writable, total: writable + image })
    }

    fn unpacked_size(&self, target: &Digest, manifest: Option<&Digest>) -> Result<u64> {
        match self.store()?.image(target) {
            Ok(image) => {
                let chosen = image.manifests()?.iter().find(|m| Some(&m.descriptor.digest) == manifest);
                Ok(chosen.map_or(0, |m| m.unpacked_size))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// What a container has written into its root file system, as the disk has it.
    pub(crate) fn writable_size(&self, id: &str) -> Result<u64> {
        disk_usage(&self.store()?.container_dir(id).join("upper"))
    }
}

impl Rules<'_> {
    fn fit(&self, container: &Container) -> bool {
        let wanted = self.wanted;
        let spec = &container.document.spec;
        let process = &container.document.process;
        let code = container.state.as_ref().filter(|s| s.status == Status::Exited).and_then(|s| s.exit_code);
        let name = format!("/{}", container.name);
        any(&self.ids, |id| id.is_match(&container.id))
            && any(&self.names, |pattern| pattern.is_match(&name) || pattern.is_match(&container.name))
            && any(&wanted.statuses, |status| status == word(container.status()))
            && any(&wanted.exited, |wanted| code == Some(*wanted))
            && wanted.labels.iter().all(|label| has_label(container, label))
            && self
                .ancestors
                .as_ref()
                .is_none_or(|set| container.image.as_ref().is_some_and(|t| set.contains(t)))
            && self.before.is_none_or(|moment| container.created < moment)
            && self.since.is_none_or(|moment| container.created > moment)
            && any(&wanted.volumes, |volume| {
                container.document.mounts.iter().any(|mount| is_at(mount, volume))
            })
            && any(&wanted.networks, |network| is_on(container, network))
            && any(&wanted.exposed, |port| process.exposed.contains(port))
            && any(&wanted.published, |port| {
                spec.ports.iter().any(|m| (m.container_port, m.protocol) == (port.port, port.protocol))
            })
            && any(&wanted.health, |wanted| {
                wanted == container.health().map_or("none", |h| h.status.as_str())
            })
    }
}

/// Docker's word for what a container is doing.
#[must_use]
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
    }
}

fn any<T>(wanted: &[T], fits: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

fn has_label(container: &Container, wanted: &str) -> bool {
    let labels = &container.document.process.labels;
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

fn is_at(mount: &Mount, place: &str) -> bool {
    let source = match mount {
        Mount::Bind(bind) => bind.source == Path::new(place),
        Mount::Volume(volume) => volume.name.as_deref() == Some(place),
        Mount::Image(image) => image.source == place,
        Mount::Tmpfs(_) => false,
    };
    source || mount.target() == Path::new(place)
}

/// The bytes that a tree occupies; every file once, however many names it has.
fn disk_usage(root: &Path) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut pending = vec![root.to_owned()];
    let mut bytes = 0;
    while let Some(path) = pending.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // It went while we looked.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).at(&path),
        };
        if metadata.nlink() == 1 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
            bytes += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).at(&path)? {
                pending.push(entry.at(&path)?.path());
            }
        }
    }
    Ok(bytes)
}

/// By the network's name, or by its id while the container is on it.
fn is_on(container: &Container, network: &str) -> bool {
    let spec = &container.document.spec;
    let named = match spec.attachments_at_start() {
        attachments if attachments.is_empty() => spec.network.to_string() == network,
        attachments => attachments.iter().any(|attachment| attachment.network == network),
    };
    named
        || container
            .joined()
            .iter()
            .any(|joined| joined.network_id.starts_with(network) && network.len() >= 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Document;
    use crate::process::Process;
    use crate::spec::{ContainerSpec, NetworkMode, parse_expose, parse_mount};

    fn container() -> Container {
        let labels = [("a".to_owned(), "b".to_owned())].into();
        Container {
            id: "0123456789ab".repeat(5) + "cdef",
            name: "web".to_owned(),
            image: Some(Digest::of(b"image")),
            manifest: None,
            created: Timestamp::from_second(1000).unwrap(),
            document: Document {
                spec: ContainerSpec {
                    ports: berth_runtime::net::PortMapping::parse("8080:80").unwrap(),
                    network: NetworkMode::Bridge,
                    ..ContainerSpec::default()
                },
                process: Process {
                    labels,
                    exposed: parse_expose("80").unwrap().into_iter().collect(),
                    ..Process::default()
                },
                hostname: String::new(),
                mounts: vec![
                    parse_mount("type=bind,src=/src,dst=/dst").unwrap().resolve(Path::new("/")).unwrap(),
                ],
                users: None,
                layers: Vec::new(),
            },
            state: None,
        }
    }

    #[test]
    fn every_filter_can_say_no() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let base = Selection::default;
        let ports = |text: &str| parse_expose(text).unwrap();
        for (wanted, expected) in [
            (base(), true),
            (Selection { ids: words(&["^0123"]), ..base() }, true),
            (Selection { ids: words(&["^123"]), ..base() }, false),
            (Selection { names: words(&["eb"]), ..base() }, true),
            (Selection { names: words(&["^/web$"]), ..base() }, true),
            (Selection { names: words(&["^web$"]), ..base() }, true),
            (Selection { names: words(&["db", "we"]), ..base() }, true),
            (Selection { names: words(&["db"]), ..base() }, false),
            (Selection { statuses: words(&["created"]), ..base() }, true),
            (Selection { statuses: words(&["running"]), ..base() }, false),
            (Selection { exited: vec![0], ..base() }, false),
            (Selection { labels: words(&["a", "a=b"]), ..base() }, true),
            (Selection { labels: words(&["a", "a=c"]), ..base() }, false),
            (Selection { volumes: words(&["/src"]), ..base() }, true),
            (Selection { volumes: words(&["/dst"]), ..base() }, true),
            (Selection { volumes: words(&["/x"]), ..base() }, false),
            (Selection { networks: words(&["bridge"]), ..base() }, true),
            (Selection { networks: words(&["host"]), ..base() }, false),
            (Selection { published: ports("80"), ..base() }, true),
            (Selection { published: ports("80/udp"), ..base() }, false),
            (Selection { exposed: ports("79-80"), ..base() }, true),
            (Selection { exposed: ports("79"), ..base() }, false),
            (Selection { health: words(&["none"]), ..base() }, true),
            (Selection { health: words(&["healthy"]), ..base() }, false),
        ] {
            let rules = Rules {
                wanted: &wanted,
                ids: patterns("id", &wanted.ids).unwrap(),
                names: patterns("name", &wanted.names).unwrap(),
                ancestors: None,
                before: None,
                since: None,
            };
            assert_eq!(rules.fit(&container()), expected, "{wanted:?}");
        }
        assert_eq!(patterns("name", &words(&["("])).unwrap_err().to_string(), "invalid filter 'name=('");
    }

    #[test]
    fn a_tree_is_measured_once() {
        let directory = tempfile::tempdir().unwrap();
        let empty = disk_usage(directory.path()).unwrap();
        fs::write(directory.path().join("a"), vec![1; 8192]).unwrap();
        fs::hard_link(directory.path().join("a"), directory.path().join("b")).unwrap();
        assert_eq!(disk_usage(directory.path()).unwrap(), empty + 8192);
        assert_eq!(disk_usage(&directory.path().join("nope")).unwrap(), 0);
    }
}
