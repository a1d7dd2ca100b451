//! `berth system df`: what the store takes on the disk; the rows add up to it.

use crate::cli::Context;
use crate::cli::image::ls::shown_names;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::format::table::{Column, Listing, Style};
use crate::format::{human, time};
use crate::terminal;
use berth_engine::{Usage, UsageTotal};
use berth_oci::Reference;
use berth_store::{ContainerRecord, ImageRecord, ImageUsage};
use jiff::Timestamp;
use std::collections::HashMap;

/// Show disk usage.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

struct Row {
    kind: &'static str,
    total: UsageTotal,
}

const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

static LISTING: Listing<Row> = Listing {
    type_name: "*formatter.diskUsageImagesContext",
    label: None,
    columns: &[
        Column { name: "Type", title: "TYPE", value: |row| row.kind.into() },
        Column { name: "TotalCount", title: "TOTAL", value: |row| row.total.count.to_string().into() },
        Column { name: "Active", title: "ACTIVE", value: |row| row.total.active.to_string().into() },
        Column { name: "Size", title: "SIZE", value: |row| human::size(row.total.bytes).into() },
        Column { name: "Reclaimable", title: "RECLAIMABLE", value: |row| row.reclaimable().into() },
    ],
};

impl Row {
    fn reclaimable(&self) -> String {
        let UsageTotal { bytes, reclaimable, .. } = self.total;
        match bytes {
            0 => human::size(reclaimable),
            bytes => format!(
                "{} ({}%)",
                human::size(reclaimable),
                u128::from(reclaimable) * 100 / u128::from(bytes)
            ),
        }
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let usage = context.engine()?.disk_usage()?;
        let text = match self.verbose && self.format.is_none() {
            true => detailed(&usage).client()?,
            false => {
                let row = |kind, total| Row { kind, total };
                let rows = vec![
                    row("Images", usage.image_total()),
                    row("Containers", usage.container_total()),
                    row("Local Volumes", usage.volume_total()),
                    row("Build Cache", UsageTotal::default()),
                ];
                LISTING.render(rows, &Style::new(self.format.as_deref(), TABLE)).client()?
            }
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

struct ImageRow<'a> {
    name: Option<&'a Reference>,
    image: &'a ImageRecord,
    share: Option<&'a ImageUsage>,
}

fn detailed(usage: &Usage) -> berth_oci::Result<String> {
    let now = Timestamp::now();
    let mut text = format!("Images space usage:\n\n{}", images(usage, now));
    text += &format!("\nContainers space usage:\n\n{}", containers(usage, now));
    text += &format!("\nLocal Volumes space usage:\n\n{}", volumes(usage));
    text += "\nBuild cache usage: 0B\n\n";
    text += "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n";
    text += &format!("\nOn the disk:\n\n{}", ledger(usage));
    Ok(text)
}

fn images(usage: &Usage, now: Timestamp) -> String {
    let shares: HashMap<_, _> = usage.disk.images.iter().map(|share| (&share.target, share)).collect();
    let mut text =
        "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n".to_owned();
    for image in &usage.images {
        let name = shown_names(&image.names)[0].map(|index| &image.names[index]);
        text += &ImageRow { name, image, share: shares.get(&image.target).copied() }.line(now);
    }
    crate::format::table::aligned(&text)
}

impl ImageRow<'_> {
    fn line(&self, now: Timestamp) -> String {
        let created = self.image.created.map_or_else(|| "N/A".to_owned(), |created| time::ago(created, now));
        let (shared, unique, users) = self.share.map_or((0, 0, 0), |s| (s.shared, s.unique, s.containers));
        format!(
            "{}\t{}\t{}\t{created}\t{}\t{}\t{}\t{users}\n",
            self.name.map_or("<none>", Reference::familiar_name),
            self.name.and_then(Reference::tag).unwrap_or("<none>"),
            self.image.target.short(),
            human::short_size(shared + unique),
            human::size(shared),
            human::size(unique),
        )
    }
}

fn containers(usage: &Usage, now: Timestamp) -> String {
    let sizes: HashMap<&str, u64> = usage.disk.containers.iter().map(|c| (c.id.as_str(), c.bytes)).collect();
    let mut text = "CONTAINER ID\tIMAGE\tSIZE\tCREATED\tSTATUS\tNAMES\n".to_owned();
    for container in &usage.containers {
        text += &format!(
            "{}\t{}\t{}\t{}\t{}\t{}\n",
            container.id.get(..12).unwrap_or(&container.id),
            image_of(container, usage),
            human::short_size(sizes.get(container.id.as_str()).copied().unwrap_or(0)),
            time::ago(container.created, now),
            if usage.running.contains(&container.id) { "Up" } else { "Stopped" },
            container.name,
        );
    }
    crate::format::table::aligned(&text)
}

fn volumes(usage: &Usage) -> String {
    let sizes: HashMap<&str, u64> = usage.disk.volumes.iter().map(|v| (v.name.as_str(), v.bytes)).collect();
    let mut text = "VOLUME NAME\tLINKS\tSIZE\n".to_owned();
    for volume in &usage.volumes {
        let size = sizes.get(volume.name.as_str()).copied().unwrap_or(0);
        text += &format!("{}\t{}\t{}\n", volume.name, volume.users.len(), human::size(size));
    }
    crate::format::table::aligned(&text)
}

fn image_of(container: &ContainerRecord, usage: &Usage) -> String {
    let Some(target) = &container.image else { return String::new() };
    let named =
        usage.images.iter().find(|image| image.target == *target).and_then(|image| image.names.first());
    named.map_or_else(|| target.short().to_owned(), |name| name.familiar())
}

/// Every byte below the root.
fn ledger(usage: &Usage) -> String {
    let disk = &usage.disk;
    let containers = disk.containers.iter().map(|container| container.bytes).sum();
    let volumes = disk.volumes.iter().map(|volume| volume.bytes).sum();
    let mut text = "WHAT\tSIZE\tBYTES\n".to_owned();
    for (what, bytes) in [
        ("Layers", disk.layers),
        ("Manifests, configs, kept blobs", disk.blobs),
        ("Unfinished downloads", disk.partials),
        ("Containers", containers),
        ("Volumes", volumes),
        ("Temporary", disk.temporary),
        ("Database and directories", disk.overhead),
        ("Total", disk.total()),
    ] {
        text += &format!("{what}\t{}\t{bytes}\n", human::size(bytes));
    }
    crate::format::table::aligned(&text)
}
