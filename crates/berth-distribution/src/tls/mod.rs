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

/// What a TLS failure means and what to do about it.
pub(crate) fn explain(error: &rustls::Error, origin: &Origin) -> Error {
    let host = origin.authority();
    let denied = |what: &str| Error::denied(format!("{origin}: {what}"));
    let trust = format!(
        "put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt, or list `{host}` as insecure"
    );
    match error {
        // A wrong signature is what an authority of the same name but another key looks like.
        rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => {
            denied("its certificate is signed by an unknown authority").hint(trust)
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            denied("its certificate has expired")
                .hint("renew it on the registry, and check this machine's clock")
        }
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            denied("its certificate is not valid yet").hint("check this machine's clock")
        }
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            denied(&format!("its certificate is not for `{}`", origin.host))
                .hint("use the name that the certificate carries (subjectAltName)")
        }
        rustls::Error::AlertReceived(alert) => denied(&format!("it refused our TLS ({alert:?})")).hint(format!(
            "if it asks for a client certificate: client.cert and client.key in /etc/docker/certs.d/{host}/"
        )),
        rustls::Error::InvalidMessage(_) => denied("it does not speak TLS")
            .hint(format!("if it speaks plain HTTP, list `{host}` as insecure")),
        other => denied(&format!("TLS failed: {other}")).hint(trust),
    }
}
