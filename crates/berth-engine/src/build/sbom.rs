//! `--sbom`: the packages of an image, as its package managers list them, in SPDX 2.3.
//!
//! Read are the databases of dpkg (Debian, Ubuntu, distroless) and apk (Alpine); packages of languages are not looked
//! for. Invariant: the image's files are read inside of the image, in bounds; what is malformed is passed over.

use super::attest::Predicate;
use berth_build::BuiltImage;
use berth_oci::{Context, Digest, Result};
use berth_runtime::in_root;
use berth_store::Store;
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

const KIND: &str = "https://spdx.dev/Document";
/// No database is larger, in bytes.
const DATABASE_LIMIT: u64 = 64 << 20;
/// No image has more packages that somebody wants to read about.
const PACKAGES_LIMIT: usize = 100_000;

/// A package.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    architecture: String,
    license: String,
    /// `deb` or `apk`.
    kind: &'static str,
}

/// The packages of an image.
pub(super) fn sbom(store: &Store, image: &BuiltImage, name: &str, now: Timestamp) -> Result<Predicate> {
    let place = store.workplace()?;
    let ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let view = place.view(&ids)?;
    let distribution = distribution(&view)?;
    let mut packages = BTreeSet::new();
    for (path, read) in [
        ("var/lib/dpkg/status", dpkg as fn(&str) -> Vec<Package>),
        ("lib/apk/db/installed", apk),
        ("usr/lib/apk/db/installed", apk),
    ] {
        packages.extend(text(&view, path)?.iter().flat_map(|text| read(text)));
    }
    for name in names(&view, "var/lib/dpkg/status.d")? {
        packages.extend(
            text(&view, &format!("var/lib/dpkg/status.d/{name}"))?.iter().flat_map(|text| dpkg(text)),
        );
    }
    let packages: Vec<Package> = packages.into_iter().take(PACKAGES_LIMIT).collect();
    Ok(Predicate { kind: KIND, value: document(&packages, &distribution, name, image, now) })
}

/// `debian` and `12`, as package URLs have them.
fn distribution(view: &impl AsFd) -> Result<(String, String)> {
    let text = match text(view, "etc/os-release")? {
        Some(text) => text,
        None => text(view, "usr/lib/os-release")?.unwrap_or_default(),
    };
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    Ok((value("ID").unwrap_or_else(|| "linux".to_owned()), value("VERSION_ID").unwrap_or_default()))
}

fn document(
    packages: &[Package],
    (distribution, release): &(String, String),
    name: &str,
    image: &BuiltImage,
    now: Timestamp,
) -> Value {
    let listed: Vec<Value> = packages
        .iter()
        .enumerate()
        .map(|(number, package)| {
            let Package { name, version, architecture, license, kind } = package;
            let license = if license.is_empty() { "NOASSERTION" } else { license };
            let url = format!(
                "pkg:{kind}/{distribution}/{}@{}?arch={architecture}&distro={distribution}-{release}",
                escaped(name),
                escaped(version)
            );
            json!({
                "SPDXID": format!("SPDXRef-Package-{number}"),
                "name": name,
                "versionInfo": version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "licenseConcluded": "NOASSERTION",
                // Package managers' words are no SPDX expressions.
                "licenseDeclared": "NOASSERTION",
                "licenseComments": license,
                "copyrightText": "NOASSERTION",
                "externalRefs": [{
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": url,
                }],
            })
        })
        .collect();
    let relations: Vec<Value> = (0..packages.len())
        .map(|number| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": format!("SPDXRef-Package-{number}"),
            })
        })
        .collect();
    let layers: Vec<&str> = image.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:berth:sbom:{}", Digest::of(layers.join(" ").as_bytes()).hex()),
        "creationInfo": {
            "created": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "creators": [format!("Tool: berth-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": listed,
        "relationships": relations,
    })
}

/// What package URLs may not hold as it is.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Paragraphs of `Name: value` lines (deb-control(5)).
fn dpkg(text: &str) -> Vec<Package> {
    let packages = text.split("\n\n").filter_map(|paragraph| {
        let value = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
        };
        // What was removed and left its configuration is not there.
        if value("Status").is_some_and(|status| !status.ends_with(" installed")) {
            return None;
        }
        let architecture = value("Architecture").unwrap_or_default();
        Some(Package {
            name: value("Package")?,
            version: value("Version")?,
            architecture,
            license: String::new(),
            kind: "deb",
        })
    });
    packages.collect()
}

/// Paragraphs of `X:value` lines (apk's installed database).
fn apk(text: &str) -> Vec<Package> {
    let packages = text.split("\n\n").filter_map(|paragraph| {
        let value =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some(Package {
            name: value("P:")?,
            version: value("V:")?,
            architecture: value("A:").unwrap_or_default(),
            license: value("L:").unwrap_or_default(),
            kind: "apk",
        })
    });
    packages.collect()
}

/// A file of the image; `None`: there is none.
fn text(view: &impl AsFd, path: &str) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    match open(view, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) if file.metadata()?.is_file() => {
            file.take(DATABASE_LIMIT)
                .read_to_end(&mut bytes)
                .map_err(berth_oci::Error::from)
                .context(|| format!("`/{path}`"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Ok(_) => Ok(None),
        Err(error) if is_nothing(&error) => Ok(None),
        Err(error) => Err(berth_oci::Error::from(error)).context(|| format!("`/{path}`")),
    }
}

fn names(view: &impl AsFd, path: &str) -> Result<Vec<String>> {
    let directory = match open(view, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(error) if is_nothing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(berth_oci::Error::from(error)).context(|| format!("`/{path}`")),
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&directory).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Beside each package lies a list of its files' digests.
        if !name.starts_with('.') && !name.ends_with(".md5sums") {
            names.push(name);
        }
    }
    names.truncate(PACKAGES_LIMIT);
    Ok(names)
}

fn open(view: &impl AsFd, path: &str, flags: OFlags) -> io::Result<File> {
    in_root::open(view, path.as_ref(), flags).map(File::from)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let shown = |packages: Vec<Package>| {
            packages
                .iter()
                .map(|p| format!("{} {} {} {}", p.name, p.version, p.architecture, p.license))
                .collect::<Vec<_>>()
        };
        let status = "Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.134\nDescription: x\n Package: y\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: base-files\nVersion: 12.4\n\nnonsense\n";
        assert_eq!(shown(dpkg(status)), ["adduser 3.134 all ", "base-files 12.4  "]);
        let installed = "C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:ld.so\n\nP:broken\n\n";
        assert_eq!(shown(apk(installed)), ["musl 1.2.5-r0 x86_64 MIT"]);
        assert_eq!(escaped("libstdc++6"), "libstdc%2B%2B6");
    }
}
