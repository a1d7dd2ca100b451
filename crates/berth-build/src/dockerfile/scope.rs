//! Which variables an instruction sees: global arguments, a stage's arguments and environment.
//!
//! Not here: proxy variables, which only `RUN` gets. Invariant: the value of an argument is `--build-arg`'s, else its
//! default, else that of the global argument of the same name, else none.

use super::ast::Arg;
use super::error::SyntaxError;
use super::shell::Lookup;
use super::word::{ExpandError, Expander, Word};
use super::{Dockerfile, nearest};
use berth_oci::Platform;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a build is told from outside, as far as variables see it.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// The platform of the image.
    pub target_platform: Platform,
    /// `--target`.
    pub target: Option<String>,
}

impl Inputs {
    /// A build for this machine without arguments.
    #[must_use]
    pub fn native() -> Self {
        let platform = Platform::host();
        Self {
            build_args: BTreeMap::new(),
            build_platform: platform.clone(),
            target_platform: platform,
            target: None,
        }
    }
}

/// The variables of `FROM` lines.
#[derive(Clone, Debug)]
pub struct Globals {
    variables: Variables,
    /// Declared by the file, with or without a value.
    declared: BTreeSet<String>,
}

/// Names and values in the order in which they were first set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    list: Vec<(String, String)>,
    /// Where in the list each name is.
    places: HashMap<String, usize>,
}

impl Variables {
    /// From `NAME=value` lines, as images have them.
    #[must_use]
    pub fn of_image(env: &[String]) -> Self {
        let mut variables = Self::default();
        for line in env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            variables.set(name, value);
        }
        variables
    }

    /// Sets a variable; one that is there keeps its place.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(&place) = self.places.get(name) {
            value.clone_into(&mut self.list[place].1);
            return;
        }
        self.places.insert(name.to_owned(), self.list.len());
        self.list.push((name.to_owned(), value.to_owned()));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value, if the variable is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.list[place].1.as_str())
    }
}

impl Lookup for Variables {
    fn value(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }
}

/// Build arguments that are switches for the builder and never variables of a step.
const SWITCHES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Globals {
    /// The predefined ones, then those of the file.
    ///
    /// # Errors
    /// A default that cannot be expanded.
    pub fn new(file: &Dockerfile, inputs: &Inputs) -> Result<Self, SyntaxError> {
        Self::with_args(file, inputs, &inputs.build_args)
    }

    /// The same as if no `--build-arg` were given for the arguments of the file.
    ///
    /// # Errors
    /// A default that cannot be expanded.
    pub fn with_defaults_only(file: &Dockerfile, inputs: &Inputs) -> Result<Self, SyntaxError> {
        Self::with_args(file, inputs, &BTreeMap::new())
    }

    fn with_args(
        file: &Dockerfile,
        inputs: &Inputs,
        build_args: &BTreeMap<String, String>,
    ) -> Result<Self, SyntaxError> {
        let mut variables = predefined(file, inputs);
        let mut declared = BTreeSet::new();
        for global in &file.global_args {
            for arg in &global.args {
                declared.insert(arg.name.clone());
                let value = match (build_args.get(&arg.name), &arg.default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(
                        Expander::new(&variables)
                            .word(default)
                            .map_err(|error| file.error_at(global.span, error.to_string()))?,
                    ),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    variables.set(&arg.name, &value);
                }
            }
        }
        Ok(Self { variables, declared })
    }

    /// The variables.
    #[must_use]
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Whether `FROM` lines may use the name: it is predefined or declared.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.variables.get(name).is_some() || self.declared.contains(name)
    }

    /// A name that FROM lines may use and that is near to this one.
    #[must_use]
    pub fn near(&self, name: &str) -> Option<String> {
        let known: BTreeSet<&str> = self
            .variables
            .iter()
            .map(|(name, _)| name)
            .chain(self.declared.iter().map(String::as_str))
            .collect();
        nearest(name, known, false)
    }
}

fn predefined(file: &Dockerfile, inputs: &Inputs) -> Variables {
    let (build, target) = (&inputs.build_platform, &inputs.target_platform);
    let stage = inputs.target.as_deref().or_else(|| file.stages.last()?.name.as_deref());
    let version = |platform: &Platform| platform.os_version.clone().unwrap_or_default();
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let mut variables = Variables::default();
    for (name, value) in [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", version(build)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", version(target)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", stage.unwrap_or("default").to_owned()),
    ] {
        variables.set(name, inputs.build_args.get(name).unwrap_or(&value));
    }
    variables
}

/// The variables of a stage while its instructions are read one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    variables: Variables,
    args: Vec<(String, Option<String>)>,
}

/// What an `ARG` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its value, if it has one.
    pub value: Option<String>,
    /// The value is the global argument's.
    pub is_global: bool,
    /// Variables that the default asked for and that are not set.
    pub unmatched: BTreeSet<String>,
}

impl Scope {
    /// A stage on top of an image with this environment. A stage on top of another clones that one's scope.
    #[must_use]
    pub fn new(variables: Variables) -> Self {
        Self { variables, args: Vec::new() }
    }

    /// What words are expanded with, and what steps find in their environment.
    #[must_use]
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// `ENV`.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.set(name, value);
    }

    /// `ARG`.
    ///
    /// # Errors
    /// The default is used and cannot be expanded.
    pub fn declare(
        &mut self,
        arg: &Arg,
        globals: &Globals,
        inputs: &Inputs,
    ) -> Result<Declared, ExpandError> {
        let mut declared = Declared { value: None, is_global: false, unmatched: BTreeSet::new() };
        match (inputs.build_args.get(&arg.name), &arg.default) {
            (Some(given), _) => declared.value = Some(given.clone()),
            (None, Some(default)) => {
                let mut expander = Expander::new(&self.variables);
                declared.value = Some(expander.word(default)?);
                declared.unmatched = expander.unmatched().clone();
            }
            (None, None) => {
                declared.value = globals.variables.get(&arg.name).map(str::to_owned);
                declared.is_global = declared.value.is_some();
            }
        }
        if let Some(value) = declared.value.as_deref().filter(|_| !SWITCHES.contains(&arg.name.as_str())) {
            self.variables.set(&arg.name, value);
        }
        self.args.push((arg.name.clone(), declared.value.clone()));
        Ok(declared)
    }

    /// Whether the stage has declared the argument, with or without a value.
    #[must_use]
    pub fn declares(&self, name: &str) -> bool {
        self.args.iter().any(|(known, _)| known == name)
    }

    /// The arguments with the values they have now, in the order of their declaration, each once; an argument
    /// without a value is empty. A step's history begins with them: `|2 A=1 B=2`.
    #[must_use]
    pub fn args(&self) -> Vec<(String, String)> {
        let mut args: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.args {
            let value = self.variables.get(name).map(str::to_owned).or_else(|| value.clone());
            let value = value.unwrap_or_default();
            match args.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = value,
                None => args.push((name.clone(), value)),
            }
        }
        args
    }

    /// A variable that is set and near to this name.
    #[must_use]
    pub fn near(&self, name: &str) -> Option<String> {
        nearest(name, self.variables.iter().map(|(name, _)| name), false)
    }
}

/// A stage's `FROM` with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// An image, an earlier stage's name, or `scratch`.
    pub base: String,
    /// The earlier stage, if it is one.
    pub stage: Option<usize>,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// Variables that the base's name asked for and that are not set.
    pub base_unmatched: BTreeSet<String>,
    /// The same for the platform, and those that are set.
    pub platform_names: (BTreeSet<String>, BTreeSet<String>),
}

/// Where stage `index` starts from.
///
/// # Errors
/// The name comes to nothing, or the platform is none.
pub fn origin(file: &Dockerfile, index: usize, globals: &Globals) -> Result<Origin, SyntaxError> {
    let stage = &file.stages[index];
    let error = |message: String| file.error_at(stage.span, message);
    let mut expander = Expander::new(globals.variables());
    let base = expander.word(&stage.base).map_err(|e| error(e.to_string()))?;
    if base.is_empty() {
        let mut fault = error(format!("base name ({}) should not be blank", stage.base));
        fault.suggestion = expander.unmatched().iter().find_map(|name| globals.near(name));
        return Err(fault);
    }
    let mut origin = Origin {
        stage: file.stages[..index].iter().rposition(|s| s.name.as_deref() == Some(base.as_str())),
        base,
        platform: None,
        base_unmatched: expander.unmatched().clone(),
        platform_names: Default::default(),
    };
    if let Some(word) = &stage.platform {
        let mut expander = Expander::new(globals.variables());
        let text = expander
            .word(word)
            .map_err(|e| error(format!("failed to process arguments for platform {word}: {e}")))?;
        let parsed = platform(&text, word).map_err(|message| {
            let mut fault = error(message);
            fault.suggestion = expander.unmatched().iter().find_map(|name| globals.near(name));
            fault
        })?;
        origin.platform = Some(parsed);
        origin.platform_names = (expander.unmatched().clone(), expander.matched().clone());
    }
    Ok(origin)
}

fn platform(text: &str, written: &Word) -> Result<Platform, String> {
    const COMPONENT: &str = "^[A-Za-z0-9_.-]+$";
    if text.is_empty() {
        return Err(format!("empty platform value from expression {written}"));
    }
    let is_word = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    if let Some(part) = text.split('/').find(|part| !is_word(part)) {
        return Err(format!(
            "failed to parse platform {written}: {part:?} is an invalid component of {text:?}: platform specifier \
             component must match {COMPONENT:?}: invalid argument"
        ));
    }
    text.parse().map_err(|error: berth_oci::Error| format!("failed to parse platform {written}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::*;

    fn inputs(args: &[(&str, &str)]) -> Inputs {
        let build_args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Inputs { build_args, ..Inputs::native() }
    }

    /// The stage's arguments after all its instructions, as a step's history has them.
    fn args(text: &str, given: &[(&str, &str)]) -> String {
        let file = parse("Dockerfile", text.as_bytes()).expect("good");
        let inputs = inputs(given);
        let globals = Globals::new(&file, &inputs).expect("good");
        let mut scope = Scope::new(Variables::of_image(&["PATH=/bin".to_owned()]));
        for instruction in &file.stages[0].instructions {
            match &instruction.command {
                Command::Arg(args) => {
                    for arg in args {
                        scope.declare(arg, &globals, &inputs).expect("good");
                    }
                }
                Command::Env(pairs) => {
                    for pair in pairs {
                        let value = Expander::new(scope.variables()).word(&pair.value).expect("good");
                        scope.set(&pair.key.text, &value);
                    }
                }
                _ => {}
            }
        }
        scope.args().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_argument_takes_the_first_value_there_is() {
        for (text, given, expected) in [
            ("FROM a\nARG A=1\n", &[][..], "A=1"),
            ("FROM a\nARG A=1\n", &[("A", "2")], "A=2"),
            ("ARG A=3\nFROM a\nARG A\n", &[], "A=3"),
            ("ARG A=3\nFROM a\nARG A=$A-1\n", &[], "A=-1"),
            ("ARG A=3\nARG B=${A}x\nFROM a\nARG B\n", &[("A", "4")], "B=4x"),
            ("FROM a\nARG A B=2 A=3\n", &[], "A=3 B=2"),
            ("FROM a\nARG A\n", &[], "A="),
            ("FROM a\nARG A=$PATH:x\n", &[], "A=/bin:x"),
            ("FROM a\nARG A=1\nENV A=2\n", &[("A", "3")], "A=2"),
        ] {
            assert_eq!(args(text, given), expected, "{text} {given:?}");
        }
    }

    #[test]
    fn platforms_are_variables() {
        let text = "ARG BUILDPLATFORM\nFROM --platform=$BUILDPLATFORM a AS x\nARG TARGETARCH TARGETSTAGE\n";
        let inputs = Inputs {
            target_platform: "linux/arm/v7".parse().expect("a platform"),
            build_platform: "linux/amd64".parse().expect("a platform"),
            ..inputs(&[("TARGETARCH", "mine")])
        };
        let file = parse("Dockerfile", text.as_bytes()).expect("good");
        let globals = Globals::new(&file, &inputs).expect("good");
        let value = |name: &str| globals.variables().get(name).unwrap_or("none").to_owned();
        assert_eq!(value("TARGETPLATFORM"), "linux/arm/v7");
        assert_eq!([value("TARGETVARIANT"), value("TARGETARCH"), value("TARGETSTAGE")], ["v7", "mine", "x"]);
        let origin = origin(&file, 0, &globals).expect("good");
        assert_eq!(origin.platform.expect("given").to_string(), "linux/amd64");
    }

    #[test]
    fn a_base_that_comes_to_nothing_is_a_mistake() {
        for (text, message) in [
            ("FROM $x", "base name ($x) should not be blank"),
            (
                "FROM --platform=$BULIDPLATFORM a",
                "empty platform value from expression $BULIDPLATFORM (did you mean BUILDPLATFORM?)",
            ),
            (
                "FROM --platform=linux/$x a",
                "failed to parse platform linux/$x: \"\" is an invalid component of \"linux/\": platform specifier \
                 component must match \"^[A-Za-z0-9_.-]+$\": invalid argument",
            ),
        ] {
            let file = parse("Dockerfile", text.as_bytes()).expect("good");
            let globals = Globals::new(&file, &Inputs::native()).expect("good");
            assert_eq!(origin(&file, 0, &globals).expect_err(text).to_string(), message, "{text}");
        }
    }
}
