//! `berth images`.

use super::tree;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::table::{Column, Listing, Style};
use crate::format::{human, time};
use crate::terminal;
use berth_engine::ImageFilter;
use berth_oci::{Digest, Reference, Result};
use berth_store::ImageRecord;
use jiff::Timestamp;
use std::collections::HashMap;
use std::rc::Rc;

/// List images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Show all images; none are hidden here
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// List the platforms of each image, too
    #[arg(long)]
    tree: bool,
    /// Only images whose name matches
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

/// The filters of `images`, which `image prune` shares.
pub(super) const FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let now = Timestamp::now();
        let filter = self.conditions(now)?;
        if self.tree {
            return tree::show(context, &filter);
        }
        let images = context.engine()?.images(&filter)?;
        let pushes = self.pushes(context)?;
        let rows = rows(images, &self, &pushes, now);
        terminal::print(LISTING.render(rows, &self.style()).client()?)?;
        Ok(Exit::SUCCESS)
    }

    fn conditions(&self, now: Timestamp) -> Result<ImageFilter> {
        let filters = Filters::new(&self.filter, FILTERS)?;
        let mut filter = image_filter(&filters, now)?;
        filter.references.extend(self.repository.clone());
        Ok(filter)
    }

    /// What registries call the images, where somebody wants to see that.
    fn pushes(&self, context: &Context) -> Result<Pushes> {
        if self.digests { context.engine()?.pushes() } else { Ok(Pushes::new()) }
    }

    fn style(&self) -> Style {
        let table = match self.digests {
            true => "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
            false => "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        };
        match self.format.as_deref() {
            None | Some("" | "table") if self.quiet => Style::Raw("{{.ID}}".to_owned()),
            format => Style::new(format, table),
        }
    }
}

/// Docker's filters as the engine's conditions.
pub(super) fn image_filter(filters: &Filters, now: Timestamp) -> Result<ImageFilter> {
    Ok(ImageFilter {
        dangling: filters.flag("dangling")?,
        labels: filters::labels(filters),
        references: filters.values("reference").to_vec(),
        before: filters.values("before").last().cloned(),
        since: filters.values("since").last().cloned(),
        until: filters.moment("until", now)?,
    })
}

type Pushes = HashMap<Digest, Vec<Reference>>;

/// An image under one of its names.
pub(crate) struct Row {
    image: Rc<ImageRecord>,
    /// Which of its names; none: it has none.
    name: Option<usize>,
    /// The digest to show: what the repository has, or would have.
    digest: Option<Digest>,
    no_trunc: bool,
    now: Timestamp,
}

const NONE: &str = "<none>";

static LISTING: Listing<Row> = Listing {
    type_name: "*formatter.imageContext",
    label: None,
    columns: &[
        Column { name: "ID", title: "IMAGE ID", value: |row| row.id().into() },
        Column {
            name: "Repository",
            title: "REPOSITORY",
            value: |row| row.name().map_or(NONE, Reference::familiar_name).into(),
        },
        Column {
            name: "Tag",
            title: "TAG",
            value: |row| row.name().and_then(Reference::tag).unwrap_or(NONE).into(),
        },
        Column { name: "Digest", title: "DIGEST", value: |row| row.digest().into() },
        Column { name: "CreatedSince", title: "CREATED", value: |row| row.created(time::ago).into() },
        Column {
            name: "CreatedAt",
            title: "CREATED AT",
            value: |row| row.created(|moment, _| time::local(moment)).into(),
        },
        Column { name: "Size", title: "SIZE", value: |row| human::short_size(row.image.size).into() },
        Column { name: "Containers", title: "CONTAINERS", value: |_| "N/A".into() },
        Column { name: "VirtualSize", title: "SIZE", value: |row| human::size(row.image.size).into() },
        Column { name: "SharedSize", title: "SHARED SIZE", value: |_| "N/A".into() },
        Column { name: "UniqueSize", title: "UNIQUE SIZE", value: |_| "N/A".into() },
    ],
};

impl Row {
    fn name(&self) -> Option<&Reference> {
        self.name.map(|index| &self.image.names[index])
    }

    fn id(&self) -> &str {
        match self.no_trunc {
            true => self.image.target.as_str(),
            false => self.image.target.short(),
        }
    }

    fn digest(&self) -> &str {
        self.digest.as_ref().map_or(NONE, Digest::as_str)
    }

    fn pushed<'a>(&'a self, name: &Reference, pushes: &'a Pushes) -> &'a Digest {
        let mut pushed = pushes.get(&self.image.target).into_iter().flatten();
        let pushed = pushed.find(|pushed| pushed.name() == name.name());
        pushed.and_then(Reference::digest).unwrap_or(&self.image.target)
    }

    fn created(&self, show: fn(Timestamp, Timestamp) -> String) -> String {
        self.image.created.map_or_else(|| "N/A".to_owned(), |moment| show(moment, self.now))
    }
}

/// The rows, each made when its turn has come.
fn rows(images: Vec<ImageRecord>, args: &Args, pushes: &Pushes, now: Timestamp) -> impl Iterator<Item = Row> {
    let (no_trunc, digests) = (args.no_trunc, args.digests);
    images.into_iter().flat_map(move |image| {
        let image = Rc::new(image);
        shown_names(&image.names).into_iter().map(move |name| {
            let row = Row { image: Rc::clone(&image), name, digest: None, no_trunc, now };
            let digest = row.name().filter(|_| digests).map(|name| row.pushed(name, pushes).clone());
            Row { digest, ..row }
        })
    })
}

/// Which names have a row: those with a tag, then repositories that are known by digest only, none if there is neither.
pub(crate) fn shown_names(names: &[Reference]) -> Vec<Option<usize>> {
    let is_tagged = |index: &usize| names[*index].tag().is_some();
    let mut shown: Vec<Option<usize>> = (0..names.len()).filter(is_tagged).map(Some).collect();
    for index in (0..names.len()).filter(|index| !is_tagged(index)) {
        let repository = names[index].name();
        if shown.iter().flatten().all(|&known| names[known].name() != repository) {
            shown.push(Some(index));
        }
    }
    if shown.is_empty() {
        shown.push(None);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_has_a_row() {
        let digest = "sha256:590a6e620af4a6f1f90e51d62e05f432d782323284c50b0a70feb8e75968fbfc";
        let rows = |names: &[&str]| {
            let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
            let shown = shown_names(&names).into_iter().map(|index| index.map(|index| &names[index]));
            shown
                .map(|name| {
                    let tag = name.and_then(Reference::tag).unwrap_or("-");
                    format!("{}:{tag}", name.map_or("-", Reference::familiar_name))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(&[]), ["-:-"]);
        assert_eq!(rows(&["a:1", "a:2", "q.io/b:1"]), ["a:1", "a:2", "q.io/b:1"]);
        assert_eq!(rows(&[&format!("a@{digest}")]), ["a:-"]);
        assert_eq!(rows(&["a:1", &format!("a@{digest}"), &format!("b@{digest}")]), ["a:1", "b:-"]);
    }
}
