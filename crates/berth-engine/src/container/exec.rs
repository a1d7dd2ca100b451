//! `exec`: a further process in a running container.

use super::Container;
use crate::engine::Engine;
use crate::process::overlay;
use crate::runtime_spec::{all_capabilities, capabilities};
use crate::spec::EnvVar;
use berth_oci::{Error, Result};
use berth_runtime::{Connection, Exec, Started, Status};
use oci_spec::runtime as oci;

/// A further process.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables on top of the container's.
    pub env: Vec<EnvVar>,
    /// Instead of the container's user.
    pub user: Option<String>,
    /// Instead of the container's directory.
    pub working_dir: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it gets standard input.
    pub stdin: bool,
    /// Whether nothing is held back.
    pub privileged: bool,
    /// Rows and columns of the caller's terminal.
    pub terminal_size: Option<(u16, u16)>,
}

impl Engine {
    /// Starts a further process; the connection gets its streams and its exit.
    ///
    /// # Errors
    /// `Conflict`: the container is not running; the program cannot be started: see [`berth_runtime::exit_code`].
    pub fn exec(&self, container: &Container, spec: &ExecSpec) -> Result<(Connection, Started)> {
        match container.status() {
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "Container {} is paused, unpause the container before exec",
                    container.name
                )));
            }
            Status::Restarting => return Err(super::stop::restarting(container)),
            _ => {}
        }
        let mut connection = self.talk(container)?;
        let process = self.further_process(container, spec, Some(crate::random::id()?))?;
        let started = connection.exec(process)?;
        Ok((connection, started))
    }

    /// `id` is what it is called in events.
    pub(super) fn further_process(
        &self,
        container: &Container,
        spec: &ExecSpec,
        id: Option<String>,
    ) -> Result<Exec> {
        let user = spec.user.as_deref().unwrap_or(&container.document.process.user);
        let groups = self.groups(container)?;
        let linked = self.links_that_run(container)?;
        let linked: Vec<String> = linked.iter().flat_map(|link| link.variables(&container.name)).collect();
        Ok(Exec {
            process: process(container, spec, groups, &linked)?,
            user: Some(super::user_of(user).to_owned()),
            stdin: spec.stdin,
            unconfined: spec.privileged || container.document.spec.privileged,
            id,
        })
    }
}

fn process(
    container: &Container,
    spec: &ExecSpec,
    groups: Vec<u32>,
    linked: &[String],
) -> Result<oci::Process> {
    let own = &container.document.process;
    let mut env = own.environment(&container.document.hostname, spec.tty, linked);
    overlay(&mut env, &spec.env.iter().map(ToString::to_string).collect::<Vec<_>>());
    let cwd = spec.working_dir.as_deref().or(Some(own.working_dir.as_str())).filter(|dir| !dir.is_empty());
    let root = oci::UserBuilder::default().uid(0u32).gid(0u32).additional_gids(groups);
    let mut builder = oci::ProcessBuilder::default()
        .terminal(spec.tty)
        .user(root.build().map_err(crate::runtime_spec::bug)?)
        .args(spec.command.clone())
        .env(env)
        .cwd(cwd.unwrap_or("/"))
        .rlimits(Vec::new())
        .no_new_privileges(container.document.spec.no_new_privileges && !spec.privileged)
        .capabilities(if spec.privileged {
            all_capabilities()?
        } else {
            capabilities(&container.document.spec)?
        });
    if let Some((rows, columns)) = spec.terminal_size.filter(|_| spec.tty) {
        let size = oci::BoxBuilder::default().height(u64::from(rows)).width(u64::from(columns));
        builder = builder.console_size(size.build().map_err(crate::runtime_spec::bug)?);
    }
    builder.build().map_err(crate::runtime_spec::bug)
}
