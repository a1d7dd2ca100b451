//! Passwords and tokens, against a real registry and against servers that misuse them.

use crate::docker_registry::DockerRegistry;
use crate::hostile::{manifest_reply, quick};
use crate::image::Memory;
use crate::push_pull::{pull, push, reference};
use crate::server::{Asked, Reply, Server};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use berth_distribution::auth::Credential;
use berth_distribution::{Client, CredentialFiles, Pause, Settings};
use berth_oci::{CopyOptions, Kind, Platforms, Reference, Silent, Source, copy};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// A client whose `config.json` holds one password.
pub(crate) fn logged_in(directory: &TempDir, host: &str, username: &str, password: &str) -> Client {
    let auth = STANDARD.encode(format!("{username}:{password}"));
    with_config(directory, &format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#))
}

fn with_config(directory: &TempDir, config: &str) -> Client {
    let path = directory.path().join("config.json");
    fs::write(&path, config).unwrap();
    let credentials = CredentialFiles { docker_config: Some(path), podman: Vec::new() };
    Client::new(Settings { credentials, pause: Pause::new(|_| {}), ..Settings::default() })
}

#[test]
fn a_registry_with_a_password_file() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    // bcrypt of `s3cret:pass`.
    fs::write(&users, "me:$2b$05$abcdefghijklmnopqrstuuKqhJSfTIYV1SkiVqP0GjQATd/vnrS1a\n").unwrap();
    let section = format!("auth: {{ htpasswd: {{ realm: r, path: '{}' }} }}", users.display());
    let Some(registry) = DockerRegistry::start_with(&section) else { return };
    let image = Memory::image(1, &[1000, 2 << 20]);
    let name = reference(&registry.address, "private/app:v1");

    let error = push(&quick(), &image, &name).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(error.hint_text().unwrap().contains(&format!("`berth login {}`", registry.address)), "{error:?}");
    let wrong = logged_in(&directory, &registry.address, "me", "wrong-pw");
    let error = pull(&wrong, &name, &Silent).err().unwrap();
    assert!(error.to_string().starts_with("pull access denied for"), "{error}");
    assert!(!format!("{error:?}").contains("wrong-pw"));

    let right = logged_in(&directory, &registry.address, "me", "s3cret:pass");
    push(&right, &image, &name).unwrap();
    assert_eq!(pull(&right, &name, &Silent).unwrap().blobs.lock().unwrap().len(), 3);

    let login = |password: &str| quick().login(&registry.address, &Credential::password("me", password));
    assert!(login("s3cret:pass").unwrap().identity_token.is_none());
    let error = login("wrong-pw").unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(!format!("{error:?}").contains("wrong-pw"));
}

/// A token server for a real registry: grants what is asked, to `me` with the right password.
struct Issuer {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Issuer {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        Self { key, certificate }
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let right = format!("Basic {}", STANDARD.encode("me:pw"));
        if asked.header("authorization") != Some(right.as_str()) {
            return Reply::json(401, r#"{"details":"incorrect username or password"}"#);
        }
        let query = asked.target.split_once('?').map_or("", |(_, query)| query);
        let scopes =
            query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(|s| s.replace("%2C", ","));
        let access = scopes.map(|scope| access(&scope)).collect::<Vec<_>>().join(",");
        Reply::json(200, format!(r#"{{"token":"{}","expires_in":300}}"#, self.token(&access)))
    }

    fn token(&self, access: &str) -> String {
        let certificate = STANDARD.encode(self.certificate.der());
        let header = format!(r#"{{"typ":"JWT","alg":"ES256","x5c":["{certificate}"]}}"#);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = format!(
            r#"{{"iss":"issuer","sub":"me","aud":"service","exp":{},"nbf":{},"iat":{now},"jti":"1","access":[{access}]}}"#,
            now + 300,
            now - 10
        );
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = raw_signature(&self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// One entry of a token's `access` for `repository:name:actions`.
fn access(scope: &str) -> String {
    let (resource, actions) = scope.rsplit_once(':').unwrap();
    let (kind, name) = resource.split_once(':').unwrap();
    let actions = actions.split(',').map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"{kind}","name":"{name}","actions":[{actions}]}}"#)
}

/// JOSE wants two numbers of 32 bytes where X.509 writes them in DER.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    raw
}

#[test]
fn a_registry_with_a_token_server() {
    let issuer = Arc::new(Issuer::new());
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("bundle.pem");
    fs::write(&bundle, issuer.certificate.pem()).unwrap();
    let answering = issuer.clone();
    let tokens = Server::start(move |asked| answering.answer(asked));
    let section = format!(
        "auth: {{ token: {{ realm: 'http://{}/token', service: service, issuer: issuer, rootcertbundle: '{}' }} }}",
        tokens.host(),
        bundle.display()
    );
    let Some(registry) = DockerRegistry::start_with(&section) else { return };
    let image = Memory::image(1, &[1000, 2 << 20]);
    let (one, two) = (reference(&registry.address, "a/one:v1"), reference(&registry.address, "b/two:v1"));
    let client = logged_in(&directory, &registry.address, "me", "pw");
    push(&client, &image, &one).unwrap();
    assert_eq!(tokens.asked().len(), 1, "one token does for a whole push: {:?}", tokens.lines());

    let hints = |_: &berth_oci::Digest| -> Vec<Reference> { vec![one.clone()] };
    let options = CopyOptions { platforms: Platforms::All, jobs: 3 };
    copy(&image, &client.sink(&two, &hints, &Silent).unwrap(), &options, &Silent).unwrap();
    let mount = tokens.lines().into_iter().find(|line| line.contains("scope=repository:a/one:pull&"));
    assert!(mount.unwrap().contains("scope=repository:b/two:pull%2Cpush"), "{:?}", tokens.lines());

    let before = tokens.asked().len();
    pull(&client, &two, &Silent).unwrap();
    assert_eq!(tokens.asked().len(), before + 1, "one token does for a whole pull");

    quick().login(&registry.address, &Credential::password("me", "pw")).unwrap();
    let error = quick().login(&registry.address, &Credential::password("me", "wr0ng")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
    assert!(error.to_string().contains("incorrect username or password"), "{error:?}");
    let error = pull(&quick(), &two, &Silent).err().unwrap();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
}

fn challenge(realm: &str) -> Reply {
    let value = format!(r#"Bearer realm="{realm}",service="s",scope="repository:app:pull""#);
    Reply::json(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
        .header("WWW-Authenticate", value)
}

#[test]
fn a_registry_that_is_never_content_is_left() {
    let tokens = Server::start(|_| Reply::json(200, r#"{"token":"t0ken"}"#));
    let realm = format!("http://{}/", tokens.host());
    let registry = Server::start(move |_| challenge(&realm));
    let error = pull(&quick(), &reference(&registry.host(), "app"), &Silent).err().unwrap();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(!format!("{error:?}").contains("t0ken"));
    assert!(registry.asked().len() <= 3 && tokens.asked().len() <= 2, "{:?}", registry.lines());
}

#[test]
fn token_servers_that_misbehave_are_told() {
    for (reply, kind, words) in [
        (
            Reply::new(200, "<html>").header("Content-Type", "text/html"),
            Kind::Invalid,
            "did not answer in JSON",
        ),
        (Reply::json(200, "{}"), Kind::Unauthorized, "gave no token"),
        (Reply::json(200, r#"{"token":"a\r\nX: y"}"#), Kind::Unauthorized, "gave no token"),
        (Reply::json(200, vec![b' '; 2 << 20]), Kind::Invalid, "is larger than"),
        (Reply::new(307, "").header("Location", "/again"), Kind::Invalid, "redirects more than"),
        (Reply::new(500, ""), Kind::Unavailable, "the token server"),
    ] {
        let tokens = Server::start(move |_| reply.clone());
        let realm = format!("http://{}/", tokens.host());
        let registry = Server::start(move |_| challenge(&realm));
        let error = quick().head(&reference(&registry.host(), "app")).unwrap_err();
        assert!(format!("{error:?}").contains(words), "{error:?} should say {words}");
        assert_eq!(error.kind(), kind, "{error:?}");
    }
    let registry = Server::start(|_| challenge("file:///etc/passwd"));
    let error = quick().head(&reference(&registry.host(), "app")).unwrap_err();
    assert!(error.to_string().contains("no usable token server"), "{error}");
}

#[test]
fn an_identity_token_is_exchanged() {
    let manifest = Memory::image(1, &[1]).root().unwrap();
    let tokens = Server::start(|asked| match asked.method.as_str() {
        "POST" => Reply::json(200, r#"{"access_token":"short"}"#),
        _ => Reply::json(500, "{}"),
    });
    let realm = format!("http://{}/token", tokens.host());
    let registry = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer short") => manifest_reply(&manifest),
        _ => challenge(&realm),
    });
    let directory = tempfile::tempdir().unwrap();
    let config =
        format!(r#"{{"auths":{{"{}":{{"auth":"bWU6","identitytoken":"lo ng"}}}}}}"#, registry.host());
    with_config(&directory, &config).head(&reference(&registry.host(), "app")).unwrap();
    let form = String::from_utf8(tokens.asked()[0].body.clone()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&refresh_token=lo%20ng&client_id=berth&service=s&scope=repository:app:pull"
    );
}

#[test]
fn a_login_yields_an_identity_token_where_there_are_such() {
    let tokens = Server::start(|asked| match asked.target.contains("offline_token=true") {
        true => Reply::json(200, r#"{"token":"t","refresh_token":"keep"}"#),
        false => Reply::json(500, "{}"),
    });
    let realm = format!("http://{}/token", tokens.host());
    let registry = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer t") => Reply::json(200, "{}"),
        _ => challenge(&realm),
    });
    let answer = quick().login(&registry.host(), &Credential::password("me", "pw")).unwrap();
    assert_eq!(answer.identity_token.as_deref(), Some("keep"));
    assert!(tokens.lines()[0].contains("account=me"), "{:?}", tokens.lines());
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let manifest = Memory::image(1, &[1]).root().unwrap();
    let count = AtomicUsize::new(0);
    let tokens = Server::start(move |_| {
        Reply::json(200, format!(r#"{{"token":"t{}"}}"#, count.fetch_add(1, Ordering::SeqCst)))
    });
    let realm = format!("http://{}/token", tokens.host());
    let refused = AtomicUsize::new(0);
    let registry = Server::start(move |asked| match asked.header("authorization") {
        // The first token is revoked after its first use.
        Some("Bearer t0") if refused.fetch_add(1, Ordering::SeqCst) == 0 => manifest_reply(&manifest),
        Some("Bearer t1") => manifest_reply(&manifest),
        _ => challenge(&realm),
    });
    let (client, name) = (quick(), reference(&registry.host(), "app"));
    client.head(&name).unwrap();
    client.head(&name).unwrap();
    client.head(&name).unwrap();
    assert_eq!((tokens.asked().len(), registry.asked().len()), (2, 2 + 2 + 1));
}

#[test]
fn a_helper_keeps_secrets_and_may_be_gone() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Server::start(|asked| match asked.header("authorization") {
        Some(_) => Reply::json(403, "{}"),
        None => Reply::json(401, "{}").header("WWW-Authenticate", "Basic"),
    });
    let gone = with_config(&directory, r#"{"credsStore":"berth-none-such"}"#);
    let error = gone.head(&reference(&registry.host(), "app")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(error.hint_text().unwrap().contains("docker-credential-berth-none-such"), "{error:?}");
}
