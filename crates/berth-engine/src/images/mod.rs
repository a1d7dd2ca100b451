//! Images: list, look at, name, remove; one file a topic.
//!
//! Not here: how they are stored or moved (`berth-store`, `berth-distribution`). Invariant: what a user sees of an
//! image comes from its record or its own documents, never from another image.

mod history;
mod inspect;
mod list;
mod remove;
mod users;

pub use history::HistoryEntry;
pub use inspect::ImageDetails;
pub use list::ImageFilter;
pub use remove::{Removal, RemoveOptions};
