//! `COPY`, and what `ADD` has in common with it: which files, from which tree, and the layer they make.
//!
//! Invariant: the key is made of contents and attributes, never of times or of where a file came from.

use super::add::{Repository, place_remote};
use super::context::HostTree;
use super::evidence::{FileSet, chain};
use super::graph::By;
use super::key::{Inputs, Record};
use super::snapshot::Snapshot;
use super::stage::{Turn, layers_from};
use super::step::{Doing, Made, Outcome, found, known, perform, remember};
use super::web::Remote;
use super::{Shared, Solver};
use crate::copy::{ModeChange, Owner, Placing, Target, look_up_owner, place, place_document, unpack};
use crate::dockerfile::{Copy, Expander, Files};
use crate::event::Event;
use crate::failure::Failure;
use crate::files::{Choice, Contents, MetaKind, Root, Wanted, digest_of_choices, pick};
use crate::git_ref::redacted;
use crate::host::Layer;
use crate::ignore::Ignore;
use berth_oci::{Context, Digest, Error, Result};
use berth_store::Workplace;
use berth_store::mount::View;
use std::fmt::Write as _;
use std::time::Duration;

/// Everything that goes into one layer, its variables replaced.
pub(super) struct Transfer<'a> {
    /// What the history says.
    pub(super) said: String,
    pub(super) operation: &'static str,
    pub(super) sources: Vec<String>,
    pub(super) documents: Vec<(String, String)>,
    /// Files of the web.
    pub(super) remotes: Vec<Remote>,
    pub(super) repositories: Vec<Repository>,
    /// From the root of the image.
    pub(super) destination: String,
    pub(super) chown: Option<String>,
    pub(super) chmod: Option<String>,
    pub(super) link: bool,
    pub(super) parents: bool,
    pub(super) exclude: Option<Ignore>,
    /// The same in words.
    excluded: Vec<String>,
    /// Whether archives are unpacked.
    pub(super) unpack: bool,
    pub(super) from: From<'a>,
}

/// Where files come from.
pub(super) enum From<'a> {
    Host(&'a HostTree),
    Layers(Vec<Layer>),
    /// There are no files of a tree: heredocs and addresses only.
    Nowhere,
}

/// Layers as a tree, for as long as this is held.
pub(super) struct LayersTree {
    pub(super) root: Root,
    _place: Workplace,
}

pub(super) fn copy(
    solver: &Solver<'_>,
    snapshot: &mut Snapshot,
    turn: &Turn<'_>,
    copy: &Copy,
) -> Result<(), Failure> {
    let shared = solver.shared;
    let from = match copy.from.as_deref() {
        _ if copy.files.sources.is_empty() => From::Nowhere,
        None => From::Host(shared.contexts.main()?),
        Some(name) => match layers_from(solver, snapshot, turn, name, By::NameOrNumber)? {
            Some(layers) => From::Layers(layers),
            None => From::Host(shared.contexts.named(shared.request, name, &snapshot.platform)?),
        },
    };
    let transfer =
        Transfer { parents: copy.parents, ..read(snapshot, "COPY", &copy.files, copy.parents, from)? };
    transfer.make(solver, snapshot, turn)
}

/// The words of an instruction with their variables replaced.
pub(super) fn read<'a>(
    snapshot: &Snapshot,
    operation: &'static str,
    files: &Files,
    parents: bool,
    from: From<'a>,
) -> Result<Transfer<'a>> {
    let mut expander = Expander::new(snapshot.scope.variables());
    let sources = expander.words(&files.sources)?;
    let mut documents = Vec::new();
    for document in &files.documents {
        let content = document.content();
        let text = if document.expand { expander.body(&content)? } else { content.into_owned() };
        documents.push((document.name.clone(), text));
    }
    let destination = expander.word(&files.destination)?;
    let (chown, chmod) = (expander.optional(files.chown.as_ref())?, expander.optional(files.chmod.as_ref())?);
    let exclude = expander.words(&files.exclude)?;
    if let Some(path) = sources.iter().chain([&destination]).find(|path| path.contains('\0')) {
        return Err(Error::invalid(format!("{operation}: {path:?} is no path")));
    }
    let mut said = operation.to_owned();
    if parents {
        said.push_str(" --parents");
    }
    for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
        if let Some(value) = value {
            let _ = write!(said, " --{flag}={value}");
        }
    }
    for source in &sources {
        let _ = write!(said, " {}", redacted(source));
    }
    for (name, _) in &documents {
        let _ = write!(said, " <<{name}");
    }
    let _ = write!(said, " {destination}");
    Ok(Transfer {
        said,
        operation,
        sources,
        documents,
        remotes: Vec::new(),
        repositories: Vec::new(),
        destination: snapshot.absolute(&destination),
        chown,
        // BuildKit, too, has no link of files whose mode it changes.
        link: files.link && chmod.is_none(),
        chmod,
        parents: false,
        exclude: if exclude.is_empty() { None } else { Some(Ignore::of_patterns(&exclude)?) },
        excluded: exclude,
        unpack: false,
        from,
    })
}

impl Transfer<'_> {
    /// Makes the layer, or finds it.
    pub(super) fn make(
        self,
        solver: &Solver<'_>,
        snapshot: &mut Snapshot,
        turn: &Turn<'_>,
    ) -> Result<(), Failure> {
        let shared = solver.shared;
        if self.sources.len() + self.documents.len() > 1 && !self.destination.ends_with('/') {
            let text = format!(
                "{}: the destination has no / at its end, so each file takes the place of the one before",
                self.said
            );
            shared.tell(Event::Warning { text: &text });
        }
        let mode = self.chmod.as_deref().map(ModeChange::parse).transpose()?;
        let inputs = self.inputs(snapshot, shared);
        let outcome = match &self.from {
            From::Nowhere => {
                perform(solver, snapshot, turn, &Made { inputs: &inputs, files: &[] }, &|doing| {
                    self.layer(doing, snapshot, None, &[], mode.as_ref())
                })?
            }
            From::Host(tree) => {
                let choices = self.choices(&tree.root).map_err(|error| explain_missing(error, tree))?;
                let mut inputs = inputs;
                let files = [self.add_contents(&mut inputs, &tree.contents(), &choices)?];
                perform(solver, snapshot, turn, &Made { inputs: &inputs, files: &files }, &|doing| {
                    self.layer(doing, snapshot, Some(&tree.root), &choices, mode.as_ref())
                })?
            }
            From::Layers(from) => self.out_of_layers(solver, snapshot, turn, from, inputs, mode.as_ref())?,
        };
        snapshot.add_layers(outcome, &format!("{} # buildkit", self.said));
        Ok(())
    }

    /// From layers there are two ways to know a result: by the layers, which costs nothing to look at, and by the
    /// contents, which are the same in many layers.
    fn out_of_layers(
        &self,
        solver: &Solver<'_>,
        snapshot: &Snapshot,
        turn: &Turn<'_>,
        from: &[Layer],
        inputs: Inputs,
        mode: Option<&ModeChange>,
    ) -> Result<Outcome, Failure> {
        let shared = solver.shared;
        let mut by_layers = inputs.clone();
        by_layers.add("from", chain(from.iter().map(|layer| &layer.diff_id)));
        let quick = by_layers.key();
        if !turn.fresh
            && let Some(record) = known(shared, &quick)?
        {
            if let Some(alias) = &record.alias {
                // It takes part, too: with other layers of the same contents, it is the one to be found.
                known(shared, alias)?;
            }
            let key = record.alias.clone().unwrap_or(quick);
            return Ok(found(shared, turn, &key, record));
        }
        let tree = layers_tree(shared, from)?;
        let choices = self.choices(&tree.root)?;
        let mut by_contents = inputs;
        let contents = Contents { root: &tree.root, cache: None };
        let files = [self.add_contents(&mut by_contents, &contents, &choices)?];
        let made = Made { inputs: &by_contents, files: &files };
        let outcome = perform(solver, snapshot, turn, &made, &|doing| {
            self.layer(doing, snapshot, Some(&tree.root), &choices, mode)
        })?;
        let record = Record {
            name: turn.step.text.clone(),
            cost_ms: 0,
            inputs: by_layers,
            layers: outcome.layers.clone(),
            made: outcome.made,
            alias: Some(by_contents.key()),
        };
        remember(shared, &quick, &record, Duration::ZERO)?;
        Ok(outcome)
    }

    fn inputs(&self, snapshot: &Snapshot, shared: &Shared<'_>) -> Inputs {
        let mut inputs = Inputs::new(self.operation);
        // A name has to be looked up in what is there.
        let asks = self
            .chown
            .as_ref()
            .is_some_and(|owner| owner.contains(|c: char| !c.is_ascii_digit() && c != ':'));
        if !self.link || asks {
            inputs.add("base", snapshot.chain());
        }
        inputs.add("destination", self.destination.as_str()).add("link", self.link.to_string());
        for (flag, value) in [("chown", &self.chown), ("chmod", &self.chmod)] {
            inputs.add(flag, value.as_deref().unwrap_or_default());
        }
        for (name, text) in &self.documents {
            inputs.add(format!("document {name}"), text.as_str());
        }
        let elsewhere = self.remotes.iter().map(Remote::input);
        for (name, value) in elsewhere.chain(self.repositories.iter().map(Repository::input)) {
            inputs.add(name, value);
        }
        if !self.repositories.is_empty() {
            // What is chosen of other trees is seen in the digest of their contents.
            inputs.add_all("exclude", &self.excluded);
        }
        for source in &self.sources {
            inputs.add("source", source.as_str());
        }
        inputs.add("parents", self.parents.to_string());
        if let Some(epoch) = shared.request.epoch {
            inputs.add("epoch", epoch.to_string());
        }
        inputs
    }

    fn choices(&self, root: &Root) -> Result<Vec<Choice>> {
        let mut choices = Vec::new();
        for source in &self.sources {
            let wanted = Wanted { path: source, parents: self.parents, exclude: self.exclude.as_ref() };
            choices.extend(pick(root, &wanted)?);
        }
        Ok(choices)
    }

    /// The contents of what was chosen, one input for each choice.
    fn add_contents<'c>(
        &self,
        inputs: &mut Inputs,
        contents: &Contents<'_>,
        choices: &'c [Choice],
    ) -> Result<FileSet<'c>> {
        let mut set = FileSet { choices, contents: Vec::new() };
        for choice in choices {
            let name = String::from_utf8_lossy(&choice.name).into_owned();
            let (digest, known) = digest_of_choices(contents, std::slice::from_ref(choice))?;
            inputs.add(format!("files {name}"), digest);
            set.contents.extend(known);
        }
        Ok(set)
    }

    fn layer(
        &self,
        doing: &Doing<'_>,
        snapshot: &Snapshot,
        source: Option<&Root>,
        choices: &[Choice],
        mode: Option<&ModeChange>,
    ) -> Result<Vec<Layer>> {
        let shared = doing.shared;
        shared.bring(&snapshot.layers)?;
        let base = Root::layers(doing.place.view(&snapshot.diff_ids())?);
        let whole = Target::new(Some(&base), shared.now().as_second(), shared.request.epoch);
        let mut unknown = |why: String| {
            let text =
                format!("--chown={}: {why}: the files are root's", self.chown.as_deref().unwrap_or_default());
            shared.tell(Event::Warning { text: &text });
        };
        let owner =
            self.chown.as_deref().map(|text| look_up_owner(text, &whole, &mut unknown)).transpose()?;
        let mut target = match self.link {
            true => Target::new(None, shared.now().as_second(), shared.request.epoch),
            false => whole,
        };
        let placing = Placing { destination: self.destination.as_bytes(), owner, mode };
        for choice in choices {
            let source = source.expect("there are choices only where there is a tree");
            if !self.unpacked(doing, &mut target, source, choice, owner)? {
                place(&mut target, source, choice, &placing)?;
            }
        }
        for (name, text) in &self.documents {
            place_document(&mut target, name, text.as_bytes(), &placing)?;
        }
        for (number, remote) in self.remotes.iter().enumerate() {
            place_remote(doing, number, &mut target, remote, &placing)?;
        }
        let mut trees = Vec::with_capacity(self.repositories.len());
        for repository in &self.repositories {
            trees.push(repository.place(doing, &mut target, self, &placing)?);
        }
        let (descriptor, diff_id) = shared
            .store
            .add_written_layer(doing.place.lease(), |out| target.write(out))
            .context(|| "cannot write the layer")?;
        Ok(vec![Layer { descriptor, diff_id }])
    }

    /// Whether the choice is an archive, which is in its place then.
    fn unpacked(
        &self,
        doing: &Doing<'_>,
        target: &mut Target<'_>,
        source: &Root,
        choice: &Choice,
        owner: Option<Owner>,
    ) -> Result<bool> {
        let file = &choice.files[0];
        if !self.unpack || file.meta.kind != MetaKind::File {
            return Ok(false);
        }
        let temporary = doing.place.directory()?.join("archive");
        let bytes = source.open(&file.source)?;
        unpack(target, bytes, self.destination.as_bytes(), owner, &temporary)
    }
}

/// The tree that layers make.
pub(super) fn layers_tree(shared: &Shared<'_>, layers: &[Layer]) -> Result<LayersTree> {
    shared.bring(layers)?;
    let place = shared.store.workplace()?;
    let ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let view: View = place.view(&ids)?;
    Ok(LayersTree { root: Root::layers(view), _place: place })
}

/// A file that is not there may have been left out, or be called otherwise.
fn explain_missing(error: Error, tree: &HostTree) -> Error {
    let Some(path) = error.message().split('"').nth(1).map(|path| path.trim_start_matches('/').to_owned())
    else {
        return error;
    };
    if error.kind() != berth_oci::Kind::NotFound {
        return error;
    }
    let hint = match tree.root.left_out(path.as_bytes()) {
        Some(line) => format!("it is there, but line {line} of the ignore file leaves it out"),
        None => match similar(tree, &path) {
            Some(name) => {
                format!("the context `{}` has no such file; did you mean {name}?", tree.path.display())
            }
            None => format!("the context `{}` has no such file", tree.path.display()),
        },
    };
    error.hint(hint)
}

fn similar(tree: &HostTree, path: &str) -> Option<String> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let names = tree.root.names(parent.as_bytes()).ok()?;
    let names: Vec<String> =
        names.iter().map(|name| String::from_utf8_lossy(&name.name).into_owned()).collect();
    crate::dockerfile::nearest(name, names.iter().map(String::as_str), true)
}
