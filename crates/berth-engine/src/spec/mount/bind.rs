//! `-v`, as docker reads it: a bind, a volume with a name, or one without.

use super::{
    Below, Bind, Flag, Mount, Owners, Propagation, Volume, clean, clean_target, config, volume_name,
};
use berth_oci::{Error, Result};
use std::path::{Path, PathBuf};

/// What one `-v` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFlag {
    /// Something at a place of the container.
    Mount(Mount),
    /// Some volume at this place, unless something else is there already.
    Anonymous(PathBuf),
}

/// Reads `-v`: `source:/target[:options]`, or `/target` alone. A source that starts with a dot is relative to
/// `directory`; one that starts with neither a dot nor a slash is the name of a volume.
///
/// # Errors
/// It is malformed.
pub fn parse_volume(text: &str, directory: &Path) -> Result<VolumeFlag> {
    let parts: Vec<&str> = text.split(':').collect();
    if text.is_empty() {
        return Err(Error::invalid("invalid empty volume spec"));
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Error::invalid(format!("invalid spec: {text}: empty section between colons")));
    }
    let (source, target, mode) = match parts[..] {
        [target] => return anonymous(target),
        [_, target] if is_mode(target) => {
            return Err(Error::invalid(format!("invalid volume specification: '{text}'"))
                .hint("write /host/directory:/container/directory[:ro], or NAME:/container/directory[:ro]"));
        }
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(Error::invalid(format!("invalid spec: {text}: too many colons"))),
    };
    let options = parse_mode(mode)?;
    let mount = match source.starts_with(['.', '/']) {
        true => bind(source, target, mode, &options, directory),
        false => volume(source, target, mode, &options),
    };
    mount.map(VolumeFlag::Mount).map_err(|problem| match problem {
        Problem::Whole(error) => error,
        Problem::Config(kind, what) => {
            Error::invalid(format!("invalid volume specification: '{text}': {}", config(kind, &what)))
        }
    })
}

/// What is wrong: said as it is, or behind the words of the flag and the type.
enum Problem {
    Whole(Error),
    Config(&'static str, String),
}

/// Docker takes a relative one as one below `/`.
fn anonymous(target: &str) -> Result<VolumeFlag> {
    let target = clean(&Path::new("/").join(target));
    match target == Path::new("/") {
        true => Err(config("volume", &"invalid specification: destination can't be '/'")),
        false => Ok(VolumeFlag::Anonymous(target)),
    }
}

fn bind(
    source: &str,
    target: &str,
    mode: &str,
    options: &Mode,
    directory: &Path,
) -> std::result::Result<Mount, Problem> {
    let wrong = |what: String| Problem::Config("bind", what);
    if options.no_copy {
        return Err(wrong("field VolumeOptions must not be specified".to_owned()));
    }
    Ok(Mount::Bind(Bind {
        source: clean(&directory.join(source)),
        target: clean_target(target).map_err(|error| wrong(error.to_string()))?,
        read_only: options.read_only,
        below: Below::Enabled,
        propagation: options.propagation,
        mode: mode.to_owned(),
        flag: Flag::Volume,
        owners: options.owners.clone(),
        create_source: true,
    }))
}

fn volume(name: &str, target: &str, mode: &str, options: &Mode) -> std::result::Result<Mount, Problem> {
    let wrong = |what: String| Problem::Config("volume", what);
    if options.propagation.is_some() {
        return Err(wrong("field BindOptions must not be specified".to_owned()));
    }
    Ok(Mount::Volume(Volume {
        target: clean_target(target).map_err(|error| wrong(error.to_string()))?,
        name: Some(volume_name(name).map_err(Problem::Whole)?),
        read_only: options.read_only,
        no_copy: options.no_copy,
        owners: options.owners.clone(),
        mode: mode.to_owned(),
        ..Volume::default()
    }))
}

#[derive(Default)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
    owners: Owners,
}

/// What a word of `-v`'s third part is about; each may be said once.
#[derive(PartialEq)]
enum Topic {
    Access,
    Label,
    Copy,
    Consistency,
    Propagation,
    Owners,
}

fn topic(word: &str) -> Option<Topic> {
    match word {
        "ro" | "rw" => Some(Topic::Access),
        // Labels of SELinux: without SELinux docker accepts them and has nothing to do.
        "z" | "Z" => Some(Topic::Label),
        "nocopy" => Some(Topic::Copy),
        "idmap" | "U" => Some(Topic::Owners),
        word if word.starts_with("idmap=") => Some(Topic::Owners),
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
    let owners = words.iter().find_map(|word| owners(word)).transpose()?.unwrap_or_default();
    Ok(Mode {
        owners,
        read_only: words.contains(&"ro"),
        no_copy: words.contains(&"nocopy"),
        propagation: words.iter().find_map(|word| Propagation::from_word(word)),
    })
}

/// What a word says about owners, if it does.
fn owners(word: &str) -> Option<Result<Owners>> {
    match word {
        "idmap" => Some(Ok(Owners::Shown)),
        "U" => Some(Ok(Owners::Given)),
        _ => word.strip_prefix("idmap=").map(Owners::parse_idmap),
    }
}
