//! The Dockerfile language at level 1.26: text in, stages and instructions out.
//!
//! [`parse`] reads a file. Operands in which variables may stand come out as [`Word`]s, which an [`Expander`] turns
//! into text once the variables are known. Not here: files, images, running anything. Invariant: whatever the bytes
//! are, reading them ends, with a [`Dockerfile`] or a [`SyntaxError`] that names the place.

mod ast;
mod copy;
mod csv;
mod directive;
mod duration;
mod error;
mod flags;
mod heredoc;
mod instruction;
mod mount;
mod operand;
mod pattern;
mod ports;
mod run;
mod scope;
mod shell;
mod source;
mod statement;
mod suggest;
#[cfg(test)]
mod tests;
mod word;

pub use csv::fields as csv_fields;
pub(crate) use mount::ram_bytes;

pub use ast::{
    Add, Arg, Command, CommandLine, Copy, Device, Files, GlobalArg, HealthTiming, Healthcheck, Instruction,
    Network, Pair, Run, Script, Security, Stage,
};
pub use directive::{Directive, Directives, requested_syntax};
pub use error::SyntaxError;
pub use heredoc::Heredoc;
pub use mount::{Mount, MountFlag, MountKind, Sharing};
pub use ports::{Exposed, exposed};
pub use scope::{Declared, Globals, Inputs, Origin, Scope, Variables, origin};
pub use shell::Lookup;
pub use source::{Position, Source, Span};
pub use suggest::{did_you_mean, nearest};
pub use word::{ExpandError, Expander, Word};

use error::Fault;
use instruction::Parsed;
use statement::{Statement, located};
use std::sync::Arc;

/// A Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// Its text.
    pub source: Arc<Source>,
    /// Its directives.
    pub directives: Directives,
    /// The escape character.
    pub escape: char,
    /// `ARG`s before the first `FROM`.
    pub global_args: Vec<GlobalArg>,
    /// Its stages; at least one.
    pub stages: Vec<Stage>,
    /// The last lines of instructions that are continued over an empty line.
    pub empty_continuations: Vec<usize>,
}

/// Reads a Dockerfile. `name` is what errors call it.
///
/// # Errors
/// The first mistake, with its place.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Dockerfile, SyntaxError> {
    match parse_partially(name, bytes)? {
        (file, None) => Ok(file),
        (_, Some(error)) => Err(error),
    }
}

/// Reads a Dockerfile up to its first mistake: a check has something to say about what stands before it.
///
/// # Errors
/// A mistake in the file's lines; with it nothing can be read.
pub(crate) fn parse_partially(
    name: &str,
    bytes: &[u8],
) -> Result<(Dockerfile, Option<SyntaxError>), SyntaxError> {
    let source = Arc::new(Source::new(name, bytes));
    let whole = |message: &str| SyntaxError {
        source: Arc::clone(&source),
        spans: Vec::new(),
        position: None,
        message: message.to_owned(),
        suggestion: None,
    };
    if bytes.is_empty() {
        return Err(whole("the Dockerfile cannot be empty"));
    }
    let statements = statement::split(&source, bytes)?;
    let mut file = Dockerfile {
        source: Arc::clone(&source),
        directives: statements.directives,
        escape: statements.escape,
        global_args: Vec::new(),
        stages: Vec::new(),
        empty_continuations: statements.empty_continuations,
    };
    for statement in &statements.all {
        let parsed = instruction::read(statement, file.escape);
        let parsed = parsed.map_err(|fault| located(&source, statement, fault, true));
        if let Err(error) = parsed.and_then(|parsed| file.add(statement, parsed)) {
            return Ok((file, Some(error)));
        }
    }
    let error = file.stages.is_empty().then(|| whole("dockerfile contains no stages to build"));
    Ok((file, error))
}

/// Reads one instruction: the trigger of an `ONBUILD`.
///
/// # Errors
/// It is not exactly one instruction, or a wrong one.
pub fn parse_trigger(text: &str) -> Result<Instruction, SyntaxError> {
    let source = Arc::new(Source::new("ONBUILD", text.as_bytes()));
    let statements = statement::split(&source, text.as_bytes())?;
    let refuse =
        |statement: &Statement, message: &str| Err(located(&source, statement, Fault::new(message), false));
    let [statement] = statements.all.as_slice() else {
        return refuse(&statements.all[0], "onbuild trigger should be a single expression");
    };
    match instruction::read(statement, statements.escape) {
        Ok(Parsed::Instruction(instruction)) => Ok(*instruction),
        Ok(Parsed::Stage(_)) => refuse(statement, "FROM isn't allowed as an ONBUILD trigger"),
        Err(fault) => Err(located(&source, statement, fault, false)),
    }
}

impl Dockerfile {
    fn add(&mut self, statement: &Statement, parsed: Parsed) -> Result<(), SyntaxError> {
        match (parsed, self.stages.last_mut()) {
            (Parsed::Stage(stage), _) => self.stages.push(*stage),
            (Parsed::Instruction(instruction), Some(stage)) => stage.instructions.push(*instruction),
            (Parsed::Instruction(instruction), None) => {
                let Instruction { keyword, command, span, comments, .. } = *instruction;
                let Command::Arg(args) = command else {
                    let fault = Fault::new("no build stage in current context");
                    return Err(located(&self.source, statement, fault, false));
                };
                self.global_args.push(GlobalArg { keyword, args, span, comments });
            }
        }
        Ok(())
    }

    /// A mistake that shows only when variables are known.
    #[must_use]
    pub fn error_at(&self, span: Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            source: Arc::clone(&self.source),
            spans: vec![span],
            position: None,
            message: message.into(),
            suggestion: None,
        }
    }

    /// The index of the last stage with this name; case does not count.
    #[must_use]
    pub fn stage_named(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.stages.iter().rposition(|stage| stage.name.as_deref() == Some(name.as_str()))
    }
}
