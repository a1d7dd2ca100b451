//! The client against a real registry (Debian's `docker-registry`), and against servers that misbehave on purpose.
//!
//! Every test has its own directory, its own port and its own servers.

mod auth;
mod docker_registry;
mod hostile;
mod image;
mod mirrors;
mod proxy;
mod push_pull;
mod server;
mod tls;
mod upload;
