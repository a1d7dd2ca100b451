//! Where everything lies below the store's two roots. Paths only; nothing here touches the disk.
//!
//! Invariant: a path is made from parsed digests and from identifiers that [`is_identifier`] accepted, so no path
//! leaves the store.

use berth_oci::Digest;
use std::path::{Path, PathBuf};

/// The two directories that make a store. Nothing but the binary knows their default paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// What survives a reboot.
    pub root: PathBuf,
    /// What does not: mounts and sockets.
    pub runroot: PathBuf,
}

impl Location {
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db.sqlite")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("oci/blobs")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        fanned(&self.blobs().join(digest.algorithm().as_str()), digest)
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// `tar` and `index.erofs` of a layer.
    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        fanned(&self.layers(), diff_id)
    }

    pub(crate) fn directories(&self) -> PathBuf {
        self.root.join("dirs")
    }

    /// A layer in extracted form.
    pub(crate) fn directory(&self, diff_id: &Digest) -> PathBuf {
        fanned(&self.directories(), diff_id)
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What belongs to a volume: `_data`, which containers see.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// Held shared by whoever is about to use volumes that are there, exclusively by whoever removes one.
    pub(crate) fn volumes_lock(&self) -> PathBuf {
        self.locks().join("volumes.lock")
    }

    /// Held by whoever fills or mounts this volume.
    pub(crate) fn volume_use_lock(&self, name: &str) -> PathBuf {
        self.locks().join("volumes").join(format!("{name}.use"))
    }

    /// Held by whoever makes or removes this volume.
    pub(crate) fn volume_lock(&self, name: &str) -> PathBuf {
        self.locks().join("volumes").join(name)
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// The compressed bytes of a layer that have arrived so far.
    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.ingest().join(format!("{}-{}.partial", digest.algorithm().as_str(), digest.hex()))
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn lease_lock(&self, id: &str) -> PathBuf {
        self.locks().join("leases").join(id)
    }

    /// Held by whoever puts this layer in its place.
    pub(crate) fn layer_lock(&self, diff_id: &Digest) -> PathBuf {
        self.locks().join("layers").join(format!("{}-{}", diff_id.algorithm().as_str(), diff_id.hex()))
    }

    /// Held by whoever fetches this blob.
    pub(crate) fn blob_lock(&self, digest: &Digest) -> PathBuf {
        self.locks().join("blobs").join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
    }
}

/// 256 directories keep each of them small, whatever the file system.
fn fanned(parent: &Path, digest: &Digest) -> PathBuf {
    parent.join(&digest.hex()[..2]).join(digest.hex())
}

/// Whether `text` may name a directory of ours: a lease's or a container's id.
pub(crate) fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_leave_their_directory() {
        assert!(is_identifier("0123abc"));
        for bad in ["", ".", "..", "a/b", "a\0", &"a".repeat(129)] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }
}
