//! `berth logs`: what a container has written, each stream to ours.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::format::time;
use crate::terminal;
use berth_engine::container::Container;
use berth_oci::{Error, Result};
use berth_runtime::Event;
use berth_runtime::log::{Entry, Options, Reader, Stream, Woken};
use jiff::Timestamp;
use std::os::fd::AsFd;

/// Fetch the logs of a container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    until: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let now = Timestamp::now();
        let options = Options {
            tail: tail(&self.tail).client()?,
            since: moment("since", self.since.as_deref(), now).client()?,
            until: moment("until", self.until.as_deref(), now).client()?,
        };
        let engine = context.engine()?;
        let container = engine.container(&self.container)?;
        let mut reader = engine.logs(&container, options)?;
        self.show(context, &container, &mut reader)
            .map_err(|error| engine.unless_removed(&container.id, error))?;
        Ok(Exit::SUCCESS)
    }

    fn show(&self, context: &Context, container: &Container, reader: &mut Reader) -> Result<()> {
        let mut out = Out { timestamps: self.timestamps, details: self.details, ..Out::default() };
        let is_to_go_on = self.follow && container.is_running();
        if is_to_go_on {
            reader.follow()?;
        }
        out.copy(reader)?;
        if is_to_go_on {
            follow(context, container, reader, &mut out)?;
        }
        Ok(())
    }
}

/// On, over restarts by its monitor, until it has ended for good or nothing wanted can come.
fn follow(context: &Context, container: &Container, reader: &mut Reader, out: &mut Out) -> Result<()> {
    let engine = context.engine()?;
    let subscribed = engine.talk(container).and_then(|mut c| c.subscribe().map(|()| c));
    let Ok(mut connection) = subscribed else {
        // It has ended meanwhile.
        return out.copy(reader);
    };
    loop {
        let woken = match connection.has_early_events() {
            true => Woken::Other,
            false => reader.wait(connection.as_fd())?,
        };
        // What it wrote before its end is in the log when the end is told.
        let has_ended = woken == Woken::Other
            && match connection.next_event()? {
                Event::Exited(exit) => !exit.restarts,
                Event::Closed => true,
                Event::Stdout(_) | Event::Stderr(_) => false,
            };
        out.copy(reader)?;
        if has_ended || woken == Woken::Late {
            return Ok(());
        }
    }
}

fn tail(text: &str) -> Result<Option<usize>> {
    match (text, text.parse::<i64>()) {
        ("all" | "", _) => Ok(None),
        (_, Ok(lines)) => Ok(usize::try_from(lines).ok()),
        (_, Err(_)) => {
            Err(Error::invalid(format!("invalid value for \"tail\": `{text}` is no number of lines")))
        }
    }
}

fn moment(flag: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>> {
    let parse = |text: &str| {
        time::parse_moment(text, now).map_err(|_| {
            Error::invalid(format!(
                "invalid value for \"{flag}\": failed to parse value as time or duration: {text:?}"
            ))
        })
    };
    text.map(parse).transpose()
}

/// Lines on their way out: written in pieces, but never one stream before the other's earlier line.
#[derive(Default)]
struct Out {
    timestamps: bool,
    details: bool,
    pending: Vec<u8>,
    to_stderr: bool,
}

/// Enough to make system calls cheap, little enough to be quick.
const PIECE: usize = 64 * 1024;

impl Out {
    fn copy(&mut self, reader: &mut Reader) -> Result<()> {
        while let Some(entry) = reader.next_entry()? {
            self.add(&entry)?;
        }
        self.flush()
    }

    fn add(&mut self, entry: &Entry) -> Result<()> {
        let to_stderr = entry.stream == Stream::Stderr;
        if to_stderr != self.to_stderr || self.pending.len() > PIECE {
            self.flush()?;
            self.to_stderr = to_stderr;
        }
        if self.timestamps {
            self.pending.extend_from_slice(format!("{:.9} ", entry.time).as_bytes());
        }
        if self.details {
            let details = entry.attrs.iter().map(|(key, value)| format!("{key}={value}"));
            self.pending.extend_from_slice(details.collect::<Vec<_>>().join(",").as_bytes());
            self.pending.push(b' ');
        }
        self.pending.extend_from_slice(entry.log.as_bytes());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        match (pending.is_empty(), self.to_stderr) {
            (true, _) => Ok(()),
            (false, true) => {
                terminal::complain_raw(pending);
                Ok(())
            }
            (false, false) => terminal::print(pending),
        }
    }
}
