//! Which stages a build needs, and what each name in the Dockerfile means.
//!
//! Invariant: the stages in [`Graph::needed`] and what they name form no circle.

use crate::dockerfile::{Command, Dockerfile, Globals, Origin, origin};
use crate::failure::Failure;
use crate::request::BuildRequest;
use berth_oci::Error;
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug)]
pub(crate) struct Graph {
    /// What every stage starts from.
    pub(crate) origins: Vec<Origin>,
    /// The stage that is asked for.
    pub(crate) target: usize,
    /// It and all that it needs, in the order of the file.
    pub(crate) needed: BTreeSet<usize>,
}

/// What a name in `--from` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromName<'a> {
    Stage(usize),
    Context(&'a str),
    Image(&'a str),
}

impl Graph {
    pub(crate) fn new(file: &Dockerfile, globals: &Globals, request: &BuildRequest) -> Result<Self, Failure> {
        let target = match request.target.as_deref() {
            None | Some("") => file.stages.len() - 1,
            Some(name) => target(file, name)?,
        };
        let mut graph = Self { origins: Vec::new(), target, needed: BTreeSet::new() };
        for index in 0..file.stages.len() {
            // A stage that nobody needs may be wrong.
            graph.origins.push(match origin(file, index, globals) {
                Ok(origin) => origin,
                Err(error) if index <= target => return Err(error.into()),
                Err(_) => Origin {
                    base: String::new(),
                    stage: None,
                    platform: None,
                    base_unmatched: BTreeSet::new(),
                    platform_names: Default::default(),
                },
            });
        }
        graph.visit(file, request, target, &mut Vec::new())?;
        Ok(graph)
    }

    fn visit(
        &mut self,
        file: &Dockerfile,
        request: &BuildRequest,
        index: usize,
        path: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        if path.contains(&index) {
            let name = |at: &usize| file.stages[*at].name.clone().unwrap_or_else(|| format!("stage-{at}"));
            let error = Error::invalid(format!("circular dependency detected on stage: {}", name(&index)));
            return Err(Failure::at(error, &file.source, file.stages[index].span));
        }
        if self.needed.contains(&index) {
            return Ok(());
        }
        path.push(index);
        let base =
            self.origins[index].stage.filter(|_| !request.contexts.contains_key(&self.origins[index].base));
        for needed in base.into_iter().chain(named_stages(file, request, index)) {
            self.visit(file, request, needed, path)?;
        }
        path.pop();
        self.needed.insert(index);
        Ok(())
    }
}

fn target(file: &Dockerfile, name: &str) -> Result<usize, Failure> {
    let by_index = || name.parse::<usize>().ok().filter(|index| *index < file.stages.len());
    file.stage_named(name).or_else(by_index).ok_or_else(|| {
        let names = file.stages.iter().filter_map(|stage| stage.name.as_deref());
        let hint = crate::dockerfile::did_you_mean(crate::dockerfile::nearest(name, names, true).as_deref());
        Error::not_found(format!("target stage \"{name}\" could not be found{hint}")).into()
    })
}

/// The stages that the instructions of one name.
fn named_stages(file: &Dockerfile, request: &BuildRequest, index: usize) -> Vec<usize> {
    let mut names = Vec::new();
    for instruction in &file.stages[index].instructions {
        match &instruction.command {
            Command::Copy(copy) => {
                names.extend(copy.from.as_deref().map(|name| from_name(file, request, name, index)));
            }
            Command::Run(run) => {
                let from = run.mounts.iter().filter_map(|mount| mount.from.as_deref());
                names.extend(from.map(|name| from_name(file, request, name, index)));
            }
            _ => {}
        }
    }
    names
        .into_iter()
        .filter_map(|name| if let FromName::Stage(stage) = name { Some(stage) } else { None })
        .collect()
}

/// What `--from=name` means in a stage.
pub(crate) fn from_name<'n>(
    file: &Dockerfile,
    request: &BuildRequest,
    name: &'n str,
    stage: usize,
) -> FromName<'n> {
    if request.contexts.contains_key(name) {
        return FromName::Context(name);
    }
    if let Some(index) = file.stage_named(name) {
        return FromName::Stage(index);
    }
    match name.parse::<usize>() {
        Ok(index) if index < file.stages.len() && index != stage => FromName::Stage(index),
        _ => FromName::Image(name),
    }
}
