//! Addresses of git repositories as `ADD` and build contexts have them: `https://host/x.git#ref:dir`,
//! `git@host:x.git?tag=v1&subdir=d`.
//!
//! Not here: fetching. Invariant: an address that says two things about the same is refused.

use crate::dockerfile::csv_fields;
use std::fmt;

/// A place in a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRef {
    /// What git itself is given.
    pub remote: String,
    /// The repository's name without `.git`.
    pub name: String,
    /// A branch, a tag or a commit; the default branch if it is not given.
    pub reference: Option<String>,
    /// The commit it must be, or begin with.
    pub checksum: Option<String>,
    /// A directory inside.
    pub subdir: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched.
    pub submodules: Option<bool>,
    /// What times files get.
    pub mtime: Option<Mtime>,
    /// The commit alone is fetched, and the reference not looked at.
    pub fetch_by_commit: bool,
    /// It could be a local path, too: `github.com/x/y`.
    pub could_be_path: bool,
    /// Anybody on the way can read and change what comes.
    pub is_plaintext: bool,
}

/// What times files of a repository get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtime {
    /// The moment they were written.
    Checkout,
    /// The commit's.
    Commit,
}

impl GitRef {
    /// Reads an address; `None` if it is no git address.
    ///
    /// # Errors
    /// It is one, and what stands behind `?` or `#` is wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((mut found, query, fragment)) = split(text) else { return Ok(None) };
        found.read_fragment(fragment)?;
        let last = found.remote.rsplit(['/', ':']).next().unwrap_or_default();
        found.name = last.strip_suffix(".git").unwrap_or(last).to_owned();
        found.read_query(query)?;
        Ok(Some(found))
    }

    /// The same for people to read: without a password.
    #[must_use]
    pub fn shown(&self) -> String {
        redacted(&self.without_subdir())
    }

    /// The address with its reference behind `#`; without the directory.
    #[must_use]
    pub fn without_subdir(&self) -> String {
        match &self.reference {
            Some(reference) => format!("{}#{reference}", self.remote),
            None => self.remote.clone(),
        }
    }

    /// The server that has the repository, with its port.
    #[must_use]
    pub fn host(&self) -> &str {
        let place = match self.remote.split_once("://") {
            Some((_, place)) => place.split('/').next().unwrap_or_default(),
            None => self.remote.split([':', '/']).next().unwrap_or_default(),
        };
        place.rsplit('@').next().unwrap_or_default()
    }

    fn read_fragment(&mut self, fragment: &str) -> Result<(), String> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        // Two hashes: a list of names and values.
        let Some(list) = fragment.strip_prefix('#') else {
            let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
            (self.reference, self.subdir) = (some(reference), some(subdir));
            return Ok(());
        };
        for field in csv_fields(list)?.iter().filter(|field| !field.is_empty()) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("invalid field '{field}' must be a key=value pair"));
            };
            match key.to_lowercase().as_str() {
                "ref" => self.reference = some(value),
                "commit" => self.checksum = some(value),
                "subdir" => self.subdir = some(value),
                key => {
                    return Err(format!(
                        "unexpected key '{key}' in '{field}' (supported keys: ref, commit, subdir)"
                    ));
                }
            }
        }
        Ok(())
    }

    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let (mut tag, mut branch) = (None, None);
        let mut seen: Vec<&str> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            seen.push(key);
            let value = decoded(value);
            let is_switch = matches!(key, "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return Err(format!("query {key:?} has no value"));
            }
            match key {
                "ref" => set_once("ref", &mut self.reference, value)?,
                "subdir" => set_once("subdir", &mut self.subdir, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "checksum" | "commit" => self.checksum = Some(value),
                "keep-git-dir" => self.keep_git_dir = Some(switch(key, &value)?),
                "submodules" => self.submodules = Some(switch(key, &value)?),
                "fetch-by-commit" => self.fetch_by_commit = switch(key, &value)?,
                "mtime" => {
                    self.mtime = Some(match value.as_str() {
                        "checkout" => Mtime::Checkout,
                        "commit" => Mtime::Commit,
                        _ => return Err(format!("invalid mtime value: {value:?}")),
                    });
                }
                _ => return Err(format!("unexpected query {key:?}")),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        for (prefix, name) in [("refs/tags/", tag), ("refs/heads/", branch)] {
            if let Some(name) = name {
                let full = if name.starts_with(prefix) { name } else { format!("{prefix}{name}") };
                set_once("ref", &mut self.reference, full)?;
            }
        }
        Ok(())
    }
}

/// The address with reference and directory behind `#`, which reads as the same again.
impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_subdir())?;
        let Some(subdir) = self.subdir.as_deref().map(|dir| dir.trim_start_matches('/')) else {
            return Ok(());
        };
        let hash = if self.reference.is_none() { "#" } else { "" };
        write!(f, "{hash}:{subdir}")
    }
}

/// An address without its password.
#[must_use]
pub fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:xxxxx@{host}{path}"),
        None => address.to_owned(),
    }
}

/// The remote, what stands behind `?`, and what behind `#`; `None` if this is no address of a repository.
fn split(text: &str) -> Option<(GitRef, &str, &str)> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut found = GitRef { remote: remote.to_owned(), ..GitRef::default() };
    match remote.split_once("://") {
        Some((scheme, place)) => {
            let scheme = scheme.to_lowercase();
            found.is_plaintext = matches!(scheme.as_str(), "http" | "git");
            let is_known = match scheme.as_str() {
                // Any file on the web has such an address; only a repository is called `.git`.
                "http" | "https" => remote.ends_with(".git"),
                "git" | "ssh" => true,
                _ => false,
            };
            if !is_known || place.is_empty() || place.contains(char::is_whitespace) {
                return None;
            }
        }
        None if remote.starts_with("github.com/") => found.could_be_path = true,
        None => {
            let (user, place) = remote.split_once('@')?;
            let (host, path) = place.split_once(':')?;
            let is_word = |text: &str, extra: &str| {
                !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
            };
            if !is_word(user, "-_") || !is_word(host, "-.") || path.is_empty() {
                return None;
            }
        }
    }
    Some((found, query, fragment))
}

fn set_once(what: &str, slot: &mut Option<String>, value: String) -> Result<(), String> {
    match slot {
        Some(old) if *old != value => Err(format!("{what} conflicts: {old:?} vs {value:?}")),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid {key} value: {value:?}")),
    }
}

/// `%2F` and `+` as queries have them; what is malformed stays as it is.
fn decoded(text: &str) -> String {
    decoded_path(&text.replace('+', " "))
}

/// `%2F` as paths have it; what is malformed stays as it is.
pub(crate) fn decoded_path(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        bytes.push(match (escaped, first) {
            (Some(byte), _) => byte,
            (None, byte) => *byte,
        });
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json;
    use serde_json::Value;

    #[test]
    fn addresses_are_told_from_paths() {
        for (text, expected) in [
            ("https://h/a/b.git#v1:d", Some("https://h/a/b.git#v1:d")),
            ("ssh://git@h/a", Some("ssh://git@h/a")),
            ("git@h:a/b.git?branch=x%2Fy&subdir=/d", Some("git@h:a/b.git#refs/heads/x/y:d")),
            ("https://h/b.git##ref=v1,subdir=d", Some("https://h/b.git#v1:d")),
            ("https://h/b", None),
            ("./github.com/x", None),
            ("a@b", None),
            ("ftp://h/b.git", None),
            ("c:/x.git", None),
        ] {
            let found = GitRef::parse(text).expect(text);
            assert_eq!(found.map(|found| found.to_string()).as_deref(), expected, "{text}");
        }
        for (text, message) in [
            ("https://h/b.git?ref=a&ref=b", "query \"ref\" has multiple values"),
            ("https://h/b.git?ref=", "query \"ref\" has no value"),
            ("https://h/b.git?subdir=a#:b", "subdir conflicts: \"b\" vs \"a\""),
            ("https://h/b.git##x", "invalid field 'x' must be a key=value pair"),
        ] {
            assert_eq!(GitRef::parse(text).expect_err(text), message, "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (remote, shown) in [
            ("https://u:p@h/a.git", "https://u:xxxxx@h/a.git"),
            ("https://u:p@q@h:1/a", "https://u:xxxxx@h:1/a"),
            ("https://h/a@b:c.git", "https://h/a@b:c.git"),
            ("https://u:p@h#x", "https://u:xxxxx@h#x"),
            ("git@h:a.git", "git@h:a.git"),
        ] {
            assert_eq!(redacted(remote), shown, "{remote}");
        }
    }

    #[test]
    fn the_tables_are_met() {
        let Some(tables) = json("buildkit-parser/git_ref_tables.json") else { return };
        let rows = |table: &str| tables[table][0].as_array().expect("a table").clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for row in rows("TestParseGitRef") {
            let found = GitRef::parse(&text(&row["ref"]));
            if let Some(error) = row["err"].as_str() {
                assert!(found.expect_err("a conflict").contains(error), "{row}");
                continue;
            }
            let expected = &row["expected"];
            let Some(found) = found.expect("good") else {
                assert!(expected.is_null(), "{row}");
                continue;
            };
            let optional = |text: &Option<String>| text.clone().unwrap_or_default();
            assert_eq!(found.remote, text(&expected["Remote"]), "{row}");
            assert_eq!(found.name, text(&expected["ShortName"]), "{row}");
            assert_eq!(optional(&found.reference), text(&expected["Ref"]), "{row}");
            assert_eq!(optional(&found.subdir), text(&expected["SubDir"]), "{row}");
            assert_eq!(optional(&found.checksum), text(&expected["Checksum"]), "{row}");
            assert_eq!(found.could_be_path, expected["IndistinguishableFromLocal"] == true, "{row}");
            assert_eq!(found.is_plaintext, expected["UnencryptedTCP"] == true, "{row}");
            assert_eq!(found.fetch_by_commit, expected["FetchByCommit"] == true, "{row}");
            let mtime = match text(&expected["MTime"]).as_str() {
                "commit" => Some(Mtime::Commit),
                "checkout" => Some(Mtime::Checkout),
                _ => None,
            };
            assert_eq!(found.mtime, mtime, "{row}");
        }
        for (table, with_subdir) in [("TestFragmentFormat", false), ("TestFragmentFormatWithSubdir", true)] {
            for row in rows(table) {
                let address = text(&row["ref"]);
                let Ok(Some(found)) = GitRef::parse(&address) else {
                    assert_eq!(row["ok"], false, "{row}");
                    continue;
                };
                let shown = if with_subdir { found.to_string() } else { found.without_subdir() };
                assert_eq!(shown, text(&row["expected"]), "{row}");
            }
        }
    }
}
