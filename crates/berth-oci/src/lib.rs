//! The words of the OCI specifications, as types.
//!
//! Here: [`Reference`], [`Digest`], [`Descriptor`], [`Platform`], [`Manifest`], [`ImageConfig`], and the two
//! traits every transport implements, [`Source`] and [`Sink`], with the one [`copy`] between them. The one
//! [`Error`] of the workspace lives here too, because every room speaks it.
//!
//! Not here: files, sockets, Docker's own JSON, default paths. Invariant: a value of one of these types is well
//! formed; text is parsed once, on the way in.

mod config;
mod copy;
mod descriptor;
mod digest;
mod error;
mod manifest;
pub mod media_type;
mod platform;
mod progress;
mod reference;
mod verified;

pub use config::{Healthcheck, History, ImageConfig, RootFs, RuntimeConfig};
pub use copy::{Blob, CopyOptions, Platforms, Sink, Source, copy};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher};
pub use error::{AtPath, Context, Error, Kind, Result};
pub use manifest::{ImageIndex, ImageManifest, MANIFEST_LIMIT, Manifest, ManifestBody};
pub use platform::Platform;
pub use progress::{BlobState, Event, Progress, Silent};
pub use reference::{Reference, TagOrDigest};
pub use verified::Verified;
