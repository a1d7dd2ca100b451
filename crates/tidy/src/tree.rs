//! The text files of the repository. Not here: what is in `target`, in `.git`, or hidden.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub struct File {
    /// Its path from the repository's root.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// The repository.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The repository that this crate lies in.
    #[must_use]
    pub fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("we are in crates/tidy");
        Self { root: root.to_owned() }
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether there is something at this path from the root.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The text at this path from the root.
    ///
    /// # Panics
    /// There is no such text file: the check that wants it has failed.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
    }

    /// Every Rust file.
    #[must_use]
    pub fn rust(&self) -> Vec<File> {
        let mut paths = Vec::new();
        collect(&self.root, &mut paths);
        paths.sort();
        paths.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")).map(|p| self.file(p)).collect()
    }

    fn file(&self, path: &Path) -> File {
        let short = path.strip_prefix(&self.root).expect("we walked down from the root");
        let short = short.to_str().expect("we name our files in ASCII").to_owned();
        File { text: self.read(&short), path: short }
    }
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the repository can be read").map_while(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        let skipped = name == "target" || name.as_encoded_bytes().starts_with(b".");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !skipped => collect(&path, into),
            Ok(kind) if kind.is_file() => into.push(path),
            _ => {}
        }
    }
}
