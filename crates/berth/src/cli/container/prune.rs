//! `berth container prune`: every container that is not running goes, after a question.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::human;
use crate::terminal;
use jiff::Timestamp;

/// Remove all stopped containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filters = Filters::new(&self.filter, &["label", "label!", "until"])?;
        let labels = filters::labels(&filters);
        let until = filters.moment("until", Timestamp::now())?;
        if !self.force && !terminal::confirm(WARNING)? {
            return Ok(Exit::SUCCESS);
        }
        let (removed, bytes) = context.engine()?.prune_containers(&|container| {
            until.is_none_or(|until| container.created < until)
                && labels.matches(&container.document.process.labels)
        })?;
        if !removed.is_empty() {
            terminal::line(format!("Deleted Containers:\n{}\n", removed.join("\n")))?;
        }
        terminal::line(format!("Total reclaimed space: {}", human::size(bytes)))?;
        Ok(Exit::SUCCESS)
    }
}
