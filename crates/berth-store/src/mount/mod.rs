//! Layers as directories: each one's EROFS index is mounted once, read-only, and shared by everybody.
//!
//! Here: whether this machine can do it ([`probe`]), the shared mounts with who uses them ([`Mounts`]), and a
//! container's [`Rootfs`]. Not here: the overlay itself, which the runtime mounts in the container's own namespace.
//! Invariant: a mount goes only while nobody is registered as its user, decided under one lock.
//!
//! ```text
//! <runroot>/mnt/lock           flock around every change
//! <runroot>/mnt/users/<user>   the diff IDs that a container uses, one a line
//! <runroot>/mnt/<hex>/         the layer, mounted
//! ```

mod erofs;
mod probe;
mod rootfs;
mod shared;
#[cfg(test)]
mod tests;
mod view;

#[cfg(test)]
pub(crate) use erofs::detached;
pub use probe::probe;
pub use rootfs::Rootfs;
pub use shared::{LayerPlace, Mounts};
pub use view::View;
