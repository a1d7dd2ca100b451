//! `update`: other limits and another restart policy, for a container that runs or will run.
//!
//! Invariant: the record says what the kernel was told; where the kernel refuses, both are as before.

use super::{Container, Document, create::processors};
use crate::engine::Engine;
use crate::runtime_spec::{bug, limits};
use crate::spec::{Resources, RestartPolicy};
use berth_oci::{Error, Kind, Result};
use oci_spec::runtime::LinuxBlockIoBuilder;

/// What is to be different; what is not said stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    /// Limits.
    pub resources: Resources,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes a container's limits and restart policy.
    ///
    /// # Errors
    /// `NotFound`; the new limits contradict each other or the kernel refuses them.
    pub fn update(&self, text: &str, request: &UpdateRequest) -> Result<()> {
        let before = self.container(text)?;
        let document = changed(&before, request)?;
        self.write_document(&before.id, &document)?;
        if let Err(error) = self.apply(&before, &document) {
            self.write_document(&before.id, &before.document)?;
            return Err(Error::new(error.kind(), format!("Cannot update container {}: {error}", before.id)));
        }
        self.tell_container(&before, "update", &[])
    }

    fn write_document(&self, id: &str, document: &Document) -> Result<()> {
        let text = document.text();
        self.store()?.update_container(id, |_| Ok(text)).map(drop)
    }

    fn apply(&self, before: &Container, document: &Document) -> Result<()> {
        if !before.is_running() {
            return Ok(());
        }
        match self.talk(before) {
            Ok(mut monitor) => {
                let mut resources = limits(&document.spec)?;
                if let Some(weight) = document.spec.resources.block_io.weight {
                    let io = LinuxBlockIoBuilder::default().weight(weight).build().map_err(bug)?;
                    resources.set_block_io(Some(io));
                }
                monitor.update(resources, document.spec.restart.rule())
            }
            // It has ended meanwhile: the next start takes what is in the record.
            Err(error) if error.kind() == Kind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn changed(before: &Container, request: &UpdateRequest) -> Result<Document> {
    let mut document = before.document.clone();
    if let Some(restart) = request.restart {
        if document.spec.auto_remove && restart != RestartPolicy::No {
            return Err(Error::invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        document.spec.restart = restart;
    }
    document.spec.resources = merged(&before.document.spec.resources, &request.resources)?;
    Ok(document)
}

fn merged(old: &Resources, new: &Resources) -> Result<Resources> {
    let is_given = |number: &u64| *number > 0;
    let memory = new.memory.filter(is_given);
    let swap = new.memory_swap.filter(|swap| *swap != 0);
    if let (Some(memory), None, Some(old_swap)) = (memory, swap, old.memory_swap)
        && u64::try_from(old_swap).is_ok_and(|old_swap| old_swap < memory)
    {
        return Err(Error::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    let had_no_swap = old.memory_swap.is_none() && swap.is_none();
    let mut resources = old.clone();
    let keep = |new: Option<String>, old: Option<String>| new.filter(|set| !set.is_empty()).or(old);
    resources.memory = memory.or(old.memory);
    resources.memory_swap = swap.or(old.memory_swap);
    resources.memory_reservation = new.memory_reservation.filter(is_given).or(old.memory_reservation);
    resources.nano_cpus = new.nano_cpus.filter(|n| *n != 0).or(old.nano_cpus);
    resources.cpu_shares = new.cpu_shares.filter(is_given).or(old.cpu_shares);
    resources.cpu_period = new.cpu_period.filter(is_given).or(old.cpu_period);
    resources.cpu_quota = new.cpu_quota.filter(|q| *q != 0).or(old.cpu_quota);
    resources.cpuset_cpus = keep(new.cpuset_cpus.clone(), old.cpuset_cpus.clone());
    resources.cpuset_mems = keep(new.cpuset_mems.clone(), old.cpuset_mems.clone());
    resources.block_io.weight = new.block_io.weight.filter(|w| *w > 0).or(old.block_io.weight);
    resources.pids = new.pids.filter(|pids| *pids != 0).or(old.pids);
    let mut checked = resources.checked(processors())?;
    if new.pids.is_some_and(|pids| pids < 0) {
        // "No limit" must be said to the kernel, which has another one now.
        checked.pids = Some(-1);
    }
    if had_no_swap {
        // Only `create` gives as much swap as memory.
        checked.memory_swap = None;
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let megabytes = |n: u64| Some(n << 20);
        let old = Resources {
            memory: megabytes(100),
            memory_swap: Some(200 << 20),
            cpu_shares: Some(512),
            pids: Some(50),
            ..Resources::default()
        };
        let base = Resources::default;
        let words = |r: Resources| {
            format!(
                "{:?} {:?} {:?} {:?}",
                r.memory.map(|m| m >> 20),
                r.memory_swap.map(|s| s >> 20),
                r.cpu_shares,
                r.pids
            )
        };
        for (old, new, expected) in [
            (&old, base(), "Some(100) Some(200) Some(512) Some(50)"),
            (&old, Resources { memory: megabytes(150), ..base() }, "Some(150) Some(200) Some(512) Some(50)"),
            (
                &old,
                Resources { memory: megabytes(300), ..base() },
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ),
            (
                &old,
                Resources { memory: megabytes(300), memory_swap: Some(-1), pids: Some(-1), ..base() },
                "Some(300) Some(-1) Some(512) Some(-1)",
            ),
            (&base(), Resources { memory: megabytes(20), ..base() }, "Some(20) None None None"),
            (&base(), Resources { memory: Some(1), ..base() }, "Minimum memory limit allowed is 6MB"),
        ] {
            assert_eq!(merged(old, &new).map_or_else(|e| e.to_string(), words), expected);
        }
    }
}
