//! `RUN --mount`: what a step sees beside its root, and what of that is a part of its key.
//!
//! Files of a context, a stage or an image come as a layer of their own, read-only by nature; what is written to a
//! copy of them goes with the step. Invariant: a secret's bytes are in memory, in a file below the run root, and in
//! no key, record or log.

use super::Solver;
use super::context::HostTree;
use super::evidence::{FileSet, chain};
use super::failed::{KeptMount, KeptSource};
use super::graph::By;
use super::key::Inputs;
use super::snapshot::Snapshot;
use super::stage::{Turn, layers_from};
use super::step::Doing;
use super::workdir::clean;
use crate::copy::{Placing, Target, place};
use crate::dockerfile::{Expander, Mount, MountKind, Run, Sharing};
use crate::failure::Failure;
use crate::files::{Choice, Root, Wanted, digest_of_choices, pick};
use crate::host::{Layer, StepMount, StepMountSource};
use crate::mounts;
use berth_oci::{AtPath, Digest, Error, Platform, Result};
use berth_store::{ChangesOptions, Lease, Store, Workplace};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The mounts of a step, their variables replaced.
pub(super) struct Mounts(Vec<One>);

struct One {
    mount: Mount,
    target: String,
    /// Of the stage.
    platform: Platform,
    source: Source,
}

/// What is in it.
enum Source {
    /// Files of the context, chosen and digested.
    Context { choices: Vec<Choice>, digest: String, contents: Vec<Vec<[u8; 32]>>, name: Option<String> },
    /// Files of layers.
    Layers(Vec<Layer>),
    /// An empty directory, memory, a secret, an agent.
    Own,
}

/// Mounts that are ready, and what has to stay for them.
#[derive(Default)]
pub(super) struct Held {
    pub(super) mounts: Vec<StepMount>,
    pub(super) env: Vec<String>,
    /// The same mounts, for whoever looks into the step after it has failed.
    kept: Vec<KeptMount>,
    /// Where those files lie that the step may change, by their targets.
    copies: Vec<(String, PathBuf)>,
    places: Vec<Workplace>,
    locks: Vec<File>,
    caches: Vec<mounts::CacheMountUse>,
    secrets: Option<SecretsDirectory>,
}

/// What a mount's files are called in their layer.
pub(super) const FILES: &str = "files";

/// Goes, with everything in it, whatever happens to the step.
struct SecretsDirectory(PathBuf);

impl Drop for SecretsDirectory {
    fn drop(&mut self) {
        // It lies in memory and goes with the next boot at the latest.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Mounts {
    pub(super) fn prepare(
        solver: &Solver<'_>,
        snapshot: &Snapshot,
        turn: &Turn<'_>,
        run: &Run,
    ) -> Result<Self, Failure> {
        let mut all = Vec::new();
        let mut expander = Expander::new(snapshot.scope.variables());
        let mut agents = 0;
        for flag in &run.mounts {
            let mount = flag.resolve(&mut expander).map_err(Error::from)?;
            let target = target(&mount, snapshot, agents)?;
            agents += usize::from(mount.kind == MountKind::Ssh);
            let source = source(solver, snapshot, turn, &mount)?;
            all.push(One { mount, target, platform: snapshot.platform.clone(), source });
        }
        Ok(Self(all))
    }

    /// What of them decides about the result: never what a secret or a cache holds.
    pub(super) fn add_inputs(&self, inputs: &mut Inputs) {
        for one in &self.0 {
            let mount = &one.mount;
            let from = match &one.source {
                Source::Context { digest, .. } => digest.clone(),
                Source::Layers(layers) => chain(layers.iter().map(|layer| &layer.diff_id)),
                Source::Own => String::new(),
            };
            inputs.add(
                format!("mount {} {}", mount.kind.name(), one.target),
                format!(
                    "{from} {:?} {:?} {:?} {} {:?} {:?} {:?}",
                    mount.source,
                    mount.id,
                    mount.env,
                    mount.read_only,
                    mount.size,
                    mount.mode,
                    (mount.uid, mount.gid)
                ),
            );
        }
    }

    /// The files of contexts that the step can read.
    pub(super) fn files(&self) -> Vec<FileSet<'_>> {
        let sets = self.0.iter().filter_map(|one| match &one.source {
            Source::Context { choices, contents, .. } => {
                Some(FileSet { choices, contents: contents.clone() })
            }
            Source::Layers(_) | Source::Own => None,
        });
        sets.collect()
    }

    /// Makes them ready.
    pub(super) fn hold(&self, solver: &Solver<'_>, snapshot: &Snapshot, doing: &Doing<'_>) -> Result<Held> {
        let mut held = Held::default();
        for (number, one) in self.0.iter().enumerate() {
            let source = match one.mount.kind {
                MountKind::Bind => Some(one.bind(solver, doing, number, &mut held)?),
                MountKind::Cache => Some(one.cache(solver, doing, &mut held)?),
                MountKind::Tmpfs => Some(StepMountSource::Tmpfs(one.mount.size)),
                MountKind::Secret => one.secret(solver, snapshot, number, &mut held)?,
                MountKind::Ssh => one.agent(solver, &mut held)?,
            };
            if let Some(source) = source {
                held.keep(&one.target, &source);
                held.mounts.push(StepMount { target: PathBuf::from(&one.target), source });
            }
        }
        Ok(held)
    }
}

impl Held {
    /// Writes down how the mount can be had again. What has a layer has said so itself.
    fn keep(&mut self, target: &str, source: &StepMountSource) {
        if self.kept.iter().any(|kept| kept.target == target) {
            return;
        }
        let source = match source {
            StepMountSource::Tmpfs(size) => KeptSource::Tmpfs { size: *size },
            StepMountSource::Bind { path, read_only } => {
                match path.ancestors().any(|above| above.ends_with("builds/mounts")) {
                    true => KeptSource::Bind { path: path.clone(), read_only: *read_only },
                    // A secret, an agent: gone with the build.
                    false => return,
                }
            }
        };
        self.kept.push(KeptMount { target: target.to_owned(), source });
    }

    /// How the mounts of a step that failed can be had again: files that it could change as it has left them.
    pub(super) fn left(&self, store: &Store, lease: &Lease) -> Result<Vec<KeptMount>> {
        let mut kept = self.kept.clone();
        for (target, copy) in &self.copies {
            let (_, diff_id) = store.add_changes(copy, &ChangesOptions::default(), lease)?;
            let source = KeptSource::Layer { diff_id, writable: true };
            kept.retain(|mount| mount.target != *target);
            kept.push(KeptMount { target: target.clone(), source });
        }
        Ok(kept)
    }

    /// The step has ended well; what was held for it is given back.
    pub(super) fn settle(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

/// Where a mount goes, from the root.
fn target(mount: &Mount, snapshot: &Snapshot, agents: usize) -> Result<String> {
    let named = mount.target.as_deref().filter(|target| !target.is_empty());
    let target = match (named, mount.kind) {
        (None, MountKind::Secret) => format!("/run/secrets/{}", secret_id(mount)),
        (None, MountKind::Ssh) => format!("/run/buildkit/ssh_agent.{agents}"),
        // Without one it is the working directory.
        (target, _) => clean(&snapshot.absolute(target.unwrap_or_default())),
    };
    match target.as_str() {
        "/" => Err(Error::invalid("invalid mount target \"/\"").hint("say target= and a directory below it")),
        _ => Ok(target),
    }
}

fn secret_id(mount: &Mount) -> String {
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    mount
        .id
        .clone()
        .or_else(|| mount.source.clone())
        .or_else(|| mount.target.as_deref().map(base))
        .or_else(|| mount.env.clone())
        .unwrap_or_default()
}

fn source(
    solver: &Solver<'_>,
    snapshot: &Snapshot,
    turn: &Turn<'_>,
    mount: &Mount,
) -> Result<Source, Failure> {
    let shared = solver.shared;
    match (mount.kind, mount.from.as_deref()) {
        (MountKind::Bind, None) => Ok(from_tree(shared.contexts.main()?, mount, None)?),
        (MountKind::Bind | MountKind::Cache, Some(from)) => {
            match layers_from(solver, snapshot, turn, from, By::Name)? {
                Some(layers) => Ok(Source::Layers(layers)),
                None => {
                    let tree = shared.contexts.named(shared.request, from, &snapshot.platform)?;
                    Ok(from_tree(tree, mount, Some(from))?)
                }
            }
        }
        _ => Ok(Source::Own),
    }
}

fn from_tree(tree: &HostTree, mount: &Mount, name: Option<&str>) -> Result<Source> {
    let choices = chosen(&tree.root, mount)?;
    let (digest, contents) = digest_of_choices(&tree.contents(), &choices)?;
    Ok(Source::Context { choices, digest, contents, name: name.map(str::to_owned) })
}

fn chosen(root: &Root, mount: &Mount) -> Result<Vec<Choice>> {
    let path = mount.source.as_deref().filter(|source| !source.is_empty()).unwrap_or("/");
    pick(root, &Wanted { path, parents: false, exclude: None })
}

impl One {
    fn bind(
        &self,
        solver: &Solver<'_>,
        doing: &Doing<'_>,
        number: usize,
        held: &mut Held,
    ) -> Result<StepMountSource> {
        let path = self.materialised(solver, doing, held)?;
        if self.mount.read_only {
            return Ok(StepMountSource::Bind { path, read_only: true });
        }
        let own = doing.place.directory()?.join(format!("mount-{number}"));
        fs::create_dir(&own).at(&own)?;
        let copy = own.join(FILES);
        copy_tree(&path, &copy)?;
        held.copies.push((self.target.clone(), own));
        Ok(StepMountSource::Bind { path: copy, read_only: false })
    }

    /// A path of the host at which the mount's files are: in a layer made of them.
    fn materialised(&self, solver: &Solver<'_>, doing: &Doing<'_>, held: &mut Held) -> Result<PathBuf> {
        let shared = solver.shared;
        let write = |root: &Root, choices: &[Choice]| -> Result<Digest> {
            let mut target = Target::new(None, shared.now().as_second(), shared.request.epoch);
            let placing = Placing { destination: FILES.as_bytes(), owner: None, mode: None };
            choices.iter().try_for_each(|choice| place(&mut target, root, choice, &placing))?;
            Ok(shared.store.add_written_layer(doing.place.lease(), |out| target.write(out))?.1)
        };
        let diff_id = match &self.source {
            Source::Context { choices, name, .. } => {
                let tree = match name {
                    Some(name) => shared.contexts.named(shared.request, name, &self.platform)?,
                    None => shared.contexts.main()?,
                };
                write(&tree.root, choices)?
            }
            Source::Layers(layers) => {
                shared.bring(layers)?;
                let place = shared.store.workplace()?;
                let ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
                let root = Root::layers(place.view(&ids)?);
                let choices = chosen(&root, &self.mount)?;
                write(&root, &choices)?
            }
            Source::Own => return Err(Error::internal("a mount without a source has no files")),
        };
        let place = shared.store.workplace()?;
        let rootfs = place.rootfs(std::slice::from_ref(&diff_id))?;
        held.places.push(place);
        if self.mount.kind == MountKind::Bind {
            let (target, source) = (self.target.clone(), KeptSource::Layer { diff_id, writable: false });
            held.kept.push(KeptMount { target, source });
        }
        Ok(rootfs.lowers[0].join(FILES))
    }

    fn cache(&self, solver: &Solver<'_>, doing: &Doing<'_>, held: &mut Held) -> Result<StepMountSource> {
        let shared = solver.shared;
        let mount = &self.mount;
        let namespace = shared.request.args.get("BUILDKIT_CACHE_MOUNT_NS").map(|ns| format!("{ns}/"));
        let id = format!("{}{}", namespace.unwrap_or_default(), mount.id.as_deref().unwrap_or(&self.target));
        let all = shared.store.build_directory("mounts")?;
        // Whoever wants another owner, another mode or other first contents wants another directory.
        let origin = match &self.source {
            Source::Layers(layers) => {
                layers.iter().map(|layer| layer.diff_id.to_string()).collect::<String>()
            }
            Source::Context { digest, .. } => digest.clone(),
            Source::Own => String::new(),
        };
        let look = mounts::Look {
            uid: mount.uid,
            gid: mount.gid,
            mode: mount.mode,
            origin: &origin,
            source: mount.source.as_deref(),
        };
        let base = mounts::key(&id, &look);
        let name = match mount.sharing.unwrap_or(Sharing::Shared) {
            Sharing::Shared => base,
            Sharing::Locked => {
                held.locks.push(locked(&all.join(format!("{base}.lock")), doing)?);
                base
            }
            Sharing::Private => {
                let mut number = 0;
                loop {
                    let name = if number == 0 { base.clone() } else { format!("{base}-{number}") };
                    if let Some(lock) = try_locked(&all.join(format!("{name}.lock")))? {
                        held.locks.push(lock);
                        break name;
                    }
                    number += 1;
                }
            }
        };
        held.caches.push(mounts::hold(&all, &name)?);
        let directory = all.join(&name);
        let data = directory.join("data");
        if !data.is_dir() {
            self.make_cache(solver, doing, held, &directory, &id)?;
        }
        Ok(StepMountSource::Bind { path: data, read_only: mount.read_only })
    }

    /// A new cache: its directory appears complete.
    fn make_cache(
        &self,
        solver: &Solver<'_>,
        doing: &Doing<'_>,
        held: &mut Held,
        directory: &Path,
        id: &str,
    ) -> Result<()> {
        let mount = &self.mount;
        let fresh = doing.place.directory()?.join("cache");
        fs::create_dir(&fresh).at(&fresh)?;
        let data = fresh.join("data");
        match self.source {
            Source::Own => fs::create_dir(&data).at(&data)?,
            _ => copy_tree(&self.materialised(solver, doing, held)?, &data)?,
        }
        let mode = fs::Permissions::from_mode(mount.mode.unwrap_or(0o755));
        fs::set_permissions(&data, mode).at(&data)?;
        chown(&data, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0))).at(&data)?;
        mounts::publish(&fresh, id, directory)
    }

    fn secret(
        &self,
        solver: &Solver<'_>,
        snapshot: &Snapshot,
        number: usize,
        held: &mut Held,
    ) -> Result<Option<StepMountSource>> {
        let id = secret_id(&self.mount);
        let Some(bytes) = solver.shared.request.secrets.get(&id) else {
            return match self.mount.required {
                true => Err(Error::not_found(format!("secret {id}: not found"))
                    .hint(format!("give it with --secret id={id},src=FILE"))),
                false => Ok(None),
            };
        };
        if let Some(name) = &self.mount.env {
            let value = std::str::from_utf8(bytes)
                .map_err(|_| Error::invalid(format!("secret {id} is no text, so no variable can hold it")))?;
            held.env.push(format!("{name}={value}"));
            if self.mount.target.is_none() {
                return Ok(None);
            }
        }
        let path = self.secret_file(solver, snapshot, number, bytes, held)?;
        Ok(Some(StepMountSource::Bind { path, read_only: true }))
    }

    fn secret_file(
        &self,
        solver: &Solver<'_>,
        _snapshot: &Snapshot,
        number: usize,
        bytes: &Arc<[u8]>,
        held: &mut Held,
    ) -> Result<PathBuf> {
        if held.secrets.is_none() {
            let place = solver.shared.store.workplace()?;
            let name = place.directory()?.file_name().map(ToOwned::to_owned).unwrap_or_default();
            let directory = solver.shared.store.location().runroot.join("secrets").join(name);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).at(&directory)?;
            held.secrets = Some(SecretsDirectory(directory));
            held.places.push(place);
        }
        let directory = &held.secrets.as_ref().expect("it was just made").0;
        let path = directory.join(number.to_string());
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).at(&path)?;
        std::io::Write::write_all(&mut file, bytes).at(&path)?;
        file.set_permissions(fs::Permissions::from_mode(self.mount.mode.unwrap_or(0o400))).at(&path)?;
        chown(&path, Some(self.mount.uid.unwrap_or(0)), Some(self.mount.gid.unwrap_or(0))).at(&path)?;
        Ok(path)
    }

    fn agent(&self, solver: &Solver<'_>, held: &mut Held) -> Result<Option<StepMountSource>> {
        let id = self.mount.id.as_deref().unwrap_or("default");
        // Programs find out themselves that nobody is there.
        held.env.push(format!("SSH_AUTH_SOCK={}", self.target));
        let Some(path) = solver.shared.request.agents.get(id) else {
            return match self.mount.required {
                true => Err(Error::not_found(format!("unset ssh forward key {id}"))
                    .hint(format!("give it with --ssh {id}"))),
                false => Ok(None),
            };
        };
        if self.mount.uid.is_some_and(|uid| uid != 0) || self.mount.gid.is_some_and(|gid| gid != 0) {
            return Err(Error::unsupported("RUN --mount=type=ssh: only root can use the agent")
                .hint("leave uid and gid out"));
        }
        Ok(Some(StepMountSource::Bind { path: path.clone(), read_only: false }))
    }
}

fn open_lock(path: &Path) -> Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).at(path)
}

fn try_locked(path: &Path) -> Result<Option<File>> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at(path),
    }
}

/// Waits, as long as the build goes on.
fn locked(path: &Path, doing: &Doing<'_>) -> Result<File> {
    loop {
        if let Some(lock) = try_locked(path)? {
            return Ok(lock);
        }
        doing.shared.cancel.check()?;
        // See `step.rs`: a lock that is waited for cannot be given up.
        thread::sleep(Duration::from_millis(20));
    }
}

/// A copy that may be written to, with modes, owners and times; devices and pipes stay behind.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(from).at(from)?;
    if metadata.is_symlink() {
        let target = fs::read_link(from).at(from)?;
        std::os::unix::fs::symlink(target, to).at(to)?;
    } else if metadata.is_dir() {
        fs::create_dir(to).at(to)?;
        for entry in fs::read_dir(from).at(from)? {
            let entry = entry.at(from)?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if metadata.is_file() {
        fs::copy(from, to).at(from)?;
    } else {
        return Ok(());
    }
    lchown(to, Some(metadata.uid()), Some(metadata.gid())).at(to)?;
    if !metadata.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777)).at(to)?;
    }
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from).at(to)
}
