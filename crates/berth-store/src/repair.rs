//! Mending what [`check`](crate::Store::check) found: wrong content goes, indexes and records are made anew.
//!
//! Invariant: nothing right is ever removed, and what was removed is named in the report with what to do now.

use crate::database::{Durability, exists};
use crate::disk;
use crate::layer::{self, Bounds, Form, IngestPlan, TAR};
use crate::lease;
use crate::locks::{self, StoreLock};
use crate::orphans;
use crate::problem::{CheckReport, Fault, Problem};
use crate::sink::put_image;
use crate::store::Store;
use berth_oci::{AtPath, Digest, Error, Reference, Result};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Blobs and layers.
pub(crate) fn content(store: &Store, report: &mut CheckReport) -> Result<()> {
    for problem in &mut report.problems {
        let Ok(digest) = problem.thing.parse::<Digest>() else { continue };
        problem.repaired = match problem.fault {
            Fault::WrongIndex => Some(reindex(store, &digest)?),
            Fault::MissingFile | Fault::WrongBytes { .. } | Fault::Unreadable(_) => {
                Some(drop_content(store, &digest)?)
            }
            _ => None,
        };
    }
    Ok(())
}

/// Removes a blob or layer that is wrong: its row, durably, then its files.
fn drop_content(store: &Store, digest: &Digest) -> Result<String> {
    let location = &store.inner.location;
    let _alone = StoreLock::exclusive(&location.locks())?;
    let (blob, layer) = store.inner.database.write(Durability::Machine, |transaction| {
        let blob = transaction.execute("DELETE FROM blob WHERE digest = ?", [digest.as_str()])?;
        let layer = transaction.execute("DELETE FROM layer WHERE diff_id = ?", [digest.as_str()])?;
        Ok((blob > 0, layer > 0))
    })?;
    for (was, path) in
        [(blob, location.blob(digest)), (layer, location.layer(digest)), (layer, location.directory(digest))]
    {
        if let Some(trashed) = disk::discard(&path, &location.trash())?.filter(|_| was) {
            disk::remove(&trashed)?;
        }
    }
    Ok("removed".to_owned())
}

/// Makes a layer's index anew from its tar, which has proved to be right.
fn reindex(store: &Store, diff_id: &Digest) -> Result<String> {
    let location = &store.inner.location;
    let lease = store.lease_for("repair")?;
    let home = location.layer(diff_id);
    let tar = home.join(TAR);
    let plan = IngestPlan {
        expected: None,
        diff_id: Some(diff_id),
        temporary: &lease.directory()?,
        partial: None,
        keep_compressed: false,
        form: Form::Erofs,
        bounds: Bounds::default(),
    };
    let open = |_| Ok(Box::new(File::open(&tar).at(&tar)?) as Box<dyn Read + Send>);
    let layer = layer::ingest(&plan, &open)?;
    let _layer = locks::exclusive(&location.layer_lock(diff_id))?;
    let _alone = StoreLock::exclusive(&location.locks())?;
    // For a moment there is a row without a file. A crash right here is what the next repair mends.
    let trashed = disk::discard(&home, &location.trash())?;
    layer.commit(&home)?;
    disk::remove(&location.layer_lock(diff_id))?;
    if let Some(trashed) = trashed {
        disk::remove(&trashed)?;
    }
    Ok("index made anew".to_owned())
}

/// Records of images.
pub(crate) fn images(store: &Store, report: &mut CheckReport) -> Result<()> {
    for problem in report.problems.iter_mut().filter(|p| p.repaired.is_none()) {
        let Ok(target) = problem.thing.parse::<Digest>() else { continue };
        let is_image =
            matches!(problem.fault, Fault::Incomplete { .. } | Fault::WrongRecord | Fault::Unreadable(_));
        if is_image {
            problem.repaired = Some(mend_image(store, &target)?);
        }
    }
    Ok(())
}

/// The record follows the content; without any complete content there is nothing left to record.
fn mend_image(store: &Store, target: &Digest) -> Result<String> {
    let assessed = store.manifest(target).and_then(|root| {
        store.verify_image(&root)?;
        let assessment = store.assess(&root)?;
        let usable = assessment.summary.manifests.iter().any(|m| m.available);
        usable.then_some((root, assessment)).ok_or_else(|| Error::not_found("nothing of it is complete"))
    });
    match assessed {
        Ok((root, assessment)) => {
            store.inner.database.write(Durability::Machine, |transaction| {
                Ok(put_image(transaction, &root, &assessment, None)?)
            })?;
            Ok("record made anew".to_owned())
        }
        Err(_) => {
            let names: Vec<String> = store.image(target)?.names.iter().map(Reference::familiar).collect();
            store.remove_images(std::slice::from_ref(target))?;
            Ok(match names.is_empty() {
                true => "image removed".to_owned(),
                false => format!("image removed; pull {} again", names.join(", ")),
            })
        }
    }
}

/// Containers' directories, and garbage.
pub(crate) fn rest(store: &Store, report: &mut CheckReport) -> Result<()> {
    let location = &store.inner.location;
    let _alone = StoreLock::exclusive(&location.locks())?;
    let dead = lease::dead(&store.inner)?;
    // Asked again: what belonged to nothing a moment ago may have been adopted since.
    let orphans: HashSet<String> =
        orphans::find(&store.inner)?.into_iter().map(|orphan| orphan.path.display().to_string()).collect();
    for problem in report.problems.iter_mut().filter(|p| p.repaired.is_none()) {
        problem.repaired = match problem.fault {
            Fault::MissingDirectory => {
                disk::make_directory(&store.container_dir(&problem.thing))?;
                Some("directory made".to_owned())
            }
            Fault::Orphan if orphans.contains(&problem.thing) => remove(problem)?,
            Fault::OrphanContainer if !is_container(store, &problem.thing)? => remove(problem)?,
            Fault::DeadLease if dead.contains(&problem.thing) => Some("removed".to_owned()),
            _ => None,
        };
    }
    lease::forget(&store.inner, &dead).map(drop)
}

fn is_container(store: &Store, directory: &str) -> Result<bool> {
    let id = directory.rsplit('/').next().unwrap_or_default();
    store
        .inner
        .database
        .read(|connection| Ok(exists(connection, "SELECT 1 FROM container WHERE id = ?", [id])?))
}

/// Something may still be mounted in a container's directory; then it stays, and stays reported.
fn remove(problem: &Problem) -> Result<Option<String>> {
    let path = Path::new(&problem.thing);
    if orphans::has_mounts(path)? {
        return Ok(None);
    }
    disk::remove(path).map(|()| Some("removed".to_owned()))
}
