//! Builds with the real binary: what a Dockerfile makes, what is done again, and what never leaves.

use super::support::{Outcome, Sealed, rig};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A sealed berth with an image called `box`, and a directory to build from.
pub(super) struct Site {
    pub(super) berth: Sealed,
    pub(super) context: PathBuf,
}

impl Site {
    pub(super) fn new(test: &str) -> Option<Self> {
        let berth = rig(test, "CMD true")?;
        let context = berth.path("context");
        fs::create_dir_all(&context).unwrap();
        Some(Self { berth, context })
    }

    pub(super) fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.context.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(super) fn run(&self, flags: &[&str]) -> Outcome {
        let mut words = vec!["build", "--network", "none"];
        words.extend(flags);
        words.push(self.context.to_str().unwrap());
        self.berth.run(&words)
    }

    /// Builds; answers what was said.
    pub(super) fn build(&self, flags: &[&str]) -> String {
        let outcome = self.run(flags);
        assert!(outcome.succeeded(), "{}", outcome.tell());
        outcome.stderr()
    }

    /// Builds; answers the image's id.
    pub(super) fn id(&self, flags: &[&str]) -> String {
        let outcome = self.run(&[&["-q"], flags].concat());
        assert!(outcome.succeeded(), "{}", outcome.tell());
        outcome.stdout()
    }
}

#[test]
fn stages_become_an_image_that_runs() {
    let Some(site) = Site::new("stages_become_an_image_that_runs") else { return };
    site.file("hello.txt", "hello").file(".dockerignore", "*.log\n").file("noise.log", "").file(
        "Dockerfile",
        "ARG WHO=nobody
FROM box AS made
ARG WHO
RUN echo made for $WHO > /out && mkdir /d && touch /d/x
FROM box
WORKDIR /srv/app
COPY --from=made /out /d ./
COPY . all/
COPY --chown=7:8 --chmod=600 <<EOF conf
who=${HOSTNAME_OF:-default}
EOF
ENV A=\"1 2\" B=$WHO
RUN rm -r /srv/app/x && echo $A > a
LABEL maker=me
CMD [\"cat\", \"/srv/app/out\"]
",
    );
    site.build(&["-t", "app", "--build-arg", "WHO=you", "--label", "by=flag"]);
    let run = |words: &[&str]| site.berth.ok(&[&["run", "--rm", "app"], words].concat());
    assert_eq!(run(&[]), "made for you\n");
    assert_eq!(run(&["ls", "/srv/app"]), "a\nall\nconf\nout\n");
    assert_eq!(run(&["cat", "/srv/app/conf", "/srv/app/a"]), "who=default\n1 2\n");
    assert_eq!(run(&["stat", "-c", "%a %u:%g", "/srv/app/conf"]), "600 7:8\n");
    assert_eq!(run(&["ls", "/srv/app/all"]), "Dockerfile\nhello.txt\n");
    let labels = site.berth.ok(&["inspect", "-f", "{{json .Config.Labels}}", "app"]);
    assert_eq!(labels, "{\"by\":\"flag\",\"maker\":\"me\"}\n");
    let history = site.berth.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"]);
    assert!(history.contains("COPY --chown=7:8 --chmod=600 <<EOF conf # buildkit"), "{history}");
    assert!(history.contains("RUN /bin/sh -c rm -r /srv/app/x && echo $A > a # buildkit"), "{history}");
    site.berth.check().unwrap();
}

#[test]
fn only_what_changed_is_done_again() {
    let Some(site) = Site::new("only_what_changed_is_done_again") else { return };
    let dockerfile = "FROM box\nRUN echo 1 > /one\nCOPY a /a\nRUN echo 2 > /two\n";
    site.file("a", "first").file("Dockerfile", dockerfile);
    let first = site.id(&["-t", "app"]);
    assert_eq!(site.id(&["-t", "app"]), first, "nothing changed: the same image, digest and all");
    let cached = |said: &str| said.matches(" CACHED\n").count();
    // One is the base.
    assert_eq!(cached(&site.build(&[])), 4);
    // Equal size and equal time: only the content tells.
    let path = site.context.join("a");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "other").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let said = site.build(&["-t", "app", "--explain"]);
    assert_eq!(cached(&said), 2, "{said}");
    assert!(said.contains("MISS because `a` changed at "), "{said}");
    assert_eq!(site.berth.ok(&["run", "--rm", "app", "cat", "/a"]), "other");
    // Another time and the same content: nothing to do.
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time - std::time::Duration::from_secs(9))
        .unwrap();
    assert_eq!(cached(&site.build(&[])), 4);
    assert_eq!(cached(&site.build(&["--no-cache"])), 1);
}

#[test]
fn stages_nobody_needs_never_run_and_others_run_at_once() {
    let Some(site) = Site::new("stages_nobody_needs_never_run_and_others_run_at_once") else { return };
    // Each waits for the other through a cache mount: one after the other, they would wait for ever.
    let meet = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,id=meet,target=/m touch /m/{own}; i=0; \
             while [ ! -e /m/{other} ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done; \
             test -e /m/{other} && touch /{own}"
        )
    };
    let dockerfile = format!(
        "FROM box AS broken\nRUN exit 1\nFROM box AS x\n{}\nFROM box AS y\n{}\nFROM box\nCOPY --from=x /x /\nCOPY --from=y /y /\n",
        meet("x", "y"),
        meet("y", "x")
    );
    site.file("Dockerfile", &dockerfile);
    site.build(&["-t", "app"]);
    let failed = site.run(&["--target", "broken"]);
    assert!(!failed.succeeded());
    let said = failed.stderr();
    assert!(
        said.contains("process \"/bin/sh -c exit 1\" did not complete successfully: exit code: 1"),
        "{said}"
    );
    assert!(said.contains(">>> RUN exit 1"), "{said}");
}

#[test]
fn two_processes_do_a_step_once() {
    let Some(site) = Site::new("two_processes_do_a_step_once") else { return };
    site.file(
        "Dockerfile",
        "FROM box\nRUN --mount=type=cache,target=/m echo x >> /m/count; sleep 1; cat /m/count > /n\n",
    );
    let context = site.context.to_str().unwrap();
    let builds: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|tag| site.berth.spawn(&["build", "--network", "none", "-t", tag, context]))
        .collect();
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for tag in ["one", "two", "three"] {
        assert_eq!(site.berth.ok(&["run", "--rm", tag, "cat", "/n"]), "x\n");
    }
}

#[test]
fn secrets_reach_the_step_and_nothing_else() {
    let Some(site) = Site::new("secrets_reach_the_step_and_nothing_else") else { return };
    let secret = "s3cr3t-that-nobody-keeps";
    let file = site.berth.path("secret");
    fs::write(&file, secret).unwrap();
    site.file(
        "Dockerfile",
        "FROM box
RUN --mount=type=secret,id=key,mode=0440 --mount=type=secret,id=key,env=KEY \
    wc -c < /run/secrets/key > /size && test \"$(cat /run/secrets/key)\" = \"$KEY\"
RUN --mount=type=tmpfs,target=/mem --mount=type=bind,target=/ctx,rw echo x > /mem/y && touch /ctx/new && ls /ctx > /seen
",
    );
    let flag = format!("id=key,src={}", file.display());
    site.build(&["-t", "app", "--secret", &flag]);
    assert_eq!(site.berth.ok(&["run", "--rm", "app", "cat", "/size", "/seen"]), "24\nDockerfile\nnew\n");
    // Mount points that were made for the step are in no layer, and the context is as it was.
    assert_eq!(site.berth.run(&["run", "--rm", "app", "ls", "/ctx"]).output.status.code(), Some(1));
    assert!(!site.context.join("new").exists());
    for directory in [site.berth.root(), site.berth.path("run")] {
        assert_eq!(holding(&directory, secret.as_bytes()), Vec::<PathBuf>::new());
    }
    let missing = site.run(&["--no-cache"]);
    assert!(missing.succeeded() || missing.stderr().contains("exit code"), "{}", missing.tell());
}

/// The files below a directory that hold these bytes.
pub(super) fn holding(directory: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                let mut content = Vec::new();
                let read = fs::File::open(entry.path()).and_then(|mut file| file.read_to_end(&mut content));
                if read.is_ok() && content.windows(bytes.len()).any(|window| window == bytes) {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}

#[test]
fn a_build_that_dies_takes_its_step_along() {
    let Some(site) = Site::new("a_build_that_dies_takes_its_step_along") else { return };
    let dockerfile =
        "FROM box\nRUN echo kept > /kept\nRUN --mount=type=cache,target=/m touch /m/here; sleep 1000\n";
    site.file("Dockerfile", dockerfile);
    let context = site.context.to_str().unwrap();
    let here = || {
        let mounts = site.berth.root().join("builds/mounts");
        fs::read_dir(mounts)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path().join("data/here").exists())
    };
    for signal in ["-KILL", "-INT"] {
        let mut build = site.berth.spawn(&["build", "--network", "none", context]);
        // The step says that it runs.
        while !here() {
            assert!(build.try_wait().unwrap().is_none(), "the build ended before its step");
            std::thread::yield_now();
        }
        let id = build.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        assert!(!build.wait().unwrap().success());
        // Nobody is left that has the step's root mounted: what it wrote can be forgotten.
        let root = site.berth.root();
        let root = root.to_str().unwrap();
        while processes_with(root) {
            std::thread::yield_now();
        }
        for entry in fs::read_dir(site.berth.root().join("builds/mounts")).unwrap().flatten() {
            let _ = fs::remove_file(entry.path().join("data/here"));
        }
    }
    // What was finished is used again.
    site.file("Dockerfile", "FROM box\nRUN echo kept > /kept\n");
    let said = site.build(&[]);
    assert_eq!(said.matches(" CACHED\n").count(), 2, "{said}");
    // Layers stay mounted, once for everybody; nothing else does.
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (all, layers) = (site.berth.path(""), site.berth.path("run/mnt"));
    let point = |line: &&str| PathBuf::from(line.split(' ').nth(4).unwrap());
    let left: Vec<&str> = table
        .lines()
        .filter(|line| point(line).starts_with(&all) && !point(line).starts_with(&layers))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether any process sees a mount that mentions a path.
fn processes_with(path: &str) -> bool {
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let process = entry.path();
        fs::read_link(process.join("ns/mnt")).is_ok_and(|namespace| namespace != own)
            && fs::read_to_string(process.join("mountinfo")).is_ok_and(|table| table.contains(path))
    })
}

#[test]
fn results_go_where_they_are_wanted() {
    let Some(site) = Site::new("results_go_where_they_are_wanted") else { return };
    site.file("f", "text").file("Dockerfile", "FROM scratch\nCOPY f /dir/f\n");
    let (directory, tar, oci) =
        (site.berth.path("out"), site.berth.path("out.tar"), site.berth.path("oci.tar"));
    site.build(&["-o", directory.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(directory.join("dir/f")).unwrap(), "text");
    site.build(&["-o", &format!("type=tar,dest={}", tar.display())]);
    let listed = Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "dir/\ndir/f\n");
    let platforms = "linux/amd64,linux/arm64";
    let oci_flag = format!("type=oci,dest={}", oci.display());
    site.build(&["--platform", platforms, "-t", "two", "-o", &oci_flag]);
    assert!(!site.berth.run(&["image", "exists", "two"]).succeeded(), "only the archive was wanted");
    site.berth.ok(&["load", "-i", oci.to_str().unwrap()]);
    let metadata = site.berth.path("meta.json");
    let iid = site.berth.path("iid");
    let flags =
        ["--metadata-file", metadata.to_str().unwrap(), "--iidfile", iid.to_str().unwrap(), "-t", "named"];
    site.build(&flags);
    let digest = fs::read_to_string(iid).unwrap();
    assert!(fs::read_to_string(metadata).unwrap().contains(&digest));
    // A Dockerfile alone, and a context as an archive.
    let epoch = |name: &str| {
        let mut command =
            site.berth.command(&["build", "-q", "-t", name, site.context.to_str().unwrap()], None);
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let first = epoch("one");
    site.berth.ok(&["buildx", "prune", "-a", "-f"]);
    fs::File::options()
        .write(true)
        .open(site.context.join("f"))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    assert_eq!(epoch("two"), first, "the same input, made anew, is the same image");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let Some(site) = Site::new("mistakes_are_told_with_their_place") else { return };
    site.file("hello.txt", "").file("left.out", "").file(".dockerignore", "left.*\n");
    for (dockerfile, expected) in [
        ("FROM box\nRUNN true\n", "unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM box\nCOPY helo.txt /\n", "\"/helo.txt\": not found"),
        ("FROM box\nCOPY helo.txt /\n", "did you mean hello.txt?"),
        ("FROM box\nCOPY left.out /\n", "line 1 of the ignore file leaves it out"),
        ("FROM box AS a\nCOPY --from=b / /\nFROM a AS b\n", "circular dependency detected on stage"),
        ("FROM box\nRUN --network=host true\n", "network.host is not allowed"),
        ("FROM box\nCOPY hello.txt none* /x\nRUN false\n", "each file takes the place of the one before"),
        ("FROM box\nCOPY --chown=nobody-here hello.txt /\nRUN false\n", "no user nobody-here in /etc/passwd"),
        ("FROM box\nUSER 12\nRUN /nope\n", "exit code: 127"),
    ] {
        site.file("Dockerfile", dockerfile);
        let outcome = site.run(&[]);
        assert_eq!(outcome.output.status.code(), Some(1), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{expected}\n{}", outcome.tell());
    }
    let nowhere = site.berth.run(&["build", "/nowhere"]);
    assert!(nowhere.stderr().contains("unable to prepare context: path \"/nowhere\" not found"));
}

#[test]
fn two_machines_make_the_same_image_when_time_stands_still() {
    let name = "two_machines_make_the_same_image_when_time_stands_still";
    let (Some(one), Some(two)) = (Site::new(name), Site::new(name)) else { return };
    let archive = one.berth.path("base.tar");
    one.berth.ok(&["save", "-o", archive.to_str().unwrap(), "box"]);
    two.berth.ok(&["load", "-i", archive.to_str().unwrap()]);
    let id = |site: &Site, hour: u64| {
        let dockerfile = "FROM box\nWORKDIR /w\nCOPY . .\nRUN mkdir d && echo made > d/x && ln -s x d/l && rm f\nLABEL a=b\n";
        site.file("Dockerfile", dockerfile).file("f", "text").file("d1/g", "more");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + hour * 3600);
        let file = fs::File::options().write(true).open(site.context.join("f")).unwrap();
        file.set_modified(time).unwrap();
        site.id(&["-t", "app", "--build-arg", "SOURCE_DATE_EPOCH=1600000000"])
    };
    let first = id(&one, 0);
    assert_eq!(id(&two, 5), first, "another store, another hour: the same bytes");
    let digests =
        |site: &Site| site.berth.ok(&["inspect", "-f", "{{json .RootFS.Layers}} {{.Created}}", "app"]);
    assert_eq!(digests(&one), digests(&two));
    assert!(digests(&one).ends_with(" 2020-09-13T12:26:40Z\n"), "{}", digests(&one));
}
