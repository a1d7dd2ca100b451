//! The container's file system: from the specification's mounts to a plan, from the plan to mounts.
//!
//! Not here: what should be mounted. Invariant: a path of the container is only ever resolved inside its root
//! ([`in_root`]), and nothing is mounted by path: a mount is made detached and put on an open descriptor.

mod act;
mod devices;
mod hide;
pub mod in_root;
mod plan;
mod rootfs;

pub(crate) use act::{CgroupMounts, make, mount};
pub(crate) use devices::{console, devices, open_terminal};
pub(crate) use hide::{hide, make_read_only};
pub(crate) use plan::MountPlan;
pub use rootfs::open_root;
pub(crate) use rootfs::{enter, mount_rootfs, root_read_only};
