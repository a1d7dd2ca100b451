//! The `docker-credential-*` protocol: a word as argument, JSON or an address on standard input, JSON back.
//!
//! Invariant: a helper's name comes from a file and may not be a path; its answer is bounded.

use super::Credential;
use berth_oci::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const ANSWER_LIMIT: u64 = 1 << 20;
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A program in one of some directories, or on the search path.
pub(super) struct Helper<'a> {
    name: &'a str,
    program: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

impl<'a> Helper<'a> {
    /// `directories`: where it may be; the search path where there are none.
    pub(super) fn new(name: &'a str, directories: &[PathBuf]) -> Result<Self> {
        if name.contains('/') || name.contains('\0') {
            return Err(Error::invalid(format!("`{name}` is not the name of a credential helper")));
        }
        let file = format!("docker-credential-{name}");
        let found = directories.iter().map(|directory| directory.join(&file)).find(|path| path.is_file());
        Ok(Self { name, program: found.unwrap_or_else(|| file.into()) })
    }

    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>> {
        let answer = match self.run("get", server.as_bytes())? {
            Ok(answer) => answer,
            Err(words) if means_nothing_found(&words) => return Ok(None),
            Err(words) => return Err(self.failed("get", &words)),
        };
        let secret: Secret =
            serde_json::from_slice(&answer).map_err(|_| self.failed("get", "its answer is not JSON"))?;
        if secret.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(match secret.username == TOKEN_USER {
            true => Credential::IdentityToken { username: String::new(), token: secret.secret },
            false => Credential::Password { username: secret.username, password: secret.secret },
        }))
    }

    pub(super) fn store(&self, server: &str, credential: &Credential) -> Result<()> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password),
            Credential::IdentityToken { token, .. } => (TOKEN_USER, token),
            Credential::RegistryToken(_) => {
                return Err(Error::unsupported("a credential helper does not keep registry tokens"));
            }
        };
        let (username, secret) = (username.to_owned(), secret.clone());
        let input = serde_json::to_vec(&Secret { server_url: server.to_owned(), username, secret })
            .map_err(|e| Error::internal("the secret cannot be written as JSON").caused_by(e))?;
        self.run("store", &input)?.map(drop).map_err(|words| self.failed("store", &words))
    }

    /// Answers whether there was something to erase.
    pub(super) fn erase(&self, server: &str) -> Result<bool> {
        match self.run("erase", server.as_bytes())? {
            Ok(_) => Ok(true),
            Err(words) if means_nothing_found(&words) => Ok(false),
            Err(words) => Err(self.failed("erase", &words)),
        }
    }

    /// User names by server.
    pub(super) fn list(&self) -> Result<BTreeMap<String, String>> {
        let answer = self.run("list", b"")?.map_err(|words| self.failed("list", &words))?;
        serde_json::from_slice(&answer).map_err(|_| self.failed("list", "its answer is not JSON"))
    }

    /// What it wrote; the inner error is what it wrote when it failed.
    fn run(&self, word: &str, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
        let program = format!("docker-credential-{}", self.name);
        let mut child = Command::new(&self.program)
            .arg(word)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| self.not_started(&program, e))?;
        let doing = || format!("cannot talk to `{program}`");
        let mut stdin = child.stdin.take().ok_or_else(|| Error::internal(doing()))?;
        match stdin.write_all(input) {
            // A helper need not read its input to fail.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(e).context(doing),
            _ => drop(stdin),
        }
        let mut answer = Vec::new();
        let stdout = child.stdout.take().ok_or_else(|| Error::internal(doing()))?;
        stdout.take(ANSWER_LIMIT).read_to_end(&mut answer).context(doing)?;
        match child.wait().context(doing)?.success() {
            true => Ok(Ok(answer)),
            false => Ok(Err(String::from_utf8_lossy(&answer).trim().to_owned())),
        }
    }

    fn not_started(&self, program: &str, error: io::Error) -> Error {
        let hint = format!(
            "install `{program}`, or take `{}` out of `credsStore` and `credHelpers` in docker's config.json",
            self.name
        );
        match error.kind() {
            io::ErrorKind::NotFound => {
                Error::not_found(format!("the credential helper `{program}` is not installed")).hint(hint)
            }
            _ => Error::from(error).hint(hint),
        }
    }

    fn failed(&self, word: &str, words: &str) -> Error {
        // What it writes on success is a secret; what it writes on failure is a sentence.
        let words = crate::http::printable(words);
        Error::internal(format!(
            "the credential helper `docker-credential-{} {word}` failed: {words}",
            self.name
        ))
    }
}

fn means_nothing_found(words: &str) -> bool {
    words.contains("credentials not found")
}
