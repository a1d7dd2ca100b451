//! What the trials stand on: a berth sealed in a directory, images made on the spot, a registry that can fail.

mod image;
mod layout;
mod peers;
mod registry;
mod rig;
mod sealed;
mod story;
mod user;
mod web;

pub(crate) use image::{Image, Random, busybox, busybox_tar, many_layers, many_layers_for};
pub(crate) use layout::write_layout;
pub(crate) use peers::{Peer, RealRegistry};
pub(crate) use registry::Registry;
pub(crate) use rig::rig;
pub(crate) use sealed::{Outcome, Sealed};
pub(crate) use story::{Story, boxed, furnished};
pub(crate) use user::{Machine, User, has_uplink};
pub(crate) use web::{Page, Repository, Web};

/// Says on stderr, for everybody to see, that a test could not do its work here.
pub(crate) fn skipped(test: &str, why: &str) {
    use std::io::Write;
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
