//! `berth image …`, and the same verbs without `image` before them.

pub(crate) mod exists;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod save;
pub(crate) mod tag;
pub(crate) mod tree;
pub(crate) mod untag;

use super::Context;
use crate::exit::Outcome;
use berth_oci::Error;
use std::path::Path;

/// Commands about images.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Box<super::build::Args>),
    /// Check whether an image is here
    Exists(exists::Args),
    /// Show the history of an image
    History(history::Args),
    /// Import the contents from a tarball to create a filesystem image
    Import(import::Args),
    /// Display detailed information on one or more images
    Inspect(inspect::Args),
    /// Load an image from a tar archive or STDIN
    Load(load::Args),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Remove unused images
    Prune(prune::Args),
    /// Download an image from a registry
    Pull(pull::Args),
    /// Upload an image to a registry
    Push(push::Args),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(save::Args),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(tag::Args),
    /// Show images with their platforms
    Tree(tree::Args),
    /// Remove names from an image and keep the image
    Untag(untag::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Build(args) => args.run(context),
            Self::Exists(args) => args.run(context),
            Self::History(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Save(args) => args.run(context),
            Self::Push(args) => args.run(context),
            Self::Pull(args) => args.run(context),
            Self::Prune(args) => args.run(context),
            Self::Load(args) => args.run(context),
            Self::Import(args) => args.run(context),
            Self::Ls(args) => args.run(context),
            Self::Rm(args) => args.run(context),
            Self::Tag(args) => args.run(context),
            Self::Tree(args) => args.run(context),
            Self::Untag(args) => args.run(context),
        }
    }
}

/// Docker's words for a file that cannot be opened.
fn cannot_open(path: &Path, error: &std::io::Error) -> Error {
    let error = Error::from(std::io::Error::from(error.kind()));
    let why = match error.kind() {
        berth_oci::Kind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Error::new(error.kind(), format!("open {}: {why}", path.display()))
}
