//! What goes on in a container.

use super::Runtime;
use berth_oci::Result;

impl Runtime {
    /// The numbers of all its processes.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>> {
        let (_, record) = self.load(id)?;
        record.cgroup.processes()
    }
}
