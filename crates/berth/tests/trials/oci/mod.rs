//! `berth oci-runtime` on bundles of our own, as an engine would call it.

mod bundle;
mod life;
mod limits;
mod surroundings;
