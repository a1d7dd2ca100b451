//! Images: list, look at, name, move, remove; one file a topic.
//!
//! Not here: how they are stored or moved (`berth-store`, `berth-distribution`). Invariant: what a user sees of an
//! image comes from its record or its own documents, never from another image.

mod archives;
mod composed;
mod copy;
mod history;
mod import;
mod inspect;
mod leaving;
mod list;
mod origin;
mod prune;
mod pull;
mod push;
mod remove;
mod substitute;
mod users;

pub use archives::Loaded;
pub(crate) use composed::{Composed, Parts};
pub use copy::Place;
pub(crate) use copy::write_archive;
pub use history::HistoryEntry;
pub use import::ImportOptions;
pub use inspect::ImageDetails;
pub use list::ImageFilter;
pub(crate) use origin::Origins;
pub use prune::{PruneOptions, Pruned};
pub use pull::Pulled;
pub use push::{Pushed, is_missing_tag};
pub use remove::{Removal, RemoveOptions};
