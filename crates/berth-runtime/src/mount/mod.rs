//! The container's file system: from the specification's mounts to a plan, from the plan to mounts.
//!
//! Not here: what should be mounted. Invariant: a path of the container is only ever resolved inside its root
//! ([`in_root`]), and nothing is mounted by path: a mount is made detached and put on an open descriptor.

mod act;
mod copy_up;
mod devices;
mod hide;
pub mod in_root;
mod mapped;
mod overlay;
mod plan;
mod rootfs;
mod sources;

pub(crate) use act::{CgroupMounts, make_read_only_now, mount, settings};
pub(crate) use devices::{console, devices, open_terminal};
pub(crate) use hide::{hide, make_read_only};
pub(crate) use plan::{MountPlan, option_words};
pub(crate) use rootfs::{Entry, Target, enter, mount_rootfs, propagate, root_read_only};
pub use rootfs::{in_assembled_root, open_root};
pub(crate) use sources::{Namespace, Sources};

/// Whether `/dev` is the container's to fill.
pub(crate) fn has_own_dev(plans: &[MountPlan]) -> bool {
    plans.iter().all(|plan| plan.target.as_os_str() != "/dev" || plan.is_own_dev())
}
