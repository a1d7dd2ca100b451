//! Instructions that change what an image says about itself: in a Dockerfile, and alone, as docker's `--change`.

use crate::dockerfile::{
    Command, CommandLine, Expander, Healthcheck, Pair, Variables, exposed, parse_trigger,
};
use crate::go_format::{duration, plain_list, quoted_list};
use berth_oci::{Error, Healthcheck as HealthcheckConfig, Result, RuntimeConfig};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Those that docker lets people change an image with.
const ALONE: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Makes the changes of these instructions, one after the other.
///
/// # Errors
/// One of them is wrong, or none that changes a configuration.
pub fn amend(config: &mut RuntimeConfig, instructions: &[String]) -> Result<()> {
    let mut cmd_is_own = false;
    for text in instructions {
        let keyword = text.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !keyword.is_empty() && !ALONE.contains(&keyword.as_str()) {
            return Err(Error::invalid(format!("{keyword} is not a valid change command"))
                .hint(format!("these are: {}", ALONE.join(", "))));
        }
        let instruction = parse_trigger(text).map_err(|error| Error::invalid(error.to_string()))?;
        let variables = Variables::of_image(&config.env);
        let mut expander = Expander::new(&variables);
        match &instruction.command {
            Command::Workdir(path) => {
                let path = expander.word(path)?;
                config.working_dir = match path.starts_with('/') {
                    true => path,
                    false => format!("{}/{path}", config.working_dir.trim_end_matches('/')),
                };
            }
            // Nothing is no command: docker leaves the shell alone there, or nothing at all.
            Command::Cmd(CommandLine::Shell(text)) if text.is_empty() => config.cmd = Some(shell(config)),
            Command::Entrypoint(CommandLine::Shell(text)) if text.is_empty() => config.entrypoint = None,
            command => {
                change(config, &mut expander, command)?;
                cmd_is_own |= matches!(command, Command::Cmd(_));
                if matches!(command, Command::Entrypoint(_)) && !cmd_is_own {
                    config.cmd = None;
                }
            }
        }
    }
    Ok(())
}

/// What an instruction did beside the configuration.
#[derive(Default)]
pub(crate) struct Change {
    /// What the history says of it.
    pub(crate) said: Option<String>,
    /// Variables that were set.
    pub(crate) variables: Vec<(String, String)>,
}

/// Makes the change of an instruction that is about nothing but the configuration.
pub(crate) fn change(
    config: &mut RuntimeConfig,
    expander: &mut Expander<'_>,
    command: &Command,
) -> Result<Change> {
    let mut variables = Vec::new();
    let said = match command {
        Command::Env(pairs) => {
            variables = expanded(expander, pairs)?;
            for (name, value) in &variables {
                set_env(&mut config.env, name, value);
            }
            format!("ENV {}", joined(&variables))
        }
        Command::Label(pairs) => {
            let pairs = expanded(expander, pairs)?;
            config.labels.extend(pairs.iter().cloned());
            format!("LABEL {}", joined(&pairs))
        }
        Command::Cmd(line) => {
            let words = in_shell(line, &shell(config));
            let said = format!("CMD {}", quoted_list(&words));
            config.cmd = Some(words);
            said
        }
        Command::Entrypoint(line) => {
            let words = in_shell(line, &shell(config));
            let said = format!("ENTRYPOINT {}", quoted_list(&words));
            config.entrypoint = Some(words);
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
        Command::Onbuild(trigger) => {
            config.on_build.get_or_insert_default().push(trigger.clone());
            return Ok(Change::default());
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
        Command::Arg(_)
        | Command::Maintainer(_)
        | Command::Run(_)
        | Command::Copy(_)
        | Command::Add(_)
        | Command::Workdir(_) => {
            return Err(Error::internal(format!("{} is about more than the configuration", command.name())));
        }
    };
    Ok(Change { said: Some(said), variables })
}

/// What runs commands that are no lists.
pub(crate) fn shell(config: &RuntimeConfig) -> Vec<String> {
    match &config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
    }
}

/// The words of a command in either form.
fn in_shell(line: &CommandLine, shell: &[String]) -> Vec<String> {
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
    fn instructions_alone_change_the_configuration() {
        let amended = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let mut config = RuntimeConfig { cmd: Some(vec!["sh".to_owned()]), ..RuntimeConfig::default() };
            match amend(&mut config, &lines) {
                Ok(()) => serde_json::to_string(&config).unwrap(),
                Err(error) => error.message().to_owned(),
            }
        };
        for (lines, expected) in [
            (&["CMD [\"a\",\"b\"]"][..], r#"{"Entrypoint":null,"Cmd":["a","b"]}"#),
            (&["CMD a b"], r#"{"Entrypoint":null,"Cmd":["/bin/sh","-c","a b"]}"#),
            (&["CMD"], r#"{"Entrypoint":null,"Cmd":["/bin/sh","-c"]}"#),
            (&["entrypoint [\"x\"]"], r#"{"Entrypoint":["x"],"Cmd":null}"#),
            (&["CMD [\"a\"]", "ENTRYPOINT [\"x\"]"], r#"{"Entrypoint":["x"],"Cmd":["a"]}"#),
            (&["ENTRYPOINT"], r#"{"Entrypoint":null,"Cmd":["sh"]}"#),
            (
                &["ENV A=1 B=\"x y\"", "ENV A=$A-2", "ENV C d e"],
                r#"{"Env":["A=1-2","B=x y","C=d e"],"Entrypoint":null,"Cmd":["sh"]}"#,
            ),
            (
                &["WORKDIR /a", "WORKDIR b", "USER u"],
                r#"{"User":"u","Entrypoint":null,"Cmd":["sh"],"WorkingDir":"/a/b"}"#,
            ),
            (
                &["HEALTHCHECK --retries=2 CMD x"],
                r#"{"Entrypoint":null,"Cmd":["sh"],"Healthcheck":{"Test":["CMD-SHELL","x"],"Retries":2}}"#,
            ),
            (&["FROM x"], "FROM is not a valid change command"),
            (&["SHELL [\"a\"]"], "SHELL is not a valid change command"),
            (&[""], "file with no instructions"),
            (&["ENV A"], "ENV must have two arguments"),
            (&["LABEL a=b c"], "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
            (&["USER"], "USER requires exactly one argument"),
            (&["VOLUME \"\""], "VOLUME specified can not be an empty string"),
            (&["STOPSIGNAL NOPE"], "invalid signal: NOPE"),
            (&["HEALTHCHECK foo"], "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            (&["ONBUILD FROM x"], "FROM isn't allowed as an ONBUILD trigger"),
        ] {
            assert_eq!(amended(lines), expected, "{lines:?}");
        }
    }

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
