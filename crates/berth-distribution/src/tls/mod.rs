//! Whom we trust and who we are, on a TLS connection.
//!
//! Here: the machine's certificate authorities, the `certs.d` directories, client certificates, and the words for
//! what went wrong. Not here: which registry is insecure; that is configuration. Invariant: a connection is
//! verified unless its [`TlsOptions`] say otherwise, and nothing but configuration makes such options.

mod certs_d;
mod connector;
mod verifier;

pub(crate) use certs_d::TlsFiles;
pub(crate) use connector::TlsConnector;

use crate::http::Origin;
use berth_oci::Error;
use rustls::CertificateError as C;
use std::path::PathBuf;

/// What one endpoint says about its TLS, beyond what the machine knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsOptions {
    /// Take any certificate.
    pub(crate) skip_verify: bool,
    /// Files with further authorities.
    pub(crate) authorities: Vec<PathBuf>,
    /// Pairs of a certificate and its key; the first is shown.
    pub(crate) identities: Vec<(PathBuf, PathBuf)>,
}

/// What a TLS failure means and what to do about it; the failure itself stays the cause.
pub(crate) fn explain(error: &rustls::Error, origin: &Origin) -> Error {
    let (what, hint) = words(error, origin);
    Error::denied(format!("{origin}: {what}")).caused_by(error.clone()).hint(hint)
}

/// Whether we refused the other side, or it refused us, before a word of HTTP was spoken.
pub(crate) fn is_about_tls(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<rustls::Error>())
}

fn words(error: &rustls::Error, origin: &Origin) -> (String, String) {
    let host = origin.authority();
    let directory = format!("/etc/docker/certs.d/{host}/");
    let trust =
        format!("put the certificate of its authority into {directory}ca.crt, or list `{host}` as insecure");
    let clock = "check this machine's clock".to_owned();
    let own = |what: &str, hint: String| (what.to_owned(), hint);
    match error {
        // A wrong signature is what an authority of the same name but another key looks like.
        rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => {
            own("its certificate is signed by an unknown authority", trust)
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            own("its certificate has expired", format!("renew it on the registry, and {clock}"))
        }
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            own("its certificate is not valid yet", clock)
        }
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => (
            format!("its certificate is not for `{}`", origin.host),
            "use the name that the certificate carries (subjectAltName)".to_owned(),
        ),
        rustls::Error::AlertReceived(_) => own(
            "it refused our TLS",
            format!("if it asks for a client certificate, put client.cert and client.key into {directory}"),
        ),
        rustls::Error::InvalidMessage(_) => {
            own("it does not speak TLS", format!("if it speaks plain HTTP, list `{host}` as insecure"))
        }
        _ => own("TLS failed", trust),
    }
}
