//! Whether this machine can mount our layers: rights, kernel, and the disk below all have a say, so we try.

use super::erofs;
use crate::disk;
use crate::layer::{Bounds, Form, IngestPlan, ingest};
use berth_oci::{AtPath, Result};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const CONTENT: &[u8] = b"berth";
const CACHE: &str = "erofs-probe";

/// The form in which layers are kept: asks the kernel once a boot. `temporary` lies on the disk of the store.
///
/// # Errors
/// The probe cannot be written or remembered.
pub fn probe(temporary: &Path, runroot: &Path) -> Result<Form> {
    let key = key(temporary)?;
    let cache = runroot.join(CACHE);
    let known = fs::read_to_string(&cache).unwrap_or_default();
    match known.strip_prefix(&key) {
        Some("erofs\n") => return Ok(Form::Erofs),
        Some("directory\n") => return Ok(Form::Directory),
        _ => {}
    }
    let form = if can_mount(temporary)? { Form::Erofs } else { Form::Directory };
    let word = if form == Form::Erofs { "erofs" } else { "directory" };
    disk::make_directory(runroot)?;
    let fresh = runroot.join(disk::random_name()?);
    fs::write(&fresh, format!("{key}{word}\n")).at(&fresh)?;
    fs::rename(&fresh, &cache).at(&cache)?;
    Ok(form)
}

/// What the answer depends on: this boot, this kernel, this user, this disk.
fn key(temporary: &Path) -> Result<String> {
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = fs::read_to_string(boot).at(boot)?;
    let kernel = rustix::system::uname();
    let device = temporary.metadata().at(temporary)?.dev();
    let user = rustix::process::geteuid().as_raw();
    Ok(format!("{}\n{}\n{user} {device}\n", boot.trim(), kernel.release().to_string_lossy()))
}

/// Ingests a layer of one file, mounts it nowhere, and reads the file.
fn can_mount(temporary: &Path) -> Result<bool> {
    let archive = archive();
    let plan = IngestPlan {
        expected: None,
        diff_id: None,
        temporary,
        partial: None,
        keep_compressed: false,
        form: Form::Erofs,
        bounds: Bounds { reserve: 0, ..Bounds::default() },
    };
    let layer = ingest(&plan, &|_| Ok(Box::new(io::Cursor::new(archive.clone()))))?;
    let place = temporary.join(disk::random_name()?);
    layer.commit(&place)?;
    let answer = read_back(&place);
    disk::remove(&place)?;
    Ok(answer.is_ok_and(|content| content == CONTENT))
}

fn read_back(place: &Path) -> Result<Vec<u8>> {
    let mount = erofs::detached(place)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, "probe", flags, Mode::empty()).map_err(io::Error::from)?;
    let mut content = Vec::new();
    File::from(file).take(64).read_to_end(&mut content)?;
    Ok(content)
}

/// A tar with one file.
fn archive() -> Vec<u8> {
    let mut block = [0; 512];
    for (at, bytes) in [
        (0, &b"probe"[..]),
        (100, b"0000644\0"),
        (124, b"00000000005\0"),
        (148, b"        "),
        (257, b"ustar\x0000"),
    ] {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }
    block[156] = b'0';
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut content = [0; 512];
    content[..CONTENT.len()].copy_from_slice(CONTENT);
    [&block[..], &content, &[0; 1024]].concat()
}
