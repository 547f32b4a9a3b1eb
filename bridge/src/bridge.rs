//! Signs outgoing requests with the credential of a connection.

use std::{fmt, mem, sync::Arc};

use http::request::Parts;
use reqwest::ClientBuilder;

use crate::{
    Clock, Credential, Credentials, Error, Gateway, SystemClock,
    destination::{self, Destinations},
    http_client,
};

/// How many connections a bridge remembers, if not told otherwise.
const CAPACITY: usize = 10_000;

/// Signs outgoing requests with the credential of a connection. Cheap to
/// clone; the clones share the cache and the HTTP client.
///
/// Credentials go to https and to this machine only. To *which* service they
/// go is for the caller to say: the gateway's answer doesn't name it. Without
/// [`Bridge::only_to`], a request is signed wherever it goes, and no origin is
/// remembered from an earlier one.
#[derive(Clone)]
pub struct Bridge {
    credentials: Credentials,
    pub(crate) http: reqwest::Client,
    pub(crate) destinations: Arc<Destinations>,
}

impl Bridge {
    /// A bridge as the environment says: `GATEWAY_URL` and `DROMOS_API_KEY`.
    /// Must run within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] names what is missing or malformed.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder(Gateway::from_env()?).build()
    }

    /// Begins a bridge over a gateway.
    pub fn builder(gateway: Gateway) -> BridgeBuilder {
        BridgeBuilder {
            gateway,
            clock: Arc::new(SystemClock),
            capacity: CAPACITY,
            http: Box::new(|client| client),
            allow_plaintext: false,
        }
    }

    /// The same bridge, for requests to these origins only (scheme, host and
    /// port, exact: `https://api.acme.test`). It shares the cache, so one
    /// narrowed bridge for each provider costs nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where an origin is not one.
    pub fn only_to<'a>(&self, origins: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let origins = origins
            .into_iter()
            .map(destination::origin)
            .collect::<Result<_, _>>()?;
        let allow_plaintext = self.destinations.allow_plaintext;
        let destinations = Arc::new(Destinations {
            allow_plaintext,
            origins: Some(origins),
        });
        Ok(Self {
            destinations,
            ..self.clone()
        })
    }

    /// The credentials and their cache.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Signs a request whose URI is absolute; the caller sends it. Returns the
    /// credential's generation: if the far side answers 401, hand that to
    /// [`Credentials::invalidate`], sign anew and send once more.
    ///
    /// # Errors
    ///
    /// The destination is refused, no credential is to be had, or it doesn't
    /// fit its strategy. The request is then as it was.
    pub async fn sign<B>(
        &self,
        connection_id: &str,
        request: &mut http::Request<B>,
    ) -> Result<u32, Error> {
        self.destinations.check_uri(request.uri())?;
        let credential = self.credentials.get(connection_id).await?;
        apply(&credential, request)?;
        Ok(credential.generation())
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bridge")
            .field("credentials", &self.credentials)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

/// Applies a credential in place: `Parts` can't be borrowed from a request.
fn apply<B>(credential: &Credential, request: &mut http::Request<B>) -> Result<(), Error> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    swap(request, &mut parts);
    let applied = credential.apply(&mut parts);
    swap(request, &mut parts);
    Ok(applied?)
}

fn swap<B>(request: &mut http::Request<B>, parts: &mut Parts) {
    mem::swap(request.method_mut(), &mut parts.method);
    mem::swap(request.uri_mut(), &mut parts.uri);
    mem::swap(request.version_mut(), &mut parts.version);
    mem::swap(request.headers_mut(), &mut parts.headers);
    mem::swap(request.extensions_mut(), &mut parts.extensions);
}

/// The settings of a [`Bridge`].
pub struct BridgeBuilder {
    gateway: Gateway,
    clock: Arc<dyn Clock>,
    capacity: usize,
    http: Box<dyn FnOnce(ClientBuilder) -> ClientBuilder + Send>,
    allow_plaintext: bool,
}

impl BridgeBuilder {
    /// Tells the time by another clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Remembers the credentials of at most this many connections (10 000).
    pub fn capacity(mut self, connections: usize) -> Self {
        self.capacity = connections;
        self
    }

    /// Changes the HTTP client before it is made: its timeouts, its proxy. As
    /// given it trusts the platform's roots. Redirects are never followed,
    /// whatever is set here.
    pub fn http_client(
        mut self,
        change: impl FnOnce(ClientBuilder) -> ClientBuilder + Send + 'static,
    ) -> Self {
        self.http = Box::new(change);
        self
    }

    /// Allows credentials to go in plaintext beyond this machine. Anyone on
    /// the way can then read them: only for a network that encrypts by itself.
    pub fn allow_plaintext(mut self, allow: bool) -> Self {
        self.allow_plaintext = allow;
        self
    }

    /// Makes the bridge.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the HTTP client can't be made.
    pub fn build(self) -> Result<Bridge, Error> {
        Ok(Bridge {
            credentials: Credentials::new(self.gateway, self.clock, self.capacity),
            http: http_client::build(self.http)?,
            destinations: Arc::new(Destinations {
                allow_plaintext: self.allow_plaintext,
                origins: None,
            }),
        })
    }
}

impl fmt::Debug for BridgeBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BridgeBuilder")
            .field("gateway", &self.gateway)
            .field("capacity", &self.capacity)
            .field("allow_plaintext", &self.allow_plaintext)
            .finish_non_exhaustive()
    }
}
