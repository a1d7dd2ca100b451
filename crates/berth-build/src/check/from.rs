//! Rules about `FROM`: its variables, its platform, and what its image turns out to be.
//!
//! Invariant: a base that does not need variables is never blamed for them.

use super::{Check, Rule};
use crate::dockerfile::{Expander, Globals, Origin};
use berth_oci::{Platform, Reference};
use std::collections::BTreeSet;

impl Check<'_> {
    /// Whether the bases still have names when no argument is given.
    pub(super) fn default_bases(&mut self) {
        // Where a default cannot be expanded the build itself fails, or says what was given instead.
        let Ok(globals) = Globals::with_defaults_only(self.file, &self.facts.inputs) else { return };
        for stage in &self.file.stages {
            let Ok(name) = Expander::new(globals.variables()).word(&stage.base) else { return };
            if name.parse::<Reference>().is_err() {
                let base = &stage.base;
                let detail =
                    format!("Default value for ARG {base} results in empty or invalid base image name");
                self.warn(Rule::InvalidDefaultArgInFrom, stage.span, detail);
            }
        }
    }

    /// Variables of `FROM` that nobody has declared.
    pub(super) fn base_variables(&mut self, index: usize, globals: &Globals) {
        let stage = &self.file.stages[index];
        for word in [Some(&stage.base), stage.platform.as_ref()].into_iter().flatten() {
            let mut expander = Expander::new(globals.variables());
            // A failure is told as the error that it is, by whoever resolves the stage.
            let _ = expander.word(word);
            for name in expander.unmatched().iter().filter(|name| !globals.knows(name)) {
                let hint = globals.near(name).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
                let detail = format!("FROM argument '{name}' is not declared{hint}");
                self.warn(Rule::UndefinedArgInFrom, stage.span, detail);
            }
        }
    }

    /// A platform that says what is the case anyway, or that no variable decides.
    pub(super) fn written_platform(&mut self, index: usize, origin: &Origin, globals: &Globals) {
        let stage = &self.file.stages[index];
        let (Some(word), Some(platform)) = (&stage.platform, &origin.platform) else { return };
        let text = Expander::new(globals.variables()).word(word).unwrap_or_default();
        let (unmatched, matched) = &origin.platform_names;
        let only_target = unmatched.is_empty() && matched.iter().eq(["TARGETPLATFORM"]);
        if only_target && globals.variables().get("TARGETPLATFORM") == Some(&text) {
            let detail = format!(
                "Setting platform to predefined {word} in FROM is redundant as this is the default behavior"
            );
            self.warn(Rule::RedundantTargetPlatform, stage.span, detail);
        }
        if !matched.is_empty() || !unmatched.is_empty() {
            return;
        }
        let name = stage.name.as_deref().unwrap_or_default();
        if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let detail = format!("FROM --platform flag should not use constant value {text:?}");
            self.warn(Rule::FromPlatformFlagConstDisallowed, stage.span, detail);
        }
    }

    /// Images that came for another platform than was asked for.
    pub(super) fn base_platforms(&mut self, origins: &[Origin], wanted: &BTreeSet<usize>) {
        for &index in wanted {
            let origin = &origins[index];
            let expected = self.platform_of(origin).clone();
            let Some(actual) = self.image_of(origin).and_then(|image| image.platform) else { continue };
            if (&actual.os, &actual.architecture) != (&expected.os, &expected.architecture) {
                let detail = format!(
                    "Base image {} was pulled with platform \"{actual}\", expected \"{expected}\" for current build",
                    origin.base
                );
                self.warn(Rule::InvalidBaseImagePlatform, self.file.stages[index].span, detail);
            }
        }
    }

    pub(super) fn platform_of<'o>(&'o self, origin: &'o Origin) -> &'o Platform {
        origin.platform.as_ref().unwrap_or(&self.facts.inputs.target_platform)
    }

    /// What is known about the image that a stage starts from, if it starts from one.
    pub(super) fn image_of(&self, origin: &Origin) -> Option<super::BaseImage> {
        if origin.stage.is_some() || origin.base == "scratch" {
            return None;
        }
        (self.facts.base)(&origin.base, self.platform_of(origin))
    }
}
