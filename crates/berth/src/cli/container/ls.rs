//! `berth ps`.

use super::describe::{self, command, ellipsis, labels_text, ports_text, status};
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::table::{CONTAINERS, Column, Listing, Style};
use crate::format::template::{GoMap, Value, print};
use crate::format::{human, time};
use crate::terminal;
use berth_engine::Engine;
use berth_engine::container::{Container, ContainerSize, Selection, word};
use berth_engine::spec::{ExposedPort, Mount, NetworkMode, parse_expose};
use berth_oci::{Error, Kind, Result};
use jiff::Timestamp;
use std::collections::HashMap;
use std::rc::Rc;

/// List containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "int", default_value_t = -1)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network",
    "publish", "since", "status", "volume",
];
const STATUSES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let containers = engine.list(&self.selection()?)?;
        let rows = rows(engine, containers, &self)?;
        terminal::print(LISTING.render(rows, &self.style()).client()?)?;
        Ok(Exit::SUCCESS)
    }

    fn selection(&self) -> Result<Selection> {
        let filters = Filters::new(&self.filter, FILTERS)?;
        let last = if self.latest { Some(1) } else { usize::try_from(self.last).ok().filter(|n| *n > 0) };
        one_of(&filters, "status", "state", &STATUSES)?;
        one_of(&filters, "health", "health", &HEALTH)?;
        if filters.flag("is-task")? == Some(true) {
            // Tasks are swarm's, and there is none.
            return Ok(Selection { ids: vec!["^$".to_owned()], ..Selection::default() });
        }
        let list = |key: &str| filters.values(key).to_vec();
        Ok(Selection {
            all: self.all,
            last,
            ids: list("id"),
            names: list("name"),
            statuses: list("status"),
            exited: codes(&filters)?,
            labels: list("label"),
            ancestors: list("ancestor"),
            before: filters.values("before").last().cloned(),
            since: filters.values("since").last().cloned(),
            volumes: list("volume"),
            networks: list("network"),
            published: ports(&filters, "publish")?,
            exposed: ports(&filters, "expose")?,
            health: list("health"),
        })
    }

    fn style(&self) -> Style {
        let size = if self.size { "\t{{.Size}}" } else { "" };
        let table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
        match self.format.as_deref() {
            None | Some("" | "table") if self.quiet => Style::Raw("{{.ID}}".to_owned()),
            format => Style::new(format, &format!("{table}{size}")),
        }
    }

    /// Measuring a container means walking through what it wrote: only for who wants to see it.
    fn wants_size(&self) -> bool {
        let shows = |format: &str| format.contains(".Size") || format.contains("json .");
        self.size || self.format.as_deref().is_some_and(shows)
    }
}

fn one_of(filters: &Filters, key: &str, what: &str, known: &[&str]) -> Result<()> {
    match filters.values(key).iter().find(|value| !known.contains(&value.as_str())) {
        Some(value) => Err(Error::invalid(format!(
            "invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {}",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

fn codes(filters: &Filters) -> Result<Vec<i32>> {
    let code = |text: &String| {
        text.parse().map_err(|_| {
            let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
            Error::invalid(format!("invalid filter 'exited={text}': {why}")).hint("it is an exit code")
        })
    };
    filters.values("exited").iter().map(code).collect()
}

fn ports(filters: &Filters, key: &str) -> Result<Vec<ExposedPort>> {
    let mut ports = Vec::new();
    for text in filters.values(key) {
        ports.extend(parse_expose(text).map_err(|error| {
            let why = error.message().rsplit(", error: ").next().unwrap_or_default();
            Error::invalid(format!("error while looking up for {key} {text}: {why}"))
        })?);
    }
    Ok(ports)
}

/// One container, with everything its columns need.
struct Row {
    container: Container,
    image: String,
    size: ContainerSize,
    no_trunc: bool,
    now: Timestamp,
}

fn rows(engine: &Engine, containers: Vec<Container>, args: &Args) -> Result<Vec<Row>> {
    let now = Timestamp::now();
    let mut images = ImageNames { engine, known: HashMap::new() };
    let mut rows = Vec::with_capacity(containers.len());
    for container in containers {
        let size = if args.wants_size() { engine.size(&container)? } else { ContainerSize::default() };
        let image = images.shown(&container, args.no_trunc)?;
        rows.push(Row { container, image, size, no_trunc: args.no_trunc, now });
    }
    Ok(rows)
}

/// A name that means another image by now is not shown: the id of the container's own is.
struct ImageNames<'a> {
    engine: &'a Engine,
    known: HashMap<String, Option<berth_oci::Digest>>,
}

impl ImageNames<'_> {
    fn shown(&mut self, container: &Container, no_trunc: bool) -> Result<String> {
        let name = &container.document.spec.image;
        if !self.known.contains_key(name) {
            let target = match self.engine.store()?.resolve(name) {
                Ok(image) => Some(image.target),
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict | Kind::Invalid) => None,
                Err(error) => return Err(error),
            };
            self.known.insert(name.clone(), target);
        }
        let now = self.known.get(name).and_then(Option::as_ref);
        Ok(match &container.image {
            Some(own) if now != Some(own) => if no_trunc { own.as_str() } else { own.short() }.to_owned(),
            _ => name.clone(),
        })
    }
}

static LISTING: Listing<Row> = Listing {
    type_name: CONTAINERS,
    label: Some(|row, name| row.container.document.process.labels.get(name).cloned().unwrap_or_default()),
    columns: &[
        Column { name: "ID", title: "CONTAINER ID", value: |row| row.id().into() },
        Column { name: "Names", title: "NAMES", value: |row| row.container.name.as_str().into() },
        Column { name: "Image", title: "IMAGE", value: |row| row.image.as_str().into() },
        Column { name: "Command", title: "COMMAND", value: |row| row.command().into() },
        Column {
            name: "CreatedAt",
            title: "CREATED AT",
            value: |row| time::local(whole_seconds(row.container.created)).into(),
        },
        Column {
            name: "RunningFor",
            title: "CREATED",
            value: |row| time::ago(row.container.created, row.now).into(),
        },
        Column { name: "Ports", title: "PORTS", value: |row| ports_text(&row.ports()).into() },
        Column { name: "State", title: "STATE", value: |row| word(row.container.status()).into() },
        Column { name: "Status", title: "STATUS", value: |row| status(&row.container, row.now).into() },
        Column { name: "Size", title: "SIZE", value: |row| row.size().into() },
        Column {
            name: "Labels",
            title: "LABELS",
            value: |row| labels_text(&row.container.document.process.labels).into(),
        },
        Column { name: "Mounts", title: "MOUNTS", value: |row| row.mounts().into() },
        Column { name: "LocalVolumes", title: "LOCAL VOLUMES", value: |row| row.local_volumes().into() },
        Column {
            name: "Networks",
            title: "NETWORKS",
            value: |row| networks(&row.container).join(",").into(),
        },
        Column { name: "Platform", title: "PLATFORM", value: |row| row.platform() },
    ],
};

/// The names of the networks that it is on, or will be.
fn networks(container: &Container) -> Vec<String> {
    let spec = &container.document.spec;
    let mut names: Vec<String> = match container.joined() {
        [] => spec.attachments_at_start().into_iter().map(|attachment| attachment.network).collect(),
        joined => joined.iter().map(|joined| joined.network.clone()).collect(),
    };
    if names.is_empty() && !matches!(spec.network, NetworkMode::Container(_)) {
        names.push(spec.network.to_string());
    }
    names.sort();
    names
}

/// Docker's list has whole seconds.
fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

impl Row {
    fn id(&self) -> &str {
        if self.no_trunc { &self.container.id } else { self.container.short_id() }
    }

    fn command(&self) -> String {
        let command = command(&self.container);
        print::quoted(&if self.no_trunc { command } else { ellipsis(&command, 20) })
    }

    fn ports(&self) -> Vec<describe::Port> {
        match self.container.is_running() {
            true => describe::ports(&self.container.document.process.exposed, &self.container.published()),
            false => Vec::new(),
        }
    }

    fn size(&self) -> String {
        match self.size.total {
            0 => human::short_size(self.size.writable),
            total => {
                format!("{} (virtual {})", human::short_size(self.size.writable), human::short_size(total))
            }
        }
    }

    fn mounts(&self) -> String {
        let sources = self.container.document.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind(bind) => Some(bind.source.display().to_string()),
            Mount::Volume(volume) => volume.name.clone(),
            Mount::Image(image) => Some(image.source.clone()),
            Mount::Tmpfs(_) => None,
        });
        let shown = sources.map(|source| if self.no_trunc { source } else { ellipsis(&source, 15) });
        shown.collect::<Vec<_>>().join(",")
    }

    fn local_volumes(&self) -> String {
        let is_volume = |mount: &&Mount| matches!(mount, Mount::Volume(_));
        self.container.document.mounts.iter().filter(is_volume).count().to_string()
    }

    fn platform(&self) -> Value {
        let host = berth_oci::Platform::host();
        let platform = self.container.document.spec.platform.as_ref().unwrap_or(&host);
        let entry = |key: &str, text: &str| (key.to_owned(), Value::from(text));
        let entries = [entry("architecture", &platform.architecture), entry("os", &platform.os)].into();
        Value::Map(Rc::new(GoMap { entries, of_text: true }))
    }
}
