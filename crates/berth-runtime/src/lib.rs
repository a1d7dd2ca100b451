//! A bundle in, a running process out.
//!
//! Here: everything between a runtime specification and `execve`, a monitor per container, and [`net`]: bridges,
//! addresses and published ports. Not here: images, registries, restart policies, Docker's JSON, default paths.
//! Invariant: whatever happens to a caller or a monitor, the state on disk never claims a process that is not there.

pub mod net;
