//! Which images there are, and docker's filters over them.

use crate::{Engine, LabelFilter, glob};
use berth_oci::{Digest, Error, Reference, Result};
use berth_store::{ImageRecord, ManifestRecord};
use jiff::Timestamp;
use std::collections::HashMap;

/// Conditions on images; the default lets all of them through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFilter {
    /// Without a name, or with one.
    pub dangling: Option<bool>,
    /// Labels of the image for this machine.
    pub labels: LabelFilter,
    /// Globs over names; one of them must match, and only matching names are shown.
    pub references: Vec<String>,
    /// Made before this image.
    pub before: Option<String>,
    /// Made after this image.
    pub since: Option<String>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

impl Engine {
    /// The images that pass `filter`, the youngest first.
    ///
    /// # Errors
    /// The store cannot be read; `before` or `since` name no image.
    pub fn images(&self, filter: &ImageFilter) -> Result<Vec<ImageRecord>> {
        let store = self.store()?;
        let created = |name: &Option<String>| -> Result<Option<Timestamp>> {
            Ok(name.as_ref().map(|name| store.resolve(name)).transpose()?.and_then(|image| image.created))
        };
        let before = earliest(created(&filter.before)?, filter.until);
        let since = created(&filter.since)?;
        let mut images = store.images()?;
        images.retain_mut(|image| filter.keeps(image) && is_between(image.created, since, before));
        if filter.labels.is_empty() {
            return Ok(images);
        }
        let keep = |image: ImageRecord| Ok(filter.labels.matches(image.labels()?).then_some(image));
        images.into_iter().filter_map(|image| keep(image).transpose()).collect()
    }

    /// One image, by docker's look-up.
    ///
    /// # Errors
    /// `NotFound`: no such image.
    pub fn image(&self, name: &str) -> Result<ImageRecord> {
        self.store()?.resolve(name)
    }

    /// What registries call images that were pushed, where that is not the image's id; the last push first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pushes(&self) -> Result<HashMap<Digest, Vec<Reference>>> {
        self.store()?.pushes()
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// No such image, or the name has a digest.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<()> {
        if name.familiar_name() == "sha256" || name.familiar_name() == "sha512" {
            return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let store = self.store()?;
        store.tag(&store.resolve(image)?.target, name)
    }

    /// Takes names away, all of the image's where none is given; the image itself stays.
    ///
    /// # Errors
    /// No such image, or it has no such name.
    pub fn untag(&self, image: &str, names: &[Reference]) -> Result<Vec<Reference>> {
        let store = self.store()?;
        let record = store.resolve(image)?;
        let names = if names.is_empty() { record.names.clone() } else { names.to_vec() };
        for name in &names {
            store.untag(name)?;
        }
        Ok(names)
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// An image that does not say when it was made is older than any other.
fn is_between(created: Option<Timestamp>, since: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    let created = created.unwrap_or(Timestamp::UNIX_EPOCH);
    since.is_none_or(|since| created > since) && before.is_none_or(|before| created < before)
}

impl ImageFilter {
    /// Whether the record passes, whatever its labels; drops the names that no glob matches.
    fn keeps(&self, image: &mut ImageRecord) -> bool {
        if self.dangling.is_some_and(|wanted| wanted != image.is_dangling()) {
            return false;
        }
        if self.references.is_empty() {
            return true;
        }
        image.names.retain(|name| self.references.iter().any(|pattern| name_matches(pattern, name)));
        !image.names.is_empty()
    }
}

/// Docker's `reference=`: the glob may cover the name with its tag, or the name alone.
fn name_matches(pattern: &str, name: &Reference) -> bool {
    glob(pattern, &name.familiar()) || glob(pattern, name.familiar_name())
}

/// Whether a digest belongs to an image: its root's or one of its manifests'.
/// A damaged record owns nothing but its root.
pub(crate) fn owns(image: &ImageRecord, digest: &Digest) -> bool {
    let is_part = |manifests: &[ManifestRecord]| manifests.iter().any(|m| m.descriptor.digest == *digest);
    image.target == *digest || image.manifests().is_ok_and(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_cover_names_as_docker_shows_them() {
        for (pattern, name, expected) in [
            ("busybox", "busybox:1.37", true),
            ("busy*", "busybox:1.37", true),
            ("busybox:1*", "busybox:1.37", true),
            ("busybox:2*", "busybox:1.37", false),
            ("*", "me/app:1", false),
            ("*/*", "me/app:1", true),
            ("me/*:1", "me/app:1", true),
            ("localhost:5000/*", "localhost:5000/app:1", true),
            ("library/busybox", "busybox:1.37", false),
        ] {
            assert_eq!(name_matches(pattern, &name.parse().unwrap()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_time_without_a_date_is_the_beginning() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (created, since, before, expected) in [
            (None, None, None, true),
            (None, Some(at(1)), None, false),
            (None, None, Some(at(1)), true),
            (Some(at(5)), Some(at(4)), Some(at(6)), true),
            (Some(at(5)), Some(at(5)), None, false),
            (Some(at(5)), None, Some(at(5)), false),
        ] {
            assert_eq!(is_between(created, since, before), expected, "{created:?}");
        }
    }
}
