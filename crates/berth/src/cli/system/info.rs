//! `berth info`.

use super::version::{BUILD, DOCKER_VERSION, VERSION};
use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::human;
use crate::format::template::Types;
use crate::settings::{Persona, Settings};
use crate::terminal;
use berth_oci::Result;
use serde_json::{Value, json};
use std::fs;

/// Docker's types of this document.
const TYPES: Types = &[
    ("", "system.dockerInfo"),
    ("Plugins", "system.PluginsInfo"),
    ("RegistryConfig", "*registry.ServiceConfig"),
    ("IndexConfigs", "*registry.IndexInfo"),
    ("Runtimes", "system.RuntimeWithStatus"),
    ("Swarm", "swarm.Info"),
    ("ContainerdCommit", "system.Commit"),
    ("RuncCommit", "system.Commit"),
    ("InitCommit", "system.Commit"),
    ("ClientInfo", "*system.clientInfo"),
];

/// Display system-wide information.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let information = information(context)?;
        let text = match self.format.as_deref() {
            None | Some("") => plain(&information),
            Some("json") => format!("{information}\n"),
            Some(template) => return super::document::show(&information, TYPES, "", template),
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

/// Docker's document about the machine, as far as it is about berth.
fn information(context: &Context) -> Result<serde_json::Value> {
    let engine = context.engine()?;
    let settings = &context.settings;
    let (containers, images) = (engine.container_counts()?, engine.images(&Default::default())?.len());
    let uname = rustix::system::uname();
    let unified = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    let limits = limits(engine.has_cgroups()?, unified);
    let version = match settings.persona {
        Persona::Berth => VERSION,
        Persona::Docker => DOCKER_VERSION,
    };
    let contents = json!({
        "ID": context.settings.root.display().to_string(),
        "Containers": containers.all,
        "ContainersRunning": containers.running,
        "ContainersPaused": containers.paused,
        "ContainersStopped": containers.all - containers.running - containers.paused,
        "Images": images,
        "Driver": "overlayfs",
        "DriverStatus": [["Layers", layers(context)]],
        "Plugins": {
            "Volume": ["local"], "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
            "Authorization": null, "Log": ["journald", "json-file", "local", "syslog"],
        },
    });
    let machine = json!({
        "Debug": false,
        "NFd": 0,
        "OomKillDisable": limits["KernelMemoryTCP"],
        "NGoroutines": 0,
        "SystemTime": jiff::Timestamp::now().to_string(),
        "LoggingDriver": "json-file",
        "CgroupDriver": if engine.has_cgroups()? { "cgroupfs" } else { "none" },
        "CgroupVersion": if unified { "2" } else { "1" },
        "NEventsListener": 0,
        "KernelVersion": uname.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": uname.machine().to_string_lossy(),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory(),
        "GenericResources": null,
        "DockerRootDir": settings.root.display().to_string(),
        "HttpProxy": hidden(settings.environment.http_proxy.as_deref()),
        "HttpsProxy": hidden(settings.environment.https_proxy.as_deref()),
        "NoProxy": settings.environment.no_proxy.clone().unwrap_or_default(),
        "Name": uname.nodename().to_string_lossy(),
        "Labels": [],
    });
    let program = json!({
        "ExperimentalBuild": false,
        "ServerVersion": version,
        "DefaultRuntime": "berth",
        "Runtimes": runtimes(settings),
        "Swarm": {"NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": false},
        // Its containers run on without any daemon.
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "berth",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": BUILD},
        "InitCommit": {"ID": BUILD},
        "SecurityOptions": security_options(context),
        "CDISpecDirs": settings.cdi_directories(),
        "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"], "IndexConfigs": {}, "Mirrors": null},
        "Warnings": null,
        "ClientInfo": {"Version": version, "Context": "default", "Debug": false},
    });
    Ok(serde_json::Value::Object(
        [contents, limits, machine, program]
            .iter()
            .filter_map(|part| part.as_object().cloned())
            .flatten()
            .collect(),
    ))
}

/// What containers can be limited in here.
fn limits(has_cgroups: bool, unified: bool) -> serde_json::Value {
    let controllers = if has_cgroups { controllers() } else { Vec::new() };
    let has = |name: &str| controllers.iter().any(|controller| controller == name);
    json!({
        "MemoryLimit": has("memory"),
        "SwapLimit": has("memory"),
        "KernelMemoryTCP": has("memory") && !unified,
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "IPv4Forwarding": fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1"),
    })
}

/// What the kernel can limit, in whichever version of cgroups.
fn controllers() -> Vec<String> {
    if let Ok(text) = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        return text.split_whitespace().map(str::to_owned).collect();
    }
    // A line is a name, a hierarchy, how many groups, and whether it is in use; the first line says so.
    let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#') && line.ends_with('1'));
    lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

fn security_options(context: &Context) -> Vec<&'static str> {
    let rootless = context.settings.user.is_some().then_some("name=rootless");
    ["name=seccomp,profile=builtin"].into_iter().chain(rootless).collect()
}

/// How they are kept where the machine can do the best.
fn layers(context: &Context) -> &'static str {
    if context.settings.user.is_some() { "directories" } else { "EROFS over uncompressed tar" }
}

/// A proxy's address may hold a password, and this document gets pasted into bug reports.
fn hidden(proxy: Option<&str>) -> String {
    let Some(proxy) = proxy else { return String::new() };
    match (proxy.split_once("://"), proxy.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        (None, Some((_, host))) => format!("xxxxx:xxxxx@{host}"),
        _ => proxy.to_owned(),
    }
}

fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// berth itself, and those that the configuration names.
fn runtimes(settings: &Settings) -> Value {
    let others = settings.file.runtimes.iter();
    let mut all: serde_json::Map<String, Value> =
        others.map(|(name, path)| (name.clone(), json!({"path": path}))).collect();
    all.insert("berth".to_owned(), json!({"path": "berth"}));
    Value::Object(all)
}

fn plain(information: &serde_json::Value) -> String {
    let word = |key: &str| match &information[key] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let memory = human::binary_size(information["MemTotal"].as_u64().unwrap_or(0));
    let options = information["SecurityOptions"].as_array().into_iter().flatten();
    let options: String = options
        .filter_map(|option| {
            Some(format!("\n  {}", option.as_str()?.strip_prefix("name=")?.split(',').next()?))
        })
        .collect();
    let mut text = format!(
        "Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n",
        word("ServerVersion")
    );
    for (indent, name, value) in [
        (1, "Containers", word("Containers")),
        (2, "Running", word("ContainersRunning")),
        (2, "Paused", word("ContainersPaused")),
        (2, "Stopped", word("ContainersStopped")),
        (1, "Images", word("Images")),
        (1, "Server Version", word("ServerVersion")),
        (1, "Storage Driver", word("Driver")),
        (2, "Layers", information["DriverStatus"][0][1].as_str().unwrap_or_default().to_owned()),
        (1, "Logging Driver", word("LoggingDriver")),
        (1, "Cgroup Driver", word("CgroupDriver")),
        (1, "Cgroup Version", word("CgroupVersion")),
        (1, "Swarm", "inactive".to_owned()),
        (1, "Default Runtime", word("DefaultRuntime")),
        (1, "Security Options", options),
        (1, "Kernel Version", word("KernelVersion")),
        (1, "Operating System", word("OperatingSystem")),
        (1, "OSType", word("OSType")),
        (1, "Architecture", word("Architecture")),
        (1, "CPUs", word("NCPU")),
        (1, "Total Memory", memory),
        (1, "Name", word("Name")),
        (1, "Docker Root Dir", word("DockerRootDir")),
        (1, "HTTP Proxy", word("HttpProxy")),
        (1, "HTTPS Proxy", word("HttpsProxy")),
        (1, "No Proxy", word("NoProxy")),
    ] {
        if !value.is_empty() {
            let gap = if value.starts_with('\n') { "" } else { " " };
            text += &format!("{}{name}:{gap}{value}\n", " ".repeat(indent));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn passwords_of_proxies_stay_secret() {
        for (proxy, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://user:pass@proxy:3128", "http://xxxxx:xxxxx@proxy:3128"),
            ("user:pa@ss@proxy", "xxxxx:xxxxx@proxy"),
        ] {
            assert_eq!(super::hidden(Some(proxy)), shown);
        }
    }
}
