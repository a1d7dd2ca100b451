//! `copy`: images between registries, the store, layouts and archives, digests unchanged, nothing unpacked unless
//! the store is the destination.

use crate::Engine;
use berth_oci::{Digest, Error, Platforms, Progress, Reference, Result, Sink, Source, copy};
use berth_store::IngestOptions;
use berth_store::archives::{ArchiveFormat, ArchiveWriter, ArchivedImage, Layout};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A place where an image is, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a registry.
    Registry(Reference),
    /// In the store; an id will do as a source.
    Store(String),
    /// In an OCI layout directory.
    Layout(PathBuf, Option<String>),
    /// In a tar of an OCI layout.
    OciArchive(PathBuf, Option<String>),
    /// In an archive as `docker save` writes it.
    DockerArchive(PathBuf, Option<Reference>),
}

/// `docker://name`, `store:name`, `oci:path[:tag]`, `oci-archive:path[:tag]`, `docker-archive:path[:name]`; a bare
/// name is a registry's.
impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse::<Reference>()?.or_latest()));
        }
        let path_and = |rest: &str| -> Result<(PathBuf, Option<String>)> {
            let (path, tag) =
                rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag.to_owned())));
            match path.is_empty() {
                true => {
                    Err(Error::invalid(format!("`{text}` names no file")).hint("write TRANSPORT:PATH[:TAG]"))
                }
                false => Ok((PathBuf::from(path), tag.filter(|tag| !tag.is_empty()))),
            }
        };
        match text.split_once(':') {
            Some(("store", name)) if !name.is_empty() => Ok(Self::Store(name.to_owned())),
            Some(("oci", rest)) => path_and(rest).map(|(path, tag)| Self::Layout(path, tag)),
            Some(("oci-archive", rest)) => path_and(rest).map(|(path, tag)| Self::OciArchive(path, tag)),
            Some(("docker-archive", rest)) => {
                let (path, name) = path_and(rest)?;
                let name = name.map(|name| name.parse::<Reference>()).transpose()?;
                Ok(Self::DockerArchive(path, name.map(Reference::or_latest)))
            }
            _ => Ok(Self::Registry(text.parse::<Reference>()?.or_latest())),
        }
    }
}

impl Engine {
    /// Copies an image; answers the digest of its root.
    ///
    /// # Errors
    /// The source has no such image, or the destination does not take it.
    pub fn copy(
        &self,
        from: &Place,
        to: &Place,
        platforms: &Platforms,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let mut copied = None;
        let mut then = |source: &dyn Source| {
            copied = Some(self.copy_to(source, from, to, platforms, progress)?);
            Ok(())
        };
        match from {
            Place::Registry(reference) => then(&self.client().source(reference, progress)?)?,
            Place::Store(name) => {
                let store = self.store()?;
                self.with_local(store, &store.resolve(name)?.target, None, progress, &mut then)?;
            }
            Place::Layout(path, tag) | Place::OciArchive(path, tag) => {
                let archive = self.open_archive(path)?;
                let image = choose(archive.images(), |image| match tag {
                    Some(tag) => image.tags.contains(tag) || image.names.iter().any(|n| n.familiar() == *tag),
                    None => true,
                })?;
                then(&archive.source(image))?;
            }
            Place::DockerArchive(path, name) => {
                let archive = self.open_archive(path)?;
                let image =
                    choose(archive.images(), |image| name.as_ref().is_none_or(|n| image.names.contains(n)))?;
                then(&archive.source(image))?;
            }
        }
        copied.ok_or_else(|| Error::internal("nothing was copied"))
    }

    fn copy_to(
        &self,
        source: &dyn Source,
        from: &Place,
        to: &Place,
        platforms: &Platforms,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let run = |sink: &dyn Sink| {
            // What is only partly in the store can only leave partly.
            let platforms = match (from, platforms) {
                (Place::Store(_), Platforms::All) => &Platforms::Available,
                (_, platforms) => platforms,
            };
            copy(source, sink, &self.copying(platforms), progress).map(|root| root.digest().clone())
        };
        match to {
            Place::Registry(reference) => {
                let store = self.store()?;
                let mount_from = |digest: &Digest| match from {
                    Place::Registry(origin) => vec![origin.name_only()],
                    _ => store.origins(digest).unwrap_or_default(),
                };
                run(&self.client().sink(reference, &mount_from, progress)?)
            }
            Place::Store(name) => {
                let store = self.store()?;
                let lease = store.lease()?;
                let origin = match from {
                    Place::Registry(origin) => Some(origin.name_only()),
                    _ => None,
                };
                let options = IngestOptions { keep_blobs: self.settings().keep_blobs, origin };
                let name: Reference = name.parse()?;
                run(&store.sink(Some(&name.or_latest()), options, &lease))
            }
            Place::Layout(path, tag) => {
                let name = known_name(from);
                run(&Layout::create(path)?.sink(name.as_ref(), tag.as_deref()))
            }
            Place::OciArchive(path, tag) => {
                let name = match (tag, known_name(from)) {
                    (Some(tag), Some(name)) => Some(name.with_tag(tag)?),
                    (Some(tag), None) => Some(tag.parse::<Reference>()?.or_latest()),
                    (None, name) => name,
                };
                write_archive(path, ArchiveFormat::Oci, name, run)
            }
            Place::DockerArchive(path, name) => {
                write_archive(path, ArchiveFormat::Docker, name.clone().or_else(|| known_name(from)), run)
            }
        }
    }
}

/// The name that the source itself has for the image.
fn known_name(from: &Place) -> Option<Reference> {
    match from {
        Place::Registry(reference) => Some(reference.clone()),
        Place::Store(name) => name.parse::<Reference>().ok().map(Reference::or_latest),
        Place::DockerArchive(_, name) => name.clone(),
        _ => None,
    }
}

pub(crate) fn write_archive(
    path: &Path,
    format: ArchiveFormat,
    name: Option<Reference>,
    run: impl FnOnce(&dyn Sink) -> Result<Digest>,
) -> Result<Digest> {
    use berth_oci::AtPath;
    let partial = path.with_extension("partial");
    let file = File::create(&partial).at(&partial)?;
    let written = (|| {
        let writer = ArchiveWriter::new(BufWriter::new(file), format)?;
        let names: Vec<Reference> = name.into_iter().filter(|name| name.tag().is_some()).collect();
        let digest = run(&writer.sink(&names))?;
        let file = writer.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error).at(&partial)?;
        file.sync_data().at(&partial)?;
        std::fs::rename(&partial, path).at(path)?;
        Ok(digest)
    })();
    if written.is_err() {
        std::fs::remove_file(&partial).at(&partial)?;
    }
    written
}

fn choose(images: &[ArchivedImage], fits: impl Fn(&ArchivedImage) -> bool) -> Result<&ArchivedImage> {
    let fitting: Vec<&ArchivedImage> = images.iter().filter(|image| fits(image)).collect();
    let list = || {
        let names = images.iter().map(|image| match (image.names.first(), image.tags.first()) {
            (Some(name), _) => name.familiar(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => image.target.digest.to_string(),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    match fitting[..] {
        [image] => Ok(image),
        [] => Err(Error::not_found("the archive has no such image").hint(format!("it has: {}", list()))),
        _ => Err(Error::invalid("the archive has several images").hint(format!("name one of: {}", list()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_parse() {
        let registry = |name: &str| Place::Registry(name.parse().unwrap());
        for (text, expected) in [
            ("nginx", registry("nginx:latest")),
            ("docker://nginx:1", registry("nginx:1")),
            ("localhost:5000/a:1", registry("localhost:5000/a:1")),
            ("store:nginx", Place::Store("nginx".into())),
            ("oci:/tmp/x", Place::Layout("/tmp/x".into(), None)),
            ("oci:x:1", Place::Layout("x".into(), Some("1".into()))),
            ("oci-archive:x.tar:v", Place::OciArchive("x.tar".into(), Some("v".into()))),
            (
                "docker-archive:x.tar:a/b:1",
                Place::DockerArchive("x.tar".into(), Some("a/b:1".parse().unwrap())),
            ),
            ("docker-archive:x.tar", Place::DockerArchive("x.tar".into(), None)),
        ] {
            assert_eq!(text.parse::<Place>().unwrap(), expected, "{text}");
        }
        for bad in ["", "oci:", "docker://", "docker-archive:x:Y", "UP/er:/x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
