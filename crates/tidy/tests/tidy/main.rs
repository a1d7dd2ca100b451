//! The repository's promises about itself, each one a test. `cargo test -p tidy` runs them alone.

mod arrows;
mod documents;
mod packages;
mod sources;
