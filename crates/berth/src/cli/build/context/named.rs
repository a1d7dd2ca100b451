//! `--build-context name=…`: directories, images, layouts, repositories, archives of the web.
//!
//! Invariant: an image that is taken in for a build has no name, and goes when the build is over.

use super::{Finder, Held, is_address, is_archive, repository, start_of};
use berth_build::{NamedContext, context_name};
use berth_engine::WEB_FILE_LIMIT;
use berth_oci::{AtPath, CopyOptions, Digest, Error, Kind, Platforms, Reference, Result, Silent, copy};
use berth_store::archives::ArchivedImage;
use berth_store::{IngestOptions, Store};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Reads the flags.
pub(in crate::cli::build) fn named(
    texts: &[String],
    finder: &Finder<'_>,
    held: &mut Held,
) -> Result<BTreeMap<String, NamedContext>> {
    let mut contexts = BTreeMap::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid context value: {text}, expected key=value")))?;
        let key = key(name).ok_or_else(|| Error::invalid(format!("invalid context name {name:?}")))?;
        let context = finder.one(name, value, held)?;
        contexts.insert(key, context);
    }
    Ok(contexts)
}

/// A name, perhaps for one platform: `base::linux/arm64`.
fn key(name: &str) -> Option<String> {
    let is_plain = |text: &str| {
        !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'\\$".contains(c))
    };
    match name.split_once("::") {
        _ if !is_plain(name) => None,
        Some((name, platform)) if is_plain(name) => {
            let platform: berth_oci::Platform = platform.parse().ok()?;
            Some(format!("{}::{platform}", context_name(name)))
        }
        Some(_) => None,
        None => Some(context_name(name)),
    }
}

impl Finder<'_> {
    fn one(&self, name: &str, value: &str, held: &mut Held) -> Result<NamedContext> {
        let failed = |error: Error| {
            let told = Error::new(error.kind(), format!("failed to get build context {name}: {error}"));
            match error.hint_text() {
                Some(hint) => told.hint(hint.to_owned()),
                None => told,
            }
        };
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(NamedContext::Image(image.parse::<Reference>()?.or_latest()));
        }
        if let Some(layout) = value.strip_prefix("oci-layout://") {
            return self.layout(layout, held).map(NamedContext::Stored).map_err(failed);
        }
        if let Some(git) = repository(value)? {
            let path = self.checkout(git, held).map_err(failed)?;
            return Ok(NamedContext::Directory { path, is_stable: false });
        }
        if is_address(value) {
            return self.web(value, held).map_err(failed);
        }
        if value.contains("://") {
            return Err(Error::unsupported(format!("--build-context {name}={value}: nobody reads such an address"))
                .hint("there are directories, docker-image://, oci-layout://, git repositories, http:// and https://"));
        }
        let path = Path::new(value);
        match path.is_dir() {
            true => Ok(NamedContext::Directory { path: path.canonicalize().at(path)?, is_stable: true }),
            false => Err(failed(Error::not_found(format!("{value} is not a directory")))),
        }
    }

    /// An archive's files, or the one file that it is.
    fn web(&self, url: &str, held: &mut Held) -> Result<NamedContext> {
        let place = self.engine.store()?.workplace()?;
        let fetched = self.fetch(url, WEB_FILE_LIMIT, &place)?;
        let mut file = File::open(&fetched).at(&fetched)?;
        let start = start_of(&mut file).at(&fetched)?;
        if is_archive(&start) {
            let (path, place) = self.engine.unpacked(Cursor::new(start).chain(file))?;
            held.places.push(place);
            return Ok(NamedContext::Directory { path, is_stable: false });
        }
        let path = place.directory()?.join("context");
        std::fs::create_dir(&path).at(&path)?;
        let name = url.split(['?', '#']).next().and_then(|path| path.rsplit('/').next());
        let name = name.filter(|name| !matches!(*name, "" | "." | "..")).unwrap_or("context");
        std::fs::rename(&fetched, path.join(name)).at(&fetched)?;
        held.places.push(place);
        Ok(NamedContext::Directory { path, is_stable: false })
    }

    /// `DIRECTORY[:TAG][@DIGEST]`: the image is taken in, without a name.
    fn layout(&self, text: &str, held: &mut Held) -> Result<Digest> {
        let (place, digest) = match text.split_once('@') {
            Some((place, digest)) => (place, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (path, tag) = match place.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (place, None),
        };
        let archive = self.engine.open_archive(Path::new(path))?;
        let fits = |image: &&ArchivedImage| match (&digest, tag) {
            (Some(digest), _) => image.target.digest == *digest,
            (None, tag) => {
                let tag = tag.unwrap_or("latest");
                image.tags.iter().any(|own| own == tag)
                    || image.names.iter().any(|name| name.tag() == Some(tag))
            }
        };
        let found = archive.images().iter().find(fits).or_else(|| match archive.images() {
            [only] if digest.is_none() && tag.is_none() => Some(only),
            _ => None,
        });
        let image = found.ok_or_else(|| {
            let known: Vec<String> = archive.images().iter().flat_map(|image| image.tags.clone()).collect();
            Error::not_found(format!("there is no image {text} in the layout")).hint(format!(
                "it has: {}",
                if known.is_empty() { "none with a tag".into() } else { known.join(", ") }
            ))
        })?;
        let store = self.engine.store()?;
        let is_known = store.image(&image.target.digest).is_ok();
        let lease = store.lease()?;
        let sink = store.sink(None, IngestOptions::default(), &lease);
        let jobs = self.engine.settings().jobs;
        for platform in self.platforms {
            let options = CopyOptions { platforms: Platforms::One(platform.clone()), jobs };
            copy(&archive.source(image), &sink, &options, &Silent)?;
        }
        if !is_known {
            held.images.push((image.target.digest.clone(), lease));
        }
        Ok(image.target.digest.clone())
    }
}

/// Removes an image that nobody has named meanwhile.
pub(super) fn forget(store: &Store, digest: &Digest) -> Result<()> {
    match store.image(digest) {
        Ok(image) if image.is_dangling() => store.remove_image(digest),
        Err(error) if error.kind() != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn names_of_contexts_are_compared_in_their_short_form() {
        for (name, expected) in [
            ("Base", Some("base")),
            ("docker.io/library/alpine:latest", Some("alpine")),
            ("alpine:3", Some("alpine:3")),
            ("base::linux/arm64", Some("base::linux/arm64")),
            ("base::x y", None),
            ("", None),
            ("a b", None),
            ("a\"b", None),
        ] {
            assert_eq!(key(name).as_deref(), expected, "{name}");
        }
    }
}
