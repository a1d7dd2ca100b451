//! `RUN`: what runs, with what around it, and what it wrote as a layer.

use super::failed::FailedStep;
use super::key::Inputs;
use super::snapshot::Snapshot;
use super::stage::Turn;
use super::step::{Doing, Made, perform};
use super::stubs::Stubs;
use super::{Solver, run_mounts};
use crate::dockerfile::{Network, Run, Script, Security};
use crate::event::Event;
use crate::failure::Failure;
use crate::files::Root;
use crate::host::{Layer, Step, StepMount, StepMountSource, StepNetwork};
use crate::request::NetworkChoice;
use berth_oci::{AtPath, Digest, Error, Result};
use berth_store::ChangesOptions;
use berth_store::mount::Rootfs;
use run_mounts::{Held, Mounts};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What a step's machine is called when nobody says.
const HOSTNAME: &str = "buildkitsandbox";

/// A program to be run.
struct Program {
    args: Vec<String>,
    /// A heredoc that is a program of its own: its name and text.
    file: Option<(String, String)>,
}

pub(super) fn run(
    solver: &Solver<'_>,
    snapshot: &mut Snapshot,
    turn: &Turn<'_>,
    run: &Run,
) -> Result<(), Failure> {
    let shared = solver.shared;
    let program = program(run, snapshot);
    let network = network(solver, run)?;
    if run.security == Security::Insecure && !shared.request.entitlements.insecure {
        return Err(Error::denied("security.insecure is not allowed")
            .hint("--allow security.insecure")
            .into());
    }
    if let Some(device) = run.devices.iter().find(|device| device.required) {
        return Err(
            Error::unsupported(format!("RUN --device={}: builds have no devices", device.name)).into()
        );
    }
    let mounts = Mounts::prepare(solver, snapshot, turn, run)?;
    let args = snapshot.scope.args();
    let mut inputs = Inputs::new("RUN");
    inputs.add("base", snapshot.chain()).add("platform", snapshot.platform.to_string());
    inputs.add_all("argument", &program.args);
    if let Some((name, text)) = &program.file {
        inputs.add(format!("script {name}"), text.as_str());
    }
    for (name, value) in snapshot.scope.variables().iter() {
        inputs.add(format!("variable {name}"), value);
    }
    inputs.add("directory", snapshot.working_dir()).add("user", snapshot.image.config.user.as_str());
    inputs.add("network", format!("{network:?}")).add("security", format!("{:?}", run.security));
    mounts.add_inputs(&mut inputs);
    if let Some(epoch) = shared.request.epoch {
        inputs.add("epoch", epoch.to_string());
    }
    let said = said(&program, &args);
    let files = mounts.files();
    let outcome = perform(solver, snapshot, turn, &Made { inputs: &inputs, files: &files }, &|doing| {
        let sandbox = Sandbox { solver, snapshot, program: &program, network, run, mounts: &mounts };
        sandbox.run(doing)
    })?;
    snapshot.add_layers(outcome, &format!("{said} # buildkit"));
    Ok(())
}

fn program(run: &Run, snapshot: &Snapshot) -> Program {
    match run.script() {
        Script::Exec(words) => Program { args: words.to_vec(), file: None },
        Script::Shell(text) => {
            let mut args = snapshot.shell();
            args.push(text.into_owned());
            Program { args, file: None }
        }
        Script::File { name, content } => Program {
            args: vec![format!("/dev/pipes/{name}")],
            file: Some((name.to_owned(), content.into_owned())),
        },
    }
}

fn network(solver: &Solver<'_>, run: &Run) -> Result<StepNetwork> {
    let request = solver.shared.request;
    let wanted = match (run.network, &request.network) {
        (Network::None, _) | (Network::Default, NetworkChoice::None) => StepNetwork::None,
        (Network::Host, _) if !request.entitlements.network_host => {
            return Err(Error::denied("network.host is not allowed").hint("--allow network.host"));
        }
        (Network::Host, _) | (Network::Default, NetworkChoice::Host) => StepNetwork::Host,
        (Network::Default, NetworkChoice::Default) => StepNetwork::Default,
    };
    Ok(wanted)
}

/// `RUN |1 A=1 /bin/sh -c make`.
fn said(program: &Program, args: &[(String, String)]) -> String {
    let shown: Vec<String> = args
        .iter()
        .filter(|(name, _)| !is_proxy(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let command = program.args.join(" ");
    match shown.len() {
        0 => format!("RUN {command}"),
        count => format!("RUN |{count} {} {command}", shown.join(" ")),
    }
}

/// The variables that steps get undeclared, and that are no part of their keys.
pub(super) fn is_proxy(name: &str) -> bool {
    const NAMES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
    NAMES.contains(&name.to_uppercase().as_str())
        && (name == name.to_uppercase() || name == name.to_lowercase())
}

struct Sandbox<'a> {
    solver: &'a Solver<'a>,
    snapshot: &'a Snapshot,
    program: &'a Program,
    network: StepNetwork,
    run: &'a Run,
    mounts: &'a Mounts,
}

impl Sandbox<'_> {
    fn run(&self, doing: &Doing<'_>) -> Result<Vec<Layer>> {
        let shared = self.solver.shared;
        shared.host.check_platform(&self.snapshot.platform)?;
        shared.bring(&self.snapshot.layers)?;
        let ids = self.snapshot.diff_ids();
        let directory = doing.place.directory()?;
        let rootfs = doing.place.rootfs(&ids)?;
        let mut held = self.mounts.hold(self.solver, self.snapshot, doing)?;
        held.mounts.extend(self.script(&directory)?);
        let targets = held.mounts.iter().map(|mount| mount.target.clone());
        let below = doing.place.view(&ids)?;
        let base = Some(below.path());
        let below = Root::layers(below);
        let stubs = Stubs::missing(&below, targets)?;
        let id = shared_id(&directory);
        let step = Step {
            id: &id,
            directory: &directory,
            rootfs: &rootfs,
            args: self.program.args.clone(),
            env: self.env(&held.env),
            user: self.snapshot.image.config.user.clone(),
            working_dir: self.snapshot.working_dir().to_owned(),
            hostname: shared
                .request
                .args
                .get("BUILDKIT_SANDBOX_HOSTNAME")
                .map_or(HOSTNAME, String::as_str)
                .to_owned(),
            mounts: held.mounts.clone(),
            network: self.network,
            insecure: self.run.security == Security::Insecure,
            cancel: shared.cancel,
        };
        let exit = shared.host.run(&step, &mut |bytes| doing.output(bytes));
        shared.cancel.check()?;
        let exit = exit?;
        doing.used(exit.cpu);
        if exit.code != 0 {
            self.keep_failed(doing, &step, &rootfs, &held);
            let command = self.program.args.join(" ");
            let code = exit.code;
            let error = Error::invalid(format!(
                "process \"{command}\" did not complete successfully: exit code: {code}"
            ));
            return Err(match exit.oom_killed {
                true => error.hint("the kernel killed it because memory ran out"),
                false => error,
            });
        }
        held.settle()?;
        stubs.remove(&rootfs.upper)?;
        let options = ChangesOptions { latest: shared.request.epoch, base, ..ChangesOptions::default() };
        let (descriptor, diff_id) = shared.store.add_changes(&rootfs.upper, &options, doing.place.lease())?;
        drop(below);
        Ok(vec![Layer { descriptor, diff_id }])
    }

    /// Keeps what a failed step has left; that it cannot be kept is no further failure.
    fn keep_failed(&self, doing: &Doing<'_>, step: &Step<'_>, rootfs: &Rootfs, held: &Held) {
        match self.left(doing, step, rootfs, held) {
            Ok(key) => doing.kept(key),
            Err(error) => {
                let text = format!("the failed step's files are not kept: {error}");
                doing.shared.tell(Event::Warning { text: &text });
            }
        }
    }

    fn left(&self, doing: &Doing<'_>, step: &Step<'_>, rootfs: &Rootfs, held: &Held) -> Result<Digest> {
        let (store, lease) = (doing.shared.store, doing.place.lease());
        let left = FailedStep {
            name: doing.name.text.clone(),
            platform: self.snapshot.platform.to_string(),
            at: jiff::Timestamp::now(),
            layers: self.snapshot.layers.clone(),
            args: step.args.clone(),
            // Without secrets.
            env: self.env(&[]),
            user: step.user.clone(),
            working_dir: step.working_dir.clone(),
            hostname: step.hostname.clone(),
            network: step.network,
            insecure: step.insecure,
            mounts: held.left(store, lease)?,
        };
        left.keep(store, lease, &rootfs.upper)
    }

    fn env(&self, secrets: &[String]) -> Vec<String> {
        let variables = self.snapshot.scope.variables();
        let own = variables.iter().map(|(name, value)| format!("{name}={value}"));
        let args = &self.solver.shared.request.args;
        let given = args.iter().filter(|(name, value)| is_proxy(name) && !value.is_empty());
        // Some programs read the one spelling, some the other; what was given itself wins.
        let spelled = given.flat_map(|(name, value)| {
            [name.to_uppercase(), name.to_lowercase()].map(|spelling| (spelling, value))
        });
        let proxies = spelled
            .map(|(name, value)| (args.get(&name).unwrap_or(value).clone(), name))
            .filter(|(_, name)| variables.get(name).is_none())
            .map(|(value, name)| format!("{name}={value}"))
            .collect::<BTreeSet<String>>();
        own.chain(proxies).chain(secrets.iter().cloned()).collect()
    }

    /// A heredoc that is a program lies in a file beside the step.
    fn script(&self, directory: &std::path::Path) -> Result<Option<StepMount>> {
        let Some((name, text)) = &self.program.file else { return Ok(None) };
        let path = directory.join("script");
        fs::write(&path, text).at(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at(&path)?;
        let target = PathBuf::from(format!("/dev/pipes/{name}"));
        Ok(Some(StepMount { target, source: StepMountSource::Bind { path, read_only: true } }))
    }
}

/// Leases have unique names, and so have their directories.
fn shared_id(directory: &std::path::Path) -> String {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("build-{name}")
}
