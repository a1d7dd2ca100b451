//! Noticing that the kernel kills something for want of memory, when it does so.

use super::Monitor;
use crate::circumstances::OutOfMemory;
use berth_oci::Result;
use std::time::{Duration, Instant};

/// So often, and so long after each other: who waits for memory on a loaded machine can take seconds to die.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(50);

impl Monitor {
    /// v1 wakes us before it kills, and not again afterwards: where nothing is counted yet, we look a little later.
    pub(super) fn memory_ran_out(&mut self) -> Result<()> {
        if let Some(oom) = &self.oom {
            oom.drain();
        }
        self.due.memory = Some((Instant::now(), LOOKS));
        Ok(())
    }

    /// Looks whether the kernel has killed by now.
    pub(super) fn look_for_kills(&mut self, looks: u32) -> Result<()> {
        let known = self.kills();
        self.note_oom_kills()?;
        if self.kills() == known && looks > 0 {
            self.due.memory = Some((Instant::now() + PAUSE, looks - 1));
        }
        Ok(())
    }

    fn kills(&self) -> u64 {
        self.state.circumstances.memory.as_ref().map_or(0, |memory| memory.kills)
    }

    /// Writes down what was killed since the last time.
    pub(super) fn note_oom_kills(&mut self) -> Result<()> {
        let kills = self.cgroup.oom_kills();
        if kills <= self.kills() {
            return Ok(());
        }
        self.state.oom_killed = true;
        self.state.circumstances.memory.get_or_insert_with(OutOfMemory::default).kills = kills;
        self.tell("oom", &[]);
        self.save()
    }
}
