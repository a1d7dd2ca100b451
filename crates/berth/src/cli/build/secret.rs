//! `--secret` and `--ssh`: read once, kept in memory, shown nowhere.

use berth_oci::{AtPath, Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Larger secrets are a mistake.
const LIMIT: u64 = 500 << 10;

/// `id=x[,src=FILE|env=NAME]`.
pub(super) fn read(texts: &[String]) -> Result<BTreeMap<String, Arc<[u8]>>> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("invalid field '{field}' must be a key=value pair")))?;
            let key = match key.to_lowercase().as_str() {
                "id" => "id",
                "src" | "source" => "src",
                "env" => "env",
                "type" => "type",
                _ => return Err(Error::invalid(format!("unexpected key '{key}' in '{field}'"))),
            };
            fields.insert(key, value);
        }
        let id = fields.get("id").copied().or(fields.get("env").copied()).unwrap_or_default();
        if id.is_empty() {
            return Err(Error::invalid(format!("--secret {text}: it has no id")));
        }
        let from_env = fields.get("type") == Some(&"env");
        let bytes = match (fields.get("src"), fields.get("env")) {
            (Some(name), _) if from_env => variable(name)?,
            (Some(path), _) => file(path)?,
            (None, Some(name)) => variable(name)?,
            (None, None) => match crate::settings::caller_variable(id) {
                Some(value) if fields.get("type") != Some(&"file") => value.into_bytes(),
                _ => file(id)?,
            },
        };
        secrets.insert(id.to_owned(), bytes.into());
    }
    Ok(secrets)
}

fn variable(name: &str) -> Result<Vec<u8>> {
    crate::settings::caller_variable(name)
        .map(String::into_bytes)
        .ok_or_else(|| Error::not_found(format!("the variable {name}, which is to be a secret, is not set")))
}

fn file(path: &str) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).at(path)?;
    if metadata.len() > LIMIT {
        return Err(Error::invalid(format!("the secret {path} is too big: 500 KiB are the most")));
    }
    std::fs::read(path).at(path)
}

/// `default` or `id=SOCKET`.
pub(super) fn agents(texts: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id, path.to_owned()),
            None => (
                text.as_str(),
                crate::settings::caller_variable("SSH_AUTH_SOCK").ok_or_else(|| {
                    Error::not_found(format!("invalid empty ssh agent socket for {text}"))
                        .hint("start an agent, so that SSH_AUTH_SOCK is set")
                })?,
            ),
        };
        use std::os::unix::fs::FileTypeExt;
        if !std::fs::metadata(&path).at(&path)?.file_type().is_socket() {
            return Err(Error::unsupported(format!("--ssh {text}: `{path}` is not the socket of an agent"))
                .hint("add the key to an agent (ssh-add), and name its socket"));
        }
        agents.insert(id.to_owned(), path.into());
    }
    Ok(agents)
}
