//! TLS with authorities of our own: who is trusted, who is not, and who shows a certificate.

use crate::push_pull::reference;
use crate::server::{Reply, Server};
use berth_distribution::{Client, MirrorFiles, Pause, Settings};
use berth_oci::{Kind, Reference};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use tempfile::TempDir;

/// A certificate and its key.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn authority() -> (Pair, CertificateParams) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "an authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (Pair { certificate: parameters.self_signed(&key).unwrap(), key }, parameters)
}

fn signed(by: &(Pair, CertificateParams), name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let issuer = Issuer::from_params(&by.1, &by.0.key);
    Pair { certificate: parameters.signed_by(&key, &issuer).unwrap(), key }
}

/// As `openssl req -x509` makes it: its own authority, and marked as one.
fn self_signed(name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Pair { certificate: parameters.self_signed(&key).unwrap(), key }
}

/// A TLS end before a server that answers `reply`; ends with the process's interest in it.
struct TlsServer {
    address: SocketAddr,
}

impl TlsServer {
    fn start(pair: &Pair, clients: Option<&Pair>, reply: Reply) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.unwrap().with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.key.serialize_der()));
        let config = Arc::new(builder.with_single_cert(vec![pair.certificate.der().clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, reply) = (config.clone(), reply.clone());
                std::thread::spawn(move || answer(stream.unwrap(), config, &reply));
            }
        });
        Self { address }
    }

    fn name(&self) -> Reference {
        reference(&format!("localhost:{}", self.address.port()), "app:v1")
    }
}

/// One answer to a connection, or none to whoever does not finish the handshake.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, reply: &Reply) -> Option<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    tls.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    tls.conn.send_close_notify();
    tls.flush().ok()
}

fn found() -> Reply {
    Reply::new(200, "")
        .header("Docker-Content-Digest", format!("sha256:{}", "a".repeat(64)))
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
}

fn with_length() -> Reply {
    let mut reply = found();
    reply.headers[0].1 = "7".to_owned();
    reply
}

fn client(directory: &TempDir) -> Client {
    let certificate_directories = vec![directory.path().to_owned()];
    Client::new(Settings { certificate_directories, pause: Pause::new(|_| {}), ..Settings::default() })
}

fn write(directory: &TempDir, name: &Reference, file: &str, text: &str) {
    let place = directory.path().join(name.registry());
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(file), text).unwrap();
}

#[test]
fn an_authority_in_certs_d_is_trusted_and_another_is_not() {
    let ours = authority();
    let server = TlsServer::start(&signed(&ours, "localhost"), None, with_length());
    let (directory, name) = (tempfile::tempdir().unwrap(), server.name());
    write(&directory, &name, "ca.crt", &authority().0.certificate.pem());
    let error = client(&directory).head(&name).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("signed by an unknown authority"), "{error}");
    assert!(error.hint_text().unwrap().contains(&format!("/etc/docker/certs.d/{}/ca.crt", name.registry())));
    write(&directory, &name, "ca.crt", &ours.0.certificate.pem());
    assert_eq!(client(&directory).head(&name).unwrap().size, 7);
}

#[test]
fn a_certificate_that_signed_itself_is_trusted_if_it_is_there() {
    let pair = self_signed("localhost");
    let server = TlsServer::start(&pair, None, with_length());
    let (directory, name) = (tempfile::tempdir().unwrap(), server.name());
    write(&directory, &name, "ca.crt", &pair.certificate.pem());
    client(&directory).head(&name).unwrap();
    write(&directory, &name, "ca.crt", &self_signed("localhost").certificate.pem());
    assert_eq!(client(&directory).head(&name).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_certificate_for_another_name_is_refused_even_if_it_is_there() {
    for pair in [self_signed("elsewhere"), signed(&authority(), "elsewhere")] {
        let server = TlsServer::start(&pair, None, with_length());
        let (directory, name) = (tempfile::tempdir().unwrap(), server.name());
        write(&directory, &name, "ca.crt", &pair.certificate.pem());
        let error = client(&directory).head(&name).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("certificate is not for `localhost`"), "{error}");
    }
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (ours, clients) = (authority(), authority());
    let server = TlsServer::start(&signed(&ours, "localhost"), Some(&clients.0), with_length());
    let (directory, name) = (tempfile::tempdir().unwrap(), server.name());
    write(&directory, &name, "ca.crt", &ours.0.certificate.pem());
    let error = client(&directory).head(&name).unwrap_err();
    assert!(error.hint_text().unwrap_or_default().contains("client.cert"), "{error:?}");
    let me = signed(&clients, "me");
    write(&directory, &name, "client.cert", &me.certificate.pem());
    write(&directory, &name, "client.key", &signed(&clients, "other").key.serialize_pem());
    let error = client(&directory).head(&name).unwrap_err();
    assert!(error.to_string().contains("client.key` is not the key of"), "{error}");
    write(&directory, &name, "client.key", &me.key.serialize_pem());
    client(&directory).head(&name).unwrap();
}

#[test]
fn loopback_and_insecure_registries_are_not_verified() {
    let pair = self_signed("whatever");
    let server = TlsServer::start(&pair, None, with_length());
    Client::new(Settings::default()).head(&server.name()).unwrap();
    let plain = Server::start(|_| with_length());
    Client::new(Settings::default()).head(&reference(&plain.host(), "app")).unwrap();
}

#[test]
fn nothing_leads_from_tls_to_plain_text() {
    let ours = authority();
    let plain = Server::start(|_| with_length());
    let lead_astray = Reply::new(307, "").header("Location", format!("http://{}/v2/", plain.host()));
    let server = TlsServer::start(&signed(&ours, "localhost"), None, lead_astray);
    let (directory, name) = (tempfile::tempdir().unwrap(), server.name());
    write(&directory, &name, "ca.crt", &ours.0.certificate.pem());
    let error = client(&directory).head(&name).unwrap_err();
    assert!(error.to_string().contains("from TLS to plain HTTP"), "{error}");
    assert!(plain.asked().is_empty());
}

#[test]
fn hosts_toml_may_bring_its_own_authority() {
    let ours = authority();
    let server = TlsServer::start(&signed(&ours, "localhost"), None, with_length());
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("far.example");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("ca.pem"), ours.0.certificate.pem()).unwrap();
    let host = format!("[host.'https://localhost:{}']\nca = 'ca.pem'\n", server.address.port());
    fs::write(place.join("hosts.toml"), host).unwrap();
    let mirrors = MirrorFiles { hosts_directories: vec![directory.path().into()], ..MirrorFiles::default() };
    let client = Client::new(Settings { mirrors, ..Settings::default() });
    assert_eq!(client.head(&reference("far.example", "app")).unwrap().size, 7);
}
