//! `berth update`: other limits and another restart policy.

use super::each;
use crate::cli::Context;
use crate::exit::{ClientSide, Failure, Outcome};
use berth_engine::container::UpdateRequest;
use berth_engine::spec::{self, BlockIo, Resources, RestartPolicy};
use berth_oci::Error;

/// Update configuration of one or more containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "uint16")]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = spec::parse_cpus)]
    cpus: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = spec::parse_ram)]
    memory: Option<u64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = spec::parse_ram)]
    memory_reservation: Option<u64>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = spec::parse_swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let restart = match self.restart.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let (name, count) = RestartPolicy::split(text).client()?;
                Some(RestartPolicy::named(name, count)?)
            }
        };
        let block_io = BlockIo { weight: self.blkio_weight, ..BlockIo::default() };
        let resources = Resources {
            block_io,
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            nano_cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids: self.pids_limit,
            ..Resources::default()
        };
        if restart.is_none() && resources == Resources::default() {
            return Err(Failure::client(Error::invalid(
                "you must provide one or more flags when using this command",
            )));
        }
        let request = UpdateRequest { resources, restart };
        let engine = context.engine()?;
        each(context, &self.containers, |name| engine.update(name, &request))
    }
}
