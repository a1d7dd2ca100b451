//! `berth history`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::format::table::{Column, Listing, Style};
use crate::format::{human, time};
use crate::terminal;
use berth_engine::HistoryEntry;
use berth_oci::Platform;
use jiff::Timestamp;

/// Show the history of an image.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print sizes and dates in human readable format; -H=false for exact ones
    #[arg(short = 'H', long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show history for the given platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Name or id
    #[arg(value_name = "IMAGE", required = true)]
    image: String,
}

struct Row {
    entry: HistoryEntry,
    human: bool,
    no_trunc: bool,
    now: Timestamp,
}

static LISTING: Listing<Row> = Listing {
    type_name: "*image.historyContext",
    label: None,
    columns: &[
        Column { name: "ID", title: "IMAGE", value: |row| row.id().into() },
        Column { name: "CreatedSince", title: "CREATED", value: |row| row.created_since().into() },
        Column { name: "CreatedAt", title: "CREATED AT", value: |row| row.created_at().into() },
        Column { name: "CreatedBy", title: "CREATED BY", value: |row| row.created_by().into() },
        Column { name: "Size", title: "SIZE", value: |row| row.size().into() },
        Column { name: "Comment", title: "COMMENT", value: |row| row.entry.comment.as_str().into() },
    ],
};

/// Docker cuts commands at this many characters.
const COMMAND_WIDTH: usize = 45;

impl Row {
    fn id(&self) -> &str {
        match &self.entry.id {
            Some(id) if self.no_trunc => id.as_str(),
            Some(id) => id.short(),
            None => "<missing>",
        }
    }

    fn created_since(&self) -> String {
        match self.entry.created {
            Some(created) if self.human => time::ago(created, self.now),
            Some(created) => time::local_rfc3339(created),
            None if self.human => "N/A".to_owned(),
            None => String::new(),
        }
    }

    fn created_at(&self) -> String {
        self.entry.created.map_or(String::new(), time::local_rfc3339)
    }

    fn created_by(&self) -> String {
        let command = self.entry.created_by.replace('\t', " ");
        match self.no_trunc {
            true => command,
            false => human::ellipsis(&command, COMMAND_WIDTH),
        }
    }

    fn size(&self) -> String {
        match self.human {
            true => human::short_size(self.entry.size),
            false => self.entry.size.to_string(),
        }
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        let entries = context.engine()?.history(&self.image, platform.as_ref())?;
        let now = Timestamp::now();
        let row = |entry| Row { entry, human: self.human, no_trunc: self.no_trunc, now };
        let rows = entries.into_iter().map(row);
        terminal::print(LISTING.render(rows, &self.style()).client()?)?;
        Ok(Exit::SUCCESS)
    }

    fn style(&self) -> Style {
        let table = match self.human {
            true => "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
            false => "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        };
        match self.format.as_deref() {
            None | Some("" | "table") if self.quiet => Style::Raw("{{.ID}}".to_owned()),
            format => Style::new(format, table),
        }
    }
}
