//! What every command gets: the settings, and the engine that is built from them when a command asks.
//!
//! Invariant: `berth version` opens no store and builds no HTTP client.

use crate::settings::{self, Settings};
use crate::user::User;
use berth_distribution::{CredentialFiles, MirrorFiles, Proxies};
use berth_engine::{Engine, EngineSettings};
use berth_oci::{Platform, Result};
use berth_runtime::net::Apart;
use berth_store::{KeepBlobs, Location};
use std::cell::OnceCell;
use std::path::PathBuf;

/// What every command gets.
pub(crate) struct Context {
    /// Environment, configuration file and global switches.
    pub(crate) settings: Settings,
    engine: OnceCell<Engine>,
}

impl Context {
    /// Around these settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, engine: OnceCell::new() }
    }

    /// The engine.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub(crate) fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Engine::new(self.engine_settings()?);
        Ok(self.engine.get_or_init(|| engine))
    }

    fn engine_settings(&self) -> Result<EngineSettings> {
        let settings = &self.settings;
        let platform = settings.default_platform.as_deref().map(str::parse).transpose()?;
        Ok(EngineSettings {
            location: Location { root: settings.root.clone(), runroot: settings.runroot.clone() },
            registries: registries(settings),
            jobs: settings.file.max_concurrent_transfers.unwrap_or(JOBS),
            keep_blobs: match settings.file.keep_blobs {
                None | Some(settings::KeepBlobs::Auto) => KeepBlobs::Auto,
                Some(settings::KeepBlobs::Always) => KeepBlobs::Always,
                Some(settings::KeepBlobs::Never) => KeepBlobs::Never,
            },
            platform: platform.unwrap_or_else(Platform::host),
            executable: PathBuf::from("/proc/self/exe"),
            cdi_directories: settings.cdi_directories(),
            usual: settings.is_usual(),
            publish_at: settings.file.publish_address.filter(|ip| !ip.is_unspecified()),
            cgroup_base: settings.user.as_ref().map_or_else(String::new, User::cgroup),
            runtimes: settings.file.runtimes.clone(),
            programs: settings.environment.programs.clone(),
            apart: settings.user.as_ref().map(|_| Apart {
                namespace: berth_runtime::rootless::network(&settings.runroot),
                programs: settings.environment.programs.clone(),
            }),
        })
    }
}

/// What the registry client has to be told of this machine.
fn registries(settings: &Settings) -> berth_distribution::Settings {
    let environment = &settings.environment;
    let config_home = environment.config_home();
    let runtime_dir =
        environment.xdg_runtime_dir.clone().unwrap_or_else(|| PathBuf::from("/run/containers/0"));
    let podman = environment
        .registry_auth_file
        .clone()
        .into_iter()
        .chain([runtime_dir.join("containers/auth.json"), config_home.join("containers/auth.json")]);
    berth_distribution::Settings {
        proxies: Proxies {
            http: environment.http_proxy.clone(),
            https: environment.https_proxy.clone(),
            no_proxy: environment.no_proxy.clone().unwrap_or_default(),
        },
        insecure: settings.file.insecure_registries.clone(),
        certificate_directories: vec![
            config_home.join("containers/certs.d"),
            PathBuf::from("/etc/berth/certs.d"),
            PathBuf::from("/etc/containers/certs.d"),
            PathBuf::from("/etc/docker/certs.d"),
        ],
        mirrors: MirrorFiles {
            own: Some(settings.config.clone()),
            registries_conf: vec![
                PathBuf::from("/etc/containers/registries.conf"),
                PathBuf::from("/etc/containers/registries.conf.d"),
            ],
            daemon_json: Some(PathBuf::from("/etc/docker/daemon.json")),
            hosts_directories: vec![
                PathBuf::from("/etc/containerd/certs.d"),
                PathBuf::from("/etc/docker/certs.d"),
            ],
        },
        credentials: CredentialFiles {
            docker_config: Some(settings.docker_config.join("config.json")),
            podman: podman.collect(),
        },
        ..berth_distribution::Settings::default()
    }
}

/// Layers that move at once; docker says 3 for pulls and 5 for pushes.
const JOBS: usize = 4;
