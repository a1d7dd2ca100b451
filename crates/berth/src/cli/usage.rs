//! What clap found wrong with the words, in docker's words and with docker's exit codes: 125 for a flag, 1 for
//! arguments and commands.
//!
//! Invariant: every message names the command that was meant and where its help is.

use super::help;
use crate::exit::{Exit, Outcome, USAGE};
use crate::settings::Persona;
use crate::terminal;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};

/// Docker's flags take `--flag=false`, and its options take whatever word follows, `-1` included.
pub(crate) fn as_docker(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(go_bool),
        ArgAction::Set | ArgAction::Append if !arg.is_positional() && !arg.is_require_equals_set() => {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    }
}

/// `--help` is an argument of ours, for every command.
pub(crate) fn without_help(command: Command) -> Command {
    command.disable_help_flag(true).mut_subcommands(without_help)
}

/// The tree with the arguments of every command, as help and errors need it.
pub(crate) fn whole(mut command: Command) -> Command {
    command.build();
    command
}

/// `strconv.ParseBool`.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// `strconv.ParseInt`.
fn parse_int(error: &ParseIntError, text: &str) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.ParseInt: parsing \"{text}\": {why}")
}

/// The command that the words mean, and how they call it.
struct Meant<'a> {
    command: &'a Command,
    path: String,
}

/// Walks the words as clap does, as far as they name commands.
fn meant<'a>(root: &'a Command, words: &[OsString]) -> Meant<'a> {
    let mut command = root;
    let mut path = root.get_name().to_owned();
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if let Some(subcommand) = command.find_subcommand(word) {
            path = format!("{path} {word}");
            command = subcommand;
        } else if word.starts_with('-') && word != "--" {
            let takes_next =
                option_of(root, word).or_else(|| option_of(command, word)).is_some_and(takes_value);
            if takes_next && !word.contains('=') {
                words.next();
            }
        } else {
            break;
        }
    }
    Meant { command, path }
}

fn option_of<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or(word);
    command.get_arguments().find(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => name.len() == 2 && arg.get_short() == name.chars().nth(1),
    })
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

/// Says what is wrong, or shows the help that was asked for.
pub(crate) fn explain(error: &clap::Error, root: &Command, persona: Persona, words: &[OsString]) -> Outcome {
    let meant = meant(root, words);
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let invalid = context(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::DisplayVersion => super::version_line(persona),
        ErrorKind::DisplayHelp => show_help(&meant, root),
        // Nobody has asked for it: what a script reads stays empty.
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            terminal::complain(help::text(meant.command, &meant.path, root).trim_end());
            Ok(Exit::SUCCESS)
        }
        ErrorKind::UnknownArgument if invalid == "-h" => show_help(&meant, root),
        ErrorKind::UnknownArgument if invalid.starts_with('-') => {
            Ok(flag(&meant, &unknown_flag(&invalid, words)))
        }
        ErrorKind::InvalidSubcommand => Ok(unknown_command(&meant, &context(ContextKind::InvalidSubcommand))),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            Ok(flag(&meant, &needs_argument(&invalid, &meant, words)))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            let why = std::error::Error::source(error).map_or_else(
                || format!("must be one of {}", context(ContextKind::ValidValue).replace(' ', ", ")),
                |why| why.downcast_ref().map_or_else(|| why.to_string(), |why| parse_int(why, &value)),
            );
            Ok(flag(
                &meant,
                &format!("invalid argument \"{value}\" for \"{}\" flag: {why}", names(&invalid, &meant)),
            ))
        }
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            let name = |text: &str| text.split([' ', '=']).next().unwrap_or_default().to_owned();
            let message = format!(
                "conflicting options: {} and {} cannot be used together",
                name(&invalid),
                name(&other)
            );
            Ok(flag(&meant, &message))
        }
        _ => Ok(arguments(&meant)),
    }
}

fn show_help(meant: &Meant<'_>, root: &Command) -> Outcome {
    terminal::print(help::text(meant.command, &meant.path, root))?;
    Ok(Exit::SUCCESS)
}

fn usage_lines(meant: &Meant<'_>) -> String {
    let mut usage = help::usage(meant.command, &meant.path);
    if !meant.path.contains(' ') {
        usage.push_str(" [ARG...]");
    }
    format!("Usage:  {usage}\n\nRun '{} --help' for more information", meant.path)
}

fn flag(meant: &Meant<'_>, message: &str) -> Exit {
    terminal::complain(format!("{message}\n\n{}", usage_lines(meant)));
    Exit(USAGE)
}

fn unknown_flag(invalid: &str, words: &[OsString]) -> String {
    match invalid.strip_prefix("--") {
        Some(_) => format!("unknown flag: {}", invalid.split('=').next().unwrap_or(invalid)),
        None => {
            let letter = invalid.chars().nth(1).unwrap_or('-');
            let is_cluster =
                |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.contains(letter);
            let whole = words.iter().filter_map(|word| word.to_str()).find(is_cluster).unwrap_or(invalid);
            format!("unknown shorthand flag: '{letter}' in {whole}")
        }
    }
}

fn needs_argument(invalid: &str, meant: &Meant<'_>, words: &[OsString]) -> String {
    let long = invalid.split([' ', '=']).next().unwrap_or(invalid);
    let last = words.last().and_then(|word| word.to_str()).unwrap_or_default();
    match option_of(meant.command, long).and_then(Arg::get_short) {
        Some(short) if !last.starts_with("--") && last.ends_with(short) => {
            format!("flag needs an argument: '{short}' in {last}")
        }
        _ => format!("flag needs an argument: {long}"),
    }
}

/// `-f, --filter`.
fn names(invalid: &str, meant: &Meant<'_>) -> String {
    let long = invalid.split([' ', '=', '[']).next().unwrap_or(invalid);
    match option_of(meant.command, long).and_then(Arg::get_short) {
        Some(short) => format!("-{short}, {long}"),
        None => long.to_owned(),
    }
}

fn unknown_command(meant: &Meant<'_>, word: &str) -> Exit {
    let program = meant.path.split(' ').next().unwrap_or_default();
    let path = &meant.path;
    let usage = if path.contains(' ') { format!("Usage:  {path}\n\n") } else { String::new() };
    terminal::complain(format!(
        "{program}: unknown command: {path} {word}\n\n{usage}Run '{path} --help' for more information"
    ));
    Exit::FAILURE
}

/// Too few or too many arguments, counted as docker counts them.
fn arguments(meant: &Meant<'_>) -> Exit {
    let (mut least, mut most) = (0usize, 0usize);
    for arg in meant.command.get_positionals() {
        let (from, to) = help::arity(arg);
        least += from;
        most = most.saturating_add(to);
    }
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let wants = match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, most) if least == most => format!("requires {least} {}", plural(least)),
        (0, most) => format!("requires at most {most} {}", plural(most)),
        (least, usize::MAX) => format!("requires at least {least} {}", plural(least)),
        (least, most) => format!("requires at least {least} and at most {most} {}", plural(most)),
    };
    let program = meant.path.split(' ').next().unwrap_or_default();
    let mut lines = usage_lines(meant);
    if least > 0 && most == usize::MAX {
        // Docker has two sentences for the same thing.
        lines = lines.replace("\n\nRun '", "\n\nSee '");
    }
    terminal::complain(format!("{program}: '{}' {wants}\n\n{lines}", meant.path));
    Exit::FAILURE
}
