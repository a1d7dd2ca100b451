//! What lies in a build context, and what the ignore file leaves out of it.
//!
//! Not here: what a build reads of it. Invariant: links are never followed, and no file is opened.

use crate::ignore::Ignore;
use crate::request::ContextSource;
use berth_oci::{AtPath, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files that steps may see.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are left out.
    pub ignored_files: u64,
    /// Their bytes.
    pub ignored_bytes: u64,
    /// What each rule of the ignore file decides.
    pub rules: Vec<RuleEffect>,
    /// The ten largest files and directories that steps may see; a directory whose size is that of one thing in it
    /// is left out.
    pub largest: Vec<(String, u64)>,
}

/// A rule of the ignore file and the files of which it is the one that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleEffect {
    /// Its line.
    pub line: usize,
    /// As it is written.
    pub pattern: String,
    /// It brings back.
    pub exception: bool,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

const LARGEST: usize = 10;

/// Looks at a context; `None`: there is none.
///
/// # Errors
/// A directory cannot be read.
pub fn survey(context: &ContextSource) -> Result<Option<Survey>> {
    let Some(directory) = &context.directory else { return Ok(None) };
    let none = Ignore::default();
    let ignore = context.ignore.as_deref().unwrap_or(&none);
    let rules = ignore.lines().into_iter().map(|(line, pattern, exception)| RuleEffect {
        line,
        pattern,
        exception,
        files: 0,
        bytes: 0,
    });
    let mut walk = Walk {
        ignore,
        survey: Survey { rules: rules.collect(), ..Survey::default() },
        sizes: BTreeMap::new(),
    };
    walk.directory(directory, "")?;
    let Walk { mut survey, sizes, .. } = walk;
    survey.largest = largest(&sizes);
    Ok(Some(survey))
}

struct Walk<'a> {
    ignore: &'a Ignore,
    survey: Survey,
    /// Of everything that is not left out, directories with what is in them.
    sizes: BTreeMap<String, u64>,
}

impl Walk<'_> {
    /// Answers the bytes of what is not left out below it.
    fn directory(&mut self, directory: &Path, below: &str) -> Result<u64> {
        let mut total = 0;
        for entry in fs::read_dir(directory).at(directory)? {
            let entry = entry.at(directory)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            // Gone since the directory was listed.
            let Ok(metadata) = entry.metadata() else { continue };
            let bytes = match metadata.is_dir() {
                true => self.directory(&entry.path(), &path)?,
                false => self.file(&path, if metadata.is_file() { metadata.len() } else { 0 }),
            };
            total += bytes;
            if bytes > 0 {
                self.sizes.insert(path, bytes);
            }
        }
        Ok(total)
    }

    fn file(&mut self, path: &str, bytes: u64) -> u64 {
        let rule = self.ignore.deciding(path);
        if let Some(rule) = rule {
            let effect = &mut self.survey.rules[rule];
            (effect.files, effect.bytes) = (effect.files + 1, effect.bytes + bytes);
            if !effect.exception {
                self.survey.ignored_files += 1;
                self.survey.ignored_bytes += bytes;
                return 0;
            }
        }
        self.survey.files += 1;
        self.survey.bytes += bytes;
        bytes
    }
}

fn largest(sizes: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    // What one child makes up nearly all of says nothing that the child does not say.
    let is_one_child = |path: &str, bytes: u64| {
        let prefix = format!("{path}/");
        sizes
            .range(prefix.clone()..)
            .take_while(|(child, _)| child.starts_with(&prefix))
            .any(|(_, child)| child * 10 >= bytes * 9)
    };
    let mut all: Vec<(String, u64)> = sizes.iter().map(|(path, bytes)| (path.clone(), *bytes)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.into_iter().filter(|(path, bytes)| !is_one_child(path, *bytes)).take(LARGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ignore::IgnoreFile;
    use std::sync::Arc;

    #[test]
    fn every_rule_is_charged_with_what_it_decides() {
        let directory = tempfile::tempdir().unwrap();
        for (path, size) in
            [("src/a", 10), ("src/b", 5), ("log/x.log", 100), ("log/keep.log", 7), ("deep/er/big", 1000)]
        {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'x'; size]).unwrap();
        }
        let file = IgnoreFile::parse(".dockerignore", b"# logs\n**/*.log\n!log/keep.log\nnothing\n");
        let ignore = Some(Arc::new(Ignore::new(&file).unwrap()));
        let context = ContextSource { directory: Some(directory.path().to_owned()), ignore, is_stable: true };
        let survey = survey(&context).unwrap().unwrap();
        assert_eq!((survey.files, survey.bytes), (4, 1022));
        assert_eq!((survey.ignored_files, survey.ignored_bytes), (1, 100));
        let rules: Vec<_> = survey
            .rules
            .iter()
            .map(|rule| (rule.line, rule.pattern.as_str(), rule.files, rule.bytes))
            .collect();
        assert_eq!(rules, [(2, "**/*.log", 1, 100), (3, "!log/keep.log", 1, 7), (4, "nothing", 0, 0)]);
        let largest: Vec<_> = survey.largest.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
        assert_eq!(
            largest,
            [("deep/er/big", 1000), ("src", 15), ("src/a", 10), ("log/keep.log", 7), ("src/b", 5)]
        );
    }
}
