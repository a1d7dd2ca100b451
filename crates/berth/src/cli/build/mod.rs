//! `berth build`, `berth buildx build`, `berth image build`: a Dockerfile becomes an image.
//!
//! Here: flags into a request, and what is told at the end. Not here: showing the steps (`view.rs`), where files come
//! from (`context.rs`), where results go (`output.rs`). Invariant: a flag that is accepted does what it says.

mod attest;
mod bake;
mod builders;
mod buildx;
mod cache;
mod cache_flags;
mod call;
mod context;
mod debug;
mod explain;
mod failure;
mod fields;
mod history;
mod imagetools;
mod output;
mod packing;
mod profile;
mod secret;
mod view;

pub(crate) use buildx::{BuilderCommand, BuildxCommand};
pub(crate) use debug::Args as DebugArgs;

use super::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::settings::{Persona, ProgressMode};
use crate::terminal;
use berth_build::git_ref::redacted;
use berth_build::{BuildRequest, Cancel, Entitlements, NetworkChoice, NoCache};
use berth_engine::spec::{ExtraHost, Ulimit, parse_label, parse_ram};
use berth_engine::{BuildAnnotation, BuildOptions, BuildResult, StepLimits};
use berth_oci::{AtPath, Error, Platform, Reference};
use berth_sys::signalfd::SignalFd;
use call::Call;
use context::{Finder, Held};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use view::View;

/// Build an image from a Dockerfile.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "list")]
    add_host: Vec<ExtraHost>,
    /// Allow extra privileged entitlement (network.host, security.insecure)
    #[arg(long, value_name = "list")]
    allow: Vec<String>,
    /// Add annotation to the image
    #[arg(long, value_name = "list")]
    annotation: Vec<BuildAnnotation>,
    /// Attestation parameters (format: "type=sbom", "type=provenance,mode=max")
    #[arg(long, value_name = "list")]
    attest: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "list")]
    build_arg: Vec<String>,
    /// Additional build contexts (e.g., name=path)
    #[arg(long, value_name = "list")]
    build_context: Vec<String>,
    /// External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")
    #[arg(long, value_name = "list")]
    cache_from: Vec<String>,
    /// Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")
    #[arg(long, value_name = "list")]
    cache_to: Vec<String>,
    /// Set method for evaluating build ("check", "outline", "targets")
    #[arg(long, value_name = "string", default_value = "build", hide_default_value = true)]
    call: Call,
    /// Shorthand for "--call=check"
    #[arg(long, conflicts_with = "call")]
    check: bool,
    /// Name of the Dockerfile (default is 'PATH/Dockerfile')
    #[arg(short, long, value_name = "string")]
    file: Option<PathBuf>,
    /// Write the image ID to a file
    #[arg(long, value_name = "string")]
    iidfile: Option<PathBuf>,
    /// How many steps run at once
    #[arg(short, long, value_name = "int")]
    jobs: Option<usize>,
    /// Set metadata for an image
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Shorthand for --output=type=docker
    #[arg(long)]
    load: bool,
    /// Bytes that the build cache may take afterwards (default: a tenth of the disk)
    #[arg(long, value_name = "bytes", value_parser = parse_ram)]
    max_cache: Option<u64>,
    /// Memory limit of every step
    #[arg(short, long, value_name = "bytes", value_parser = parse_ram)]
    memory: Option<u64>,
    /// Write build result metadata to a file
    #[arg(long, value_name = "string")]
    metadata_file: Option<PathBuf>,
    /// Networking mode for the RUN instructions: default, none, host
    #[arg(long, value_name = "string", default_value = "default", hide_default_value = true)]
    network: String,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "list")]
    no_cache_filter: Vec<String>,
    /// Output destination (format: "type=local,dest=path")
    #[arg(short, long, value_name = "list")]
    output: Vec<String>,
    /// Set target platform for build
    #[arg(long, value_name = "list")]
    platform: Vec<String>,
    /// Say what time, processor time and bytes each step took; with a file, write a trace for Chrome's viewer
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    profile: Option<Option<PathBuf>>,
    /// Shorthand for "--attest=type=provenance"
    #[arg(long, value_name = "string", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    provenance: Option<String>,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pull: bool,
    /// Shorthand for --output=type=registry
    #[arg(long)]
    push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    quiet: bool,
    /// Shorthand for "--attest=type=sbom"
    #[arg(long, value_name = "string", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sbom: Option<String>,
    /// Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")
    #[arg(long, value_name = "list")]
    secret: Vec<String>,
    /// Open a shell where a step has failed
    #[arg(long)]
    shell_on_fail: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = parse_ram)]
    shm_size: Option<u64>,
    /// Make all layers one
    #[arg(long)]
    squash: bool,
    /// SSH agent socket to expose to the build (format: "default|<id>[=<socket>]")
    #[arg(long, value_name = "list")]
    ssh: Vec<String>,
    /// Name and optionally a tag (format: "name:tag")
    #[arg(short, long, value_name = "list")]
    tag: Vec<Reference>,
    /// Set the target build stage to build
    #[arg(long, value_name = "string")]
    target: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<Ulimit>,
    /// Say why each step is done or not, what the ignore file does, and what earlier builds teach
    #[arg(long)]
    explain: bool,
    /// Remove intermediate containers after a successful build: there are none
    #[arg(long, hide = true)]
    rm: bool,
    /// Always remove intermediate containers: there are none
    #[arg(long, hide = true)]
    force_rm: bool,
    /// A directory, an archive or a repository on the web, or - for a Dockerfile or an archive from standard input
    #[arg(value_name = "PATH | URL | -", required = true)]
    context: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        // Before any thread is there, so that all of them have these signals blocked.
        let signals = SignalFd::take(&[2, 15]).map_err(Error::from)?;
        let cancel = Cancel::new()?;
        let mut held = Held::default();
        let outcome = thread::scope(|scope| {
            let watcher = watch(scope, &signals, &cancel);
            let outcome = self.build(context, &cancel, &mut held);
            watcher.end();
            outcome
        });
        // The first thing that went wrong is the one to be told.
        outcome.and_then(|exit| Ok(held.release(context.engine()?).map(|()| exit)?))
    }

    fn build(&self, context: &Context, cancel: &Cancel, held: &mut Held) -> Outcome {
        let engine = context.engine()?;
        let prepared = self.prepare(context, cancel, held)?;
        let request = &prepared.options.request;
        let call = if self.check { Call::CHECK } else { self.call };
        if !call.is_build() {
            return call.run(request, context);
        }
        let report = call::report(request, &request.platforms[0], engine, false);
        let view = match self.quiet || context.settings.progress == ProgressMode::None {
            true => View::quiet(),
            false => View::plain(self.explain),
        };
        let file =
            (prepared.options.request.dockerfile_name.clone(), prepared.options.request.dockerfile.len());
        let warnings: Vec<String> = report.warnings.iter().map(|warning| warning.line()).collect();
        view.loaded(&file.0, file.1, prepared.ignore.as_deref(), &warnings);
        // A mistake with a place is one of the text; all others are told by the build, which knows more.
        let mistake = report.error.as_ref().filter(|error| error.position.is_some());
        if let Some(error) = report.violation().or(mistake) {
            return Err(call::violated(error));
        }
        let outcome = engine.build(&prepared.options, &view, cancel)?;
        if !self.quiet && !warnings.is_empty() {
            let program = if context.settings.persona == Persona::Docker { "docker" } else { "berth" };
            terminal::complain(format!("\n{}", report.summary(terminal::is_debug(), program).trim_end()));
        }
        if let Some(trace) = &self.profile {
            profile::show(&outcome.report, trace.as_deref()).client()?;
        }
        if self.explain {
            explain::show(request, &outcome.report, engine.store()?)?;
        }
        let result = match outcome.result {
            Ok(result) => result,
            Err(failure) => {
                let kept = failure.step.as_ref().and_then(|step| step.kept.clone());
                let told = failure::told(failure, &outcome.log, context.settings.persona);
                if let Some(step) = kept.filter(|_| self.shell_on_fail) {
                    debug::open_shell(&step, context)?;
                }
                return Err(told);
            }
        };
        prepared.outputs.finish()?;
        self.finish(&result, &prepared.options)
    }

    /// What is written and said when all went well.
    fn finish(&self, result: &BuildResult, options: &BuildOptions) -> Outcome {
        let target = result.target.as_ref().map(|target| &target.digest);
        let id = target.or(result.configs.first()).map(ToString::to_string).unwrap_or_default();
        for name in &result.unused_args {
            terminal::warn(format!("[Warning] One or more build-args [{name}] were not consumed"));
        }
        if let Some(path) = &self.iidfile {
            std::fs::write(path, &id).at(path).client()?;
        }
        if let Some(path) = &self.metadata_file {
            let text =
                serde_json::to_string_pretty(&metadata(result, options)).expect("text has a JSON form");
            std::fs::write(path, text).at(path).client()?;
        }
        if self.quiet {
            terminal::line(&id)?;
        }
        Ok(Exit::SUCCESS)
    }

    fn prepare(&self, context: &Context, cancel: &Cancel, held: &mut Held) -> Result<Prepared, Failure> {
        let engine = context.engine()?;
        if self.shell_on_fail && (self.context == "-" || self.file.as_deref() == Some(Path::new("-"))) {
            return Err(Failure::client(Error::invalid(
                "--shell-on-fail needs standard input for the shell",
            )));
        }
        let args = build_args(&self.build_arg);
        let (secrets, agents) = (secret::read(&self.secret).client()?, secret::agents(&self.ssh).client()?);
        let platforms = self.platforms(context).client()?;
        let finder = Finder {
            engine,
            cancel,
            secrets: &secrets,
            agents: &agents,
            platforms: &platforms,
            keep_git_dir: args
                .get("BUILDKIT_CONTEXT_KEEP_GIT_DIR")
                .is_some_and(|value| value == "1" || value == "true"),
        };
        let found = finder.find(&self.context, self.file.as_deref(), held).client()?;
        let contexts = context::named(&self.build_context, &finder, held).client()?;
        let names: Vec<Reference> = self.tag.iter().cloned().map(Reference::or_latest).collect();
        if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
            return Err(Failure::client(Error::invalid(format!(
                "invalid tag \"{}\": refusing to create a tag with a digest reference",
                name.familiar()
            ))));
        }
        let epoch = epoch(&args).client()?;
        let words = output::Words {
            texts: &self.output,
            load: self.load,
            push: self.push,
            has_epoch: epoch.is_some(),
        };
        let outputs = output::parse(&words, engine).client()?;
        let is_inline =
            args.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1" || value == "true");
        let cache_to = cache_flags::sinks(&self.cache_to, is_inline).client()?;
        let request = BuildRequest {
            project: found.project(&self.context),
            context_name: redacted(&self.context),
            dockerfile_name: found.dockerfile_name,
            dockerfile: found.dockerfile,
            context: found.source,
            contexts,
            target: self.target.clone(),
            labels: labels(&self.label).client()?,
            platforms,
            no_cache: NoCache { all: self.no_cache, stages: list(&self.no_cache_filter) },
            pull: self.pull,
            network: network(&self.network).client()?,
            secrets,
            agents,
            entitlements: entitlements(&list(&self.allow), &self.network).client()?,
            epoch,
            explain: self.explain,
            jobs: self.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(2, usize::from).max(4)),
            args,
        };
        let limits = StepLimits {
            shm_size: self.shm_size,
            ulimits: self.ulimit.clone(),
            extra_hosts: self.add_host.clone(),
            memory: self.memory,
        };
        let options = BuildOptions {
            request,
            names,
            annotations: self.annotation.clone(),
            attestations: attest::read(&self.attest, self.sbom.as_deref(), self.provenance.as_deref())
                .client()?,
            cache_from: cache_flags::sources(&self.cache_from).client()?,
            cache_to,
            squash: self.squash,
            outputs: outputs.engine.clone(),
            limits,
            max_cache: self.max_cache.or(max_cache(context)?),
        };
        Ok(Prepared { options, outputs, ignore: found.ignore_name })
    }

    fn platforms(&self, context: &Context) -> Result<Vec<Platform>, Error> {
        let named = list(&self.platform);
        if named.is_empty() {
            return Ok(vec![context.engine()?.settings().platform.clone()]);
        }
        let mut platforms: Vec<Platform> = Vec::new();
        for text in named {
            let platform = if text == "local" { Platform::host() } else { text.parse()? };
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }
}

/// What `--metadata-file` says, under buildx's keys.
fn metadata(result: &BuildResult, options: &BuildOptions) -> serde_json::Map<String, serde_json::Value> {
    let mut metadata = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value| drop(metadata.insert(key.to_owned(), value));
    for (platform, provenance) in &result.provenance {
        let key = match result.configs.len() {
            1 => "buildx.build.provenance".to_owned(),
            _ => format!("buildx.build.provenance/{platform}"),
        };
        put(&key, provenance.clone());
    }
    if let Some(config) = result.configs.first() {
        put("containerimage.config.digest", config.to_string().into());
    }
    if let Some(target) = &result.target {
        put("containerimage.descriptor", serde_json::to_value(target).expect("a descriptor has a JSON form"));
        put("containerimage.digest", target.digest.to_string().into());
    }
    // Outputs may have names of their own.
    let own = options.outputs.iter().find(|output| !output.names.is_empty()).map(|output| &output.names);
    let names: Vec<String> = own.unwrap_or(&options.names).iter().map(ToString::to_string).collect();
    if !names.is_empty() {
        put("image.name", names.join(",").into());
    }
    metadata
}

/// Everything a build needs.
struct Prepared {
    options: BuildOptions,
    outputs: output::Outputs,
    ignore: Option<String>,
}

/// `max-build-cache` of the configuration file.
fn max_cache(context: &Context) -> Result<Option<u64>, Failure> {
    let text = context.settings.file.max_build_cache.as_deref();
    text.map(parse_ram).transpose().map_err(|error| {
        let path = context.settings.config.display();
        Failure::client(Error::invalid(format!("the configuration file `{path}`: max-build-cache: {error}")))
    })
}

/// Values that may be given several at once, with commas.
fn list(values: &[String]) -> Vec<String> {
    values.iter().flat_map(|value| value.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect()
}

/// `NAME=value`, or `NAME` for the caller's own value, if there is one.
fn build_args(texts: &[String]) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] {
        for name in [name.to_owned(), name.to_lowercase()] {
            args.extend(crate::settings::caller_variable(&name).map(|value| (name, value)));
        }
    }
    if let Some(epoch) = crate::settings::caller_variable("SOURCE_DATE_EPOCH") {
        args.insert("SOURCE_DATE_EPOCH".to_owned(), epoch);
    }
    for text in texts {
        match text.split_once('=') {
            Some((name, value)) => drop(args.insert(name.to_owned(), value.to_owned())),
            None => args.extend(crate::settings::caller_variable(text).map(|value| (text.clone(), value))),
        }
    }
    args
}

fn epoch(args: &BTreeMap<String, String>) -> Result<Option<i64>, Error> {
    let Some(text) = args.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Error::invalid(format!("invalid SOURCE_DATE_EPOCH: {text}"))
            .hint("it is a number of seconds since 1970")
    })
}

fn labels(texts: &[String]) -> Result<Vec<(String, String)>, Error> {
    texts.iter().map(|text| parse_label(text)).collect()
}

fn network(text: &str) -> Result<NetworkChoice, Error> {
    match text {
        "default" | "bridge" | "" => Ok(NetworkChoice::Default),
        "none" => Ok(NetworkChoice::None),
        "host" => Ok(NetworkChoice::Host),
        other => Err(Error::unsupported(format!("network mode \"{other}\" is not supported by builds yet"))
            .hint("there are default, none and host")),
    }
}

fn entitlements(allowed: &[String], network: &str) -> Result<Entitlements, Error> {
    let mut entitlements = Entitlements { network_host: network == "host", insecure: false };
    for text in allowed {
        match text.as_str() {
            "network.host" => entitlements.network_host = true,
            "security.insecure" => entitlements.insecure = true,
            other => {
                return Err(Error::invalid(format!("unknown entitlement {other}"))
                    .hint("there are network.host and security.insecure"));
            }
        }
    }
    Ok(entitlements)
}

/// Ends the build when a signal comes; ends itself when told.
struct Watcher(Arc<std::os::fd::OwnedFd>);

fn watch<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    signals: &'env SignalFd,
    cancel: &'env Cancel,
) -> Watcher {
    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
    let over = eventfd(0, EventfdFlags::CLOEXEC).expect("one more descriptor can be opened");
    let over = Arc::new(over);
    let waits = Arc::clone(&over);
    scope.spawn(move || {
        let mut signs = 0;
        loop {
            let mut polled = [PollFd::new(signals, PollFlags::IN), PollFd::new(&*waits, PollFlags::IN)];
            if poll(&mut polled, None).is_ok() && !polled[1].revents().is_empty() {
                return;
            }
            while signals.next().is_ok_and(|signal| signal.is_some()) {
                signs += 1;
                cancel.set();
                // Whoever asks twice does not want to wait for tidying up.
                if signs > 1 {
                    crate::exit::end(crate::exit::INTERRUPTED);
                }
            }
        }
    });
    Watcher(over)
}

impl Watcher {
    fn end(self) {
        // It only fails when the counter is full, and then it is readable already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}
