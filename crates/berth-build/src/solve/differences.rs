//! One input of a step that has another value, said for people.

use super::explain::{reason, short};
use crate::check::is_secret_name;
use crate::history::{Reason, ReasonKind};
use std::collections::BTreeSet;

/// An input that differs.
pub(super) struct Input<'a> {
    pub(super) name: &'a str,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
    /// The instruction's text differs, too: what follows from that need not be said.
    pub(super) is_reworded: bool,
    /// Which files differ has been said.
    pub(super) has_files: bool,
    /// Variables that are arguments.
    pub(super) arguments: &'a BTreeSet<String>,
}

impl Input<'_> {
    /// `None`: it has been said by somebody else.
    pub(super) fn reason(&self) -> Option<Reason> {
        let (kind, subject) = self.name.split_once(' ').unwrap_or((self.name, ""));
        let option =
            |subject: &str, what: &str| Some(reason(ReasonKind::Option, subject, self.changed(what)));
        match kind {
            "base" | "operation" => None,
            "variable" => Some(self.variable(subject)),
            "files" | "from" if self.has_files => None,
            "mount" if self.has_files => None,
            "files" => option(subject, &format!("the choice of `{subject}`")),
            "from" => option("from", "the stage or image it copies from"),
            "mount" => {
                let (typ, target) = subject.split_once(' ').unwrap_or((subject, ""));
                let text = match (&self.old, &self.new) {
                    (None, _) => format!("it has a new {typ} mount at {target}"),
                    (_, None) => format!("it has no {typ} mount at {target} any more"),
                    _ => format!("its {typ} mount at {target} has other contents or options"),
                };
                Some(reason(ReasonKind::Option, target, text))
            }
            "fetched" => Some(reason(
                ReasonKind::File,
                subject,
                format!("`{subject}` is another file at its address now"),
            )),
            // What the instruction says has been told already.
            _ if self.is_reworded => None,
            "argument" => option("SHELL", "SHELL"),
            "script" | "document" => Some(reason(
                ReasonKind::Instruction,
                subject,
                format!("the text of its heredoc {subject} changed"),
            )),
            "user" => option("USER", "USER"),
            "directory" => option("WORKDIR", "WORKDIR"),
            "network" => option("--network", "its network"),
            "security" => option("--security", "its security mode"),
            "epoch" => option("SOURCE_DATE_EPOCH", "SOURCE_DATE_EPOCH"),
            "platform" => option("--platform", "the platform"),
            "source" | "destination" | "path" => {
                let text = format!(
                    "a variable in it has another value: `{}` instead of `{}`",
                    self.shown(&self.new),
                    self.shown(&self.old)
                );
                Some(reason(ReasonKind::Argument, kind, text))
            }
            other => option(other, &format!("its {other}")),
        }
    }

    fn variable(&self, name: &str) -> Reason {
        let is_argument = self.arguments.contains(name);
        let (kind, word) = match is_argument {
            true => (ReasonKind::Argument, "ARG"),
            false => (ReasonKind::Environment, "ENV"),
        };
        let text = match (&self.old, &self.new) {
            _ if is_secret_name(name) => format!("{word} {name} has another value"),
            (None, Some(new)) => format!("{word} {name} is new here, with the value \"{}\"", short(new)),
            (Some(_), None) => format!("the variable {name} is gone"),
            _ => format!(
                "{word} {name} is \"{}\" instead of \"{}\"",
                self.shown(&self.new),
                self.shown(&self.old)
            ),
        };
        reason(kind, name, text)
    }

    fn changed(&self, what: &str) -> String {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old.len() + new.len() < 80 && !old.contains("sha256:") => {
                format!("{what} is {} instead of {}", quoted(new), quoted(old))
            }
            (None, Some(new)) if new.len() < 80 => format!("{what} is {} now", quoted(new)),
            (Some(old), None) if old.len() < 80 => format!("{what} is not {} any more", quoted(old)),
            _ => format!("{what} changed"),
        }
    }

    fn shown(&self, value: &Option<String>) -> String {
        short(value.as_deref().unwrap_or_default())
    }
}

fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_has_its_words() {
        let arguments = BTreeSet::from(["SHA".to_owned(), "API_TOKEN".to_owned()]);
        let row = |name: &str, old: Option<&str>, new: Option<&str>| {
            let input = Input {
                name,
                old: old.map(str::to_owned),
                new: new.map(str::to_owned),
                is_reworded: false,
                has_files: false,
                arguments: &arguments,
            };
            input.reason().map(|reason| reason.text)
        };
        for (name, old, new, expected) in [
            ("variable SHA", Some("1"), Some("2"), "ARG SHA is \"2\" instead of \"1\""),
            ("variable PATH", Some("/a"), Some("/b"), "ENV PATH is \"/b\" instead of \"/a\""),
            ("variable API_TOKEN", Some("1"), Some("2"), "ARG API_TOKEN has another value"),
            ("variable SHA", None, Some("2"), "ARG SHA is new here, with the value \"2\""),
            ("variable X", Some("2"), None, "the variable X is gone"),
            ("user", Some(""), Some("daemon"), "USER is \"daemon\" instead of \"\""),
            (
                "mount bind /src",
                Some("sha256:1"),
                Some("sha256:2"),
                "its bind mount at /src has other contents or options",
            ),
            ("mount cache /c", None, Some("x"), "it has a new cache mount at /c"),
            ("document EOF", Some("a"), Some("b"), "the text of its heredoc EOF changed"),
            ("epoch", None, Some("5"), "SOURCE_DATE_EPOCH is \"5\" now"),
            ("chmod", Some(""), Some("600"), "its chmod is \"600\" instead of \"\""),
            ("source", Some("a"), Some("b"), "a variable in it has another value: `b` instead of `a`"),
        ] {
            assert_eq!(row(name, old, new).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(row("base", Some("a"), Some("b")), None);
    }
}
