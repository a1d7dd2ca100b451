//! One file of credentials: docker's `config.json` or podman's `auth.json`, which share their shape.
//!
//! Invariant: a file is written whole or not at all, readable by its owner alone, and keeps every field that we do
//! not know.

use super::Credential;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_oci::{AtPath, Context, Error, Result};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// No such file is larger.
const LIMIT: u64 = 16 << 20;

/// The parsed file.
pub(super) struct AuthFile {
    path: PathBuf,
    root: Map<String, Value>,
}

impl AuthFile {
    /// What is not there is empty.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let empty = || Self { path: path.to_owned(), root: Map::new() };
        let text = match fs::metadata(path) {
            Ok(meta) if meta.len() > LIMIT => {
                return Err(Error::invalid(format!("`{}` is too large to hold credentials", path.display())));
            }
            Ok(_) => fs::read(path).at(path)?,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(empty());
            }
            Err(e) => return Err(e).at(path),
        };
        if text.trim_ascii().is_empty() {
            return Ok(empty());
        }
        let malformed = |why: String| {
            Error::invalid(format!("`{}` is malformed: {why}", path.display()))
                .hint("repair it, or move it away and log in again")
        };
        match serde_json::from_slice(&text) {
            Ok(Value::Object(root)) => Ok(Self { path: path.to_owned(), root }),
            Ok(_) => Err(malformed("it is not a JSON object".to_owned())),
            // serde's text names line and column, never the bytes around them.
            Err(e) => Err(malformed(e.to_string())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The helper that keeps the secrets of `server`, its own or the one for all.
    pub(super) fn helper(&self, server: &str) -> Option<&str> {
        let own = self.root.get("credHelpers").and_then(|h| h.get(server)).and_then(Value::as_str);
        own.or_else(|| self.root.get("credsStore").and_then(Value::as_str)).filter(|name| !name.is_empty())
    }

    /// The helper named for `server` alone.
    pub(super) fn own_helper(&self, server: &str) -> Option<&str> {
        self.root.get("credHelpers")?.get(server)?.as_str().filter(|name| !name.is_empty())
    }

    /// The keys of `auths`, as they are written.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.auths().into_iter().flat_map(|auths| auths.keys().map(String::as_str))
    }

    /// The servers that have a helper of their own.
    pub(super) fn helper_keys(&self) -> impl Iterator<Item = &str> {
        let helpers = self.root.get("credHelpers").and_then(Value::as_object);
        helpers.into_iter().flat_map(|helpers| helpers.keys().map(String::as_str))
    }

    fn auths(&self) -> Option<&Map<String, Value>> {
        self.root.get("auths")?.as_object()
    }

    /// The credential under exactly this key, if there is one in the file itself.
    pub(super) fn credential(&self, key: &str) -> Result<Option<Credential>> {
        let Some(entry) = self.auths().and_then(|auths| auths.get(key)) else { return Ok(None) };
        let field = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (username, password) = match field("auth") {
            Some(auth) => self.decode(key, auth)?,
            None => {
                let plain = |name| field(name).unwrap_or_default().to_owned();
                (plain("username"), plain("password"))
            }
        };
        Ok(match (field("registrytoken"), field("identitytoken")) {
            (Some(token), _) => Some(Credential::RegistryToken(token.to_owned())),
            (_, Some(token)) => Some(Credential::IdentityToken { username, token: token.to_owned() }),
            _ if username.is_empty() && password.is_empty() => None,
            _ => Some(Credential::Password { username, password }),
        })
    }

    fn decode(&self, key: &str, auth: &str) -> Result<(String, String)> {
        let malformed = || {
            Error::invalid(format!("the entry of `{key}` in `{}` is malformed", self.path.display()))
                .hint("log in again")
        };
        let bytes = STANDARD.decode(auth.trim()).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (username, password) = text.split_once(':').ok_or_else(malformed)?;
        // Old versions of docker padded the password with NUL bytes.
        Ok((username.to_owned(), password.trim_end_matches('\0').to_owned()))
    }

    /// Puts a credential under `key`; `None` leaves an empty entry, which says that a helper has it.
    pub(super) fn set(&mut self, key: &str, credential: Option<&Credential>) {
        let encoded = |username: &str, password: &str| STANDARD.encode(format!("{username}:{password}"));
        let entry = match credential {
            None => json!({}),
            Some(Credential::Password { username, password }) => {
                json!({ "auth": encoded(username, password) })
            }
            Some(Credential::IdentityToken { username, token }) => {
                json!({ "auth": encoded(username, ""), "identitytoken": token })
            }
            Some(Credential::RegistryToken(token)) => json!({ "registrytoken": token }),
        };
        let auths = self.root.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths.as_object_mut().expect("it was made an object above").insert(key.to_owned(), entry);
    }

    /// Takes an entry out; answers whether it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let auths = self.root.get_mut("auths").and_then(Value::as_object_mut);
        auths.is_some_and(|auths| auths.shift_remove(key).is_some())
    }

    /// Writes a temporary file beside it and renames it into place.
    pub(super) fn write(&self) -> Result<()> {
        // A link (a dotfiles repository) stays a link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).at(directory)?;
        let doing = || format!("cannot write `{}`", path.display());
        let mut temporary = tempfile::NamedTempFile::new_in(directory).context(doing)?;
        let mut text = serde_json::to_vec_pretty(&self.root)
            .map_err(|e| Error::internal("credentials cannot be written as JSON").caused_by(e))?;
        text.push(b'\n');
        temporary.write_all(&text).context(doing)?;
        temporary.as_file().sync_all().context(doing)?;
        temporary.persist(&path).map_err(|e| e.error).context(doing)?;
        Ok(())
    }
}
