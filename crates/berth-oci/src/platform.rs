//! Platforms (image-spec `image-index.md`, "platform"), normalised as containerd does it.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An operating system and a processor: `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system, in Go's words: `linux`.
    pub os: String,
    /// The version of the operating system, which only Windows images set.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system, which only Windows images set.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the processor: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What programs on this machine are compiled for.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// A platform, normalised: `x86_64` is `amd64`, `arm64/v8` is `arm64`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(&architecture.to_lowercase(), variant.unwrap_or(""));
        Self {
            architecture,
            os: match os.to_lowercase().as_str() {
                "macos" => "darwin".to_owned(),
                os => os.to_owned(),
            },
            os_version: None,
            os_features: Vec::new(),
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// How well an image for `offer` runs here, smaller is better, `None` if it does not.
    ///
    /// An ARM processor also runs its older variants (containerd's `platforms.Only`).
    #[must_use]
    pub fn rank(&self, offer: &Platform) -> Option<u8> {
        let (want, offer) = (self.normalised(), offer.normalised());
        if want.os != offer.os || want.architecture != offer.architecture {
            return None;
        }
        let (want_level, offer_level) = (want.level(), offer.level());
        match want.architecture.as_str() {
            "arm" | "amd64" | "arm64" => want_level.checked_sub(offer_level),
            _ => (want.variant == offer.variant).then_some(0),
        }
    }

    /// Best of `offers`, by [`rank`](Self::rank); the first among equals.
    pub fn best<'a, T>(&self, offers: impl IntoIterator<Item = (&'a Platform, T)>) -> Option<T> {
        offers
            .into_iter()
            .filter_map(|(platform, item)| self.rank(platform).map(|rank| (rank, item)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, item)| item)
    }

    fn normalised(&self) -> Self {
        Self::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// `v7` is 7; the level that no variant means is the architecture's first.
    fn level(&self) -> u8 {
        let default = match self.architecture.as_str() {
            "arm" => 7,
            "arm64" => 8,
            _ => 1,
        };
        let level = |v: &str| v.strip_prefix('v').and_then(|v| v.split('.').next()?.parse().ok());
        self.variant.as_deref().and_then(level).unwrap_or(default)
    }
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5" | "6" | "8") => return ("arm".to_owned(), format!("v{variant}")),
        ("powerpc64", v) if cfg!(target_endian = "little") => ("ppc64le", v),
        ("riscv64gc", v) => ("riscv64", v),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => f.pad(&format!("{}/{}/{variant}", self.os, self.architecture)),
            None => f.pad(&format!("{}/{}", self.os, self.architecture)),
        }
    }
}

/// `linux/arm64/v8`, or a processor or operating system alone, completed from this machine.
impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("\"{text}\" is an invalid component of \"{text}\": platform specifier component must match \"^[A-Za-z0-9_-]+$\": invalid argument"))
                .hint("write OS/ARCH[/VARIANT], for example linux/arm64")
        };
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| word(part)) {
            return Err(invalid());
        }
        match parts[..] {
            [one] if is_os(one) => Ok(Self::new(one, std::env::consts::ARCH, None)),
            [one] if is_architecture(one) => Ok(Self::new("linux", one, None)),
            [one] => Err(Error::invalid(format!(
                "\"{one}\": unknown operating system or architecture: invalid argument"
            ))
            .hint("write OS/ARCH[/VARIANT], for example linux/arm64")),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => {
                Err(Error::invalid(format!("\"{text}\": cannot parse platform specifier: invalid argument"))
                    .hint("write OS/ARCH[/VARIANT], for example linux/arm64"))
            }
        }
    }
}

fn is_os(text: &str) -> bool {
    matches!(
        text.to_lowercase().as_str(),
        "linux" | "windows" | "darwin" | "macos" | "freebsd" | "wasi" | "wasip1" | "wasip2"
    )
}

fn is_architecture(text: &str) -> bool {
    let (architecture, _) = normalise(&text.to_lowercase(), "");
    matches!(
        architecture.as_str(),
        "386" | "amd64" | "arm" | "arm64" | "loong64" | "mips64le" | "ppc64le" | "riscv64" | "s390x" | "wasm"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("LINUX/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "/", "linux/", "linux//v7", "a/b/c/d", "li nux/x", "bogus"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_variant_wins() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        let offers = ["linux/arm/v5", "linux/arm/v6", "linux/amd64", "linux/arm64"].map(parse);
        let best = |want: &str| parse(want).best(offers.iter().map(|p| (p, p.to_string())));
        assert_eq!(best("linux/arm/v7").as_deref(), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm/v5").as_deref(), Some("linux/arm/v5"));
        assert_eq!(best("linux/arm64/v8").as_deref(), Some("linux/arm64"));
        assert_eq!(best("linux/s390x"), None);
        assert_eq!(best("windows/amd64"), None);
    }
}
