//! Image references, exactly as docker reads them.
//!
//! Grammar: distribution-spec "Pulling manifests" for name, tag and digest; the default registry, the `library/`
//! prefix and the familiar form are docker's. A [`Reference`] is always complete: it names a registry.

use crate::{Digest, Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// Docker's limit for the repository without its registry, in bytes.
const REPOSITORY_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A registry, a repository in it, and perhaps a tag, a digest, or both.
///
/// One text and where its parts end: lists hold thousands of these.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The complete form without the digest: `docker.io/library/nginx:1.27`.
    text: Box<str>,
    /// Where the registry ends; a slash follows.
    registry: u32,
    /// Where the repository ends; a colon and the tag follow, or nothing.
    repository: u32,
    digest: Option<Digest>,
}

/// What a reference asks for inside its repository: a digest beats a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagOrDigest<'a> {
    /// Whatever the tag means right now.
    Tag(&'a str),
    /// These bytes.
    Digest(&'a Digest),
}

impl fmt::Display for TagOrDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

impl Reference {
    /// From parts that are known to be right.
    fn of(registry: &str, prefix: &str, repository: &str, tag: Option<&str>, digest: Option<Digest>) -> Self {
        let (colon, tag) = tag.map_or(("", ""), |tag| (":", tag));
        let text = [registry, "/", prefix, repository, colon, tag].concat();
        let end = text.len() - tag.len() - colon.len();
        // The grammar bounds every part but the registry, and a command line bounds that.
        Self { text: text.into(), registry: registry.len() as u32, repository: end as u32, digest }
    }

    /// `host` or `host:port`; `docker.io` for Docker Hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.text[..self.registry as usize]
    }

    /// The repository inside the registry, `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.text[self.registry as usize + 1..self.repository as usize]
    }

    /// The tag, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.text[self.repository as usize..].strip_prefix(':')
    }

    /// The digest, if one was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for; `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn target(&self) -> TagOrDigest<'_> {
        match &self.digest {
            Some(digest) => TagOrDigest::Digest(digest),
            None => TagOrDigest::Tag(self.tag().unwrap_or("latest")),
        }
    }

    /// The same with `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn or_latest(self) -> Self {
        match (self.tag(), &self.digest) {
            (None, None) => self.tagged("latest"),
            _ => self,
        }
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        match is_tag(tag) {
            true => Ok(self.tagged(tag)),
            false => Err(Error::invalid(format!("`{tag}` is not a tag"))),
        }
    }

    fn tagged(&self, tag: &str) -> Self {
        Self::of(self.registry(), "", self.repository(), Some(tag), None)
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.name_only() }
    }

    /// Registry and repository alone.
    #[must_use]
    pub fn name_only(&self) -> Self {
        Self { text: self.name().into(), digest: None, ..*self }
    }

    /// `docker.io/library/nginx`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.repository as usize]
    }

    /// The name as docker shows it: `nginx`, `me/app`, `localhost:5000/app`.
    #[must_use]
    pub fn familiar_name(&self) -> &str {
        if self.registry() != DEFAULT_REGISTRY {
            return self.name();
        }
        let repository = self.repository();
        let short = repository.strip_prefix(OFFICIAL_PREFIX).unwrap_or(repository);
        if short.contains('/') { repository } else { short }
    }

    /// The whole reference as docker shows it: `nginx:1.27`.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, name: &str) -> String {
        let (at, digest) = self.digest.as_ref().map_or(("", ""), |digest| ("@", digest.as_str()));
        [name, &self.text[self.repository as usize..], at, digest].concat()
    }
}

impl Ord for Reference {
    /// By registry, repository, tag and digest.
    fn cmp(&self, other: &Self) -> Ordering {
        fn parts(one: &Reference) -> (&str, &str, Option<&str>, Option<&Digest>) {
            (one.registry(), one.repository(), one.tag(), one.digest())
        }
        parts(self).cmp(&parts(other))
    }
}

impl PartialOrd for Reference {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The complete form: `docker.io/library/nginx:1.27`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            None => f.pad(&self.text),
            Some(_) => f.pad(&self.suffixed(self.name())),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(format_error(text));
        }
        if is_bare_sha256(text) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|_| digest_error(text, digest))?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(name);
        let (registry, prefix, repository) = split_registry(name);
        if repository.bytes().any(|b| b.is_ascii_uppercase())
            && is_repository(&repository.to_ascii_lowercase())
        {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({prefix}{repository}) must be lowercase"
            )));
        }
        if !is_registry(registry) || !is_repository(repository) || !tag.is_none_or(is_tag) {
            return Err(format_error(text));
        }
        if prefix.len() + repository.len() > REPOSITORY_LIMIT {
            return Err(Error::invalid(format!(
                "repository name must not be more than {REPOSITORY_LIMIT} characters"
            )));
        }
        Ok(Self::of(registry, prefix, repository, tag, digest))
    }
}

fn format_error(text: &str) -> Error {
    let error = Error::invalid("invalid reference format");
    match text {
        "" => error.hint("the name of the image is empty"),
        _ => {
            error.hint(format!("`{text}` should read [REGISTRY/]NAME[:TAG][@DIGEST], for example nginx:1.27"))
        }
    }
}

/// Docker answers with its one sentence; ours also says which part.
fn digest_error(text: &str, digest: &str) -> Error {
    let known = digest.starts_with("sha256:") || digest.starts_with("sha512:");
    match known || !digest.contains(':') {
        true => format_error(text),
        false => Error::invalid("unsupported digest algorithm")
            .hint(format!("`{digest}`: sha256 and sha512 are supported")),
    }
}

fn is_bare_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The tag is behind the last colon, unless a slash follows: then that colon belongs to a port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') && !tag.ends_with(']') => (before, Some(tag)),
        _ => (name, None),
    }
}

/// Registry, the prefix that docker adds, and the rest. The first component is a registry only if it looks like a
/// host: a dot, a port, upper case, or `localhost`.
fn split_registry(name: &str) -> (&str, &str, &str) {
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == LEGACY_DEFAULT_REGISTRY { DEFAULT_REGISTRY } else { registry };
    match registry == DEFAULT_REGISTRY && !rest.contains('/') {
        true => (registry, OFFICIAL_PREFIX, rest),
        false => (registry, "", rest),
    }
}

fn looks_like_host(component: &str) -> bool {
    component == "localhost" || component.bytes().any(|b| matches!(b, b'.' | b':' | b'A'..=b'Z'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((host, rest)) => {
                let is_v6 = !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return is_v6 && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.split('.').all(is_host_label) && port.is_none_or(is_port)
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_repository(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes.split(|&b| alphanumeric(b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_LIMIT
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_read_as_docker_reads_them() {
        for (text, complete, familiar) in [
            ("nginx", "docker.io/library/nginx", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("library/nginx", "docker.io/library/nginx", "nginx"),
            ("docker.io/nginx", "docker.io/library/nginx", "nginx"),
            ("index.docker.io/nginx", "docker.io/library/nginx", "nginx"),
            ("me/app", "docker.io/me/app", "me/app"),
            ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"),
            ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
            ("[2001:db8::1]/app:x", "[2001:db8::1]/app:x", "[2001:db8::1]/app:x"),
            ("quay.io/o/r__x-y.z", "quay.io/o/r__x-y.z", "quay.io/o/r__x-y.z"),
            ("Host/app", "Host/app", "Host/app"),
            ("a---b", "docker.io/library/a---b", "a---b"),
            ("x:_a.B-9", "docker.io/library/x:_a.B-9", "x:_a.B-9"),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (complete, familiar));
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
        let both: Reference = format!("nginx:1@{D}").parse().unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().as_str()), (Some("1"), D));
        assert_eq!(both.target(), TagOrDigest::Digest(&D.parse().unwrap()));
    }

    #[test]
    fn what_is_not_a_reference_says_so() {
        let long = "a".repeat(256);
        for (text, message) in [
            ("", "invalid reference format"),
            (":x", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("/a", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("a@sha256:1", "invalid reference format"),
            ("a@md5:d41d8cd98f00b204e9800998ecf8427e", "unsupported digest algorithm"),
            ("host:port/a", "invalid reference format"),
            ("[::1/a", "invalid reference format"),
            ("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
            (&long, "repository name must not be more than 255 characters"),
            (
                &D[7..],
                &format!("invalid repository name ({}), cannot specify 64-byte hexadecimal strings", &D[7..]),
            ),
            (&format!("a:{}", "t".repeat(129)), "invalid reference format"),
        ] {
            assert_eq!(
                text.parse::<Reference>().map_err(|e| e.message().to_owned()),
                Err(message.to_owned()),
                "{text}"
            );
        }
    }
}
