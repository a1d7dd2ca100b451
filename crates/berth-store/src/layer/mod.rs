//! Layers: from compressed bytes that nobody has verified to a tar with an index, or a directory, that is durable.
//!
//! Here: [`ingest`] (one pass, two threads), [`verify`], the tree that a layer's entries make. Not here: where a
//! layer lies in the store and who may have it (the caller), mounting ([`crate::mount`]). Invariant: what
//! [`IngestedLayer::commit`] publishes has the promised digests and is on disk; everything else leaves no trace.

mod attributes;
mod bounds;
mod extract;
mod feed;
mod inflate;
mod ingest;
mod insert;
mod owner;
mod path;
mod ready;
mod settle;
mod temporary;
mod tree;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use attributes::{Attribute, Attributes};
pub(crate) use tree::{NONE, NameId, Node, NodeId, NodeKind, ROOT, Tree};

pub use bounds::Bounds;
pub use ingest::{IngestPlan, Open, ingest};
pub use ready::{Form, INDEX, IngestedLayer, TAR};
pub use verify::verify;
