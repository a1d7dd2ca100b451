//! The tables. What each holds and who may delete from it stands beside it.
//!
//! Invariant: [`FIRST`] is what the first berth wrote; a change is a new one of [`STEPS`] and raises [`VERSION`]. A store
//! that is newer than this berth is refused, an older one is brought forward when it is opened.

use berth_oci::{Error, Result};
use std::path::Path;

/// The schema this berth reads and writes (`PRAGMA user_version`).
pub(crate) const VERSION: u32 = 7;

/// Moments are microseconds since 1970, digests and references their text.
pub(crate) const FIRST: &str = "
-- A file below oci/blobs. `disk`: what it takes there. A row goes before its file does.
CREATE TABLE blob (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, disk INTEGER NOT NULL, added INTEGER NOT NULL
) WITHOUT ROWID;

-- A directory below layers (form 0: tar and EROFS index) or dirs (form 1: extracted).
CREATE TABLE layer (
    diff_id TEXT PRIMARY KEY, form INTEGER NOT NULL, tar_size INTEGER NOT NULL, index_size INTEGER NOT NULL,
    entries INTEGER NOT NULL, disk INTEGER NOT NULL, added INTEGER NOT NULL
) WITHOUT ROWID;

-- Which compressed bytes a layer was made from; goes with the layer.
CREATE TABLE origin (
    digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    diff_id TEXT NOT NULL REFERENCES layer(diff_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX origin_layer ON origin(diff_id);

-- In which repositories those bytes are.
CREATE TABLE place (
    digest TEXT NOT NULL REFERENCES origin(digest) ON DELETE CASCADE, repository TEXT NOT NULL,
    seen INTEGER NOT NULL, PRIMARY KEY (digest, repository)
) WITHOUT ROWID;

-- An image: a root manifest or index. `summary`: the rest of the record, JSON.
CREATE TABLE image (
    target TEXT PRIMARY KEY, media_type TEXT NOT NULL, manifest_size INTEGER NOT NULL, created INTEGER,
    size INTEGER NOT NULL, added INTEGER NOT NULL, tagged INTEGER NOT NULL, used INTEGER,
    pinned INTEGER NOT NULL DEFAULT 0, origin TEXT, summary TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE name (
    name TEXT PRIMARY KEY, target TEXT NOT NULL REFERENCES image(target) ON DELETE CASCADE,
    tagged INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX name_target ON name(target, name, tagged);

-- What an image consists of. kind 0: manifest, 1: config, 2: any other blob, 3: layer (its diff ID).
-- Outlives its image while a container still uses it; then garbage collection deletes it.
CREATE TABLE content (
    target TEXT NOT NULL, kind INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (target, kind, digest)
) WITHOUT ROWID;
CREATE INDEX content_digest ON content(digest, kind, target);

-- A container: `document` is the engine's.
CREATE TABLE container (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT, manifest TEXT, created INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX container_image ON container(image);

-- A process that is adding or using things; alive while its lock file is locked.
CREATE TABLE lease (
    id TEXT PRIMARY KEY, purpose TEXT NOT NULL, pid INTEGER NOT NULL, boot TEXT NOT NULL, made INTEGER NOT NULL
) WITHOUT ROWID;

-- What it adds or uses; kinds as in content, 0 to 2 meaning any blob.
CREATE TABLE lease_item (
    lease TEXT NOT NULL REFERENCES lease(id) ON DELETE CASCADE, kind INTEGER NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (lease, kind, digest)
) WITHOUT ROWID;
CREATE INDEX lease_item_digest ON lease_item(digest);
";

/// What brings a store of version `n` to version `n + 1`, the first for 1; a new store takes all of them.
pub(crate) const STEPS: [&str; VERSION as usize - 1] = ["
-- A build's step that was done; what it made is in content, with the step's key for a target. `cost`: milliseconds.
CREATE TABLE step (
    key TEXT PRIMARY KEY, document TEXT NOT NULL, size INTEGER NOT NULL, cost INTEGER NOT NULL,
    made INTEGER NOT NULL, used INTEGER NOT NULL, uses INTEGER NOT NULL
) WITHOUT ROWID;
", "
-- A volume: `document` is the engine's.
CREATE TABLE volume (
    name TEXT PRIMARY KEY, created INTEGER NOT NULL, document TEXT NOT NULL
) WITHOUT ROWID;

-- Which container uses it; goes with the container.
CREATE TABLE volume_use (
    container TEXT NOT NULL REFERENCES container(id) ON DELETE CASCADE,
    volume TEXT NOT NULL REFERENCES volume(name), PRIMARY KEY (container, volume)
) WITHOUT ROWID;
CREATE INDEX volume_use_volume ON volume_use(volume, container);
", "
-- A build that was run: `document` is the builder's. The oldest go when new ones come.
CREATE TABLE build (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, started INTEGER NOT NULL, document TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX build_project ON build(project, started);
CREATE INDEX build_started ON build(started);
", "
-- The part of an image's record that lists do not show, JSON; out of their way, goes with the image.
CREATE TABLE summary (
    target TEXT PRIMARY KEY REFERENCES image(target) ON DELETE CASCADE, document TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO summary SELECT target, summary FROM image;
ALTER TABLE image DROP COLUMN summary;
", "
-- What an image is called at a registry, `repository@digest`, where its layers had to get another form to go there and
-- the digest is therefore not the image's own. Goes with the image.
CREATE TABLE pushed (
    name TEXT PRIMARY KEY, target TEXT NOT NULL REFERENCES image(target) ON DELETE CASCADE, at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX pushed_target ON pushed(target, at);
", "
-- An image that a container sees beside its own; keeps its content, goes with the container.
CREATE TABLE image_use (
    container TEXT NOT NULL REFERENCES container(id) ON DELETE CASCADE, image TEXT NOT NULL,
    PRIMARY KEY (container, image)
) WITHOUT ROWID;
CREATE INDEX image_use_image ON image_use(image, container);
"];

/// Whether this berth understands a store of that version.
pub(crate) fn check(version: u32, path: &Path) -> Result<()> {
    match version {
        VERSION => Ok(()),
        newer if newer > VERSION => Err(Error::unsupported(format!(
            "the store's database `{}` was written by a newer berth (its schema is {newer}, this berth knows {VERSION})",
            path.display()
        ))
        .hint("use the newer berth, or another store with `--root`")),
        // Zero: somebody died while making it; whoever opens it next makes it again.
        older => Err(Error::corrupt(format!(
            "the store's database `{}` has schema {older}, which no berth wrote",
            path.display()
        ))
        .hint("`berth system check --rebuild` makes the database anew from the files beside it")),
    }
}
