//! Which commit a branch, a tag or nothing at all means now.
//!
//! Invariant: a whole hash is never asked about: it means itself.

use super::Repository;
use berth_build::GitCommit;
use berth_oci::{Error, Result};

/// The shortest beginning of a hash that says anything.
const SHORTEST: usize = 7;

/// The commit that the address means now.
pub(in crate::build) fn commit(repository: &Repository<'_>) -> Result<GitCommit> {
    let source = repository.source;
    let checksum = source.checksum.as_deref().map(checked_hash).transpose()?;
    if let Some(checksum) = checksum.filter(|checksum| source.fetch_by_commit && is_whole(checksum)) {
        return Ok(GitCommit { id: checksum.to_owned(), reference: full_name(source.reference.as_deref()) });
    }
    let found = match source.reference.as_deref() {
        Some(hash) if is_whole(hash) => GitCommit { id: hash.to_owned(), reference: None },
        Some(name) => named(repository, name)?,
        None => default(repository)?,
    };
    match checksum {
        Some(checksum) if !found.id.starts_with(checksum) => {
            Err(Error::corrupt(format!("expected checksum to match {checksum}, got {}", found.id))
                .hint(format!("{} is not what was expected of it", source.shown())))
        }
        _ => Ok(found),
    }
}

fn checked_hash(text: &str) -> Result<&str> {
    match text.len() >= SHORTEST && text.len() <= 64 && is_hexadecimal(text) {
        true => Ok(text),
        false => Err(Error::invalid(format!("invalid checksum \"{text}\" for Git source"))
            .hint("it is a commit's hash, or the beginning of one")),
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Of SHA-1 or SHA-256.
fn is_whole(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hexadecimal(text)
}

fn full_name(name: Option<&str>) -> Option<String> {
    name.filter(|name| name.starts_with("refs/")).map(str::to_owned)
}

/// What `HEAD` of the other side leads to.
fn default(repository: &Repository<'_>) -> Result<GitCommit> {
    let remote = repository.remote()?;
    let listed = repository.git(repository.scratch, &["ls-remote", "--symref", &remote, "HEAD"])?;
    let branch = listed.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
    let id = rows(&listed).find(|(_, name)| *name == "HEAD").map(|(id, _)| id.to_owned());
    let id = id.ok_or_else(|| {
        Error::not_found(format!("{} has no default branch", repository.shown()))
            .hint("name a branch, a tag or a commit behind `#`")
    })?;
    Ok(GitCommit { id, reference: branch.map(str::to_owned) })
}

/// A branch before a tag, as git's own checkout has it; of a tag the commit and not the note about it.
fn named(repository: &Repository<'_>, name: &str) -> Result<GitCommit> {
    check_name(name)?;
    let remote = repository.remote()?;
    let short = name.strip_prefix("refs/").unwrap_or(name);
    let candidates = [format!("refs/heads/{name}"), format!("refs/tags/{name}"), format!("refs/{short}")];
    let peeled: Vec<String> = candidates.iter().map(|name| format!("{name}^{{}}")).collect();
    let mut words = vec!["ls-remote", &remote];
    words.extend(candidates.iter().chain(&peeled).map(String::as_str));
    let listed = repository.git(repository.scratch, &words)?;
    let id_of = |wanted: &str| rows(&listed).find(|(_, name)| *name == wanted).map(|(id, _)| id.to_owned());
    for (reference, peeled) in candidates.iter().zip(&peeled) {
        if let Some(id) = id_of(peeled).or_else(|| id_of(reference)) {
            return Ok(GitCommit { id, reference: Some(reference.clone()) });
        }
    }
    let hint = match is_hexadecimal(name) && name.len() >= SHORTEST {
        true => "a commit has to be written in full, with all of its 40 digits",
        false => "there is no branch and no tag of that name",
    };
    Err(Error::not_found(format!("repository does not contain ref {name}, in {}", repository.shown()))
        .hint(hint))
}

/// Names that git would read as patterns, ranges or options.
fn check_name(name: &str) -> Result<()> {
    let is_bad = name.starts_with('-')
        || name.contains("..")
        || name.contains("@{")
        || name.chars().any(|c| c.is_control() || c.is_whitespace() || "*?[\\~^:".contains(c));
    match is_bad {
        true => Err(Error::invalid(format!("invalid ref \"{name}\": it is no name of a branch or tag"))),
        false => Ok(()),
    }
}

/// Hashes and names.
fn rows(listed: &str) -> impl Iterator<Item = (&str, &str)> {
    listed.lines().filter_map(|line| line.split_once('\t')).filter(|(id, _)| is_whole(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hashes_are_told_apart() {
        for name in ["main", "v1.0", "feature/x", "refs/pull/7/head", "a-b", "1.x"] {
            check_name(name).expect(name);
        }
        for name in ["-x", "a..b", "a b", "v*", "a^{}", "a:b", "a\n", "@{-1}"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        let whole = "0123456789abcdef0123456789abcdef01234567";
        assert!(is_whole(whole) && !is_whole(&whole[1..]) && !is_whole(&whole.to_uppercase()));
        assert!(
            checked_hash("abcdef1").is_ok()
                && checked_hash("abc").is_err()
                && checked_hash("zzzzzzz").is_err()
        );
        let listed = format!("{whole}\trefs/heads/x\nref: refs/heads/x\tHEAD\nnonsense\n");
        assert_eq!(rows(&listed).collect::<Vec<_>>(), [(whole, "refs/heads/x")]);
    }
}
