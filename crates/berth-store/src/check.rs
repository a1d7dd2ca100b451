//! Is what the rows say true? Every blob's digest, every layer's diff ID, both ways between database and disk.
//!
//! Finding is here, mending in [`crate::repair`]. Invariant: a problem is reported only if the row that it is about
//! is still there after its file was looked at, so a busy store does not look broken.

use crate::database::{count, digest, exists};
use crate::ingest::form_number;
use crate::layer::{self, Form, INDEX, TAR};
use crate::lease;
use crate::locks::StoreLock;
use crate::orphans;
use crate::problem::{CheckReport, Fault, Problem};
use crate::record::ImageRecord;
use crate::repair;
use crate::store::Store;
use berth_oci::{AtPath, Digest, Error, Hasher, Kind, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

/// What to check, and whether to mend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Removes or remakes what is wrong.
    pub repair: bool,
}

/// The EROFS superblock's magic number and where it stands.
const EROFS_MAGIC: (u64, [u8; 4]) = (1024, [0xe2, 0xe1, 0xf5, 0xe0]);

/// Two layers at once: hashing is what takes time, and two cores is what every machine has.
const THREADS: usize = 2;

/// A row whose file has to be looked at.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Blob { digest: Digest, size: u64 },
    Layer { diff_id: Digest, form: i64, tar_size: u64 },
}

impl Store {
    /// Checks everything, and mends it where `options` say so.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub fn check(&self, options: &CheckOptions) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        for line in self.inner.database.integrity()? {
            report.problems.push(Problem::new(Fault::Database, line));
        }
        self.check_content(&mut report)?;
        if options.repair {
            repair::content(self, &mut report)?;
        }
        self.check_images(&mut report)?;
        if options.repair {
            repair::images(self, &mut report)?;
        }
        self.check_containers(&mut report)?;
        self.check_garbage(&mut report)?;
        if options.repair {
            repair::rest(self, &mut report)?;
        }
        report.problems.sort_by_key(Problem::is_garbage);
        Ok(report)
    }

    /// Every blob and layer that has a row.
    fn check_content(&self, report: &mut CheckReport) -> Result<()> {
        let items = Mutex::new(self.items()?);
        let found = Mutex::new(std::mem::take(report));
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                loop {
                    // Taken in a statement of its own, so that the lock is not held while the item is checked.
                    let item = items.lock().expect("no thread panics with this lock").pop();
                    let Some(item) = item else { return Ok(()) };
                    let answer = self.check_item(&item)?;
                    found.lock().expect("no thread panics with this lock").add(&item, answer);
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|t| t.join().expect("a panic ends the program"))
        })?;
        *report = found.into_inner().expect("no thread panics with this lock");
        Ok(())
    }

    /// The smallest first: they are taken from the end, and the last one to finish should be a small one.
    fn items(&self) -> Result<Vec<Item>> {
        self.inner.database.read(|connection| {
            let mut items = Vec::new();
            let mut blobs = connection.prepare("SELECT digest, size FROM blob ORDER BY size")?;
            for item in
                blobs.query_map([], |row| Ok(Item::Blob { digest: digest(row, 0)?, size: count(row, 1)? }))?
            {
                items.push(item?);
            }
            let mut layers =
                connection.prepare("SELECT diff_id, form, tar_size FROM layer ORDER BY tar_size")?;
            for item in layers.query_map([], |row| {
                Ok(Item::Layer { diff_id: digest(row, 0)?, form: row.get(1)?, tar_size: count(row, 2)? })
            })? {
                items.push(item?);
            }
            Ok(items)
        })
    }

    /// What is wrong with the item's file, and how many bytes were read.
    fn check_item(&self, item: &Item) -> Result<(u64, Option<Fault>)> {
        let location = &self.inner.location;
        let answer = match item {
            Item::Blob { digest, size } => check_file(&location.blob(digest), digest, *size),
            Item::Layer { diff_id, form, tar_size } if *form == form_number(Form::Erofs) => {
                check_erofs(&location.layer(diff_id), diff_id, *tar_size)
            }
            Item::Layer { diff_id, .. } => {
                let there = location.directory(diff_id).is_dir();
                (0, (!there).then_some(Fault::MissingFile))
            }
        };
        match answer {
            (bytes, Some(_)) if !self.has_row(item)? => Ok((bytes, None)),
            answer => Ok(answer),
        }
    }

    fn has_row(&self, item: &Item) -> Result<bool> {
        let (sql, digest) = match item {
            Item::Blob { digest, .. } => ("SELECT 1 FROM blob WHERE digest = ?", digest),
            Item::Layer { diff_id, .. } => ("SELECT 1 FROM layer WHERE diff_id = ?", diff_id),
        };
        self.inner.database.read(|connection| Ok(exists(connection, sql, [digest.as_str()])?))
    }

    /// Whether every image has what its record says it has.
    fn check_images(&self, report: &mut CheckReport) -> Result<()> {
        for image in self.images()? {
            report.images += 1;
            let problem = self.check_image(&image)?;
            // Whatever somebody changed meanwhile is no problem.
            let is_still = |problem| {
                self.image(&image.target)
                    .and_then(|now| self.check_image(&now))
                    .is_ok_and(|now| now == problem)
            };
            if problem.is_some() && is_still(problem.clone()) {
                report.problems.extend(problem);
            }
        }
        Ok(())
    }

    fn check_image(&self, image: &ImageRecord) -> Result<Option<Problem>> {
        let problem = |fault| Some(Problem::new(fault, &image.target));
        let assessed = self.manifest(&image.target).and_then(|root| {
            self.verify_image(&root)?;
            self.assess(&root)
        });
        let assessment = match assessed {
            Ok(assessment) => assessment,
            Err(e) if e.kind() == Kind::NotFound => {
                return Ok(problem(Fault::Incomplete { part: image.target.clone() }));
            }
            Err(e) if e.kind() == Kind::Internal => return Err(e),
            Err(e) => return Ok(problem(Fault::Unreadable(e.to_string()))),
        };
        let now = &assessment.summary.manifests[..];
        let lost = image.manifests()?.iter().find(|was| {
            was.available && !now.iter().any(|m| m.available && m.descriptor.digest == was.descriptor.digest)
        });
        Ok(match lost {
            Some(lost) => problem(Fault::Incomplete { part: lost.descriptor.digest.clone() }),
            None if now != image.manifests()? || assessment.size != image.size => problem(Fault::WrongRecord),
            None => None,
        })
    }

    fn check_containers(&self, report: &mut CheckReport) -> Result<()> {
        for container in self.containers()? {
            if !self.container_dir(&container.id).is_dir() && self.container(&container.id).is_ok() {
                report.problems.push(Problem::new(Fault::MissingDirectory, &container.id));
            }
            let Some(manifest) = &container.manifest else { continue };
            let usable = self.manifest(manifest).and_then(|m| self.verify_image(&m));
            if let (Err(_), Some(image), Ok(_)) = (usable, container.image, self.container(&container.id)) {
                report.problems.push(Problem::new(Fault::ContainerWithoutImage { image }, &container.id));
            }
        }
        Ok(())
    }

    /// What a crash left. Looked for under the exclusive lock: whoever makes files appear keeps it until their rows
    /// are there.
    fn check_garbage(&self, report: &mut CheckReport) -> Result<()> {
        let _alone = StoreLock::exclusive(&self.inner.location.locks())?;
        for id in lease::dead(&self.inner)? {
            report.problems.push(Problem::new(Fault::DeadLease, id));
        }
        for orphan in orphans::find(&self.inner)? {
            report.problems.push(Problem::new(Fault::Orphan, orphan.path.display()));
        }
        for orphan in orphans::containers(&self.inner)? {
            report.problems.push(Problem::new(Fault::OrphanContainer, orphan.path.display()));
        }
        Ok(())
    }
}

impl CheckReport {
    fn add(&mut self, item: &Item, (bytes, fault): (u64, Option<Fault>)) {
        self.bytes += bytes;
        let digest = match item {
            Item::Blob { digest, .. } => {
                self.blobs += 1;
                digest
            }
            Item::Layer { diff_id, .. } => {
                self.layers += 1;
                diff_id
            }
        };
        self.problems.extend(fault.map(|fault| Problem::new(fault, digest)));
    }
}

fn check_file(path: &Path, digest: &Digest, size: u64) -> (u64, Option<Fault>) {
    match hash(path, digest) {
        Ok((bytes, found)) if found != *digest || bytes != size => (bytes, Some(Fault::WrongBytes { found })),
        Ok((bytes, _)) => (bytes, None),
        Err(e) if e.kind() == Kind::NotFound => (0, Some(Fault::MissingFile)),
        Err(e) => (0, Some(Fault::Unreadable(e.to_string()))),
    }
}

fn hash(path: &Path, like: &Digest) -> Result<(u64, Digest)> {
    let mut file = File::open(path).at(path)?;
    let mut hasher = Hasher::new(like.algorithm());
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let length = file.read(&mut buffer).at(path)?;
        if length == 0 {
            return Ok((bytes, hasher.finish()));
        }
        hasher.update(&buffer[..length]);
        bytes += length as u64;
    }
}

fn check_erofs(home: &Path, diff_id: &Digest, tar_size: u64) -> (u64, Option<Fault>) {
    let tar = home.join(TAR);
    match layer::verify(&tar, diff_id) {
        Ok(bytes) if bytes != tar_size => (bytes, Some(Fault::WrongBytes { found: diff_id.clone() })),
        Ok(bytes) => (bytes, (!has_index(home)).then_some(Fault::WrongIndex)),
        Err(e) if e.kind() == Kind::NotFound => (0, Some(Fault::MissingFile)),
        Err(e) => (tar_size, Some(wrong_tar(&tar, diff_id, &e))),
    }
}

/// The digest that the bytes have instead, if they can be read.
fn wrong_tar(tar: &Path, diff_id: &Digest, error: &Error) -> Fault {
    match hash(tar, diff_id) {
        Ok((_, found)) => Fault::WrongBytes { found },
        Err(_) => Fault::Unreadable(error.to_string()),
    }
}

/// Whether there is an index that begins as one.
fn has_index(home: &Path) -> bool {
    let (offset, magic) = EROFS_MAGIC;
    let mut found = [0; 4];
    let read = File::open(home.join(INDEX)).and_then(|file| file.read_exact_at(&mut found, offset));
    read.is_ok() && found == magic
}
