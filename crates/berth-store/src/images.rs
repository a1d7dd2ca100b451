//! Images as records: list, look at, remember use, pin, remove.
//!
//! Content goes with [`Store::gc`]; here only rows change. Invariant: a list is one scan, however many images.

use crate::database::{Durability, moment};
use crate::names::no_such_image;
use crate::record::{self, ImageRecord};
use crate::store::Store;
use berth_oci::{Digest, Result};
use rusqlite::{OptionalExtension, params};

impl Store {
    /// Every image, the youngest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        self.inner.database.read(|connection| record::all(connection, self))
    }

    /// The image whose root has that digest.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn image(&self, target: &Digest) -> Result<ImageRecord> {
        let mut found = self
            .inner
            .database
            .read(|connection| record::select(connection, "image.target = ?", [target.as_str()]))?;
        found.pop().ok_or_else(|| no_such_image(target.as_str()))
    }

    /// A [`Summary`](crate::Summary) as the database has it.
    pub(crate) fn summary_text(&self, target: &Digest) -> Result<String> {
        let found = self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT document FROM summary WHERE target = ?")?;
            Ok(statement.query_row([target.as_str()], |row| row.get(0)).optional()?)
        })?;
        found.ok_or_else(|| no_such_image(target.as_str()))
    }

    /// Removes an image and its names. What a container still uses of it stays until that container goes.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_image(&self, target: &Digest) -> Result<()> {
        match self.remove_images(std::slice::from_ref(target))? {
            0 => Err(no_such_image(target.as_str())),
            _ => Ok(()),
        }
    }

    /// The same for many at once, in one transaction; answers how many were there.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn remove_images(&self, targets: &[Digest]) -> Result<usize> {
        // The collection that follows makes the farewell durable before a byte is removed.
        self.inner.database.write(Durability::Process, |transaction| {
            let mut delete = transaction.prepare("DELETE FROM image WHERE target = ?")?;
            let mut count = 0;
            for target in targets {
                count += delete.execute([target.as_str()])?;
            }
            Ok(count)
        })
    }

    /// Notes that the image was used just now.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn touch(&self, target: &Digest) -> Result<()> {
        self.inner.database.write(Durability::Process, |transaction| {
            transaction.execute(
                "UPDATE image SET used = ? WHERE target = ?",
                params![moment(jiff::Timestamp::now()), target.as_str()],
            )?;
            Ok(())
        })
    }

    /// Keeps an image from being pruned, or no longer.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn pin(&self, target: &Digest, pinned: bool) -> Result<()> {
        self.inner.database.write(Durability::Machine, |transaction| {
            let changed = transaction
                .execute("UPDATE image SET pinned = ? WHERE target = ?", params![pinned, target.as_str()])?;
            match changed {
                0 => Err(no_such_image(target.as_str()).into()),
                _ => Ok(()),
            }
        })
    }
}
