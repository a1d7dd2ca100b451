//! `build --check` and `--call`: what a Dockerfile says, without building it. The forms are docker 28's.

use super::support::Sealed;
use std::fs;

fn context(berth: &Sealed, dockerfile: &str, ignore: &str) -> String {
    let directory = berth.path("context");
    fs::create_dir_all(&directory).expect("it is ours");
    fs::write(directory.join("Dockerfile"), dockerfile).expect("it is ours");
    fs::write(directory.join(".dockerignore"), ignore).expect("it is ours");
    directory.to_string_lossy().into_owned()
}

#[test]
fn warnings_are_told_with_their_lines_and_fail_the_check() {
    let berth = Sealed::new();
    let directory =
        context(&berth, "FROM nowhere/here AS B\nCOPY secret /x\nRUN apt-get update\n", "secret\n");
    let told = berth.run(&["build", "--check", &directory]);
    assert_eq!(told.output.status.code(), Some(1), "{}", told.tell());
    let text = told.stdout();
    assert!(
        text.starts_with(
            "Check complete, 2 warnings have been found!\n\nWARNING: StageNameCasing - https://"
        ),
        "{text}"
    );
    assert!(
        text.contains("Attempting to Copy file \"secret\" that is excluded by .dockerignore\nDockerfile:2\n"),
        "{text}"
    );
    assert!(text.contains("   2 | >>> COPY secret /x\n"), "{text}");
    assert!(text.contains("\nADVICE: PackageListAlone\n`apt-get update` stands alone"), "{text}");

    let told = berth.run(&["buildx", "build", "--call=check,format=json", &directory]);
    assert_eq!(told.output.status.code(), Some(1), "{}", told.tell());
    let json: serde_json::Value = serde_json::from_str(&told.stdout()).expect("it is JSON");
    assert_eq!(json["warnings"][1]["ruleName"], "CopyIgnoredFile");

    let directory = context(&berth, "FROM scratch\nCOPY x /\n", "");
    assert_eq!(berth.ok(&["build", "--check", &directory]), "Check complete, no warnings found.\n");
}

#[test]
fn a_mistake_is_shown_with_its_place() {
    let berth = Sealed::new();
    let directory = context(&berth, "FROM scratch\n  COPPY x /\n", "");
    for words in [
        &["build", "--check", &directory][..],
        &["build", "--call", "outline", &directory],
        &["build", &directory],
    ] {
        let told = berth.run(words);
        assert_eq!(told.output.status.code(), Some(1), "{}", told.tell());
        let text = told.stderr();
        assert!(text.contains("unknown instruction: COPPY (did you mean COPY?)"), "{}", told.tell());
        assert!(text.contains("   2 | >>>   COPPY x /\n     |       ^^^^^\n"), "{}", told.tell());
    }
}

#[test]
fn a_build_warns_and_fails_where_the_file_asks_for_it() {
    let berth = Sealed::new();
    let directory = context(&berth, "# check=error=true\nFROM scratch AS B\n", "");
    let told = berth.run(&["build", &directory]);
    assert_eq!(told.output.status.code(), Some(1), "{}", told.tell());
    let text = told.stderr();
    assert!(
        text.contains("#1 WARN: StageNameCasing: Stage name 'B' should be lowercase (line 2)\n"),
        "{text}"
    );
    assert!(text.contains("lint violation found for rules: StageNameCasing"), "{text}");

    let directory = context(&berth, "FROM scratch AS B\nLABEL a=b\n", "");
    let told = berth.run(&["build", &directory]);
    assert!(told.succeeded(), "{}", told.tell());
    assert!(
        told.stderr().contains(" 1 warning found (use berth --debug to expand):\n - StageNameCasing: "),
        "{}",
        told.tell()
    );
}

#[test]
fn targets_and_arguments_are_listed() {
    let berth = Sealed::new();
    let text = "# BASE to stand on\nARG BASE=scratch\n# one the first\nFROM $BASE AS one\nARG X=1\nRUN --mount=type=secret,id=s x\nFROM one AS two\n";
    let directory = context(&berth, text, "");
    let listed = berth.ok(&["build", "--call", "targets", &directory]);
    assert_eq!(listed, "TARGET        DESCRIPTION\none           the first\ntwo (default) \n");
    let listed = berth.ok(&["build", "--call=outline", "--target=one", &directory]);
    assert_eq!(
        listed,
        "TARGET:      one\nDESCRIPTION: the first\n\nBUILD ARG   VALUE     DESCRIPTION\nBASE        scratch   to stand on\n\
         X           1         \n\nSECRET   REQUIRED\ns        \n\n"
    );
    let told = berth.run(&["build", "--call=targetz", &directory]);
    assert!(told.stderr().contains("unknown method \"targetz\" (did you mean targets?)"), "{}", told.tell());
}
