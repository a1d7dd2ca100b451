//! `berth image prune`.

use super::ls::image_filter;
use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::human;
use crate::terminal;
use berth_engine::{PruneOptions, Pruned};
use jiff::Timestamp;

/// Remove unused images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Say what would go, to the byte, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only images that fit: until=24h, label=keep, label!=keep
    #[arg(long, value_name = "FILTER", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let warning = match self.all {
            true => "WARNING! This will remove all images without at least one container associated to them.",
            false => "WARNING! This will remove all dangling images.",
        };
        let question = format!("{warning}\nAre you sure you want to continue?");
        if !self.force && !self.dry_run && !terminal::confirm(&question)? {
            return Ok(Exit::SUCCESS);
        }
        let filters = Filters::new(&self.filter, &["dangling", "label", "label!", "until"])?;
        let mut filter = image_filter(&filters, Timestamp::now())?;
        // `dangling=false` is docker's older way to say `--all`.
        let all = self.all || filter.dangling == Some(false);
        filter.dangling = None;
        let options = PruneOptions { all, filter, dry_run: self.dry_run };
        let pruned = context.engine()?.prune_images(&options)?;
        terminal::print(report(&pruned, self.dry_run))?;
        Ok(Exit::SUCCESS)
    }
}

/// Docker's report, or what it would be.
pub(crate) fn report(pruned: &Pruned, dry_run: bool) -> String {
    let mut text = lines(pruned, dry_run);
    if !text.is_empty() {
        text.push('\n');
    }
    text + &total(pruned.bytes, dry_run)
}

/// The images, under their heading; nothing where there are none.
pub(crate) fn lines(pruned: &Pruned, dry_run: bool) -> String {
    if pruned.images.is_empty() {
        return String::new();
    }
    let mut text = if dry_run { "Images to delete:\n" } else { "Deleted Images:\n" }.to_owned();
    for image in &pruned.images {
        match image.names.is_empty() {
            true => text += &format!("untagged: {}\n", image.target),
            false => text.extend(image.names.iter().map(|name| format!("untagged: {}\n", name.familiar()))),
        }
        text += &format!("deleted: {}\n", image.target);
    }
    text
}

/// The last line.
pub(crate) fn total(bytes: u64, dry_run: bool) -> String {
    match dry_run {
        true => format!("Total reclaimable space: {} ({bytes} bytes)\n", human::size(bytes)),
        false => format!("Total reclaimed space: {}\n", human::size(bytes)),
    }
}
