//! The connections: one pool for each server and each way of trusting it.
//!
//! Invariant: a connection made with one TLS identity or one trust is never used for another.

use super::{BUFFER, Body, Failure, Origin, Payload, Request, Response, Scheme, fault, proxy};
use crate::settings::Settings;
use crate::tls::{TlsConnector, TlsFiles, TlsOptions};
use berth_oci::{Error, Result};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, SocksConnector, TcpConnector};
use ureq::{Agent, ProxyProtocol, http};

/// A server's headers never need more.
const HEADER_LIMIT: usize = 64 << 10;
/// Parallel layers times parallel ranges stay below it.
const IDLE_CONNECTIONS: usize = 16;

/// Agents by server and trust.
pub(crate) struct Agents {
    settings: Settings,
    tls: TlsFiles,
    known: Mutex<HashMap<(Origin, TlsOptions), Agent>>,
}

impl Agents {
    pub(crate) fn new(settings: Settings) -> Self {
        let tls = TlsFiles::new(settings.certificate_directories.clone());
        Self { settings, tls, known: Mutex::default() }
    }

    /// Whether there is a directory with certificates for this `host:port`.
    pub(crate) fn has_certificates(&self, authority: &str) -> bool {
        self.tls.directory(authority).is_some()
    }

    /// Sends `request` once, as it is, and answers whatever comes back.
    pub(crate) fn send(
        &self,
        request: &mut Request<'_>,
        authorization: Option<&str>,
        tls: &TlsOptions,
    ) -> Result<Response, Failure> {
        let origin = &request.url.origin().clone();
        let agent = self.agent(origin, tls)?;
        let mut message =
            http::Request::builder().method(request.method.as_str()).uri(request.url.to_string());
        let authorization = authorization.map(|value| ("Authorization", value));
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in headers.chain(authorization) {
            let (name, value) = super::header(name, value)?;
            message = message.header(name, value);
        }
        let shown = request.url.shown();
        let malformed = |e: http::Error| {
            Failure::fatal(Error::invalid(format!("`{shown}` is not an address")).caused_by(e))
        };
        let timeouts = &self.settings.timeouts;
        let limits = Limits {
            patience: request.patience.unwrap_or(timeouts.stall),
            dial: request.dial.unwrap_or(timeouts.connect),
        };
        let answer = match &mut request.payload {
            Payload::None => run(&agent, message.body(()).map_err(malformed)?, limits),
            Payload::Bytes(bytes) => run(&agent, message.body(&**bytes).map_err(malformed)?, limits),
            Payload::Stream(reader) => {
                let body = ureq::SendBody::from_reader(reader);
                run(&agent, message.body(body).map_err(malformed)?, limits)
            }
        };
        let (parts, body) = answer.map_err(|e| self.fault(e, origin))?.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            url: request.url.clone(),
            headers: parts.headers,
            body: Body { reader: body.into_reader(), origin: origin.clone() },
        })
    }

    fn agent(&self, origin: &Origin, tls: &TlsOptions) -> Result<Agent> {
        let key = (origin.clone(), tls.clone());
        let mut known = self.known.lock().expect("no thread panics with this lock");
        if let Some(agent) = known.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.connect_later(origin, tls)?;
        known.insert(key, agent.clone());
        Ok(agent)
    }

    /// An agent has no connection until its first request.
    fn connect_later(&self, origin: &Origin, tls: &TlsOptions) -> Result<Agent> {
        let timeouts = &self.settings.timeouts;
        let proxy = self.proxy(origin)?;
        let needs_tls = origin.scheme == Scheme::Https
            || proxy.as_ref().is_some_and(|p| p.protocol() == ProxyProtocol::Https);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(&self.settings.user_agent)
            .accept("")
            .accept_encoding("")
            .proxy(proxy)
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.stall))
            .timeout_per_write(Some(timeouts.stall))
            .max_response_header_size(HEADER_LIMIT)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER / 4)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .build();
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default());
        let resolver = DefaultResolver::default();
        Ok(match needs_tls {
            false => Agent::with_parts(config, connector, resolver),
            true => {
                let tls = TlsConnector::new(self.tls.client_config(&origin.authority(), tls)?);
                Agent::with_parts(config, connector.chain(tls), resolver)
            }
        })
    }

    fn fault(&self, error: ureq::Error, origin: &Origin) -> Failure {
        let failure = fault::of_ureq(error, origin);
        match self.proxy(origin) {
            Ok(Some(proxy)) => failure.through_proxy(&format!("{}:{}", proxy.host(), proxy.port())),
            _ => failure,
        }
    }

    fn proxy(&self, origin: &Origin) -> Result<Option<ureq::Proxy>> {
        let Some(address) = proxy::proxy_for(&self.settings.proxies, origin) else { return Ok(None) };
        let proxy = ureq::Proxy::new(address).map_err(|e| Error::from(fault::of_ureq(e, origin)))?;
        Ok(Some(proxy))
    }
}

/// The time limits of one request.
#[derive(Clone, Copy)]
struct Limits {
    patience: Duration,
    dial: Duration,
}

fn run(
    agent: &Agent,
    message: http::Request<impl ureq::AsSendBody>,
    limits: Limits,
) -> Result<http::Response<ureq::Body>, ureq::Error> {
    let request = agent.configure_request(message);
    agent.run(request.timeout_per_read(Some(limits.patience)).timeout_connect(Some(limits.dial)).build())
}
