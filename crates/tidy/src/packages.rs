//! What `cargo metadata` says about our crates and what they stand on. Asks no registry.

use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

/// A package of the lock file that this machine's build uses.
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SPDX expression in its manifest.
    pub license: Option<String>,
    /// Where it comes from; `None`: from this repository.
    pub source: Option<String>,
    /// What its manifest asks for.
    pub dependencies: Vec<Dependency>,
    /// Where its manifest lies.
    pub manifest: String,
}

/// A line of a manifest's `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
pub struct Dependency {
    /// The package that is asked for.
    pub name: String,
    /// Only tests use it.
    pub is_dev: bool,
}

/// Our crates, and everything that is built for them.
pub struct Packages {
    all: Vec<Package>,
    ours: HashSet<String>,
}

impl Packages {
    /// Asks cargo, which reads the lock file and what it has downloaded already.
    ///
    /// # Panics
    /// Cargo fails: the check that wants to know has failed.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &platform])
            .current_dir(root)
            .output()
            .expect("cargo runs this");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let members = metadata["workspace_members"].as_array().expect("there are members");
        let ours = members.iter().filter_map(Value::as_str).map(str::to_owned).collect::<HashSet<_>>();
        let used: HashSet<&str> = metadata["resolve"]["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|n| n["id"].as_str())
            .collect();
        let mut all = Vec::new();
        let mut our_names = HashSet::new();
        for package in metadata["packages"].as_array().expect("there are packages") {
            let id = package["id"].as_str().unwrap_or_default();
            if ours.contains(id) {
                our_names.insert(text(&package["name"]));
            }
            if used.contains(id) {
                all.push(read(package));
            }
        }
        Self { all, ours: our_names }
    }

    /// Everything that is built, our crates included.
    pub fn all(&self) -> impl Iterator<Item = &Package> {
        self.all.iter()
    }

    /// The crates of this workspace.
    pub fn ours(&self) -> impl Iterator<Item = &Package> {
        self.all.iter().filter(|p| self.ours.contains(&p.name))
    }
}

fn read(package: &Value) -> Package {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        license: package["license"].as_str().map(str::to_owned),
        source: package["source"].as_str().map(str::to_owned),
        dependencies: dependencies
            .map(|d| Dependency { name: text(&d["name"]), is_dev: d["kind"] == "dev" })
            .collect(),
        manifest: text(&package["manifest_path"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
