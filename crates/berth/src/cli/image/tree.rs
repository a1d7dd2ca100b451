//! `berth image tree`: images with the platforms below them.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::human;
use crate::format::table::{Spacing, aligned_with};
use crate::terminal;
use berth_engine::ImageFilter;
use berth_oci::Result;
use berth_store::ImageRecord;

/// Show images with their platforms.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Only images whose name matches
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let references = self.repository.into_iter().collect();
        show(context, &ImageFilter { references, ..ImageFilter::default() })
    }
}

/// Shows the images that pass a filter.
pub(super) fn show(context: &Context, filter: &ImageFilter) -> Outcome {
    let engine = context.engine()?;
    let (images, in_use) = (engine.images(filter)?, engine.image_use()?);
    let mut text = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tUSED\n".to_owned();
    for image in &images {
        text += &lines(image, in_use.contains_key(&image.target))?;
    }
    terminal::print(aligned_with(&text, Spacing { least: 0, padding: 3 }))?;
    Ok(Exit::SUCCESS)
}

fn lines(image: &ImageRecord, is_used: bool) -> Result<String> {
    let manifests = image.manifests()?;
    let here = || manifests.iter().filter(|manifest| manifest.available);
    let content: u64 = here().map(|manifest| manifest.content_size).sum();
    let mark = if is_used { "U" } else { "" };
    let mut text = String::new();
    for name in &image.names {
        text += &format!("{}\t", name.familiar());
    }
    if image.names.is_empty() {
        text += "<untagged>\t";
    }
    let (names, last) =
        text.trim_end_matches('\t').rsplit_once('\t').unwrap_or(("", text.trim_end_matches('\t')));
    let mut out: String =
        names.split('\t').filter(|n| !n.is_empty()).map(|name| format!("{name}\t\t\t\t\n")).collect();
    out += &format!(
        "{last}\t{}\t{}\t{}\t{mark}\n",
        image.target.short(),
        human::short_size(image.size),
        human::short_size(content)
    );
    for (index, manifest) in manifests.iter().enumerate() {
        let branch = if index + 1 == manifests.len() { "└─" } else { "├─" };
        let platform =
            manifest.descriptor.platform.as_ref().map_or("unknown".to_owned(), ToString::to_string);
        let (disk, content) = match manifest.available {
            true => (manifest.unpacked_size, manifest.content_size),
            false => (0, 0),
        };
        out += &format!(
            "{branch} {platform}\t{}\t{}\t{}\t\n",
            manifest.descriptor.digest.short(),
            human::short_size(disk),
            human::short_size(content)
        );
    }
    Ok(out)
}
