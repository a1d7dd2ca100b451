//! The tables of BuildKit's own tests, where they lie beside the repository (`../shared/build-cases`).
//!
//! Without them these tests say so and pass. Invariant: a case that we answer otherwise is listed here with a reason.

use super::super::*;
use super::dump::dump;
use crate::testing::{json, shared};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn wrapped(instruction: &str) -> Result<Command, SyntaxError> {
    let file = parse("Dockerfile", format!("FROM a\n{instruction}").as_bytes())?;
    Ok(file.stages[0].instructions[0].command.clone())
}

#[test]
fn files_read_as_the_same_tree() {
    let Some(folder) = shared("buildkit-parser/testfiles") else { return };
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        let bytes = fs::read(entry.join("Dockerfile")).expect("every case has one");
        let expected = fs::read_to_string(entry.join("result")).expect("every case has one");
        let found = dump(&bytes).unwrap_or_else(|e| panic!("{}: {e}", entry.display()));
        assert_eq!(found.trim(), expected.trim(), "{}", entry.display());
        seen += 1;
    }
    assert!(seen > 30, "only {seen} cases");
}

#[test]
fn wrong_files_are_refused() {
    let Some(folder) = shared("buildkit-parser/testfiles-negative") else { return };
    for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        let bytes = fs::read(entry.join("Dockerfile")).expect("every case has one");
        assert!(parse("Dockerfile", &bytes).is_err(), "{}", entry.display());
    }
}

#[test]
fn lines_are_counted() {
    let Some(folder) = shared("buildkit-parser/testfile-line") else { return };
    let tables = json("buildkit-parser/parser_tables.json").expect("it lies beside the folder");
    let file = parse("Dockerfile", &fs::read(folder.join("Dockerfile")).expect("it is there")).expect("good");
    let stage = &file.stages[0];
    let mut found = vec![stage.span];
    found.extend(stage.instructions.iter().map(|i| i.span));
    let expected: Vec<Span> = rows(&tables["TestParseIncludesLineNumbers"][0])
        .map(|r| Span { first: r[0].as_u64().unwrap() as usize, last: r[1].as_u64().unwrap() as usize })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn words_are_split_alike() {
    let Some(tables) = json("buildkit-parser/parser_tables.json") else { return };
    for row in rows(&tables["TestParseWords"][0]) {
        let token = operand::Token { text: text(&row["input"][0]).to_owned(), at: 0 };
        let found: Vec<String> = operand::split_quoted(&token, '\\').into_iter().map(|t| t.text).collect();
        let expected: Vec<&str> = rows(&row["expect"]).map(text).collect();
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn json_arrays_are_told_from_shell_text() {
    let Some(tables) = json("buildkit-parser/json_tables.json") else { return };
    let read = |text: &str| operand::json(&operand::Token { text: text.to_owned(), at: 0 });
    for bad in rows(&tables["pkgvar"][0]).map(text) {
        assert!(read(bad).is_err(), "{bad}");
    }
    for (good, expected) in tables["pkgvar"][1].as_object().expect("a table") {
        let expected: Vec<String> = rows(expected).map(|v| text(v).to_owned()).collect();
        assert_eq!(read(good).expect(good), Some(expected), "{good}");
    }
}

#[test]
fn heredoc_words_are_told_from_others() {
    let Some(tables) = json("buildkit-parser/heredoc_tables.json") else { return };
    let helpers = &tables["TestParseHeredocHelpers"];
    for good in rows(&helpers[0]).map(text) {
        let found = heredoc::opened_by(good).expect(good).expect(good);
        assert_eq!(found.name, "EOF", "{good}");
    }
    for bad in rows(&helpers[1]).map(text) {
        assert!(heredoc::opened_by(bad).is_err(), "{bad}");
    }
    for none in rows(&helpers[2]).map(text) {
        assert_eq!(heredoc::opened_by(none), Ok(None), "{none}");
    }
    for row in rows(&tables["TestHeredocsFromLine"][0]) {
        let found = heredoc::opened_in(text(&row["line"])).expect("good");
        let names: Vec<_> = found.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, rows(&row["heredocNames"]).map(text).collect::<Vec<_>>(), "{row}");
    }
}

#[test]
fn heredocs_of_instructions_are_those_of_the_table() {
    let Some(tables) = json("buildkit-parser/instructions_heredoc_tables.json") else { return };
    for row in rows(&tables["TestErrorCasesHeredoc"][0]) {
        let error = wrapped(text(&row["dockerfile"])).expect_err("a mistake");
        assert!(error.message.contains(text(&row["expectedError"])), "{error}");
    }
    for row in rows(&tables["TestCopyHeredoc"][0]) {
        let Ok(Command::Copy(Copy { files, .. })) = wrapped(text(&row["dockerfile"])) else {
            panic!("{row}")
        };
        let expected = &row["sourcesAndDest"];
        let sources: Vec<_> = files.sources.iter().map(|s| s.text.as_str()).collect();
        assert_eq!(sources, rows(&expected["SourcePaths"]).map(text).collect::<Vec<_>>(), "{row}");
        assert_eq!(files.destination.text, text(&expected["DestPath"]), "{row}");
        let contents: Vec<_> = rows(&expected["SourceContents"]).collect();
        assert_eq!(files.documents.len(), contents.len(), "{row}");
        for (found, expected) in files.documents.iter().zip(contents) {
            assert_eq!(found.name, text(&expected["Path"]));
            assert_eq!(found.content(), text(&expected["Data"]), "{row}");
            assert_eq!(Some(found.expand), expected["Expand"].as_bool(), "{row}");
        }
    }
    for row in rows(&tables["TestRunHeredoc"][0]) {
        let Ok(Command::Run(run)) = wrapped(text(&row["dockerfile"])) else { panic!("{row}") };
        let command: Vec<&str> = rows(&row["command"]).map(text).collect();
        match &run.line {
            CommandLine::Shell(line) => assert_eq!([line.as_str()].as_slice(), command, "{row}"),
            CommandLine::Exec(line) => assert_eq!(line, &command, "{row}"),
        }
        assert_eq!(matches!(run.line, CommandLine::Shell(_)), row["shell"] == true, "{row}");
        let files: Vec<_> = rows(&row["files"]).collect();
        assert_eq!(run.heredocs.len(), files.len());
        for (found, expected) in run.heredocs.iter().zip(files) {
            assert_eq!(
                (found.name.as_str(), found.body.as_str()),
                (text(&expected["Name"]), text(&expected["Data"]))
            );
            assert_eq!(found.chomp, expected["Chomp"] == true, "{row}");
        }
    }
}

#[test]
fn argument_counts_are_checked() {
    let Some(tables) = json("buildkit-parser/instructions_parse_tables.json") else { return };
    let check = |table: &str, operands: &str, message: &str| {
        for name in rows(&tables[table][0]).map(text) {
            let error = wrapped(&format!("{name}{operands}")).expect_err(name);
            assert!(error.message.ends_with(&format!("{name} {message}")), "{error}");
        }
    };
    check("TestCommandsExactlyOneArgument", "", "requires exactly one argument");
    check("TestCommandsAtLeastOneArgument", "", "requires at least one argument");
    let two =
        "requires at least two arguments, but only one was provided. Destination could not be determined";
    check("TestCommandsNoDestinationArgument", " arg1", two);
    check("TestCommandsBlankNames", " =arg2", "names can not be blank");
    for row in rows(&tables["TestErrorCases"][0]) {
        let error = wrapped(text(&row["dockerfile"])).expect_err("a mistake");
        assert!(error.message.contains(text(&row["expectedError"])), "{row}: {error}");
    }
}

#[test]
fn devices_are_read() {
    let Some(tables) = json("buildkit-parser/run_device_tables.json") else { return };
    for row in rows(&tables["TestParseDevice"][0]) {
        let found = run::device(text(&row["input"]));
        match &row["expected"] {
            Value::Null => {
                let expected = text(&row["expectedErr"]["args"][0]);
                assert_eq!(found.expect_err("a mistake").message, expected, "{row}");
            }
            expected => {
                let found = found.expect("good");
                assert_eq!(found.name, text(&expected["Name"]), "{row}");
                assert_eq!(Some(found.required), expected["Required"].as_bool(), "{row}");
            }
        }
    }
}

fn expand(word: &str, variables: &BTreeMap<String, String>) -> Result<shell::Lexed, String> {
    let variables = |name: &str| variables.get(name).cloned();
    shell::lex(word, shell::Mode::new('\\'), &variables).map_err(|(message, _)| message)
}

#[test]
fn words_expand_alike() {
    let Some(file) = shared("shell-lex/envVarTest") else { return };
    let variables = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")];
    let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let mut seen = 0;
    for line in fs::read_to_string(file).expect("it is there").lines() {
        let mut cells = line.splitn(3, '|');
        let (Some(tag), Some(word), Some(expected)) = (cells.next(), cells.next(), cells.next()) else {
            continue;
        };
        if tag == "W" || line.starts_with('#') {
            continue;
        }
        let found = expand(word.trim(), &variables);
        match expected.trim() {
            "error" => assert!(found.is_err(), "{line}"),
            expected => assert_eq!(found.expect(line).text, expected, "{line}"),
        }
        seen += 1;
    }
    assert!(seen > 200, "only {seen} rows");
}

#[test]
fn texts_split_into_the_same_words() {
    let Some(file) = shared("shell-lex/wordsTest") else { return };
    let mut variables = BTreeMap::new();
    let mut seen = 0;
    for line in fs::read_to_string(file).expect("it is there").lines().filter(|l| !l.starts_with('#')) {
        if let Some((name, value)) = line.strip_prefix("ENV ").and_then(|pair| pair.split_once('=')) {
            variables.insert(name.trim_start().to_owned(), value.to_owned());
            continue;
        }
        let Some((input, expected)) = line.split_once('|') else { continue };
        let found = expand(input.trim(), &variables).map(|lexed| lexed.words);
        match expected.trim_start() {
            "error" => assert!(found.is_err(), "{line}"),
            expected => {
                let expected: Vec<&str> = expected.split(',').collect();
                let found = found.expect(line);
                let found: Vec<&str> = found.iter().map(String::as_str).collect();
                // The table's own reader drops blanks at the end of a row.
                let trimmed = |words: &[&str]| words.join(",").trim_end().to_owned();
                assert_eq!(trimmed(&found), trimmed(&expected), "{line}");
            }
        }
        seen += 1;
    }
    assert!(seen > 20, "only {seen} rows");
}

#[test]
fn variables_that_were_used_are_known() {
    let Some(tables) = json("shell-lex/lex_tables.json") else { return };
    for row in rows(&tables["TestProcessWithMatches"][0]) {
        let variables = row["envs"].as_object().into_iter().flatten();
        let variables = variables.map(|(k, v)| (k.clone(), text(v).to_owned())).collect();
        let found = expand(text(&row["input"]), &variables);
        if row["expectedErr"] == true {
            assert!(found.is_err(), "{row}");
            continue;
        }
        let found = found.unwrap_or_else(|e| panic!("{row}: {e}"));
        assert_eq!(found.text, text(&row["expected"]), "{row}");
        for (names, key) in [(found.matched, "matches"), (found.unmatched, "unmatched")] {
            let expected: BTreeSet<&String> =
                row[key].as_object().into_iter().flat_map(|o| o.keys()).collect();
            assert!(names.iter().eq(expected), "{row}: {key} {names:?}");
        }
    }
}

#[test]
fn every_official_dockerfile_reads() {
    let Some(folder) = shared("official-dockerfiles") else { return };
    let mut folders = vec![folder];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|n| n.to_string_lossy().contains("Dockerfile")) {
                let file = parse("Dockerfile", &fs::read(&path).expect("readable"));
                assert!(file.is_ok(), "{}: {}", path.display(), file.expect_err("it failed"));
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} files");
}
