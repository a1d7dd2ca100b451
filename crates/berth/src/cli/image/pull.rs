//! `berth pull`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::progress::{Direction, View};
use crate::terminal;
use berth_oci::{Error, Platform, Platforms, Reference};

/// Download an image from a registry.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Take the images for all platforms along
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// The platform of the image, where there are several
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    name: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let reference: Reference = self.name.parse().client()?;
        let is_bare = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !is_bare {
            return Err(Failure::client(Error::invalid("tag can't be used with --all-tags/-a")));
        }
        let platforms = self.platforms(context)?;
        if self.all_tags {
            for tag in context.engine()?.tags(&reference)? {
                self.one(context, &reference.with_tag(&tag)?, &platforms)?;
            }
            terminal::line(reference.to_string())?;
            return Ok(Exit::SUCCESS);
        }
        if is_bare && !self.quiet {
            View::new(context.settings.progress, Direction::Pull, None).say("Using default tag: latest")?;
        }
        let reference = reference.or_latest();
        self.one(context, &reference, &platforms)?;
        terminal::line(reference.to_string())?;
        Ok(Exit::SUCCESS)
    }

    fn platforms(&self, context: &Context) -> Result<Platforms, Failure> {
        if self.all_platforms {
            return Ok(Platforms::All);
        }
        let chosen = self.platform.as_deref().map(str::parse::<Platform>).transpose()?;
        Ok(Platforms::One(chosen.unwrap_or(context.engine()?.settings().platform.clone())))
    }

    fn one(&self, context: &Context, reference: &Reference, platforms: &Platforms) -> Result<(), Failure> {
        let view = match self.quiet {
            true => View::quiet(Direction::Pull),
            false => {
                let wanted = match (reference.digest(), reference.tag()) {
                    (Some(digest), _) => format!("{}@{digest}", reference.name()),
                    (None, tag) => tag.unwrap_or("latest").to_owned(),
                };
                let heading = format!("{wanted}: Pulling from {}", reference.repository());
                View::new(context.settings.progress, Direction::Pull, Some(heading))
            }
        };
        pull(context, reference, platforms, &view)
    }
}

fn pull(context: &Context, reference: &Reference, platforms: &Platforms, view: &View) -> Result<(), Failure> {
    let pulled = context.engine()?.pull(reference, platforms, view)?;
    let status = match pulled.is_new {
        true => "Status: Downloaded newer image for",
        false => "Status: Image is up to date for",
    };
    view.say(&format!("Digest: {}", pulled.digest))?;
    view.say(&format!("{status} {}", reference.familiar()))?;
    Ok(())
}

/// Fetches an image for `run` and `create`: everything is said on stderr, for stdout is the container's.
pub(crate) fn fetch(
    context: &Context,
    image: &str,
    platform: Option<&Platform>,
    quiet: bool,
) -> Result<(), Failure> {
    let reference = image.parse::<Reference>().client()?.or_latest();
    let platform = platform.cloned().unwrap_or(context.engine()?.settings().platform.clone());
    let view = match quiet {
        true => View::quiet(Direction::Pull),
        false => {
            let heading = format!("{}: Pulling from {}", reference.target(), reference.repository());
            View::new(context.settings.progress, Direction::Pull, Some(heading)).on_stderr()
        }
    };
    pull(context, &reference, &Platforms::One(platform), &view)
}
