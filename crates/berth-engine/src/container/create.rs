//! `create`: from a person's words and an image to a record in the store.
//!
//! Invariant: nothing is mounted, no process is started; whatever can be known to be wrong is said here.

use super::given::give_volume;
use super::shared::check_donors;
use super::{Container, Document, short_id};
use crate::dns::HostResolver;
use crate::engine::Engine;
use crate::network::check_addresses;
use crate::process::Process;
use crate::random;
use crate::spec::{Bind, ContainerName, ContainerSpec, Mount, NetworkMode};
use berth_oci::{AtPath, Digest, Error, Kind, Platform, Result};
use berth_runtime::net::DEFAULT;
use berth_store::NewContainer;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// How often a random name is tried again when somebody has it.
const NAME_ATTEMPTS: usize = 16;

/// A container to be.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// What is wanted.
    pub spec: ContainerSpec,
    /// Its id, where somebody had to know it before; a random one where none is given.
    pub id: Option<String>,
    /// Its name; a random one where none is given.
    pub name: Option<ContainerName>,
}

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// It.
    pub container: Container,
    /// What could not be done as asked, in words for the user.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a container from an image that is here.
    ///
    /// # Errors
    /// `NotFound`: no such image; `Conflict`: the name is taken; `Invalid`: what is asked for makes no sense.
    pub fn create(&self, request: CreateRequest) -> Result<Created> {
        let spec = self.resolved(request.spec.checked(processors())?)?;
        let image = self.store()?.resolve(&spec.image)?;
        let chosen = self.store()?.platform_image(&image.target, spec.platform.as_ref())?;
        let process = Process::new(&chosen.config.config, &spec)?;
        self.runtime_of(&spec)?;
        if spec.size.is_some() && self.settings().apart.is_some() {
            return Err(Error::unsupported("only the machine's root can limit the size of a container")
                .hint("leave out --storage-opt"));
        }
        check_processors(&spec)?;
        check_donors(self, &spec)?;
        prepare_sources(&spec)?;
        let mut mounts = self.settle_mounts(&spec, &chosen.config.config)?;
        self.resolve_images(&mut mounts, spec.platform.as_ref())?;
        let id = request.id.map_or_else(random::id, Ok)?;
        let hostname = self.hostname(&spec, &id)?;
        let mut warnings = warnings(&spec)?;
        warnings.extend(foreign(&spec, &chosen.config.platform()));
        let document = Document { spec, process, hostname, mounts, users: None, layers: chosen.diff_ids };
        let digests = (&image.target, chosen.manifest.digest());
        let mut made = Vec::new();
        let added = self.add_with_volumes(id, request.name, digests, document, &mut made);
        let filled = added.and_then(|container| match self.prepare_files(&container) {
            Ok(()) => Ok(container),
            Err(error) => self.discard(&container.id, false).and(Err(error)),
        });
        match filled {
            Ok(container) => {
                self.tell_container(&container, "create", &[])?;
                Ok(Created { container, warnings })
            }
            Err(error) => self.remove_volumes(&made).and(Err(error)),
        }
    }

    /// Whether the image of `spec` is here, for its platform.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_image(&self, spec: &ContainerSpec) -> Result<bool> {
        let found = self
            .store()?
            .resolve(&spec.image)
            .and_then(|image| self.store()?.platform_image(&image.target, spec.platform.as_ref()).map(drop));
        match found {
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            found => found.map(|()| true),
        }
    }

    /// Makes what volumes it needs, and the record, which keeps them.
    fn add_with_volumes(
        &self,
        id: String,
        name: Option<ContainerName>,
        image: (&Digest, &Digest),
        mut document: Document,
        made: &mut Vec<String>,
    ) -> Result<Container> {
        let _kept = self.store()?.keep_volumes()?;
        self.make_volumes(&mut document.mounts, made)?;
        let _users = document.spec.users.is_own().then(|| self.store()?.lock_users()).transpose()?;
        document.users = self.choose_users(document.spec.users)?;
        document.become_caller();
        for name in &*made {
            give_volume(document.users, &self.store()?.volume_data(name))?;
        }
        let text = document.text();
        let (volumes, images) = (document.volumes(), document.images());
        let record = self.add(&id, name, |id, name| {
            let new = NewContainer {
                id,
                name,
                image: Some(image),
                document: &text,
                volumes: &volumes,
                images: &images,
            };
            self.store()?.add_container(&new)
        })?;
        Ok(Container {
            id: record.id,
            name: record.name,
            image: record.image,
            manifest: record.manifest,
            created: record.created,
            document,
            state: None,
        })
    }

    /// Networks by their names; the containers whose network it shares, or that it is linked to, by their ids. A network that is not here may be
    /// made before the start.
    fn resolved(&self, mut spec: ContainerSpec) -> Result<ContainerSpec> {
        if let NetworkMode::Container(other) = &spec.network {
            let other = self.store()?.container(other).map_err(|error| {
                Error::invalid(format!("joining network namespace of container: {error}"))
            })?;
            spec.network = NetworkMode::Container(other.id);
        }
        for attachment in &mut spec.attachments {
            if attachment.network == DEFAULT {
                self.resolve_links(&mut attachment.links)?;
                continue;
            }
            match self.network(&attachment.network) {
                Ok(network) => {
                    check_addresses(&network, attachment).map_err(|error| {
                        Error::invalid(format!("invalid config for network {}: {error}", network.name))
                    })?;
                    attachment.network = network.name;
                }
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(spec)
    }

    fn hostname(&self, spec: &ContainerSpec, id: &str) -> Result<String> {
        match (&spec.hostname, &spec.network) {
            (Some(hostname), _) => Ok(hostname.clone()),
            (None, network) if *network == NetworkMode::Host || spec.host_uts => {
                let path = "/proc/sys/kernel/hostname";
                Ok(fs::read_to_string(path).at(path)?.trim_end().to_owned())
            }
            (None, NetworkMode::Container(other)) => Ok(self.container(other)?.document.hostname),
            (None, _) => Ok(short_id(id).to_owned()),
        }
    }

    /// Adds the container under its name, or under the first random one that nobody has.
    fn add<T>(
        &self,
        id: &str,
        name: Option<ContainerName>,
        add: impl Fn(&str, &str) -> Result<T>,
    ) -> Result<T> {
        if let Some(name) = name {
            return add(id, name.as_str());
        }
        for _ in 1..NAME_ATTEMPTS {
            match add(id, random_name()?.as_str()) {
                Err(error) if error.kind() == Kind::Conflict => {}
                added => return added,
            }
        }
        add(id, &format!("{}_{}", random_name()?, short_id(id)))
    }
}

/// Whether the processors and the memory that were named are there.
fn check_processors(spec: &ContainerSpec) -> Result<()> {
    let (cpus, memory) = (&spec.resources.cpuset_cpus, &spec.resources.cpuset_mems);
    check_set("CPUs", cpus.as_deref(), "/sys/devices/system/cpu/online")?;
    check_set("memory nodes", memory.as_deref(), "/sys/devices/system/node/online")
}

fn check_set(what: &str, wanted: Option<&str>, path: &str) -> Result<()> {
    let Some(wanted) = wanted.filter(|set| !set.is_empty()) else { return Ok(()) };
    let online = match fs::read_to_string(path) {
        // A kernel without nodes has one.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "0".to_owned(),
        online => online.at(path)?,
    };
    match numbers(wanted).is_subset(&numbers(online.trim_end())) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "Requested {what} are not available - requested {wanted}, available: {}",
            online.trim_end()
        ))),
    }
}

/// The numbers of `0-2,4`, whose form has been checked.
fn numbers(set: &str) -> std::collections::BTreeSet<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    set.split(',').filter_map(range).flatten().collect()
}

/// How many processors this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn random_name() -> Result<ContainerName> {
    let [first, second] = random::bytes::<2>()?;
    Ok(ContainerName::from_random(first.into(), second.into()))
}

fn warnings(spec: &ContainerSpec) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if spec.network == NetworkMode::Host && !spec.ports.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if spec.network == NetworkMode::Bridge
        && spec.dns.servers.is_empty()
        && HostResolver::read()?.is_of_no_use()
    {
        warnings.push(
            "The host names no name server that containers can reach: they ask 8.8.8.8 and 8.8.4.4 (--dns names others)"
                .to_owned(),
        );
    }
    if spec.resources.oom_kill_disable && spec.resources.memory.is_none() {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// Docker's warning of an image for another machine that nobody asked for.
fn foreign(spec: &ContainerSpec, platform: &Platform) -> Option<String> {
    let is_named = !platform.architecture.is_empty();
    let is_surprise = is_named && spec.platform.is_none() && !crate::emulator::is_native(platform);
    is_surprise.then(|| {
        format!(
            "The requested image's platform ({platform}) does not match the detected host platform ({}) \
             and no specific platform was requested",
            Platform::host()
        )
    })
}

fn prepare_sources(spec: &ContainerSpec) -> Result<()> {
    let binds = spec.mounts.iter().filter_map(|mount| match mount {
        Mount::Bind(bind) => Some(bind),
        Mount::Volume(_) | Mount::Tmpfs(_) | Mount::Image(_) => None,
    });
    for bind in binds {
        prepare_source(bind)?;
    }
    Ok(())
}

/// `-v` makes a directory where nothing is; `--mount` says that nothing is there.
fn prepare_source(bind: &Bind) -> Result<()> {
    let source = &bind.source;
    if bind.mode.split(',').any(|word| matches!(word, "z" | "Z"))
        && Path::new("/sys/fs/selinux/enforce").exists()
    {
        return Err(Error::unsupported(format!(
            "cannot relabel `{}`: SELinux labels are not supported yet",
            source.display()
        ))
        .hint("leave out z and Z, and label the directory with chcon"));
    }
    match fs::metadata(source) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && bind.create_source => {
            fs::create_dir_all(source).at(source)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            source.display()
        ))
        .hint("make it first; `-v` makes a directory by itself")),
        Err(error) => Err(error).at(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Below, Flag, Owners};

    #[test]
    fn sets_of_processors() {
        assert_eq!(numbers("0-2,4").into_iter().collect::<Vec<_>>(), [0, 1, 2, 4]);
        let wants = |set: &str| {
            let mut spec = ContainerSpec::default();
            spec.resources.cpuset_cpus = Some(set.to_owned());
            check_processors(&spec).map_err(|e| e.to_string())
        };
        wants("0").unwrap();
        let refused = wants("0-60000").unwrap_err();
        assert!(
            refused.starts_with("Requested CPUs are not available - requested 0-60000, available: 0"),
            "{refused}"
        );
    }

    #[test]
    fn sources_of_binds() {
        let directory = tempfile::tempdir().unwrap();
        let bind = |name: &str, create_source: bool, mode: &str| Bind {
            source: directory.path().join(name),
            target: "/x".into(),
            read_only: false,
            below: Below::Enabled,
            propagation: None,
            mode: mode.to_owned(),
            flag: Flag::Volume,
            owners: Owners::Kept,
            create_source,
        };
        prepare_source(&bind("made/deep", true, "")).unwrap();
        assert!(directory.path().join("made/deep").is_dir());
        let error = prepare_source(&bind("missing", false, "")).unwrap_err();
        assert!(error.to_string().contains("bind source path does not exist: "), "{error}");
        fs::write(directory.path().join("file"), "").unwrap();
        prepare_source(&bind("file", true, "ro")).unwrap();
        assert!(prepare_source(&bind("file/below", true, "")).is_err());
    }
}
