//! Our own rules: what they find, and what they leave alone.

use super::super::*;
use super::{facts, lines};

fn advice(text: &str) -> Vec<String> {
    let report = check("Dockerfile", text.as_bytes(), &facts());
    assert!(report.error.is_none(), "{text}: {:?}", report.error);
    lines(&report.advice)
}

/// The rule and the line of each piece of advice.
fn check_rows(rows: &[(&str, &[(&str, usize)])]) {
    for (text, expected) in rows {
        let report = check("Dockerfile", text.as_bytes(), &facts());
        assert!(report.error.is_none(), "{text}: {:?}", report.error);
        let found: Vec<_> = report.advice.iter().map(|w| (w.rule.name(), w.span.first)).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn a_package_list_belongs_to_what_uses_it() {
    check_rows(&[
        ("FROM a\nRUN apt-get update\nRUN apt-get install -y x", &[("PackageListAlone", 2)]),
        ("FROM a\nRUN apt-get -qq update && apt-get -y install x", &[]),
        ("FROM a\nRUN <<E\napt-get update\napt-get install -y x\nE\n", &[]),
        ("FROM a\nRUN [\"apt-get\", \"update\"]", &[("PackageListAlone", 2)]),
        ("FROM a\nRUN apk update", &[("PackageListAlone", 2)]),
        ("FROM a\nRUN apt-get update; apt-get upgrade -y", &[]),
        ("FROM a\n# check=skip=PackageListAlone\nRUN apt-get update", &[]),
        ("# check=skip=all\nFROM a\nRUN apt-get update", &[]),
        ("FROM a\nRUN echo apt-get update", &[]),
    ]);
    assert_eq!(
        advice("FROM a\nRUN apt-get update"),
        [
            "PackageListAlone: `apt-get update` stands alone: its list comes from the cache long after it is out of date; \
          put it into the step that runs `apt-get install` (line 2)"
        ]
    );
}

#[test]
fn what_changes_belongs_below_what_is_expensive() {
    check_rows(&[
        ("FROM a\nCOPY . .\nRUN npm ci", &[("CacheHostileOrder", 2)]),
        ("FROM a\nCOPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm run build", &[]),
        ("FROM a\nADD ./ /app\nRUN cd /app && pip install -r requirements.txt", &[("CacheHostileOrder", 2)]),
        ("FROM a\nCOPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci", &[]),
        ("FROM a\nCOPY --from=b . .\nRUN npm ci", &[]),
        ("FROM a\nCOPY . .\nRUN CI=1 /usr/bin/apt-get install -y x", &[("CacheHostileOrder", 2)]),
        ("FROM a\nARG GIT_SHA\nRUN make", &[("CacheHostileOrder", 2)]),
        ("FROM a\nARG GIT_SHA\nRUN make V=$GIT_SHA", &[]),
        ("FROM a\nRUN make\nARG GIT_SHA\nLABEL v=$GIT_SHA", &[]),
        ("FROM a\nCOPY . .\nRUN npm ci\nRUN npm install x", &[("CacheHostileOrder", 2)]),
    ]);
    assert_eq!(
        advice("FROM a\nCOPY . .\nRUN npm ci"),
        [
            "CacheHostileOrder: Any change in the context repeats `npm ci` below; copy package.json package-lock.json \
          first, run `npm ci`, then copy the rest (line 2)"
        ]
    );
}

#[test]
fn secrets_are_seen_by_their_looks() {
    let token = format!("ghp_{}", "a1".repeat(18));
    check_rows(&[
        (&format!("FROM a\nENV T={token}"), &[("SecretValue", 2)]),
        (&format!("FROM a\nRUN curl -H 'Authorization: {token}' x"), &[("SecretValue", 2)]),
        ("FROM a\nENV T=ghp_short", &[]),
        ("FROM a\nARG U=https://me:pa55@host/x", &[("SecretValue", 2)]),
        ("FROM a\nARG U=https://me:$PW@host/x", &[]),
        ("FROM a\nRUN git clone git@github.com:a/b", &[]),
        ("FROM a\nRUN <<E\ncat -----BEGIN RSA PRIVATE KEY-----\nE\n", &[("SecretValue", 2)]),
        ("FROM a\nENV KEY='-----BEGIN CERTIFICATE-----'", &[]),
        ("FROM a\nRUN curl \"https://host/a:b@c\"", &[]),
    ]);
}

#[test]
fn a_large_base_is_told_with_its_size() {
    let sized =
        |size: u64| move |_: &str, _: &Platform| Some(BaseImage { size: Some(size), ..BaseImage::default() });
    let rows: [(&str, Option<u64>, usize); 8] = [
        ("FROM golang:1.25\n", None, 1),
        ("FROM golang:1.25 AS b\nFROM scratch\nCOPY --from=b /x /x\n", None, 0),
        ("FROM python:3\n", Some(1_000_000_000), 1),
        ("FROM python:3-slim\n", None, 0),
        ("FROM node:22-alpine\n", Some(160_000_000), 0),
        ("FROM mine\n", Some(900_000_000), 1),
        ("FROM mine\n", Some(100_000_000), 0),
        ("FROM mine\n", None, 0),
    ];
    for (text, size, expected) in rows {
        let known = sized(size.unwrap_or_default());
        let unknown = |_: &str, _: &Platform| None;
        let base: &dyn Fn(&str, &Platform) -> Option<BaseImage> =
            if size.is_some() { &known } else { &unknown };
        let report = check("Dockerfile", text.as_bytes(), &Facts { base, ..facts() });
        assert_eq!(report.advice.len(), expected, "{text} {size:?}: {:?}", report.advice);
    }
    let base = sized(1_234_000_000);
    let report = check("Dockerfile", b"FROM python:3\n", &Facts { base: &base, ..facts() });
    assert_eq!(
        lines(&report.advice),
        [
            "LargeBaseImage: The image stands on python:3, 1234 MB; the `-slim` variant of the same version would do \
          (line 1)"
        ]
    );
}
