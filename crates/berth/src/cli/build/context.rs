//! Where a build's files are: a directory, standard input, an archive; and which of them are left out.

use berth_build::dockerfile::did_you_mean;
use berth_build::ignore::{Ignore, IgnoreFile};
use berth_build::{ContextSource, NamedContext};
use berth_engine::Engine;
use berth_oci::{AtPath, Error, Reference, Result};
use berth_store::Workplace;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found.
pub(super) struct Found {
    pub(super) dockerfile_name: String,
    /// Where it lies, as far as it lies anywhere.
    pub(super) dockerfile_path: PathBuf,
    pub(super) dockerfile: Vec<u8>,
    pub(super) source: ContextSource,
    /// The ignore file, if there is one.
    pub(super) ignore_name: Option<String>,
    pub(super) held: Held,
}

/// What has to stay until the build is over: an archive's layer.
pub(super) type Held = Option<Workplace>;

/// A Dockerfile is text that people write.
const DOCKERFILE_LIMIT: u64 = 16 << 20;

impl Found {
    /// What builds of the same files are compared by: where they are, and the Dockerfile's path.
    pub(super) fn project(&self, context: &str) -> String {
        let directory = self.source.directory.as_ref().filter(|_| self.source.is_stable);
        let place = directory.map_or_else(|| context.to_owned(), |path| path.display().to_string());
        format!("{place}|{}", self.dockerfile_path.display())
    }
}

/// Looks at the words.
pub(super) fn find(context: &str, file: Option<&Path>, engine: &Engine) -> Result<Found> {
    if context == "-" {
        return from_stdin(file, engine);
    }
    if context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/") {
        return Err(Error::unsupported(format!(
            "unable to prepare context: `{context}` is not on this machine"
        ))
        .hint("clone or download it, and name the directory"));
    }
    let directory = PathBuf::from(context);
    match fs::metadata(&directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(Error::invalid(format!(
                "unable to prepare context: path \"{context}\" is not a directory"
            )));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::not_found(format!("unable to prepare context: path \"{context}\" not found")));
        }
        Err(error) => return Err(error).at(&directory),
    }
    let directory = directory.canonicalize().at(&directory)?;
    if file == Some(Path::new("-")) {
        let mut dockerfile = Vec::new();
        std::io::stdin().lock().take(DOCKERFILE_LIMIT).read_to_end(&mut dockerfile).at("stdin")?;
        let (ignore, ignore_name) = ignore(&directory, None)?;
        let source = ContextSource { directory: Some(directory), ignore, is_stable: true };
        let dockerfile_name = "Dockerfile".to_owned();
        let dockerfile_path = PathBuf::from("-");
        return Ok(Found { dockerfile_name, dockerfile_path, dockerfile, source, ignore_name, held: None });
    }
    let path = dockerfile(&directory, file)?;
    let dockerfile = read(&path)?;
    let (ignore, ignore_name) = ignore(&directory, Some(&path))?;
    let dockerfile_name =
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let source = ContextSource { directory: Some(directory), ignore, is_stable: true };
    let dockerfile_path = path.canonicalize().at(&path)?;
    Ok(Found { dockerfile_name, dockerfile_path, dockerfile, source, ignore_name, held: None })
}

/// The Dockerfile that is meant: `-f`, from where we stand, or the context's.
fn dockerfile(directory: &Path, file: Option<&Path>) -> Result<PathBuf> {
    if let Some(file) = file {
        if file.exists() {
            return Ok(file.to_owned());
        }
        let parent = file.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        return Err(missing(
            &parent.display().to_string(),
            &file.file_name().unwrap_or_default().to_string_lossy(),
            parent,
        ));
    }
    for name in ["Dockerfile", "dockerfile"] {
        let path = directory.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(missing("", "Dockerfile", directory))
}

fn missing(parent: &str, name: &str, directory: &Path) -> Error {
    let shown = if parent.is_empty() || parent == "." { name.to_owned() } else { format!("{parent}/{name}") };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let similar = berth_build::dockerfile::nearest(name, names.iter().map(String::as_str), true);
    Error::not_found(format!(
        "failed to read dockerfile: open {shown}: no such file or directory{}",
        did_you_mean(similar.as_deref())
    ))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).at(path)?.take(DOCKERFILE_LIMIT).read_to_end(&mut bytes).at(path)?;
    Ok(bytes)
}

/// The Dockerfile's own ignore file, or the context's.
fn ignore(directory: &Path, dockerfile: Option<&Path>) -> Result<(Option<Arc<Ignore>>, Option<String>)> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([directory.join(".dockerignore")]) {
        match fs::read(&path) {
            Ok(bytes) => {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let ignore = Ignore::new(&IgnoreFile::parse(&name, &bytes))?;
                return Ok((Some(Arc::new(ignore)).filter(|ignore| !ignore.is_empty()), Some(name)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(&path),
        }
    }
    Ok((None, None))
}

/// A Dockerfile alone, or an archive with everything.
fn from_stdin(file: Option<&Path>, engine: &Engine) -> Result<Found> {
    let mut start = vec![0; 512];
    let mut stdin = std::io::stdin().lock();
    let mut length = 0;
    while length < start.len() {
        match stdin.read(&mut start[length..]).at("stdin")? {
            0 => break,
            count => length += count,
        }
    }
    start.truncate(length);
    if !is_archive(&start) {
        let mut dockerfile = start;
        stdin.take(DOCKERFILE_LIMIT).read_to_end(&mut dockerfile).at("stdin")?;
        return Ok(Found {
            dockerfile_name: "Dockerfile".to_owned(),
            dockerfile_path: PathBuf::from("-"),
            dockerfile,
            source: ContextSource { directory: None, ignore: None, is_stable: true },
            ignore_name: None,
            held: None,
        });
    }
    let store = engine.store()?;
    let place = store.workplace()?;
    let plain = berth_store::archives::decompress(Cursor::new(start).chain(std::io::stdin()))?;
    let (_, diff_id) = store.add_layer(plain, place.lease())?;
    let rootfs = place.rootfs(&[diff_id])?;
    let directory = rootfs.lowers[0].clone();
    let name = file.unwrap_or(Path::new("Dockerfile"));
    let path = directory.join(name.strip_prefix("/").unwrap_or(name));
    if !path.is_file() {
        return Err(missing("", &name.to_string_lossy(), &directory));
    }
    let dockerfile = read(&path)?;
    let (ignore, ignore_name) = ignore(&directory, Some(&path))?;
    Ok(Found {
        dockerfile_name: name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        dockerfile_path: name.to_owned(),
        dockerfile,
        // Its inodes are another archive's tomorrow.
        source: ContextSource { directory: Some(directory), ignore, is_stable: false },
        ignore_name,
        held: Some(place),
    })
}

fn is_archive(start: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    magic.iter().any(|magic| start.starts_with(magic)) || start.get(257..262) == Some(b"ustar")
}

/// `--build-context name=…`.
pub(super) fn named(texts: &[String]) -> Result<BTreeMap<String, NamedContext>> {
    let mut contexts = BTreeMap::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid context value: {text}, expected key=value")))?;
        let context = if let Some(image) = value.strip_prefix("docker-image://") {
            NamedContext::Image(image.parse::<Reference>()?.or_latest())
        } else if value.contains("://") {
            return Err(Error::unsupported(format!("--build-context {text}: it is not on this machine"))
                .hint("there are directories and docker-image://NAME"));
        } else {
            let path = Path::new(value);
            if !path.is_dir() {
                return Err(Error::not_found(format!(
                    "failed to get build context {name}: {value} is not a directory"
                )));
            }
            NamedContext::Directory(path.canonicalize().at(path)?)
        };
        contexts.insert(name.to_lowercase(), context);
    }
    Ok(contexts)
}
