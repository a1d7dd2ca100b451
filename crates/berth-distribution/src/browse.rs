//! Looking around in a registry: tags, the catalog, search.
//!
//! Invariant: a list that a server makes endless is cut off with an error, not with memory.

use crate::auth::Scopes;
use crate::endpoints::Endpoint;
use crate::http::{Failure, Method, Request, Response, Url};
use crate::registry::Registry;
use crate::source::refuse_web_page;
use berth_oci::{Error, Kind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const PAGE_LIMIT: usize = 8 << 20;
const NAMES_LIMIT: usize = 1_000_000;
const PAGES: usize = 10_000;
const PAGE: u32 = 1000;

/// A repository that a search found, in Docker Hub's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SearchResult {
    /// `nginx`, `me/app`.
    pub name: String,
    /// What its owner says about it.
    #[serde(default, deserialize_with = "text_or_null")]
    pub description: String,
    /// How many people like it.
    #[serde(default)]
    pub star_count: u64,
    /// Whether Docker keeps it.
    #[serde(default)]
    pub is_official: bool,
    /// Whether it was once built by Docker Hub.
    #[serde(default)]
    pub is_automated: bool,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Found {
    results: Option<Vec<SearchResult>>,
}

/// All tags of a repository.
pub(crate) fn tags(registry: &Registry) -> Result<Vec<String>, Failure> {
    let path = format!("{}/tags/list", registry.endpoint.repository);
    pages(registry, &path, NAMES_LIMIT, |page: Tags| page.tags.unwrap_or_default())
}

/// The names of repositories, at most `limit` or so.
pub(crate) fn catalog(registry: &Registry, limit: usize) -> Result<Vec<String>, Failure> {
    let registry = registry.with_scopes(Scopes::catalog());
    pages(&registry, "_catalog", limit, |page: Catalog| page.repositories.unwrap_or_default())
}

fn pages<T: DeserializeOwned>(
    registry: &Registry,
    path: &str,
    limit: usize,
    names: impl Fn(T) -> Vec<String>,
) -> Result<Vec<String>, Failure> {
    let first = |url: Url| Request::new(Method::Get, url.query("n", &PAGE.to_string()));
    let mut response = registry.ask_at(path, first)?;
    let mut found = Vec::new();
    for _ in 0..PAGES {
        response = registry.expect(response)?;
        let next = next_page(&response)?;
        let page = names(json(&mut response)?);
        let is_empty = page.is_empty();
        found.extend(page);
        match next.filter(|_| !is_empty && found.len() < limit) {
            Some(url) => response = registry.send(&mut Request::new(Method::Get, url))?,
            None => return Ok(found),
        }
    }
    Err(Failure::fatal(Error::invalid(format!("{} has no end", response.url.shown()))))
}

fn json<T: DeserializeOwned>(response: &mut Response) -> Result<T, Failure> {
    refuse_web_page(response)?;
    let bytes = response.bytes(PAGE_LIMIT)?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::fatal(Error::invalid(format!(
            "{} answered something else than JSON: {e}",
            response.url.shown()
        )))
    })
}

/// `Link: </v2/x/tags/list?n=2&last=b>; rel="next"`, on the same server.
pub(crate) fn next_page(response: &Response) -> Result<Option<Url>, Failure> {
    for link in response.header_all("link") {
        let Some((target, parameters)) = link.trim().strip_prefix('<').and_then(|l| l.split_once('>')) else {
            continue;
        };
        if !parameters.replace([' ', '"'], "").contains("rel=next") {
            continue;
        }
        let next = response.url.join(target)?;
        return match next.origin().host == response.url.origin().host {
            true => Ok(Some(next)),
            false => Err(Failure::fatal(Error::invalid(format!(
                "{} continues its list on another server, {}",
                response.url.shown(),
                next.origin()
            )))),
        };
    }
    Ok(None)
}

/// What matches `term`: by Docker Hub's old search, or, where a registry has none, in its catalog.
pub(crate) fn search(registry: &Registry, term: &str, limit: usize) -> Result<Vec<SearchResult>, Failure> {
    let v1 = Endpoint { base: "/v1/".to_owned(), namespace: None, ..registry.endpoint.clone() };
    let by_search = registry.at_endpoint(v1);
    let ask = |url: Url| Request::new(Method::Get, url.query("q", term).query("n", &limit.to_string()));
    let mut response = by_search.ask_at("search", ask)?;
    if response.is_success() && response.media_type().is_none_or(|m| m.contains("json")) {
        let found: Found = json(&mut response)?;
        let mut results = found.results.unwrap_or_default();
        for result in &mut results {
            if let Some(short) = result.name.strip_prefix("library/") {
                result.name = short.to_owned();
            }
        }
        results.truncate(limit);
        return Ok(results);
    }
    match response.status {
        // These say that there is no such search, or that the page is for people.
        200..=399 | 400 | 401 | 403 | 404 | 405 => {}
        _ => return Err(registry.refusal(response)),
    }
    in_catalog(registry, term, limit)
}

fn in_catalog(registry: &Registry, term: &str, limit: usize) -> Result<Vec<SearchResult>, Failure> {
    let names = catalog(registry, NAMES_LIMIT).map_err(|failure| match failure.error.kind() {
        Kind::NotFound | Kind::Unsupported => Failure::fatal(
            Error::unsupported(format!("{} has neither a search nor a catalog", registry.endpoint.authority))
                .caused_by(failure.error),
        ),
        _ => failure,
    })?;
    let matching = names.into_iter().filter(|name| name.contains(term)).take(limit);
    Ok(matching.map(|name| SearchResult { name, ..SearchResult::default() }).collect())
}
