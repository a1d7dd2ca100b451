//! Whether programs for another processor run here: what the kernel's binfmt_misc has registered.
//!
//! An entry is recognised by what it does, not by its name: the header of a program for that processor is held
//! against its magic and mask. Invariant: nothing is registered, mounted or changed.

use berth_oci::{Error, Platform, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// Where it usually is mounted.
const PLACE: &str = "/proc/sys/fs/binfmt_misc";
/// An entry is a few lines.
const ENTRY_LIMIT: u64 = 16 << 10;

/// What the kernel does with a program for another processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Emulator {
    /// It runs it.
    Ready,
    /// It would look for the emulator inside of the container (there is no `F` flag).
    Unfixed,
    /// Nothing.
    Missing,
}

/// Whether programs for that platform run here, as they are or under an emulator; the reason where they do not.
pub(crate) fn check(platform: &Platform) -> Result<()> {
    if is_native(platform) {
        return Ok(());
    }
    let words = format!("programs for {platform} do not run on this machine");
    match find(platform) {
        Emulator::Ready => Ok(()),
        Emulator::Unfixed => Err(Error::unsupported(words).hint(
            "an emulator is registered, but without the flag F, so that no container finds it: \
             install qemu-user-static and binfmt-support, or register it anew with that flag",
        )),
        Emulator::Missing => Err(Error::unsupported(words).hint(
            "no emulator is registered: apt-get install qemu-user-static binfmt-support \
             (and mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc where nothing does)",
        )),
    }
}

/// Whether programs for that platform run here, as they are or under an emulator.
#[must_use]
pub fn runs_here(platform: &Platform) -> bool {
    check(platform).is_ok()
}

/// Whether the processor runs them itself.
pub(crate) fn is_native(platform: &Platform) -> bool {
    let host = Platform::host();
    // Every amd64 machine runs 386, too.
    host.rank(platform).is_some() || (host.architecture == "amd64" && platform.architecture == "386")
}

fn find(platform: &Platform) -> Emulator {
    let Some(header) = header(&platform.architecture) else { return Emulator::Missing };
    // Where nobody may look, nothing can be promised.
    let entries = entries().unwrap_or_default();
    let fitting = entries.iter().map(|text| judge(text, &header));
    fitting.fold(Emulator::Missing, |best, one| match (best, one) {
        (Emulator::Ready, _) | (_, Emulator::Ready) => Emulator::Ready,
        (Emulator::Unfixed, _) | (_, Emulator::Unfixed) => Emulator::Unfixed,
        _ => Emulator::Missing,
    })
}

/// The entries' texts; none while all of it is switched off.
fn entries() -> io::Result<Vec<String>> {
    let directory = open()?;
    let read = |name: &std::ffi::CStr| -> io::Result<String> {
        let file = rustix::fs::openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        File::from(file).take(ENTRY_LIMIT).read_to_string(&mut text)?;
        Ok(text)
    };
    if !read(c"status")?.starts_with("enabled") {
        return Ok(Vec::new());
    }
    let mut texts = Vec::new();
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b".." | b"status" | b"register") {
            // One that has just been taken away is none.
            texts.extend(read(entry.file_name()).ok());
        }
    }
    Ok(texts)
}

/// The file system where it is mounted, or, for root, a view of it that is mounted nowhere.
fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let usual = rustix::fs::openat(CWD, PLACE, flags, Mode::empty())?;
    let status = rustix::fs::openat(&usual, c"status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    if status.is_ok() {
        return Ok(usual);
    }
    let context = rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let quiet = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, quiet)?;
    Ok(rustix::fs::openat(&mount, ".", flags, Mode::empty())?)
}

/// The beginning of an ELF program for that processor.
fn header(architecture: &str) -> Option<[u8; 20]> {
    const LITTLE: u8 = 1;
    const BIG: u8 = 2;
    // ELF class (1: 32 bits, 2: 64), byte order, and the number of the machine.
    let (class, order, machine): (u8, u8, u16) = match architecture {
        "arm64" => (2, LITTLE, 183),
        "amd64" => (2, LITTLE, 62),
        "386" => (1, LITTLE, 3),
        "arm" => (1, LITTLE, 40),
        "riscv64" => (2, LITTLE, 243),
        "ppc64le" => (2, LITTLE, 21),
        "s390x" => (2, BIG, 22),
        "mips64le" => (2, LITTLE, 8),
        "mips64" => (2, BIG, 8),
        "loong64" => (2, LITTLE, 258),
        _ => return None,
    };
    let number = |value: u16| if order == LITTLE { value.to_le_bytes() } else { value.to_be_bytes() };
    let mut header = [0; 20];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    // An executable.
    header[16..18].copy_from_slice(&number(2));
    header[18..].copy_from_slice(&number(machine));
    Some(header)
}

/// What an entry does with a program that begins so.
fn judge(text: &str, header: &[u8; 20]) -> Emulator {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (Some(magic), true) = (value("magic ").and_then(bytes), text.starts_with("enabled")) else {
        return Emulator::Missing;
    };
    let mask = value("mask ").and_then(bytes).unwrap_or_else(|| vec![0xff; magic.len()]);
    let is_whole = value("offset ") == Some("0") && magic.len() == header.len() && mask.len() == magic.len();
    let fits = header.iter().zip(&magic).zip(&mask).all(|((have, want), mask)| have & mask == want & mask);
    match (is_whole && fits, value("flags:").is_some_and(|flags| flags.contains('F'))) {
        (true, true) => Emulator::Ready,
        (true, false) => Emulator::Unfixed,
        (false, _) => Emulator::Missing,
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_known_by_what_they_do() {
        let entry = |flags: &str, state: &str, magic: &str| {
            format!(
                "{state}\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\nmagic {magic}\n\
                 mask ffffffffffffff00fffffffffffffffffeffffff\n"
            )
        };
        const ARM64: &str = "7f454c460201010000000000000000000200b700";
        const S390X: &str = "7f454c4602020100000000000000000000020016";
        for (text, architecture, expected) in [
            (entry("OCF", "enabled", ARM64), "arm64", Emulator::Ready),
            (entry("OC", "enabled", ARM64), "arm64", Emulator::Unfixed),
            (entry("OCF", "disabled", ARM64), "arm64", Emulator::Missing),
            (entry("OCF", "enabled", ARM64), "riscv64", Emulator::Missing),
            (entry("OCF", "enabled", S390X), "arm64", Emulator::Missing),
            ("enabled\ninterpreter /x\nflags: F\nextension .exe\n".to_owned(), "arm64", Emulator::Missing),
            ("enabled\nflags: F\noffset 0\nmagic 4d5a\n".to_owned(), "arm64", Emulator::Missing),
            ("enabled\nflags: F\noffset 0\nmagic zz\n".to_owned(), "arm64", Emulator::Missing),
        ] {
            assert_eq!(judge(&text, &header(architecture).unwrap()), expected, "{architecture} {text}");
        }
        assert_eq!(header("vax"), None);
        assert!(check(&Platform::host()).is_ok());
        assert!(check(&Platform::new("linux", "vax", None)).is_err());
    }
}
