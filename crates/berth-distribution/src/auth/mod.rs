//! Who we are to a registry: challenges, tokens, and the files and helpers that keep passwords.
//!
//! Not here: sending requests to registries ([`registry`](crate::registry)). Invariant: a credential goes to the
//! registry it is kept for, and to the token server that this registry names, over TLS if the registry is; it is
//! in no error, note or debug text.

mod authorizer;
mod challenge;
mod credential;
mod file;
mod helper;
mod scope;
mod store;
mod token;

pub(crate) use authorizer::{Authorizer, Identity};
pub(crate) use scope::Scopes;

pub use challenge::{Challenge, parse_challenges};
pub use credential::Credential;
pub use store::{CredentialStore, Kept, server_key};
