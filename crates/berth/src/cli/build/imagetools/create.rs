//! `berth buildx imagetools create`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::terminal;
use berth_engine::{BuildAnnotation, ListSource};
use berth_oci::{AtPath, Descriptor, Digest, Error, MANIFEST_LIMIT, Platform, Reference, Result};
use std::io::Read;
use std::path::PathBuf;

/// Create a new image based on source images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Add annotation to the image
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Append to existing manifest
    #[arg(long)]
    append: bool,
    /// Show final image instead of pushing
    #[arg(long)]
    dry_run: bool,
    /// Read source descriptor from file
    #[arg(short, long, value_name = "stringArray")]
    file: Vec<PathBuf>,
    /// Filter specified platforms of target image
    #[arg(short, long, value_name = "stringArray", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Set reference for new image
    #[arg(short, long, value_name = "stringArray")]
    tag: Vec<Reference>,
    /// Names, digests, or descriptors as JSON
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let tags: Vec<Reference> = self.tag.iter().cloned().map(Reference::or_latest).collect();
        let sources = self.list(&tags).client()?;
        // Manifests are what they are: words can be said of the index and of its entries.
        let annotation = |text: &String| match text.split_once('=').is_some_and(|(key, _)| key.contains(':'))
        {
            true => text.parse::<BuildAnnotation>(),
            false => format!("index:{text}").parse::<BuildAnnotation>(),
        };
        let annotations = self.annotation.iter().map(annotation).collect::<Result<Vec<_>>>().client()?;
        if let Some(text) = self.annotation.iter().find(|text| is_of_manifest(text)) {
            return Err(crate::exit::Failure::client(
                Error::unsupported(format!(
                    "annotation {text}: a manifest cannot be changed once it is made"
                ))
                .hint("write index: or manifest-descriptor:"),
            ));
        }
        let list = engine.join_images(&sources, &self.platform, &annotations)?;
        if self.dry_run {
            terminal::line(String::from_utf8_lossy(list.manifest.raw()))?;
            return Ok(Exit::SUCCESS);
        }
        if tags.is_empty() {
            return Err(crate::exit::Failure::client(
                Error::invalid("can't push without a tag").hint("name one with -t, or look with --dry-run"),
            ));
        }
        for tag in &tags {
            let digest = engine.push_joined(&list, tag)?;
            terminal::complain(format!("pushing {digest} to {tag}"));
        }
        Ok(Exit::SUCCESS)
    }

    fn list(&self, tags: &[Reference]) -> Result<Vec<ListSource>> {
        let first = || {
            tags.first().ok_or_else(|| {
                Error::invalid("a digest alone says not where it is").hint("name a tag with -t")
            })
        };
        let mut sources = Vec::new();
        if self.append {
            sources.push(ListSource { name: first()?.clone(), entry: None });
        }
        for text in &self.sources {
            sources.push(match text.parse::<Digest>() {
                _ if text.trim_start().starts_with('{') => described(text, first()?)?,
                Ok(digest) => ListSource { name: first()?.name_only().with_digest(digest), entry: None },
                Err(_) => ListSource { name: text.parse::<Reference>()?.or_latest(), entry: None },
            });
        }
        for path in &self.file {
            let mut text = String::new();
            let file = std::fs::File::open(path).at(path)?;
            file.take(MANIFEST_LIMIT as u64).read_to_string(&mut text).at(path)?;
            sources.push(described(&text, first()?)?);
        }
        match sources.is_empty() {
            true => Err(Error::invalid("no sources specified").hint("name at least one image")),
            false => Ok(sources),
        }
    }
}

/// A descriptor as JSON, of an image in the repository of the first tag.
fn described(text: &str, tag: &Reference) -> Result<ListSource> {
    let entry: Descriptor = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("this is no descriptor: {error}")))?;
    Ok(ListSource { name: tag.clone(), entry: Some(entry) })
}

fn is_of_manifest(text: &str) -> bool {
    let kinds = text.split_once('=').and_then(|(key, _)| key.split_once(':')).map(|(kinds, _)| kinds);
    kinds.is_some_and(|kinds| kinds.split(',').any(|kind| kind.split('[').next() == Some("manifest")))
}
