//! A blocking client of the OCI distribution specification.
//!
//! Here: [`Client`], whose [`RegistrySource`] and [`RegistrySink`] take part in [`berth_oci::copy`]; [`auth`], which
//! keeps credentials; [`Settings`], which say everything the client has to be told. HTTP is in `http`, trust in
//! `tls`, mirrors in `endpoints`.
//!
//! Not here: images beyond their descriptors, the store, the environment, default paths. Invariant: bytes from a
//! registry are bounded and streamed, and a credential goes nowhere but to the registry it is kept for.

mod answer;
pub mod auth;
mod blob;
mod browse;
mod client;
mod download;
mod endpoints;
mod http;
mod login;
mod ranges;
mod referrers;
mod registry;
mod retry;
mod settings;
mod sink;
mod source;
mod tls;
mod upload;

pub use browse::SearchResult;
pub use client::Client;
pub use download::{Download, DownloadRequest, Validators};
pub use login::LoggedIn;
pub use settings::{CredentialFiles, MirrorFiles, Pause, Proxies, Settings, Timeouts};
pub use sink::{MountFrom, RegistrySink};
pub use source::RegistrySource;
