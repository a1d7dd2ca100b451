//! Docker's `certs.d` directories, the machine's authorities, and the TLS configuration made of both.
//!
//! `<dir>/<host[:port]>/*.crt` are authorities, `*.cert` with its `*.key` is a client certificate, exactly as
//! docker and podman read them. Invariant: a directory that is there but wrong is an error that names the file;
//! it is never skipped.

use super::TlsOptions;
use super::verifier::{AnyCertificate, Verifier};
use berth_oci::{AtPath, Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The files TLS depends on.
pub(crate) struct TlsFiles {
    directories: Vec<PathBuf>,
    system: OnceLock<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl TlsFiles {
    pub(crate) fn new(directories: Vec<PathBuf>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { directories, system: OnceLock::new(), provider }
    }

    /// The first directory for `host[:port]`.
    pub(crate) fn directory(&self, authority: &str) -> Option<PathBuf> {
        self.directories.iter().map(|d| d.join(authority)).find(|d| d.is_dir())
    }

    /// How to speak TLS with `authority`.
    pub(crate) fn client_config(&self, authority: &str, options: &TlsOptions) -> Result<Arc<ClientConfig>> {
        let options = match self.directory(authority) {
            Some(directory) => with_directory(&directory, options)?,
            None => options.clone(),
        };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|e| Error::internal("TLS cannot be set up").caused_by(e))?
            .dangerous();
        let builder = match options.skip_verify {
            true => builder.with_custom_certificate_verifier(Arc::new(AnyCertificate(self.provider.clone()))),
            false => builder
                .with_custom_certificate_verifier(Arc::new(self.verifier(authority, &options.authorities)?)),
        };
        let config = match options.identities.first() {
            Some((certificate, key)) => {
                let (chain, key) = self.identity(certificate, key)?;
                let broken = || Error::invalid(format!("the key does not fit `{}`", certificate.display()));
                builder.with_client_auth_cert(chain, key).map_err(|e| broken().caused_by(e))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    fn verifier(&self, authority: &str, files: &[PathBuf]) -> Result<Verifier> {
        let mut roots = self.system.get_or_init(system_authorities).clone();
        let mut pinned = Vec::new();
        for file in files {
            let certificates = read_certificates(file)?;
            roots.add_parsable_certificates(certificates.iter().cloned());
            pinned.extend(certificates);
        }
        Verifier::new(roots, pinned, self.provider.clone()).map_err(|e| {
            Error::denied(format!("no certificate authority is known, so `{authority}` cannot be verified"))
                .caused_by(e)
                .hint(format!(
                    "install ca-certificates, or put a ca.crt into /etc/docker/certs.d/{authority}/"
                ))
        })
    }

    fn identity(
        &self,
        certificate: &Path,
        key: &Path,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = read_certificates(certificate)?;
        let malformed = || Error::invalid(format!("`{}` holds no private key in PEM form", key.display()));
        let bytes = fs::read(key).at(key)?;
        let key_der = PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| malformed().caused_by(e))?;
        CertifiedKey::from_der(chain.clone(), key_der.clone_key(), &self.provider).map_err(|e| {
            Error::invalid(format!("`{}` is not the key of `{}`", key.display(), certificate.display()))
                .caused_by(e)
        })?;
        Ok((chain, key_der))
    }
}

/// What the distribution put into /etc/ssl. None at all is an error only once somebody needs one.
fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = fs::read(file).at(file)?;
    let malformed = || Error::invalid(format!("`{}` holds no certificate in PEM form", file.display()));
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| malformed().caused_by(e))?;
    if certificates.is_empty() {
        return Err(malformed());
    }
    Ok(certificates)
}

/// `options` and what the directory says.
fn with_directory(directory: &Path, options: &TlsOptions) -> Result<TlsOptions> {
    let mut options = options.clone();
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).at(directory)? {
        files.push(entry.at(directory)?.path());
    }
    files.sort();
    for file in &files {
        match file.extension().and_then(|e| e.to_str()) {
            Some("crt") => options.authorities.push(file.clone()),
            Some("cert") => options.identities.push((file.clone(), partner(file, "key", &files)?)),
            Some("key") => {
                partner(file, "cert", &files)?;
            }
            _ => {}
        }
    }
    Ok(options)
}

/// The other half of a client certificate.
fn partner(file: &Path, extension: &str, files: &[PathBuf]) -> Result<PathBuf> {
    let other = file.with_extension(extension);
    match files.contains(&other) {
        true => Ok(other),
        false => Err(Error::invalid(format!("`{}` has no `{}` beside it", file.display(), other.display()))
            .hint("a client certificate is a pair NAME.cert and NAME.key; an authority is called NAME.crt")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_as_docker_reads_it() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("registry.example:5000");
        fs::create_dir(&directory).unwrap();
        for name in ["ca.crt", "b.crt", "client.cert", "client.key", "README"] {
            fs::write(directory.join(name), "x").unwrap();
        }
        let files = TlsFiles::new(vec!["/nonexistent".into(), temporary.path().into()]);
        assert_eq!(files.directory("registry.example:5000"), Some(directory.clone()));
        assert_eq!(files.directory("registry.example"), None);
        let options = with_directory(&directory, &TlsOptions::default()).unwrap();
        assert_eq!(options.authorities, [directory.join("b.crt"), directory.join("ca.crt")]);
        assert_eq!(options.identities, [(directory.join("client.cert"), directory.join("client.key"))]);
        let error = files.client_config("registry.example:5000", &TlsOptions::default()).unwrap_err();
        assert!(error.to_string().contains("b.crt` holds no certificate"), "{error}");
        fs::remove_file(directory.join("client.key")).unwrap();
        let error = with_directory(&directory, &TlsOptions::default()).unwrap_err();
        assert!(error.to_string().contains("client.key"), "{error}");
    }
}
