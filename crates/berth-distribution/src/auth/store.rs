//! Where credentials are kept: docker's file first, then podman's, each with its helpers.
//!
//! Invariant: only docker's file is ever written; what podman keeps is read, and erased nowhere but there.

use super::Credential;
use super::file::AuthFile;
use super::helper::Helper;
use crate::settings::CredentialFiles;
use berth_oci::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The name under which Docker Hub's credentials have been kept since before there was a `docker.io`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The files and helpers with credentials.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    files: CredentialFiles,
    /// Where helpers are looked for; the search path where there are none.
    helpers: Vec<PathBuf>,
}

/// Where a credential went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Into a helper of this name.
    Helper(String),
    /// Into this file, unencrypted.
    File(PathBuf),
}

/// The key under which docker keeps the credentials of a registry.
#[must_use]
pub fn server_key(registry: &str) -> String {
    match host_of(registry) {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// `https://host/v1/` and `host` mean the same server.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

impl CredentialStore {
    /// Reads and writes these files.
    #[must_use]
    pub fn new(files: CredentialFiles) -> Self {
        Self { files, helpers: Vec::new() }
    }

    /// Looks for helpers in these directories first.
    #[must_use]
    pub fn with_helpers(self, directories: Vec<PathBuf>) -> Self {
        Self { helpers: directories, ..self }
    }

    fn helper<'a>(&self, name: &'a str) -> Result<Helper<'a>> {
        Helper::new(name, &self.helpers)
    }

    /// The credential for a repository of a registry, the most specific that is kept. `repository` may be empty.
    ///
    /// # Errors
    /// A file is malformed, or a helper failed.
    pub fn get(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        for path in self.files.docker_config.iter().chain(&self.files.podman) {
            if let Some(found) = self.look_up(&AuthFile::read(path)?, registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps a credential for a registry.
    ///
    /// # Errors
    /// There is no file to write to, it cannot be written, or the helper failed.
    pub fn store(&self, registry: &str, credential: &Credential) -> Result<Kept> {
        let mut file = self.docker_file()?;
        let key = server_key(registry);
        let helper = file.helper(&key).map(str::to_owned);
        if let Some(name) = &helper {
            self.helper(name)?.store(&key, credential)?;
        }
        file.set(&key, Some(credential).filter(|_| helper.is_none()));
        file.write()?;
        Ok(helper.map_or_else(|| Kept::File(file.path().to_owned()), Kept::Helper))
    }

    /// Forgets a registry's credentials; answers whether there were any.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn erase(&self, registry: &str) -> Result<bool> {
        let mut file = self.docker_file()?;
        let key = server_key(registry);
        let host = host_of(registry).to_owned();
        let in_helper = match file.helper(&key) {
            Some(name) => self.helper(name)?.erase(&key)?,
            None => false,
        };
        let aliases: Vec<String> =
            file.keys().filter(|k| **k == *key || host_of(k) == host).map(str::to_owned).collect();
        for alias in &aliases {
            file.remove(alias);
        }
        if !aliases.is_empty() {
            file.write()?;
        }
        Ok(in_helper || !aliases.is_empty())
    }

    /// The registries that we have credentials for, with the user's name where it is known without a secret.
    ///
    /// # Errors
    /// A file is malformed, or a helper failed.
    pub fn list(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for path in self.files.docker_config.iter().chain(&self.files.podman) {
            let file = AuthFile::read(path)?;
            for key in file.keys().chain(file.helper_keys()) {
                let known = self.look_up(&file, key, "")?;
                if let Some(credential) = known {
                    found.entry(key.to_owned()).or_insert_with(|| credential.username().to_owned());
                }
            }
            if let Some(name) = file.helper("") {
                for (server, username) in self.helper(name)?.list()? {
                    found.entry(server).or_insert(username);
                }
            }
        }
        Ok(found)
    }

    /// The most specific entry: `host/a/b`, `host/a`, `host`, and whatever docker called it in earlier times.
    fn look_up(&self, file: &AuthFile, registry: &str, repository: &str) -> Result<Option<Credential>> {
        let key = server_key(registry);
        let host = host_of(registry);
        let mut path = repository;
        while !path.is_empty() {
            let name = format!("{host}/{path}");
            if let Some(found) = self.look_up_exactly(file, &name, file.own_helper(&name))? {
                return Ok(Some(found));
            }
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        for name in [key.as_str(), host] {
            if let Some(found) = self.look_up_exactly(file, name, file.helper(name))? {
                return Ok(Some(found));
            }
        }
        let aliases = file.keys().filter(|k| k.contains("://") && host_of(k) == host);
        for alias in aliases {
            if let Some(found) = file.credential(alias)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn look_up_exactly(
        &self,
        file: &AuthFile,
        name: &str,
        helper: Option<&str>,
    ) -> Result<Option<Credential>> {
        match helper {
            Some(helper) => match self.helper(helper)?.get(name)? {
                Some(found) => Ok(Some(found)),
                None => file.credential(name),
            },
            None => file.credential(name),
        }
    }

    fn docker_file(&self) -> Result<AuthFile> {
        let none = || {
            Error::invalid("there is no place to keep credentials")
                .hint("set HOME, or DOCKER_CONFIG to a directory")
        };
        AuthFile::read(self.files.docker_config.as_ref().ok_or_else(none)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    const CONFIG: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": { "auth": "aHViOnB3" },
            "quay.io": { "auth": "cXVheTpwOnc=" },
            "quay.io/team/app": { "auth": "dGVhbTpwdw==" },
            "https://old.example/v1/": { "auth": "b2xkOnB3" },
            "token.example": { "auth": "dTo=", "identitytoken": "refresh" },
            "plain.example": { "username": "u", "password": "p" },
            "helped.example": {}
        },
        "HttpHeaders": { "X": "kept" }
    }"#;

    fn store(config: &str) -> (tempfile::TempDir, CredentialStore) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker/config.json");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, config).unwrap();
        (directory, CredentialStore::new(CredentialFiles { docker_config: Some(path), podman: Vec::new() }))
    }

    fn shown(found: Result<Option<Credential>>) -> String {
        match found {
            Ok(Some(Credential::Password { username, password })) => format!("{username} {password}"),
            Ok(Some(Credential::IdentityToken { username, token })) => format!("{username} token {token}"),
            Ok(Some(Credential::RegistryToken(token))) => format!("registry {token}"),
            Ok(None) => "nobody".to_owned(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn the_most_specific_entry_is_found() {
        let (_directory, store) = store(CONFIG);
        for (registry, repository, expected) in [
            ("docker.io", "library/nginx", "hub pw"),
            ("index.docker.io", "", "hub pw"),
            ("quay.io", "other/app", "quay p:w"),
            ("quay.io", "team/app", "team pw"),
            ("quay.io", "team/app/part", "team pw"),
            ("quay.io", "team/application", "quay p:w"),
            ("old.example", "x", "old pw"),
            ("https://old.example/v1/", "", "old pw"),
            ("token.example", "x", "u token refresh"),
            ("plain.example", "x", "u p"),
            ("helped.example", "x", "nobody"),
            ("quay.io:443", "x", "nobody"),
        ] {
            assert_eq!(shown(store.get(registry, repository)), expected, "{registry}/{repository}");
        }
    }

    #[test]
    fn podmans_file_comes_second() {
        let (directory, store) = store(CONFIG);
        let podman = directory.path().join("auth.json");
        fs::write(&podman, r#"{"auths":{"quay.io":{"auth":"eDp5"},"only.example":{"auth":"eDp5"},"docker.io/me":{"auth":"eDp5"}}}"#).unwrap();
        let docker_config = store.files.docker_config.clone();
        let both = CredentialStore::new(CredentialFiles { docker_config, podman: vec![podman] });
        assert_eq!(shown(both.get("quay.io", "z")), "quay p:w");
        assert_eq!(shown(both.get("only.example", "z")), "x y");
        let alone = CredentialStore::new(CredentialFiles { docker_config: None, ..both.files });
        assert_eq!(shown(alone.get("docker.io", "me/app")), "x y");
        assert_eq!(shown(alone.get("docker.io", "library/app")), "nobody");
    }

    #[test]
    fn writing_keeps_what_it_does_not_know_and_is_private() {
        let (_directory, store) = store(CONFIG);
        let path = store.files.docker_config.clone().unwrap();
        let kept = store.store("new.example:5000", &Credential::password("me", "s:e")).unwrap();
        assert_eq!(kept, Kept::File(path.clone()));
        assert_eq!(shown(store.get("new.example:5000", "a")), "me s:e");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""X": "kept""#) && text.contains("quay.io/team/app"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(store.erase("docker.io").unwrap());
        assert!(!store.erase("docker.io").unwrap());
        assert_eq!(shown(store.get("docker.io", "library/x")), "nobody");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    /// A helper that keeps secrets as files named by a hash of the server.
    const HELPER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
case $1 in
store) input=$(cat); echo "$input" > "kept.$(echo "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' | tr / _)" ;;
get|erase)
    file="kept.$(tr / _)"
    if [ ! -f "$file" ]; then echo 'credentials not found in native keychain'; exit 1; fi
    if [ "$1" = get ]; then cat "$file"; else rm "$file"; fi ;;
list) echo '{"https://listed.example/v1/":"lister"}' ;;
*) echo 'what?'; exit 1 ;;
esac
"#;

    fn with_helper(config: &str, helper: &str) -> (tempfile::TempDir, CredentialStore) {
        let (directory, store) = store(config);
        let path = directory.path().join("docker-credential-test");
        // Another process writes it: a program that this one has open for writing, in whatever thread, cannot be
        // started from it.
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]).arg(&path).arg(helper);
        assert!(shell.status().unwrap().success());
        let helpers = vec![directory.path().to_owned()];
        (directory, store.with_helpers(helpers))
    }

    #[test]
    fn a_helper_keeps_what_the_file_must_not() {
        let config = r#"{"credsStore":"test","auths":{"plain.example":{"auth":"dTpw"}}}"#;
        let (_directory, store) = with_helper(config, HELPER);
        let kept = store.store("quay.io:443", &Credential::password("me", "s:ecret")).unwrap();
        assert_eq!(kept, Kept::Helper("test".to_owned()));
        let token = Credential::IdentityToken { username: "x".to_owned(), token: "tok".to_owned() };
        store.store("docker.io", &token).unwrap();
        let text = fs::read_to_string(store.files.docker_config.as_ref().unwrap()).unwrap();
        assert!(text.contains(r#""quay.io:443": {}"#) && !text.contains("ecret"), "{text}");
        for (registry, expected) in [
            ("quay.io:443", "me s:ecret"),
            ("docker.io", " token tok"),
            ("other.example", "nobody"),
            ("plain.example", "u p"),
        ] {
            assert_eq!(shown(store.get(registry, "a/b")), expected, "{registry}");
        }
        let listed = store.list().unwrap();
        assert_eq!(listed.get("https://listed.example/v1/").map(String::as_str), Some("lister"));
        assert!(store.erase("quay.io:443").unwrap() && !store.erase("quay.io:443").unwrap());
        assert_eq!(shown(store.get("quay.io:443", "")), "nobody");
    }

    #[test]
    fn a_helper_of_one_registry_goes_before_the_one_for_all() {
        let config = r#"{"credsStore":"none-such","credHelpers":{"quay.io":"test"}}"#;
        let (_directory, store) = with_helper(config, HELPER);
        assert_eq!(shown(store.get("quay.io", "a")), "nobody");
        assert!(shown(store.get("other.example", "a")).contains("is not installed"));
    }

    #[test]
    fn a_helper_that_fails_is_quoted_and_one_that_talks_too_much_is_not() {
        for (helper, expected) in [
            ("#!/bin/sh\necho 'the vault is \u{7}locked'; exit 1", "get` failed: the vault is locked"),
            ("#!/bin/sh\necho '{\"Username\":\"u\",\"Secret\":7s3cret'", "its answer is not JSON"),
        ] {
            let (_directory, store) = with_helper(r#"{"credsStore":"test"}"#, helper);
            let text = shown(store.get("quay.io", "x"));
            assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn a_broken_file_is_named_and_not_shown() {
        for (config, expected) in [
            ("{", "is malformed"),
            ("[]", "it is not a JSON object"),
            (r#"{"auths":{"quay.io":{"auth":"%%%"}}}"#, "the entry of `quay.io`"),
            (r#"{"auths":{"quay.io":{"auth":"c2VjcmV0"}}}"#, "the entry of `quay.io`"),
            (r#"{"credsStore":"../evil"}"#, "is not the name of a credential helper"),
            (r#"{"credsStore":"berth-test-none"}"#, "is not installed"),
        ] {
            let (_directory, store) = store(config);
            let text = shown(store.get("quay.io", "x"));
            assert!(text.contains(expected) && !text.contains("secret"), "{config}: {text}");
        }
    }
}
