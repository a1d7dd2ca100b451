//! What berth says to words it does not take, and what it is when it is called `docker`; the rows were taken from
//! docker 28.

use super::support::Sealed;
use std::process::Command;

#[test]
fn wrong_words_are_told_as_docker_tells_them() {
    let berth = Sealed::new();
    for (words, code, message) in [
        (
            &["pull"][..],
            1,
            "berth: 'berth pull' requires 1 argument\n\nUsage:  berth pull [OPTIONS] NAME[:TAG|@DIGEST]\n\nRun 'berth pull --help' for more information\n",
        ),
        (&["pull", "a", "b"], 1, "berth: 'berth pull' requires 1 argument\n"),
        (
            &["image", "tag", "a"],
            1,
            "berth: 'berth image tag' requires 2 arguments\n\nUsage:  berth image tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n",
        ),
        (
            &["rmi"],
            1,
            "berth: 'berth rmi' requires at least 1 argument\n\nUsage:  berth rmi [OPTIONS] IMAGE [IMAGE...]\n",
        ),
        (
            &["images", "a", "b"],
            1,
            "berth: 'berth images' requires at most 1 argument\n\nUsage:  berth images [OPTIONS] [REPOSITORY[:TAG]]\n",
        ),
        (&["info", "x"], 1, "berth: 'berth info' accepts no arguments\n"),
        (
            &["manifest", "create", "x"],
            1,
            "berth: 'berth manifest create' requires at least 2 arguments\n\nUsage:  berth manifest create [OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]\n",
        ),
        (&["nope"], 1, "berth: unknown command: berth nope\n\nRun 'berth --help' for more information\n"),
        (
            &["image", "nope"],
            1,
            "berth: unknown command: berth image nope\n\nUsage:  berth image\n\nRun 'berth image --help' for more information\n",
        ),
        (
            &["images", "--bad"],
            125,
            "unknown flag: --bad\n\nUsage:  berth images [OPTIONS] [REPOSITORY[:TAG]]\n\nRun 'berth images --help' for more information\n",
        ),
        (&["images", "-qz"], 125, "unknown shorthand flag: 'z' in -qz\n"),
        (&["images", "--filter"], 125, "flag needs an argument: --filter\n"),
        (&["images", "-f"], 125, "flag needs an argument: 'f' in -f\n"),
        (
            &["images", "-f", "bad"],
            125,
            "invalid argument \"bad\" for \"-f, --filter\" flag: bad format of filter (expected name=value)\n",
        ),
        (
            &["images", "--no-trunc=bla"],
            125,
            "invalid argument \"bla\" for \"--no-trunc\" flag: strconv.ParseBool: parsing \"bla\": invalid syntax\n",
        ),
        (&["images", "-f", "bad=1"], 1, "Error: invalid filter 'bad'\n"),
        (&["images", "-f", "dangling=maybe"], 1, "Error: invalid filter 'dangling=[maybe]'\n"),
        (&["images", "-f", "until=xx"], 1, "Error: failed to parse value as time or duration: \"xx\"\n"),
        (
            &["pull", "Nginx"],
            1,
            "Error: invalid reference format: repository name (library/Nginx) must be lowercase\n",
        ),
        (&["pull", "-a", "a:1"], 1, "Error: tag can't be used with --all-tags/-a\n"),
        (&["tag", "a", "B"], 1, "Error: Error parsing reference: \"B\" is not a valid repository/tag: "),
        (&["search", "--limit", "200", "x"], 1, "Error: limit 200 is outside the range of [1, 100]\n"),
        (&["search", "--limit", "-1", "x"], 1, "Error: limit -1 is outside the range of [1, 100]\n"),
        (&["load", "-i", "/nonexistent"], 1, "Error: open /nonexistent: no such file or directory\n"),
        (
            &["save", "x", "-o", "/nonexistent/x"],
            1,
            "Error: failed to save image: invalid output path: stat /nonexistent: no such file or directory\n",
        ),
        (&["login", "q.io"], 1, "Error: Cannot perform an interactive login from a non TTY device\n"),
        (
            &["login", "q.io", "--password-stdin"],
            1,
            "Error: the --password-stdin option requires --username to be set\n",
        ),
        (
            &["-H", "tcp://x", "images"],
            1,
            "Error: --host tcp://x: berth works on this machine and talks to no daemon\n",
        ),
        (
            &["version", "-f", "{{.Bad"],
            64,
            "Error: template parsing error: template: version:1: unclosed action\n",
        ),
        (
            &["images", "--format", "{{.Name"],
            1,
            "Error: template parsing error: template: :1: unclosed action\n",
        ),
    ] {
        let outcome = berth.run(words);
        assert_eq!(outcome.output.status.code(), Some(code), "{}", outcome.tell());
        assert!(outcome.stderr().starts_with(message), "wanted: {message}\ngot: {}", outcome.tell());
        assert_eq!(outcome.stdout(), "", "{}", outcome.tell());
    }
    // Two commands print what comes before the mistake, and are told by Go alone.
    for (command, name, kind) in
        [("version", "version", "system.versionInfo"), ("info", "", "system.dockerInfo")]
    {
        let outcome = berth.run(&[command, "-f", "a{{.Bad}}"]);
        let words = format!(
            "Error: template: {name}:1:3: executing \"{name}\" at <.Bad>: can't evaluate field Bad in type {kind}\n"
        );
        assert_eq!((outcome.stdout(), outcome.stderr()), ("a\n".to_owned(), words), "{}", outcome.tell());
    }
}

#[test]
fn help_is_drawn_for_every_command() {
    let berth = Sealed::new();
    let top = berth.ok(&["--help"]);
    assert!(top.starts_with("Usage:  berth [OPTIONS] COMMAND\n"), "{top}");
    let help = berth.ok(&["image", "ls", "--help"]);
    assert!(help.contains("\nAliases:\n  berth image ls, berth image list, berth images\n"), "{help}");
    assert!(help.contains("-f, --filter FILTER "), "{help}");
    for words in [&["pull", "-h"][..], &["help", "pull"], &["help", "image", "ls"], &["help"]] {
        assert!(berth.ok(words).starts_with("Usage:  berth"), "{words:?}");
    }
    // Nobody has asked for it here.
    for words in [&["image"][..], &["system"], &[]] {
        let outcome = berth.run(words);
        let told = (outcome.succeeded(), outcome.stdout().is_empty());
        assert!(told == (true, true) && outcome.stderr().starts_with("Usage:  berth"), "{}", outcome.tell());
    }
    assert_eq!(berth.run(&["help", "nope"]).stderr(), "unknown help topic: nope\n");
}

#[test]
fn flags_take_values_as_gos_do() {
    let berth = Sealed::new();
    for words in [
        &["images", "--no-trunc=true", "-q=false"][..],
        &["images", "-aq"],
        &["images", "--digests=0", "--format", "table"],
        &["history", "-H=false", "--help"],
        &["--debug=false", "images"],
    ] {
        berth.ok(words);
    }
}

#[test]
fn the_name_docker_makes_it_docker() {
    let berth = Sealed::new();
    let link = berth.path("docker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_berth"), &link).unwrap();
    let docker = |words: &[&str]| {
        let output = Command::new(&link)
            .args(words)
            .env("BERTH_ROOT", berth.root())
            .env("BERTH_RUNROOT", berth.path("run"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert!(docker(&["--version"]).1.starts_with("Docker version 28.5.2, build berth-"));
    let missing = "Error response from daemon: No such image: nosuch:latest\n";
    assert_eq!(docker(&["rmi", "nosuch"]), (Some(1), String::new(), missing.to_owned()));
    assert_eq!(docker(&["image", "inspect", "nosuch"]), (Some(1), "[]\n".to_owned(), missing.to_owned()));
    let client_side = "invalid reference format: repository name (library/Nginx) must be lowercase\n";
    assert_eq!(docker(&["pull", "Nginx"]), (Some(1), String::new(), client_side.to_owned()));
    assert_eq!(docker(&["pull"]).2.lines().next(), Some("docker: 'docker pull' requires 1 argument"));
}
