//! `exec`.

use super::Context;
use super::foreground::{self, Signals};
use crate::exit::{Exit, Outcome};
use berth_oci::{AtPath, Error, Result};
use berth_runtime::oci::specification::{Capability, Process};
use berth_runtime::oci::{Changes, ExecOptions, understand};
use std::path::PathBuf;

/// `exec`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct Args {
    /// A file with the process, in the form that config.json has it
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Return when it runs
    #[arg(short, long)]
    detach: bool,
    /// A socket that gets the other end of its terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// A file for its number
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The directory it runs in
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// A variable, `NAME=value`
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// User and group by number, `uid[:gid]`
    #[arg(short, long, value_name = "USER", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// Another group by number
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Another capability, `CAP_…`
    #[arg(short, long, value_name = "CAPABILITY", value_parser = capability)]
    cap: Vec<Named>,
    /// Keep it from gaining privileges
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor's profile for it
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux' label for it
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// How many descriptors after the standard three are for it
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Also in a paused container
    #[arg(long)]
    ignore_paused: bool,
    /// The container's name
    id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is no number"));
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// A capability, or a name that nobody knows: as in a bundle, that is left out with a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Known(Capability),
    Unknown(String),
}

fn capability(text: &str) -> Result<Named, String> {
    let upper = text.to_uppercase();
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    Ok(serde_json::from_value(name.clone().into()).map_or(Named::Unknown(name), Named::Known))
}

impl Args {
    pub(super) fn preserved(&self) -> u32 {
        self.preserve_fds
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        let process = self.what(context)?;
        let needs_socket = process.terminal() == Some(true) && self.detach && self.console_socket.is_none();
        if needs_socket {
            return Err(Error::invalid("a detached process with a terminal needs --console-socket").into());
        }
        let signals = Signals::take()?;
        let child = context.runtime.exec(
            &self.id,
            &ExecOptions {
                process: &process,
                console_socket: self.console_socket.as_deref(),
                pid_file: self.pid_file.as_deref(),
                preserved: self.preserve_fds,
                ignore_paused: self.ignore_paused,
            },
        )?;
        child.warnings.iter().for_each(|warning| context.log.warn(warning));
        if self.detach {
            return Ok(Exit::SUCCESS);
        }
        Ok(Exit(foreground::accompany(child, &signals, None, |_| {})?))
    }

    fn capabilities(&self, context: &Context) -> Vec<Capability> {
        let known = |named: &Named| match named {
            Named::Known(capability) => Some(*capability),
            Named::Unknown(name) => {
                context.log.warn(&format!("there is no capability `{name}`: it is left out"));
                None
            }
        };
        self.cap.iter().filter_map(known).collect()
    }

    fn what(&self, context: &Context) -> Result<Process> {
        if let Some(path) = &self.process {
            let what = format!("the process in `{}`", path.display());
            let understood = understand(std::fs::read(path).at(path)?, "", &what)?;
            understood.warnings.iter().for_each(|warning| context.log.warn(warning));
            return Ok(understood.document);
        }
        if self.command.is_empty() {
            return Err(Error::invalid("process args cannot be empty"));
        }
        let changes = Changes {
            arguments: self.command.clone(),
            terminal: self.tty,
            directory: self.cwd.clone(),
            environment: self.env.clone(),
            user: self.user,
            groups: self.additional_gids.clone(),
            capabilities: self.capabilities(context),
            no_new_privileges: self.no_new_privs.then_some(true),
            apparmor: self.apparmor.clone(),
            selinux: self.process_label.clone(),
        };
        changes.of(&context.runtime.spec(&self.id)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_capabilities() {
        for (text, expected) in
            [("0", Some((0, None))), ("7:8", Some((7, Some(8)))), ("web", None), ("1:", None), ("", None)]
        {
            assert_eq!(user(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("CAP_NET_ADMIN", Named::Known(Capability::NetAdmin)),
            ("net_admin", Named::Known(Capability::NetAdmin)),
            ("CAP_NO", Named::Unknown("CAP_NO".to_owned())),
        ] {
            assert_eq!(capability(text), Ok(expected), "{text}");
        }
    }
}
