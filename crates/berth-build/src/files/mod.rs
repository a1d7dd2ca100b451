//! Trees to copy from: a context, a stage, an image. Walked, filtered, chosen from, and their contents digested.
//!
//! Not here: where files go ([`crate::copy`]). Invariant: no path leaves its tree, whatever links are in it.

mod digest;
mod meta;
mod pick;
mod root;
mod stat_cache;

pub(crate) use digest::{Contents, digest_of_choices, digest_of_reader};
pub(crate) use meta::{Meta, MetaKind};
pub(crate) use pick::{Choice, Picked, Wanted, pick};
pub(crate) use root::{Root, components, join};
pub(crate) use stat_cache::StatCache;
