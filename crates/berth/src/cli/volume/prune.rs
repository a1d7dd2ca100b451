//! `berth volume prune`.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::human;
use crate::terminal;
use berth_oci::Error;

/// Remove unused local volumes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filters = Filters::new(&self.filter, &["all", "label", "label!"])?;
        let wanted = filters.flag("all")?;
        if self.all && wanted.is_some() {
            return Err(Failure::client(Error::invalid(
                "conflicting options: cannot specify both --all and --filter all=1",
            )));
        }
        let all = self.all || wanted == Some(true);
        if !self.force && !terminal::confirm(warning(all))? {
            return Ok(Exit::SUCCESS);
        }
        let (removed, bytes) = context.engine()?.prune_volumes(all, &filters::labels(&filters))?;
        if !removed.is_empty() {
            terminal::line(format!("Deleted Volumes:\n{}\n", removed.join("\n")))?;
        }
        terminal::line(format!("Total reclaimed space: {}", human::size(bytes)))?;
        Ok(Exit::SUCCESS)
    }
}

fn warning(all: bool) -> &'static str {
    match all {
        true => {
            "WARNING! This will remove all local volumes not used by at least one container.\n\
             Are you sure you want to continue?"
        }
        false => {
            "WARNING! This will remove anonymous local volumes not used by at least one container.\n\
             Are you sure you want to continue?"
        }
    }
}
