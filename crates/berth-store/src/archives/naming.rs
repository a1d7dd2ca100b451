//! How archives write images' names down, and how we read them.
//!
//! Three customs: `io.containerd.image.name` holds the whole name; `org.opencontainers.image.ref.name` holds a tag
//! (image-spec `annotations.md`), which some fill with the whole name; `RepoTags` of docker's manifest.json.

use berth_oci::{Descriptor, Reference};

pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The name that an entry of an index.json gives its image; `None`: it has none, or only a tag.
pub(super) fn of(descriptor: &Descriptor) -> Option<Reference> {
    if let Some(name) = descriptor.annotation(CONTAINERD_NAME) {
        return name.parse::<Reference>().ok().map(Reference::or_latest);
    }
    let name = descriptor.annotation(REF_NAME)?;
    let is_whole = name.contains(['/', ':']);
    is_whole.then(|| name.parse::<Reference>().ok()).flatten().map(Reference::or_latest)
}

/// An entry of an index.json for an image, with its name in the words that containerd and the specification use.
pub(super) fn named(mut descriptor: Descriptor, name: Option<&Reference>) -> Descriptor {
    if let Some(name) = name {
        descriptor.annotations.insert(CONTAINERD_NAME.to_owned(), name.to_string());
        if let Some(tag) = name.tag() {
            descriptor.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_everybody_writes_them() {
        for (key, value, expected) in [
            (CONTAINERD_NAME, "docker.io/library/a:b", Some("a:b")),
            (REF_NAME, "busybox:1.37", Some("busybox:1.37")),
            (REF_NAME, "quay.io/o/r", Some("quay.io/o/r:latest")),
            (REF_NAME, "latest", None),
            (REF_NAME, "../x:y", None),
        ] {
            let mut descriptor = Descriptor::of("x", b"");
            descriptor.annotations.insert(key.to_owned(), value.to_owned());
            assert_eq!(of(&descriptor).map(|name| name.familiar()).as_deref(), expected, "{value}");
        }
        let name: Reference = "app:v1".parse().unwrap();
        assert_eq!(of(&named(Descriptor::of("x", b""), Some(&name))), Some(name));
    }
}
