//! Which file a command means, and why it cannot be run: in docker's words, because scripts read them.

use crate::program::{Around, candidates, peculiarity, search_path};
use berth_oci::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Finds `command` as execvp does in this process's root and directory: with a slash it is a path, otherwise a name
/// to look for in the `PATH` of `environment`.
pub(super) fn find(command: &str, environment: &[String]) -> Result<PathBuf> {
    if command.contains('/') {
        let path = PathBuf::from(command);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let words = format!("exec: {command:?}: stat {command}: no such file or directory");
                Err(hinted(Error::not_found(words), &path, command))
            }
            Err(Errno::ISDIR) => {
                Err(Error::denied(format!("exec: {command:?}: is a directory: permission denied")))
            }
            Err(_) => {
                Err(hinted(Error::denied(format!("exec: {command:?}: permission denied")), &path, command))
            }
        };
    }
    let search = search_path(environment);
    candidates(command, search).find(|candidate| executable(candidate).is_ok()).ok_or_else(|| {
        let error = Error::not_found(format!("exec: {command:?}: executable file not found in $PATH"));
        let forbidden = candidates(command, search).find(|candidate| candidate.is_file());
        hinted(error, &forbidden.unwrap_or_default(), command)
    })
}

/// Two mistakes that everybody makes once: a file without the right to run it, and a whole line as one word.
fn hinted(error: Error, file: &Path, command: &str) -> Error {
    match (file.is_file(), command.contains(' ')) {
        (true, _) => error.hint(format!(
            "`{}` is there, and may not be executed: `RUN chmod +x` it, or `COPY --chmod=755` it into the image",
            file.display()
        )),
        (false, true) => error.hint(format!(
            "`{command}` is taken for the name of one program: give its arguments as words of their own"
        )),
        (false, false) => error,
    }
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
pub(super) fn refused(path: &Path, environment: &[String], error: &std::io::Error) -> Error {
    let name = path.display();
    let (error, kind): (_, fn(String) -> Error) = match error.raw_os_error() {
        Some(libc::ENOENT) => ("no such file or directory", Error::not_found),
        Some(libc::ENOEXEC) => ("exec format error", Error::denied),
        Some(libc::EACCES | libc::EPERM) => ("permission denied", Error::denied),
        Some(libc::E2BIG) => ("argument list too long", Error::invalid),
        _ => return Error::internal(format!("exec {name}: {error}")),
    };
    let refused = kind(format!("exec {name}: {error}"));
    let around =
        Around { open: &|path| File::open(path), exists: &Path::exists, search: search_path(environment) };
    match peculiarity(path, &around) {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
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
}
