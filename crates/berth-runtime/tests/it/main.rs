//! Real containers: busybox, this kernel, nothing faked. Needs root and a static busybox; says so loudly without.

mod basics;
#[path = "../common/mod.rs"]
mod common;
mod sandbox;
