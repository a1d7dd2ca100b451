//! `berth login`.

use super::DOCKER_HUB;
use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_distribution::auth::{Credential, Kept};
use berth_oci::Error;
use std::io::Read;

/// Authenticate to a registry.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The registry; Docker Hub where none is given
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// A password is not longer than this.
const PASSWORD_LIMIT: u64 = 64 << 10;

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let server = self.server.clone().unwrap_or_else(|| DOCKER_HUB.to_owned());
        if self.password.is_some() {
            terminal::warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let engine = context.engine()?;
        let has_nothing = self.username.is_none() && self.password.is_none() && !self.password_stdin;
        if has_nothing && existing(context, &server)? {
            terminal::line("Login Succeeded")?;
            return Ok(Exit::SUCCESS);
        }
        let kept = engine.login(&server, self.ask().map_err(Failure::client)?)?;
        if let Kept::File(path) = kept {
            terminal::warn(format!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
                 this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
                path.display()
            ));
        }
        terminal::line("Login Succeeded")?;
        Ok(Exit::SUCCESS)
    }

    /// What the arguments do not say is asked for.
    fn ask(self) -> Result<Credential, Error> {
        if self.password.is_some() && self.password_stdin {
            return Err(Error::invalid(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if self.password_stdin {
            let username = self
                .username
                .ok_or_else(|| Error::invalid("the --password-stdin option requires --username to be set"))?;
            let mut password = String::new();
            std::io::stdin().take(PASSWORD_LIMIT).read_to_string(&mut password)?;
            return credential(username, password.trim_end_matches(['\r', '\n']).to_owned());
        }
        let is_interactive = terminal::stdin_is_terminal();
        if (self.username.is_none() || self.password.is_none()) && !is_interactive {
            return Err(Error::invalid("Cannot perform an interactive login from a non TTY device")
                .hint("pipe the password in with --username NAME --password-stdin"));
        }
        let username = match self.username {
            Some(username) => username,
            None => {
                terminal::complain_raw("Username: ");
                terminal::read_line()?
            }
        };
        let password = match self.password {
            Some(password) => password,
            None => {
                terminal::complain_raw("Password: ");
                terminal::read_secret()?
            }
        };
        credential(username, password)
    }
}

/// Whether there is a credential that the registry still takes.
fn existing(context: &Context, server: &str) -> Result<bool, Error> {
    let engine = context.engine()?;
    let Some(kept) = engine.credential(server)? else { return Ok(false) };
    terminal::note(format!("Authenticating with existing credentials... [Username: {}]", kept.username()));
    let is_taken = engine.verify_credential(server, &kept).is_ok();
    terminal::note(match is_taken {
        true => "\nInfo → To login with a different account, run 'logout' followed by 'login'\n",
        false => "Login did not succeed, asking for a user name and a password",
    });
    Ok(is_taken)
}

fn credential(username: String, password: String) -> Result<Credential, Error> {
    match (username.trim(), password.is_empty()) {
        ("", _) => Err(Error::invalid("username is required")),
        (_, true) => Err(Error::invalid("password is required")),
        (username, false) => Ok(Credential::password(username, password)),
    }
}
