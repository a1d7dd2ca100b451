//! Containers' roots: from diff IDs to the directories of an overlay, and the form in which layers are kept.
//!
//! Invariant: whoever is registered for a layer's mount is a container with a row or a living lease; everybody else
//! is taken off the register when layers are collected.

use crate::ingest::form_of;
use crate::layer::Form;
use crate::mount::{LayerPlace, Mounts, Rootfs, probe};
use crate::store::{Inner, Store};
use berth_oci::{Digest, Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

impl Store {
    /// The directories of a container's overlay; its layers, the base first, are mounted and stay so until
    /// [`release_rootfs`](Self::release_rootfs), and so are the stacks of `others`.
    ///
    /// # Errors
    /// `NotFound`: a layer is not here; one cannot be mounted.
    pub fn rootfs(&self, container: &str, diff_ids: &[Digest], others: &[&[Digest]]) -> Result<Rootfs> {
        self.rootfs_in(container, diff_ids, others, &self.container_dir(container))
    }

    /// The same for whoever keeps what is written in a directory of its own.
    pub(crate) fn rootfs_in(
        &self,
        user: &str,
        diff_ids: &[Digest],
        others: &[&[Digest]],
        directory: &Path,
    ) -> Result<Rootfs> {
        let homes = self.homes(diff_ids)?;
        let of_others = others.iter().map(|stack| self.homes(stack)).collect::<Result<Vec<_>>>()?;
        let others: Vec<_> =
            others.iter().zip(&of_others).map(|(stack, homes)| places(stack, homes)).collect();
        self.inner.mounts().rootfs(user, &places(diff_ids, &homes), &others, directory)
    }

    /// The container no longer uses its layers.
    ///
    /// # Errors
    /// The register cannot be written.
    pub fn release_rootfs(&self, container: &str) -> Result<()> {
        self.inner.mounts().release(container)
    }

    /// How and where each layer is kept.
    fn homes(&self, diff_ids: &[Digest]) -> Result<Vec<(Form, PathBuf)>> {
        let location = &self.inner.location;
        self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT form FROM layer WHERE diff_id = ?")?;
            let mut homes = Vec::with_capacity(diff_ids.len());
            for diff_id in diff_ids {
                let mut rows = statement.query([diff_id.as_str()])?;
                let Some(row) = rows.next()? else {
                    return Err(Error::not_found(format!("layer {diff_id} is not in the store"))
                        .hint("pull the image again"))?;
                };
                homes.push(match form_of(row.get(0)?) {
                    Form::Erofs => (Form::Erofs, location.layer(diff_id)),
                    Form::Directory => (Form::Directory, location.directory(diff_id)),
                });
            }
            Ok(homes)
        })
    }
}

fn places<'a>(diff_ids: &'a [Digest], homes: &'a [(Form, PathBuf)]) -> Vec<LayerPlace<'a>> {
    let place = |(diff_id, home): (&'a Digest, &'a (Form, PathBuf))| LayerPlace {
        diff_id,
        form: home.0,
        directory: &home.1,
    };
    diff_ids.iter().zip(homes).map(place).collect()
}

impl Inner {
    fn mounts(&self) -> Mounts {
        Mounts::new(&self.location.runroot)
    }

    /// How new layers are kept: what this machine can mount decides. `temporary` lies on the store's disk.
    pub(crate) fn form(&self, temporary: &Path) -> Result<Form> {
        match self.form.get() {
            Some(form) => Ok(*form),
            None => {
                let form = probe(temporary, &self.location.runroot)?;
                Ok(*self.form.get_or_init(|| form))
            }
        }
    }

    /// Unmounts layers that nobody uses: files that are removed while they are mounted keep their bytes.
    pub(crate) fn unmount_unused(&self) -> Result<()> {
        let users: HashSet<String> = self.database.read(|connection| {
            let mut statement = connection.prepare("SELECT id FROM container UNION SELECT id FROM lease")?;
            let ids = statement.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })?;
        self.mounts().unmount_unused(&|user| users.contains(user)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::tests::temporary;
    use crate::{GcOptions, NewContainer};
    use berth_oci::{Digest, ImageConfig, Kind};
    use std::time::Duration;

    #[test]
    fn a_container_sees_its_layers_and_gives_them_back() {
        let (_directory, store) = temporary();
        let lease = store.lease().unwrap();
        let config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..Default::default() };
        let name = "app".parse().unwrap();
        let tar = crate::tar::testing::Archive(Vec::new())
            .with(crate::tar::testing::Head::new(b'0', "file"), b"content")
            .end();
        let manifest = store.import(&tar[..], config, Some(&name), &lease).unwrap();
        drop(lease);
        let target = manifest.digest();
        let image = store.platform_image(target, None).unwrap();
        let new = NewContainer {
            id: "abc1",
            name: "web",
            image: Some((target, target)),
            document: "{}",
            volumes: &[],
            images: &[],
        };
        store.add_container(&new).unwrap();
        let rootfs = store.rootfs("abc1", &image.diff_ids, &[]).unwrap();
        assert_eq!(std::fs::read(rootfs.lowers[0].join("file")).unwrap(), b"content");
        assert!(rootfs.upper.is_dir() && rootfs.work.is_dir());
        let missing = [Digest::of(b"missing")];
        assert_eq!(store.rootfs("abc1", &missing, &[]).unwrap_err().kind(), Kind::NotFound);

        store.release_rootfs("abc1").unwrap();
        store.remove_container("web").unwrap();
        store.remove_image(target).unwrap();
        let taken = store.gc_with(&GcOptions { grace: Duration::ZERO }).unwrap();
        assert_eq!(taken.layers, image.diff_ids);
        assert!(!rootfs.lowers[0].join("file").exists(), "what is collected is not mounted any more");
    }
}
