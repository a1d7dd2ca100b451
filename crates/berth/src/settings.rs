//! What the environment, the configuration file and the global switches say, as one value.
//!
//! The only place that reads the environment. Invariant: everything below gets plain values from here.

use crate::cli::Global;
use crate::user::User;
use berth_oci::{AtPath, Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
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
    /// Who runs this, if not root.
    pub(crate) user: Option<User>,
    /// Where images and containers live.
    pub(crate) root: PathBuf,
    /// Where they live when nobody says where.
    default_root: PathBuf,
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
    /// `HOME`, or where the user lives by `/etc/passwd`, or `/root`.
    pub(crate) home: PathBuf,
    /// `XDG_RUNTIME_DIR`.
    pub(crate) xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub(crate) xdg_config_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub(crate) xdg_data_home: Option<PathBuf>,
    /// The directories of `PATH`, and those where programs for root are.
    pub(crate) programs: Vec<PathBuf>,
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
    /// Other OCI runtimes: `crun = "/usr/bin/crun"`.
    #[serde(default)]
    pub(crate) runtimes: BTreeMap<String, PathBuf>,
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
    /// Where descriptions of devices are.
    pub(crate) fn cdi_directories(&self) -> Vec<PathBuf> {
        let usual = || ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).into();
        self.file.cdi_spec_dirs.clone().unwrap_or_else(usual)
    }

    /// Whether this is the machine's one berth, or the user's, with the root that nobody had to name.
    pub(crate) fn is_usual(&self) -> bool {
        self.root == self.default_root
    }

    /// Reads everything; the command line beats the environment, which beats the file.
    ///
    /// # Errors
    /// The configuration file that was asked for cannot be read or is wrong.
    pub(crate) fn read(persona: Persona, global: &Global) -> Result<Self> {
        let user = User::of_process(variable_text("USER"));
        let environment = read_environment(user.as_ref());
        let (config, file) = read_file(persona, global, user.as_ref().map(|_| &environment))?;
        let (default_root, default_runroot) = default_places(user.as_ref(), &environment);
        let path = |flag: &Option<PathBuf>, variable: &str, file: &Option<PathBuf>, default: &Path| {
            let chosen = flag.clone().or_else(|| variable_path(variable)).or_else(|| file.clone());
            let chosen = chosen.unwrap_or_else(|| default.to_owned());
            std::path::absolute(&chosen).at(&chosen)
        };
        let docker_config = match (persona, &global.config) {
            (Persona::Docker, Some(directory)) => directory.clone(),
            _ => variable_path("DOCKER_CONFIG").unwrap_or_else(|| environment.home.join(".docker")),
        };
        refuse_remote_host(global)?;
        Ok(Self {
            persona,
            user,
            root: path(&global.root, "BERTH_ROOT", &file.root, &default_root)?,
            runroot: path(&global.runroot, "BERTH_RUNROOT", &file.runroot, &default_runroot)?,
            default_root,
            progress: global.progress.unwrap_or_default(),
            docker_config,
            default_platform: variable_text("DOCKER_DEFAULT_PLATFORM"),
            file,
            config,
            environment,
        })
    }
}

/// Where images and containers, mounts and sockets are when nobody says where.
fn default_places(user: Option<&User>, environment: &Environment) -> (PathBuf, PathBuf) {
    let Some(user) = user else { return (DEFAULT_ROOT.into(), DEFAULT_RUNROOT.into()) };
    let data = environment.xdg_data_home.clone().unwrap_or_else(|| environment.home.join(".local/share"));
    (data.join("berth"), user.runroot(environment.xdg_runtime_dir.clone()))
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

/// A user's own file comes before the machine's, which says nothing about where his things are; his is looked for where
/// his `environment` is given.
fn read_file(
    persona: Persona,
    global: &Global,
    environment: Option<&Environment>,
) -> Result<(PathBuf, ConfigFile)> {
    let own = environment.map(|environment| environment.config_home().join("berth/config.toml"));
    let own = own.filter(|path| path.exists());
    // `docker --config` names a directory of docker's own.
    let flag = global.config.clone().filter(|_| persona == Persona::Berth);
    let (path, must_exist) = match flag.or_else(|| variable_path("BERTH_CONFIG")) {
        Some(path) => (path, true),
        None => (own.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG)), false),
    };
    let is_machines = environment.is_some() && !must_exist && own.is_none();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            return Ok((path, ConfigFile::default()));
        }
        Err(e) => return Err(e).at(&path),
    };
    let file: ConfigFile = toml::from_str(&text)
        .map_err(|e| Error::invalid(format!("the configuration file `{}` is wrong: {e}", path.display())))?;
    match is_machines {
        true => Ok((path, ConfigFile { root: None, runroot: None, ..file })),
        false => Ok((path, file)),
    }
}

impl Environment {
    /// Where a user's configuration files are.
    pub(crate) fn config_home(&self) -> PathBuf {
        self.xdg_config_home.clone().unwrap_or_else(|| self.home.join(".config"))
    }
}

/// Where programs for root are, which an ordinary user's `PATH` may lack.
const MORE_PROGRAMS: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

fn read_environment(user: Option<&User>) -> Environment {
    // Programs agree on lower case first for proxies (curl ignores HTTP_PROXY for CGI's sake).
    let either = |lower: &str, upper: &str| variable_text(lower).or_else(|| variable_text(upper));
    let all = either("all_proxy", "ALL_PROXY");
    Environment {
        home: variable_path("HOME")
            .or_else(|| user.and_then(|user| user.home.clone()))
            .unwrap_or_else(|| PathBuf::from("/root")),
        xdg_data_home: variable_path("XDG_DATA_HOME"),
        programs: std::env::split_paths(&variable("PATH").unwrap_or_default())
            .filter(|path| path.is_absolute())
            .chain(MORE_PROGRAMS.map(PathBuf::from))
            .collect(),
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

/// Where a service manager that has started us listens.
pub(crate) fn notify_socket() -> Option<OsString> {
    variable("NOTIFY_SOCKET")
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
