//! What the checks of this repository stand on: its files, its packages, its documents.
//!
//! The checks themselves are in `tests/tidy`; `cargo test -p tidy` runs them alone. Not here: anything that the
//! compiler, clippy or rustfmt checks already. Invariant: nothing here writes.

mod document;
mod licence;
mod packages;
mod tree;

pub use document::{code_lines, named_paths, table_after};
pub use licence::is_allowed;
pub use packages::{Dependency, Package, Packages};
pub use tree::{File, Tree};
