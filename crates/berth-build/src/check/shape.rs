//! Rules about the shape of a file, and which stages a stage needs.
//!
//! Invariant: nothing here asks for a variable's value.

use super::{Check, Rule};
use crate::dockerfile::{Command, Dockerfile, Instruction, Origin, Span};
use std::collections::BTreeSet;

/// The stages that `target` is made of, itself included.
pub(super) fn needed(file: &Dockerfile, origins: &[Origin], target: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if !found.insert(index) {
            continue;
        }
        open.extend(origins[index].stage);
        for instruction in &file.stages[index].instructions {
            open.extend(sources(file, &instruction.command));
        }
    }
    found
}

/// The stages that an instruction takes files from.
fn sources(file: &Dockerfile, command: &Command) -> Vec<usize> {
    match command {
        Command::Copy(copy) => copy
            .from
            .iter()
            .filter_map(|from| match from.parse::<usize>() {
                Ok(index) => Some(index).filter(|index| *index < file.stages.len()),
                Err(_) => file.stage_named(from),
            })
            .collect(),
        Command::Run(run) => {
            run.mounts.iter().filter_map(|mount| file.stage_named(mount.from.as_deref()?)).collect()
        }
        _ => Vec::new(),
    }
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}

impl Check<'_> {
    pub(super) fn continuations(&mut self) {
        let file = self.file;
        for &line in &file.empty_continuations {
            // The setting above the instruction counts, the warning stands at its end.
            let spans =
                file.stages.iter().flat_map(|s| s.instructions.iter().map(|i| i.span).chain([s.span]));
            let start = spans.filter(|s| (s.first..=s.last).contains(&line)).map(|s| s.first).next();
            let is_skipped = start
                .and_then(|start| self.local.get(&start))
                .is_some_and(|config| config.skips(Rule::NoEmptyContinuation));
            if !is_skipped {
                self.warn(Rule::NoEmptyContinuation, Span::line(line), "Empty continuation line");
            }
        }
    }

    /// What shows while a file is read from top to bottom.
    pub(super) fn definitions(&mut self) {
        let file = self.file;
        for global in &file.global_args {
            let names: Vec<&str> = global.args.iter().map(|arg| arg.name.as_str()).collect();
            self.description("ARG", &names, &global.comments, global.span);
        }
        for stage in &file.stages {
            if let Some(written) = stage.written_name.as_deref().filter(|name| !is_lower(name)) {
                self.warn(
                    Rule::StageNameCasing,
                    stage.span,
                    format!("Stage name '{written}' should be lowercase"),
                );
            }
            if let Some(keyword) = &stage.as_keyword {
                let from = &stage.keyword;
                let differs = is_lower(from) && !is_lower(keyword) || is_upper(from) && !is_upper(keyword);
                if differs {
                    let detail = format!("'{keyword}' and '{from}' keywords' casing do not match");
                    self.warn(Rule::FromAsCasing, stage.span, detail);
                }
            }
            if let Some(name) = &stage.name {
                self.description("FROM", &[name], &stage.comments, stage.span);
            }
            for instruction in &stage.instructions {
                self.definition(instruction);
            }
        }
    }

    fn definition(&mut self, instruction: &Instruction) {
        match &instruction.command {
            Command::Maintainer(_) => {
                let detail = "Maintainer instruction is deprecated in favor of using label";
                self.warn(Rule::MaintainerDeprecated, instruction.span, detail);
            }
            Command::Arg(args) => {
                let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
                self.description("ARG", &names, &instruction.comments, instruction.span);
            }
            _ => {}
        }
    }

    fn description(&mut self, keyword: &str, names: &[&str], comments: &[String], span: Span) {
        let Some(last) = comments.last().filter(|comment| !comment.starts_with("check=")) else { return };
        let first = last.split(' ').next().unwrap_or_default();
        if names.contains(&first) {
            return;
        }
        let name = if let [only] = names { *only } else { "<arg_key>" };
        let detail = format!("Comment for {keyword} should follow the format: `# {name} <description>`");
        self.warn(Rule::InvalidDefinitionDescription, span, detail);
    }

    pub(super) fn stage_names(&mut self) {
        let mut seen = BTreeSet::new();
        for stage in &self.file.stages {
            let Some(name) = &stage.name else { continue };
            if matches!(name.as_str(), "scratch" | "context") {
                let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
                self.warn(Rule::ReservedStageName, stage.span, detail);
            }
            if !seen.insert(name) {
                let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
                self.warn(Rule::DuplicateStageName, stage.span, detail);
            }
        }
    }

    /// Most instructions decide whether `RUN` or `run` is the file's way.
    pub(super) fn casing(&mut self) {
        let file = self.file;
        let keywords = || {
            file.stages.iter().flat_map(|stage| {
                let inside = stage.instructions.iter().map(|i| (i.keyword.as_str(), i.span));
                [(stage.keyword.as_str(), stage.span)].into_iter().chain(inside)
            })
        };
        let lower = keywords().filter(|(keyword, _)| is_lower(keyword)).count();
        let upper = keywords().filter(|(keyword, _)| is_upper(keyword) && !is_lower(keyword)).count();
        let (fits, way): (fn(&str) -> bool, _) =
            if lower > upper { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
        for (keyword, span) in keywords().filter(|(keyword, _)| !fits(keyword)) {
            let detail = format!("Command '{keyword}' should match the case of the command majority ({way})");
            self.warn(Rule::ConsistentInstructionCasing, span, detail);
        }
    }
}
