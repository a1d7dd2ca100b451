//! `berth network ls`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::table::{Column, Listing, Style};
use crate::terminal;
use berth_engine::network::Network;
use berth_engine::{LabelFilter, Patterns};
use berth_oci::{Error, Result};
use jiff::Timestamp;

/// List networks.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let rules = Rules::new(&self.filter)?;
        let mut networks = context.engine()?.networks()?;
        networks.retain(|network| rules.fit(network));
        let rows = networks.into_iter().map(|network| Row { network, no_trunc: self.no_trunc });
        let table = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
        let style = match self.format.as_deref() {
            None | Some("" | "table") if self.quiet => Style::Raw("{{.ID}}".to_owned()),
            format => Style::new(format, table),
        };
        terminal::print(LISTING.render(rows, &style).client()?)?;
        Ok(Exit::SUCCESS)
    }
}

/// What a network must be like; of several values for one key any may fit.
struct Rules {
    filters: Filters,
    labels: LabelFilter,
    names: Patterns,
    dangling: Option<bool>,
}

const KEYS: &[&str] = &["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];

impl Rules {
    fn new(given: &[Filter]) -> Result<Self> {
        let filters = Filters::new(given, KEYS)?;
        for kind in filters.values("type") {
            if !matches!(kind.as_str(), "builtin" | "custom") {
                return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'"))
                    .hint("the types are builtin and custom"));
            }
        }
        let labels = filters::labels(&filters);
        let dangling = filters.flag("dangling").map_err(|_| {
            Error::invalid(
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
            )
        })?;
        let names = Patterns::new("name", filters.values("name"))?;
        Ok(Self { filters, labels, names, dangling })
    }

    fn fit(&self, network: &Network) -> bool {
        let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
            let values = self.filters.values(key);
            values.is_empty() || values.iter().any(|value| fits(value))
        };
        let is_dangling = !network.is_builtin() && network.members.is_empty();
        any("driver", &|driver| network.driver == driver)
            && any("id", &|id| network.id.contains(id))
            && self.names.fit(&network.name)
            && any("scope", &|scope| scope == "local")
            && any("type", &|kind| (kind == "builtin") == network.is_builtin())
            && self.labels.matches(&network.labels)
            && self.dangling.is_none_or(|wanted| wanted == is_dangling)
    }
}

struct Row {
    network: Network,
    no_trunc: bool,
}

static LISTING: Listing<Row> = Listing {
    type_name: "*network.networkContext",
    label: Some(|row, name| row.network.labels.get(name).cloned().unwrap_or_default()),
    columns: &[
        Column { name: "ID", title: "NETWORK ID", value: |row| row.id().into() },
        Column { name: "Name", title: "NAME", value: |row| row.network.name.as_str().into() },
        Column { name: "Driver", title: "DRIVER", value: |row| row.network.driver.into() },
        Column { name: "Scope", title: "SCOPE", value: |_| "local".into() },
        Column { name: "IPv4", title: "IPV4", value: |row| word(row.network.ipv4.is_some()) },
        Column { name: "IPv6", title: "IPV6", value: |row| word(row.network.ipv6.is_some()) },
        Column { name: "Internal", title: "INTERNAL", value: |row| word(row.network.internal) },
        Column { name: "Labels", title: "LABELS", value: |row| row.labels().into() },
        Column { name: "CreatedAt", title: "CREATED AT", value: |row| created(row.network.created).into() },
    ],
};

impl Row {
    fn id(&self) -> &str {
        match self.no_trunc {
            true => &self.network.id,
            false => self.network.id.get(..12).unwrap_or(&self.network.id),
        }
    }

    fn labels(&self) -> String {
        let labels = self.network.labels.iter().map(|(key, value)| format!("{key}={value}"));
        labels.collect::<Vec<_>>().join(",")
    }
}

fn word(yes: bool) -> crate::format::template::Value {
    if yes { "true".into() } else { "false".into() }
}

/// As Go prints a moment.
fn created(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
}
