//! `update`.

use super::Context;
use crate::exit::Outcome;
use berth_engine::spec::{parse_ram, parse_swap};
use berth_oci::{AtPath, Context as _, Error, Result};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// `update`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct Args {
    /// A file with all of them, in the form that config.json has `linux.resources`; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// The share of disk time, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// The period that processor time is limited in, in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "US")]
    cpu_quota: Option<i64>,
    /// How much of it may be saved up, in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,
    /// The share of processor time, compared with others
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// The period of real-time processor time, in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<u64>,
    /// Real-time processor time in each period, in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_runtime: Option<i64>,
    /// 1: only when nothing else wants the processor
    #[arg(long, value_name = "WHETHER")]
    cpu_idle: Option<i64>,
    /// The processors it may use, `0-3,7`
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// The memory nodes it may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory, in bytes or with a unit
    #[arg(long, value_name = "BYTES", value_parser = parse_swap)]
    memory: Option<i64>,
    /// Memory that is left to it when others want more
    #[arg(long, value_name = "BYTES", value_parser = parse_swap)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1 is no limit
    #[arg(long, value_name = "BYTES", value_parser = parse_swap)]
    memory_swap: Option<i64>,
    /// Kernel memory, which kernels of today no longer limit
    #[arg(long, value_name = "BYTES", value_parser = parse_ram)]
    kernel_memory: Option<u64>,
    /// How many processes and threads; -1 is no limit
    #[arg(long, value_name = "N")]
    pids_limit: Option<i64>,
    /// The container's name
    id: String,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let changes = match &self.resources {
            Some(path) => read(path)?,
            None => self.changes(),
        };
        super::done(context.runtime.update(&self.id, changes))
    }

    fn changes(&self) -> Value {
        let pids = self.pids_limit.map(|limit| json!({ "limit": limit }));
        json!({
            "blockIO": { "weight": self.blkio_weight },
            "cpu": {
                "period": self.cpu_period,
                "quota": self.cpu_quota,
                "burst": self.cpu_burst,
                "shares": self.cpu_share,
                "realtimePeriod": self.cpu_rt_period,
                "realtimeRuntime": self.cpu_rt_runtime,
                "idle": self.cpu_idle,
                "cpus": self.cpuset_cpus,
                "mems": self.cpuset_mems,
            },
            "memory": {
                "limit": self.memory,
                "reservation": self.memory_reservation,
                "swap": self.memory_swap,
                "kernel": self.kernel_memory,
            },
            "pids": pids,
        })
    }
}

fn read(path: &Path) -> Result<Value> {
    /// Far more than all limits there are.
    const MOST: u64 = 1 << 20;
    let mut text = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(MOST).read_to_end(&mut text).context(|| "cannot read standard input")?;
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut text)).at(path)?;
    }
    serde_json::from_slice(&text)
        .map_err(|e| Error::invalid(format!("`{}` is no JSON document", path.display())).caused_by(e))
}
