//! Compressed layers that the store did not keep, from the registries they came from.
//!
//! Invariant: a source that was opened stays open as long as the [`Origins`], so that readers may borrow it.

use berth_distribution::{Client, RegistrySource};
use berth_oci::{Descriptor, Error, Progress, Reference, Result, Source};
use berth_store::OriginFallback;
use std::io::Read;
use std::sync::OnceLock;

/// The registries that layers came from, each asked through one source.
pub(crate) struct Origins<'a> {
    client: &'a Client,
    progress: &'a dyn Progress,
    first: Next<'a>,
}

type Next<'a> = OnceLock<Box<Node<'a>>>;

/// A list that only grows: what it holds can be borrowed while it does.
struct Node<'a> {
    repository: Reference,
    source: RegistrySource<'a>,
    next: Next<'a>,
}

impl<'a> Origins<'a> {
    pub(crate) fn new(client: &'a Client, progress: &'a dyn Progress) -> Self {
        Self { client, progress, first: OnceLock::new() }
    }

    fn source(&self, repository: &Reference) -> Result<&RegistrySource<'a>> {
        let mut place = &self.first;
        loop {
            let node = match place.get() {
                Some(node) => node,
                None => {
                    let source = self.client.source(repository, self.progress)?;
                    let node = Node { repository: repository.clone(), source, next: OnceLock::new() };
                    place.get_or_init(|| Box::new(node))
                }
            };
            if node.repository == *repository {
                return Ok(&node.source);
            }
            place = &node.next;
        }
    }
}

impl OriginFallback for Origins<'_> {
    fn blob(
        &self,
        descriptor: &Descriptor,
        repositories: &[Reference],
        offset: u64,
    ) -> Result<Box<dyn Read + Send + '_>> {
        let mut last = Error::not_found(format!("nobody knows where layer {} came from", descriptor.digest));
        for repository in repositories {
            match self.source(repository).and_then(|source| source.blob(descriptor, offset)) {
                Ok(reader) => return Ok(reader),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
