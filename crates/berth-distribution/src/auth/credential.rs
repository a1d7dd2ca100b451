//! What proves to a registry who we are. Invariant: it cannot be printed by accident.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// A user's proof.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password (or an access token in its place).
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for short-lived ones (OAuth2's refresh token).
    IdentityToken {
        /// Whose it is, if that is known.
        username: String,
        /// The token.
        token: String,
    },
    /// A token that is shown to the registry as it is.
    RegistryToken(String),
}

impl Credential {
    /// A name and a password.
    #[must_use]
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: password.into() }
    }

    /// Whose it is; empty where nobody said.
    #[must_use]
    pub fn username(&self) -> &str {
        match self {
            Self::Password { username, .. } | Self::IdentityToken { username, .. } => username,
            Self::RegistryToken(_) => "",
        }
    }

    /// The value of `Authorization` for HTTP basic authentication, where there is a password.
    pub(crate) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { username, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential of `{}`", self.username())
    }
}
