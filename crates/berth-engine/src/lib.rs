//! Everything berth can do, as verbs: plain data in, plain data out.
//!
//! Not here: printing, the environment, clap, HTTP, Docker's JSON, default paths.

pub mod process;
pub mod runtime_spec;
pub mod spec;
