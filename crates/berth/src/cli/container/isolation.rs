//! The flags of `run` and `create` that are about namespaces, devices and disks.
//!
//! Invariant: as in `options.rs`: each does its work, or is refused by name.

use super::read::{parse_uint16, read_devices};
use crate::exit::{ClientSide, Failure};
use berth_engine::spec::{self, BlockIo, ContainerSpec, DeviceRule, GpuRequest, Rate};
use berth_oci::{Error, Result};

/// What `run` and `create` take.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct IsolationOptions {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long, value_name = "uint16", value_parser = parse_uint16)]
    blkio_weight: Option<u16>,
    /// Block IO weight (relative device weight)
    #[arg(long, value_name = "list", value_parser = spec::parse_weight_device)]
    blkio_weight_device: Vec<Rate>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "string")]
    cgroupns: Option<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "list")]
    device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "list")]
    device_cgroup_rule: Vec<DeviceRule>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "list", value_parser = spec::parse_bps)]
    device_read_bps: Vec<Rate>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "list", value_parser = spec::parse_iops)]
    device_read_iops: Vec<Rate>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "list", value_parser = spec::parse_bps)]
    device_write_bps: Vec<Rate>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "list", value_parser = spec::parse_iops)]
    device_write_iops: Vec<Rate>,
    /// GPU devices to add to the container ('all' to pass all GPUs)
    #[arg(long, value_name = "gpu-request")]
    gpus: Vec<GpuRequest>,
    /// IPC mode to use
    #[arg(long, value_name = "string")]
    ipc: Option<String>,
    /// Container isolation technology: only "default"
    #[arg(long, value_name = "string")]
    isolation: Option<String>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "int", default_value_t = -1)]
    memory_swappiness: i64,
    /// Disable OOM Killer
    #[arg(long)]
    oom_kill_disable: bool,
    /// PID namespace to use
    #[arg(long, value_name = "string")]
    pid: Option<String>,
    /// Runtime to use for this container: berth's own, or the name or path of another one
    #[arg(long, value_name = "string")]
    runtime: Option<String>,
    /// User namespace to use: host, or users of its own: auto, keep-id, nomap
    #[arg(long, value_name = "string")]
    userns: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "string")]
    uts: Option<String>,
}

impl IsolationOptions {
    /// Puts the flags into what is wanted.
    ///
    /// # Errors
    /// The first thing that is wrong, in docker's words.
    pub(super) fn read(self, spec: &mut ContainerSpec) -> std::result::Result<(), Failure> {
        self.check_swappiness().client()?;
        self.check_isolation()?;
        let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
        (spec.devices, spec.cdi_devices) = read_devices(&self.device).client()?;
        spec.pid = text(&self.pid).parse().client()?;
        spec.users = text(&self.userns).parse().client()?;
        spec.host_uts = spec::parse_uts(&text(&self.uts)).client()?;
        spec.host_cgroups = spec::parse_cgroupns(&text(&self.cgroupns)).client()?;
        spec.ipc = text(&self.ipc).parse()?;
        spec.runtime = self.runtime.filter(|name| !name.is_empty());
        spec.gpus = self.gpus;
        spec.device_rules = self.device_cgroup_rule;
        spec.cgroup_parent = self.cgroup_parent.filter(|parent| !parent.is_empty());
        spec.resources.memory_swappiness = u64::try_from(self.memory_swappiness).ok();
        spec.resources.oom_kill_disable = self.oom_kill_disable;
        spec.resources.block_io = BlockIo {
            weight: self.blkio_weight,
            weight_devices: self.blkio_weight_device,
            read_bps: self.device_read_bps,
            write_bps: self.device_write_bps,
            read_iops: self.device_read_iops,
            write_iops: self.device_write_iops,
        };
        Ok(())
    }

    fn check_swappiness(&self) -> Result<()> {
        match self.memory_swappiness {
            -1..=100 => Ok(()),
            other => {
                Err(Error::invalid(format!("invalid value: {other}. Valid memory swappiness range is 0-100")))
            }
        }
    }

    fn check_isolation(&self) -> Result<()> {
        match self.isolation.as_deref() {
            None | Some("" | "default") => Ok(()),
            Some(other) => {
                Err(Error::invalid(format!("invalid isolation ({other}): linux only supports 'default'")))
            }
        }
    }
}
