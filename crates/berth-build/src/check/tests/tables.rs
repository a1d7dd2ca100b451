//! The table of BuildKit's lint tests, where it lies beside the repository.
//!
//! Invariant: a case that we answer otherwise is listed here with a reason.

use super::super::*;
use super::{facts, lines};
use crate::ignore::{Ignore, IgnoreFile};
use crate::testing::json;
use serde_json::Value;

/// Lines of upstream's tests whose expectation is not what BuildKit does.
///
/// 1321: the expected lines are 3 and 4, the instructions stand on 5 and 6; BuildKit itself reports 5 and 6 (its test
/// compares nothing when the build has no warnings).
const EXCEPTIONS: [u64; 1] = [1321];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_table_is_met() {
    let Some(cases) = json("buildkit-lint/cases.json") else { return };
    let cases = cases.as_array().expect("a list").clone();
    assert!(cases.len() > 80, "only {} cases", cases.len());
    for case in &cases {
        let build = &case["Warnings"];
        run(case, build, false);
        let all = if case["UnmarshalWarnings"].is_null() { build } else { &case["UnmarshalWarnings"] };
        if !EXCEPTIONS.contains(&case["line"].as_u64().expect("a number")) {
            run(case, all, true);
        }
    }
}

fn run(case: &Value, expected: &Value, all_stages: bool) {
    let mut inputs = Inputs::native();
    for (key, value) in case["FrontendAttrs"].as_object().into_iter().flatten() {
        let name = key.strip_prefix("build-arg:").expect("nothing else is in the table");
        inputs.build_args.insert(name.to_owned(), text(value).to_owned());
    }
    let patterns = IgnoreFile::parse(".dockerignore", text(&case["DockerIgnore"]).as_bytes());
    let ignore = Ignore::new(&patterns).expect("good patterns");
    let facts = Facts { inputs, ignore: Some(&ignore), all_stages, ..facts() };
    let report = check("Dockerfile", text(&case["Dockerfile"]).as_bytes(), &facts);

    // Upstream compares without order, too.
    let mut found: Vec<String> = report.warnings.iter().map(shown).collect();
    let expected_rows = expected.as_array().into_iter().flatten();
    let mut expected: Vec<String> = expected_rows
        .map(|w| {
            format!(
                "{} {} {} {} {}",
                text(&w["RuleName"]),
                w["Line"],
                text(&w["URL"]),
                text(&w["Description"]),
                text(&w["Detail"])
            )
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "all stages: {all_stages}, {case:#}\n{:#?}", lines(&report.warnings));

    let error = report.error.as_ref().map(ToString::to_string);
    match &case["BuildErr"] {
        // Files that are missing show when the build runs, not here.
        Value::Null => assert_eq!(error, None, "{case:#}"),
        expected => {
            assert_eq!(error.as_deref(), expected.as_str(), "{case:#}");
            let spans = &report.error.as_ref().expect("just seen").spans;
            assert_eq!(Some(spans[0].first as u64), case["BuildErrLocation"].as_u64(), "{case:#}");
        }
    }
}

fn shown(warning: &Warning) -> String {
    let rule = warning.rule;
    format!(
        "{} {} {} {} {}",
        rule.name(),
        warning.span.first,
        rule.url().unwrap_or_default(),
        rule.description(),
        warning.detail
    )
}
