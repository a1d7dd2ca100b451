//! Further processes in a running container.

use super::create::{end, not_given, stdio, write_pid};
use super::record::{Condition, read_spec};
use super::{Child, Runtime, terminal};
use crate::birth;
use crate::bundle::Seccomp;
use crate::init::{ExecPlan, Message};
use crate::validate;
use berth_oci::{Error, Result};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What a caller says about a further process.
#[derive(Clone, Debug)]
pub struct ExecOptions<'a> {
    /// What runs.
    pub process: &'a Process,
    /// As [`super::Create::console_socket`].
    pub console_socket: Option<&'a Path>,
    /// As [`super::Create::pid_file`].
    pub pid_file: Option<&'a Path>,
    /// As [`super::Create::preserved`].
    pub preserved: u32,
    /// Whether a paused container is no hindrance: the process then waits for it.
    pub ignore_paused: bool,
}

/// How a further process differs from the container's first.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Where it runs.
    pub directory: Option<PathBuf>,
    /// More variables, `NAME=value`.
    pub environment: Vec<String>,
    /// User and group.
    pub user: Option<(u32, Option<u32>)>,
    /// More groups.
    pub groups: Vec<u32>,
    /// More capabilities.
    pub capabilities: Vec<Capability>,
    /// Whether it may gain privileges; `None` leaves that as it is.
    pub no_new_privileges: Option<bool>,
    /// AppArmor's profile for it.
    pub apparmor: Option<String>,
    /// SELinux' label for it.
    pub selinux: Option<String>,
}

impl Changes {
    /// The container's own process with these changes.
    pub fn of(self, spec: &Spec) -> Result<Process> {
        let first = spec.process().clone();
        let mut process =
            first.ok_or_else(|| Error::invalid("the container's specification has no process"))?;
        process.set_args(Some(self.arguments)).set_terminal(Some(self.terminal)).set_console_size(None);
        process.set_cwd(self.directory.unwrap_or_else(|| process.cwd().clone()));
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        let changed: HashSet<_> = self.environment.iter().map(|variable| name(variable)).collect();
        let mut environment = process.env().clone().unwrap_or_default();
        // A program that finds a variable twice takes the first.
        environment.retain(|variable| !changed.contains(&name(variable)));
        environment.extend(self.environment);
        process.set_env(Some(environment));
        let mut user = process.user().clone();
        if let Some((uid, gid)) = self.user {
            user.set_uid(uid);
            user.set_gid(gid.unwrap_or(0));
            user.set_additional_gids(None);
        }
        if !self.groups.is_empty() {
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(self.groups);
            user.set_additional_gids(Some(groups));
        }
        process.set_user(user);
        if !self.capabilities.is_empty() {
            process.set_capabilities(Some(with(process.capabilities().clone(), &self.capabilities)));
        }
        process.set_no_new_privileges(self.no_new_privileges.or(process.no_new_privileges()));
        process.set_apparmor_profile(self.apparmor.or_else(|| process.apparmor_profile().clone()));
        process.set_selinux_label(self.selinux.or_else(|| process.selinux_label().clone()));
        Ok(process)
    }
}

/// Into every set but the one that other users' programs inherit.
fn with(capabilities: Option<LinuxCapabilities>, more: &[Capability]) -> LinuxCapabilities {
    let mut capabilities = capabilities.unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None)
            .set_effective(None)
            .set_permitted(None)
            .set_inheritable(None)
            .set_ambient(None);
        none
    });
    let add = |set: &Option<HashSet<Capability>>| {
        Some(set.iter().flatten().copied().chain(more.iter().copied()).collect::<HashSet<_>>())
    };
    capabilities.set_bounding(add(capabilities.bounding()));
    capabilities.set_effective(add(capabilities.effective()));
    capabilities.set_permitted(add(capabilities.permitted()));
    capabilities
}

impl Runtime {
    /// The specification a container was made of.
    pub fn spec(&self, id: &str) -> Result<Spec> {
        let (place, _) = self.load(id)?;
        read_spec(&place.config())
    }

    /// Starts a further process; answers when its program runs.
    pub fn exec(&self, id: &str, options: &ExecOptions<'_>) -> Result<Child> {
        let (place, record) = self.load(id)?;
        match record.condition(&place)? {
            Condition::Running | Condition::Created => {}
            Condition::Paused if options.ignore_paused => {}
            Condition::Paused => {
                return Err(Error::conflict(
                    "cannot exec in a paused container (use --ignore-paused to override)",
                ));
            }
            Condition::Stopped | Condition::Creating => {
                return Err(Error::conflict("cannot exec in a stopped container"));
            }
        }
        let spec = read_spec(&place.config())?;
        validate::process(options.process)?;
        let has_terminal = options.process.terminal() == Some(true);
        if options.console_socket.is_some() && !has_terminal {
            return Err(Error::invalid("a console socket was given, but the process has no terminal"));
        }
        let (Some(first), Some(init)) = (record.first, record.process()?) else {
            return Err(Error::conflict("cannot exec in a stopped container"));
        };
        let filter = birth::filter(&spec, Seccomp::Spec)?;
        let linux = spec.linux().clone().unwrap_or_default();
        let plan = ExecPlan {
            process: options.process,
            subject: &record.subject,
            init_pid: first.pid,
            user: None,
            filter: filter.as_ref(),
            init: init.as_fd(),
            namespaces: birth::entered(&linux),
            is_attended: false,
            preserved: options.preserved,
        };
        let born = birth::exec(&plan, &record.cgroup, stdio(options.process)?)?;
        let mut ready = None;
        loop {
            match born.channel.receive()? {
                Some((Message::Ready { warnings }, master)) => {
                    ready = Some((warnings, terminal::hand_over(master, options.console_socket)?));
                }
                Some((Message::Failed(fault), _)) => {
                    end(&born.pidfd)?;
                    return Err(fault.into());
                }
                Some((Message::Surrounded, _)) => {}
                None => break,
            }
        }
        let Some((mut warnings, terminal)) = ready else {
            end(&born.pidfd)?;
            return Err(Error::internal("the process ended before its program could start"));
        };
        write_pid(options.pid_file, born.pid)?;
        warnings.extend(not_given(options.process, Some(&linux)));
        Ok(Child { pid: born.pid, pidfd: born.pidfd, terminal, warnings })
    }
}
