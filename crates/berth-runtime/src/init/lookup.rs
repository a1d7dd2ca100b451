//! Which file a command means, and why it cannot be run: in docker's words, because scripts read them.

use berth_oci::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Finds `command` as execvp does in this process's root and directory: with a slash it is a path, otherwise a name
/// to look for in the `PATH` of `environment`.
pub(super) fn find(command: &str, environment: &[String]) -> Result<PathBuf> {
    if command.contains('/') {
        let path = PathBuf::from(command);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                Err(Error::not_found(format!("exec: {command:?}: stat {command}: no such file or directory")))
            }
            Err(Errno::ISDIR) => {
                Err(Error::denied(format!("exec: {command:?}: is a directory: permission denied")))
            }
            Err(_) => Err(Error::denied(format!("exec: {command:?}: permission denied"))),
        };
    }
    let path = environment.iter().rev().find_map(|v| v.strip_prefix("PATH=")).unwrap_or("");
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(command))
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(|| Error::not_found(format!("exec: {command:?}: executable file not found in $PATH")))
}

fn executable(path: &Path) -> Result<(), Errno> {
    let stat = stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    // Root may execute whatever has one such bit; accessat says so for files without any on some file systems.
    if stat.st_mode & 0o111 == 0 { Err(Errno::ACCESS) } else { Ok(()) }
}

/// Why the kernel refused to execute a file that is there.
pub(super) fn refused(path: &Path, error: &std::io::Error) -> Error {
    let name = path.display();
    let (error, kind): (_, fn(String) -> Error) = match error.raw_os_error() {
        Some(libc::ENOENT) => ("no such file or directory", Error::not_found),
        Some(libc::ENOEXEC) => ("exec format error", Error::denied),
        Some(libc::EACCES | libc::EPERM) => ("permission denied", Error::denied),
        Some(libc::E2BIG) => ("argument list too long", Error::invalid),
        _ => return Error::internal(format!("exec {name}: {error}")),
    };
    let refused = kind(format!("exec {name}: {error}"));
    match describe_program(path) {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}

/// What is peculiar about a program, as far as its first bytes tell.
fn describe_program(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    peculiarity(path, &head, |interpreter| Path::new(interpreter).exists())
}

fn peculiarity(path: &Path, head: &[u8], exists: impl Fn(&str) -> bool) -> Option<String> {
    let name = path.display();
    if head.is_empty() {
        return Some(format!("`{name}` is empty"));
    }
    if let Some(script) = head.strip_prefix(b"#!") {
        let line =
            String::from_utf8_lossy(script.split(|b| *b == b'\n').next().unwrap_or_default()).into_owned();
        let interpreter = line.split_whitespace().next().unwrap_or_default();
        return if line.ends_with('\r') {
            Some(format!(
                "the first line of `{name}` ends in CR LF, as on Windows: save the file with LF line ends"
            ))
        } else if !exists(interpreter) {
            Some(format!("the interpreter `{interpreter}` of the script `{name}` is not in the image"))
        } else {
            None
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Some(format!("`{name}` is neither a program nor a script that starts with `#!`"));
    }
    let machine = elf_machine(head)?;
    let native = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let runs_here = machine == native
        || (native == "amd64" && machine == "386")
        || (native == "arm64" && machine == "arm");
    if !runs_here {
        return Some(format!(
            "`{name}` is a program for {machine}, this machine is {native}: choose an image with `--platform linux/{native}`, or install an emulator (qemu-user-static, binfmt-support)"
        ));
    }
    let loader = elf_loader(head).filter(|loader| !exists(loader))?;
    Some(format!("the dynamic loader `{loader}` that `{name}` was linked for is not in the image"))
}

/// Docker's name of the machine an ELF file is for.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    Some(match u16::from_le_bytes(head.get(18..20)?.try_into().ok()?) {
        3 => "386",
        40 => "arm",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        258 => "loong64",
        21 | 0x1500 => "ppc64le",
        22 | 0x1600 => "s390x",
        _ => "another kind of machine",
    })
}

/// The path in the PT_INTERP segment, if it is within the head.
fn elf_loader(head: &[u8]) -> Option<String> {
    let wide = *head.get(4)? == 2;
    let number = |at: usize, size: usize| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(head.get(at..at.checked_add(size)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let (table, size, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        if number(at, 4)? == 3 {
            let (offset, length) = if wide {
                (number(at + 8, 8)?, number(at + 32, 8)?)
            } else {
                (number(at + 4, 4)?, number(at + 16, 4)?)
            };
            let bytes = head.get(offset..offset.checked_add(length)?)?;
            return Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::Kind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn commands_and_docker_words() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (good, plain) = (file("good", 0o755), file("plain", 0o644));
        let environment = [format!("PATH=/nonexistent:{}", dir.path().display())];
        let here = dir.path().to_str().unwrap();
        for (command, expected) in [
            ("good", Ok(good.as_str())),
            (good.as_str(), Ok(good.as_str())),
            (
                "plain",
                Err((Kind::NotFound, "exec: \"plain\": executable file not found in $PATH".to_owned())),
            ),
            (plain.as_str(), Err((Kind::Denied, format!("exec: {plain:?}: permission denied")))),
            (here, Err((Kind::Denied, format!("exec: {here:?}: is a directory: permission denied")))),
            (
                "/no/x",
                Err((Kind::NotFound, "exec: \"/no/x\": stat /no/x: no such file or directory".to_owned())),
            ),
        ] {
            let got = find(command, &environment).map_err(|e| (e.kind(), e.to_string()));
            assert_eq!(got, expected.map(PathBuf::from), "{command}");
        }
    }

    #[test]
    fn hints_from_the_first_bytes() {
        let mut arm = b"\x7fELF\x02\x01\x01".to_vec();
        arm.resize(64, 0);
        arm[18] = 183;
        let mut dynamic = arm.clone();
        dynamic[18] = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
        (dynamic[32], dynamic[54], dynamic[56]) = (64, 56, 1);
        dynamic.resize(64 + 56, 0);
        (dynamic[64], dynamic[64 + 8], dynamic[64 + 32]) = (3, 120, 8);
        dynamic.extend(b"/lib/ld\0");
        let foreign = if cfg!(target_arch = "x86_64") { "program for arm64" } else { "/x" };
        for (head, words) in [
            (&b"#!/bin/sh\r\necho"[..], Some("CR LF")),
            (b"#!/no/bash -e\n", Some("`/no/bash`")),
            (b"#!/is/sh\n", None),
            (b"echo hi\n", Some("neither")),
            (b"", Some("is empty")),
            (&arm, Some(foreign)),
            (&dynamic, Some("loader `/lib/ld`")),
            (b"\x7fELF\x02", None),
        ] {
            let hint = peculiarity(Path::new("/x"), head, |path| path.starts_with("/is"));
            match (hint, words) {
                (Some(hint), Some(words)) => assert!(hint.contains(words), "{hint}"),
                (None, None) => {}
                (hint, words) => panic!("{hint:?} is not {words:?}"),
            }
        }
    }
}
