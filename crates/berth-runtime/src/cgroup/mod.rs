//! A container's own cgroups: the plan as a value, then the act, what was counted, and the end.
//!
//! Here: v2, v1, and the hybrid of both, where limits are v1's business and freezing, killing and "who is still in
//! there" are v2's. Not here: defaults, systemd. Invariant: a container has a cgroup of its own in every hierarchy
//! that limits, counts or ends it; nothing else ever runs in it.

mod device;
mod group;
mod layout;
mod oom;
mod plan;
mod refuge;
mod statistics;
mod usage;
mod v1;
mod v2;

pub(crate) use group::{Cgroup, Placement, not_given, thaw};
pub use group::{groups_below, remove_group, remove_parent};
pub(crate) use layout::{Hierarchy, Layout, Version};
pub(crate) use oom::Watch;
pub(crate) use plan::{CgroupPlan, Write};
pub(crate) use refuge::leave_service;
pub use statistics::Statistics;
pub use usage::Usage;
pub(crate) use usage::network;
