//! Instructions that only change what the image says about itself.

use super::Solver;
use super::snapshot::Snapshot;
use crate::dockerfile::{Command, CommandLine, Expander, Healthcheck, Pair, exposed};
use crate::go_format::{duration, plain_list, quoted_list};
use berth_oci::{Error, Healthcheck as HealthcheckConfig, Result};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn apply(solver: &Solver<'_>, snapshot: &mut Snapshot, command: &Command) -> Result<()> {
    let variables = snapshot.scope.variables().clone();
    let mut expander = Expander::new(&variables);
    let config = &mut snapshot.image.config;
    let said = match command {
        Command::Arg(args) => {
            let mut words = Vec::new();
            for arg in args {
                solver.shared.use_arg(&arg.name);
                let declared = snapshot.scope.declare(arg, &solver.globals, &solver.inputs)?;
                words.push(match declared.value {
                    Some(value) => format!("{}={value}", arg.name),
                    None => arg.name.clone(),
                });
            }
            format!("ARG {}", words.join(" "))
        }
        Command::Env(pairs) => {
            let pairs = expanded(&mut expander, pairs)?;
            for (name, value) in &pairs {
                set_env(&mut config.env, name, value);
                snapshot.scope.set(name, value);
            }
            format!("ENV {}", joined(&pairs))
        }
        Command::Label(pairs) => {
            let pairs = expanded(&mut expander, pairs)?;
            config.labels.extend(pairs.iter().cloned());
            format!("LABEL {}", joined(&pairs))
        }
        Command::Cmd(line) => {
            let words = in_shell(line, &snapshot.shell());
            let said = format!("CMD {}", quoted_list(&words));
            snapshot.image.config.cmd = Some(words);
            snapshot.image.config.args_escaped = true;
            snapshot.cmd_is_own = true;
            said
        }
        Command::Entrypoint(line) => {
            let words = in_shell(line, &snapshot.shell());
            let said = format!("ENTRYPOINT {}", quoted_list(&words));
            snapshot.image.config.entrypoint = Some(words);
            if !snapshot.cmd_is_own {
                snapshot.image.config.cmd = None;
            }
            said
        }
        Command::Expose(words) => {
            let mut ports = BTreeSet::new();
            for word in words {
                for text in expander.split(word)? {
                    ports.extend(exposed(&text).map_err(Error::invalid)?.ports);
                }
            }
            config.exposed_ports.extend(ports.iter().map(|port| (port.clone(), json!({}))));
            format!("EXPOSE {}", plain_list(&ports.into_iter().collect::<Vec<_>>()))
        }
        Command::Healthcheck(check) => healthcheck(config.healthcheck.insert(check_config(check))),
        Command::Maintainer(name) => {
            snapshot.image.author = Some(name.clone());
            format!("MAINTAINER {name}")
        }
        Command::Onbuild(trigger) => {
            config.on_build.get_or_insert_default().push(trigger.clone());
            return Ok(());
        }
        Command::Shell(words) => {
            config.shell = Some(words.clone());
            format!("SHELL {}", plain_list(words))
        }
        Command::StopSignal(word) => {
            let signal = expander.word(word)?;
            check_signal(&signal)?;
            let said = format!("STOPSIGNAL {signal}");
            config.stop_signal = Some(signal);
            said
        }
        Command::User(word) => {
            config.user = expander.word(word)?;
            format!("USER {}", config.user)
        }
        Command::Volume(words) => {
            let volumes = expander.words(words)?;
            if volumes.iter().any(String::is_empty) {
                return Err(Error::invalid("VOLUME specified can not be an empty string"));
            }
            config.volumes.extend(volumes.iter().map(|volume| (volume.clone(), json!({}))));
            format!("VOLUME {}", plain_list(&volumes))
        }
        Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_) => {
            return Err(Error::internal(format!("{} is a step", command.name())));
        }
    };
    snapshot.note_empty(said);
    Ok(())
}

/// The words of a command in either form.
pub(super) fn in_shell(line: &CommandLine, shell: &[String]) -> Vec<String> {
    match line {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => shell.iter().chain([text]).cloned().collect(),
    }
}

fn expanded(expander: &mut Expander<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
    pairs.iter().map(|pair| Ok((expander.word(&pair.key)?, expander.word(&pair.value)?))).collect()
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A variable that is there keeps its place.
fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    match env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
        Some(known) => *known = line,
        None => env.push(line),
    }
}

fn check_config(check: &Healthcheck) -> HealthcheckConfig {
    let nanoseconds =
        |time: Option<Duration>| time.map_or(0, |t| i64::try_from(t.as_nanos()).unwrap_or(i64::MAX));
    match check {
        Healthcheck::None => HealthcheckConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() },
        Healthcheck::Check { test, timing } => HealthcheckConfig {
            test: Some(match test {
                CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                CommandLine::Exec(words) => {
                    ["CMD".to_owned()].into_iter().chain(words.iter().cloned()).collect()
                }
            }),
            interval: nanoseconds(timing.interval),
            timeout: nanoseconds(timing.timeout),
            start_period: nanoseconds(timing.start_period),
            start_interval: nanoseconds(timing.start_interval),
            retries: timing.retries.unwrap_or_default().into(),
        },
    }
}

/// Go prints the struct, with the count of retries as a character.
fn healthcheck(check: &HealthcheckConfig) -> String {
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    let times: Vec<String> = times.iter().map(|time| format!("{:?}", duration(*time))).collect();
    let retries = match u32::try_from(check.retries).ok().and_then(char::from_u32) {
        Some(c) if u32::from(c) < 0x20 && !"\t\n\r\x07\x08\x0b\x0c".contains(c) => {
            format!("'\\x{:02x}'", u32::from(c))
        }
        Some(c) => format!("'{}'", c.escape_default()),
        None => "'\u{fffd}'".to_owned(),
    };
    let test = quoted_list(check.test.as_deref().unwrap_or_default());
    format!("HEALTHCHECK &{{{test} {} {retries}}}", times.join(" "))
}

const SIGNALS: [&str; 31] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM",
];

fn check_signal(text: &str) -> Result<()> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_name = SIGNALS.contains(&name) || ["WINCH", "XCPU", "XFSZ"].contains(&name) || is_real_time(name);
    let is_number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    if is_name || is_number { Ok(()) } else { Err(Error::invalid(format!("invalid signal: {text}"))) }
}

fn is_real_time(name: &str) -> bool {
    let within = |rest: &str, sign| {
        rest.is_empty() || rest.strip_prefix(sign).is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 15))
    };
    name.strip_prefix("RTMIN").is_some_and(|rest| within(rest, '+'))
        || name.strip_prefix("RTMAX").is_some_and(|rest| within(rest, '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_show_checks_as_go_does() {
        let check = HealthcheckConfig {
            test: Some(vec!["CMD-SHELL".into(), "curl x || exit 1".into()]),
            interval: 30_000_000_000,
            retries: 3,
            ..Default::default()
        };
        let expected = r#"HEALTHCHECK &{["CMD-SHELL" "curl x || exit 1"] "30s" "0s" "0s" "0s" '\x03'}"#;
        assert_eq!(healthcheck(&check), expected);
    }

    #[test]
    fn signals_are_names_or_numbers() {
        for (text, expected) in [
            ("SIGTERM", true),
            ("term", true),
            ("9", true),
            ("RTMIN+3", true),
            ("0", false),
            ("SIGX", false),
            ("", false),
        ] {
            assert_eq!(check_signal(text).is_ok(), expected, "{text}");
        }
    }
}
