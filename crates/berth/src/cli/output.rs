//! Where archives go that are asked for with `-o`: a file that appears when it is complete, or standard output.
//!
//! Invariant: a file that could not be completed is not there.

use crate::terminal;
use berth_oci::{AtPath, Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, IntoInnerError, Write};
use std::path::Path;

/// Writes to `output`, or to standard output where there is none; `doing` is what docker says it failed at.
pub(crate) fn write(
    output: Option<&Path>,
    doing: &str,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    match output {
        Some(path) => {
            check(path, doing)?;
            to_file(path, write)
        }
        None if terminal::stdout_is_terminal() => {
            Err(Error::invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect"))
        }
        None => {
            let mut out = BufWriter::with_capacity(256 << 10, io::stdout());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

fn to_file(path: &Path, write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>) -> Result<()> {
    if path.exists() && !path.is_file() {
        let mut device = BufWriter::new(fs::OpenOptions::new().write(true).open(path).at(path)?);
        write(&mut device)?;
        return device.flush().at(path);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let mut out = BufWriter::with_capacity(256 << 10, File::create_new(&partial).at(&partial)?);
    let written = write(&mut out).and_then(|()| {
        out.into_inner().map_err(IntoInnerError::into_error).at(&partial)?;
        fs::rename(&partial, path).at(path)
    });
    if written.is_err() {
        fs::remove_file(&partial).at(&partial)?;
    }
    written
}

fn check(path: &Path, doing: &str) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::metadata(directory) {
        _ if path.is_dir() => Err(Error::invalid(format!(
            "{doing}: invalid output path: \"{}\" must be a regular file",
            path.display()
        ))),
        Ok(metadata) if metadata.is_dir() => Ok(()),
        _ => Err(Error::not_found(format!(
            "{doing}: invalid output path: stat {}: no such file or directory",
            directory.display()
        ))),
    }
}
