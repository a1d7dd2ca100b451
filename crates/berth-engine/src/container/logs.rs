//! `logs`: what a container has written.

use super::Container;
use crate::engine::Engine;
use berth_oci::{Error, Result};
use berth_runtime::log::{Options, Reader};

impl Engine {
    /// Opens a container's log.
    ///
    /// # Errors
    /// The container keeps none.
    pub fn logs(&self, container: &Container, options: Options) -> Result<Reader> {
        if container.document.spec.log.none {
            return Err(Error::unsupported("configured logging driver does not support reading")
                .hint("the container was made with --log-driver none: nothing of its output was kept"));
        }
        Reader::open(&self.log_path(&container.id)?, options)
    }
}
