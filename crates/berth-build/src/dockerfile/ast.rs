//! The instructions of a Dockerfile as types.
//!
//! Operands that variables may stand in are [`Word`]s; all others are final. Invariant: what is here has passed
//! every check that needs no variables.

use super::heredoc::Heredoc;
use super::mount::MountFlag;
use super::source::Span;
use super::word::Word;
use std::borrow::Cow;
use std::time::Duration;

/// `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// The same as written.
    pub written_name: Option<String>,
    /// An image, an earlier stage, or `scratch`.
    pub base: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// `FROM` as written: some write `from`.
    pub keyword: String,
    /// `AS` as written.
    pub as_keyword: Option<String>,
    /// The whole instruction as one line.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// The comment lines directly above.
    pub comments: Vec<String>,
    /// What follows, up to the next `FROM`.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// What the comment above says about the stage: `# name description`.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        described(&self.comments, self.name.as_deref()?)
    }
}

/// An instruction inside a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The first word as written: some write `run`.
    pub keyword: String,
    /// What it says.
    pub command: Command,
    /// The whole instruction as one line, heredoc bodies left out.
    pub text: String,
    /// Where it stands, heredocs included.
    pub span: Span,
    /// The comment lines directly above.
    pub comments: Vec<String>,
}

/// `ARG` before the first `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalArg {
    /// `ARG` as written.
    pub keyword: String,
    /// What it declares.
    pub args: Vec<Arg>,
    /// Where it stands.
    pub span: Span,
    /// The comment lines directly above.
    pub comments: Vec<String>,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Vec<Arg>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`: sorted words, each of which may expand to several ports.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the trigger's text, heredocs included.
    Onbuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(Word),
    /// `USER`
    User(Word),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `WORKDIR`
    Workdir(Word),
}

impl Command {
    /// The instruction's word, in upper case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// `key=value` of `ENV` and `LABEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name; variables may stand in it.
    pub key: Word,
    /// The value.
    pub value: Word,
    /// Written `KEY rest of the line`, the old form.
    pub legacy: bool,
}

/// A declaration of `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The name.
    pub name: String,
    /// The default.
    pub default: Option<Word>,
}

/// A command line as `RUN`, `CMD`, `ENTRYPOINT` and `HEALTHCHECK CMD` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the image's shell.
    Shell(String),
    /// JSON: program and arguments.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What runs; heredoc bodies are beside it.
    pub line: CommandLine,
    /// Its heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`, in order.
    pub devices: Vec<Device>,
}

/// What a `RUN` gives to its shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script<'a> {
    /// Program and arguments; no shell.
    Exec(&'a [String]),
    /// Text for the shell.
    Shell(Cow<'a, str>),
    /// A heredoc that begins with `#!`: a file to be executed, without a shell.
    File {
        /// Its name.
        name: &'a str,
        /// What is in it.
        content: Cow<'a, str>,
    },
}

impl Run {
    /// What runs, with the heredocs where they belong.
    #[must_use]
    pub fn script(&self) -> Script<'_> {
        let line = match &self.line {
            CommandLine::Exec(arguments) => return Script::Exec(arguments),
            CommandLine::Shell(line) => line,
        };
        match self.heredocs.as_slice() {
            [] => Script::Shell(Cow::Borrowed(line)),
            [only] if self.is_bare_heredoc() && only.body.starts_with("#!") => {
                Script::File { name: &only.name, content: only.content() }
            }
            [only] if self.is_bare_heredoc() => Script::Shell(only.content()),
            several => {
                let mut full = line.clone();
                for heredoc in several {
                    full.push('\n');
                    full.push_str(&heredoc.body);
                    full.push_str(&heredoc.name);
                }
                Script::Shell(Cow::Owned(full))
            }
        }
    }

    /// Whether the line is a heredoc and nothing else: then its body is the script.
    #[must_use]
    pub fn is_bare_heredoc(&self) -> bool {
        matches!(&self.line, CommandLine::Shell(line) if super::operand::heredoc_of(line).is_some())
    }

    /// The first line of a heredoc that is the script, as progress shows it: `set -e...`.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let body = self.heredocs.first().filter(|_| self.is_bare_heredoc())?.body.trim();
        let mut lines = body.lines();
        let first = lines.next().unwrap_or_default();
        Some(if lines.next().is_some() { format!("{first}...") } else { first.to_owned() })
    }
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// What the build gives.
    #[default]
    Default,
    /// None.
    None,
    /// The host's; needs the entitlement `network.host`.
    Host,
}

/// `RUN --security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// As containers are.
    #[default]
    Sandbox,
    /// All rights; needs the entitlement `security.insecure`.
    Insecure,
}

/// `RUN --device`: a CDI device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// `vendor/class=name`.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// What `COPY` and `ADD` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Paths, patterns and (for `ADD`) addresses, in order.
    pub sources: Vec<Word>,
    /// Heredocs among the sources; they come after the others.
    pub documents: Vec<Heredoc>,
    /// Where they go.
    pub destination: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What goes where.
    pub files: Files,
    /// `--from`: a stage's name or index, an image, or a context; never with variables.
    pub from: Option<String>,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What goes where.
    pub files: Files,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`; not given means no, or what the address says.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; not given means local archives only.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: not even the base image's.
    None,
    /// `CMD`.
    Check {
        /// What runs.
        test: CommandLine,
        /// Its times.
        timing: HealthTiming,
    },
}

/// The flags of `HEALTHCHECK CMD`; what is not given is the runtime's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthTiming {
    /// `--interval`.
    pub interval: Option<Duration>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--start-period`.
    pub start_period: Option<Duration>,
    /// `--start-interval`.
    pub start_interval: Option<Duration>,
    /// `--retries`.
    pub retries: Option<u32>,
}

/// What a comment line `name description` among `comments` says about `name`.
pub(crate) fn described<'a>(comments: &'a [String], name: &str) -> Option<&'a str> {
    comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}
