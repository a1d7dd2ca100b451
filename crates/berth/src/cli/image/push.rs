//! `berth push`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::progress::{Direction, View};
use crate::terminal;
use berth_oci::{Error, Platform, Reference};

/// Upload an image to a registry.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Push only the image for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// The image
    #[arg(value_name = "NAME[:TAG]", required = true)]
    name: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let reference: Reference = self.name.parse().client()?;
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        let is_bare = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !is_bare {
            return Err(Failure::client(Error::invalid("tag can't be used with --all-tags/-a")));
        }
        if reference.digest().is_some() {
            return Err(Failure::client(Error::invalid("cannot push a digest reference")));
        }
        let view = match self.quiet {
            true => View::quiet(Direction::Push),
            false => View::new(context.settings.progress, Direction::Push, None),
        };
        if is_bare && !self.all_tags {
            view.say("Using default tag: latest")?;
        }
        view.say(&format!("The push refers to repository [{}]", reference.name()))?;
        let names = match self.all_tags {
            true => context.engine()?.tags_here(&reference)?,
            false => vec![reference.clone().or_latest()],
        };
        for name in &names {
            self.one(context, name, platform.as_ref(), &view)?;
        }
        if self.quiet {
            terminal::line(if self.all_tags { reference } else { reference.or_latest() }.to_string())?;
        }
        Ok(Exit::SUCCESS)
    }

    fn one(
        &self,
        context: &Context,
        name: &Reference,
        platform: Option<&Platform>,
        view: &View,
    ) -> Result<(), Failure> {
        let pushed = context.engine()?.push(name, platform, view).map_err(|error| {
            // Docker says this one in the stream of the push, without its daemon's name.
            match berth_engine::is_missing_tag(&error) {
                true => Failure::client(error),
                false => Failure::from(error),
            }
        })?;
        let manifest = &pushed.manifest;
        let tag = name.tag().unwrap_or("latest");
        view.say(&format!("{tag}: digest: {} size: {}", manifest.digest, manifest.size))?;
        if let Some(changed) = pushed.changed.filter(|_| !self.quiet) {
            terminal::note(format!("Info → {changed}"));
        }
        Ok(())
    }
}
