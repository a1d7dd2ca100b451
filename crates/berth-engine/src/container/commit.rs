//! `commit`: what a container has written becomes a layer, and with its image an image.
//!
//! Invariant: the container is as it was afterwards, running again if it ran.

use super::{Container, UserRange};
use crate::engine::Engine;
use berth_oci::{Digest, Error, History, ImageConfig, Reference, Result, RuntimeConfig};
use berth_store::{ChangesOptions, Renumbered};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// How a container becomes an image.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The image's name; without one it has only its id.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Dockerfile instructions: `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// Whether its processes stand still meanwhile.
    pub pause: bool,
}

/// Where something is mounted in every container: what stands there empty is not the container's.
pub(super) const STUBS: [&str; 12] = [
    "dev",
    "dev/console",
    "dev/mqueue",
    "dev/pts",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "proc",
    "sys",
    "sys/fs",
    "sys/fs/cgroup",
];

impl Engine {
    /// Makes an image of a container; answers its id.
    ///
    /// # Errors
    /// A change is wrong, or the image that the container was made from is not here any more.
    pub fn commit(&self, container: &Container, options: &CommitOptions) -> Result<Digest> {
        let (base, layers) = self.base(container)?;
        let mut config = runtime_config(container, &base.config);
        berth_build::amend(&mut config, &options.changes)?;
        let pause = options.pause && container.status() == berth_runtime::Status::Running;
        if pause {
            self.pause(&container.id)?;
        }
        let made = self.commit_now(container, options, ImageConfig { config, ..base }, layers);
        if pause {
            self.unpause(&container.id)?;
        }
        made
    }

    /// The config of the container's image, and its layers.
    fn base(&self, container: &Container) -> Result<(ImageConfig, Vec<berth_oci::Descriptor>)> {
        let gone = || {
            Error::not_found(format!("the image of container {} is not here any more", container.name))
                .hint("`berth export` writes its files, `berth import` makes an image of them")
        };
        let store = self.store()?;
        let manifest = store.manifest(container.manifest.as_ref().ok_or_else(gone)?)?;
        let (_, config) = store.config(&manifest)?;
        Ok((config, manifest.image().ok_or_else(gone)?.layers.clone()))
    }

    fn commit_now(
        &self,
        container: &Container,
        options: &CommitOptions,
        mut config: ImageConfig,
        mut layers: Vec<berth_oci::Descriptor>,
    ) -> Result<Digest> {
        let store = self.store()?;
        let lease = store.lease()?;
        let upper = self.layers_of(container)?.upper;
        let [uids, gids] = owners(container);
        let changes = ChangesOptions { stubs: stubs(container), uids, gids, ..ChangesOptions::default() };
        let (layer, diff_id) = store.add_changes(&upper, &changes, &lease)?;
        layers.push(layer);
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let now = Timestamp::now().to_string();
        config.created = Some(now.clone());
        config.author = text(&options.author);
        config.rootfs.diff_ids.push(diff_id);
        config.history.push(History {
            created: Some(now),
            created_by: Some(container.document.process.args().join(" ")),
            author: text(&options.author),
            comment: text(&options.message),
            ..History::default()
        });
        let manifest = store.put_image(&config, layers, BTreeMap::new(), options.name.as_ref(), &lease)?;
        Ok(manifest.digest().clone())
    }
}

/// Whose files lie on the disk as whose, where they do not lie there with the container's own numbers.
fn owners(container: &Container) -> [Vec<Renumbered>; 2] {
    let given = container.document.users.filter(|users| users.is_given);
    given.map_or_else(Default::default, UserRange::spans_on_disk)
}

/// Paths that stand in the upper directory only for the sake of a mount.
pub(super) fn stubs(container: &Container) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let own = STUBS.iter().map(|stub| stub.as_bytes().to_vec());
    let targets = container.document.mounts.iter().flat_map(|mount| {
        let above = mount.target().ancestors().filter_map(|path| path.strip_prefix("/").ok());
        above.map(|path| path.as_os_str().as_bytes().to_vec()).collect::<Vec<_>>()
    });
    own.chain(targets).filter(|stub| !stub.is_empty()).collect()
}

/// What the container runs with is what containers of the image will run with.
fn runtime_config(container: &Container, base: &RuntimeConfig) -> RuntimeConfig {
    let process = &container.document.process;
    let spec = &container.document.spec;
    let mut config = base.clone();
    config.env = process.env.iter().filter(|variable| variable.contains('=')).cloned().collect();
    config.entrypoint.clone_from(&process.entrypoint);
    config.cmd.clone_from(&process.cmd);
    config.user.clone_from(&process.user);
    config.working_dir.clone_from(&process.working_dir);
    config.labels.clone_from(&process.labels);
    config.exposed_ports = process.exposed.iter().map(|port| (port.to_string(), json!({}))).collect();
    config.volumes.extend(spec.volumes.iter().map(|place| (place.display().to_string(), json!({}))));
    config.stop_signal = process.stop_signal.map(|signal| signal.to_string());
    config
}
