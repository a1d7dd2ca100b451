//! Taking names and images away, with docker's rules about who may.
//!
//! Invariant: what is going to happen is a value before anything happens.

use crate::Engine;
use berth_oci::{Digest, Error, Reference, Result};
use berth_store::ImageRecord;

/// How an image is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Although a stopped container uses it, or it has several names.
    pub force: bool,
    /// Leave the content to the next prune.
    pub keep_content: bool,
}

/// What happened to a name or an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The name is gone.
    Untagged(Reference),
    /// The image is gone.
    Deleted(Digest),
}

/// A container that uses an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) is_running: bool,
}

impl User {
    fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

impl Engine {
    /// Removes an image by one of its names (only the name, as long as it has others) or by its id.
    ///
    /// # Errors
    /// `NotFound`: no such image; `Conflict`: docker's rules forbid it, the message says which and whether `force`
    /// helps.
    pub fn remove_image(&self, text: &str, options: RemoveOptions) -> Result<Vec<Removal>> {
        let store = self.store()?;
        let record = store.resolve(text)?;
        let removals = plan(text, &record, &self.image_users(&record.target)?, options.force)?;
        match removals.last() {
            // Its names go with it, in the same transaction: nothing dangles if we die here.
            Some(Removal::Deleted(target)) => {
                store.remove_image(target)?;
                if !options.keep_content {
                    store.gc()?;
                }
            }
            _ => {
                for removal in &removals {
                    if let Removal::Untagged(name) = removal {
                        store.untag(name)?;
                    }
                }
            }
        }
        Ok(removals)
    }
}

/// What removing `text`, which means `record`, comes to.
fn plan(text: &str, record: &ImageRecord, users: &[User], force: bool) -> Result<Vec<Removal>> {
    let Some(name) = name_meant(text, record) else { return plan_by_id(text, record, users, force) };
    let same_repository = |other: &&Reference| other.name() == name.name();
    let others: Vec<&Reference> = record.names.iter().filter(|other| **other != name).collect();
    // `repository@digest` is a by-product of its tags and goes with the last of them, or takes them with it.
    let goes_along =
        name.digest().is_some() || others.iter().filter(|o| same_repository(o)).all(|o| o.digest().is_some());
    let (along, staying): (Vec<&Reference>, Vec<&Reference>) =
        others.into_iter().partition(|other| goes_along && same_repository(other));
    let mut gone: Vec<Reference> = along.into_iter().cloned().chain([name.clone()]).collect();
    gone.sort();
    let mut removals: Vec<Removal> = gone.into_iter().map(Removal::Untagged).collect();
    match (staying.is_empty(), users.first()) {
        (false, _) => {}
        (true, None) => removals.push(Removal::Deleted(record.target.clone())),
        (true, Some(_)) if force => {}
        (true, Some(user)) => {
            return Err(conflict(
                text,
                "must be forced",
                &format!(
                    "container {} is using its referenced image {}",
                    user.short(),
                    record.target.short()
                ),
            ));
        }
    }
    Ok(removals)
}

fn plan_by_id(text: &str, record: &ImageRecord, users: &[User], force: bool) -> Result<Vec<Removal>> {
    if let Some(user) = users.iter().find(|user| user.is_running) {
        let why = format!("image is being used by running container {}", user.short());
        return Err(conflict(text, "cannot be forced", &why));
    }
    if record.names.len() > 1 && !force {
        return Err(conflict(text, "must be forced", "image is referenced in multiple repositories"));
    }
    if let Some(user) = users.first().filter(|_| !force) {
        let why = format!("image is being used by stopped container {}", user.short());
        return Err(conflict(text, "must be forced", &why));
    }
    let untagged = record.names.iter().cloned().map(Removal::Untagged);
    Ok(untagged.chain([Removal::Deleted(record.target.clone())]).collect())
}

/// The name of the image that `text` is, or none where it is an id.
pub(crate) fn name_meant(text: &str, record: &ImageRecord) -> Option<Reference> {
    let reference: Reference = text.parse().ok()?;
    let tagged = reference.clone().or_latest();
    let by_digest = reference.digest().map(|digest| reference.with_digest(digest.clone()));
    let exact = record.names.iter().find(|name| **name == tagged || Some(*name) == by_digest.as_ref());
    // `repository@digest` also means an image that only has tags in that repository.
    let in_repository = || {
        let digest = reference.digest()?;
        super::list::owns(record, digest).then_some(())?;
        record.names.iter().find(|name| name.name() == reference.name())
    };
    exact.or_else(in_repository).cloned()
}

fn conflict(text: &str, remedy: &str, why: &str) -> Error {
    let error = Error::conflict(format!("conflict: unable to delete {text} ({remedy}) - {why}"));
    match remedy {
        "must be forced" => error.hint("`berth rmi --force` removes it all the same"),
        _ => error.hint("stop the container first"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    const ID: &str = "sha256:590a6e620af4a6f1f90e51d62e05f432d782323284c50b0a70feb8e75968fbfc";

    fn record(names: &[&str]) -> ImageRecord {
        ImageRecord {
            target: ID.parse().unwrap(),
            media_type: String::new(),
            manifest_size: 0,
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            created: None,
            size: 0,
            added: Timestamp::UNIX_EPOCH,
            tagged_at: Timestamp::UNIX_EPOCH,
            last_used: None,
            pinned: false,
            origin: None,
            summary: Default::default(),
        }
    }

    fn check(text: &str, names: &[&str], users: &[(&str, bool)], force: bool) -> String {
        let users: Vec<User> =
            users.iter().map(|(id, is_running)| User { id: (*id).into(), is_running: *is_running }).collect();
        match plan(text, &record(names), &users, force) {
            Ok(removals) => removals
                .iter()
                .map(|removal| match removal {
                    Removal::Untagged(name) => format!("-{}", name.familiar()),
                    Removal::Deleted(target) => format!("x{}", target.short()),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.message().replace("conflict: unable to delete ", ""),
        }
    }

    #[test]
    fn removal_follows_dockers_rules() {
        let by_digest = format!("a@{ID}");
        let digest = by_digest.as_str();
        for (text, names, users, force, expected) in [
            ("a", &["a:latest"][..], &[][..], false, "-a:latest x590a6e620af4"),
            ("a:1", &["a:1", "a:2"], &[], false, "-a:1"),
            ("a:1", &["a:1", "b:1"], &[("c1", true)], false, "-a:1"),
            (
                "a:1",
                &["a:1"],
                &[("c1", false)],
                false,
                "a:1 (must be forced) - container c1 is using its referenced image 590a6e620af4",
            ),
            ("a:1", &["a:1"], &[("c1", false)], true, "-a:1"),
            ("590a", &["a:1"], &[], false, "-a:1 x590a6e620af4"),
            ("590a", &[], &[], false, "x590a6e620af4"),
            (
                "590a",
                &["a:1", "a:2"],
                &[],
                false,
                "590a (must be forced) - image is referenced in multiple repositories",
            ),
            ("590a", &["a:1", "a:2"], &[], true, "-a:1 -a:2 x590a6e620af4"),
            (
                "590a",
                &["a:1"],
                &[("c1", false)],
                false,
                "590a (must be forced) - image is being used by stopped container c1",
            ),
            (
                "590a",
                &["a:1"],
                &[("c1", true)],
                true,
                "590a (cannot be forced) - image is being used by running container c1",
            ),
            ("a:1", &["a:1", digest], &[], false, &format!("-a:1 -{digest} x590a6e620af4")),
            (digest, &["a:1"], &[], false, "-a:1 x590a6e620af4"),
            (digest, &["a:1", digest, "b:1"], &[], false, &format!("-a:1 -{digest}")),
        ] {
            let mut found: Vec<String> =
                check(text, names, users, force).split(' ').map(str::to_owned).collect();
            let mut expected: Vec<String> = expected.split(' ').map(str::to_owned).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{text} {names:?} {users:?} {force}");
        }
    }
}
