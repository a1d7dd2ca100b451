//! Every command that README.md shows exists, with every switch that it shows.

use super::support::Sealed;
use std::path::Path;

/// Commands that have commands of their own.
const GROUPS: &[&str] =
    &["builder", "buildx", "container", "image", "manifest", "network", "system", "volume"];

#[test]
fn every_command_of_the_readme_is_there() {
    let readme =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/berth").join("README.md");
    let text = std::fs::read_to_string(readme).expect("it is there");
    let sealed = Sealed::new();
    let commands: Vec<Vec<&str>> = code_of(&text).filter_map(command_of).collect();
    assert!(commands.len() > 15, "README.md shows hardly any command");
    for words in commands {
        assert_known(&sealed, &words);
    }
}

/// The lines between fences; prose may begin with the product's name too.
fn code_of(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.flat_map(|block| block.lines().skip(1))
}

/// The words behind `berth` or `docker`, where the line is such a command.
fn command_of(line: &str) -> Option<Vec<&str>> {
    let code = line.split(" #").next()?;
    let mut words = code.split_whitespace().skip_while(|word| *word == "sudo" || word.starts_with("BERTH_"));
    matches!(words.next(), Some("berth" | "docker")).then(|| words.collect())
}

/// Global switches take a value and stand before the command; then comes the command with its own switches.
fn assert_known(sealed: &Sealed, words: &[&str]) {
    let mut rest = words;
    while let [switch, _value, tail @ ..] = rest
        && switch.starts_with("--")
    {
        assert!(has(&sealed.ok(&["--help"]), switch), "`berth --help` does not know {switch}");
        rest = tail;
    }
    let depth = if GROUPS.contains(&rest[0]) { 2 } else { 1 };
    let (verb, arguments) = rest.split_at(depth);
    let help = sealed.ok(&[verb, &["--help"]].concat());
    // Whatever follows the image of `run` or `exec` belongs to the container.
    for switch in arguments.iter().filter(|word| word.starts_with('-') && word.len() > 1) {
        let name = switch.split('=').next().unwrap_or(switch);
        match name.strip_prefix("--") {
            Some(_) => assert!(has(&help, name), "`berth {} --help` does not know {name}", verb.join(" ")),
            None => name[1..].chars().for_each(|letter| {
                let short = format!("-{letter}");
                assert!(has(&help, &short), "`berth {} --help` does not know {short}", verb.join(" "));
            }),
        }
    }
}

/// Whether a help text lists this switch as a word of its own.
fn has(help: &str, switch: &str) -> bool {
    help.split(|c: char| c.is_whitespace() || c == ',' || c == '=').any(|word| word == switch)
}
