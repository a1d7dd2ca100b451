//! `berth save`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::progress::{Direction, View};
use crate::terminal;
use berth_oci::{AtPath, Error, Platform, Result};
use berth_store::archives::ArchiveFormat;
use std::fs::{self, File};
use std::io::{self, BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};

/// Save one or more images to a tar archive (streamed to STDOUT by default).
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker-archive (default) or oci-archive
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<ArchiveFormat>,
    /// Save only the image for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

fn format(text: &str) -> std::result::Result<ArchiveFormat, String> {
    match text {
        "docker-archive" => Ok(ArchiveFormat::Docker),
        "oci-archive" => Ok(ArchiveFormat::Oci),
        _ => Err("must be docker-archive or oci-archive".to_owned()),
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        match &self.output {
            Some(path) => {
                check_output(path).client()?;
                self.to_file(context, platform.as_ref(), path)?;
            }
            None if terminal::stdout_is_terminal() => {
                return Err(Failure::client(Error::invalid(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                )));
            }
            None => drop(self.save(context, platform.as_ref(), BufWriter::new(io::stdout()))?),
        }
        Ok(Exit::SUCCESS)
    }

    fn save<W: io::Write + Send>(&self, context: &Context, platform: Option<&Platform>, out: W) -> Result<W> {
        let view = View::new(context.settings.progress, Direction::Copy, None);
        let format = self.format.unwrap_or(ArchiveFormat::Docker);
        context.engine()?.save(&self.images, platform, format, out, &view)
    }

    /// The name appears when the archive is complete.
    fn to_file(&self, context: &Context, platform: Option<&Platform>, path: &Path) -> Result<()> {
        if path.exists() && !path.is_file() {
            let device = fs::OpenOptions::new().write(true).open(path).at(path)?;
            return self.save(context, platform, BufWriter::new(device)).map(drop);
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let file = File::create_new(&partial).at(&partial)?;
        let saved = self.save(context, platform, BufWriter::new(file)).and_then(|out| {
            out.into_inner().map_err(IntoInnerError::into_error).at(&partial)?;
            fs::rename(&partial, path).at(path)
        });
        if saved.is_err() {
            fs::remove_file(&partial).at(&partial)?;
        }
        saved
    }
}

fn check_output(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::metadata(directory) {
        _ if path.is_dir() => Err(Error::invalid(format!(
            "failed to save image: invalid output path: \"{}\" must be a regular file",
            path.display()
        ))),
        Ok(metadata) if metadata.is_dir() => Ok(()),
        _ => Err(Error::not_found(format!(
            "failed to save image: invalid output path: stat {}: no such file or directory",
            directory.display()
        ))),
    }
}
