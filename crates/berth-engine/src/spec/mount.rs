//! What a container sees of the host's files: `-v`, `--mount` and `--tmpfs`, as docker reads them.
//!
//! Not here: whether a source exists; that is asked when the container is made. Named and anonymous volumes are
//! refused by name. Invariant: targets are absolute, clean and not `/`; sources are absolute.

use super::name::ContainerName;
use super::size::parse_ram;
use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// How docker begins to say what is wrong with a bind.
const BIND: &str = "invalid mount config for type \"bind\": ";

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Mount {
    /// A file or directory of the host.
    Bind(Bind),
    /// Memory.
    Tmpfs(Tmpfs),
}

impl Mount {
    /// Where it appears in the container.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind(bind) => &bind.target,
            Self::Tmpfs(tmpfs) => &tmpfs.target,
        }
    }
}

/// A file or directory of the host, seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Whether the container may only read.
    pub read_only: bool,
    /// Whether mounts below the source stay out.
    pub non_recursive: bool,
    /// Whether mounts made later are seen by the other side.
    pub propagation: Option<Propagation>,
    /// The options as they were written: docker shows them again.
    pub mode: String,
    /// Whether a source that is not there becomes an empty directory: `-v` does that, `--mount` does not.
    pub create_source: bool,
}

/// Memory that ends with the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// In the container.
    pub target: PathBuf,
    /// Mount options: `size=64m`, `noexec`, …
    pub options: Vec<String>,
}

/// Whether mounts made later are seen by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of mount(8)")]
pub enum Propagation {
    Private,
    RPrivate,
    Slave,
    RSlave,
    Shared,
    RShared,
}

impl Propagation {
    /// The word of mount(8).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
            Self::Shared => "shared",
            Self::RShared => "rshared",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Private, Self::RPrivate, Self::Slave, Self::RSlave, Self::Shared, Self::RShared]
            .into_iter()
            .find(|p| p.as_str() == word)
    }
}

/// Reads `-v`: `/host:/container[:options]`. A source that starts with a dot is relative to `directory`.
///
/// # Errors
/// It is not a bind: malformed, or a volume, which needs a name and a life of its own.
pub fn parse_volume(text: &str, directory: &Path) -> Result<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    if text.is_empty() {
        return Err(Error::invalid("invalid empty volume spec"));
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Error::invalid(format!("invalid spec: {text}: empty section between colons")));
    }
    let (source, target, mode) = match parts[..] {
        [target] => return Err(volume_refused(target)),
        [_, target] if is_mode(target) => return Err(volume_spec(text)),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(Error::invalid(format!("invalid spec: {text}: too many colons"))),
    };
    let source = match source.starts_with('.') {
        true => clean(&directory.join(source)),
        false if source.starts_with('/') => clean(Path::new(source)),
        false if source.parse::<ContainerName>().is_err() => return Err(no_volume_name(source)),
        false => return Err(volume_refused(source)),
    };
    let options = parse_mode(mode)?;
    let target = clean_target(target)
        .map_err(|e| Error::invalid(format!("invalid volume specification: '{text}': {BIND}{e}")))?;
    Ok(Mount::Bind(Bind {
        source,
        target,
        read_only: options.read_only,
        non_recursive: false,
        propagation: options.propagation,
        mode: mode.to_owned(),
        create_source: true,
    }))
}

fn volume_spec(text: &str) -> Error {
    Error::invalid(format!("invalid volume specification: '{text}'"))
        .hint("write /host/directory:/container/directory[:ro]")
}

/// Volumes are named as containers are.
fn no_volume_name(name: &str) -> Error {
    Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    ))
}

fn volume_refused(name: &str) -> Error {
    Error::unsupported(format!("`{name}` is a volume, and volumes are not supported yet"))
        .hint("bind a directory of the host instead: -v /host/directory:/container/directory")
}

#[derive(Default)]
struct Mode {
    read_only: bool,
    propagation: Option<Propagation>,
}

/// What a word of `-v`'s third part is about; each may be said once.
#[derive(PartialEq)]
enum Topic {
    Access,
    Label,
    Copy,
    Consistency,
    Propagation,
}

fn topic(word: &str) -> Option<Topic> {
    match word {
        "ro" | "rw" => Some(Topic::Access),
        // Labels of SELinux: without SELinux docker accepts them and has nothing to do.
        "z" | "Z" => Some(Topic::Label),
        "nocopy" => Some(Topic::Copy),
        "consistent" | "cached" | "delegated" => Some(Topic::Consistency),
        _ => Propagation::from_word(word).map(|_| Topic::Propagation),
    }
}

fn is_mode(text: &str) -> bool {
    text.split(',').all(|word| topic(word).is_some())
}

fn parse_mode(mode: &str) -> Result<Mode> {
    let invalid = || Error::invalid(format!("invalid mode: {mode}")).hint("for example ro, or rw,rslave");
    let words: Vec<&str> = if mode.is_empty() { Vec::new() } else { mode.split(',').collect() };
    let topics: Vec<Topic> =
        words.iter().map(|word| topic(word).ok_or_else(invalid)).collect::<Result<_>>()?;
    let repeated = topics.iter().enumerate().any(|(at, topic)| topics[..at].contains(topic));
    if repeated {
        return Err(invalid());
    }
    Ok(Mode {
        read_only: words.contains(&"ro"),
        propagation: words.iter().find_map(|word| Propagation::from_word(word)),
    })
}

/// Reads `--tmpfs`: `/target[:options]`.
///
/// # Errors
/// The target is not a path, or an option is not one of tmpfs.
pub fn parse_tmpfs(text: &str) -> Result<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = clean_target(target)?;
    let options: Vec<String> = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
    match options.iter().find(|option| !is_tmpfs_option(option)) {
        Some(option) => Err(Error::invalid(format!("invalid tmpfs option \"{option}\""))),
        None => Ok(Mount::Tmpfs(Tmpfs { target, options })),
    }
}

fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 22] = [
        "async",
        "atime",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "relatime",
        "ro",
        "rw",
        "strictatime",
        "suid",
        "sync",
    ];
    match option.split_once('=') {
        Some((key, value)) => {
            matches!(key, "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol")
                && !value.is_empty()
        }
        None => FLAGS.contains(&option),
    }
}

/// Reads `--mount`: `type=bind,source=/host,target=/container,readonly` or `type=tmpfs,target=/x,tmpfs-size=1m`.
///
/// # Errors
/// A field is unknown, missing or wrong for its type; or it is a volume.
pub fn parse_mount(text: &str) -> Result<Mount> {
    let mut fields = Fields::default();
    for field in text.split(',') {
        fields.read(field.trim())?;
    }
    fields.into_mount()
}

/// The fields of one `--mount`.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    non_recursive: bool,
    propagation: Option<Propagation>,
    tmpfs_options: Vec<String>,
    bind_field: bool,
}

impl Fields {
    fn read(&mut self, field: &str) -> Result<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let needed = || {
            value.ok_or_else(|| Error::invalid(format!("invalid field '{field}' must be a key=value pair")))
        };
        let invalid = |what: &str| Error::invalid(format!("invalid value for {key}: {what}"));
        match key.as_str() {
            "type" => self.kind = Some(needed()?.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(needed()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(needed()?.to_owned()),
            "readonly" | "ro" => {
                self.read_only = parse_bool(value).ok_or_else(|| invalid(value.unwrap_or("")))?
            }
            "bind-nonrecursive" => {
                self.bind_field = true;
                self.non_recursive = parse_bool(value).ok_or_else(|| invalid(value.unwrap_or("")))?;
            }
            "bind-recursive" => {
                self.bind_field = true;
                self.non_recursive = match needed()? {
                    "enabled" | "true" => false,
                    "disabled" | "false" => true,
                    other => return Err(invalid(&format!("{other} (must be \"enabled\" or \"disabled\")"))),
                };
            }
            "bind-propagation" => {
                self.bind_field = true;
                let word = needed()?.to_ascii_lowercase();
                self.propagation = Some(Propagation::from_word(&word).ok_or_else(|| invalid(&word))?);
            }
            "tmpfs-size" => {
                let size = parse_ram(needed()?).map_err(|_| invalid(value.unwrap_or("")))?;
                self.tmpfs_options.push(format!("size={size}"));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(needed()?, 8).map_err(|_| invalid(value.unwrap_or("")))?;
                self.tmpfs_options.push(format!("mode={mode:o}"));
            }
            _ => return Err(Error::invalid(format!("unexpected key '{key}' in '{field}'"))),
        }
        Ok(())
    }

    fn into_mount(self) -> Result<Mount> {
        let target = self.target.as_deref().ok_or_else(|| Error::invalid("target is required"))?;
        match self.kind.as_deref() {
            Some("bind") => {
                if !self.tmpfs_options.is_empty() {
                    return Err(Error::invalid("cannot mix 'tmpfs-*' options with mount type 'bind'"));
                }
                let wrong = |e: &dyn std::fmt::Display| Error::invalid(format!("{BIND}{e}"));
                let source = self.source.ok_or_else(|| wrong(&"field Source must not be empty"))?;
                if !source.starts_with('/') {
                    return Err(wrong(&format!(
                        "invalid mount path: '{source}' mount path must be absolute"
                    )));
                }
                Ok(Mount::Bind(Bind {
                    source: clean(Path::new(&source)),
                    target: clean_target(target).map_err(|e| wrong(&e))?,
                    read_only: self.read_only,
                    non_recursive: self.non_recursive,
                    propagation: self.propagation,
                    mode: String::new(),
                    create_source: false,
                }))
            }
            Some("tmpfs") => {
                let wrong = |e: &dyn std::fmt::Display| {
                    Error::invalid(format!("invalid mount config for type \"tmpfs\": {e}"))
                };
                if self.bind_field {
                    return Err(Error::invalid("cannot mix 'bind-*' options with mount type 'tmpfs'"));
                }
                if self.source.is_some() {
                    return Err(wrong(&"field Source must not be specified"));
                }
                let mut options = self.tmpfs_options;
                options.extend(self.read_only.then(|| "ro".to_owned()));
                Ok(Mount::Tmpfs(Tmpfs { target: clean_target(target).map_err(|e| wrong(&e))?, options }))
            }
            None | Some("volume") => Err(volume_refused(self.source.as_deref().unwrap_or(target))),
            Some(other) => Err(Error::unsupported(format!("mount type `{other}` is not supported"))
                .hint("the types are bind and tmpfs")),
        }
    }
}

/// Go's booleans; a key alone means yes.
fn parse_bool(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
        _ => None,
    }
}

fn clean_target(text: &str) -> Result<PathBuf> {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{text}' mount path must be absolute")));
    }
    match clean(Path::new(text)) {
        root if root == Path::new("/") => {
            Err(Error::invalid("invalid specification: destination can't be '/'"))
        }
        target => Ok(target),
    }
}

/// Takes `.` and `..` out of an absolute path by its text alone, as docker does.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(mount: Result<Mount>) -> String {
        match mount {
            Ok(Mount::Bind(b)) => {
                let mut text = format!("{} -> {}", b.source.display(), b.target.display());
                text += if b.read_only { " ro" } else { "" };
                text += if b.non_recursive { " non-recursive" } else { "" };
                text += b.propagation.map_or("", Propagation::as_str);
                text
            }
            Ok(Mount::Tmpfs(t)) => format!("tmpfs {} {}", t.target.display(), t.options.join(",")),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn volumes() {
        for (text, expected) in [
            ("/a:/b", "/a -> /b"),
            ("/a:/b:ro", "/a -> /b ro"),
            ("/a:/b:rw,z", "/a -> /b"),
            ("/a:/b:ro,rslave", "/a -> /b rorslave"),
            ("/a/../c/:/b//d/.", "/c -> /b/d"),
            ("./x:/b", "/here/x -> /b"),
            ("../x:/b", "/x -> /b"),
            (".:/b", "/here -> /b"),
            ("", "invalid empty volume spec"),
            ("/a::ro", "invalid spec: /a::ro: empty section between colons"),
            (":/b", "invalid spec: :/b: empty section between colons"),
            ("/a:/b:", "invalid spec: /a:/b:: empty section between colons"),
            ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
            ("/a:ro", "invalid volume specification: '/a:ro'"),
            ("/a:/b:rx", "invalid mode: rx"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("/a:/b:ro,", "invalid mode: ro,"),
            (
                "/a:b",
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
            ),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                "a/b:/b",
                "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
            ("data:/b", "`data` is a volume, and volumes are not supported yet"),
            ("/b", "`/b` is a volume, and volumes are not supported yet"),
        ] {
            assert_eq!(show(parse_volume(text, Path::new("/here"))), expected, "{text}");
        }
    }

    #[test]
    fn mounts() {
        for (text, expected) in [
            ("type=bind,source=/a,target=/b", "/a -> /b"),
            ("type=bind,src=/a,dst=/b,readonly", "/a -> /b ro"),
            ("type=bind,src=/a,dst=/b,ro=false,bind-propagation=shared", "/a -> /bshared"),
            ("type=bind,src=/a,dst=/b,bind-recursive=disabled", "/a -> /b non-recursive"),
            ("type=tmpfs,target=/t", "tmpfs /t "),
            (
                "type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770,ro",
                "tmpfs /t size=1048576,mode=1770,ro",
            ),
            ("type=bind,src=/a", "target is required"),
            ("type=bind,target=/b", "invalid mount config for type \"bind\": field Source must not be empty"),
            (
                "type=bind,src=a,target=/b",
                "invalid mount config for type \"bind\": invalid mount path: 'a' mount path must be absolute",
            ),
            (
                "type=tmpfs,src=/a,target=/b",
                "invalid mount config for type \"tmpfs\": field Source must not be specified",
            ),
            ("type=tmpfs,target=/b,bind-nonrecursive", "cannot mix 'bind-*' options with mount type 'tmpfs'"),
            ("type=bind,src=/a,dst=/b,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("type=bind,src", "invalid field 'src' must be a key=value pair"),
            ("type=bind,ro=maybe", "invalid value for ro: maybe"),
            ("type=bind,x=y", "unexpected key 'x' in 'x=y'"),
            ("src=v,dst=/b", "`v` is a volume, and volumes are not supported yet"),
            ("type=npipe,dst=/b", "mount type `npipe` is not supported"),
        ] {
            assert_eq!(show(parse_mount(text)), expected, "{text}");
        }
    }

    #[test]
    fn tmpfs() {
        for (text, expected) in [
            ("/run", "tmpfs /run "),
            ("/run:rw,noexec,size=64m", "tmpfs /run rw,noexec,size=64m"),
            ("/run:size=64m,bad", "invalid tmpfs option \"bad\""),
            ("/run:bad=1", "invalid tmpfs option \"bad=1\""),
            ("run", "invalid mount path: 'run' mount path must be absolute"),
            ("/", "invalid specification: destination can't be '/'"),
        ] {
            assert_eq!(show(parse_tmpfs(text)), expected, "{text}");
        }
    }
}
