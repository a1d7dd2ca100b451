//! What a path in a layer means: its components, and whether the last one is a whiteout (image-spec `layer.md`,
//! "Whiteouts"). No component that leaves here is empty, `.`, `..`, longer than a name may be, or holds a zero byte.

use berth_oci::{Error, Result};

/// The kernel's limits (`NAME_MAX`, `PATH_MAX`).
const NAME_LIMIT: usize = 255;
const PATH_LIMIT: usize = 4096;

/// What the last component of an entry's path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// The root directory itself.
    Root,
    /// Something called so in `parent`.
    Name { parent: &'a [u8], name: &'a [u8] },
    /// `name` of the layers below is gone from `parent`.
    Whiteout { parent: &'a [u8], name: &'a [u8] },
    /// Everything of the layers below is gone from `parent`.
    Opaque { parent: &'a [u8] },
    /// A note that AUFS left for itself.
    Ignored,
}

/// Splits a path; `parent` is as written and still wants [`components`].
pub(super) fn meaning(path: &[u8]) -> Result<Meaning<'_>> {
    check(path)?;
    let trimmed = trim(path);
    let (parent, name) = match trimmed.iter().rposition(|&b| b == b'/') {
        Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
        None => (&trimmed[..0], trimmed),
    };
    if name.is_empty() || name == b"." {
        return Ok(Meaning::Root);
    }
    if components(parent).any(|c| c.starts_with(b".wh..wh.")) {
        return Ok(Meaning::Ignored);
    }
    Ok(match name.strip_prefix(b".wh.") {
        Some(b".wh..opq") => Meaning::Opaque { parent },
        Some(rest) if rest.starts_with(b".wh.") => Meaning::Ignored,
        Some(b"" | b"." | b"..") => {
            return Err(Error::corrupt(format!("`{}` is not a whiteout", String::from_utf8_lossy(path))));
        }
        Some(name) => Meaning::Whiteout { parent, name },
        None => Meaning::Name { parent, name },
    })
}

/// Where a hard link points: a path from the root of the layer.
pub(super) fn link_target(path: &[u8]) -> Result<&[u8]> {
    check(path)?;
    Ok(trim(path))
}

/// The components of a checked path.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

/// Takes slashes and dots away that mean nothing at either end.
fn trim(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] => rest,
            [rest @ .., b'/'] | [rest @ .., b'/', b'.'] => rest,
            _ => return path,
        };
    }
}

fn check(path: &[u8]) -> Result<()> {
    let wrong = |why: &str| {
        let shown = String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned();
        Err(Error::corrupt(format!("the path `{shown}` {why}")))
    };
    if path.len() > PATH_LIMIT {
        return wrong("is longer than 4096 bytes");
    }
    if path.contains(&0) {
        return wrong("has a zero byte in it");
    }
    for component in components(path) {
        match component {
            b".." => return wrong("leads out of the layer: it has `..` in it"),
            name if name.len() > NAME_LIMIT => return wrong("has a name longer than 255 bytes in it"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let name = |parent: &'static str, name: &'static str| Meaning::Name {
            parent: parent.as_bytes(),
            name: name.as_bytes(),
        };
        for (path, expected) in [
            ("", Meaning::Root),
            ("./", Meaning::Root),
            ("/", Meaning::Root),
            ("./.", Meaning::Root),
            ("a", name("", "a")),
            ("./a/", name("", "a")),
            ("/a/b", name("a", "b")),
            ("//a//b/./", name("a/", "b")),
            ("a/.wh.b", Meaning::Whiteout { parent: b"a", name: b"b" }),
            ("a/.wh..wh..opq", Meaning::Opaque { parent: b"a" }),
            (".wh..wh..opq", Meaning::Opaque { parent: b"" }),
            (".wh..wh.plnk", Meaning::Ignored),
            (".wh..wh.plnk/1.2", Meaning::Ignored),
            (".wh.a/b", name(".wh.a", "b")),
        ] {
            assert_eq!(meaning(path.as_bytes()).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn hostile_paths() {
        let long = "n".repeat(256);
        let deep = "d/".repeat(2100);
        for path in ["..", "../etc", "a/../b", "a/..", "/..", "a\0b", ".wh.", ".wh..", ".wh...", &long, &deep]
        {
            assert!(meaning(path.as_bytes()).is_err(), "{path}");
        }
        assert!(link_target(b"../../etc/passwd").is_err());
        assert_eq!(link_target(b"/etc/./passwd").unwrap(), b"etc/./passwd");
    }
}
