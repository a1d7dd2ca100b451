//! Builds from elsewhere: files of the web and git repositories, in `ADD`, as contexts, and where they lie.

use super::support::{Outcome, Page, Repository, Sealed, Web, rig, skipped};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const LATER: &str = "Sun, 09 Sep 2001 01:46:40 GMT";

/// A sealed berth with the image `box`, a server, and a directory to build from.
struct Site {
    berth: Sealed,
    web: Web,
    context: PathBuf,
}

impl Site {
    fn new(test: &str) -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            skipped(test, "git is not installed");
            return None;
        }
        let berth = rig(test, "CMD true")?;
        let context = berth.path("context");
        fs::create_dir_all(&context).unwrap();
        let web = Web::start(&berth.path("repositories"));
        Some(Self { berth, web, context })
    }

    fn repository(&self, name: &str) -> Repository {
        Repository::new(self.berth.path("repositories").join(name))
    }

    fn run(&self, dockerfile: &str, flags: &[&str]) -> Outcome {
        fs::write(self.context.join("Dockerfile"), dockerfile).unwrap();
        self.berth.run(
            &[&["build", "--network", "none", "-t", "app"], flags, &[self.context.to_str().unwrap()]]
                .concat(),
        )
    }

    fn build(&self, dockerfile: &str, flags: &[&str]) -> String {
        let outcome = self.run(dockerfile, flags);
        assert!(outcome.succeeded(), "{}", outcome.tell());
        outcome.stderr()
    }

    fn fails(&self, dockerfile: &str, expected: &str) {
        let outcome = self.run(dockerfile, &[]);
        assert_eq!(outcome.output.status.code(), Some(1), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{expected}\n{}", outcome.tell());
    }

    /// What the shell of `app` says.
    fn shell(&self, command: &str) -> String {
        self.berth.ok(&["run", "--rm", "app", "sh", "-c", command])
    }
}

#[test]
fn files_of_the_web_are_added_and_known_again() {
    let Some(site) = Site::new("files_of_the_web_are_added_and_known_again") else { return };
    let page = Page { etag: Some("\"1\""), last_modified: Some(LATER), ..Page::new("hello") };
    site.web.put("/dir/a%20b.txt", page.clone()).put("/plain", Page::new("plain"));
    site.web.put("/moved", Page { moved_to: Some(site.web.url("/dir/a%20b.txt")), ..Page::default() });
    let url = |path: &str| site.web.url(path);
    let dockerfile = format!(
        "FROM box\nADD {} {} /files/\nADD --chown=7:8 --chmod=640 {}?x=1 /files/other\nADD {} /\n",
        url("/dir/a%20b.txt"),
        url("/plain"),
        url("/dir/a%20b.txt"),
        url("/moved"),
    );
    site.build(&dockerfile, &[]);
    let seen = site.shell("cd /files; stat -c '%n %a %u:%g %Y' *; cat 'a b.txt' plain /moved");
    assert_eq!(
        seen,
        "a b.txt 600 0:0 1000000000\nother 640 7:8 1000000000\nplain 600 0:0 0\nhelloplainhello"
    );
    site.web.asked();
    // Nothing changed: the server says so where it can, and sends the rest again; no step is done.
    let said = site.build(&dockerfile, &[]);
    assert_eq!(said.matches(" CACHED\n").count(), 4, "{said}");
    let asked = site.web.asked();
    assert_eq!(asked.iter().filter(|line| line.ends_with(" 304")).count(), 3, "{asked:?}");
    assert_eq!(asked.iter().filter(|line| line.ends_with(" 200")).count(), 1, "{asked:?}");
    // Other bytes are another step, whatever the time says.
    site.web.put("/dir/a%20b.txt", Page { etag: Some("\"2\""), bytes: b"other".to_vec(), ..page });
    assert_eq!(site.build(&dockerfile, &[]).matches(" CACHED\n").count(), 1);
    assert_eq!(site.shell("cat '/files/a b.txt'"), "other");
    // Where the step has gone, a file that is unchanged is fetched after all.
    site.berth.ok(&["buildx", "prune", "-a", "-f"]);
    site.berth.ok(&["rmi", "-f", "app"]);
    site.build(&dockerfile, &[]);
    assert_eq!(site.shell("cat '/files/a b.txt'"), "other");
}

#[test]
fn what_is_fetched_is_proved() {
    let Some(site) = Site::new("what_is_fetched_is_proved") else { return };
    let url = |path: &str| site.web.url(path);
    site.web.put("/f", Page::new("hello"));
    site.web.put("/short", Page { promised: Some(100), ..Page::new("hello") });
    site.web.put("/tls", Page { moved_to: Some("https://127.0.0.1:1/".to_owned()), ..Page::default() });
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let other = digest.replace("2cf", "3cf");
    let good = format!("FROM box\nADD --checksum={digest} {} /g\n", url("/f"));
    site.build(&good, &[]);
    site.web.asked();
    assert_eq!(site.build(&good, &[]).matches(" CACHED\n").count(), 2);
    assert_eq!(site.web.asked(), Vec::<String>::new(), "what is known by its digest is not asked for");
    for (add, expected) in [
        (format!("--checksum={other} {} /", url("/f")), "digest mismatch sha256:2cf24"),
        (format!("--checksum=sha256:12 {} /", url("/f")), "ADD --checksum=sha256:12"),
        (format!("--checksum={digest} {} {} /", url("/f"), url("/f")), "checksum can't be specified"),
        (format!("--checksum={digest} Dockerfile /"), "checksum can't be specified"),
        (format!("{} /", url("/short")), "127.0.0.1"),
        (format!("{} /", url("/gone")), "not found (status 404)"),
        (format!("{} /", url("/tls")), "127.0.0.1:1"),
        ("http://127.0.0.1:1/f /".to_owned(), "127.0.0.1:1"),
        ("http://user:pw@127.0.0.1:1/f /".to_owned(), "a user name in it is not allowed"),
    ] {
        site.fails(&format!("FROM box\nADD {add}\n"), expected);
    }
    // Archives are unpacked when that is asked for, and land where they are put.
    let tar = tar_with("up/../inside");
    site.web.put("/good.tar", Page::new(tar.clone()));
    site.build(&format!("FROM box\nADD {0} /as-file\nADD --unpack {0} /d/e\n", url("/good.tar")), &[]);
    assert_eq!(
        site.shell("ls /d/e /d; cat /d/e/inside; wc -c < /as-file"),
        format!("/d:\ne\n\n/d/e:\ninside\nx{}\n", tar.len())
    );
    site.web.put("/evil.tar", Page::new(tar_with("../../../escaped")));
    let add = format!("FROM box\nADD --unpack {} /d/e\n", url("/evil.tar"));
    site.fails(&add, "invalid entry name \"../../../escaped\"");
}

/// An archive with one name.
fn tar_with(name: &str) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, "00000000001\0");
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut data = [0u8; 512];
    data[0] = b'x';
    [&header[..], &data, &[0; 1024]].concat()
}

#[test]
fn repositories_are_added_at_their_commits() {
    let Some(site) = Site::new("repositories_are_added_at_their_commits") else { return };
    let inner = site.repository("inner.git");
    inner.commit(&[("deep", "of the submodule")]);
    let repository = site.repository("r.git");
    let first = repository.commit(&[("f", "one"), ("sub/g", "g")]);
    repository.git(&["tag", "-a", "v1", "-m", "x"]);
    let relative = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../inner.git", "mod"];
    repository.git(&["remote", "add", "origin", repository_path(&site).as_str()]);
    repository.git(&relative);
    let second = repository.commit(&[("f", "two")]);
    repository.git(&["checkout", "--quiet", "-b", "other/branch", &first]);
    let third = repository.commit(&[("f", "three")]);
    repository.git(&["checkout", "--quiet", "main"]);
    let url = site.web.url("/git/r.git");
    let short = &third[..12];
    for (flags, source, command, expected) in [
        (
            "",
            url.clone(),
            "cat /r/f /r/mod/deep; ls -A /r /r/mod",
            "twoof the submodule/r:\n.gitmodules\nf\nmod\nsub\n\n/r/mod:\ndeep\n".to_owned(),
        ),
        ("", format!("{url}#v1"), "cat /r/f; ls -A /r", "onef\nsub\n".to_owned()),
        ("", format!("{url}#other/branch:sub"), "ls -A /r", "g\n".to_owned()),
        ("", format!("{url}?tag=v1&subdir=sub"), "ls -A /r", "g\n".to_owned()),
        ("", format!("{url}?branch=other/branch&checksum={short}"), "cat /r/f", "three".to_owned()),
        ("", format!("{url}?ref=main&submodules=false"), "ls -A /r/mod", String::new()),
        ("", format!("{url}#{first}"), "cat /r/f", "one".to_owned()),
        ("", format!("{url}?fetch-by-commit=1&checksum={third}"), "cat /r/f", "three".to_owned()),
        ("", format!("{url}?mtime=commit"), "stat -c %Y /r/f", "1000000000\n".to_owned()),
        ("--keep-git-dir", format!("{url}#v1"), "cat /r/.git/HEAD", format!("{first}\n")),
        (
            "",
            format!("{url}?keep-git-dir"),
            "cat /r/.git/HEAD /r/.git/refs/heads/main",
            format!("ref: refs/heads/main\n{second}\n"),
        ),
        (&*format!("--checksum={second}"), url.clone(), "cat /r/f", "two".to_owned()),
        ("--chown=7:8 --chmod=600", format!("{url}#v1"), "stat -c '%a %u:%g' /r/f", "600 7:8\n".to_owned()),
        ("--exclude=s*", format!("{url}#v1"), "ls /r", "f\n".to_owned()),
    ] {
        site.build(&format!("FROM box\nADD {flags} {source} /r\n"), &[]);
        assert_eq!(site.shell(command), expected, "ADD {flags} {source}");
    }
    // A branch that stands where it stood is a known step; only its place is asked for.
    site.web.asked();
    let said = site.build(&format!("FROM box\nADD {url}#v1 /r\n"), &[]);
    assert_eq!(said.matches(" CACHED\n").count(), 2, "{said}");
    let asked = site.web.asked();
    assert!(asked.iter().all(|line| !line.contains("git-upload-pack 200") || asked.len() < 4), "{asked:?}");
    for (source, expected) in [
        (format!("{url}#nope"), "repository does not contain ref nope"),
        (format!("{url}#{}", &first[..10]), "a commit has to be written in full"),
        (format!("{url}#v1:nope"), "has no directory nope"),
        (format!("{url}#v1:f"), "not a directory"),
        (format!("{url}#--upload-pack=x"), "invalid ref"),
        (format!("{url}#{}", "a".repeat(40)), "git fetch of"),
        (format!("{url}?checksum={}", &first[..9]), "expected checksum to match"),
        (format!("{url}?ref=a&tag=b"), "ref conflicts"),
        (site.web.url("/git/nope.git"), "failed: fatal"),
        (site.web.url("/git/private/r.git"), "GIT_AUTH_TOKEN"),
        (site.web.url("/git/nope.git").replace("://", "://user:hidden-word@"), "user:xxxxx@"),
    ] {
        site.fails(&format!("FROM box\nADD {source} /r\n"), expected);
    }
    let told = site.run(
        &format!("FROM box\nADD {} /r\n", site.web.url("/git/nope.git").replace("://", "://u:hidden-word@")),
        &[],
    );
    // The Dockerfile's own line shows it, where somebody has written it.
    assert_eq!(told.stderr().matches("hidden-word").count(), 1, "{}", told.tell());
}

fn repository_path(site: &Site) -> String {
    site.berth.path("repositories/r.git").to_str().unwrap().to_owned()
}

#[test]
fn tokens_open_private_repositories_and_stay_out_of_images() {
    let Some(site) = Site::new("tokens_open_private_repositories_and_stay_out_of_images") else { return };
    site.repository("private/r.git").commit(&[("f", "private")]);
    let token = site.berth.path("token");
    fs::write(&token, "t0ken-t0ken\n").unwrap();
    let flag = format!("id=GIT_AUTH_TOKEN,src={}", token.display());
    let dockerfile = format!("FROM box\nADD --keep-git-dir {} /r\n", site.web.url("/git/private/r.git"));
    site.build(&dockerfile, &["--secret", &flag]);
    assert_eq!(site.shell("cat /r/f; grep -r t0ken /r || true"), "private");
}

#[test]
fn contexts_come_from_elsewhere() {
    let Some(site) = Site::new("contexts_come_from_elsewhere") else { return };
    let repository = site.repository("c.git");
    let dockerfile = "FROM box\nCOPY . /c\n";
    repository.commit(&[
        ("Dockerfile", dockerfile),
        (".dockerignore", "f\n"),
        ("f", "f"),
        ("dir/Dockerfile", "FROM box\nCOPY . /c\n"),
        ("dir/other", "FROM box\nCOPY other /c/\n"),
    ]);
    std::os::unix::fs::symlink("/etc", site.berth.path("repositories/c.git/up")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", site.berth.path("repositories/c.git/leak")).unwrap();
    repository.commit(&[]);
    let tar = site.berth.path("c.tar.gz");
    let mut pack = Command::new("tar");
    pack.args(["-czf", tar.to_str().unwrap(), "Dockerfile", "f"]);
    assert!(pack.current_dir(site.berth.path("repositories/c.git")).status().unwrap().success());
    site.web.put("/c.tar.gz", Page::new(fs::read(&tar).unwrap()));
    site.web.put("/Dockerfile", Page::new("FROM box\nRUN echo alone > /c\n"));
    site.web.put("/other.Dockerfile", Page::new("FROM box\nCOPY f /c/\n"));
    let git = site.web.url("/git/c.git");
    for (words, command, expected) in [
        (vec![git.clone()], "ls -A /c", ".dockerignore\nDockerfile\ndir\nf\nleak\nup\n"),
        (vec![format!("{git}#main:dir")], "ls -A /c", "Dockerfile\nother\n"),
        (vec![format!("{git}#:dir"), "-f".into(), "other".into()], "ls -A /c", "other\n"),
        (
            vec![git.clone(), "--build-arg".into(), "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1".into()],
            "test -d /c/.git && echo kept",
            "kept\n",
        ),
        (vec![site.web.url("/c.tar.gz")], "ls -A /c", "Dockerfile\nf\n"),
        (vec![site.web.url("/Dockerfile")], "cat /c", "alone\n"),
        (vec![git.clone(), "-f".into(), site.web.url("/other.Dockerfile")], "ls -A /c", "f\n"),
    ] {
        let words: Vec<&str> = ["build", "--network", "none", "-t", "app"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        site.berth.ok(&words);
        assert_eq!(site.shell(command), expected, "{words:?}");
    }
    // A commit that was fetched once is not fetched again; what the branch means is asked.
    site.web.asked();
    site.berth.ok(&["build", "--network", "none", "-q", &git]);
    let asked = site.web.asked();
    assert!((1..=2).contains(&asked.len()), "{asked:?}");
    repository.commit(&[("f", "another")]);
    site.berth.ok(&["build", "--network", "none", "-t", "app", &git]);
    assert_eq!(site.shell("cat /c/f"), "another");
    let cache = site.berth.ok(&["buildx", "du", "--verbose"]);
    assert!(cache.contains(&format!("{git} at ")), "{cache}");
    for (words, expected) in [
        (vec![format!("{git}#:up")], "has no directory up"),
        (vec![format!("{git}#:../..")], "has no directory ../.."),
        (vec![git.clone(), "-f".into(), "leak".into()], "open leak: no such file or directory"),
        (vec![git.clone(), "-f".into(), "../../../../../etc/passwd".into()], "no such file or directory"),
        (vec![format!("{git}#nope")], "unable to prepare context: repository does not contain ref nope"),
        (vec![site.web.url("/gone.tar")], "unable to prepare context"),
        (vec!["ftp://127.0.0.1/x".into()], "unable to prepare context"),
        (vec!["file:///etc/x.git".into()], "unable to prepare context"),
        (vec!["-".into(), "-f".into(), "-".into()], "can't use stdin for both"),
    ] {
        let words: Vec<&str> = std::iter::once("build").chain(words.iter().map(String::as_str)).collect();
        let outcome = site.berth.run(&words);
        assert!(
            !outcome.succeeded() && outcome.stderr().contains(expected),
            "{expected}\n{}",
            outcome.tell()
        );
    }
}

#[test]
fn named_contexts_stand_for_images_and_stages() {
    let Some(site) = Site::new("named_contexts_stand_for_images_and_stages") else { return };
    let other = site.berth.path("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("x"), "of the directory").unwrap();
    site.repository("n.git").commit(&[("x", "of the repository")]);
    site.web.put("/x", Page::new("of the web"));
    let layout = site.berth.path("layout");
    site.build(
        "FROM box\nRUN echo of the layout > /x\n",
        &["-o", &format!("type=oci,tar=false,dest={}", layout.display())],
    );
    let directory = other.to_str().unwrap().to_owned();
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    site.berth.ok(&["rmi", "-f", "app"]);
    for (name, value, dockerfile, expected) in [
        ("ctx", directory.clone(), "FROM box\nCOPY --from=ctx x /x\n", "of the directory"),
        (
            "stage",
            directory.clone(),
            "FROM nowhere.invalid/x AS stage\nFROM box\nCOPY --from=stage x /x\n",
            "of the directory",
        ),
        ("ctx", site.web.url("/git/n.git"), "FROM box\nCOPY --from=ctx x /x\n", "of the repository"),
        ("ctx", site.web.url("/x"), "FROM box\nRUN --mount=from=ctx,target=/m cp /m/x /x\n", "of the web"),
        (
            "docker.io/library/gone:latest",
            format!("oci-layout://{}:latest", layout.display()),
            "FROM gone\nLABEL a=b\n",
            "of the layout\n",
        ),
        (
            "gone",
            format!("oci-layout://{}", layout.display()),
            "FROM box\nCOPY --from=gone /x /x\n",
            "of the layout\n",
        ),
        ("gone", "docker-image://app".into(), "FROM gone\nRUN echo more >> /x\n", "of the layout\nmore\n"),
        (
            &format!("gone::{}", berth_oci::Platform::host()),
            "docker-image://box".into(),
            "FROM gone\nRUN echo own > /x\n",
            "own\n",
        ),
    ] {
        site.build(dockerfile, &["--build-context", &format!("{name}={value}")]);
        assert_eq!(site.shell("cat /x"), expected, "{name}={value}");
        // What was taken in for a build is not there afterwards.
        assert!(!site.berth.run(&["image", "inspect", digest]).succeeded(), "{name}={value}");
    }
    // A directory as a base has what is in it, and nothing else.
    site.build(
        "FROM base\n",
        &["--build-context", &format!("base={directory}"), "-o", site.berth.path("out").to_str().unwrap()],
    );
    let names: Vec<_> =
        fs::read_dir(site.berth.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["x"]);
    for (value, expected) in [
        ("x=ssh:///nope", "failed to get build context x"),
        ("x=nope://y", "nobody reads such an address"),
        ("x=/nowhere", "/nowhere is not a directory"),
        ("a b=/tmp", "invalid context name"),
        (&format!("x=oci-layout://{}:nope", layout.display()), "there is no image"),
        (&format!("x=oci-layout://{}@sha256:{}", layout.display(), "0".repeat(64)), "there is no image"),
    ] {
        let outcome = site.run("FROM box\n", &["--build-context", value]);
        assert!(
            !outcome.succeeded() && outcome.stderr().contains(expected),
            "{expected}\n{}",
            outcome.tell()
        );
    }
}
