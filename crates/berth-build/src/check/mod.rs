//! Build checks: what is legal and still probably not meant.
//!
//! [`check`] applies BuildKit's rules (same texts, lines and order) and some of our own, which only give advice.
//! Not here: the build. Invariant: a check reads the Dockerfile and what it is told in [`Facts`], nothing else.

mod advice;
mod config;
mod from;
mod outline;
mod render;
mod rules;
mod shape;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use words::is_secret_name;

pub use config::CheckConfig;
pub use outline::outline;
pub use render::{Listing, targets};
pub use rules::Rule;

use crate::dockerfile::{
    Dockerfile, Globals, Inputs, Origin, Source, Span, SyntaxError, origin, parse_partially,
};
use crate::ignore::Ignore;
use berth_oci::Platform;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a check knows beside the Dockerfile.
pub struct Facts<'a> {
    /// Arguments, platforms, target.
    pub inputs: Inputs,
    /// The context's ignore file, if it has patterns.
    pub ignore: Option<&'a Ignore>,
    /// What is known about a base image for a platform; where nothing is, no variable is called undefined.
    pub base: &'a dyn Fn(&str, &Platform) -> Option<BaseImage>,
    /// Look at all stages, and not only at those that the target needs.
    pub all_stages: bool,
}

/// What a check wants to know about a base image.
#[derive(Clone, Debug, Default)]
pub struct BaseImage {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Its shell, if it names one.
    pub shell: Vec<String>,
    /// What it runs on.
    pub platform: Option<Platform>,
    /// How large it is, uncompressed.
    pub size: Option<u64>,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What is wrong.
    pub detail: String,
    /// Where.
    pub span: Span,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The Dockerfile.
    pub source: Arc<Source>,
    /// Broken rules of BuildKit, in its order.
    pub warnings: Vec<Warning>,
    /// Broken rules of ours, from top to bottom.
    pub advice: Vec<Warning>,
    /// A mistake that ends the build.
    pub error: Option<SyntaxError>,
    /// The mistake is only that rules are broken, and the file asks for that to be one.
    is_violation: bool,
}

impl Report {
    /// The broken rules as a mistake, where the file says `# check=error=true`.
    #[must_use]
    pub fn violation(&self) -> Option<&SyntaxError> {
        self.error.as_ref().filter(|_| self.is_violation)
    }
}

/// The argument that replaces the file's own `# check=`.
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Checks a Dockerfile.
#[must_use]
pub fn check(name: &str, bytes: &[u8], facts: &Facts<'_>) -> Report {
    let (file, error) = match parse_partially(name, bytes) {
        Ok(read) => read,
        Err(error) => {
            let source = Arc::clone(&error.source);
            return Report {
                source,
                warnings: Vec::new(),
                advice: Vec::new(),
                error: Some(error),
                is_violation: false,
            };
        }
    };
    let mut check = Check::new(&file, facts);
    let fault = check.config_fault.take().or_else(|| check.all(error).err());
    let is_violation = fault.is_none();
    let error = fault.or_else(|| check.violation());
    let (mut advice, warnings): (Vec<_>, Vec<_>) =
        check.warnings.into_iter().partition(|warning| warning.rule.is_advice());
    advice.sort_by_key(|warning| warning.span);
    Report { source: Arc::clone(&file.source), warnings, advice, error, is_violation }
}

/// A check at work.
struct Check<'a> {
    file: &'a Dockerfile,
    facts: &'a Facts<'a>,
    config: CheckConfig,
    config_fault: Option<SyntaxError>,
    /// Settings of single instructions, by their first line.
    local: BTreeMap<usize, CheckConfig>,
    warnings: Vec<Warning>,
    /// The stage that is looked at stands on an image that nobody knows: its variables may be set.
    is_open: bool,
}

impl<'a> Check<'a> {
    fn new(file: &'a Dockerfile, facts: &'a Facts<'a>) -> Self {
        let own = file.directives.check.as_ref();
        let text = match facts.inputs.build_args.get(CHECK_ARG) {
            Some(given) => given.as_str(),
            None => own.and_then(|d| d.value.split(' ').next()).unwrap_or_default(),
        };
        let (config, config_fault) = match CheckConfig::parse(text) {
            Ok(config) => (config, None),
            Err(message) => {
                let span = own.map(|directive| directive.span).unwrap_or_default();
                (CheckConfig::default(), Some(file.error_at(span, message)))
            }
        };
        let comments = file.stages.iter().flat_map(|stage| {
            let inside = stage.instructions.iter().map(|i| (i.span.first, &i.comments));
            inside.chain([(stage.span.first, &stage.comments)])
        });
        let globals = file.global_args.iter().map(|arg| (arg.span.first, &arg.comments));
        let local = comments.chain(globals);
        let local = local.filter_map(|(line, c)| Some((line, CheckConfig::of_comments(c)?))).collect();
        Self { file, facts, config, config_fault, local, warnings: Vec::new(), is_open: false }
    }

    fn warn(&mut self, rule: Rule, span: Span, detail: impl Into<String>) {
        let is_skipped = self.local.get(&span.first).is_some_and(|config| config.skips(rule));
        if self.config.allows(rule) && !is_skipped {
            self.warnings.push(Warning { rule, detail: detail.into(), span });
        }
    }

    /// All rules, in BuildKit's order. `fault` is what ended the reading of the file.
    fn all(&mut self, fault: Option<SyntaxError>) -> Result<(), SyntaxError> {
        self.continuations();
        self.definitions();
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.stage_names();
        self.casing();
        self.default_bases();
        let globals = Globals::new(self.file, &self.facts.inputs)?;
        let origins = self.origins(&globals)?;
        let wanted = self.wanted(&origins)?;
        self.base_platforms(&origins, &wanted);
        self.instructions(&globals, &origins, &wanted)?;
        self.advise(&origins, &wanted);
        Ok(())
    }

    fn origins(&mut self, globals: &Globals) -> Result<Vec<Origin>, SyntaxError> {
        let mut origins = Vec::new();
        for index in 0..self.file.stages.len() {
            self.base_variables(index, globals);
            let origin = origin(self.file, index, globals)?;
            self.written_platform(index, &origin, globals);
            origins.push(origin);
        }
        Ok(origins)
    }

    /// The stages to look at.
    fn wanted(&self, origins: &[Origin]) -> Result<BTreeSet<usize>, SyntaxError> {
        let count = self.file.stages.len();
        let target = match &self.facts.inputs.target {
            None => count - 1,
            Some(name) => self.file.stage_named(name).ok_or_else(|| {
                let names = self.file.stages.iter().filter_map(|stage| stage.name.as_deref());
                let mut error =
                    self.file.error_at(Span::default(), format!("target stage {name:?} could not be found"));
                error.spans.clear();
                error.suggestion = crate::dockerfile::nearest(name, names, true);
                error
            })?,
        };
        if self.facts.all_stages {
            return Ok((0..count).collect());
        }
        Ok(shape::needed(self.file, origins, target))
    }

    /// `error=true` and something found.
    fn violation(&self) -> Option<SyntaxError> {
        let counted: Vec<&Warning> = self.warnings.iter().filter(|w| !w.rule.is_advice()).collect();
        if !self.config.errors || counted.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = counted.iter().map(|warning| warning.rule.name()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let message = format!("lint violation found for rules: {}", names.join(", "));
        Some(self.file.error_at(counted[0].span, message))
    }
}
