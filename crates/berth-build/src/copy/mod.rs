//! `COPY` and `ADD`: what was picked finds its place in a root file system and becomes a layer.
//!
//! A [`Target`] is the plan: a sorted list of names that a test can print; [`Target::write`] makes the layer of it.
//! Not here: choosing files. Invariant: the root file system is only looked at; all that is new is in the plan.

mod archive;
mod made;
mod mode;
mod owner;
mod place;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use archive::unpack;
pub(crate) use made::{Bytes, Made, MadeKind};
pub(crate) use mode::ModeChange;
pub(crate) use owner::{Owner, look_up_owner};
pub(crate) use place::{Placing, destination, place, place_document};
pub(crate) use target::Target;
