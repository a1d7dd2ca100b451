//! `berth search`.

use super::DOCKER_HUB;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::human;
use crate::format::table::{Column, Listing, Style};
use crate::terminal;
use berth_distribution::SearchResult;
use berth_engine::SearchFilter;
use berth_oci::{Error, Result};

/// Search a registry for images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Filter output based on conditions provided: stars=100, is-official=true
    #[arg(short, long, value_name = "FILTER", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Max number of search results
    #[arg(long, value_name = "COUNT", default_value = "25")]
    limit: i64,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// What to look for, perhaps behind a registry: quay.io/nginx
    #[arg(value_name = "TERM", required = true)]
    term: String,
}

struct Row {
    found: SearchResult,
    no_trunc: bool,
    json: bool,
}

/// Docker cuts descriptions here.
const DESCRIPTION_WIDTH: usize = 45;
const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

static LISTING: Listing<Row> = Listing {
    type_name: "*registry.searchContext",
    label: None,
    columns: &[
        Column { name: "Name", title: "NAME", value: |row| row.found.name.as_str().into() },
        Column { name: "Description", title: "DESCRIPTION", value: |row| row.description().into() },
        Column { name: "StarCount", title: "STARS", value: |row| row.found.star_count.to_string().into() },
        Column { name: "IsOfficial", title: "OFFICIAL", value: |row| row.flag(row.found.is_official).into() },
        Column {
            name: "IsAutomated",
            title: "AUTOMATED",
            value: |row| row.flag(row.found.is_automated).into(),
        },
    ],
};

impl Row {
    fn description(&self) -> String {
        let text = self.found.description.replace(['\n', '\r'], " ");
        match self.no_trunc {
            true => text,
            false => human::ellipsis(&text, DESCRIPTION_WIDTH),
        }
    }

    fn flag(&self, value: bool) -> &'static str {
        match (value, self.json) {
            (true, true) => "true",
            (false, true) => "false",
            (true, false) => "[OK]",
            (false, false) => "",
        }
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let filter = self.conditions()?;
        let limit = self.checked_limit()?;
        let (registry, term) = split(&self.term);
        let found = context.engine()?.search(registry, term, limit, &filter)?;
        let style = Style::new(self.format.as_deref(), TABLE);
        let json = matches!(&style, Style::Raw(text) if text.contains("{{json .}}"));
        let rows = found.into_iter().map(|found| Row { found, no_trunc: self.no_trunc, json });
        terminal::print(LISTING.render(rows, &style).client()?)?;
        Ok(Exit::SUCCESS)
    }

    fn conditions(&self) -> Result<SearchFilter> {
        let filters = Filters::new(&self.filter, &["is-automated", "is-official", "stars"])?;
        Ok(SearchFilter {
            stars: filters.numbers("stars")?.into_iter().max().unwrap_or(0),
            is_official: filters.flag("is-official")?,
            is_automated: filters.flag("is-automated")?,
        })
    }

    /// 0 is docker's word for the default.
    fn checked_limit(&self) -> Result<usize> {
        match self.limit {
            0 => Ok(25),
            limit @ 1..=100 => Ok(limit as usize),
            limit => Err(Error::invalid(format!("limit {limit} is outside the range of [1, 100]"))),
        }
    }
}

/// The registry before the first slash, if it looks like one.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (DOCKER_HUB, term.strip_prefix("library/").unwrap_or(term)),
    }
}
