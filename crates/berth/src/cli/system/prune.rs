//! `berth system prune`: stopped containers, then the networks, volumes and images that nobody uses without them.

use crate::cli::Context;
use crate::cli::image::prune::{lines, total};
use crate::exit::{Exit, Failure, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::terminal;
use berth_engine::network::Network;
use berth_engine::{Engine, ImageFilter, LabelFilter, PruneOptions};
use berth_oci::{Error, Result};
use jiff::Timestamp;

/// Remove unused data.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Say what would go, to the byte, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only what fits: until=24h, label=keep, label!=keep
    #[arg(long, value_name = "FILTER", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filters = Filters::new(&self.filter, &["label", "label!", "until"])?;
        let (labels, until) = (filters::labels(&filters), filters.moment("until", Timestamp::now())?);
        if self.volumes && until.is_some() {
            return Err(Failure::client(Error::invalid(
                "ERROR: The \"until\" filter is not supported with \"--volumes\"",
            )));
        }
        if !self.force && !self.dry_run && !terminal::confirm(&self.question())? {
            return Ok(Exit::SUCCESS);
        }
        let engine = context.engine()?;
        let chosen = |container: &berth_engine::container::Container| {
            until.is_none_or(|until| container.created < until)
                && labels.matches(&container.document.process.labels)
        };
        let (containers, bytes) = match self.dry_run {
            true => engine.prunable_containers(&chosen)?,
            false => engine.prune_containers(&chosen)?,
        };
        let unused = |network: &Network| {
            until.is_none_or(|until| network.created < until) && labels.matches(&network.labels)
        };
        let networks = match self.dry_run {
            true => engine.prunable_networks(&unused)?.into_iter().map(|network| network.name).collect(),
            false => engine.prune_networks(&unused)?,
        };
        let filter = ImageFilter { labels: labels.clone(), until, ..ImageFilter::default() };
        let options = PruneOptions { all: self.all, filter, dry_run: self.dry_run };
        let images = engine.prune_images_without(&options, &containers)?;
        let mut text = String::new();
        if !containers.is_empty() {
            let heading = if self.dry_run { "Containers to delete:" } else { "Deleted Containers:" };
            text += &format!("{heading}\n{}\n\n", containers.join("\n"));
        }
        if !networks.is_empty() {
            let heading = if self.dry_run { "Networks to delete:" } else { "Deleted Networks:" };
            text += &format!("{heading}\n{}\n\n", networks.join("\n"));
        }
        let (volumes, volume_bytes) = self.prune_volumes(engine, &labels, &containers)?;
        if !volumes.is_empty() {
            let heading = if self.dry_run { "Volumes to delete:" } else { "Deleted Volumes:" };
            text += &format!("{heading}\n{}\n\n", volumes.join("\n"));
        }
        let listed = lines(&images, self.dry_run);
        if !listed.is_empty() {
            text += &format!("{listed}\n");
        }
        terminal::print(text + &total(bytes + volume_bytes + images.bytes, self.dry_run))?;
        Ok(Exit::SUCCESS)
    }

    /// Those that nobody named, if they were asked for; `gone` are the containers that go before.
    fn prune_volumes(
        &self,
        engine: &Engine,
        labels: &LabelFilter,
        gone: &[String],
    ) -> Result<(Vec<String>, u64)> {
        match (self.volumes, self.dry_run) {
            (false, _) => Ok((Vec::new(), 0)),
            (true, false) => engine.prune_volumes(false, labels),
            (true, true) => {
                let volumes = engine.prunable_volumes(false, labels, gone)?;
                let names: Vec<String> = volumes.into_iter().map(|volume| volume.name).collect();
                let sizes = names.iter().map(|name| engine.store()?.volume_bytes(name));
                let bytes = sizes.sum::<Result<u64>>()?;
                Ok((names, bytes))
            }
        }
    }

    /// Docker's question, about what there is here.
    fn question(&self) -> String {
        let images = match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        };
        let volumes = match self.volumes {
            true => "  - all anonymous volumes not used by at least one container\n",
            false => "",
        };
        format!(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one \
             container\n{volumes}  - {images}\n\n\
             Are you sure you want to continue?"
        )
    }
}
