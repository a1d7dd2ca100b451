//! The flags of `run` and `create` that are about a container's life: restarts, health, its first process, its end.

use crate::exit::{ClientSide, Failure};
use crate::format::time;
use berth_engine::spec::{ContainerSpec, HealthSpec, RestartPolicy};
use berth_oci::{Error, Result};
use std::time::Duration;

/// What `run` and `create` take.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct LifeOptions {
    /// Command to run to check health
    #[arg(long, value_name = "string")]
    health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = time::parse_duration, allow_hyphen_values = true)]
    health_interval: Option<jiff::SignedDuration>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = time::parse_duration, allow_hyphen_values = true)]
    health_start_interval: Option<jiff::SignedDuration>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = time::parse_duration, allow_hyphen_values = true)]
    health_start_period: Option<jiff::SignedDuration>,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = time::parse_duration, allow_hyphen_values = true)]
    health_timeout: Option<jiff::SignedDuration>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Stop the container when it has run this long (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = time::parse_duration)]
    max_runtime: Option<jiff::SignedDuration>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string", default_value = "no", hide_default_value = false)]
    restart: String,
}

impl LifeOptions {
    /// Puts the flags into what is wanted.
    ///
    /// # Errors
    /// The first thing that is wrong, in docker's words.
    pub(super) fn read(self, rm: bool, spec: &mut ContainerSpec) -> std::result::Result<(), Failure> {
        spec.health = self.health().client()?;
        let (name, count) = RestartPolicy::split(&self.restart).client()?;
        if rm && !matches!(name, "no" | "") {
            return Err(Failure::client(Error::invalid(
                "conflicting options: cannot specify both --restart and --rm",
            )));
        }
        spec.restart = RestartPolicy::named(name, count)?;
        spec.init = self.init;
        spec.max_runtime = self.max_runtime.map(|time| positive("max-runtime", time)).transpose().client()?;
        Ok(())
    }

    fn health(&self) -> Result<HealthSpec> {
        let times = [
            ("health-interval", self.health_interval),
            ("health-timeout", self.health_timeout),
            ("health-start-period", self.health_start_period),
            ("health-start-interval", self.health_start_interval),
        ];
        if self.no_healthcheck {
            let others = self.health_cmd.is_some()
                || self.health_retries.is_some()
                || times.iter().any(|(_, time)| time.is_some());
            return match others {
                true => Err(Error::invalid("--no-healthcheck conflicts with --health-* options")),
                false => Ok(HealthSpec { test: Some(vec!["NONE".to_owned()]), ..HealthSpec::default() }),
            };
        }
        if self.health_retries.is_some_and(|retries| retries < 0) {
            return Err(Error::invalid("--health-retries cannot be negative"));
        }
        let [interval, timeout, start_period, start_interval] =
            times.map(|(name, time)| time.map(|time| positive(name, time)).transpose());
        Ok(HealthSpec {
            test: self.health_cmd.clone().filter(|c| !c.is_empty()).map(|c| vec!["CMD-SHELL".to_owned(), c]),
            interval: interval?,
            timeout: timeout?,
            start_period: start_period?,
            start_interval: start_interval?,
            retries: self.health_retries.map(|retries| u32::try_from(retries).unwrap_or(u32::MAX)),
        })
    }
}

fn positive(flag: &str, time: jiff::SignedDuration) -> Result<Duration> {
    Duration::try_from(time).map_err(|_| Error::invalid(format!("--{flag} cannot be negative")))
}
