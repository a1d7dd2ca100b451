//! Building images: the Dockerfile language, and everything between a Dockerfile and an image.
//!
//! Here: [`dockerfile`], the language. Not here: running a step, registries, printing, the environment. Invariant:
//! what a Dockerfile says is decided by its text, the arguments and the platform alone.

pub mod bake;
pub mod check;
pub mod dockerfile;
pub mod git_ref;
pub mod glob;
pub mod ignore;

#[cfg(test)]
mod testing;
