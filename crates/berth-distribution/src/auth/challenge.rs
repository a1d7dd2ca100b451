//! `WWW-Authenticate` (RFC 9110 §11.6.1): what a server wants to see before it answers.
//!
//! Several challenges may come in one header or in several, with commas inside quotes and between parameters.
//! Invariant: whatever a server sends, the parser ends, and yields only complete challenges.

/// One way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from the server at `realm`.
    Bearer {
        /// The token server's address.
        realm: String,
        /// The name the registry has there.
        service: String,
        /// What the refused request would have needed, scopes separated by blanks.
        scope: String,
        /// Why a token we showed was refused.
        error: String,
    },
}

/// The challenges that we know how to answer, in the order the server prefers them.
#[must_use]
pub fn parse_challenges<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        let mut scanner = Scanner { rest: header };
        while let Some(scheme) = scanner.scheme() {
            let parameters = scanner.parameters();
            found.extend(challenge(scheme, &parameters));
        }
    }
    found
}

type Parameters<'a> = Vec<(&'a str, String)>;

fn challenge(scheme: &str, parameters: &Parameters<'_>) -> Option<Challenge> {
    let value = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !value("realm").is_empty();
    is_bearer.then(|| Challenge::Bearer {
        realm: value("realm"),
        service: value("service"),
        scope: value("scope"),
        error: value("error"),
    })
}

/// Reads a header from left to right; every step shortens what is left.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip(&mut self, what: &[char]) {
        self.rest = self.rest.trim_start_matches(what);
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The next scheme; whatever cannot be one is passed over.
    fn scheme(&mut self) -> Option<&'a str> {
        loop {
            self.skip(&[' ', '\t', ',']);
            if self.rest.is_empty() {
                return None;
            }
            if let Some(token) = self.token() {
                return Some(token);
            }
            let mut characters = self.rest.chars();
            characters.next();
            self.rest = characters.as_str();
        }
    }

    /// `key=value` pairs up to the next scheme, which is a token without `=`.
    fn parameters(&mut self) -> Parameters<'a> {
        let mut parameters = Vec::new();
        loop {
            self.skip(&[' ', '\t', ',']);
            let before = self.rest;
            let Some(key) = self.token() else { break };
            self.skip(&[' ', '\t']);
            let Some(after) = self.rest.strip_prefix('=') else {
                self.rest = before;
                break;
            };
            self.rest = after;
            self.skip(&[' ', '\t']);
            parameters.push((key, self.value()));
        }
        parameters
    }

    fn value(&mut self) -> String {
        match self.rest.strip_prefix('"') {
            Some(rest) => {
                self.rest = rest;
                self.quoted()
            }
            None => {
                let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
                let (value, rest) = self.rest.split_at(end);
                self.rest = rest;
                value.to_owned()
            }
        }
    }

    /// Up to the closing quote, or to the end where there is none.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut characters = self.rest.chars();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => value.extend(characters.next()),
                c => value.push(c),
            }
        }
        self.rest = characters.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let [realm, service, scope] = [realm, service, scope].map(str::to_owned);
        Challenge::Bearer { realm, service, scope, error: String::new() }
    }

    #[test]
    fn challenges_are_found_in_whatever_comes() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#;
        let rows: &[(&[&str], Vec<Challenge>)] = &[
            (
                &[docker],
                vec![bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    "repository:library/nginx:pull,push",
                )],
            ),
            (&[r#"Basic realm="Registry, the big one""#], vec![Challenge::Basic]),
            (&["basic"], vec![Challenge::Basic]),
            (
                &[r#"Basic realm="a", Bearer realm="https://t/",service=s"#],
                vec![Challenge::Basic, bearer("https://t/", "s", "")],
            ),
            (
                &[r#"Bearer realm = "https://t/" , service = "s""#, "Basic"],
                vec![bearer("https://t/", "s", ""), Challenge::Basic],
            ),
            (&[r#"Negotiate, BEARER Realm="r\"x",SCOPE="a b""#], vec![bearer("r\"x", "", "a b")]),
            (&[r#"Negotiate dG9rZW4=, Basic realm="x""#], vec![Challenge::Basic]),
            (&["Bearer"], vec![]),
            (&[r#"Bearer service="s""#], vec![]),
            (&[r#"Bearer realm="never closed"#], vec![bearer("never closed", "", "")]),
            (
                &["", ",,,", "=", "\"\"\"", "\u{e9}\u{e9}", "a=b=c", "Bearer realm=\\"],
                vec![bearer("\\", "", "")],
            ),
            (
                &[r#"Bearer realm="x",error="invalid_token""#],
                vec![Challenge::Bearer {
                    realm: "x".into(),
                    service: String::new(),
                    scope: String::new(),
                    error: "invalid_token".into(),
                }],
            ),
        ];
        for (headers, expected) in rows {
            assert_eq!(&parse_challenges(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
