//! `berth image …`, and the same verbs without `image` before them.

pub(crate) mod exists;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod rm;
pub(crate) mod tag;
pub(crate) mod tree;
pub(crate) mod untag;

use super::Context;
use crate::exit::Outcome;

/// Commands about images.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check whether an image is here
    Exists(exists::Args),
    /// Show the history of an image
    History(history::Args),
    /// Display detailed information on one or more images
    Inspect(inspect::Args),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
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
            Self::Exists(args) => args.run(context),
            Self::History(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Ls(args) => args.run(context),
            Self::Rm(args) => args.run(context),
            Self::Tag(args) => args.run(context),
            Self::Tree(args) => args.run(context),
            Self::Untag(args) => args.run(context),
        }
    }
}
