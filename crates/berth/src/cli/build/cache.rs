//! `buildx du`, `buildx prune`, `builder prune` and `buildx mount`: what builds keep.
//!
//! Not here: what goes first (`berth_engine`'s). Invariant: the sizes of `du` add up, a layer that several steps keep
//! counts once.

use crate::cli::{Context, output};
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::table::{Column, Listing, Style};
use crate::format::{human, time};
use crate::terminal;
use berth_engine::spec::parse_ram;
use berth_engine::{CacheEntry, CacheKind, CachePrune};
use berth_oci::{AtPath, Error, Result};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

/// Disk usage.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct DuArgs {
    /// Provide filter values
    #[arg(long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format the output
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Shorthand for "--format=pretty"
    #[arg(long)]
    verbose: bool,
}

/// Remove build cache.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct PruneArgs {
    /// Include what images use, too, which frees nothing
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Maximum amount of disk space allowed to keep for cache
    #[arg(long, visible_alias = "keep-storage", value_name = "bytes", value_parser = parse_ram)]
    max_used_space: Option<u64>,
    /// Target amount of free disk space after pruning
    #[arg(long, value_name = "bytes", value_parser = parse_ram)]
    min_free_space: Option<u64>,
    /// Amount of disk space always allowed to keep for cache
    #[arg(long, value_name = "bytes", value_parser = parse_ram)]
    reserved_space: Option<u64>,
    /// Provide a more verbose output
    #[arg(long)]
    verbose: bool,
}

/// Cache mounts of `RUN --mount=type=cache`.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum MountCommand {
    /// Write a cache mount's files to a tar archive (to STDOUT by default)
    Export(ExportArgs),
    /// Put the files of a tar archive into a cache mount
    Import(ImportArgs),
    /// List cache mounts
    Ls(MountLsArgs),
    /// Remove cache mounts
    Rm(MountRmArgs),
}

/// Write a cache mount's files to a tar archive (to STDOUT by default).
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    /// The mount's id
    #[arg(value_name = "MOUNT", required = true)]
    mount: String,
}

/// Put the files of a tar archive into a cache mount.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct ImportArgs {
    /// The mount's id
    #[arg(value_name = "MOUNT", required = true)]
    mount: String,
    /// The archive
    #[arg(value_name = "file|-", required = true)]
    source: String,
}

/// List cache mounts.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct MountLsArgs {
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Only display ids
    #[arg(short, long)]
    quiet: bool,
}

/// Remove cache mounts.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct MountRmArgs {
    /// Their ids
    #[arg(value_name = "MOUNT", required = true)]
    mounts: Vec<String>,
}

static LISTING: Listing<CacheEntry> = Listing {
    type_name: "*du.duContext",
    label: None,
    columns: &[
        Column {
            name: "ID",
            title: "ID",
            // Docker's star: what is written to as long as it is here.
            value: |entry| match entry.kind {
                CacheKind::CacheMount => format!("{}*", entry.id).into(),
                _ => entry.id.as_str().into(),
            },
        },
        Column {
            name: "Reclaimable",
            title: "RECLAIMABLE",
            value: |entry| (!entry.in_use).to_string().into(),
        },
        Column {
            name: "Size",
            title: "SIZE",
            value: |entry| {
                format!("{}{}", human::size(entry.size), if entry.shared { "*" } else { "" }).into()
            },
        },
        Column { name: "LastUsedAt", title: "LAST ACCESSED", value: |entry| ago(entry).into() },
        Column { name: "Type", title: "TYPE", value: |entry| kind(entry).into() },
        Column {
            name: "Description",
            title: "DESCRIPTION",
            value: |entry| entry.description.as_str().into(),
        },
        Column { name: "UsageCount", title: "USAGE COUNT", value: |entry| entry.uses.to_string().into() },
        Column {
            name: "CreatedAt",
            title: "CREATED AT",
            value: |entry| time::ago(entry.created, Timestamp::now()).into(),
        },
        Column { name: "Shared", title: "SHARED", value: |entry| entry.shared.to_string().into() },
        Column {
            name: "Mutable",
            title: "MUTABLE",
            value: |entry| (entry.kind == CacheKind::CacheMount).to_string().into(),
        },
        Column { name: "InUse", title: "IN USE", value: |entry| entry.in_use.to_string().into() },
    ],
};

fn ago(entry: &CacheEntry) -> String {
    time::ago(entry.used, Timestamp::now())
}

fn kind(entry: &CacheEntry) -> &'static str {
    match entry.kind {
        CacheKind::Regular => "regular",
        CacheKind::CacheMount => "exec.cachemount",
        CacheKind::Failed => "failed",
    }
}

/// Which entries are meant.
struct Wanted {
    filters: Filters,
}

impl Wanted {
    fn new(filter: &[Filter]) -> Result<Self> {
        const KNOWN: [&str; 11] = [
            "until",
            "unused-for",
            "id",
            "type",
            "description",
            "description~",
            "inuse",
            "shared",
            "private",
            "mutable",
            "immutable",
        ];
        let filters = Filters::new(filter, &KNOWN)?;
        for flag in ["inuse", "shared", "private", "mutable", "immutable"] {
            filters.flag(flag)?;
        }
        Ok(Self { filters })
    }

    /// The age that is asked for.
    fn unused_for(&self) -> Result<Option<jiff::SignedDuration>> {
        let ages = ["until", "unused-for"].into_iter().flat_map(|key| self.filters.values(key));
        ages.last().map(|text| time::parse_duration(text)).transpose()
    }

    fn is(&self, entry: &CacheEntry) -> bool {
        let any = |key: &str, matches: &dyn Fn(&str) -> bool| {
            let values = self.filters.values(key);
            values.is_empty() || values.iter().any(|value| matches(value))
        };
        let flag =
            |key: &str, is: bool| self.filters.flag(key).ok().flatten().is_none_or(|wanted| wanted == is);
        let mutable = entry.kind == CacheKind::CacheMount;
        any("id", &|id| entry.id.starts_with(id))
            && any("type", &|wanted| kind(entry) == wanted)
            && any("description", &|wanted| entry.description == wanted)
            && any("description~", &|part| entry.description.contains(part))
            && flag("inuse", entry.in_use)
            && flag("shared", entry.shared)
            && flag("private", !entry.shared)
            && flag("mutable", mutable)
            && flag("immutable", !mutable)
    }
}

impl DuArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let wanted = Wanted::new(&self.filter)?;
        let (age, now) = (wanted.unused_for()?, Timestamp::now());
        let mut entries = context.engine()?.build_cache()?;
        entries
            .retain(|entry| wanted.is(entry) && age.is_none_or(|age| now.duration_since(entry.used) >= age));
        let text = match self.format.as_deref() {
            _ if self.verbose => verbose(&entries),
            Some("pretty") => verbose(&entries),
            None | Some("" | "table") => {
                let totals = totals(&entries);
                let style = Style::new(None, "{{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}");
                LISTING.render(entries, &style).client()? + &totals
            }
            format => LISTING.render(entries, &Style::new(format, "")).client()?,
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

fn verbose(entries: &[CacheEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        for (name, value) in [
            ("ID", entry.id.clone()),
            ("Created at", entry.created.to_string()),
            ("Mutable", (entry.kind == CacheKind::CacheMount).to_string()),
            ("Reclaimable", (!entry.in_use).to_string()),
            ("Shared", entry.shared.to_string()),
            ("Size", human::size(entry.size)),
            ("Description", entry.description.clone()),
            ("Usage count", entry.uses.to_string()),
            ("Last used", ago(entry)),
            ("Type", kind(entry).to_owned()),
            ("Rebuild time", format!("{:.1}s", entry.cost_ms as f64 / 1000.0)),
        ] {
            let _ = writeln!(text, "{:14}{value}", format!("{name}:"));
        }
        text.push('\n');
    }
    text + &totals(entries)
}

fn totals(entries: &[CacheEntry]) -> String {
    let sum =
        |of: &dyn Fn(&&CacheEntry) -> bool| entries.iter().filter(of).map(|entry| entry.size).sum::<u64>();
    let mut text = String::new();
    for (name, bytes) in [
        ("Shared", sum(&|entry| entry.shared)),
        ("Private", sum(&|entry| !entry.shared)),
        ("Reclaimable", sum(&|entry| !entry.in_use)),
        ("Total", sum(&|_| true)),
    ] {
        let _ = writeln!(text, "{name}:{}{}", if name.len() < 7 { "\t\t" } else { "\t" }, human::size(bytes));
    }
    text
}

impl PruneArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let wanted = Wanted::new(&self.filter)?;
        if !self.force && !terminal::confirm(warning(self.all))? {
            return Ok(Exit::SUCCESS);
        }
        let prune = CachePrune {
            all: self.all,
            unused_for: wanted.unused_for()?,
            max_used: self.max_used_space,
            reserved: self.reserved_space,
            min_free: self.min_free_space,
        };
        let pruned = context.engine()?.prune_build_cache(&prune, &|entry| wanted.is(entry))?;
        let mut text = match (self.verbose, pruned.entries.is_empty()) {
            (true, _) => {
                let mut text = verbose(&pruned.entries);
                text.truncate(text.rfind("Shared:\t").unwrap_or_default());
                text
            }
            (false, true) => String::new(),
            (false, false) => {
                let style = Style::new(None, "{{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}");
                LISTING.render(pruned.entries, &style).client()?
            }
        };
        let _ = writeln!(text, "Total:\t{}", human::size(pruned.bytes));
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

fn warning(all: bool) -> &'static str {
    match all {
        true => "WARNING! This will remove all build cache. Are you sure you want to continue?",
        false => "WARNING! This will remove all dangling build cache. Are you sure you want to continue?",
    }
}

impl MountCommand {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        match self {
            Self::Export(args) => {
                output::write(args.output.as_deref(), "failed to export cache mount", |out| {
                    engine.export_cache_mount(&args.mount, out)
                })
                .client()?;
            }
            Self::Import(args) => match args.source.as_str() {
                "-" => engine.import_cache_mount(&args.mount, &mut std::io::stdin())?,
                path => {
                    engine.import_cache_mount(&args.mount, &mut File::open(path).at(path).client()?)?;
                }
            },
            Self::Ls(args) => return args.run(context),
            Self::Rm(args) => {
                let is_named = |entry: &CacheEntry| {
                    entry.kind == CacheKind::CacheMount
                        && args.mounts.iter().any(|name| is_called(entry, name))
                };
                let all = CachePrune { all: true, ..CachePrune::default() };
                let removed = engine.prune_build_cache(&all, &is_named)?.entries;
                for name in &args.mounts {
                    if !removed.iter().any(|entry| is_called(entry, name)) {
                        return Err(Error::conflict(format!(
                            "the cache mount {name} is not there, or in use"
                        ))
                        .hint("`berth buildx du --filter type=exec.cachemount --verbose` says which"))
                        .client();
                    }
                    terminal::line(name)?;
                }
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// The id is what stands behind the words that docker describes a cache mount with.
fn mount_id(entry: &CacheEntry) -> &str {
    entry.description.strip_prefix("cached mount ").unwrap_or(&entry.description)
}

fn is_called(entry: &CacheEntry, name: &str) -> bool {
    mount_id(entry) == name || entry.id == name
}

static MOUNTS: Listing<CacheEntry> = Listing {
    type_name: "*formatter.mountContext",
    label: None,
    columns: &[
        Column { name: "Name", title: "MOUNT ID", value: |entry| mount_id(entry).into() },
        Column { name: "Key", title: "KEY", value: |entry| entry.id.as_str().into() },
        Column { name: "Size", title: "SIZE", value: |entry| human::size(entry.size).into() },
        Column { name: "LastUsedAt", title: "LAST ACCESSED", value: |entry| ago(entry).into() },
        Column { name: "InUse", title: "IN USE", value: |entry| entry.in_use.to_string().into() },
    ],
};

impl MountLsArgs {
    fn run(self, context: &Context) -> Outcome {
        let mut entries = context.engine()?.build_cache()?;
        entries.retain(|entry| entry.kind == CacheKind::CacheMount);
        entries.sort_by(|a, b| (mount_id(a), &a.id).cmp(&(mount_id(b), &b.id)));
        let style = match self.quiet {
            true => Style::Raw("{{.Name}}".to_owned()),
            false => Style::new(self.format.as_deref(), "{{.Name}}\t{{.Key}}\t{{.Size}}\t{{.LastUsedAt}}"),
        };
        terminal::print(MOUNTS.render(entries, &style).client()?)?;
        Ok(Exit::SUCCESS)
    }
}
