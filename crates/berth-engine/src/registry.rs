//! What is asked of registries beside images: search, credentials.

use crate::Engine;
use berth_distribution::SearchResult;
use berth_distribution::auth::{Credential, Kept};
use berth_oci::Result;

/// Conditions on what a search finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchFilter {
    /// At least so many stars.
    pub stars: u64,
    /// Whether Docker keeps it.
    pub is_official: Option<bool>,
    /// Whether Docker Hub built it; nothing is, any more.
    pub is_automated: Option<bool>,
}

impl Engine {
    /// Repositories of a registry that match a term.
    ///
    /// # Errors
    /// The registry has no search, or cannot be reached.
    pub fn search(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
        filter: &SearchFilter,
    ) -> Result<Vec<SearchResult>> {
        let mut found = self.client().search(registry, term, limit)?;
        found.retain(|result| filter.keeps(result));
        Ok(found)
    }

    /// Asks a registry whether it takes a credential, and keeps it if it does.
    ///
    /// # Errors
    /// The registry refuses it or cannot be reached; the credential cannot be kept.
    pub fn login(&self, registry: &str, credential: Credential) -> Result<Kept> {
        let answer = self.client().login(registry, &credential)?;
        let kept = match (answer.identity_token, credential) {
            (Some(token), Credential::Password { username, .. }) => {
                Credential::IdentityToken { username, token }
            }
            (_, credential) => credential,
        };
        self.client().credentials().store(registry, &kept)
    }

    /// The credential that is kept for a registry, if any.
    ///
    /// # Errors
    /// A file is malformed, or a helper failed.
    pub fn credential(&self, registry: &str) -> Result<Option<Credential>> {
        self.client().credentials().get(registry, "")
    }

    /// Asks a registry whether it still takes the credential that is kept for it.
    ///
    /// # Errors
    /// It does not, or cannot be reached.
    pub fn verify_credential(&self, registry: &str, credential: &Credential) -> Result<()> {
        self.client().login(registry, credential).map(drop)
    }

    /// Forgets a registry's credentials; answers whether there were any.
    ///
    /// # Errors
    /// They cannot be forgotten.
    pub fn logout(&self, registry: &str) -> Result<bool> {
        self.client().credentials().erase(registry)
    }
}

impl SearchFilter {
    fn keeps(&self, result: &SearchResult) -> bool {
        result.star_count >= self.stars
            && self.is_official.is_none_or(|wanted| wanted == result.is_official)
            && self.is_automated.is_none_or(|wanted| !wanted)
    }
}
