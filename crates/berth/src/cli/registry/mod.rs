//! What is asked of registries beside images: credentials, search, copies.

pub(crate) mod copy;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod search;

/// Docker Hub under the name that docker's messages have for it.
const DOCKER_HUB: &str = "docker.io";
