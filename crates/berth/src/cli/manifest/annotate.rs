//! `berth manifest annotate`.

use super::reference;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use berth_engine::Annotation;

/// Add additional information to a local image manifest.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Set architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// The list
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    list: String,
    /// One of its images
    #[arg(value_name = "MANIFEST", required = true)]
    member: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let (list, member) = (reference(&self.list)?, reference(&self.member)?);
        let change = Annotation {
            os: self.os,
            architecture: self.arch,
            variant: self.variant,
            os_version: self.os_version,
            os_features: self.os_features,
        };
        context.engine()?.annotate_manifest(&list, &member, &change).client()?;
        Ok(Exit::SUCCESS)
    }
}
