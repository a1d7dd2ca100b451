//! `berth oci-runtime` on bundles of our own, as an engine would call it.

mod bundle;
mod engines;
mod escapes;
mod life;
mod limits;
mod surroundings;
