//! `COPY` and `ADD`.
//!
//! Not here: which files a source names. Invariant: the destination is a path, never a heredoc.

use super::ast::{Add, Copy, Files};
use super::error::Fault;
use super::flags::{Flags, Kind};
use super::instruction::Request;
use super::mount::has_variable;
use super::operand::heredoc_of;

const COMMON: [(&str, Kind); 4] =
    [("chown", Kind::Text), ("chmod", Kind::Text), ("link", Kind::Bool), ("exclude", Kind::List)];

pub(super) fn copy(request: &Request<'_>) -> Result<Copy, Fault> {
    let words = operands(request)?;
    let own = [("from", Kind::Text), ("parents", Kind::Bool)];
    let flags = request.flags(&[COMMON.as_slice(), &own].concat())?;
    let from = flags.text("from");
    if let Some(token) = from.filter(|token| has_variable(&token.text)) {
        let message = "variable expansion is not supported for --from, \
                       define a new stage with FROM using ARG from global scope as a workaround";
        return Err(Fault::new(message).at(token.at, "--from=".len() + token.text.len()).bare());
    }
    Ok(Copy {
        from: from.map(|token| token.text.clone()),
        parents: flags.bool("parents").unwrap_or_default(),
        files: files(request, words, &flags)?,
    })
}

pub(super) fn add(request: &Request<'_>) -> Result<Add, Fault> {
    let words = operands(request)?;
    let own = [("checksum", Kind::Text), ("keep-git-dir", Kind::Bool), ("unpack", Kind::Bool)];
    let flags = request.flags(&[COMMON.as_slice(), &own].concat())?;
    Ok(Add {
        checksum: flags.text("checksum").map(|token| request.word(token.text.clone())),
        keep_git_dir: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
        files: files(request, words, &flags)?,
    })
}

fn operands(request: &Request<'_>) -> Result<Vec<String>, Fault> {
    let words = request.list()?;
    if words.len() < 2 {
        return Err(request.fault(format!(
            "{} requires at least two arguments, but only one was provided. \
             Destination could not be determined",
            request.name
        )));
    }
    Ok(words)
}

fn files(request: &Request<'_>, mut words: Vec<String>, flags: &Flags) -> Result<Files, Fault> {
    let destination = words.pop().unwrap_or_default();
    if heredoc_of(&destination).is_some() {
        return Err(request.fault(format!("{} cannot accept a heredoc as a destination", request.name)));
    }
    let mut sources = Vec::new();
    let mut documents = Vec::new();
    for word in words {
        match heredoc_of(&word) {
            // Of two with one name the last body counts, as in a shell that opens the same file twice.
            Some(opened) => {
                let mut bodies = request.statement.heredocs.iter().rev();
                let body = bodies.find(|h| h.name == opened.name).map(|h| h.body.clone());
                documents.push(super::Heredoc { body: body.unwrap_or_default(), ..opened });
            }
            None => sources.push(request.word(word)),
        }
    }
    let word = |name: &str| flags.text(name).map(|token| request.word(token.text.clone()));
    Ok(Files {
        sources,
        documents,
        destination: request.word(destination),
        chown: word("chown"),
        chmod: word("chmod"),
        link: flags.bool("link").unwrap_or_default(),
        exclude: flags.all("exclude").map(|token| request.word(token.text.clone())).collect(),
    })
}
