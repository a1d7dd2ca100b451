//! The client against a real registry (Debian's `docker-registry`), and against servers that misbehave on purpose.
//!
//! Every test has its own directory, its own port and its own servers.

mod docker_registry;
mod image;
mod push_pull;
