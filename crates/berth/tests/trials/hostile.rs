//! Contexts, archives and Dockerfiles that nobody should have made.

use super::support::{Outcome, Sealed, rig};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Site {
    berth: Sealed,
    context: PathBuf,
}

impl Site {
    fn new(test: &str) -> Option<Self> {
        let berth = rig(test, "CMD true")?;
        let context = berth.path("context");
        fs::create_dir_all(&context).unwrap();
        Some(Self { berth, context })
    }

    fn run(&self, dockerfile: &str) -> Outcome {
        fs::write(self.context.join("Dockerfile"), dockerfile).unwrap();
        self.berth.run(&["build", "--network", "none", "-t", "app", self.context.to_str().unwrap()])
    }

    fn shell(&self, command: &str) -> String {
        self.berth.ok(&["run", "--rm", "app", "sh", "-c", command])
    }
}

#[test]
fn contexts_hold_whatever_file_systems_hold() {
    let Some(site) = Site::new("contexts_hold_whatever_file_systems_hold") else { return };
    let strange = site.context.join("strange");
    fs::create_dir_all(&strange).unwrap();
    let _socket = UnixListener::bind(strange.join("socket")).unwrap();
    let made = Command::new("mkfifo").arg(strange.join("pipe")).status().unwrap();
    assert!(made.success());
    let device = Command::new("mknod").arg(strange.join("null")).args(["c", "1", "3"]).status().unwrap();
    assert!(device.success());
    fs::write(strange.join(OsStr::from_bytes(b"\xff\xfe name")), "bytes").unwrap();
    fs::write(strange.join("new\nline"), "line").unwrap();
    symlink("loop", strange.join("loop")).unwrap();
    symlink("b", strange.join("a")).unwrap();
    symlink("a", strange.join("b")).unwrap();
    symlink("../../../../../../etc/hostname", strange.join("out")).unwrap();
    symlink("/etc", strange.join("etc")).unwrap();
    let outcome = site.run("FROM box\nCOPY strange /s/\n");
    assert!(outcome.succeeded(), "{}", outcome.tell());
    let listed = site.shell("cd /s; for f in *; do printf '%s|' \"$f\"; done; readlink loop; readlink out; test -p pipe && test -c null && echo kinds");
    assert!(
        listed.contains("new\nline|") && listed.ends_with("loop\n../../../../../../etc/hostname\nkinds\n"),
        "{listed}"
    );
    // As docker sends it.
    assert_eq!(site.shell("test -f /s/socket && wc -c < /s/socket"), "0\n");
    assert_eq!(site.shell("cat /s/*name"), "bytes");
    // Links are followed where they are named, and lead nowhere outside.
    for (source, expected) in [
        ("strange/loop", "too many"),
        ("strange/a", "too many"),
        ("strange/out", "not found"),
        ("strange/etc/passwd", "not found"),
        ("../../etc/passwd", "not found"),
    ] {
        let outcome = site.run(&format!("FROM box\nCOPY {source} /x\n"));
        assert!(!outcome.succeeded() && outcome.stderr().contains(expected), "{source}: {}", outcome.tell());
        assert!(!outcome.stderr().contains("panicked"), "{source}: {}", outcome.tell());
    }
}

#[test]
fn dockerfiles_cannot_grow_without_end() {
    let Some(site) = Site::new("dockerfiles_cannot_grow_without_end") else { return };
    let mut bomb = String::from("FROM box\nARG A0=aaaaaaaaaaaaaaaa\n");
    for number in 1..40 {
        let before = number - 1;
        bomb.push_str(&format!("ARG A{number}=${{A{before}}}${{A{before}}}${{A{before}}}${{A{before}}}\n"));
    }
    bomb.push_str("ENV BOMB=$A39\n");
    let nested = format!("FROM box\nENV X={}y{}\n", "${A:-".repeat(10_000), "}".repeat(10_000));
    let onbuild = format!("FROM box\nONBUILD {}RUN true\n", "ONBUILD ".repeat(1000));
    for (what, dockerfile) in [
        ("a bomb of arguments", bomb.as_str()),
        ("nesting", &nested),
        ("triggers of triggers", &onbuild),
        ("a stage of itself", "FROM a AS a\n"),
        (
            "a circle of copies",
            "FROM box AS a\nCOPY --from=b / /\nFROM box AS b\nCOPY --from=a / /\nFROM a\n",
        ),
        ("a circle of mounts", "FROM box AS a\nRUN --mount=from=b,target=/m true\nFROM a AS b\n"),
        ("itself as a source", "FROM box AS a\nCOPY --from=a / /x\n"),
    ] {
        let outcome = site.run(dockerfile);
        let code = outcome.output.status.code();
        let said = outcome.stderr();
        assert!(
            code == Some(1) && !said.contains("panicked"),
            "{what}: {code:?} {}",
            said.chars().take(2000).collect::<String>()
        );
        assert!(said.len() < 1 << 20, "{what}: {} bytes of words", said.len());
    }
}

#[test]
fn archives_as_contexts_stay_inside() {
    let Some(site) = Site::new("archives_as_contexts_stay_inside") else { return };
    let tree = site.berth.path("tree");
    fs::create_dir_all(&tree).unwrap();
    symlink("/etc/passwd", tree.join("Dockerfile")).unwrap();
    symlink("/etc", tree.join("etc")).unwrap();
    let tar = site.berth.path("c.tar");
    let packed =
        Command::new("tar").arg("-cf").arg(&tar).args(["-C", tree.to_str().unwrap(), "."]).status().unwrap();
    assert!(packed.success());
    let feed = |bytes: &[u8], words: &[&str]| {
        let path = site.berth.path("stdin");
        fs::write(&path, bytes).unwrap();
        let mut command =
            site.berth.command(&[&["build", "--network", "none"], words, &["-"]].concat(), None);
        let output = command.stdin(Stdio::from(fs::File::open(&path).unwrap())).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let whole = fs::read(&tar).unwrap();
    for (what, bytes, words, expected) in [
        ("a Dockerfile that leads out", &whole[..], &[][..], "cannot access `Dockerfile`"),
        ("a name that leads out", &whole[..], &["-f", "etc/passwd"][..], "cannot access `etc/passwd`"),
        ("half an archive", &whole[..700], &[][..], ""),
        ("a compressed nothing", &[0x1f, 0x8b, 8, 0, 0, 0][..], &[][..], ""),
    ] {
        let (code, said) = feed(bytes, words);
        assert!(
            code == Some(1) && said.contains(expected) && !said.contains("panicked"),
            "{what}: {code:?} {said}"
        );
        assert!(!said.contains("root:x:"), "{what}: the host's file was read: {said}");
    }
}
