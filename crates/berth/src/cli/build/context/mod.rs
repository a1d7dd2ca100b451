//! Where a build's files are: a directory, standard input, an archive, the web, a repository; and which of them are
//! left out.
//!
//! Here: telling these apart, and the Dockerfile that goes with each. Directories are in `local.rs`, `--build-context`
//! in `named.rs`. Invariant: what came from elsewhere lies in the store, and stays as long as [`Held`] does.

mod local;
mod named;

pub(super) use named::named;

use berth_build::git_ref::{GitRef, redacted};
use berth_build::{Cancel, ContextSource, GitAccess};
use berth_engine::{Engine, WEB_FILE_LIMIT};
use berth_oci::{AtPath, Digest, Error, Platform, Result};
use berth_store::{Lease, Workplace};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found.
pub(super) struct Found {
    pub(super) dockerfile_name: String,
    /// Where it lies, as far as it lies anywhere.
    pub(super) dockerfile_path: PathBuf,
    pub(super) dockerfile: Vec<u8>,
    pub(super) source: ContextSource,
    /// The ignore file, if there is one.
    pub(super) ignore_name: Option<String>,
}

impl Found {
    /// What builds of the same files are compared by: where they are, and the Dockerfile's path.
    pub(super) fn project(&self, context: &str) -> String {
        let directory = self.source.directory.as_ref().filter(|_| self.source.is_stable);
        let place = directory.map_or_else(|| redacted(context), |path| path.display().to_string());
        format!("{place}|{}", self.dockerfile_path.display())
    }
}

/// What contexts are found with.
pub(super) struct Finder<'a> {
    pub(super) engine: &'a Engine,
    pub(super) cancel: &'a Cancel,
    pub(super) secrets: &'a BTreeMap<String, Arc<[u8]>>,
    pub(super) agents: &'a BTreeMap<String, PathBuf>,
    pub(super) platforms: &'a [Platform],
    /// `BUILDKIT_CONTEXT_KEEP_GIT_DIR`.
    pub(super) keep_git_dir: bool,
}

/// What has to stay until the build is over.
#[derive(Default)]
pub(super) struct Held {
    places: Vec<Workplace>,
    /// Images that are here for this build only.
    images: Vec<(Digest, Lease)>,
}

impl Held {
    /// Forgets what was here for the build only.
    pub(super) fn release(self, engine: &Engine) -> Result<()> {
        drop(self.places);
        for (digest, lease) in self.images {
            drop(lease);
            named::forget(engine.store()?, &digest)?;
        }
        Ok(())
    }
}

/// A Dockerfile is text that people write.
const DOCKERFILE_LIMIT: u64 = 16 << 20;

/// `-f`.
enum DockerfileAt<'a> {
    /// Where it usually is.
    Usual,
    /// On standard input.
    Stdin,
    /// On the web.
    Web(&'a str),
    /// At a path.
    Path(&'a Path),
}

impl<'a> DockerfileAt<'a> {
    fn read(file: Option<&'a Path>) -> Self {
        match (file, file.and_then(Path::to_str)) {
            (None, _) => Self::Usual,
            (Some(_), Some("-")) => Self::Stdin,
            (Some(_), Some(text)) if is_address(text) => Self::Web(text),
            (Some(path), _) => Self::Path(path),
        }
    }
}

impl DockerfileAt<'_> {
    /// Where it lies, as far as it lies anywhere.
    fn path(&self) -> PathBuf {
        match self {
            Self::Usual => PathBuf::from("Dockerfile"),
            Self::Stdin => PathBuf::from("-"),
            Self::Web(url) => PathBuf::from(url),
            Self::Path(path) => path.to_path_buf(),
        }
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl Finder<'_> {
    /// Looks at the words.
    pub(super) fn find(&self, context: &str, file: Option<&Path>, held: &mut Held) -> Result<Found> {
        let at = DockerfileAt::read(file);
        if context == "-" {
            return self.stdin(&at, held);
        }
        if let Some(git) = repository(context)? {
            return self.git(git, &at, held).map_err(|error| unprepared(&error));
        }
        if is_address(context) {
            return self.web_context(context, &at, held).map_err(|error| unprepared(&error));
        }
        if context.contains("://") {
            return Err(Error::unsupported(format!(
                "unable to prepare context: `{context}` is no address that a build can read"
            ))
            .hint("there are directories, archives (http, https, standard input) and git repositories"));
        }
        let directory = local::directory(context)?;
        let path = match at {
            DockerfileAt::Usual => local::dockerfile(&directory, None)?,
            DockerfileAt::Path(path) => local::dockerfile(&directory, Some(path))?,
            DockerfileAt::Stdin | DockerfileAt::Web(_) => {
                let dockerfile = self.dockerfile_elsewhere(&at)?.unwrap_or_default();
                let (ignore, ignore_name) = local::ignore(&directory, None)?;
                let source = ContextSource { directory: Some(directory), ignore, is_stable: true };
                return Ok(Found {
                    dockerfile_name: "Dockerfile".to_owned(),
                    dockerfile_path: at.path(),
                    dockerfile,
                    source,
                    ignore_name,
                });
            }
        };
        let dockerfile = local::read(&path)?;
        let (ignore, ignore_name) = local::ignore(&directory, Some(&path))?;
        let dockerfile_name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let source = ContextSource { directory: Some(directory), ignore, is_stable: true };
        let dockerfile_path = path.canonicalize().at(&path)?;
        Ok(Found { dockerfile_name, dockerfile_path, dockerfile, source, ignore_name })
    }

    /// A Dockerfile that is not among the context's files.
    fn dockerfile_elsewhere(&self, at: &DockerfileAt<'_>) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match at {
            DockerfileAt::Stdin => {
                std::io::stdin().lock().take(DOCKERFILE_LIMIT).read_to_end(&mut bytes).at("stdin")?;
            }
            DockerfileAt::Web(url) => {
                let place = self.engine.store()?.workplace()?;
                let path = self.fetch(url, DOCKERFILE_LIMIT, &place)?;
                bytes = std::fs::read(&path).at(&path)?;
            }
            DockerfileAt::Usual | DockerfileAt::Path(_) => return Ok(None),
        }
        Ok(Some(bytes))
    }

    fn fetch(&self, url: &str, limit: u64, place: &Workplace) -> Result<PathBuf> {
        let path = place.directory()?.join("fetched");
        let fetched = self.engine.fetch_file(url, None, &path, limit, self.cancel)?;
        fetched.map(|_| path).ok_or_else(|| Error::internal(format!("{url} was not fetched")))
    }

    /// A Dockerfile alone, or an archive with everything.
    fn stdin(&self, at: &DockerfileAt<'_>, held: &mut Held) -> Result<Found> {
        if matches!(at, DockerfileAt::Stdin) {
            return Err(Error::invalid("can't use stdin for both build context and dockerfile"));
        }
        // The lock is let go again: an archive is read by another thread.
        let start = start_of(&mut std::io::stdin().lock()).at("stdin")?;
        if is_archive(&start) {
            return self.archive(Cursor::new(start).chain(std::io::stdin()), at, true, held);
        }
        let mut dockerfile = start;
        std::io::stdin().lock().take(DOCKERFILE_LIMIT).read_to_end(&mut dockerfile).at("stdin")?;
        Ok(alone(dockerfile))
    }

    /// A Dockerfile alone, or an archive with everything.
    fn web_context(&self, url: &str, at: &DockerfileAt<'_>, held: &mut Held) -> Result<Found> {
        let place = self.engine.store()?.workplace()?;
        let path = self.fetch(url, WEB_FILE_LIMIT, &place)?;
        let mut file = File::open(&path).at(&path)?;
        let start = start_of(&mut file).at(&path)?;
        if is_archive(&start) {
            return self.archive(Cursor::new(start).chain(file), at, false, held);
        }
        if file.metadata().at(&path)?.len() > DOCKERFILE_LIMIT {
            return Err(Error::invalid(format!("{url} is neither an archive nor a Dockerfile")));
        }
        if !matches!(at, DockerfileAt::Usual) {
            return Err(Error::invalid(format!("{url} is no archive, so there is nothing to build with -f")));
        }
        local::read(&path).map(alone)
    }

    fn archive(
        &self,
        archive: impl Read + Send,
        at: &DockerfileAt<'_>,
        has_ignore_file: bool,
        held: &mut Held,
    ) -> Result<Found> {
        let (directory, place) = self.engine.unpacked(archive)?;
        held.places.push(place);
        self.in_tree(directory, at, has_ignore_file)
    }

    fn git(&self, git: GitRef, at: &DockerfileAt<'_>, held: &mut Held) -> Result<Found> {
        let directory = self.checkout(git, held)?;
        self.in_tree(directory, at, false)
    }

    /// A commit's files, or a directory of them.
    fn checkout(&self, mut git: GitRef, held: &mut Held) -> Result<PathBuf> {
        if self.keep_git_dir {
            git.keep_git_dir.get_or_insert(true);
        }
        let access = GitAccess::new(self.secrets, self.agents, &git);
        let commit = self.engine.git_commit(&git, &access, self.cancel)?;
        let place = self.engine.store()?.workplace()?;
        let files = self.engine.git_checkout(&git, &commit, &access, place.lease(), self.cancel)?;
        let whole = place.rootfs(&[files.diff_id])?.lowers[0].clone();
        held.places.push(place);
        let Some(subdir) = &git.subdir else { return Ok(whole) };
        let inner = whole.join(subdir.trim_start_matches('/'));
        // Links and `..` may lead anywhere; the checkout is where the context ends.
        match inner.canonicalize() {
            Ok(real) if real.starts_with(whole.canonicalize().at(&whole)?) && real.is_dir() => Ok(real),
            _ => Err(Error::not_found(format!("{} has no directory {subdir}", git.shown()))),
        }
    }

    /// A tree that somebody else made.
    fn in_tree(&self, directory: PathBuf, at: &DockerfileAt<'_>, has_ignore_file: bool) -> Result<Found> {
        let (dockerfile_name, dockerfile) = match (self.dockerfile_elsewhere(at)?, at) {
            (Some(bytes), _) => ("Dockerfile".to_owned(), bytes),
            (None, DockerfileAt::Path(path)) => local::dockerfile_inside(&directory, Some(path))?,
            (None, _) => local::dockerfile_inside(&directory, None)?,
        };
        let (ignore, ignore_name) =
            if has_ignore_file { local::ignore_inside(&directory)? } else { (None, None) };
        // Its inodes are another tree's tomorrow.
        let source = ContextSource { directory: Some(directory), ignore, is_stable: false };
        let dockerfile_path = at.path();
        Ok(Found { dockerfile_name, dockerfile_path, dockerfile, source, ignore_name })
    }
}

fn unprepared(error: &Error) -> Error {
    let told = Error::new(error.kind(), format!("unable to prepare context: {error}"));
    match error.hint_text() {
        Some(hint) => told.hint(hint.to_owned()),
        None => told,
    }
}

/// A repository, if the words are the address of one, and not of a directory that is here.
fn repository(text: &str) -> Result<Option<GitRef>> {
    let found = GitRef::parse(text)
        .map_err(|why| Error::invalid(format!("unable to prepare context: {text}: {why}")))?;
    Ok(found.filter(|found| !found.could_be_path || !Path::new(text).exists()))
}

/// A Dockerfile without any context.
fn alone(dockerfile: Vec<u8>) -> Found {
    Found {
        dockerfile_name: "Dockerfile".to_owned(),
        dockerfile_path: PathBuf::from("-"),
        dockerfile,
        source: ContextSource { directory: None, ignore: None, is_stable: true },
        ignore_name: None,
    }
}

fn start_of(reader: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(512).read_to_end(&mut start)?;
    Ok(start)
}

fn is_archive(start: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    magic.iter().any(|magic| start.starts_with(magic)) || start.get(257..262) == Some(b"ustar")
}
