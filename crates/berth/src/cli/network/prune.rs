//! `berth network prune`: every network that nobody is on goes, after a question.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::terminal;
use berth_oci::Result;
use jiff::Timestamp;

/// Remove all unused networks.
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

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.\n\
                       Are you sure you want to continue?";

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filters = Filters::new(&self.filter, &["label", "label!", "until"])?;
        if !self.force && !terminal::confirm(WARNING)? {
            return Ok(Exit::SUCCESS);
        }
        let removed = prune(context, &filters)?;
        if !removed.is_empty() {
            terminal::line(format!("Deleted Networks:\n{}\n", removed.join("\n")))?;
        }
        Ok(Exit::SUCCESS)
    }
}

/// Removes the networks that nobody is on and that fit.
pub(crate) fn prune(context: &Context, filters: &Filters) -> Result<Vec<String>> {
    let labels = filters::labels(filters);
    let until = filters.moment("until", Timestamp::now())?;
    context.engine()?.prune_networks(&|network| {
        until.is_none_or(|until| network.created < until) && labels.matches(&network.labels)
    })
}
