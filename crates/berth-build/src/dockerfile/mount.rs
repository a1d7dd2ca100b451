//! `RUN --mount`: a list of `key=value` whose values may hold variables.
//!
//! Not here: making the mount. Invariant: `from` is known before any variable is, because it decides which stages
//! a stage needs.

use super::csv;
use super::error::Fault;
use super::suggest::{did_you_mean, nearest};
use super::word::{ExpandError, Expander, Word};

/// A `--mount` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    fields: Vec<String>,
    escape: char,
    /// The stage, image or context it is taken from.
    pub from: Option<String>,
}

/// A mount with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What it is.
    pub kind: MountKind,
    /// Where from: a path inside the source; for secrets an old name of `id`.
    pub source: Option<String>,
    /// Where to.
    pub target: Option<String>,
    /// The stage, image or context it is taken from.
    pub from: Option<String>,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// The cache's, secret's or agent's name.
    pub id: Option<String>,
    /// How builds share a cache.
    pub sharing: Option<Sharing>,
    /// Whether the build fails without the secret or agent.
    pub required: bool,
    /// The variable a secret is put into.
    pub env: Option<String>,
    /// The limit of a tmpfs in bytes.
    pub size: Option<u64>,
    /// The mode of a new file or directory.
    pub mode: Option<u32>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

/// What a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that stays between builds.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret, as a file or a variable.
    Secret,
    /// An SSH agent's socket.
    Ssh,
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

impl MountKind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// How builds that run at the same time share a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All write to it.
    Shared,
    /// Each gets one of its own.
    Private,
    /// One after the other.
    Locked,
}

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const KEYS: [&str; 18] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
];

impl MountFlag {
    /// Reads the list; the values wait for [`Self::resolve`].
    pub(crate) fn read(text: &str, escape: char) -> Result<Self, Fault> {
        let fields =
            csv::fields(text).map_err(|why| Fault::new(format!("failed to parse csv mounts: {why}")))?;
        let mut from = None;
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else { continue };
            if key.to_lowercase() != "from" {
                continue;
            }
            if has_variable(value) {
                return Err(Fault::new(
                    "'from' doesn't support variable expansion, define alias stage instead",
                ));
            }
            from = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        Ok(Self { fields, escape, from })
    }

    /// The mount, with the variables of `expander`.
    ///
    /// # Errors
    /// A key that is unknown or does not belong to the type, a value that is none, a substitution that fails.
    pub fn resolve(&self, expander: &mut Expander<'_>) -> Result<Mount, ExpandError> {
        let mut draft = Draft::default();
        for field in &self.fields {
            match field.split_once('=') {
                None => draft.word(field).map_err(ExpandError)?,
                Some((key, value)) => {
                    let value = expander.word(&Word::new(value, self.escape))?;
                    draft.pair(&key.to_lowercase(), &value, field).map_err(ExpandError)?;
                }
            }
        }
        draft.finish().map_err(ExpandError)
    }
}

/// Whether a `$` with something behind it is in `text`.
pub(super) fn has_variable(text: &str) -> bool {
    text.split_once('$').is_some_and(|(_, rest)| !rest.is_empty())
}

struct Draft {
    mount: Mount,
    read_only: Option<bool>,
}

impl Default for Draft {
    fn default() -> Self {
        let mount = Mount {
            kind: MountKind::Bind,
            source: None,
            target: None,
            from: None,
            read_only: true,
            id: None,
            sharing: None,
            required: false,
            env: None,
            size: None,
            mode: None,
            uid: None,
            gid: None,
        };
        Self { mount, read_only: None }
    }
}

impl Draft {
    /// A key without a value.
    fn word(&mut self, field: &str) -> Result<(), String> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => {
                self.only_for("required", &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = true;
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn pair(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        let mount = &mut self.mount;
        match key {
            "type" => mount.kind = one_of(value, &KINDS, "unsupported mount type")?,
            "from" => mount.from = text(),
            "source" | "src" => mount.source = text(),
            "target" | "dst" | "destination" => mount.target = text(),
            "readonly" | "ro" => self.read_only = Some(boolean(key, value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, value)?),
            "id" => mount.id = text(),
            "sharing" => mount.sharing = Some(one_of(value, &SHARINGS, "unsupported sharing value")?),
            "mode" => mount.mode = Some(number(key, value, 8)?),
            "uid" => mount.uid = Some(number(key, value, 10)?),
            "gid" => mount.gid = Some(number(key, value, 10)?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = boolean(key, value)?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                let bytes = ram_bytes(value).ok_or_else(|| format!("invalid value for {key}: {value}"))?;
                self.mount.size = Some(bytes);
            }
            "env" => {
                self.only_for(key, &[MountKind::Secret])?;
                self.mount.env = text();
            }
            _ => {
                let suggestion = did_you_mean(nearest(key, KEYS, false).as_deref());
                return Err(format!("unexpected key '{key}' in '{field}'{suggestion}"));
            }
        }
        Ok(())
    }

    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), String> {
        if kinds.contains(&self.mount.kind) {
            return Ok(());
        }
        Err(format!("unexpected key '{key}' for mount type '{}'", self.mount.kind.name()))
    }

    fn finish(self) -> Result<Mount, String> {
        use MountKind::{Bind, Cache, Secret, Tmpfs};
        let mut mount = self.mount;
        let kind = mount.kind;
        if matches!(kind, Bind | Tmpfs) {
            for (key, given) in [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)] {
                if given.is_some() {
                    return Err(format!("{key} not allowed for {:?} type mounts", kind.name()));
                }
            }
        }
        mount.read_only = self.read_only.unwrap_or(!matches!(kind, Cache | Tmpfs));
        if kind == Secret {
            if mount.from.is_some() {
                return Err("secret mount should not have a from".to_owned());
            }
            if mount.sharing.is_some() {
                return Err("secret mount should not define sharing".to_owned());
            }
            if mount.source.is_none() && mount.target.is_none() && mount.id.is_none() && mount.env.is_none() {
                return Err("invalid secret mount. one of source, target required".to_owned());
            }
            if mount.source.is_some() && mount.id.is_some() {
                return Err("both source and id can't be set".to_owned());
            }
        }
        if mount.sharing.is_some() && kind != Cache {
            return Err(format!("invalid cache sharing set for {} mount", kind.name()));
        }
        Ok(mount)
    }
}

fn one_of<T: Copy>(value: &str, options: &[(&str, T)], what: &str) -> Result<T, String> {
    let lower = value.to_lowercase();
    if let Some((_, found)) = options.iter().find(|(name, _)| *name == lower) {
        return Ok(*found);
    }
    let suggestion = did_you_mean(nearest(value, options.iter().map(|(name, _)| *name), false).as_deref());
    Err(format!("{what} {value:?}{suggestion}"))
}

/// The words Go takes for true and false.
pub(super) fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid value for {key}: {value}")),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, String> {
    let digits_only = value.starts_with(|c: char| c.is_ascii_digit());
    u32::from_str_radix(value, radix)
        .ok()
        .filter(|_| digits_only)
        .ok_or_else(|| format!("invalid value {value} for {key}"))
}

/// `64m`, `1.5GiB`, `1024`: units are powers of 1024.
pub(crate) fn ram_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim().to_lowercase());
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024f64.powi(power);
    // A whole number below 2^63 is exact enough for a limit.
    (bytes.is_finite() && bytes < 9.2e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Mount, String> {
        let variables = |name: &str| (name == "T").then(|| "cache".to_owned());
        let flag = MountFlag::read(text, '\\').map_err(|fault| fault.to_string())?;
        flag.resolve(&mut Expander::new(&variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_read_and_values_expanded() {
        let mount = resolve("TYPE=$T,target=/x,id=a,sharing=locked,mode=0700,uid=1").expect("good");
        assert_eq!((mount.kind, mount.sharing), (MountKind::Cache, Some(Sharing::Locked)));
        assert_eq!((mount.mode, mount.uid, mount.read_only), (Some(0o700), Some(1), false));
        let mount = resolve("\"target=/a,b\",from=stage").expect("good");
        assert_eq!((mount.target.as_deref(), mount.from.as_deref()), (Some("/a,b"), Some("stage")));
        assert!(mount.read_only && !resolve("target=/x,rw").expect("good").read_only);
        assert_eq!(resolve("type=tmpfs,target=/t,size=1.5m").expect("good").size, Some(1_572_864));
        assert!(resolve("type=secret,id=x,required").expect("good").required);
        assert_eq!(resolve("type=secret,env=X").expect("good").env.as_deref(), Some("X"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("from=$x", "'from' doesn't support variable expansion, define alias stage instead"),
            ("type=cahce", "unsupported mount type \"cahce\" (did you mean cache?)"),
            ("tarjet=/x", "unexpected key 'tarjet' in 'tarjet=/x' (did you mean target?)"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("required", "unexpected key 'required' for mount type 'bind'"),
            ("target=/x,mode=0700", "mode not allowed for \"bind\" type mounts"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,src=a,id=b", "both source and id can't be set"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("type=tmpfs,sharing=locked", "invalid cache sharing set for tmpfs mount"),
            ("type=cache,uid=+1", "invalid value +1 for uid"),
            ("type=tmpfs,size=x", "invalid value for size: x"),
            ("rw=maybe", "invalid value for rw: maybe"),
        ] {
            assert_eq!(resolve(text).expect_err(text), message, "{text}");
        }
    }
}
