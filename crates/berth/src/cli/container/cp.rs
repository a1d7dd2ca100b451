//! `berth cp`: files between a container and here, one of them or a whole tree, or a tar stream.
//!
//! Invariant: where something arrives is decided by [`arrange`] from what is at both ends, before a byte moves.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use berth_engine::Engine;
use berth_engine::archive::{self, Owner};
use berth_engine::container::{Container, PathKind};
use berth_oci::{AtPath, Error, Result};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copy files/folders between a container and the local filesystem.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy (there is none)
    #[arg(short, long)]
    quiet: bool,
    /// From where: a path, CONTAINER:PATH, or - for a tar on STDIN
    #[arg(value_name = "CONTAINER:SRC_PATH|SRC_PATH|-", required = true, allow_hyphen_values = true)]
    source: String,
    /// To where: a path, CONTAINER:PATH, or - for a tar on STDOUT
    #[arg(value_name = "DEST_PATH|-|CONTAINER:DEST_PATH", required = true, allow_hyphen_values = true)]
    target: String,
}

/// One end of a copy.
enum End<'a> {
    Here(&'a str),
    Container(&'a str, &'a str),
}

fn end(text: &str) -> End<'_> {
    match text.split_once(':') {
        // A dot or a slash at the beginning says that a colon is part of the path.
        Some((container, path)) if !text.starts_with(['/', '.']) => End::Container(container, path),
        _ => End::Here(text),
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        match (end(&self.source), end(&self.target)) {
            (End::Container(name, path), End::Here(target)) => {
                self.fetch(engine, &engine.container(name)?, name, path, target)?;
            }
            (End::Here(source), End::Container(name, path)) => {
                self.deliver(engine, &engine.container(name)?, name, source, path)?;
            }
            (End::Container(..), End::Container(..)) => {
                return Err(Failure::client(Error::invalid("copying between containers is not supported")));
            }
            (End::Here(_), End::Here(_)) => {
                return Err(Failure::client(Error::invalid("must specify at least one container source")));
            }
        }
        Ok(Exit::SUCCESS)
    }

    fn fetch(
        &self,
        engine: &Engine,
        container: &Container,
        name: &str,
        path: &str,
        target: &str,
    ) -> std::result::Result<(), Failure> {
        if path.is_empty() {
            return Err(Error::invalid("bad parameter: path cannot be empty").into());
        }
        let follow = self.follow_link || path.ends_with('/') || path.ends_with("/.");
        let kind = engine.path_kind(container, Path::new(path), follow)?;
        let kind = kind.ok_or_else(|| not_there(path, name))?;
        let source = Source::new(path, kind == PathKind::Directory);
        let path = Path::new(path);
        if target == "-" {
            let shown = source.name.clone();
            let mut out = io::BufWriter::with_capacity(256 << 10, io::stdout());
            engine.copy_out(container, path, follow, &shown, &mut out)?;
            return out.flush().map_err(|error| Failure::client(error.into()));
        }
        let arrival = arrange(&source, &here(target).client()?).client()?;
        if !arrival.directory.is_dir() {
            return Err(Failure::client(Error::not_found(format!(
                "invalid output path: directory \"{}\" does not exist",
                arrival.directory.display()
            ))));
        }
        let directory = File::open(&arrival.directory).at(&arrival.directory).client()?;
        archive::pipe(
            |out| engine.copy_out(container, path, follow, &arrival.name, out),
            |tar| archive::unpack(directory.as_fd(), Owner::Caller, tar),
        )?;
        Ok(())
    }

    fn deliver(
        &self,
        engine: &Engine,
        container: &Container,
        name: &str,
        source: &str,
        path: &str,
    ) -> std::result::Result<(), Failure> {
        let owner = if self.archive { engine.owner_of(container)? } else { Owner::Archive };
        let kind = match path {
            "" => None,
            path => engine.path_kind(container, Path::new(path), true)?,
        };
        let target = Target { path: Path::new("/").join(path), kind, wants_directory: wants_directory(path) };
        if source == "-" {
            if kind != Some(PathKind::Directory) {
                return Err(Failure::client(Error::invalid(format!(
                    "destination \"{name}:{path}\" must be a directory"
                ))));
            }
            engine.copy_in(container, &target.path, owner, &mut io::stdin())?;
            return Ok(());
        }
        let local = self.local_source(source).client()?;
        let arrival = arrange(&local.described, &target).client()?;
        if engine.path_kind(container, &arrival.directory, true)? != Some(PathKind::Directory) {
            return Err(not_there(&arrival.directory.display().to_string(), name).into());
        }
        let parent = File::open(&local.parent).at(&local.parent).client()?;
        archive::pipe(
            |out| archive::write(parent.as_fd(), &local.name, &arrival.name, out),
            |tar| engine.copy_in(container, &arrival.directory, owner, tar),
        )?;
        Ok(())
    }

    fn local_source(&self, text: &str) -> Result<Local> {
        let absolute = std::path::absolute(text).at(text)?;
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::not_found(format!("lstat {}: no such file or directory", absolute.display()))
            }
            _ => Error::from(error),
        };
        let follow = self.follow_link || wants_directory(text);
        let path = if follow { fs::canonicalize(&absolute).map_err(missing)? } else { absolute.clone() };
        let is_directory = fs::symlink_metadata(&path).map_err(missing)?.is_dir();
        let described = Source::new(text, is_directory);
        let Some((parent, name)) = path.parent().zip(path.file_name()) else {
            return Ok(Local { parent: path, name: c".".to_owned(), described });
        };
        let name = CString::new(name.as_bytes()).map_err(|_| Error::invalid("a path has a zero byte"))?;
        Ok(Local { parent: parent.to_owned(), name, described })
    }
}

fn not_there(path: &str, container: &str) -> Error {
    Error::not_found(format!("Could not find the file {path} in container {container}"))
}

/// Something on this machine: a directory, and a name in it.
struct Local {
    parent: PathBuf,
    name: CString,
    described: Source,
}

/// What is copied.
#[derive(Debug)]
struct Source {
    /// What it is called.
    name: Vec<u8>,
    is_directory: bool,
    /// Whether only what is in it is meant: `dir/.`.
    is_contents: bool,
}

impl Source {
    fn new(text: &str, is_directory: bool) -> Self {
        let last = Path::new(text).file_name();
        let is_contents = text.ends_with("/.") || text == "." || last.is_none();
        Self {
            name: last.map(|name| name.as_bytes().to_vec()).unwrap_or_default(),
            is_directory,
            is_contents,
        }
    }
}

/// To where.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    /// What is there; links are followed.
    kind: Option<PathKind>,
    /// Whether the words say that it is a directory.
    wants_directory: bool,
}

fn wants_directory(text: &str) -> bool {
    text.ends_with('/') || text.ends_with("/.") || matches!(text, "." | "..")
}

fn here(text: &str) -> Result<Target> {
    let path = std::path::absolute(text).at(text)?;
    let kind = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Some(PathKind::Directory),
        Ok(_) => Some(PathKind::File),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).at(&path),
    };
    Ok(Target { path, kind, wants_directory: wants_directory(text) })
}

/// Where the copy goes: a directory that must be there, and its name in it; without a name its contents go there.
#[derive(Debug, PartialEq, Eq)]
struct Arrival {
    directory: PathBuf,
    name: Vec<u8>,
}

fn arrange(source: &Source, target: &Target) -> Result<Arrival> {
    match (target.kind, source.is_directory) {
        (Some(PathKind::Directory), _) => {
            let name = if source.is_contents { Vec::new() } else { source.name.clone() };
            Ok(Arrival { directory: target.path.clone(), name })
        }
        (Some(_), true) => Err(Error::invalid("cannot copy directory")),
        (Some(_), false) | (None, false) if target.wants_directory => {
            Err(Error::not_found("no such directory"))
        }
        _ => {
            let (parent, name) = target
                .path
                .parent()
                .zip(target.path.file_name())
                .ok_or_else(|| Error::invalid("the destination has no name"))?;
            Ok(Arrival { directory: parent.to_owned(), name: name.as_bytes().to_vec() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_things_arrive() {
        let source = |text: &str| Source::new(text, text.contains("dir"));
        let target = |text: &str, kind: Option<PathKind>| Target {
            path: Path::new("/").join(text),
            kind,
            wants_directory: wants_directory(text),
        };
        let (dir, file) = (Some(PathKind::Directory), Some(PathKind::File));
        for (from, to, kind, expected) in [
            ("file", "/t", dir, "/t file"),
            ("file", "/t/", dir, "/t/ file"),
            ("file", "/t/new", None, "/t new"),
            ("file", "/t/new/", None, "no such directory"),
            ("file", "/t/old", file, "/t old"),
            ("dir", "/t", dir, "/t dir"),
            ("dir/", "/t", dir, "/t dir"),
            ("dir/.", "/t", dir, "/t "),
            ("dir", "/t/new", None, "/t new"),
            ("dir/.", "/t/new", None, "/t new"),
            ("dir", "/t/new/", None, "/t new"),
            ("dir", "/t/old", file, "cannot copy directory"),
            ("a/b/file", "/t", dir, "/t file"),
        ] {
            let shown = arrange(&source(from), &target(to, kind)).map_or_else(
                |e| e.to_string(),
                |a| format!("{} {}", a.directory.display(), String::from_utf8_lossy(&a.name)),
            );
            assert_eq!(shown, expected, "{from} {to}");
        }
    }

    #[test]
    fn ends_of_a_copy() {
        for (text, expected) in [
            ("web:/x", "web /x"),
            ("web:x", "web x"),
            ("./a:b", "./a:b"),
            ("/a:b", "/a:b"),
            ("file", "file"),
            ("-", "-"),
        ] {
            let shown = match end(text) {
                End::Here(path) => path.to_owned(),
                End::Container(name, path) => format!("{name} {path}"),
            };
            assert_eq!(shown, expected);
        }
    }
}
