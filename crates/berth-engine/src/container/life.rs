//! What a container's monitor does for it beyond running it once: docker's words as the runtime's numbers.

use super::exec::ExecSpec;
use super::{Container, stop::patience};
use crate::engine::Engine;
use crate::spec::health_command;
use berth_oci::{Healthcheck, Result};
use berth_runtime::{HealthCheck, JournalSource, Life, Stop};
use std::time::Duration;

/// Docker's, where nobody says.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

impl Engine {
    pub(super) fn life(&self, container: &Container) -> Result<Life> {
        let spec = &container.document.spec;
        let process = &container.document.process;
        Ok(Life {
            restart: spec.restart.rule(),
            stop: Stop {
                signal: process.stop_signal.map(|signal| signal.number()),
                patience: patience(process.stop_timeout),
            },
            health: self.health_check(container)?,
            most_runtime: spec.max_runtime,
            reaper: spec.init,
            journal: Some(JournalSource {
                directory: self.journal_directory(),
                attributes: container.attributes(),
            }),
        })
    }

    fn health_check(&self, container: &Container) -> Result<Option<HealthCheck>> {
        let process = &container.document.process;
        let Some(check) = &process.health else { return Ok(None) };
        let Some(command) = health_command(check, process.shell.as_deref()) else { return Ok(None) };
        let spec = ExecSpec { command, ..ExecSpec::default() };
        Ok(Some(numbers(check, self.further_process(container, &spec, None)?)))
    }
}

fn numbers(check: &Healthcheck, exec: berth_runtime::Exec) -> HealthCheck {
    let time = |nanoseconds: i64, usual| match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => usual,
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
    };
    HealthCheck {
        exec,
        interval: time(check.interval, INTERVAL),
        timeout: time(check.timeout, TIMEOUT),
        start_period: time(check.start_period, Duration::ZERO),
        start_interval: time(check.start_interval, START_INTERVAL),
        retries: u32::try_from(check.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES),
    }
}
