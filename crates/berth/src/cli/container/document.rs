//! A container as docker's API 1.51 describes it: `inspect`'s document.
//!
//! Invariant: every field of docker's is there, in docker's order; what berth does not have yet has docker's value
//! for "none".

use super::document_mounts;
use super::why;
use berth_engine::Engine;
use berth_engine::container::{Container, word};
use berth_engine::network::is_builtin;
use berth_engine::runtime_spec::{MASKED_PATHS, READONLY_PATHS};
use berth_engine::spec::{
    Attachment, ContainerSpec, Flag, GpuRequest, LogDriver, Mount, NetworkMode, Rate, Seccomp,
};
use berth_oci::{Kind, Result};
use berth_runtime::net::{Address, DEFAULT, Joined, PortMapping};
use berth_runtime::{Health, Probe, Status};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Docker's document about a container.
pub(super) fn document(engine: &Engine, container: &Container) -> Result<Value> {
    let spec = &container.document.spec;
    let args = container.document.process.args();
    let directory = engine.store()?.container_dir(&container.id);
    let file = |name: &str| directory.join(name).display().to_string();
    let log = if spec.log.driver == LogDriver::None {
        String::new()
    } else {
        engine.log_path(&container.id)?.display().to_string()
    };
    let mut document = json!({
        "Id": container.id,
        "Created": container.created.to_string(),
        "Path": args.first(),
        "Args": args.get(1..).unwrap_or_default(),
        "State": state(container),
        "Image": container.image,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": log,
        "Name": format!("/{}", container.name),
        "RestartCount": container.state.as_ref().map_or(0, |state| state.restarts),
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(spec, &engine.link_paths(container)?),
        "GraphDriver": {"Data": null, "Name": "overlayfs"},
        "Mounts": document_mounts::actual(engine, container)?,
        "Config": config(container),
        "NetworkSettings": network_settings(container),
    });
    if let Some(descriptor) = manifest_descriptor(engine, container)? {
        document["ImageManifestDescriptor"] = descriptor;
    }
    Ok(document)
}

/// Docker's moment for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

fn state(container: &Container) -> Value {
    let status = container.status();
    let state = container.state.as_ref();
    let moment = |moment: Option<Timestamp>| moment.map_or(NEVER.to_owned(), |moment| moment.to_string());
    let mut document = json!({
        "Status": word(status),
        "Running": container.is_running(),
        "Paused": status == Status::Paused,
        "Restarting": status == Status::Restarting,
        "OOMKilled": state.is_some_and(|s| s.oom_killed),
        "Dead": false,
        "Pid": state.filter(|_| container.is_running()).and_then(|s| s.pid).unwrap_or_default(),
        "ExitCode": state.and_then(|s| s.exit_code).unwrap_or_default(),
        "Error": why::error(container),
        "StartedAt": moment(state.and_then(|s| s.started_at)),
        "FinishedAt": moment(state.and_then(|s| s.finished_at)),
    });
    if let Some(found) = container.health() {
        document["Health"] = health(found);
    }
    document
}

fn health(health: &Health) -> Value {
    let probe = |probe: &Probe| {
        json!({
            "Start": probe.start.to_string(),
            "End": probe.end.to_string(),
            "ExitCode": probe.code,
            "Output": probe.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
    })
}

/// Docker writes an empty list of what was not given as null.
fn list<T: serde::Serialize>(items: &[T]) -> Value {
    if items.is_empty() { Value::Null } else { json!(items) }
}

fn host_config(spec: &ContainerSpec, links: &[String]) -> Value {
    let resources = &spec.resources;
    let texts = |items: &mut dyn Iterator<Item = String>| list(&items.collect::<Vec<_>>());
    let mut config = json!({
        "Binds": list(&document_mounts::binds(spec)),
        "ContainerIDFile": spec.id_file.as_ref().map_or(String::new(), |path| path.display().to_string()),
        "LogConfig": {"Type": spec.log.driver(), "Config": spec.log.options},
        "NetworkMode": spec.network.to_string(),
        "PortBindings": port_bindings(&spec.ports),
        "RestartPolicy": {"Name": spec.restart.name(), "MaximumRetryCount": spec.restart.most()},
        "AutoRemove": spec.auto_remove,
        "VolumeDriver": spec.volume_driver.as_deref().unwrap_or_default(),
        "VolumesFrom": texts(&mut spec.volumes_from.iter().map(ToString::to_string)),
        "ConsoleSize": [0, 0],
        "CapAdd": texts(&mut spec.cap_add.iter().cloned().map(String::from)),
        "CapDrop": texts(&mut spec.cap_drop.iter().cloned().map(String::from)),
        "CgroupnsMode": if spec.host_cgroups { "host" } else { "private" },
        "Dns": spec.dns.servers,
        "DnsOptions": spec.dns.options,
        "DnsSearch": spec.dns.search,
        "ExtraHosts": texts(&mut spec.extra_hosts.iter().map(ToString::to_string)),
        "GroupAdd": list(&spec.groups),
        "IpcMode": spec.ipc.to_string(),
        "Cgroup": "",
        "Links": list(links),
        "OomScoreAdj": spec.oom_score_adj,
        "PidMode": spec.pid.to_string(),
        "Privileged": spec.privileged,
        "PublishAllPorts": spec.publish_all,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": list(&security_options(spec)),
        "UTSMode": if spec.host_uts { "host" } else { "" },
        "UsernsMode": spec.users.to_string(),
        "ShmSize": spec.shm_bytes(),
        "Runtime": spec.runtime.as_deref().unwrap_or("berth"),
        "Isolation": "",
    });
    let more = json!({
        "CpuShares": resources.cpu_shares.unwrap_or_default(),
        "Memory": resources.memory.unwrap_or_default(),
        "NanoCpus": resources.nano_cpus.unwrap_or_default(),
        "CgroupParent": spec.cgroup_parent.as_deref().unwrap_or_default(),
        "BlkioWeight": resources.block_io.weight.unwrap_or_default(),
        "BlkioWeightDevice": rates(&resources.block_io.weight_devices, "Weight"),
        "BlkioDeviceReadBps": rates(&resources.block_io.read_bps, "Rate"),
        "BlkioDeviceWriteBps": rates(&resources.block_io.write_bps, "Rate"),
        "BlkioDeviceReadIOps": rates(&resources.block_io.read_iops, "Rate"),
        "BlkioDeviceWriteIOps": rates(&resources.block_io.write_iops, "Rate"),
        "CpuPeriod": resources.cpu_period.unwrap_or_default(),
        "CpuQuota": resources.cpu_quota.unwrap_or_default(),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": resources.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.as_deref().unwrap_or_default(),
        "Devices": spec.devices.iter().map(|device| json!({
            "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.access,
        })).collect::<Vec<_>>(),
        "DeviceCgroupRules": texts(&mut spec.device_rules.iter().map(ToString::to_string)),
        "DeviceRequests": list(&device_requests(spec)),
        "MemoryReservation": resources.memory_reservation.unwrap_or_default(),
        "MemorySwap": resources.memory_swap.unwrap_or_default(),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids,
        "Ulimits": spec.ulimits.iter().map(|limit| json!({
            "Name": limit.name, "Hard": limit.hard, "Soft": limit.soft,
        })).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    });
    extend(&mut config, more);
    extend(&mut config, optional_host_config(spec));
    let open = spec.privileged || spec.unmask;
    config["MaskedPaths"] = if open { Value::Null } else { json!(MASKED_PATHS) };
    config["ReadonlyPaths"] = if open { Value::Null } else { json!(READONLY_PATHS) };
    config
}

/// Docker leaves these out where they were not asked for.
fn optional_host_config(spec: &ContainerSpec) -> Value {
    let mut fields = Map::new();
    let asked = document_mounts::asked(spec);
    if !asked.is_empty() {
        fields.insert("Mounts".to_owned(), json!(asked));
    }
    let tmpfs = document_mounts::tmpfs(spec);
    if !tmpfs.is_empty() {
        fields.insert("Tmpfs".to_owned(), Value::Object(tmpfs));
    }
    if !spec.sysctls.is_empty() {
        fields.insert("Sysctls".to_owned(), json!(spec.sysctls));
    }
    if spec.init {
        fields.insert("Init".to_owned(), json!(true));
    }
    if let Some((_, size)) = &spec.size {
        fields.insert("StorageOpt".to_owned(), json!({"size": size}));
    }
    if !spec.annotations.is_empty() {
        fields.insert("Annotations".to_owned(), json!(spec.annotations));
    }
    Value::Object(fields)
}

fn rates(rates: &[Rate], what: &str) -> Vec<Value> {
    rates.iter().map(|rate| json!({"Path": rate.path, what: rate.rate})).collect()
}

/// GPUs first, then what CDI knows by name.
fn device_requests(spec: &ContainerSpec) -> Vec<Value> {
    let gpu = |gpu: &GpuRequest| {
        let capabilities = ["gpu".to_owned()].into_iter().chain(gpu.capabilities.clone()).collect::<Vec<_>>();
        json!({
            "Driver": gpu.driver, "Count": gpu.count, "DeviceIDs": list(&gpu.devices),
            "Capabilities": [capabilities], "Options": gpu.options,
        })
    };
    let mut requests: Vec<Value> = spec.gpus.iter().map(gpu).collect();
    if !spec.cdi_devices.is_empty() {
        let names: Vec<String> = spec.cdi_devices.iter().map(ToString::to_string).collect();
        requests.push(json!({
            "Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": null, "Options": null,
        }));
    }
    requests
}

fn extend(document: &mut Value, more: Value) {
    if let (Value::Object(document), Value::Object(more)) = (document, more) {
        document.extend(more);
    }
}

fn port_bindings(ports: &[PortMapping]) -> Value {
    let mut bindings: Map<String, Value> = Map::new();
    for mapping in ports {
        let key = format!("{}/{}", mapping.container_port, mapping.protocol);
        let binding = json!({
            "HostIp": mapping.host_ip.map_or(String::new(), |ip| ip.to_string()),
            "HostPort": mapping.host_ports.map_or(String::new(), |range| range.to_string()),
        });
        let list = bindings.entry(key).or_insert_with(|| json!([]));
        list.as_array_mut().expect("every value is a list").push(binding);
    }
    Value::Object(bindings)
}

fn security_options(spec: &ContainerSpec) -> Vec<String> {
    let privileges = spec.no_new_privileges.then(|| "no-new-privileges".to_owned());
    let seccomp = match &spec.seccomp {
        Seccomp::Default => None,
        Seccomp::Unconfined => Some("seccomp=unconfined".to_owned()),
        Seccomp::Profile(json) => Some(format!("seccomp={json}")),
    };
    privileges.into_iter().chain(seccomp).collect()
}

fn config(container: &Container) -> Value {
    let document = &container.document;
    let (spec, process) = (&document.spec, &document.process);
    let mut config = json!({
        "Hostname": document.hostname,
        "Domainname": spec.domainname.as_deref().unwrap_or_default(),
        "User": process.user,
        "AttachStdin": spec.attach.stdin,
        "AttachStdout": spec.attach.stdout,
        "AttachStderr": spec.attach.stderr,
    });
    if !process.exposed.is_empty() {
        let ports = process.exposed.iter().map(|port| (port.to_string(), json!({})));
        config["ExposedPorts"] = Value::Object(ports.collect());
    }
    let more = json!({
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.open_stdin && spec.attach.stdin,
        "Env": list(&process.env),
        "Cmd": process.cmd,
        "Healthcheck": process.health,
        "Image": spec.image,
        "Volumes": volumes(container),
        "WorkingDir": process.working_dir,
        "Entrypoint": process.entrypoint,
        "OnBuild": null,
        "Labels": process.labels,
    });
    extend(&mut config, more);
    if process.health.is_none()
        && let Value::Object(config) = &mut config
    {
        // Docker leaves it out; `shift_remove` keeps the others in their order.
        config.shift_remove("Healthcheck");
    }
    if let Some(signal) = process.stop_signal {
        config["StopSignal"] = json!(signal.to_string());
    }
    if let Some(timeout) = process.stop_timeout {
        config["StopTimeout"] = json!(timeout);
    }
    config
}

/// Where there are volumes without a name, by the person's words or the image's.
fn volumes(container: &Container) -> Value {
    let spec = &container.document.spec;
    let image = container.document.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume(volume) if volume.flag == Flag::Image => Some(&volume.target),
        _ => None,
    });
    let places: Map<String, Value> =
        spec.volumes.iter().chain(image).map(|place| (place.display().to_string(), json!({}))).collect();
    if places.is_empty() { Value::Null } else { Value::Object(places) }
}

fn network_settings(container: &Container) -> Value {
    let spec = &container.document.spec;
    // Docker repeats at the top what the usual bridge has given, and only that.
    let usual = container.joined().iter().find(|joined| joined.network == DEFAULT);
    let pid = container.state.as_ref().filter(|_| container.is_running()).and_then(|state| state.pid);
    let pid = pid.filter(|_| spec.network.is_own());
    json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": pid.map_or(String::new(), |pid| format!("/proc/{pid}/ns/net")),
        "Ports": published(container),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": usual.map_or("", |joined| &joined.endpoint_id),
        "Gateway": gateway(usual.and_then(|joined| joined.ipv4)),
        "GlobalIPv6Address": ip(usual.and_then(|joined| joined.ipv6)),
        "GlobalIPv6PrefixLen": prefix(usual.and_then(|joined| joined.ipv6)),
        "IPAddress": ip(usual.and_then(|joined| joined.ipv4)),
        "IPPrefixLen": prefix(usual.and_then(|joined| joined.ipv4)),
        "IPv6Gateway": gateway(usual.and_then(|joined| joined.ipv6)),
        "MacAddress": usual.map_or(String::new(), |joined| joined.mac.to_string()),
        "Networks": networks(container),
    })
}

fn ip(address: Option<Address>) -> String {
    address.map_or(String::new(), |address| address.ip.to_string())
}

fn prefix(address: Option<Address>) -> u8 {
    address.map_or(0, |address| address.prefix)
}

fn gateway(address: Option<Address>) -> String {
    address.and_then(|address| address.gateway).map_or(String::new(), |gateway| gateway.to_string())
}

/// Every network that it is on, or will be.
fn networks(container: &Container) -> Value {
    let spec = &container.document.spec;
    let mut networks = Map::new();
    let attachments = match &spec.network {
        NetworkMode::Container(_) => Vec::new(),
        NetworkMode::Host | NetworkMode::None => vec![Attachment::to(spec.network.to_string())],
        _ => spec.attachments_at_start(),
    };
    for attachment in attachments {
        let joined = container.joined().iter().find(|joined| joined.network == attachment.network);
        networks.insert(attachment.network.clone(), endpoint(container, &attachment, joined));
    }
    Value::Object(networks)
}

fn endpoint(container: &Container, attachment: &Attachment, joined: Option<&Joined>) -> Value {
    let (ipv4, ipv6) = (joined.and_then(|joined| joined.ipv4), joined.and_then(|joined| joined.ipv6));
    // Those of the usual network belong to the container.
    let links = attachment.links.iter().filter(|_| !is_builtin(&attachment.network));
    let links = links.map(|link| format!("{}:{}", link.container, link.alias));
    json!({
        "IPAMConfig": asked(attachment),
        "Links": list(&links.collect::<Vec<_>>()),
        "Aliases": list(&attachment.aliases),
        "MacAddress": joined.map_or(String::new(), |joined| joined.mac.to_string()),
        "DriverOpts": null,
        "GwPriority": attachment.gateway_priority,
        "NetworkID": joined.map_or("", |joined| &joined.network_id),
        "EndpointID": joined.map_or("", |joined| &joined.endpoint_id),
        "Gateway": gateway(ipv4),
        "IPAddress": ip(ipv4),
        "IPPrefixLen": prefix(ipv4),
        "IPv6Gateway": gateway(ipv6),
        "GlobalIPv6Address": ip(ipv6),
        "GlobalIPv6PrefixLen": prefix(ipv6),
        "DNSNames": if is_builtin(&attachment.network) { Value::Null } else { json!(container.dns_names(attachment)) },
    })
}

/// The addresses that were asked for.
fn asked(attachment: &Attachment) -> Value {
    let mut asked = Map::new();
    attachment.ipv4.iter().for_each(|ip| drop(asked.insert("IPv4Address".to_owned(), json!(ip))));
    attachment.ipv6.iter().for_each(|ip| drop(asked.insert("IPv6Address".to_owned(), json!(ip))));
    if !attachment.link_local.is_empty() {
        asked.insert("LinkLocalIPs".to_owned(), json!(attachment.link_local));
    }
    if asked.is_empty() { Value::Null } else { Value::Object(asked) }
}

/// Every port that is listened on; published ones with their places on the host.
fn published(container: &Container) -> Value {
    let mut ports: Map<String, Value> = Map::new();
    if !container.is_running() || !container.document.spec.network.is_own() {
        return Value::Object(ports);
    }
    for port in &container.document.process.exposed {
        ports.insert(port.to_string(), Value::Null);
    }
    for port in container.published() {
        let place = json!({"HostIp": port.host_ip, "HostPort": port.host_port.to_string()});
        let places = ports.entry(format!("{}/{}", port.container_port, port.protocol)).or_insert(Value::Null);
        match places {
            Value::Array(places) => places.push(place),
            places => *places = json!([place]),
        }
    }
    Value::Object(ports)
}

/// Which of the image's manifests it is; none where the image has gone.
fn manifest_descriptor(engine: &Engine, container: &Container) -> Result<Option<Value>> {
    let Some(digest) = &container.manifest else { return Ok(None) };
    let manifest = match engine.store()?.manifest(digest) {
        Ok(manifest) => manifest,
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let host = berth_oci::Platform::host();
    let platform = container.document.spec.platform.as_ref().unwrap_or(&host);
    Ok(Some(json!({
        "mediaType": manifest.media_type(),
        "digest": digest,
        "size": manifest.raw().len(),
        "platform": {"architecture": platform.architecture, "os": platform.os},
    })))
}
