//! Rules that need variables: each stage's instructions are read one after the other, as a build would.
//!
//! Invariant: an instruction sees the variables as they were before it.

use super::{Check, Rule};
use crate::dockerfile::{
    Add, Command, CommandLine, Copy, ExpandError, Expander, Files, Globals, Instruction, Origin, Pair, Scope,
    Span, SyntaxError, Variables, Word, exposed,
};
use crate::ignore::clean;
use std::collections::{BTreeMap, BTreeSet};

/// A stage so far.
#[derive(Clone, Default)]
struct State {
    scope: Scope,
    has_shell: bool,
    has_workdir: bool,
    /// The base image is not known, and so neither are its variables.
    is_open: bool,
    /// Where the last instruction of a kind stands that counts once.
    last: BTreeMap<&'static str, Span>,
}

impl Check<'_> {
    pub(super) fn instructions(
        &mut self,
        globals: &Globals,
        origins: &[Origin],
        wanted: &BTreeSet<usize>,
    ) -> Result<(), SyntaxError> {
        let mut states: BTreeMap<usize, State> = BTreeMap::new();
        let file = self.file;
        for &index in wanted {
            let inherited = origins[index].stage.and_then(|stage| states.get(&stage)).cloned();
            let mut state = match inherited {
                Some(base) => State { last: BTreeMap::new(), ..base },
                None => self.fresh(&origins[index]),
            };
            self.is_open = state.is_open;
            for instruction in &file.stages[index].instructions {
                match self.instruction(instruction, &mut state, globals) {
                    Err(error) if !state.is_open => {
                        return Err(file.error_at(instruction.span, error.0));
                    }
                    _ => {}
                }
            }
            states.insert(index, state);
        }
        Ok(())
    }

    fn fresh(&self, origin: &Origin) -> State {
        let known = self.image_of(origin);
        let is_open = known.is_none() && origin.stage.is_none() && origin.base != "scratch";
        let image = known.unwrap_or_default();
        let mut variables = Variables::of_image(&image.env);
        if variables.get("PATH").is_none() {
            variables.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        State {
            scope: Scope::new(variables),
            has_shell: !image.shell.is_empty(),
            is_open,
            ..State::default()
        }
    }

    fn instruction(
        &mut self,
        instruction: &Instruction,
        state: &mut State,
        globals: &Globals,
    ) -> Result<(), ExpandError> {
        let span = instruction.span;
        match &instruction.command {
            Command::Env(pairs) => self.env(instruction, pairs, state)?,
            Command::Label(pairs) => {
                self.pairs(pairs, span, &state.scope)?;
                self.legacy(instruction, pairs);
            }
            Command::Arg(args) => {
                for arg in args {
                    self.secret_name("ARG", &arg.name, span);
                    let declared = state.scope.declare(arg, globals, &self.facts.inputs)?;
                    self.undefined(&declared.unmatched, span, &state.scope);
                }
            }
            Command::Copy(copy) => self.copy(copy, span, &state.scope)?,
            Command::Add(add) => self.add(add, span, &state.scope)?,
            Command::Run(run) => {
                for mount in &run.mounts {
                    let mut expander = Expander::new(state.scope.variables());
                    let result = mount.resolve(&mut expander);
                    self.undefined(&expander.unmatched().clone(), span, &state.scope);
                    result?;
                }
            }
            Command::Workdir(path) => {
                let path = self.word(path, span, &state.scope)?;
                if !state.has_workdir && !path.starts_with('/') {
                    let detail = format!(
                        "Relative workdir {path:?} can have unexpected results if the base image changes"
                    );
                    self.warn(Rule::WorkdirRelativePath, span, detail);
                }
                state.has_workdir = true;
            }
            Command::User(word) | Command::StopSignal(word) => {
                self.word(word, span, &state.scope)?;
            }
            Command::Volume(words) => {
                for word in words {
                    self.word(word, span, &state.scope)?;
                }
            }
            Command::Expose(words) => self.expose(words, span, &state.scope)?,
            Command::Cmd(line) => {
                self.once("CMD", instruction, state);
                self.json_form(instruction, line, state);
            }
            Command::Entrypoint(line) => {
                self.once("ENTRYPOINT", instruction, state);
                self.json_form(instruction, line, state);
            }
            Command::Healthcheck(_) => self.once("HEALTHCHECK", instruction, state),
            Command::Shell(_) => state.has_shell = true,
            Command::Maintainer(_) | Command::Onbuild(_) => {}
        }
        Ok(())
    }

    fn word(&mut self, word: &Word, span: Span, scope: &Scope) -> Result<String, ExpandError> {
        let mut expander = Expander::new(scope.variables());
        let result = expander.word(word);
        self.undefined(expander.unmatched(), span, scope);
        result
    }

    fn undefined(&mut self, unmatched: &BTreeSet<String>, span: Span, scope: &Scope) {
        if self.is_open {
            return;
        }
        for name in unmatched.iter().filter(|name| !scope.declares(name)) {
            let hint = scope.near(name).map(|n| format!(" (did you mean ${n}?)")).unwrap_or_default();
            self.warn(Rule::UndefinedVar, span, format!("Usage of undefined variable '${name}'{hint}"));
        }
    }

    fn pairs(
        &mut self,
        pairs: &[Pair],
        span: Span,
        scope: &Scope,
    ) -> Result<Vec<(String, String)>, ExpandError> {
        let pair =
            |pair: &Pair| Ok((self.word(&pair.key, span, scope)?, self.word(&pair.value, span, scope)?));
        pairs.iter().map(pair).collect()
    }

    fn env(
        &mut self,
        instruction: &Instruction,
        pairs: &[Pair],
        state: &mut State,
    ) -> Result<(), ExpandError> {
        let expanded = self.pairs(pairs, instruction.span, &state.scope)?;
        self.legacy(instruction, pairs);
        for (name, value) in &expanded {
            self.secret_name("ENV", name, instruction.span);
            state.scope.set(name, value);
        }
        Ok(())
    }

    fn legacy(&mut self, instruction: &Instruction, pairs: &[Pair]) {
        let keyword = &instruction.keyword;
        for _ in pairs.iter().filter(|pair| pair.legacy) {
            let detail = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
            );
            self.warn(Rule::LegacyKeyValueFormat, instruction.span, detail);
        }
    }

    fn secret_name(&mut self, keyword: &str, name: &str, span: Span) {
        if is_secret_name(name) {
            let detail =
                format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.warn(Rule::SecretsUsedInArgOrEnv, span, detail);
        }
    }

    fn copy(&mut self, copy: &Copy, span: Span, scope: &Scope) -> Result<(), ExpandError> {
        let sources = self.files(&copy.files, span, scope)?;
        if copy.from.is_none() {
            self.ignored("Copy", &sources, span);
        }
        Ok(())
    }

    fn add(&mut self, add: &Add, span: Span, scope: &Scope) -> Result<(), ExpandError> {
        if let Some(checksum) = &add.checksum {
            self.word(checksum, span, scope)?;
        }
        let sources = self.files(&add.files, span, scope)?;
        let local: Vec<String> = sources.into_iter().filter(|source| !is_remote(source)).collect();
        self.ignored("Add", &local, span);
        Ok(())
    }

    /// Expands all words of a COPY or ADD; its sources come out.
    fn files(&mut self, files: &Files, span: Span, scope: &Scope) -> Result<Vec<String>, ExpandError> {
        let words = [&files.chown, &files.chmod].into_iter().flatten().chain(&files.exclude);
        for word in words.chain([&files.destination]) {
            self.word(word, span, scope)?;
        }
        let sources =
            files.sources.iter().map(|word| self.word(word, span, scope)).collect::<Result<Vec<_>, _>>()?;
        for document in files.documents.iter().filter(|document| document.expand) {
            let mut expander = Expander::new(scope.variables());
            let result = expander.body(&document.content());
            self.undefined(expander.unmatched(), span, scope);
            result?;
        }
        Ok(sources)
    }

    fn ignored(&mut self, verb: &str, sources: &[String], span: Span) {
        // With exceptions nobody can say without the files whether something comes back.
        let Some(ignore) = self.facts.ignore.filter(|ignore| !ignore.has_exceptions()) else { return };
        for source in sources {
            let source = clean(source);
            let is_ignored =
                if source == "." { ignore.leaves_out_everything() } else { ignore.matches(&source) };
            if is_ignored {
                let detail =
                    format!("Attempting to {verb} file {source:?} that is excluded by .dockerignore");
                self.warn(Rule::CopyIgnoredFile, span, detail);
            }
        }
    }

    fn expose(&mut self, words: &[Word], span: Span, scope: &Scope) -> Result<(), ExpandError> {
        for word in words {
            for port in Expander::new(scope.variables()).split(word)? {
                let found = exposed(&port).map_err(ExpandError)?;
                if found.has_capitals {
                    let detail =
                        format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
                    self.warn(Rule::ExposeProtoCasing, span, detail);
                }
                if found.has_host_part {
                    let detail = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                    );
                    self.warn(Rule::ExposeInvalidFormat, span, detail);
                }
            }
        }
        Ok(())
    }

    /// Of several, only the last counts; the one before is blamed.
    fn once(&mut self, kind: &'static str, instruction: &Instruction, state: &mut State) {
        if let Some(earlier) = state.last.insert(kind, instruction.span) {
            let detail = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                instruction.keyword
            );
            self.warn(Rule::MultipleInstructionsDisallowed, earlier, detail);
        }
    }

    fn json_form(&mut self, instruction: &Instruction, line: &CommandLine, state: &State) {
        if matches!(line, CommandLine::Shell(_)) && !state.has_shell {
            let detail = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                instruction.keyword
            );
            self.warn(Rule::JSONArgsRecommended, instruction.span, detail);
        }
    }
}

/// Whether `ADD` fetches it.
pub(super) fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|start| source.starts_with(start))
}

/// Whether a variable's name says that its value is nobody else's business.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}
