//! `berth commit`: an image of what a container has become.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::terminal;
use berth_engine::container::CommitOptions;
use berth_oci::Reference;

/// Create a new image from a container's changes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, value_name = "bool", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        let options = CommitOptions {
            name: name.map(str::parse::<Reference>).transpose().client()?.map(|name| name.or_latest()),
            author: self.author.unwrap_or_default(),
            message: self.message.unwrap_or_default(),
            changes: self.change,
            pause: self.pause,
        };
        let engine = context.engine()?;
        let id = engine.commit(&engine.container(&self.container)?, &options)?;
        terminal::line(id.as_str())?;
        Ok(Exit::SUCCESS)
    }
}
