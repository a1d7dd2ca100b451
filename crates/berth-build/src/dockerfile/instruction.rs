//! From a statement to an instruction: one small reader per word.
//!
//! Not here: `COPY`, `ADD` and `RUN`, which have rooms of their own. Invariant: the messages are BuildKit's.

use super::ast::{Arg, Command, CommandLine, HealthTiming, Healthcheck, Instruction, Pair, Stage};
use super::error::Fault;
use super::flags::{Flags, Kind};
use super::operand::{Parts, Token, json, parts, split_blanks, split_once_blank, split_quoted};
use super::statement::Statement;
use super::suggest::nearest;
use super::word::Word;
use super::{copy, run};
use std::time::Duration;

const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a statement is.
pub(crate) enum Parsed {
    Stage(Box<Stage>),
    Instruction(Box<Instruction>),
}

/// A statement and what all readers need to know about it.
pub(super) struct Request<'a> {
    pub(super) statement: &'a Statement,
    pub(super) parts: Parts,
    /// The instruction's word in upper case.
    pub(super) name: String,
    pub(super) escape: char,
}

impl Request<'_> {
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(message).at(self.parts.name.at, self.parts.name.text.len())
    }

    pub(super) fn word(&self, text: impl Into<String>) -> Word {
        Word::new(text, self.escape)
    }

    pub(super) fn flags(&self, known: &[(&str, Kind)]) -> Result<Flags, Fault> {
        Flags::read(&self.parts.flags, known)
    }

    /// JSON, or else words split at blanks.
    pub(super) fn list(&self) -> Result<Vec<String>, Fault> {
        Ok(match json(&self.parts.rest)? {
            Some(strings) => strings,
            None => split_blanks(&self.parts.rest).into_iter().map(|word| word.text).collect(),
        })
    }

    /// JSON, or else a line for the shell.
    pub(super) fn command_line(&self, rest: &Token) -> Result<CommandLine, Fault> {
        Ok(match json(rest)? {
            Some(arguments) => CommandLine::Exec(arguments),
            None => CommandLine::Shell(rest.text.clone()),
        })
    }

    fn exactly_one(&self) -> Result<&str, Fault> {
        match self.parts.rest.text.as_str() {
            "" => Err(self.fault(format!("{} requires exactly one argument", self.name))),
            text => Ok(text),
        }
    }

    fn at_least_one(&self) -> Fault {
        self.fault(format!("{} requires at least one argument", self.name))
    }
}

/// Reads a statement.
pub(crate) fn read(statement: &Statement, escape: char) -> Result<Parsed, Fault> {
    let parts = parts(&statement.text);
    let name = parts.name.text.to_uppercase();
    let request = Request { statement, parts, name, escape };
    if request.name == "FROM" {
        return stage(&request).map(|stage| Parsed::Stage(Box::new(stage)));
    }
    let command = command(&request)?;
    Ok(Parsed::Instruction(Box::new(Instruction {
        keyword: request.parts.name.text,
        command,
        text: statement.text.trim().to_owned(),
        span: statement.span,
        comments: statement.comments.clone(),
    })))
}

fn command(request: &Request<'_>) -> Result<Command, Fault> {
    match request.name.as_str() {
        "ADD" => copy::add(request).map(Command::Add),
        "ARG" => args(request).map(Command::Arg),
        "COPY" => copy::copy(request).map(Command::Copy),
        "ENV" => pairs(request).map(Command::Env),
        "EXPOSE" => expose(request).map(Command::Expose),
        "HEALTHCHECK" => healthcheck(request).map(Command::Healthcheck),
        "LABEL" => pairs(request).map(Command::Label),
        "ONBUILD" => onbuild(request).map(Command::Onbuild),
        "RUN" => run::run(request).map(Command::Run),
        "SHELL" => shell(request).map(Command::Shell),
        "VOLUME" => volumes(request).map(Command::Volume),
        "CMD" | "ENTRYPOINT" => {
            request.flags(&[])?;
            let line = request.command_line(&request.parts.rest)?;
            Ok(if request.name == "CMD" { Command::Cmd(line) } else { Command::Entrypoint(line) })
        }
        "MAINTAINER" | "STOPSIGNAL" | "USER" | "WORKDIR" => {
            let text = request.exactly_one()?;
            request.flags(&[])?;
            Ok(match request.name.as_str() {
                "MAINTAINER" => Command::Maintainer(text.to_owned()),
                "STOPSIGNAL" => Command::StopSignal(request.word(text)),
                "USER" => Command::User(request.word(text)),
                _ => Command::Workdir(request.word(text)),
            })
        }
        _ => {
            let written = &request.parts.name.text;
            let suggestion = nearest(written, NAMES, true);
            Err(request.fault(format!("unknown instruction: {written}")).suggest(suggestion))
        }
    }
}

fn stage(request: &Request<'_>) -> Result<Stage, Fault> {
    let words = split_blanks(&request.parts.rest);
    let named = match words.as_slice() {
        [_] => None,
        [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => Some((keyword, name)),
        _ => return Err(request.fault("FROM requires either one or three arguments")),
    };
    if let Some((_, name)) = named.filter(|(_, name)| !is_stage_name(&name.text.to_lowercase())) {
        let message = format!(
            "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
            name.text
        );
        return Err(Fault::new(message).at(name.at, name.text.len()));
    }
    let flags = request.flags(&[("platform", Kind::Text)])?;
    Ok(Stage {
        name: named.map(|(_, name)| name.text.to_lowercase()),
        written_name: named.map(|(_, name)| name.text.clone()),
        base: request.word(words[0].text.clone()),
        platform: flags.text("platform").map(|token| request.word(token.text.clone())),
        keyword: request.parts.name.text.clone(),
        as_keyword: named.map(|(keyword, _)| keyword.text.clone()),
        text: request.statement.text.trim().to_owned(),
        span: request.statement.span,
        comments: request.statement.comments.clone(),
        instructions: Vec::new(),
    })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

/// `k=v …`, or the old `k rest of the line`.
fn pairs(request: &Request<'_>) -> Result<Vec<Pair>, Fault> {
    request.flags(&[])?;
    let rest = &request.parts.rest;
    let words = split_quoted(rest, request.escape);
    let Some(first) = words.first() else { return Err(request.at_least_one()) };
    let pair =
        |key: &str, value: &str, legacy| Pair { key: request.word(key), value: request.word(value), legacy };
    let blank = |token: &Token| {
        Fault::new(format!("{} names can not be blank", request.name)).at(token.at, token.text.len())
    };
    if !first.text.contains('=') {
        let Some((key, value)) = split_once_blank(rest) else {
            let message = format!("{} must have two arguments", request.name);
            return Err(Fault::new(message).at(rest.at, rest.text.len()).bare());
        };
        return Ok(vec![pair(&key.text, &value.text, true)]);
    }
    let mut pairs = Vec::new();
    for word in &words {
        let Some((key, value)) = word.text.split_once('=') else {
            let message =
                format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", word.text);
            return Err(Fault::new(message).at(word.at, word.text.len()).bare());
        };
        if key.is_empty() {
            return Err(blank(word));
        }
        pairs.push(pair(key, value, false));
    }
    Ok(pairs)
}

fn args(request: &Request<'_>) -> Result<Vec<Arg>, Fault> {
    request.flags(&[])?;
    let words = split_quoted(&request.parts.rest, request.escape);
    if words.is_empty() {
        return Err(request.at_least_one());
    }
    let mut args = Vec::new();
    for word in &words {
        let (name, default) = match word.text.split_once('=') {
            Some((name, default)) => (name, Some(request.word(default))),
            None => (word.text.as_str(), None),
        };
        if name.is_empty() {
            return Err(Fault::new("ARG names can not be blank").at(word.at, word.text.len()));
        }
        args.push(Arg { name: name.to_owned(), default });
    }
    Ok(args)
}

fn expose(request: &Request<'_>) -> Result<Vec<Word>, Fault> {
    let mut ports: Vec<String> =
        split_blanks(&request.parts.rest).into_iter().map(|word| word.text).collect();
    if ports.is_empty() {
        return Err(request.at_least_one());
    }
    request.flags(&[])?;
    ports.sort();
    Ok(ports.into_iter().map(|port| request.word(port)).collect())
}

fn volumes(request: &Request<'_>) -> Result<Vec<Word>, Fault> {
    let volumes = request.list()?;
    if volumes.is_empty() {
        return Err(request.at_least_one());
    }
    request.flags(&[])?;
    if volumes.iter().any(|volume| volume.trim().is_empty()) {
        return Err(request.fault("VOLUME specified can not be an empty string"));
    }
    Ok(volumes.iter().map(|volume| request.word(volume.trim())).collect())
}

fn shell(request: &Request<'_>) -> Result<Vec<String>, Fault> {
    request.flags(&[])?;
    match request.command_line(&request.parts.rest)? {
        CommandLine::Exec(words) if !words.is_empty() => Ok(words),
        CommandLine::Shell(text) if !text.is_empty() => {
            let rest = &request.parts.rest;
            let message = "SHELL requires the arguments to be in JSON form";
            let suggestion = Some(format!("SHELL {}", json_form(&text)));
            Err(Fault::new(message).suggest(suggestion).at(rest.at, rest.text.len()))
        }
        _ => Err(request.at_least_one()),
    }
}

/// How the words would look in JSON form.
fn json_form(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    serde_json::Value::from(words).to_string()
}

fn onbuild(request: &Request<'_>) -> Result<String, Fault> {
    let rest = &request.parts.rest;
    if rest.text.is_empty() {
        return Err(request.at_least_one());
    }
    request.flags(&[])?;
    let trigger = parts(&rest.text).name.text.to_uppercase();
    match trigger.as_str() {
        "ONBUILD" => {
            let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
            return Err(Fault::new(message).at(rest.at, trigger.len()));
        }
        "MAINTAINER" | "FROM" => {
            let message = format!("{trigger} isn't allowed as an ONBUILD trigger");
            return Err(Fault::new(message).at(rest.at, trigger.len()));
        }
        _ => {}
    }
    let mut expression = rest.text.clone();
    for heredoc in &request.statement.heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.body);
        expression.push_str(&heredoc.name);
    }
    Ok(expression)
}

fn healthcheck(request: &Request<'_>) -> Result<Healthcheck, Fault> {
    let rest = &request.parts.rest;
    if rest.text.is_empty() {
        return Err(request.at_least_one());
    }
    let (kind, test) = split_once_space(rest);
    if kind.text.eq_ignore_ascii_case("NONE") {
        if !test.text.is_empty() {
            return Err(Fault::new("HEALTHCHECK NONE takes no arguments").at(test.at, test.text.len()));
        }
        request.flags(&[])?;
        return Ok(Healthcheck::None);
    }
    let timing = health_timing(request)?;
    if !kind.text.eq_ignore_ascii_case("CMD") {
        let message = format!("Unknown type {:?} in HEALTHCHECK (try CMD)", kind.text.to_uppercase());
        return Err(Fault::new(message).at(kind.at, kind.text.len()));
    }
    let line = request.command_line(&test)?;
    if matches!(&line, CommandLine::Shell(text) if text.is_empty())
        || matches!(&line, CommandLine::Exec(words) if words.is_empty())
    {
        return Err(Fault::new("Missing command after HEALTHCHECK CMD").at(kind.at, kind.text.len()));
    }
    Ok(Healthcheck::Check { test: line, timing })
}

/// The first word and the rest, split at any blank.
fn split_once_space(token: &Token) -> (Token, Token) {
    let end = token.text.find(char::is_whitespace).unwrap_or(token.text.len());
    let rest = token.text[end..].trim_start();
    let at = token.at + token.text.len() - rest.len();
    (Token { text: token.text[..end].to_owned(), at: token.at }, Token { text: rest.to_owned(), at })
}

fn health_timing(request: &Request<'_>) -> Result<HealthTiming, Fault> {
    let names = ["interval", "timeout", "start-period", "start-interval", "retries"];
    let flags = request.flags(&names.map(|name| (name, Kind::Text)))?;
    let time = |name: &str| -> Result<Option<Duration>, Fault> {
        let Some(token) = flags.text(name) else { return Ok(None) };
        interval(name, &token.text).map_err(|m| Fault::new(m).at(token.at, name.len() + 3 + token.text.len()))
    };
    let retries = match flags.text("retries") {
        None => None,
        Some(token) => Some(
            retries(&token.text)
                .map_err(|m| Fault::new(m).at(token.at, "--retries=".len() + token.text.len()))?,
        ),
    };
    Ok(HealthTiming {
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: retries.filter(|count| *count > 0),
    })
}

fn retries(text: &str) -> Result<u32, String> {
    let count: i32 = text.parse().map_err(|_| format!("--retries={text} is not a number"))?;
    u32::try_from(count).map_err(|_| format!("--retries cannot be negative ({count})"))
}

/// A duration of at least a millisecond; 0 means none.
fn interval(name: &str, text: &str) -> Result<Option<Duration>, String> {
    let duration = super::duration::parse(text)?;
    match duration {
        None => Err(format!("Interval {name:?} cannot be less than 1ms")),
        Some(Duration::ZERO) => Ok(None),
        Some(duration) if duration < Duration::from_millis(1) => {
            Err(format!("Interval {name:?} cannot be less than 1ms"))
        }
        duration => Ok(duration),
    }
}
