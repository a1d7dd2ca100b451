//! `berth stats`: how much of the machine each container uses, once or again and again.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::format::human;
use crate::format::table::{Column, Listing, Style};
use crate::terminal;
use berth_engine::Engine;
use berth_engine::container::{Container, Selection};
use berth_oci::Result;
use berth_runtime::Usage;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Display a live stream of container(s) resource usage statistics.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// The containers; all that run where none is named
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Between two lists.
const PERIOD: Duration = Duration::from_secs(1);
/// Between the two looks that a single list takes: a share of processor time needs a span of time.
const SPAN: Duration = Duration::from_millis(250);

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let style = Style::new(self.format.as_deref(), TABLE);
        let mut earlier = Looks::default();
        earlier.look(engine, &self.chosen(engine)?)?;
        loop {
            // Load is work over time: nothing else than time can be awaited here.
            std::thread::sleep(if self.no_stream { SPAN } else { PERIOD });
            let containers = self.chosen(engine)?;
            let mut now = Looks::default();
            now.look(engine, &containers)?;
            let rows = self.rows(engine, containers, &earlier, &now)?;
            let text = LISTING.render(rows, &style).client()?;
            if self.no_stream {
                terminal::print(text)?;
                return Ok(Exit::SUCCESS);
            }
            terminal::print(repainted(&text))?;
            earlier = now;
        }
    }

    /// Those that were named, or all that run (or are there): the youngest first.
    fn chosen(&self, engine: &Engine) -> Result<Vec<Container>, Failure> {
        if self.containers.is_empty() {
            let selection = Selection { all: self.all, ..Selection::default() };
            return Ok(engine.list(&selection)?);
        }
        let named = self.containers.iter().map(|name| engine.container(name));
        Ok(named.collect::<Result<_>>()?)
    }

    fn rows(
        &self,
        engine: &Engine,
        containers: Vec<Container>,
        earlier: &Looks,
        now: &Looks,
    ) -> Result<Vec<Row>> {
        let machine = engine.machine_memory()?;
        let mut words = self.containers.iter();
        let mut row = |container: Container| {
            let usage = now.of(&container).map_or_else(Usage::default, |look| look.usage);
            Row {
                cpu: now.cpu_share(earlier, &container),
                memory_limit: usage.memory_limit.map_or(machine, |limit| limit.min(machine)),
                is_running: container.is_running(),
                no_trunc: self.no_trunc,
                word: words.next().cloned(),
                usage,
                container,
            }
        };
        Ok(containers.into_iter().map(&mut row).collect())
    }
}

/// From the top of the screen, over what was there.
fn repainted(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// What was counted at one time.
#[derive(Default)]
struct Looks(HashMap<String, Look>);

struct Look {
    at: Instant,
    usage: Usage,
}

impl Looks {
    fn look(&mut self, engine: &Engine, containers: &[Container]) -> Result<()> {
        for container in containers {
            let look = Look { at: Instant::now(), usage: engine.container_usage(container)? };
            self.0.insert(container.id.clone(), look);
        }
        Ok(())
    }

    fn of(&self, container: &Container) -> Option<&Look> {
        self.0.get(&container.id)
    }

    /// In hundredths of a processor.
    fn cpu_share(&self, earlier: &Self, container: &Container) -> f64 {
        let (Some(before), Some(now)) = (earlier.of(container), self.of(container)) else { return 0.0 };
        let span = now.at.duration_since(before.at).as_nanos();
        let used = now.usage.cpu_ns.saturating_sub(before.usage.cpu_ns);
        if span == 0 { 0.0 } else { used as f64 / span as f64 * 100.0 }
    }
}

/// One container, with everything its columns need.
struct Row {
    container: Container,
    usage: Usage,
    cpu: f64,
    memory_limit: u64,
    is_running: bool,
    no_trunc: bool,
    /// What it was called on the command line.
    word: Option<String>,
}

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

static LISTING: Listing<Row> = Listing {
    type_name: "*container.statsContext",
    label: None,
    columns: &[
        Column {
            name: "Container",
            title: "CONTAINER",
            value: |row| row.word.as_deref().unwrap_or_else(|| row.id()).into(),
        },
        Column { name: "ID", title: "CONTAINER ID", value: |row| row.id().into() },
        Column { name: "Name", title: "NAME", value: |row| row.container.name.as_str().into() },
        Column { name: "CPUPerc", title: "CPU %", value: |row| row.shown(format!("{:.2}%", row.cpu)).into() },
        Column { name: "MemUsage", title: "MEM USAGE / LIMIT", value: |row| row.memory().into() },
        Column { name: "MemPerc", title: "MEM %", value: |row| row.memory_share().into() },
        Column {
            name: "NetIO",
            title: "NET I/O",
            value: |row| row.shown(pair(row.usage.received, row.usage.sent)).into(),
        },
        Column {
            name: "BlockIO",
            title: "BLOCK I/O",
            value: |row| row.shown(pair(row.usage.read, row.usage.written)).into(),
        },
        Column {
            name: "PIDs",
            title: "PIDS",
            value: |row| row.shown(row.usage.processes.to_string()).into(),
        },
    ],
};

fn pair(first: u64, second: u64) -> String {
    format!("{} / {}", human::short_size(first), human::short_size(second))
}

impl Row {
    fn id(&self) -> &str {
        if self.no_trunc { &self.container.id } else { self.container.short_id() }
    }

    /// Docker has dashes for who does not run.
    fn shown(&self, text: String) -> String {
        match (self.is_running, text.contains('/')) {
            (true, _) => text,
            (false, true) => "-- / --".to_owned(),
            (false, false) => "--".to_owned(),
        }
    }

    fn memory(&self) -> String {
        let (used, limit) = (self.usage.memory, self.memory_limit);
        self.shown(format!("{} / {}", human::binary_size(used), human::binary_size(limit)))
    }

    fn memory_share(&self) -> String {
        let share = self.usage.memory as f64 / self.memory_limit.max(1) as f64 * 100.0;
        self.shown(format!("{share:.2}%"))
    }
}
