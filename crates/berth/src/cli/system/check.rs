//! `berth system check`.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::human;
use crate::terminal;
use berth_store::CheckOptions;

/// Verify everything that is stored.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Remove or remake what is wrong
    #[arg(long)]
    repair: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        for leftover in engine.check_containers(self.repair)? {
            terminal::line(format!("{}{}", leftover.what, if leftover.repaired { ": removed" } else { "" }))?;
        }
        let report = engine.check(&CheckOptions { repair: self.repair })?;
        for problem in &report.problems {
            terminal::line(problem.to_string())?;
        }
        terminal::line(format!(
            "Checked {} images, {} layers and {} blobs, {}: {}",
            report.images,
            report.layers,
            report.blobs,
            human::size(report.bytes),
            match (report.is_clean(), report.is_sound()) {
                (true, _) => "all is well",
                (false, true) => "nothing is damaged",
                (false, false) => "there is damage",
            }
        ))?;
        if !report.is_sound() && !self.repair {
            terminal::note(
                "hint: `berth system check --repair` removes what is damaged; pull those images again",
            );
        }
        Ok(if report.is_sound() { Exit::SUCCESS } else { Exit::FAILURE })
    }
}
