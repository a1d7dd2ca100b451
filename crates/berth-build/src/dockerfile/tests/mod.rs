//! Whole files: what they read as, and what their mistakes look like.

mod dump;
mod tables;

use super::*;

fn good(text: &str) -> Dockerfile {
    match parse("Dockerfile", text.as_bytes()) {
        Ok(file) => file,
        Err(error) => panic!("{text:?}: {error}"),
    }
}

fn only(text: &str) -> Command {
    good(&format!("FROM a\n{text}")).stages[0].instructions[0].command.clone()
}

fn fault(text: &str) -> String {
    parse("Dockerfile", text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn stages_and_instructions_come_in_order() {
    let file = good(
        "# syntax=x/y\nARG V=1\n\n# b makes it\nFROM --platform=$P a:$V AS B\nRUN x \\\n# no\n y\nFROM b\nCOPY --from=b /a /b\n",
    );
    assert_eq!(file.directives.syntax.as_ref().map(|d| d.value.as_str()), Some("x/y"));
    assert_eq!(file.global_args[0].args[0].name, "V");
    let stage = &file.stages[0];
    assert_eq!((stage.name.as_deref(), stage.base.text.as_str()), (Some("b"), "a:$V"));
    assert_eq!(stage.description(), Some("makes it"));
    assert_eq!(stage.instructions[0].span, Span { first: 6, last: 8 });
    assert_eq!(stage.instructions[0].text, "RUN x  y");
    let Command::Copy(copy) = &file.stages[1].instructions[0].command else { panic!("it is a COPY") };
    assert_eq!(copy.from.as_deref(), Some("b"));
    assert_eq!(file.stage_named("B"), Some(0));
}

#[test]
fn heredocs_are_scripts_files_and_parts() {
    let run = |text: &str| match only(text) {
        Command::Run(run) => run,
        other => panic!("{other:?}"),
    };
    let script = |text: &str| format!("{:?}", run(text).script());
    assert_eq!(script("RUN <<E\na\nb\nE\n"), "Shell(\"a\\nb\\n\")");
    assert_eq!(run("RUN <<E\na\nb\nE\n").summary().as_deref(), Some("a..."));
    assert_eq!(script("RUN <<-E\n\ta\n\tE\n"), "Shell(\"a\\n\")");
    assert_eq!(script("RUN <<E\n#!/bin/x\nE\n"), "File { name: \"E\", content: \"#!/bin/x\\n\" }");
    assert_eq!(script("RUN cat <<A <<B\n1\nA\n2\nB\n"), "Shell(\"cat <<A <<B\\n1\\nA\\n2\\nB\")");
    assert_eq!(script("RUN [\"<<E\"]"), "Exec([\"<<E\"])");
    let Command::Copy(copy) = only("COPY <<'A' b <<C /d/\n$x\nA\n$y\nC\n") else { panic!("it is a COPY") };
    let documents: Vec<_> =
        copy.files.documents.iter().map(|d| (d.name.as_str(), d.body.as_str(), d.expand)).collect();
    assert_eq!(documents, [("A", "$x\n", false), ("C", "$y\n", true)]);
    assert_eq!(copy.files.sources[0].text, "b");
}

#[test]
fn mistakes_show_line_and_column() {
    let error = parse("a/Dockerfile", b"FROM busybox\n  RUNN true\n").expect_err("a mistake");
    assert_eq!(
        error.to_string(),
        "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)"
    );
    assert_eq!(
        error.excerpt(),
        "a/Dockerfile:2:3\n--------------------\n   1 |     FROM busybox\n   2 | >>>   RUNN true\n     \
         |       ^^^^\n   3 |     \n--------------------\n"
    );
    let error = parse("d", b"FROM a\nCOPY \\\n  --form=x \\\n  a b\n").expect_err("a mistake");
    assert_eq!(error.position, Some(Position { line: 3, column: 3, width: 8 }));
}

#[test]
fn every_mistake_has_its_words() {
    for (text, message) in [
        ("", "the Dockerfile cannot be empty"),
        ("# x\n\n", "file with no instructions"),
        ("ARG x", "dockerfile contains no stages to build"),
        ("RUN x", "no build stage in current context"),
        ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a AS 1",
            "dockerfile parse error on line 1: invalid name for build stage: \"1\", name can't start with a number \
             or contain symbols",
        ),
        ("FROM a\nENV A", "ENV must have two arguments"),
        ("FROM a\nENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
        ("FROM a\nENV =1", "dockerfile parse error on line 2: ENV names can not be blank"),
        ("FROM a\nUSER", "dockerfile parse error on line 2: USER requires exactly one argument"),
        ("FROM a\nARG", "dockerfile parse error on line 2: ARG requires at least one argument"),
        ("FROM a\nRUN <<E\nx\n", "unterminated heredoc"),
        (
            "FROM a\nCOPY a <<E\nE\n",
            "dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination",
        ),
        (
            "FROM a\nCOPY --link=x a b",
            "dockerfile parse error on line 2: expecting boolean value for flag --link, not: x",
        ),
        ("FROM a\nCOPY --chown a b", "dockerfile parse error on line 2: missing a value on flag: --chown"),
        (
            "FROM a\nCOPY --link --link a b",
            "dockerfile parse error on line 2: duplicate flag specified: --link",
        ),
        (
            "FROM a\nRUN --network=hots x",
            "dockerfile parse error on line 2: invalid network mode \"hots\" (did you mean host?)",
        ),
        (
            "FROM a\nHEALTHCHECK --interval=1us CMD x",
            "dockerfile parse error on line 2: Interval \"interval\" cannot be less than 1ms",
        ),
        (
            "FROM a\nSHELL sh -c",
            "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form (did you mean SHELL [\"sh\",\"-c\"]?)",
        ),
        ("FROM a\nCMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"),
    ] {
        assert_eq!(fault(text), message, "{text}");
    }
}
