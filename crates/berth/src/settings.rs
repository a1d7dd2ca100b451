//! What the environment, the configuration file and the global switches say, as one value.
//!
//! The only place that reads the environment. Invariant: everything below gets plain values from here.

use crate::cli::Global;
use berth_oci::{AtPath, Error, Result};
use serde::Deserialize;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The name we were called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persona {
    /// `berth`.
    Berth,
    /// `docker`, by a symbolic link: its words and its options.
    Docker,
}

impl Persona {
    /// From the first word of the command line.
    pub(crate) fn of(program: &str) -> Self {
        match Path::new(program).file_name().and_then(|name| name.to_str()) {
            Some("docker") => Self::Docker,
            _ => Self::Berth,
        }
    }

    /// What to call ourselves in messages.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Berth => "berth",
            Self::Docker => "docker",
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, lines otherwise.
    #[default]
    Auto,
    /// Docker's lines.
    Plain,
    /// Bars, whatever stderr is.
    Tty,
    /// One JSON object a line, on stdout.
    Json,
    /// Nothing.
    None,
}

const DEFAULT_ROOT: &str = "/var/lib/berth";
const DEFAULT_RUNROOT: &str = "/run/berth";
const DEFAULT_CONFIG: &str = "/etc/berth/config.toml";

/// Everything a command may want to know about where it runs.
pub(crate) struct Settings {
    /// What we are called.
    pub(crate) persona: Persona,
    /// Where images and containers live.
    pub(crate) root: PathBuf,
    /// Where mounts and sockets live until the next boot.
    pub(crate) runroot: PathBuf,
    /// How progress is shown.
    pub(crate) progress: ProgressMode,
    /// The directory of docker's client configuration (`config.json`, credentials, manifest lists).
    pub(crate) docker_config: PathBuf,
    /// `DOCKER_DEFAULT_PLATFORM`.
    pub(crate) default_platform: Option<String>,
    /// The configuration file's words.
    pub(crate) file: ConfigFile,
    /// Where that file is, or would be.
    pub(crate) config: PathBuf,
    /// The environment where a child (a credential helper) or a proxy setting needs it.
    pub(crate) environment: Environment,
}

/// Variables that other rooms need, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `HOME`, or `/root`.
    pub(crate) home: PathBuf,
    /// `XDG_RUNTIME_DIR`.
    pub(crate) xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub(crate) xdg_config_home: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`, podman's.
    pub(crate) registry_auth_file: Option<PathBuf>,
    /// `HTTP_PROXY`, else `ALL_PROXY`.
    pub(crate) http_proxy: Option<String>,
    /// `HTTPS_PROXY`, else `ALL_PROXY`.
    pub(crate) https_proxy: Option<String>,
    /// `NO_PROXY`.
    pub(crate) no_proxy: Option<String>,
    /// `BERTH_FAULT`: where to kill ourselves, for crash tests.
    pub(crate) fault: Option<String>,
}

/// The configuration file: TOML, every field optional. `[[mirror]]` tables are read by the registry client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// Where images and containers live.
    pub(crate) root: Option<PathBuf>,
    /// Where mounts and sockets live.
    pub(crate) runroot: Option<PathBuf>,
    /// Registries without TLS, or with a certificate nobody signed.
    #[serde(default)]
    pub(crate) insecure_registries: Vec<String>,
    /// How many layers move at once.
    pub(crate) max_concurrent_transfers: Option<usize>,
    /// Bytes that the build cache may take: `20GB`.
    pub(crate) max_build_cache: Option<String>,
    /// Whether compressed layers are kept.
    pub(crate) keep_blobs: Option<KeepBlobs>,
    /// Where a port is published that names no address of the host.
    pub(crate) publish_address: Option<IpAddr>,
    /// Where descriptions of devices are (CDI); later directories outdo earlier ones.
    pub(crate) cdi_spec_dirs: Option<Vec<PathBuf>>,
    #[serde(default, rename = "mirror")]
    _mirrors: Vec<serde::de::IgnoredAny>,
}

/// `keep-blobs`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeepBlobs {
    /// Only where there is no registry to fetch them from again.
    Auto,
    /// They stay.
    Always,
    /// They do not.
    Never,
}

impl Settings {
    /// Whether this is the machine's one berth, with the root that nobody had to name.
    pub(crate) fn is_usual(&self) -> bool {
        self.root == Path::new(DEFAULT_ROOT)
    }

    /// Reads everything; the command line beats the environment, which beats the file.
    ///
    /// # Errors
    /// The configuration file that was asked for cannot be read or is wrong.
    pub(crate) fn read(persona: Persona, global: &Global) -> Result<Self> {
        let environment = read_environment();
        let (config, file) = read_file(persona, global)?;
        let path = |flag: &Option<PathBuf>, variable: &str, file: &Option<PathBuf>, default: &str| {
            let chosen = flag.clone().or_else(|| variable_path(variable)).or_else(|| file.clone());
            let chosen = chosen.unwrap_or_else(|| PathBuf::from(default));
            std::path::absolute(&chosen).at(&chosen)
        };
        let docker_config = match (persona, &global.config) {
            (Persona::Docker, Some(directory)) => directory.clone(),
            _ => variable_path("DOCKER_CONFIG").unwrap_or_else(|| environment.home.join(".docker")),
        };
        refuse_remote_host(global)?;
        Ok(Self {
            persona,
            root: path(&global.root, "BERTH_ROOT", &file.root, DEFAULT_ROOT)?,
            runroot: path(&global.runroot, "BERTH_RUNROOT", &file.runroot, DEFAULT_RUNROOT)?,
            progress: global.progress.unwrap_or_default(),
            docker_config,
            default_platform: variable_text("DOCKER_DEFAULT_PLATFORM"),
            file,
            config,
            environment,
        })
    }
}

/// There is no server to talk to: berth does the work itself. A socket of this machine in `DOCKER_HOST` is as
/// good as none; another machine is not.
fn refuse_remote_host(global: &Global) -> Result<()> {
    let (host, origin) = match (&global.host, variable_text("DOCKER_HOST")) {
        (Some(host), _) => (host.clone(), "--host"),
        (None, Some(host)) if !host.starts_with("unix://") => (host, "DOCKER_HOST"),
        _ => return Ok(()),
    };
    Err(Error::unsupported(format!("{origin} {host}: berth works on this machine and talks to no daemon"))
        .hint("leave it out; to work elsewhere, run berth there (ssh HOST berth …)"))
}

fn read_file(persona: Persona, global: &Global) -> Result<(PathBuf, ConfigFile)> {
    // `docker --config` names a directory of docker's own.
    let flag = global.config.clone().filter(|_| persona == Persona::Berth);
    let (path, must_exist) = match flag.or_else(|| variable_path("BERTH_CONFIG")) {
        Some(path) => (path, true),
        None => (PathBuf::from(DEFAULT_CONFIG), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            return Ok((path, ConfigFile::default()));
        }
        Err(e) => return Err(e).at(&path),
    };
    let file = toml::from_str(&text)
        .map_err(|e| Error::invalid(format!("the configuration file `{}` is wrong: {e}", path.display())))?;
    Ok((path, file))
}

fn read_environment() -> Environment {
    // Programs agree on lower case first for proxies (curl ignores HTTP_PROXY for CGI's sake).
    let either = |lower: &str, upper: &str| variable_text(lower).or_else(|| variable_text(upper));
    let all = either("all_proxy", "ALL_PROXY");
    Environment {
        home: variable_path("HOME").unwrap_or_else(|| PathBuf::from("/root")),
        xdg_runtime_dir: variable_path("XDG_RUNTIME_DIR"),
        xdg_config_home: variable_path("XDG_CONFIG_HOME"),
        registry_auth_file: variable_path("REGISTRY_AUTH_FILE"),
        http_proxy: either("http_proxy", "HTTP_PROXY").or_else(|| all.clone()),
        https_proxy: either("https_proxy", "HTTPS_PROXY").or(all),
        no_proxy: either("no_proxy", "NO_PROXY"),
        fault: variable_text("BERTH_FAULT"),
    }
}

/// A variable of the caller, for `-e NAME`; an empty one counts.
pub(crate) fn caller_variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
}

/// How many sockets a service manager has opened for us, from descriptor 3 on.
pub(crate) fn listening_sockets() -> u32 {
    variable_text("LISTEN_FDS").and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn variable(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn variable_path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

fn variable_text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}
