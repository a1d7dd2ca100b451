//! `berth top`: the processes of a container.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::table::{Spacing, aligned_with};
use crate::terminal;

/// Display the running processes of a container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    /// Arguments for ps(1)
    #[arg(value_name = "[ps OPTIONS]", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let top = engine.top(&engine.container(&self.container)?, &self.arguments)?;
        let rows = [&top.titles].into_iter().chain(&top.processes);
        let text: String = rows.map(|row| row.join("\t") + "\n").collect();
        terminal::print(aligned_with(&text, Spacing { least: 20, padding: 3 }))?;
        Ok(Exit::SUCCESS)
    }
}
