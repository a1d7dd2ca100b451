//! Bundle in, running process out.
//!
//! Here: [`net`], bridges, addresses and published ports. Not here: images, registries, Docker's JSON.

pub mod net;
