//! `buildx du` and `buildx prune`: the results of steps that are kept.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::human;
use crate::terminal;
use berth_oci::Result;
use berth_store::{StepRecord, Store};
use jiff::Timestamp;
use std::collections::HashSet;

/// Disk usage.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct DuArgs {
    /// Provide a more verbose output
    #[arg(long)]
    verbose: bool,
}

/// Remove build cache.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct PruneArgs {
    /// Also forget steps whose layers images use, which frees nothing
    #[arg(short, long)]
    all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Amount of disk space that is left to the cache
    #[arg(long, visible_alias = "max-used-space", visible_alias = "reserved-space", value_name = "bytes", value_parser = berth_engine::spec::parse_ram)]
    keep_storage: Option<u64>,
}

impl DuArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let store = context.engine()?.store()?;
        let steps = store.steps()?;
        let mut text = String::new();
        if !self.verbose {
            text.push_str("ID\t\t\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n");
        }
        for step in &steps {
            let (id, size) = (&step.key.hex()[..20], human::size(step.size));
            let used = crate::format::time::ago(step.used, Timestamp::now());
            match self.verbose {
                false => text.push_str(&format!("{id}\ttrue\t\t{size}\t{used}\n")),
                true => text.push_str(&format!(
                    "ID:\t\t{id}\nCreated at:\t{}\nReclaimable:\ttrue\nSize:\t\t{size}\nLast used:\t{used}\nUsage count:\t{}\nDescription:\t{}\n\n",
                    step.made, step.uses, name(step)
                )),
            }
        }
        let total: u64 = steps.iter().map(|step| step.size).sum();
        text.push_str(&format!("Reclaimable:\t{0}\nTotal:\t\t{0}\n", human::size(total)));
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

fn name(step: &StepRecord) -> String {
    let document: serde_json::Value = serde_json::from_str(&step.document).unwrap_or_default();
    document["name"].as_str().unwrap_or_default().to_owned()
}

impl PruneArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if !self.force
            && !terminal::confirm(
                "WARNING! This will remove all dangling build cache. Are you sure you want to continue?",
            )?
        {
            return Ok(Exit::SUCCESS);
        }
        let store = context.engine()?.store()?;
        let mut steps = store.steps()?;
        // What is cheap to make again goes first, then what nobody has used for long.
        steps.sort_by_key(|step| (worth(step), step.used));
        let mut left: u64 = steps.iter().map(|step| step.size).sum();
        let keep = self.keep_storage.unwrap_or(0);
        let used = if self.all { HashSet::new() } else { layers_of_images(store)? };
        let mut gone = Vec::new();
        for step in &steps {
            if keep > 0 && left <= keep {
                break;
            }
            let layers = layers(step);
            if !layers.is_empty() && layers.iter().all(|layer| used.contains(layer)) {
                continue;
            }
            left = left.saturating_sub(step.size);
            gone.push(step.key.clone());
        }
        store.remove_steps(&gone)?;
        let taken = store.gc()?;
        let mut text = String::new();
        for key in &gone {
            text.push_str(&format!("{}\n", &key.hex()[..20]));
        }
        text.push_str(&format!("Total:\t{}\n", human::size(taken.bytes)));
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

/// The layers that a step made.
fn layers(step: &StepRecord) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(&step.document).unwrap_or_default();
    let layers = document["layers"].as_array().cloned().unwrap_or_default();
    layers.iter().filter_map(|layer| layer["diff_id"].as_str().map(str::to_owned)).collect()
}

/// The layers that stay whatever the cache forgets.
fn layers_of_images(store: &Store) -> Result<HashSet<String>> {
    let mut used = HashSet::new();
    for image in store.images()? {
        for manifest in image.manifests()?.iter().filter(|manifest| manifest.available) {
            let (_, config) = store.config(&store.manifest(&manifest.descriptor.digest)?)?;
            used.extend(config.rootfs.diff_ids.iter().map(ToString::to_string));
        }
    }
    Ok(used)
}

/// Milliseconds of work for each mebibyte.
fn worth(step: &StepRecord) -> u128 {
    step.cost.as_millis() * (1 << 20) / u128::from(step.size.max(1))
}
