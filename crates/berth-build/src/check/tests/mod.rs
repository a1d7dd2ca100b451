//! Checks of whole files.

mod ours;
mod tables;

use super::*;

/// What a check says in a build of the last stage on this machine, without arguments.
fn report(text: &str) -> Report {
    check("Dockerfile", text.as_bytes(), &facts())
}

fn facts() -> Facts<'static> {
    Facts {
        inputs: Inputs::native(),
        ignore: None,
        base: &|_, _| Some(BaseImage::default()),
        all_stages: false,
    }
}

fn lines(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::line).collect()
}

fn said(text: &str) -> Vec<String> {
    let report = report(text);
    assert!(report.error.is_none(), "{text}: {}", report.error.expect("just seen"));
    lines(&report.warnings)
}

#[test]
fn rules_of_names_and_casing() {
    assert_eq!(
        said("from a as B\nRUN x\nRUN y\n"),
        [
            "StageNameCasing: Stage name 'B' should be lowercase (line 1)",
            "ConsistentInstructionCasing: Command 'from' should match the case of the command majority (uppercase) \
             (line 1)",
        ]
    );
    assert_eq!(
        said("FROM a AS scratch\nFROM b AS scratch"),
        [
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 1)",
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 2)",
            "DuplicateStageName: Duplicate stage name \"scratch\", stage names should be unique (line 2)",
        ]
    );
}

#[test]
fn rules_of_variables() {
    assert_eq!(
        said("FROM a\nARG VERSION\nENV LONG=$VERSON B=$VERSION\nCOPY <<E /x\n$FIRST '$SECOND'\nE\n"),
        [
            "UndefinedVar: Usage of undefined variable '$VERSON' (line 3)",
            "UndefinedVar: Usage of undefined variable '$FIRST' (line 4)",
            "UndefinedVar: Usage of undefined variable '$SECOND' (line 4)",
        ]
    );
    assert_eq!(
        said("FROM a\nARG VERSION=1\nENV A=$VERSON\n"),
        ["UndefinedVar: Usage of undefined variable '$VERSON' (did you mean $VERSION?) (line 3)"]
    );
    assert!(said("FROM a\nRUN echo $x\nCOPY --from=b '$x' /\n").is_empty());
}

#[test]
fn an_unknown_base_may_set_variables() {
    let text = b"FROM a\nENV A=$GOPATH/bin B=${C:?no}\nCMD x\nFROM scratch\nENV A=$B\n";
    let facts = Facts { base: &|_, _| None, all_stages: true, ..facts() };
    let report = check("Dockerfile", text, &facts);
    assert!(report.error.is_none());
    let rules: Vec<_> = report.warnings.iter().map(|w| (w.rule.name(), w.span.first)).collect();
    assert_eq!(rules, [("JSONArgsRecommended", 3), ("UndefinedVar", 5)]);
}

#[test]
fn an_instruction_that_counts_once_blames_the_first() {
    assert_eq!(
        said("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n"),
        [
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only \
          the last one will be used (line 2)"
        ]
    );
}

#[test]
fn a_base_for_another_platform_is_told() {
    let base = |_: &str, _: &Platform| {
        let platform = Some("linux/s390x".parse().expect("a platform"));
        Some(BaseImage { platform, shell: vec!["x".to_owned()], ..BaseImage::default() })
    };
    let inputs = Inputs { target_platform: "linux/arm64".parse().expect("a platform"), ..Inputs::native() };
    let report = check("Dockerfile", b"FROM a\nCMD x\n", &Facts { base: &base, inputs, ..facts() });
    assert_eq!(
        lines(&report.warnings),
        [
            "InvalidBaseImagePlatform: Base image a was pulled with platform \"linux/s390x\", expected \"linux/arm64\" \
          for current build (line 1)"
        ]
    );
}

#[test]
fn errors_end_a_check_and_keep_what_was_found() {
    for (text, error, warnings) in [
        (
            "FROM a AS B\nRUNN x",
            "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
            1,
        ),
        ("FROM a\nENV A=$x\nENV B=${y:?no}\n", "failed to process \"${y:?no}\": y: no", 2),
        ("FROM a\nEXPOSE x\n", "invalid containerPort: x", 0),
        ("# check=error=true\nFROM a AS B\n", "lint violation found for rules: StageNameCasing", 1),
        ("# check=foo=1\nFROM a\n", "failed to parse check options: invalid check option \"foo\"", 0),
    ] {
        let report = report(text);
        assert_eq!(report.error.as_ref().map(ToString::to_string).as_deref(), Some(error), "{text}");
        assert_eq!(report.warnings.len(), warnings, "{text}: {:?}", report.warnings);
    }
}

#[test]
fn the_text_is_that_of_docker() {
    let found = report("FROM a AS B\nMAINTAINER me\n");
    assert_eq!(
        found.text(),
        "Check complete, 2 warnings have been found!\n\nWARNING: StageNameCasing - \
         https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\nStage name 'B' should be \
         lowercase\nDockerfile:1\n--------------------\n   1 | >>> FROM a AS B\n   2 |     MAINTAINER me\n   3 |     \
         \n--------------------\n\nWARNING: MaintainerDeprecated - \
         https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\nMaintainer instruction is deprecated in \
         favor of using label\nDockerfile:2\n--------------------\n   1 |     FROM a AS B\n   2 | >>> MAINTAINER \
         me\n   3 |     \n--------------------\n"
    );
    assert_eq!(report("FROM a").text(), "Check complete, no warnings found.\n");
    assert_eq!(
        found.summary(false, "docker"),
        " 2 warnings found (use docker --debug to expand):\n - StageNameCasing: Stage name 'B' should be lowercase \
         (line 1)\n - MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)\n"
    );
    let json = found.json();
    assert_eq!(json["warnings"][1]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(json["sources"][0]["data"], "RlJPTSBhIEFTIEIKTUFJTlRBSU5FUiBtZQo=");
}

#[test]
fn targets_and_outline_are_listed() {
    let text = "# BASE which base\nARG BASE=b\nARG UNUSED=1\nFROM $BASE AS one\n# two the second\nFROM one AS two\n# X an \
                x\nARG X=1\nARG BASE\nRUN --mount=type=secret,id=t,required --mount=type=ssh x\nFROM scratch\n";
    let file = crate::dockerfile::parse("Dockerfile", text.as_bytes()).expect("good");
    assert_eq!(targets(&file).text, "TARGET    DESCRIPTION\none       \ntwo       the second\n(default) \n");
    let inputs = Inputs { target: Some("two".to_owned()), ..Inputs::native() };
    let listing = outline(&file, &inputs).expect("good");
    assert_eq!(
        listing.text,
        "TARGET:      two\nDESCRIPTION: the second\n\nBUILD ARG   VALUE   DESCRIPTION\nBASE        b       which \
         base\nX           1       an x\n\nSECRET   REQUIRED\nt        true\n\nSSH       REQUIRED\ndefault   \n\n"
    );
    assert_eq!(listing.json["secrets"][0]["required"], true);
    assert!(outline(&file, &Inputs { target: Some("no".to_owned()), ..inputs }).is_err());
}
