//! Which files a `COPY` or `ADD` source names, as a list that a test can print.
//!
//! Not here: where they go. Invariant: what is picked is sorted, so that equal trees make equal lists.

use super::meta::{Meta, MetaKind};
use super::root::{CAPABILITY, Root, components, join};
use crate::glob::{Glob, has_wildcard};
use crate::ignore::Ignore;
use berth_oci::{Error, Result};
use std::collections::BTreeMap;

/// What a source says.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The path or pattern, with a slash or without one before it.
    pub(crate) path: &'a str,
    /// `--parents`.
    pub(crate) parents: bool,
    /// `--exclude`.
    pub(crate) exclude: Option<&'a Ignore>,
}

/// A file or directory that a source names, with everything below it.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The last part of its name; empty for the tree itself.
    pub(crate) name: Vec<u8>,
    /// It comes first, with an empty path; the rest is relative to it.
    pub(crate) files: Vec<Picked>,
}

/// One of its files.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    /// Below the choice.
    pub(crate) path: Vec<u8>,
    /// In the tree.
    pub(crate) source: Vec<u8>,
    pub(crate) meta: Meta,
    /// Of a symbolic link.
    pub(crate) target: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a source names. A pattern may name nothing; a path may not.
pub(crate) fn pick(root: &Root, wanted: &Wanted<'_>) -> Result<Vec<Choice>> {
    if wanted.parents {
        return with_parents(root, wanted);
    }
    let parts = clean(wanted.path.as_bytes());
    let is_pattern = parts.iter().any(|part| is_pattern(part));
    let mut found = Vec::new();
    // Only `--parents` knows a wildcard for any number of directories.
    let parts: Vec<_> =
        parts.into_iter().map(|part| if part == b"**" { b"*".to_vec() } else { part }).collect();
    for path in expand(root, &parts)? {
        // A link that is named is followed; the name stays its own.
        let real = root.real_path(&path)?;
        let Some(meta) = root.look_up(&real, false)? else {
            // A link among the matches that leads nowhere is a mistake, too.
            if is_pattern && root.look_up(&path, false)?.is_none() {
                continue;
            }
            return Err(missing(&String::from_utf8_lossy(&path)));
        };
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec();
        // What is named itself is never excluded, only what is in it.
        let mut files = vec![picked(root, b"", &real, meta)?];
        if meta.is_directory() {
            walk(root, &real, b"", wanted.exclude, &mut files)?;
        }
        found.push(Choice { name, files });
    }
    if found.is_empty() && !is_pattern && wanted.exclude.is_none() {
        return Err(missing(wanted.path));
    }
    Ok(found)
}

/// `--parents`: what is before `/./` is left out of the names, the rest is kept.
fn with_parents(root: &Root, wanted: &Wanted<'_>) -> Result<Vec<Choice>> {
    let (pivot, pattern) = wanted.path.split_once("/./").unwrap_or(("", wanted.path));
    let base = root.real_path(&clean(pivot.as_bytes()).join(&b'/'))?;
    let parts = clean(pattern.as_bytes());
    let mut all: BTreeMap<Vec<u8>, Picked> = BTreeMap::new();
    let is_pattern = parts.iter().any(|part| is_pattern(part));
    let paths = expand_below(root, &base, &parts)?;
    if paths.is_empty() && !is_pattern {
        return Err(missing(wanted.path));
    }
    for path in paths {
        let Some(meta) = root.look_up(&join_all(&base, &path), false)? else {
            if is_pattern {
                continue;
            }
            return Err(missing(wanted.path));
        };
        let is_excluded = wanted.exclude.is_some_and(|f| f.matches(&String::from_utf8_lossy(&path)));
        if is_excluded && !meta.is_directory() {
            continue;
        }
        let mut above = Vec::new();
        for part in components(&path) {
            above = join(&above, &part);
            let source = join_all(&base, &above);
            let Some(meta) = root.look_up(&source, false)? else { break };
            all.insert(above.clone(), picked(root, &above, &source, meta)?);
        }
        if meta.is_directory() {
            let mut below = Vec::new();
            walk(root, &join_all(&base, &path), &path, wanted.exclude, &mut below)?;
            all.extend(below.into_iter().map(|file| (file.path.clone(), file)));
        }
    }
    let Some(top) = root.look_up(&base, false)? else { return Err(missing(wanted.path)) };
    let mut files = vec![picked(root, b"", &base, top)?];
    files.extend(all.into_values());
    Ok(vec![Choice { name: Vec::new(), files }])
}

/// Everything below a directory, parents before children.
fn walk(
    root: &Root,
    directory: &[u8],
    below: &[u8],
    exclude: Option<&Ignore>,
    files: &mut Vec<Picked>,
) -> Result<()> {
    for name in root.names(directory)? {
        let (source, path) = (join(directory, &name.name), join(below, &name.name));
        let is_excluded = exclude.is_some_and(|filter| filter.matches(&String::from_utf8_lossy(&path)));
        let may_hold = name.meta.is_directory()
            && exclude.is_some_and(|filter| filter.may_bring_back_below(&String::from_utf8_lossy(&path)));
        if name.meta.kind == MetaKind::Socket || (is_excluded && !may_hold) {
            continue;
        }
        let before = files.len();
        files.push(picked(root, &path, &source, name.meta)?);
        if name.meta.is_directory() {
            walk(root, &source, &path, exclude, files)?;
        }
        if is_excluded && files.len() == before + 1 {
            files.pop();
        }
    }
    Ok(())
}

fn picked(root: &Root, path: &[u8], source: &[u8], meta: Meta) -> Result<Picked> {
    let target = if meta.kind == MetaKind::Symlink { root.target(source)? } else { Vec::new() };
    // Only programs have capabilities, and every question is a system call.
    let may_be_capable = meta.kind == MetaKind::File && meta.mode & 0o111 != 0;
    let capability = if may_be_capable { root.capability(source)? } else { None };
    let xattrs = capability.map(|value| (CAPABILITY.as_bytes().to_vec(), value)).into_iter().collect();
    Ok(Picked { path: path.to_vec(), source: source.to_vec(), meta, target, xattrs })
}

/// The paths that a list of components means.
fn expand(root: &Root, parts: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    expand_below(root, b"", parts)
}

fn expand_below(root: &Root, base: &[u8], parts: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
    for part in parts {
        if part == b"**" {
            let mut deeper = paths.clone();
            for path in &paths {
                directories_below(root, base, path, &mut deeper)?;
            }
            deeper.sort();
            deeper.dedup();
            paths = deeper;
            continue;
        }
        if !is_pattern(part) {
            for path in &mut paths {
                *path = join(path, part);
            }
            continue;
        }
        // Even where nothing is, a pattern that is none has to be refused.
        let text = String::from_utf8_lossy(part);
        let glob = Glob::new(&text).map_err(|error| Error::invalid(format!("{error} `{text}`")))?;
        let mut matched = Vec::new();
        for path in &paths {
            let here = root.real_path(&join_all(base, path))?;
            if !root.look_up(&here, false)?.is_some_and(|meta| meta.is_directory()) {
                continue;
            }
            for name in root.names(&here)? {
                if glob.matches(&String::from_utf8_lossy(&name.name)) {
                    matched.push(join(path, &name.name));
                }
            }
        }
        paths = matched;
    }
    Ok(paths)
}

fn directories_below(root: &Root, base: &[u8], path: &[u8], found: &mut Vec<Vec<u8>>) -> Result<()> {
    let here = join_all(base, path);
    if !root.look_up(&here, false)?.is_some_and(|meta| meta.is_directory()) {
        return Ok(());
    }
    for name in root.names(&here)? {
        if name.meta.is_directory() {
            let inner = join(path, &name.name);
            found.push(inner.clone());
            directories_below(root, base, &inner, found)?;
        }
    }
    Ok(())
}

fn is_pattern(part: &[u8]) -> bool {
    has_wildcard(&String::from_utf8_lossy(part))
}

fn join_all(base: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { base.to_vec() } else { join(base, path) }
}

/// The components of a path from the root of the tree, which `..` does not leave.
fn clean(path: &[u8]) -> Vec<Vec<u8>> {
    let mut clean: Vec<Vec<u8>> = Vec::new();
    for part in components(path) {
        match part == b".." {
            true => drop(clean.pop()),
            false => clean.push(part),
        }
    }
    clean
}

fn missing(path: &str) -> Error {
    let path = path.trim_start_matches("./");
    let shown = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Error::not_found(format!("failed to compute cache key: \"{shown}\": not found"))
}
