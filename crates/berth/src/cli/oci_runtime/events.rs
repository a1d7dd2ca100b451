//! `events`.

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::format::time::parse_duration;
use crate::terminal;
use berth_oci::{Error, Result};
use berth_runtime::oci::Happening;
use serde_json::{Value, json};
use std::time::Duration;

/// `events`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct Args {
    /// How often numbers are told
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// Print the numbers of this moment and quit
    #[arg(long)]
    stats: bool,
    /// The container's name
    id: String,
}

fn interval(text: &str) -> Result<Duration> {
    let duration = Duration::try_from(parse_duration(text)?).unwrap_or_default();
    match duration.is_zero() {
        true => Err(Error::invalid("duration interval must be greater than 0")),
        false => Ok(duration),
    }
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Outcome {
        if self.stats {
            self.say("stats", json!(context.runtime.statistics(&self.id)?))?;
            return Ok(Exit::SUCCESS);
        }
        let mut follower = context.runtime.follow(&self.id, self.interval)?;
        while let Some(happening) = follower.wait_for_next()? {
            match happening {
                Happening::Statistics(numbers) => self.say("stats", json!(numbers))?,
                Happening::OutOfMemory => self.say("oom", Value::Null)?,
            }
        }
        Ok(Exit::SUCCESS)
    }

    fn say(&self, kind: &str, data: Value) -> Result<()> {
        let mut event = json!({ "type": kind, "id": self.id });
        if !data.is_null() {
            event["data"] = data;
        }
        terminal::line(event.to_string())
    }
}
