//! Whether a registry takes a credential: `GET /v2/`, and whatever it asks for.

use crate::http::{Failure, FaultClass, Method, Request};
use crate::registry::Registry;
use berth_oci::{Error, Kind, Result};

/// A credential that was taken.
#[derive(Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// What to keep in place of the password, where the registry makes such a thing.
    pub identity_token: Option<String>,
}

/// The token is a secret.
impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedIn").finish_non_exhaustive()
    }
}

/// Asks without a credential first: a registry that answers then needs none, and says so to everybody.
pub(crate) fn check(registry: &Registry) -> Result<LoggedIn, Failure> {
    let response = registry.ask_plainly()?;
    if response.status != 401 {
        registry.expect(response)?;
        return Ok(LoggedIn { identity_token: None });
    }
    let url = response.url.clone();
    let identity = registry.identity(&url);
    let granted = registry.shared().authorizer.log_in(&response, &identity).map_err(refused)?;
    let mut request = Request::new(Method::Get, url);
    let response = registry.send_as(&mut request, &granted.authorization)?;
    registry.expect(response).map_err(refused)?;
    Ok(LoggedIn { identity_token: granted.identity_token })
}

fn refused(failure: Failure) -> Failure {
    match failure.error.kind() {
        Kind::Unauthorized | Kind::Denied => Failure::new(
            FaultClass::Fatal,
            Error::unauthorized("login attempt failed: the registry refused the user name or the password")
                .caused_by(failure.error)
                .hint("many registries want an access token in place of the password"),
        ),
        _ => failure,
    }
}
