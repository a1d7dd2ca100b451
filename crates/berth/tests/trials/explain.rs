//! `build --explain`: every kind of miss is told with its true cause. Each row is a project of its own that is built,
//! changed in one way, and built again.

use super::build::Site;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What happens between two builds.
enum Change {
    Dockerfile(&'static str),
    Write(&'static str, &'static str),
    Remove(&'static str),
    Mode(&'static str, u32),
    Link(&'static str, &'static str),
    Prune,
    /// The image `moving` gets another file.
    Move,
}
use Change::{Dockerfile, Link, Mode, Move, Prune, Remove, Write};

struct Kind {
    name: &'static str,
    dockerfile: &'static str,
    /// Flags of the first build and of the second.
    flags: [&'static [&'static str]; 2],
    change: &'static [Change],
    /// What the second build says of one of its steps; `#` is the kind's own number.
    because: &'static str,
}

const NONE: [&[&str]; 2] = [&[], &[]];

/// Every project has `a`, `d/b`, a link `l` to `a`, and `.dockerignore` with `*.log`; `#` makes its steps its own.
const KINDS: &[Kind] = &[
    Kind {
        name: "another instruction",
        dockerfile: "FROM box\nRUN echo # one",
        flags: NONE,
        change: &[Dockerfile("FROM box\nRUN echo # two")],
        because: "the instruction was `RUN echo # one`",
    },
    Kind {
        name: "a new instruction at the end",
        dockerfile: "FROM scratch\nCOPY a /#",
        flags: NONE,
        change: &[Dockerfile("FROM scratch\nCOPY a /#\nCOPY d /#d")],
        because: "MISS because there was no such instruction before",
    },
    Kind {
        name: "a new instruction before it",
        dockerfile: "FROM scratch\nCOPY a /#",
        flags: NONE,
        change: &[Dockerfile("FROM scratch\nCOPY d /#d\nCOPY a /#")],
        because: "`COPY d /#d`, before it, is new",
    },
    Kind {
        name: "an instruction before it is gone",
        dockerfile: "FROM scratch\nCOPY d /#d\nCOPY a /#",
        flags: NONE,
        change: &[Dockerfile("FROM scratch\nCOPY a /#")],
        because: "`COPY d /#d`, before it, is gone",
    },
    Kind {
        name: "an argument's value",
        dockerfile: "FROM box\nARG SHA\nRUN echo # $SHA",
        flags: [&["--build-arg", "SHA=1"], &["--build-arg", "SHA=2"]],
        change: &[],
        because: "MISS because ARG SHA is \"2\" instead of \"1\"",
    },
    Kind {
        name: "an argument that is declared now",
        dockerfile: "FROM box\nRUN echo #",
        flags: NONE,
        change: &[Dockerfile("FROM box\nARG NEW=1\nRUN echo #")],
        because: "MISS because ARG NEW is new here, with the value \"1\"",
    },
    Kind {
        name: "an argument with a secret name",
        dockerfile: "FROM box\nARG API_TOKEN\nRUN echo #",
        flags: [&["--build-arg", "API_TOKEN=1"], &["--build-arg", "API_TOKEN=2"]],
        change: &[],
        because: "MISS because ARG API_TOKEN has another value\n",
    },
    Kind {
        name: "a variable's value",
        dockerfile: "FROM box\nENV MODE=#one\nRUN echo",
        flags: NONE,
        change: &[Dockerfile("FROM box\nENV MODE=#two\nRUN echo")],
        because: "MISS because ENV MODE is \"#two\" instead of \"#one\"",
    },
    Kind {
        name: "a variable that is gone",
        dockerfile: "FROM box\nENV MODE=1\nRUN echo #",
        flags: NONE,
        change: &[Dockerfile("FROM box\nRUN echo #")],
        because: "MISS because the variable MODE is gone",
    },
    Kind {
        name: "a file's content",
        dockerfile: "FROM scratch\nCOPY . /#/",
        flags: NONE,
        change: &[Write("d/b", "other")],
        because: "MISS because `d/b` changed at ",
    },
    Kind {
        name: "a file came",
        dockerfile: "FROM scratch\nCOPY . /#/",
        flags: NONE,
        change: &[Write("d/new", "")],
        because: "MISS because `d/new` came at ",
    },
    Kind {
        name: "a file went",
        dockerfile: "FROM scratch\nCOPY . /#/",
        flags: NONE,
        change: &[Remove("d/b")],
        because: "MISS because `d/b` is gone\n",
    },
    Kind {
        name: "a file's mode",
        dockerfile: "FROM scratch\nCOPY a /#/",
        flags: NONE,
        change: &[Mode("a", 0o755)],
        because: "MISS because `a` is a file 755 0:0 instead of a file 644 0:0",
    },
    Kind {
        name: "a link in a file's place",
        dockerfile: "FROM scratch\nCOPY d /#/",
        flags: NONE,
        change: &[Remove("d/b"), Link("d/b", "nowhere")],
        because: "MISS because `d/b` is a link 777 0:0 instead of a file 644 0:0",
    },
    Kind {
        name: "where a link leads",
        dockerfile: "FROM scratch\nCOPY . /#/",
        flags: NONE,
        change: &[Remove("l"), Link("l", "d/b")],
        because: "MISS because `l` leads to `d/b` instead of `a`",
    },
    Kind {
        name: "the ignore file lets something in",
        dockerfile: "FROM scratch\nCOPY d /#/",
        flags: NONE,
        change: &[Write(".dockerignore", "*.txt")],
        because: "(the ignore file says something else)",
    },
    Kind {
        name: "without cache",
        dockerfile: "FROM scratch\nCOPY a /#/",
        flags: [&[], &["--no-cache"]],
        change: &[],
        because: "MISS because it was asked for without cache",
    },
    Kind {
        name: "a stage without cache",
        dockerfile: "FROM scratch AS one\nCOPY a /#/\nFROM one\nCOPY d /#d/",
        flags: [&[], &["--no-cache-filter", "one"]],
        change: &[],
        because: "[one 2/2] COPY a /#/\n#3 MISS because it was asked for without cache",
    },
    Kind {
        name: "removed from the cache",
        dockerfile: "FROM scratch\nCOPY a /#/",
        flags: NONE,
        change: &[Prune],
        because: "MISS because its result was removed from the cache",
    },
    Kind {
        name: "it failed",
        dockerfile: "FROM box\nRUN echo #; exit 3",
        flags: NONE,
        change: &[],
        because: "MISS because it failed the last time",
    },
    Kind {
        name: "the step before it, because of a file",
        dockerfile: "FROM box\nCOPY a /#/\nRUN echo #",
        flags: NONE,
        change: &[Write("a", "other")],
        because: "MISS because `COPY a /#/`, before it, made something else, because `a` changed at ",
    },
    Kind {
        name: "the base image moved",
        dockerfile: "FROM moving\nRUN echo #",
        flags: NONE,
        change: &[Move],
        because: "MISS because the base image moving:latest is another one: sha256:",
    },
    Kind {
        name: "another base image",
        dockerfile: "FROM scratch\nCOPY a /#/",
        flags: NONE,
        change: &[Dockerfile("FROM box\nCOPY a /#/")],
        because: "MISS because its stage starts from box:latest, which it did not",
    },
    Kind {
        name: "a file of the stage it stands on",
        dockerfile: "FROM scratch AS one\nCOPY a /#/\nFROM one\nCOPY d /#d/",
        flags: NONE,
        change: &[Write("a", "other")],
        because: "MISS because `COPY a /#/`, before it, made something else, because `a` changed at ",
    },
    Kind {
        name: "a file of the stage it copies from",
        dockerfile: "FROM scratch AS one\nCOPY a /#/\nFROM scratch\nCOPY --from=one /#/ /#d/",
        flags: NONE,
        change: &[Write("a", "other")],
        because: "[stage-1 2/2] COPY --from=one /#/ /#d/\n#4 MISS because `#/a` changed at ",
    },
    Kind {
        name: "the user",
        dockerfile: "FROM box\nRUN echo #",
        flags: NONE,
        change: &[Dockerfile("FROM box\nUSER 12\nRUN echo #")],
        because: "MISS because USER is \"12\" instead of \"\"",
    },
    Kind {
        name: "the working directory",
        dockerfile: "FROM box\nWORKDIR /#a\nRUN echo #",
        flags: NONE,
        change: &[Dockerfile("FROM box\nWORKDIR /#b\nRUN echo #")],
        because: "MISS because `WORKDIR /#b`, before it, is new; WORKDIR is \"/#b\" instead of \"/#a\"",
    },
    Kind {
        name: "the shell",
        dockerfile: "FROM box\nRUN echo #",
        flags: NONE,
        change: &[Dockerfile("FROM box\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo #")],
        because: "MISS because SHELL is \"/bin/sh -ec echo #\" instead of \"/bin/sh -c echo #\"",
    },
    Kind {
        name: "the network",
        dockerfile: "FROM box\nRUN echo #",
        flags: [&[], &["--network", "host"]],
        change: &[],
        because: "MISS because its network is \"Host\" instead of \"None\"",
    },
    Kind {
        name: "a file that it sees",
        dockerfile: "FROM box\nRUN --mount=type=bind,target=/# ls /#",
        flags: NONE,
        change: &[Write("d/b", "other")],
        because: "MISS because `d/b` changed at ",
    },
    Kind {
        name: "a cache",
        dockerfile: "FROM box\nARG ID=1\nRUN --mount=type=cache,id=#$ID,target=/# ls /#",
        flags: [&[], &["--build-arg", "ID=2"]],
        change: &[],
        because: "its cache mount at /# has other contents or options",
    },
    Kind {
        name: "a document",
        dockerfile: "FROM scratch\nCOPY <<EOF /#/x\none\nEOF",
        flags: NONE,
        change: &[Dockerfile("FROM scratch\nCOPY <<EOF /#/x\ntwo\nEOF")],
        because: "MISS because the text of its heredoc EOF changed",
    },
    Kind {
        name: "a script",
        dockerfile: "FROM box\nRUN <<EOF\n#!/bin/sh\necho # one\nEOF",
        flags: NONE,
        change: &[Dockerfile("FROM box\nRUN <<EOF\n#!/bin/sh\necho # two\nEOF")],
        because: "MISS because the text of its heredoc EOF changed",
    },
    Kind {
        name: "an owner",
        dockerfile: "FROM scratch\nARG WHO=1\nCOPY --chown=$WHO a /#/",
        flags: [&[], &["--build-arg", "WHO=2"]],
        change: &[],
        because: "MISS because its chown is \"2\" instead of \"1\"",
    },
    Kind {
        name: "a variable in a path",
        dockerfile: "FROM scratch\nARG WHAT=a\nCOPY $WHAT /#/",
        flags: [&[], &["--build-arg", "WHAT=d/b"]],
        change: &[],
        because: "a variable in it has another value: `d/b` instead of `a`",
    },
    Kind {
        name: "the moment that counts as now",
        dockerfile: "FROM scratch\nCOPY a /#/",
        flags: [&[], &["--build-arg", "SOURCE_DATE_EPOCH=1000000000"]],
        change: &[],
        because: "MISS because SOURCE_DATE_EPOCH is \"1000000000\" now",
    },
];

#[test]
fn every_kind_of_miss_has_its_true_cause() {
    let Some(site) = Site::new("every_kind_of_miss_has_its_true_cause") else { return };
    move_base(&site, "0");
    for (number, kind) in KINDS.iter().enumerate() {
        let own = |text: &str| {
            text.replace("#!", "\u{1}").replace('#', &format!("k{number}")).replace('\u{1}', "#!")
        };
        let project = site.berth.path(&format!("project-{number}"));
        fs::create_dir_all(project.join("d")).unwrap();
        let write = |name: &str, text: &str| fs::write(project.join(name), text).unwrap();
        write("Dockerfile", &own(kind.dockerfile));
        write(".dockerignore", "*.log\n*/*.log\nDockerfile\n.dockerignore");
        write("a", "first");
        write("d/b", "first");
        write("d/x.log", "");
        symlink("a", project.join("l")).unwrap();
        build(&site, &project, kind.flags[0]);
        for change in kind.change {
            match change {
                Dockerfile(text) => write("Dockerfile", &own(text)),
                Write(name, text) => write(name, text),
                Remove(name) => fs::remove_file(project.join(name)).unwrap(),
                Mode(name, mode) => {
                    fs::set_permissions(project.join(name), fs::Permissions::from_mode(*mode)).unwrap();
                }
                Link(name, target) => symlink(target, project.join(name)).unwrap(),
                Prune => drop(site.berth.ok(&["buildx", "prune", "-a", "-f"])),
                Move => move_base(&site, "1"),
            }
        }
        let said = build(&site, &project, kind.flags[1]);
        let because = match kind.because.contains("\n#") {
            // Numbers of steps stay what they are.
            true => kind.because.replace("/#", &format!("/k{number}")).replace("`#", &format!("`k{number}")),
            false => own(kind.because),
        };
        assert!(said.contains(&because), "{}: {because}\n{said}", kind.name);
    }
}

fn build(site: &Site, project: &Path, flags: &[&str]) -> String {
    let mut words = vec!["build", "--explain"];
    if !flags.contains(&"--network") {
        words.extend(["--network", "none"]);
    }
    words.extend(flags);
    words.push(project.to_str().unwrap());
    site.berth.run(&words).stderr()
}

/// The image `moving` is another one.
pub(super) fn move_base(site: &Site, version: &str) {
    let directory = site.berth.path("base");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("version"), version).unwrap();
    fs::write(directory.join("Dockerfile"), "FROM box\nCOPY version /version\n").unwrap();
    site.berth.ok(&["build", "-q", "-t", "moving", directory.to_str().unwrap()]);
}

#[test]
fn hits_the_ignore_file_and_large_paths_are_explained() {
    let Some(site) = Site::new("hits_the_ignore_file_and_large_paths_are_explained") else { return };
    site.file("Dockerfile", "FROM box AS unused\nRUN false\nFROM scratch\nCOPY . /\n")
        .file(".dockerignore", "*.log\n!keep.log\nnothing-like-that\n")
        .file("x.log", &"x".repeat(5_000))
        .file("keep.log", "kept")
        .file("data/large", &"x".repeat(20_000))
        .file("small", "x");
    site.build(&[]);
    let said = site.build(&["--explain"]);
    for line in [
        "HIT because nothing that it depends on has changed since 2",
        "[unused]\n#3 SKIPPED because nothing that is built needs it\n",
        "Left out: 1 files, 5kB\n",
        "  line 1: *.log leaves out 1 files, 5kB\n",
        "  line 2: !keep.log brings back 1 files, 4B\n",
        "  line 3: nothing-like-that leaves nothing out\n",
        "Largest paths of the context:\n       20kB  data/large\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
