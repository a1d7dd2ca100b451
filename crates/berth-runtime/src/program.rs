//! A program's file: what is peculiar about it, so that it cannot run, or ends as soon as it does.
//!
//! Here: reading the beginning of a file as the kernel and `env` do. Not here: which file a command means. Invariant:
//! nothing is said about a file that may well run.

use crate::mount::in_root;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What is asked about the files around a program, with paths as it has them.
pub(crate) struct Around<'a> {
    pub(crate) open: &'a dyn Fn(&Path) -> io::Result<File>,
    pub(crate) exists: &'a dyn Fn(&Path) -> bool,
    /// Where programs are looked for: directories with colons between.
    pub(crate) search: &'a str,
}

/// What is peculiar about the program of a command in the root of a container, if anything is.
#[must_use]
pub fn peculiarity_in(
    root: BorrowedFd<'_>,
    directory: &Path,
    command: &str,
    environment: &[String],
) -> Option<String> {
    let look = |path: &Path, flags| in_root::open(root, &Path::new("/").join(directory).join(path), flags);
    let around = Around {
        open: &|path| Ok(look(path, OFlags::RDONLY | OFlags::NONBLOCK)?.into()),
        exists: &|path| look(path, OFlags::PATH).is_ok(),
        search: search_path(environment),
    };
    let executable = |path: &PathBuf| {
        let stat = look(path, OFlags::PATH).ok().and_then(|file| fstat(file).ok());
        stat.is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && Mode::from_raw_mode(stat.st_mode).intersects(Mode::XUSR | Mode::XGRP | Mode::XOTH)
        })
    };
    peculiarity(&candidates(command, around.search).find(executable)?, &around)
}

/// What PATH says; the last one counts.
pub(crate) fn search_path(environment: &[String]) -> &str {
    environment.iter().rev().find_map(|v| v.strip_prefix("PATH=")).unwrap_or("")
}

/// The files that a command may mean, in the order of `execvp`.
pub(crate) fn candidates<'a>(command: &'a str, search: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let as_path = command.contains('/').then(|| PathBuf::from(command));
    let directories = search.split(':').filter(move |_| !command.contains('/'));
    let joined = move |dir: &'a str| Path::new(if dir.is_empty() { "." } else { dir }).join(command);
    as_path.into_iter().chain(directories.map(joined))
}

/// What is peculiar about a program, as far as its first bytes tell.
pub(crate) fn peculiarity(path: &Path, around: &Around<'_>) -> Option<String> {
    let file = (around.open)(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut head = Vec::new();
    file.take(4096).read_to_end(&mut head).ok()?;
    let name = path.display();
    if head.is_empty() {
        return Some(format!("`{name}` is empty"));
    }
    if let Some(script) = head.strip_prefix(b"#!") {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return of_script(path, &String::from_utf8_lossy(line), around);
    }
    match head.starts_with(b"\x7fELF") {
        true => of_elf(path, &head, length, around),
        false => Some(format!("`{name}` is neither a program nor a script that starts with `#!`")),
    }
}

fn of_script(path: &Path, line: &str, around: &Around<'_>) -> Option<String> {
    let name = path.display();
    if line.ends_with('\r') {
        return Some(format!(
            "the first line of `{name}` ends in CR LF, as on Windows: save the file with LF line ends"
        ));
    }
    let mut words = line.split_whitespace();
    let interpreter = words.next().unwrap_or_default();
    if !(around.exists)(Path::new(interpreter)) {
        return Some(format!("the interpreter `{interpreter}` of the script `{name}` is not in the image"));
    }
    if Path::new(interpreter).file_name()? != "env" {
        return None;
    }
    // Behind `env` come its options and variables, then the interpreter that is meant.
    let meant = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    let is_there = candidates(meant, around.search).any(|candidate| (around.exists)(&candidate));
    (!is_there)
        .then(|| format!("the interpreter `{meant}` of the script `{name}` is not in the image's PATH"))
}

fn of_elf(path: &Path, head: &[u8], length: u64, around: &Around<'_>) -> Option<String> {
    let name = path.display();
    let Some(elf) = Elf::parse(head) else {
        return Some(format!("`{name}` is damaged: it begins like a program, and has no header of one"));
    };
    let machine = elf.machine();
    let native = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let runs_here = machine == native
        || (native == "amd64" && machine == "386")
        || (native == "arm64" && machine == "arm");
    if !runs_here {
        return Some(format!(
            "`{name}` is a program for {machine}, this machine is {native}: choose an image with `--platform linux/{native}`, or install an emulator (qemu-user-static, binfmt-support)"
        ));
    }
    match elf.kind {
        2 | 3 => {}
        1 => return Some(format!("`{name}` is an object file: it has to be linked to become a program")),
        _ => return Some(format!("`{name}` is no program, though it has the header of one")),
    }
    if let Some(promised) = elf.promised().filter(|promised| *promised > length) {
        return Some(format!(
            "`{name}` is damaged: it has {length} bytes, and its header speaks of {promised}; it was not copied completely"
        ));
    }
    let loader = elf.loader().filter(|loader| !(around.exists)(Path::new(loader)))?;
    Some(format!("the dynamic loader `{loader}` that `{name}` was linked for is not in the image"))
}

/// The header of an ELF file, and what follows it.
struct Elf<'a> {
    head: &'a [u8],
    wide: bool,
    big: bool,
    kind: u64,
}

/// One row of the table of segments.
struct Segment {
    kind: u64,
    offset: u64,
    size: u64,
}

const LOADED: u64 = 1;
const INTERPRETER: u64 = 3;

impl<'a> Elf<'a> {
    /// `None` where there is no whole header.
    fn parse(head: &'a [u8]) -> Option<Self> {
        let [class @ (1 | 2), order @ (1 | 2), 1] = *head.get(4..7)? else { return None };
        let elf = Self { head, wide: class == 2, big: order == 2, kind: 0 };
        head.get(..if elf.wide { 64 } else { 52 })?;
        Some(Self { kind: elf.number(16, 2)?, ..elf })
    }

    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let digits = self.head.get(at..at.checked_add(size)?)?;
        let add = |number: u64, digit: &u8| (number << 8) | u64::from(*digit);
        Some(if self.big { digits.iter().fold(0, add) } else { digits.iter().rev().fold(0, add) })
    }

    /// Docker's name of the machine it is for.
    fn machine(&self) -> &'static str {
        match self.number(18, 2) {
            Some(3) => "386",
            Some(40) => "arm",
            Some(62) => "amd64",
            Some(183) => "arm64",
            Some(243) => "riscv64",
            Some(258) => "loong64",
            Some(21) => "ppc64le",
            Some(22) => "s390x",
            _ => "another kind of machine",
        }
    }

    /// Where the table of segments begins, and how large and how many its rows are.
    fn table(&self) -> Option<(u64, u64, u64)> {
        Some(match self.wide {
            true => (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?),
            false => (self.number(28, 4)?, self.number(42, 2)?, self.number(44, 2)?),
        })
    }

    /// Those rows that are within the head.
    fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let (table, row, count) = self.table().unwrap_or_default();
        (0..count).map_while(move |index| {
            let at = table.checked_add(index.checked_mul(row)?)?;
            let (offset, size, width) = if self.wide { (8, 32, 8) } else { (4, 16, 4) };
            Some(Segment {
                kind: self.number(at, 4)?,
                offset: self.number(at.checked_add(offset)?, width)?,
                size: self.number(at.checked_add(size)?, width)?,
            })
        })
    }

    /// How long the file has to be at least.
    fn promised(&self) -> Option<u64> {
        let (table, row, count) = self.table()?;
        let loaded = self.segments().filter(|segment| segment.kind == LOADED);
        let ends = loaded.map(|segment| segment.offset.saturating_add(segment.size));
        ends.chain([table.saturating_add(row * count)]).max()
    }

    /// The path of its dynamic loader, if that is within the head.
    fn loader(&self) -> Option<String> {
        let segment = self.segments().find(|segment| segment.kind == INTERPRETER)?;
        let (from, to) = (segment.offset, segment.offset.checked_add(segment.size)?);
        let bytes = self.head.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?;
        Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u8 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

    /// A header of this kind for this machine, with one segment behind it and these bytes behind that.
    fn elf(kind: u8, machine: u8, segment: (u8, u8, u8), rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64 + 56, 0);
        (bytes[16], bytes[18], bytes[32], bytes[54], bytes[56]) = (kind, machine, 64, 56, 1);
        (bytes[64], bytes[64 + 8], bytes[64 + 32]) = segment;
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn what_first_bytes_tell() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = if HERE == 62 { 183 } else { 62 };
        let sparc = b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x2b".to_vec();
        let sparc = [sparc, vec![0; 44]].concat();
        let rows: &[(&[u8], Option<&str>)] = &[
            (b"#!/bin/sh\r\necho", Some("CR LF")),
            (b"#!/usr/bin/env bash\r\n", Some("CR LF")),
            (b"#!/no/bash -e\n", Some("`/no/bash`")),
            (b"#!/is/sh\n", None),
            (b"#!/is/env python9\n", Some("the interpreter `python9`")),
            (b"#!/is/env -S A=1 ruby -w\n", Some("the interpreter `ruby`")),
            (b"#!/is/env sh\n", None),
            (b"#!/is/env /no/sh\n", Some("the interpreter `/no/sh`")),
            (b"echo hi\n", Some("neither")),
            (b"", Some("is empty")),
            (&elf(2, foreign, (0, 0, 0), b""), Some("is a program for")),
            (&elf(2, HERE, (3, 120, 8), b"/lib/ld\0"), Some("loader `/lib/ld`")),
            (&elf(3, HERE, (3, 120, 7), b"/is/ld\0"), None),
            (&elf(2, HERE, (1, 100, 21), b""), Some("it has 120 bytes, and its header speaks of 121")),
            (&elf(2, HERE, (1, 100, 20), b""), None),
            (&elf(2, HERE, (1, 0, 0), b"")[..90], Some("it has 90 bytes")),
            (&elf(2, HERE, (1, 0, 0), b"")[..63], Some("no header")),
            (b"\x7fELF\x02", Some("no header")),
            (
                b"\x7fELF\x07\x01\x01 and so on, for more than the sixty-four bytes of a whole header",
                Some("no header"),
            ),
            (&elf(1, HERE, (0, 0, 0), b""), Some("object file")),
            (&elf(4, HERE, (0, 0, 0), b""), Some("is no program")),
            (&sparc, Some("another kind of machine")),
        ];
        for (number, (head, words)) in rows.iter().enumerate() {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, head).unwrap();
            let around = Around {
                open: &|path| File::open(path),
                exists: &|path| {
                    path.starts_with("/is") && !path.ends_with("python9") && !path.ends_with("ruby")
                },
                search: "/none:/is",
            };
            match (peculiarity(&path, &around), words) {
                (Some(hint), Some(words)) => assert!(hint.contains(words), "{hint} is not {words}"),
                (None, None) => {}
                (hint, words) => panic!("{number}: {hint:?} is not {words:?}"),
            }
        }
    }
}
