//! A lost or damaged database, made anew from the files beside it.
//!
//! Blobs, layers and images come from the files. Names, pins, containers and what is known of volumes stand only in the database; what the old
//! one still gives of them is taken over; volumes are kept in any case. Invariant: the old database is set aside, never deleted.

use crate::blobs::{DOCUMENT_LIMIT, add_row};
use crate::database::{Answer, Durability, moment, number};
use crate::disk;
use crate::ingest::tree_bytes;
use crate::layer::{INDEX, TAR};
use crate::layout::Location;
use crate::locks::StoreLock;
use crate::sink::put_image;
use crate::store::Store;
use berth_oci::{AtPath, Digest, MANIFEST_LIMIT, Manifest, Result};
use rusqlite::{Connection, OpenFlags, Row, Transaction, params};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Images found among the blobs.
    pub images: u64,
    /// Names taken over from the old database.
    pub names: u64,
    /// Containers taken over from the old database.
    pub containers: u64,
    /// Where the old database is now, if there was one.
    pub set_aside: Option<PathBuf>,
}

impl Store {
    /// Makes the database of a store anew. Nobody else may use the store meanwhile.
    ///
    /// # Errors
    /// The files cannot be read or written.
    pub fn rebuild(location: &Location) -> Result<Rebuilt> {
        let set_aside = {
            let _alone = StoreLock::exclusive(&location.locks())?;
            set_aside(&location.database())?
        };
        let store = Self::open(location)?;
        let manifests = store.find_content()?;
        let mut rebuilt = Rebuilt { set_aside, ..Rebuilt::default() };
        store.relate_layers(&manifests)?;
        let children: HashSet<&Digest> =
            manifests.iter().flat_map(|m| m.children()).map(|child| &child.digest).collect();
        for root in manifests.iter().filter(|m| !children.contains(m.digest())) {
            rebuilt.images += u64::from(store.adopt_image(root)?);
        }
        if let Some(old) = &rebuilt.set_aside {
            (rebuilt.names, rebuilt.containers) = store.salvage(old)?;
        }
        store.adopt_volumes()?;
        Ok(rebuilt)
    }

    /// Rows for every blob and layer on disk; answers the manifests among the blobs.
    fn find_content(&self) -> Result<Vec<Manifest>> {
        let location = &self.inner.location;
        let mut manifests = Vec::new();
        self.inner.database.write(Durability::Process, |transaction| {
            for algorithm in disk::entries(&location.blobs())? {
                let name = algorithm.file_name().to_string_lossy().into_owned();
                for (digest, path) in things(&algorithm.path(), &name)? {
                    let metadata = fs::metadata(&path).at(&path)?;
                    add_row(transaction, &digest, &metadata)?;
                    let may_be_manifest = metadata.len() <= MANIFEST_LIMIT as u64;
                    manifests.extend(may_be_manifest.then(|| manifest(&path, &digest)).flatten());
                }
            }
            for (home, form) in [(location.layers(), 0), (location.directories(), 1)] {
                for (diff_id, path) in things(&home, "")? {
                    add_layer(transaction, &diff_id, &path, form)?;
                }
            }
            Ok(())
        })?;
        Ok(manifests)
    }

    /// A manifest and its config together say which blob each layer came from.
    fn relate_layers(&self, manifests: &[Manifest]) -> Result<()> {
        self.inner.database.write(Durability::Process, |transaction| {
            let mut origin = transaction.prepare(
                "INSERT OR IGNORE INTO origin (digest, media_type, size, diff_id)
                 SELECT ?1, ?2, ?3, diff_id FROM layer WHERE diff_id = ?4",
            )?;
            for manifest in manifests {
                let Some(image) = manifest.image().filter(|image| image.config.size <= DOCUMENT_LIMIT) else {
                    continue;
                };
                let Ok((_, config)) = self.config(manifest) else { continue };
                for (layer, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
                    origin.execute(params![
                        layer.digest.as_str(),
                        layer.media_type,
                        number(layer.size),
                        diff_id.as_str()
                    ])?;
                }
            }
            Ok(())
        })
    }

    /// Records an image if it is usable.
    fn adopt_image(&self, root: &Manifest) -> Result<bool> {
        if self.verify_image(root).is_err() {
            return Ok(false);
        }
        let assessment = self.assess(root)?;
        if !assessment.summary.manifests.iter().any(|m| m.available) {
            return Ok(false);
        }
        self.inner
            .database
            .write(Durability::Process, |transaction| Ok(put_image(transaction, root, &assessment, None)?))?;
        Ok(true)
    }

    /// Volumes that no old row speaks of: their files are somebody's only copy.
    fn adopt_volumes(&self) -> Result<()> {
        let names = disk::entries(&self.inner.location.volumes())?;
        self.inner.database.write(Durability::Machine, |transaction| {
            for name in names {
                let name = name.file_name().to_string_lossy().into_owned();
                let row = params![name, moment(jiff::Timestamp::now())];
                let sql = "INSERT OR IGNORE INTO volume (name, created, document) VALUES (?, ?, '{}')";
                transaction.execute(sql, row)?;
            }
            Ok(())
        })
    }

    /// Names, pins, containers and volumes of the old database, as far as it can be read.
    fn salvage(&self, old: &Path) -> Result<(u64, u64)> {
        let Ok(old) = Connection::open_with_flags(old, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
            return Ok((0, 0));
        };
        let names = rows(&old, "SELECT name, target, tagged FROM name", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
        let pins = rows(&old, "SELECT target, origin, pinned, used FROM image", |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, bool>(2)?,
                row.get::<_, Option<i64>>(3)?,
            ))
        });
        let places = rows(&old, "SELECT digest, repository, seen FROM place", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
        let pushes = rows(&old, "SELECT name, target, at FROM pushed", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
        let containers =
            rows(&old, "SELECT id, name, image, manifest, created, document FROM container", container);
        let volumes = rows(&old, "SELECT name, created, document FROM volume", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        });
        let uses = rows(&old, "SELECT container, volume FROM volume_use", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
        let images = rows(&old, "SELECT container, image FROM image_use", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
        self.inner.database.write(Durability::Machine, |transaction| {
            for (target, origin, pinned, used) in &pins {
                let sql = "UPDATE image SET origin = ?2, pinned = ?3, used = ?4 WHERE target = ?1";
                transaction.execute(sql, params![target, origin, pinned, used])?;
            }
            for (digest, repository, seen) in &places {
                let sql = "INSERT OR IGNORE INTO place (digest, repository, seen)
                           SELECT digest, ?2, ?3 FROM origin WHERE digest = ?1";
                transaction.execute(sql, params![digest, repository, seen])?;
            }
            for (name, target, at) in &pushes {
                let sql = "INSERT OR IGNORE INTO pushed (name, target, at)
                           SELECT ?1, target, ?3 FROM image WHERE target = ?2";
                transaction.execute(sql, params![name, target, at])?;
            }
            let mut count = (0, 0);
            for (name, target, tagged) in &names {
                let sql = "INSERT OR IGNORE INTO name (name, target, tagged)
                           SELECT ?1, target, ?3 FROM image WHERE target = ?2";
                count.0 += transaction.execute(sql, params![name, target, tagged])? as u64;
            }
            for (id, name, image, manifest, created, document) in &containers {
                let sql = "INSERT OR IGNORE INTO container (id, name, image, manifest, created, document)
                           VALUES (?, ?, ?, ?, ?, ?)";
                let row = params![id, name, image, manifest, created, document];
                count.1 += transaction.execute(sql, row)? as u64;
            }
            for (name, created, document) in &volumes {
                let sql = "INSERT OR IGNORE INTO volume (name, created, document) VALUES (?, ?, ?)";
                transaction.execute(sql, params![name, created, document])?;
            }
            for (container, volume) in &uses {
                let sql = "INSERT OR IGNORE INTO volume_use (container, volume)
                           SELECT container.id, volume.name FROM container, volume
                           WHERE container.id = ? AND volume.name = ?";
                transaction.execute(sql, [container, volume])?;
            }
            for (container, image) in &images {
                let sql = "INSERT OR IGNORE INTO image_use (container, image)
                           SELECT id, ?2 FROM container WHERE id = ?1";
                transaction.execute(sql, [container, image])?;
            }
            Ok(count)
        })
    }
}

type Container = (String, String, Option<String>, Option<String>, i64, String);

fn container(row: &Row<'_>) -> rusqlite::Result<Container> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

/// Whatever rows can be read.
fn rows<T>(old: &Connection, sql: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let Ok(mut statement) = old.prepare(sql) else { return Vec::new() };
    let Ok(rows) = statement.query_map([], read) else { return Vec::new() };
    rows.map_while(std::result::Result::ok).collect()
}

/// Database and log get another name, so that a new one can take their place.
fn set_aside(database: &Path) -> Result<Option<PathBuf>> {
    if !database.exists() {
        return Ok(None);
    }
    let aside = database.with_extension(format!("sqlite.broken-{}", disk::random_name()?));
    for suffix in ["-wal", "-shm", ""] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        match fs::rename(with(database), with(&aside)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).at(database),
            _ => {}
        }
    }
    Ok(Some(aside))
}

/// The grandchildren of a fan-out directory whose names are digests.
fn things(home: &Path, algorithm: &str) -> Result<Vec<(Digest, PathBuf)>> {
    let mut found = Vec::new();
    for fan in disk::entries(home)? {
        for entry in disk::entries(&fan.path())? {
            let hex = entry.file_name().to_string_lossy().into_owned();
            let algorithm = match (algorithm, hex.len()) {
                ("", 128) => "sha512",
                ("", _) => "sha256",
                (algorithm, _) => algorithm,
            };
            if let Ok(digest) = format!("{algorithm}:{hex}").parse() {
                found.push((digest, entry.path()));
            }
        }
    }
    Ok(found)
}

/// The file as a manifest, if it is one and has its digest still.
fn manifest(path: &Path, digest: &Digest) -> Option<Manifest> {
    let bytes = fs::read(path).ok()?;
    bytes.starts_with(b"{").then(|| Manifest::parse_verified(bytes, None, digest).ok()).flatten()
}

fn add_layer(transaction: &Transaction<'_>, diff_id: &Digest, home: &Path, form: i64) -> Answer<()> {
    let size = |name: &str| fs::metadata(home.join(name)).map_or(0, |m| m.len());
    let index = fs::metadata(home.join(INDEX)).map_or(0, |m| disk::disk_bytes(&m));
    transaction.execute(
        "INSERT INTO layer (diff_id, form, tar_size, index_size, entries, disk, added) VALUES (?, ?, ?, ?, 0, ?, ?)",
        params![
            diff_id.as_str(),
            form,
            number(size(TAR)),
            number(index),
            number(tree_bytes(home)?),
            moment(jiff::Timestamp::now()),
        ],
    )?;
    Ok(())
}
