//! Contexts that are directories of this machine, and the Dockerfiles and ignore files in them.
//!
//! Invariant: what somebody else made (an archive, a repository) is opened inside of its own tree only, whatever its
//! links say.

use super::DOCKERFILE_LIMIT;
use berth_build::dockerfile::did_you_mean;
use berth_build::ignore::{Ignore, IgnoreFile};
use berth_oci::{AtPath, Error, Result};
use berth_runtime::in_root;
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory that the words mean.
pub(super) fn directory(context: &str) -> Result<PathBuf> {
    let directory = PathBuf::from(context);
    match fs::metadata(&directory) {
        Ok(metadata) if metadata.is_dir() => directory.canonicalize().at(&directory),
        Ok(_) => {
            Err(Error::invalid(format!("unable to prepare context: path \"{context}\" is not a directory")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::not_found(format!("unable to prepare context: path \"{context}\" not found")))
        }
        Err(error) => Err(error).at(&directory),
    }
}

/// A Dockerfile inside of a tree that is not ours, and its name.
pub(super) fn dockerfile_inside(tree: &Path, file: Option<&Path>) -> Result<(String, Vec<u8>)> {
    let names = match file {
        Some(file) => vec![file.strip_prefix("/").unwrap_or(file).to_owned()],
        None => ["Dockerfile", "dockerfile"].map(PathBuf::from).to_vec(),
    };
    for name in &names {
        match open_inside(tree, name) {
            Ok(file) => {
                let shown = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok((shown, bounded(file).at(name)?));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(name),
        }
    }
    Err(missing("", &names[0].to_string_lossy(), tree))
}

/// A file of a tree, links followed inside of it.
fn open_inside(tree: &Path, name: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, tree, flags, Mode::empty())?;
    let file = File::from(in_root::open(&top, name, OFlags::RDONLY | OFlags::NONBLOCK)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// The ignore file of a tree that is not ours.
pub(super) fn ignore_inside(tree: &Path) -> Result<(Option<Arc<Ignore>>, Option<String>)> {
    const NAME: &str = ".dockerignore";
    match open_inside(tree, Path::new(NAME)) {
        Ok(file) => ignore_of(NAME.to_owned(), &bounded(file).at(NAME)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((None, None)),
        Err(error) => Err(error).at(NAME),
    }
}

fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(DOCKERFILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn ignore_of(name: String, bytes: &[u8]) -> Result<(Option<Arc<Ignore>>, Option<String>)> {
    let ignore = Ignore::new(&IgnoreFile::parse(&name, bytes))?;
    Ok((Some(Arc::new(ignore)).filter(|ignore| !ignore.is_empty()), Some(name)))
}

/// The Dockerfile that is meant: `-f`, from where we stand, or the context's.
pub(super) fn dockerfile(directory: &Path, file: Option<&Path>) -> Result<PathBuf> {
    if let Some(file) = file {
        if file.exists() {
            return Ok(file.to_owned());
        }
        let parent = file.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        return Err(missing(
            &parent.display().to_string(),
            &file.file_name().unwrap_or_default().to_string_lossy(),
            parent,
        ));
    }
    for name in ["Dockerfile", "dockerfile"] {
        let path = directory.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(missing("", "Dockerfile", directory))
}

fn missing(parent: &str, name: &str, directory: &Path) -> Error {
    let shown = if parent.is_empty() || parent == "." { name.to_owned() } else { format!("{parent}/{name}") };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let similar = berth_build::dockerfile::nearest(name, names.iter().map(String::as_str), true);
    Error::not_found(format!(
        "failed to read dockerfile: open {shown}: no such file or directory{}",
        did_you_mean(similar.as_deref())
    ))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    bounded(File::open(path).at(path)?).at(path)
}

/// The Dockerfile's own ignore file, or the context's.
pub(super) fn ignore(
    directory: &Path,
    dockerfile: Option<&Path>,
) -> Result<(Option<Arc<Ignore>>, Option<String>)> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([directory.join(".dockerignore")]) {
        match fs::read(&path) {
            Ok(bytes) => {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                return ignore_of(name, &bytes);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(&path),
        }
    }
    Ok((None, None))
}
