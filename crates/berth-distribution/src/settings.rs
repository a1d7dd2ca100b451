//! Everything the client has to be told: plain values, because only the binary knows paths and environment.
//!
//! Not here: reading any of these files; each topic reads its own. Invariant: the default knows no file, no
//! proxy and no mirror, so a test that uses it touches nothing of the machine.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a [`Client`](crate::Client) is told by the binary.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What we call ourselves, `berth/0.1.0`.
    pub user_agent: String,
    /// How long we wait for what.
    pub timeouts: Timeouts,
    /// The proxies of the environment.
    pub proxies: Proxies,
    /// Registries (`host`, `host:port` or an address range `10.0.0.0/8`) whose certificate is not verified and
    /// which may speak plain HTTP. Loopback always may.
    pub insecure: Vec<String>,
    /// Directories with a directory `host:port` for each registry, holding `*.crt`, `*.cert` and `*.key`.
    pub certificate_directories: Vec<PathBuf>,
    /// The files that say where else images may be pulled from.
    pub mirrors: MirrorFiles,
    /// The files that hold passwords.
    pub credentials: CredentialFiles,
    /// How many parallel connections one large blob may use; 1 switches ranges off.
    pub connections_per_blob: usize,
    /// A link that brings so many bytes a second is not worth several connections.
    pub fast_link: u64,
    /// How often a transfer may fail in a row without any progress.
    pub attempts: u32,
    /// How a pause between two tries is spent.
    pub pause: Pause,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_agent: concat!("berth/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            proxies: Proxies::default(),
            insecure: Vec::new(),
            certificate_directories: Vec::new(),
            mirrors: MirrorFiles::default(),
            credentials: CredentialFiles::default(),
            connections_per_blob: 4,
            fast_link: 200_000_000,
            attempts: 6,
            pause: Pause::default(),
        }
    }
}

/// How long we wait for what.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Until a name is resolved and a connection stands, TLS included.
    pub connect: Duration,
    /// Without a single byte coming or going.
    pub stall: Duration,
    /// For a registry to say that it took an upload: it may hash gigabytes before it answers.
    pub commit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(15), stall: seconds(30), commit: seconds(600) }
    }
}

/// The values of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `http://` addresses.
    pub http: Option<String>,
    /// For `https://` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly: names, `.suffix`, addresses, CIDR ranges, `host:port`, `*`.
    pub no_proxy: String,
}

/// A proxy's address may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// Where mirrors are configured, our own file first. What is not there is skipped.
#[derive(Clone, Debug, Default)]
pub struct MirrorFiles {
    /// Our own configuration, with `[[mirror]]` tables.
    pub own: Option<PathBuf>,
    /// `registries.conf` and its drop-in directories, in the order they are read.
    pub registries_conf: Vec<PathBuf>,
    /// Docker's `daemon.json`.
    pub daemon_json: Option<PathBuf>,
    /// containerd's `certs.d` trees with a `hosts.toml` for each registry.
    pub hosts_directories: Vec<PathBuf>,
}

/// Where credentials are kept.
#[derive(Clone, Debug, Default)]
pub struct CredentialFiles {
    /// Docker's `config.json`: read first, and the one that `login` writes.
    pub docker_config: Option<PathBuf>,
    /// Podman's `auth.json`, in the order of preference.
    pub podman: Vec<PathBuf>,
}

/// How a pause between two tries is spent: asleep, or, in a test, not at all.
#[derive(Clone)]
pub struct Pause(Arc<dyn Fn(Duration) + Send + Sync>);

impl Pause {
    /// Spends pauses with `wait`.
    pub fn new(wait: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(wait))
    }

    pub(crate) fn wait(&self, time: Duration) {
        (self.0)(time);
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self::new(std::thread::sleep)
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pause")
    }
}
