//! What steps are called: `[build 2/3] RUN make`.

use super::Solver;
use super::snapshot::Snapshot;
use crate::dockerfile::{Command, Dockerfile, Expander, Instruction};

/// Whether an instruction is counted: it makes a layer.
pub(super) fn is_counted(command: &Command) -> bool {
    matches!(command, Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_))
}

/// The stage's part of the name: `[linux/arm64 build 2/3]`.
pub(super) fn prefix(solver: &Solver<'_>, stage: usize, number: usize, total: usize) -> String {
    let file = solver.shared.file;
    let mut words = Vec::new();
    if solver.shared.request.platforms.len() > 1 {
        words.push(solver.inputs.target_platform.to_string());
    }
    if file.stages.len() > 1 {
        words.push(file.stages[stage].name.clone().unwrap_or_else(|| format!("stage-{stage}")));
    }
    words.push(format!("{number}/{total}"));
    format!("[{}]", words.join(" "))
}

/// What a stage is called where it has no name: its number.
pub(super) fn stage(file: &Dockerfile, index: usize) -> String {
    file.stages[index].name.clone().unwrap_or_else(|| index.to_string())
}

/// An instruction as progress shows it: variables that are set are replaced.
pub(super) fn shown(instruction: &Instruction, snapshot: &Snapshot, escape: char) -> String {
    let name = instruction.command.name();
    let rest = instruction.text.get(instruction.keyword.len()..).unwrap_or_default().trim_start();
    let rest = match &instruction.command {
        // A step's own text is the shell's business.
        Command::Run(run) => match run.summary() {
            Some(summary) => format!("{rest} ({summary})"),
            None => rest.to_owned(),
        },
        _ => Expander::new(snapshot.scope.variables()).shown(rest, escape),
    };
    format!("{name} {rest}")
}
