//! `WORKDIR`: a word of the configuration, and a directory where there is none.

use super::Solver;
use super::key::Inputs;
use super::snapshot::Snapshot;
use super::stage::Turn;
use super::step::{Made, perform};
use crate::copy::{Owner, Target, look_up_owner};
use crate::dockerfile::{Expander, Word};
use crate::failure::Failure;
use crate::files::Root;
use crate::host::Layer;

pub(super) fn workdir(
    solver: &Solver<'_>,
    snapshot: &mut Snapshot,
    turn: &Turn<'_>,
    path: &Word,
) -> Result<(), Failure> {
    let shared = solver.shared;
    let written = Expander::new(snapshot.scope.variables()).word(path).map_err(berth_oci::Error::from)?;
    let path = match written.starts_with('/') {
        true => written,
        false => clean(&snapshot.absolute(&written)),
    };
    snapshot.image.config.working_dir.clone_from(&path);
    let said = format!("WORKDIR {path}");
    if clean(&path) == "/" {
        snapshot.note_empty(said);
        return Ok(());
    }
    let user = snapshot.image.config.user.clone();
    let mut inputs = Inputs::new("workdir");
    inputs.add("base", snapshot.chain()).add("path", clean(&path)).add("user", user.as_str());
    if let Some(epoch) = shared.request.epoch {
        inputs.add("epoch", epoch.to_string());
    }
    let outcome = perform(solver, snapshot, turn, &Made { inputs: &inputs, files: &[] }, &|doing| {
        shared.bring(&snapshot.layers)?;
        let view = doing.place.view(&snapshot.diff_ids())?;
        let root = Root::layers(view);
        let mut target = Target::new(Some(&root), shared.now().as_second(), shared.request.epoch);
        // A user that nobody knows is whoever runs the first step's business; docker makes the directory for root.
        let owner = match user.as_str() {
            "" => Owner::default(),
            user => look_up_owner(user, &target, &mut |_| {})?,
        };
        let real = target.resolve(path.as_bytes())?;
        target.make_directories(&real, owner, 0o755)?;
        let (descriptor, diff_id) =
            shared.store.add_written_layer(doing.place.lease(), |out| target.write(out))?;
        Ok(vec![Layer { descriptor, diff_id }])
    })?;
    snapshot.add_layers(outcome, &said);
    Ok(())
}

/// An absolute path without `.`, `..` and surplus slashes.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
