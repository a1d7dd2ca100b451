//! How large layers are.

use crate::database::count;
use crate::store::Store;
use berth_oci::{Digest, Error, Result};
use rusqlite::OptionalExtension;

impl Store {
    /// Bytes of each uncompressed layer, in the order asked for.
    ///
    /// # Errors
    /// `NotFound`: a layer is not here.
    pub fn layer_sizes(&self, diff_ids: &[Digest]) -> Result<Vec<u64>> {
        self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT tar_size FROM layer WHERE diff_id = ?")?;
            let mut sizes = Vec::with_capacity(diff_ids.len());
            for diff_id in diff_ids {
                let size = statement.query_row([diff_id.as_str()], |row| count(row, 0)).optional()?;
                sizes.push(
                    size.ok_or_else(|| Error::not_found(format!("layer {diff_id} is not in the store")))?,
                );
            }
            Ok(sizes)
        })
    }
}
