//! Instructions that only change what the image says about itself, with what they leave in history and scope.

use super::Solver;
use super::snapshot::Snapshot;
use crate::amend::change;
use crate::dockerfile::{Command, Expander};
use berth_oci::Result;

pub(super) fn apply(solver: &Solver<'_>, snapshot: &mut Snapshot, command: &Command) -> Result<()> {
    let said = match command {
        Command::Arg(args) => {
            let mut words = Vec::new();
            for arg in args {
                solver.shared.use_arg(&arg.name);
                let declared = snapshot.scope.declare(arg, &solver.globals, &solver.inputs)?;
                words.push(match declared.value {
                    Some(value) => format!("{}={value}", arg.name),
                    None => arg.name.clone(),
                });
            }
            Some(format!("ARG {}", words.join(" ")))
        }
        Command::Maintainer(name) => {
            snapshot.image.author = Some(name.clone());
            Some(format!("MAINTAINER {name}"))
        }
        command => configure(snapshot, command)?,
    };
    if let Some(said) = said {
        snapshot.note_empty(said);
    }
    Ok(())
}

fn configure(snapshot: &mut Snapshot, command: &Command) -> Result<Option<String>> {
    let config = &mut snapshot.image.config;
    let change = change(config, &mut Expander::new(snapshot.scope.variables()), command)?;
    match command {
        Command::Cmd(_) => {
            config.args_escaped = true;
            snapshot.cmd_is_own = true;
        }
        Command::Entrypoint(_) if !snapshot.cmd_is_own => config.cmd = None,
        _ => {}
    }
    for (name, value) in &change.variables {
        snapshot.scope.set(name, value);
    }
    Ok(change.said)
}
