//! A build's end before its time: one flag that can be looked at and waited for.

use berth_oci::{Error, Result};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Cancel {
    event: OwnedFd,
    is_set: AtomicBool,
}

impl Cancel {
    /// A build that goes on.
    ///
    /// # Errors
    /// This process has too many open files.
    pub fn new() -> Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
        Ok(Self { event, is_set: AtomicBool::new(false) })
    }

    /// Ends the build; what it is doing is broken off.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        // It only fails when the counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Whether the build is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// An error where the build is to end.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::cancelled("the build was cancelled")) } else { Ok(()) }
    }
}

/// Readable once the build is to end.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
