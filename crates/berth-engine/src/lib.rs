//! Everything berth can do, as verbs: plain data in, plain data out.
//!
//! Here: [`Engine`], whose methods are the verbs; each topic has its file. Not here: printing, the environment,
//! clap, HTTP, Docker's JSON, default paths. Invariant: a verb that fails leaves nothing half done.

pub mod archive;
mod build;
mod cdi;
pub mod container;
mod dns;
mod emulator;
mod engine;
mod etc;
mod events;
mod image_lists;
mod images;
mod manifest_lists;
mod matching;
pub mod network;
pub mod process;
mod random;
mod registry;
mod reset;
pub mod runtime_spec;
pub mod spec;
mod tree;
mod usage;
mod volume;

pub use build::{
    Annotated, Attestations, BuildAnnotation, BuildOptions, BuildOutcome, BuildOutput, BuildResult,
    CacheEntry, CacheKind, CachePlace, CachePrune, CachePruned, CacheSink, CacheSource, ImageForm,
    OutputPlace, ProvenanceDetail, StepLimits, WEB_FILE_LIMIT,
};
pub use emulator::runs_here;
pub use engine::{Engine, EngineSettings};
pub use image_lists::{JoinedList, ListSource};
pub use images::{
    HistoryEntry, ImageDetails, ImageFilter, ImportOptions, Loaded, Place, PruneOptions, Pruned, Pulled,
    Pushed, Removal, RemoveOptions, is_missing_tag,
};
pub use manifest_lists::{Annotation, ManifestList, Member, PushedList};
pub use matching::{LabelFilter, Patterns, glob};
pub use registry::SearchFilter;
pub use reset::Reset;
pub use usage::{ContainerCounts, Usage, UsageTotal};
pub use volume::{Volume, VolumeDocument, VolumeFilter, VolumeRequest};
