//! Which stages a build needs, and what each name in the Dockerfile means.
//!
//! Invariant: the stages in [`Graph::needed`] and what they name form no circle.

use crate::dockerfile::{Command, Dockerfile, Globals, Origin, origin};
use crate::failure::Failure;
use crate::request::BuildRequest;
use berth_oci::{Error, Platform};
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
    pub(crate) fn new(
        file: &Dockerfile,
        globals: &Globals,
        request: &BuildRequest,
        platform: &Platform,
    ) -> Result<Self, Failure> {
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
        graph.visit(&Named { file, request, platform }, target, &mut Vec::new())?;
        Ok(graph)
    }

    fn visit(&mut self, named: &Named<'_>, index: usize, path: &mut Vec<usize>) -> Result<(), Failure> {
        let file = named.file;
        if path.contains(&index) {
            let name = |at: &usize| file.stages[*at].name.clone().unwrap_or_else(|| format!("stage-{at}"));
            let error = Error::invalid(format!("circular dependency detected on stage: {}", name(&index)));
            return Err(Failure::at(error, &file.source, file.stages[index].span));
        }
        if self.needed.contains(&index) {
            return Ok(());
        }
        path.push(index);
        let origin = &self.origins[index];
        let own = Named { platform: origin.platform.as_ref().unwrap_or(named.platform), ..*named };
        let base = origin.stage.filter(|_| own.context(&origin.base).is_none());
        let needed: Vec<usize> = base.into_iter().chain(own.stages(index)).collect();
        // Each stage says itself for what it is.
        for index in needed {
            self.visit(named, index, path)?;
        }
        path.pop();
        self.needed.insert(index);
        Ok(())
    }
}

fn target(file: &Dockerfile, name: &str) -> Result<usize, Failure> {
    file.stage_named(name).ok_or_else(|| {
        let names = file.stages.iter().filter_map(|stage| stage.name.as_deref());
        let hint = crate::dockerfile::did_you_mean(crate::dockerfile::nearest(name, names, true).as_deref());
        Error::not_found(format!("target stage \"{name}\" could not be found{hint}")).into()
    })
}

/// How a stage may be named: a mount knows no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Name,
    NameOrNumber,
}

/// What names are looked up in: a stage's platform decides between contexts of one name.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) request: &'a BuildRequest,
    pub(crate) platform: &'a Platform,
}

impl<'a> Named<'a> {
    fn context(&self, name: &str) -> Option<&'a str> {
        self.request.named_context(name, self.platform).map(|(name, _)| name)
    }

    /// The stages that the instructions of one name.
    fn stages(&self, index: usize) -> Vec<usize> {
        let mut names = Vec::new();
        for instruction in &self.file.stages[index].instructions {
            match &instruction.command {
                Command::Copy(copy) => {
                    names.extend(copy.from.as_deref().map(|name| self.from(name, index, By::NameOrNumber)));
                }
                Command::Run(run) => {
                    let from = run.mounts.iter().filter_map(|mount| mount.from.as_deref());
                    names.extend(from.map(|name| self.from(name, index, By::Name)));
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
    pub(crate) fn from<'n>(&self, name: &'n str, stage: usize, by: By) -> FromName<'n>
    where
        'a: 'n,
    {
        if let Some(name) = self.context(name) {
            return FromName::Context(name);
        }
        if let Some(index) = self.file.stage_named(name) {
            return FromName::Stage(index);
        }
        match name.parse::<usize>() {
            Ok(index) if by == By::NameOrNumber && index < self.file.stages.len() && index != stage => {
                FromName::Stage(index)
            }
            _ => FromName::Image(name),
        }
    }
}
