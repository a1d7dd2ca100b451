//! `berth debug STEP`: a shell where a step of a build has failed, with its files, variables, mounts and user.
//!
//! The step becomes an image for as long as somebody looks into it, and the shell a container of that image.

use crate::cli::Context;
use crate::cli::container::RunArgs;
use crate::exit::{Failure, Outcome};
use crate::terminal;
use berth_build::{FailedStep, KeptMount, KeptSource, StepNetwork};
use berth_oci::{
    Context as _, Descriptor, Digest, Error, ImageConfig, Platform, Result, RootFs, RuntimeConfig,
};
use berth_store::{Store, Workplace};
use clap::{Args as _, FromArgMatches as _};
use std::collections::BTreeMap;

/// Open a shell where a step of a build has failed.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The step, as the build that failed names it; without one the last that failed
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// What runs there instead of a shell
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let store = context.engine()?.store()?;
        let (_, step) = FailedStep::find(store, self.step.as_deref().unwrap_or_default())?;
        let lease = store.lease()?;
        let layers: Vec<Descriptor> = step.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let manifest = store.put_image(&config(&step)?, layers, BTreeMap::new(), None, &lease)?;
        let target = manifest.digest().clone();
        let outcome = self.shell(context, &step, &target);
        // An image without a name that somebody is still using stays until `image prune`.
        let _ = store.remove_image(&target);
        outcome
    }

    fn shell(&self, context: &Context, step: &FailedStep, image: &Digest) -> Outcome {
        let mut places = Vec::new();
        let mut words: Vec<String> = ["run", "--rm", "-i", "--pull=never"].map(str::to_owned).to_vec();
        if terminal::stdin_is_terminal() && terminal::stdout_is_terminal() {
            words.push("-t".to_owned());
        }
        words.push(format!("--hostname={}", step.hostname));
        words.push(format!("--network={}", network(step.network)));
        words.extend(step.insecure.then(|| "--privileged".to_owned()));
        let store = context.engine()?.store()?;
        for mount in &step.mounts {
            words.push(format!("--mount={}", self::mount(store, mount, &mut places)?));
        }
        words.push(image.to_string());
        words.extend(self.command.iter().cloned());
        let parsed = RunArgs::augment_args(clap::Command::new("run").disable_help_flag(true))
            .try_get_matches_from(words);
        let args = parsed.and_then(|matches| RunArgs::from_arg_matches(&matches));
        let args = args.map_err(|error| Failure::client(Error::internal(error.to_string())))?;
        args.run(context)
    }
}

/// The same after a build, in a process of its own: this one has given its signals away.
pub(super) fn open_shell(step: &Digest, context: &Context) -> Result<()> {
    let settings = &context.settings;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("--root").arg(&settings.root).arg("--runroot").arg(&settings.runroot);
    // How the shell ends says nothing about the build.
    command.args(["debug", step.hex()]).status().context(|| "cannot open a shell").map(drop)
}

/// The step as an image: what it ran in, and a shell instead of what it ran.
fn config(step: &FailedStep) -> Result<ImageConfig> {
    let platform: Platform = step.platform.parse()?;
    Ok(ImageConfig {
        created: Some(step.at.to_string()),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        config: RuntimeConfig {
            env: step.env.clone(),
            user: step.user.clone(),
            working_dir: step.working_dir.clone(),
            cmd: Some(vec![shell(step)]),
            ..RuntimeConfig::default()
        },
        rootfs: RootFs {
            diff_ids: step.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            ..RootFs::default()
        },
        ..ImageConfig::default()
    })
}

/// The shell that the step was given to, or the usual one.
fn shell(step: &FailedStep) -> String {
    match step.args.as_slice() {
        [shell, flag, _] if flag.starts_with('-') => shell.clone(),
        _ => "/bin/sh".to_owned(),
    }
}

fn network(network: StepNetwork) -> &'static str {
    match network {
        StepNetwork::Default => "bridge",
        StepNetwork::None => "none",
        StepNetwork::Host => "host",
    }
}

fn mount(store: &Store, mount: &KeptMount, places: &mut Vec<Workplace>) -> Result<String> {
    let target = csv(&format!("dst={}", mount.target));
    Ok(match &mount.source {
        KeptSource::Tmpfs { size } => {
            let size = size.map(|bytes| format!(",tmpfs-size={bytes}")).unwrap_or_default();
            format!("type=tmpfs,{target}{size}")
        }
        KeptSource::Bind { path, read_only } => {
            let source = csv(&format!("src={}", path.display()));
            format!("type=bind,{source},{target}{}", if *read_only { ",readonly" } else { "" })
        }
        KeptSource::Layer { diff_id, writable } => {
            let place = store.workplace()?;
            let rootfs = place.rootfs(std::slice::from_ref(diff_id))?;
            let mut path = rootfs.lowers[0].join(FailedStep::files());
            if *writable {
                let copy = place.directory()?.join("copy");
                FailedStep::copy(&path, &copy)?;
                path = copy;
            }
            places.push(place);
            let how = if *writable { "" } else { ",readonly" };
            format!("type=bind,{},{target}{how}", csv(&format!("src={}", path.display())))
        }
    })
}

/// A field of a line of comma-separated values.
fn csv(field: &str) -> String {
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}
