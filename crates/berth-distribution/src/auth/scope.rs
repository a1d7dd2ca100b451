//! Scopes (distribution `spec/auth/scope.md`): `repository:a/b:pull,push`, and sets of them.

use std::collections::{BTreeMap, BTreeSet};

/// What a token should allow: actions by resource. A resource may hold colons, the actions stand behind the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// `repository:<name>:<actions>`.
    pub(crate) fn repository(name: &str, actions: &[&str]) -> Self {
        Self::default().with(&format!("repository:{name}"), actions)
    }

    /// The whole list of repositories.
    pub(crate) fn catalog() -> Self {
        Self::default().with("registry:catalog", &["*"])
    }

    fn with(mut self, resource: &str, actions: &[&str]) -> Self {
        let entry = self.0.entry(resource.to_owned()).or_default();
        entry.extend(actions.iter().map(|&a| a.to_owned()));
        self
    }

    /// These and those.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    /// Reads the `scope` of a challenge: scopes separated by blanks; what is none is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let parts = text.split_whitespace().filter_map(|one| one.rsplit_once(':'));
        parts
            .filter(|(resource, _)| !resource.is_empty())
            .fold(Self::default(), |scopes, (resource, actions)| {
                scopes.with(resource, &actions.split(',').collect::<Vec<_>>())
            })
    }

    /// What to ask a token server for when a registry refused a request that we thought needs these.
    ///
    /// The registry knows better what its repository is called at the token server (a proxy adds a prefix); ours
    /// adds the actions we will need next.
    pub(crate) fn as_challenged(&self, challenged: &Self) -> Self {
        let Some((resource, _)) = challenged.0.first_key_value().filter(|_| challenged.0.len() == 1) else {
            return challenged.clone().and(self);
        };
        match self.0.contains_key(resource) {
            true => challenged.clone().and(self),
            false => {
                let actions: BTreeSet<String> = self.0.values().flatten().cloned().collect();
                challenged.clone().and(&Self(BTreeMap::from([(resource.clone(), actions)])))
            }
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            format!("{resource}:{}", actions.iter().map(String::as_str).collect::<Vec<_>>().join(","))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_add_up() {
        let ours = Scopes::repository("a/b", &["push", "pull"]);
        for (challenged, expected) in [
            ("", "repository:a/b:pull,push"),
            ("repository:a/b:pull", "repository:a/b:pull,push"),
            ("repository:proxy/a/b:pull", "repository:proxy/a/b:pull,push"),
            ("repository:host:5000/a/b:pull nonsense :x", "repository:host:5000/a/b:pull,push"),
            ("repository:x:pull repository:a/b:pull", "repository:a/b:pull,push repository:x:pull"),
        ] {
            let lines: Vec<String> = ours.as_challenged(&Scopes::parse(challenged)).lines().collect();
            assert_eq!(lines.join(" "), expected, "{challenged}");
        }
    }
}
