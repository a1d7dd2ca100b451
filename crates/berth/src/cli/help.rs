//! `--help` in docker's layout, drawn from clap's tree.
//!
//! Invariant: what is shown is what is parsed; there is no second list of options.

use crate::format::table::{Spacing, aligned_with};
use clap::{Arg, ArgAction, Command};

/// The help of `command`, called by `path` (`berth image ls`); `root` knows the command's other names.
pub(crate) fn text(command: &Command, path: &str, root: &Command) -> String {
    let mut out = format!("Usage:  {}\n", usage(command, path));
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        out += &format!("\n{about}\n");
    }
    let names = aliases(path, root);
    if names.len() > 1 {
        out += &format!("\nAliases:\n  {}\n", names.join(", "));
    }
    let groups = command.get_subcommands().filter(|c| !c.is_hide_set() && c.has_subcommands());
    let verbs = command.get_subcommands().filter(|c| !c.is_hide_set() && !c.has_subcommands());
    out += &section("Management Commands", COMMANDS, groups.map(subcommand_row));
    out += &section("Commands", COMMANDS, verbs.map(subcommand_row));
    let is_root = !path.contains(' ');
    let options = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let own = options.filter(|arg| is_root || !arg.is_global_set());
    out += &section(if is_root { "Global Options" } else { "Options" }, OPTIONS, own.map(option_row));
    if command.has_subcommands() {
        out += &format!("\nRun '{path} COMMAND --help' for more information on a command.\n");
    }
    out
}

/// `berth pull [OPTIONS] NAME[:TAG|@DIGEST]`.
pub(crate) fn usage(command: &Command, path: &str) -> String {
    if command.has_subcommands() {
        let options = if path.contains(' ') { "" } else { " [OPTIONS]" };
        return format!("{path}{options} COMMAND");
    }
    let has_options = command.get_arguments().any(|arg| !arg.is_positional() && !arg.is_global_set());
    let mut words = vec![path.to_owned()];
    if has_options {
        words.push("[OPTIONS]".to_owned());
    }
    words.extend(command.get_positionals().map(positional));
    words.join(" ")
}

fn positional(arg: &Arg) -> String {
    let name = value_name(arg);
    let (least, most) = arity(arg);
    if name.contains(' ') {
        // It says by itself what may be left out and what may come again.
        return name;
    }
    match (least, most > 1) {
        (0, false) => format!("[{name}]"),
        (0, true) => format!("[{name}...]"),
        (_, false) => name,
        (_, true) => format!("{name} [{name}...]"),
    }
}

/// The least and the most values that a positional argument takes.
pub(crate) fn arity(arg: &Arg) -> (usize, usize) {
    let range = arg.get_num_args().unwrap_or_else(|| 1.into());
    let many = matches!(arg.get_action(), ArgAction::Append);
    let most = if many { usize::MAX } else { range.max_values() };
    (if arg.is_required_set() { range.min_values().max(1) } else { 0 }, most)
}

fn value_name(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some([name, ..]) => name.to_string(),
        _ => arg.get_id().as_str().to_uppercase(),
    }
}

/// All the ways to call the same command: docker knows most verbs twice.
fn aliases(path: &str, root: &Command) -> Vec<String> {
    let program = path.split(' ').next().unwrap_or_default();
    let words: Vec<&str> = path.split(' ').skip(1).collect();
    let Some(about) = find(root, &words).and_then(Command::get_about).map(ToString::to_string) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for group in root.get_subcommands().filter(|group| group.has_subcommands()) {
        for verb in group.get_subcommands() {
            if verb.get_about().is_some_and(|text| text.to_string() == about) {
                let own = std::iter::once(verb.get_name()).chain(verb.get_visible_aliases());
                names.extend(own.map(|name| format!("{program} {} {name}", group.get_name())));
            }
        }
    }
    let top = root.get_subcommands().filter(|verb| !verb.has_subcommands());
    names.extend(
        top.filter(|verb| verb.get_about().is_some_and(|text| text.to_string() == about))
            .map(|verb| format!("{program} {}", verb.get_name())),
    );
    names
}

fn find<'a>(root: &'a Command, words: &[&str]) -> Option<&'a Command> {
    words.iter().try_fold(root, |command, word| command.find_subcommand(word))
}

const OPTIONS: Spacing = Spacing { least: 0, padding: 3 };
/// Docker's names are at least eleven wide, and two blanks stand before them.
const COMMANDS: Spacing = Spacing { least: 14, padding: 2 };

fn section(title: &str, spacing: Spacing, rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("\n{title}:\n{}", aligned_with(&rows, spacing)),
    }
}

fn subcommand_row(command: &Command) -> String {
    format!(
        "  {}\t{}\n",
        command.get_name(),
        command.get_about().map(ToString::to_string).unwrap_or_default()
    )
}

fn option_row(arg: &Arg) -> String {
    let short = arg.get_short().map_or("    ".to_owned(), |c| format!("-{c}, "));
    let long = arg.get_long().map_or(String::new(), |long| format!("--{long}"));
    let takes = arg.get_action().takes_values().then(|| format!(" {}", value_name(arg)));
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue) || arg.is_require_equals_set();
    let takes = takes.filter(|_| !is_flag).unwrap_or_default();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("  {short}{long}{takes}\t{help}\n")
}
