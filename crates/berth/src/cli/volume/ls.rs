//! `berth volume ls`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::table::{Column, Listing, Style};
use crate::terminal;
use berth_engine::{Volume, VolumeFilter};

/// List volumes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

static LISTING: Listing<Volume> = Listing {
    type_name: "*formatter.volumeContext",
    label: Some(|volume, name| volume.shown_labels().get(name).cloned().unwrap_or_default()),
    columns: &[
        Column { name: "Name", title: "VOLUME NAME", value: |volume| volume.name.as_str().into() },
        Column { name: "Driver", title: "DRIVER", value: |volume| volume.driver().into() },
        Column { name: "Scope", title: "SCOPE", value: |_| "local".into() },
        Column {
            name: "Mountpoint",
            title: "MOUNTPOINT",
            value: |volume| volume.mountpoint.display().to_string().into(),
        },
        Column { name: "Labels", title: "LABELS", value: |volume| labels(volume).into() },
        // What follows is known to `system df`, or to swarm.
        Column { name: "Links", title: "LINKS", value: |_| "N/A".into() },
        Column { name: "Size", title: "SIZE", value: |_| "N/A".into() },
        Column { name: "Group", title: "GROUP", value: |_| "N/A".into() },
        Column { name: "Availability", title: "AVAILABILITY", value: |_| "N/A".into() },
        Column { name: "Status", title: "STATUS", value: |_| "N/A".into() },
    ],
};

fn labels(volume: &Volume) -> String {
    let labels = volume.shown_labels();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filters = Filters::new(&self.filter, &["dangling", "driver", "label", "name"])?;
        let filter = VolumeFilter {
            names: filters.values("name").to_vec(),
            drivers: filters.values("driver").to_vec(),
            labels: filters::labels(&filters),
            dangling: filters.flag("dangling")?,
        };
        let volumes = context.engine()?.volumes(&filter)?;
        let style = match self.format.as_deref() {
            None | Some("" | "table") if self.quiet => Style::Raw("{{.Name}}".to_owned()),
            format => Style::new(format, "{{.Driver}}\t{{.Name}}"),
        };
        terminal::print(LISTING.render(volumes, &style).client()?)?;
        Ok(Exit::SUCCESS)
    }
}
