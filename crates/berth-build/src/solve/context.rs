//! The trees of the host that a build copies from: the context and those that were named.

use crate::files::{Contents, Root, StatCache};
use crate::ignore::Ignore;
use crate::request::{BuildRequest, NamedContext};
use berth_oci::{Error, Platform, Result};
use berth_store::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tree of the host, and what is known of its contents.
pub(crate) struct HostTree {
    pub(crate) root: Root,
    pub(crate) path: PathBuf,
    cache: Option<StatCache>,
}

/// All of them.
pub(crate) struct Contexts {
    main: Option<HostTree>,
    named: BTreeMap<String, HostTree>,
}

impl HostTree {
    fn new(store: &Store, path: &Path, ignore: Option<Arc<Ignore>>, is_stable: bool) -> Result<Self> {
        let directory = store.build_directory("stat")?;
        let root = Root::context(path, ignore)?;
        let cache = is_stable.then(|| StatCache::open(&directory, path));
        Ok(Self { root, path: path.to_owned(), cache })
    }

    /// Contents with what is known of them.
    pub(crate) fn contents(&self) -> Contents<'_> {
        Contents { root: &self.root, cache: self.cache.as_ref() }
    }
}

impl Contexts {
    pub(crate) fn new(store: &Store, request: &BuildRequest) -> Result<Self> {
        let source = &request.context;
        let main = source
            .directory
            .as_deref()
            .map(|path| HostTree::new(store, path, source.ignore.clone(), source.is_stable));
        let mut named = BTreeMap::new();
        for (name, context) in &request.contexts {
            if let NamedContext::Directory { path, is_stable } = context {
                named.insert(name.clone(), HostTree::new(store, path, None, *is_stable)?);
            }
        }
        Ok(Self { main: main.transpose()?, named })
    }

    /// The build's own context.
    pub(crate) fn main(&self) -> Result<&HostTree> {
        self.main.as_ref().ok_or_else(|| {
            Error::not_found("there is no build context to copy from")
                .hint("the Dockerfile came alone; give a directory: berth build -f - DIRECTORY")
        })
    }

    /// The directory that a name stands for.
    pub(crate) fn named(&self, request: &BuildRequest, name: &str, platform: &Platform) -> Result<&HostTree> {
        let found = request.named_context(name, platform).and_then(|(name, _)| self.named.get(name));
        found.ok_or_else(|| Error::internal(format!("context {name} is not open")))
    }

    /// Remembers what was read.
    pub(crate) fn save(&self) -> Result<()> {
        self.main
            .iter()
            .chain(self.named.values())
            .filter_map(|tree| tree.cache.as_ref())
            .try_for_each(StatCache::save)
    }
}
