//! One directory tree, and everything that is promised about it.
//!
//! ```text
//! <root>/                         0700
//!   db.sqlite                     names and records; what it says is on disk is on disk
//!   oci/blobs/<alg>/<ab>/<hex>    manifests, configs, kept compressed layers: exactly the bytes of that digest
//!   layers/<ab>/<diff id>/        tar (the bytes the diff ID covers) and index.erofs (what is mounted)
//!   dirs/<ab>/<diff id>/          the same layer extracted, where EROFS cannot be mounted
//!   containers/<id>/              a container's own files
//!   volumes/<name>/_data          what containers keep when they go
//!   builds/                       cache mounts, logs, what is known of context files; see the builder
//!   ingest/<digest>.partial       compressed layers that have not arrived completely: a pull goes on from here
//!   tmp/<lease>/  trash/          unfinished and finished business; nobody looks for anything here
//!   locks/                        flocks: they die with their process
//! <runroot>/                      mnt/, containers/<id>/: gone after a reboot
//! ```
//!
//! Here: [`Store`] with images, layers, containers, volumes, leases, garbage collection, check and archives. Not here: HTTP,
//! running anything, a default path, Docker's JSON.
//!
//! Invariant: names appear last. Bytes are on disk before the row that says so, and the row goes before the bytes
//! do; so a crash between any two steps leaves garbage, never a lie. What two processes might disagree about is
//! decided in one database transaction, under the shared store lock when files appear and under the exclusive one
//! when they go.

pub mod archives;
mod assess;
mod blobs;
mod builds;
mod cache;
mod changes;
mod check;
mod containers;
mod database;
mod disk;
mod erofs;
pub mod fault;
mod gc;
mod history;
mod images;
mod import;
mod ingest;
pub mod layer;
mod layout;
mod lease;
mod limit;
mod locks;
pub mod mount;
mod names;
mod orphans;
mod overlay;
mod pack;
mod platforms;
mod problem;
mod pushes;
mod rebuild;
mod record;
mod repair;
mod resolve;
mod rootfs;
mod schema;
mod sink;
mod sizes;
mod source;
mod store;
pub mod tar;
mod usage;
mod volumes;

pub use builds::{NewStep, StepLock, StepRecord, Workplace};
pub use cache::StepLayers;
pub use changes::{ChangesOptions, Renumbered, write_changes};
pub use check::CheckOptions;
pub use containers::{ContainerRecord, NewContainer};
pub use gc::{GcOptions, Reclaimed, Without};
pub use history::{BuildRow, HistoryLimits};
pub use layout::Location;
pub use lease::{Lease, Protected};
pub use locks::Held;
pub use mount::Rootfs;
pub use orphans::mounts_below;
pub use overlay::opaque;
pub use pack::{Packed, Packing};
pub use platforms::PlatformImage;
pub use problem::{CheckReport, Fault, Problem};
pub use rebuild::Rebuilt;
pub use record::{ImageRecord, LazySummary, ManifestRecord, Summary};
pub use sink::{IngestOptions, KeepBlobs, StoreSink};
pub use source::{OriginFallback, StoreSource};
pub use store::Store;
pub use usage::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
pub use volumes::VolumeRecord;
