//! What runs in a container: the image's words and the person's, put together as docker does.
//!
//! Invariant: pure. Who the user is, is in `user.rs`; what the kernel is told, in `runtime_spec`.

use crate::spec::{ContainerSpec, ExposedPort, Signal, parse_expose};
use berth_oci::{Error, Healthcheck, Result, RuntimeConfig};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a shell looks for programs when nobody says.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What runs, with nothing left to ask the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What always runs.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or all of it where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` alone to take a variable away.
    pub env: Vec<String>,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Where it starts; empty is `/`.
    pub working_dir: String,
    /// The owner's labels over the image's.
    pub labels: BTreeMap<String, String>,
    /// The ports it listens on.
    pub exposed: BTreeSet<ExposedPort>,
    /// The signal of `stop`, where one is asked for.
    pub stop_signal: Option<Signal>,
    /// Seconds between that and SIGKILL, where they are asked for.
    pub stop_timeout: Option<i64>,
    /// The person's check over the image's.
    #[serde(default)]
    pub health: Option<Healthcheck>,
    /// What a check's line runs in, where the image says.
    #[serde(default)]
    pub shell: Option<Vec<String>>,
}

impl Process {
    /// Puts the image's words and the person's together.
    ///
    /// # Errors
    /// There is nothing to run, or the image names a signal or port that is none.
    pub fn new(image: &RuntimeConfig, spec: &ContainerSpec) -> Result<Self> {
        let (entrypoint, cmd) = command(image, spec);
        if entrypoint.as_ref().is_none_or(Vec::is_empty) && cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("no command specified")
                .hint("the image names none: write one behind the image, as in `run IMAGE COMMAND`"));
        }
        let image_signal =
            image.stop_signal.as_deref().filter(|s| !s.is_empty()).map(str::parse).transpose()?;
        Ok(Self {
            entrypoint,
            cmd,
            env: env(image, spec),
            user: spec.user.clone().unwrap_or_else(|| image.user.clone()),
            working_dir: spec.working_dir.clone().unwrap_or_else(|| image.working_dir.clone()),
            labels: image.labels.clone().into_iter().chain(spec.labels.clone()).collect(),
            exposed: exposed(image, spec)?,
            stop_signal: spec.stop_signal.or(image_signal),
            stop_timeout: spec.stop_timeout.or(image.stop_timeout),
            health: spec.health.over(image.healthcheck.as_ref())?,
            shell: image.shell.clone().filter(|shell| !shell.is_empty()),
        })
    }

    /// The program and its arguments.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).flatten().cloned().collect()
    }

    /// The whole environment: docker's own variables, those that tell of linked containers, then the container's.
    #[must_use]
    pub fn environment(&self, hostname: &str, tty: bool, linked: &[String]) -> Vec<String> {
        let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
        env.extend(tty.then(|| "TERM=xterm".to_owned()));
        env.extend_from_slice(linked);
        overlay(&mut env, &self.env);
        env
    }
}

/// A new entrypoint makes the image's command meaningless, so it goes too.
fn command(image: &RuntimeConfig, spec: &ContainerSpec) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let given = (!spec.command.is_empty()).then(|| spec.command.clone());
    match &spec.entrypoint {
        Some(entrypoint) => (Some(entrypoint.clone()).filter(|e| !e.is_empty()), given),
        None => (image.entrypoint.clone(), given.or_else(|| image.cmd.clone())),
    }
}

/// The person's variables first, then those of the image that the person did not name.
fn env(image: &RuntimeConfig, spec: &ContainerSpec) -> Vec<String> {
    let named = |variable: &&String| spec.env.iter().any(|own| own.name() == name(variable));
    let theirs = image.env.iter().filter(|variable| !named(variable)).cloned();
    spec.env.iter().map(ToString::to_string).chain(theirs).collect()
}

fn exposed(image: &RuntimeConfig, spec: &ContainerSpec) -> Result<BTreeSet<ExposedPort>> {
    let mut ports = spec.expose.clone();
    for text in image.exposed_ports.keys() {
        ports.extend(parse_expose(text)?);
    }
    ports.extend(spec.ports.iter().map(|m| ExposedPort { port: m.container_port, protocol: m.protocol }));
    Ok(ports)
}

/// Sets, replaces and (`NAME` alone) takes away variables.
pub(crate) fn overlay(env: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let at = env.iter().position(|known| name(known) == name(change));
        match (at, change.contains('=')) {
            (Some(at), true) => env[at].clone_from(change),
            (Some(at), false) => {
                env.remove(at);
            }
            (None, true) => env.push(change.clone()),
            (None, false) => {}
        }
    }
}

fn name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        (text != "-").then(|| text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn entrypoint_and_command() {
        for (image_entrypoint, image_cmd, entrypoint, command, expected) in [
            ("-", "sh", "-", "", "sh"),
            ("-", "sh", "-", "ls -l", "ls -l"),
            ("e", "c", "-", "", "e c"),
            ("e", "c", "-", "x", "e x"),
            ("e", "c", "n", "", "n"),
            ("e", "c", "n", "x", "n x"),
            ("e", "c", "", "x", "x"),
            ("e", "c", "", "", "no command specified"),
            ("-", "-", "-", "", "no command specified"),
        ] {
            let image = RuntimeConfig {
                entrypoint: words(image_entrypoint),
                cmd: words(image_cmd),
                ..RuntimeConfig::default()
            };
            let spec = ContainerSpec {
                entrypoint: words(entrypoint),
                command: words(command).unwrap(),
                ..ContainerSpec::default()
            };
            let got = Process::new(&image, &spec).map_or_else(|e| e.to_string(), |p| p.args().join(" "));
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn environments() {
        let image = RuntimeConfig {
            cmd: words("sh"),
            env: vec!["PATH=/bin".into(), "A=image".into(), "B=image".into()],
            ..RuntimeConfig::default()
        };
        let spec = ContainerSpec {
            env: ["A=mine", "B", "C=1", "C=2", "HOSTNAME=x", "ABSENT"].map(|v| v.parse().unwrap()).into(),
            ..ContainerSpec::default()
        };
        let process = Process::new(&image, &spec).unwrap();
        assert_eq!(process.env, ["A=mine", "B", "C=1", "C=2", "HOSTNAME=x", "ABSENT", "PATH=/bin"]);
        assert_eq!(
            process.environment("abc", true, &["DB_NAME=/web/db".to_owned(), "C=0".to_owned()]),
            ["PATH=/bin", "HOSTNAME=x", "TERM=xterm", "DB_NAME=/web/db", "C=2", "A=mine"]
        );
    }

    #[test]
    fn the_person_wins_over_the_image() {
        let image = RuntimeConfig {
            cmd: words("sh"),
            user: "nginx".into(),
            working_dir: "/srv".into(),
            labels: [("a".into(), "image".into()), ("b".into(), "image".into())].into(),
            exposed_ports: [("80/tcp".into(), serde_json::json!({}))].into(),
            stop_signal: Some("SIGQUIT".into()),
            ..RuntimeConfig::default()
        };
        let quiet = Process::new(&image, &ContainerSpec::default()).unwrap();
        assert_eq!((quiet.user.as_str(), quiet.working_dir.as_str()), ("nginx", "/srv"));
        assert_eq!(quiet.stop_signal.unwrap().to_string(), "SIGQUIT");
        let spec = ContainerSpec {
            user: Some("0".into()),
            working_dir: Some("/".into()),
            labels: [("a".into(), "mine".into())].into(),
            expose: parse_expose("53/udp").unwrap().into_iter().collect(),
            ports: berth_runtime::net::PortMapping::parse("8080:443").unwrap(),
            stop_signal: Some(Signal::KILL),
            ..ContainerSpec::default()
        };
        let loud = Process::new(&image, &spec).unwrap();
        assert_eq!((loud.user.as_str(), loud.working_dir.as_str()), ("0", "/"));
        assert_eq!(loud.labels, [("a".into(), "mine".into()), ("b".into(), "image".into())].into());
        assert_eq!(
            loud.exposed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["53/udp", "80/tcp", "443/tcp"]
        );
        assert_eq!(loud.stop_signal, Some(Signal::KILL));
    }
}
