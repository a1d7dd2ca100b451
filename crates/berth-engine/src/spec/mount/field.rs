//! `--mount`, as docker reads it: fields with commas between them.

use super::{
    Below, Bind, Flag, ImageMount, Mount, Owners, Propagation, Tmpfs, Volume, clean, clean_target, config,
    volume_name,
};
use crate::spec::csv;
use crate::spec::size::parse_ram;
use berth_oci::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// One `--mount` whose fields fit together. What docker leaves to its daemon is asked by [`MountFlag::resolve`].
#[derive(Clone, Debug)]
pub struct MountFlag(Fields);

/// Reads `--mount`: `type=bind,source=/host,target=/container,readonly`, `type=volume,source=name,target=/x`,
/// `type=tmpfs,target=/x,tmpfs-size=1m`.
///
/// # Errors
/// A field is unknown, missing or wrong for its type.
pub fn parse_mount(text: &str) -> Result<MountFlag> {
    let mut fields = Fields::default();
    for field in csv(text)? {
        fields.read(field.trim())?;
    }
    fields.check()?;
    Ok(MountFlag(fields))
}

impl MountFlag {
    /// The mount that it asks for; a source that is not absolute is relative to `directory`.
    ///
    /// # Errors
    /// A path or a name is not one, or the type is unknown.
    pub fn resolve(&self, directory: &Path) -> Result<Mount> {
        self.0.clone().into_mount(directory)
    }
}

/// The fields of one `--mount`.
#[derive(Clone, Debug, Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    bind: Option<BindFields>,
    volume: Option<VolumeFields>,
    tmpfs: Option<Vec<String>>,
    image: Option<String>,
    owners: Owners,
}

#[derive(Clone, Debug, Default)]
struct BindFields {
    below: Below,
    propagation: Option<String>,
    create_source: bool,
}

#[derive(Clone, Debug, Default)]
struct VolumeFields {
    no_copy: bool,
    subpath: Option<String>,
    driver: Option<String>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

/// One field: its name in lower case, and what stands behind the first `=`.
struct Field<'a> {
    text: &'a str,
    key: String,
    value: Option<&'a str>,
}

impl<'a> Field<'a> {
    fn new(text: &'a str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { text, key: key.to_ascii_lowercase(), value: Some(value) },
            None => Self { text, key: text.to_ascii_lowercase(), value: None },
        }
    }

    fn needed(&self) -> Result<&'a str> {
        self.value
            .ok_or_else(|| Error::invalid(format!("invalid field '{}' must be a key=value pair", self.text)))
    }

    fn invalid(&self, what: &str) -> Error {
        Error::invalid(format!("invalid value for {}: {what}", self.key))
    }

    /// Go's booleans; a key alone means yes.
    fn boolean(&self) -> Result<bool> {
        match self.value {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(self.invalid(other)),
        }
    }

    /// `key=value`, or a key with nothing.
    fn pair(&self) -> Result<(String, String)> {
        let text = self.needed()?;
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Ok((key.to_owned(), value.to_owned()))
    }
}

impl Fields {
    fn read(&mut self, text: &str) -> Result<()> {
        let field = Field::new(text);
        match field.key.as_str() {
            "type" => self.kind = Some(field.needed()?.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(field.needed()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(field.needed()?.to_owned()),
            "readonly" | "ro" => self.read_only = field.boolean()?,
            "idmap" => {
                self.owners = match field.value {
                    Some(maps) => Owners::parse_idmap(maps)?,
                    None => Owners::Shown,
                };
            }
            "u" | "chown" if field.boolean()? => self.owners = Owners::Given,
            "u" | "chown" => {}
            // For docker on a Mac; here both sides always agree.
            "consistency" => match field.needed()? {
                "default" | "consistent" | "cached" | "delegated" => {}
                other => return Err(field.invalid(other)),
            },
            key if key.starts_with("bind-") => self.bind.get_or_insert_default().read(&field)?,
            key if key.starts_with("volume-") => self.volume.get_or_insert_default().read(&field)?,
            "tmpfs-size" => {
                let value = field.needed()?;
                let size = parse_ram(value).map_err(|_| field.invalid(value))?;
                self.tmpfs.get_or_insert_default().push(format!("size={size}"));
            }
            "tmpfs-mode" => {
                let value = field.needed()?;
                let mode = u32::from_str_radix(value, 8).map_err(|_| field.invalid(value))?;
                self.tmpfs.get_or_insert_default().push(format!("mode={mode:o}"));
            }
            "image-subpath" => self.image = Some(field.needed()?.to_owned()),
            _ => return Err(unexpected(&field)),
        }
        Ok(())
    }

    /// The type; a volume where none is named.
    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("volume")
    }

    fn check(&self) -> Result<()> {
        if self.target.is_none() {
            return Err(Error::invalid("target is required"));
        }
        let kind = self.kind();
        let mixed = [
            ("bind", self.bind.is_some()),
            ("volume", self.volume.is_some()),
            ("tmpfs", self.tmpfs.is_some()),
            ("image", self.image.is_some()),
        ];
        if let Some((other, _)) = mixed.into_iter().find(|(name, given)| *given && *name != kind) {
            return Err(Error::invalid(format!("cannot mix '{other}-*' options with mount type '{kind}'")));
        }
        let requires = |what: &str| {
            Err(Error::invalid(format!(
                "option 'bind-recursive=readonly' requires '{what}' to be specified in conjunction"
            )))
        };
        match self.bind.as_ref().filter(|bind| bind.below == Below::ReadOnly) {
            Some(_) if !self.read_only => requires("readonly"),
            Some(bind) if bind.propagation.as_deref() != Some("rprivate") => {
                requires("bind-propagation=rprivate")
            }
            _ => Ok(()),
        }
    }

    fn into_mount(self, directory: &Path) -> Result<Mount> {
        let target = self.target.clone().expect("`check` wants one");
        match self.kind() {
            "bind" => self.into_bind(&target, directory),
            "volume" => self.into_volume(&target),
            "tmpfs" => self.into_tmpfs(&target),
            "image" => self.into_image(&target),
            other => {
                Err(config(other, &"mount type unknown").hint("the types are bind, volume, tmpfs and image"))
            }
        }
    }

    fn into_bind(self, target: &str, directory: &Path) -> Result<Mount> {
        let wrong = |e: &dyn std::fmt::Display| config("bind", e);
        let fields = self.bind.unwrap_or_default();
        let source = self.source.filter(|source| !source.is_empty());
        let source = source.ok_or_else(|| wrong(&"field Source must not be empty"))?;
        let propagation = |word: &String| {
            Propagation::from_word(word).ok_or_else(|| wrong(&format!("invalid propagation mode: {word}")))
        };
        Ok(Mount::Bind(Bind {
            source: clean(&directory.join(source)),
            target: clean_target(target).map_err(|e| wrong(&e))?,
            read_only: self.read_only,
            below: fields.below,
            propagation: fields.propagation.as_ref().map(propagation).transpose()?,
            mode: String::new(),
            flag: Flag::Mount,
            owners: self.owners,
            create_source: fields.create_source,
        }))
    }

    fn into_volume(self, target: &str) -> Result<Mount> {
        let fields = self.volume.unwrap_or_default();
        let name = self.source.filter(|source| !source.is_empty());
        Ok(Mount::Volume(Volume {
            target: clean_target(target).map_err(|e| config("volume", &e))?,
            name: name.as_deref().map(volume_name).transpose()?,
            read_only: self.read_only,
            no_copy: fields.no_copy,
            subpath: fields.subpath.as_deref().map(|part| subpath("volume", part)).transpose()?,
            flag: Flag::Mount,
            owners: self.owners,
            driver: fields.driver,
            options: fields.options,
            labels: fields.labels,
            ..Volume::default()
        }))
    }

    fn into_tmpfs(self, target: &str) -> Result<Mount> {
        let wrong = |e: &dyn std::fmt::Display| config("tmpfs", e);
        if self.source.is_some() {
            return Err(wrong(&"field Source must not be specified"));
        }
        if self.owners != Owners::Kept {
            return Err(wrong(&"memory has no owners to map"));
        }
        let mut options = self.tmpfs.unwrap_or_default();
        options.extend(self.read_only.then(|| "ro".to_owned()));
        let target = clean_target(target).map_err(|e| wrong(&e))?;
        Ok(Mount::Tmpfs(Tmpfs { target, options, is_mount: true }))
    }

    /// An image is always read-only: docker takes `readonly=false`, too, and says nothing.
    fn into_image(self, target: &str) -> Result<Mount> {
        let wrong = |e: &dyn std::fmt::Display| config("image", e);
        let source = self.source.filter(|source| !source.is_empty());
        if self.owners != Owners::Kept {
            return Err(wrong(&"the owners of an image's files are the image's"));
        }
        let part = self.image.filter(|part| !part.is_empty());
        Ok(Mount::Image(ImageMount {
            source: source.ok_or_else(|| wrong(&"field Source must not be empty"))?,
            target: clean_target(target).map_err(|e| wrong(&e))?,
            read_only: self.read_only,
            subpath: part.map(|part| subpath("image", &part)).transpose()?,
            image: None,
        }))
    }
}

fn unexpected(field: &Field<'_>) -> Error {
    let unknown = || Error::invalid(format!("unexpected key '{}' in '{}'", field.key, field.text));
    // Docker looks for the value first.
    field.needed().err().unwrap_or_else(unknown)
}

impl BindFields {
    fn read(&mut self, field: &Field<'_>) -> Result<()> {
        match field.key.as_str() {
            "bind-nonrecursive" => {
                self.below = if field.boolean()? { Below::Disabled } else { Below::Enabled };
            }
            "bind-recursive" => {
                self.below = match field.needed()? {
                    "enabled" | "true" | "1" => Below::Enabled,
                    "disabled" | "false" | "0" => Below::Disabled,
                    "writable" => Below::Writable,
                    "readonly" => Below::ReadOnly,
                    other => {
                        return Err(field.invalid(&format!(
                            "{other} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                        )));
                    }
                };
            }
            "bind-propagation" => self.propagation = Some(field.needed()?.to_ascii_lowercase()),
            "bind-create-src" => self.create_source = field.boolean()?,
            _ => return Err(unexpected(field)),
        }
        Ok(())
    }
}

impl VolumeFields {
    fn read(&mut self, field: &Field<'_>) -> Result<()> {
        match field.key.as_str() {
            "volume-nocopy" => self.no_copy = field.boolean()?,
            "volume-subpath" => self.subpath = Some(field.needed()?.to_owned()),
            "volume-driver" => self.driver = Some(field.needed()?.to_owned()),
            "volume-opt" => self.options.extend([field.pair()?]),
            "volume-label" => self.labels.extend([field.pair()?]),
            _ => return Err(unexpected(field)),
        }
        Ok(())
    }
}

/// It stays inside by its text; that no link leads out is seen to when it is mounted.
fn subpath(kind: &str, text: &str) -> Result<PathBuf> {
    let mut depth = 0_i32;
    for component in Path::new(text).components() {
        depth += match component {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i32::MIN / 2,
            Component::CurDir => 0,
        };
        if depth < 0 {
            return Err(config(kind, &"subpath must be a relative path within the volume"));
        }
    }
    Ok(clean(&Path::new("/").join(text)).strip_prefix("/").unwrap_or(Path::new("")).to_owned())
}
