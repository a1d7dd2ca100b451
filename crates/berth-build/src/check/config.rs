//! Which rules count: `# check=skip=A,B;error=true;experimental=all`, for a file or a single instruction.
//!
//! Invariant: an experimental rule counts only where it is named; any other unless it is named.

use super::Rule;
use std::collections::BTreeSet;

/// A `check` setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckConfig {
    skip: Names,
    experimental: Names,
    /// A broken rule fails the build.
    pub errors: bool,
}

/// Some rules, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    names: BTreeSet<String>,
}

impl Names {
    fn parse(text: &str) -> Self {
        let all = text.trim() == "all";
        let names = text.split(',').map(|name| name.trim().to_owned());
        Self { all, names: if all { BTreeSet::new() } else { names.collect() } }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.contains(rule.name())
    }
}

impl CheckConfig {
    /// Reads a setting.
    ///
    /// # Errors
    /// A key that is none, or a truth that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for part in text.trim().splitn(3, ';').filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("failed to parse check options: invalid check option {part:?}"));
            };
            match key.trim() {
                "skip" => config.skip = Names::parse(value),
                "experimental" => config.experimental = Names::parse(value),
                "error" => {
                    config.errors = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        _ => {
                            return Err(format!(
                                "failed to parse check options: {part:?} is neither true nor false"
                            ));
                        }
                    }
                }
                key => return Err(format!("failed to parse check options: invalid check option {key:?}")),
            }
        }
        Ok(config)
    }

    /// The setting in the comments above an instruction.
    pub(super) fn of_comments(comments: &[String]) -> Option<Self> {
        let setting = comments.iter().find_map(|comment| comment.strip_prefix("check="))?;
        Self::parse(setting.split(' ').next().unwrap_or_default()).ok()
    }

    /// Whether the rule counts.
    pub(super) fn allows(&self, rule: Rule) -> bool {
        if rule.is_experimental() { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }

    /// Whether the rule is left out by name; what is off anyway is not.
    pub(super) fn skips(&self, rule: Rule) -> bool {
        self.skip.has(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let casing = Rule::FromAsCasing;
        let description = Rule::InvalidDefinitionDescription;
        for (text, allowed, experimental, errors) in [
            ("", true, false, false),
            ("skip=all", false, false, false),
            ("skip= A , FromAsCasing ;error=true", false, false, true),
            ("skip=A;experimental=all;error=0", true, true, false),
            ("experimental=InvalidDefinitionDescription", true, true, false),
        ] {
            let config = CheckConfig::parse(text).expect(text);
            let found = (config.allows(casing), config.allows(description), config.errors);
            assert_eq!(found, (allowed, experimental, errors), "{text}");
        }
        for bad in ["x", "x=1", "error=maybe"] {
            assert!(CheckConfig::parse(bad).is_err(), "{bad}");
        }
    }
}
