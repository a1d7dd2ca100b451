//! Real containers: busybox, this kernel, nothing faked. Needs root and a static busybox; says so loudly without.

mod basics;
#[path = "../common/mod.rs"]
mod common;
mod confinement;
mod execs;
mod files;
mod kills;
mod limits;
mod networks;
mod sandbox;
mod streams;
