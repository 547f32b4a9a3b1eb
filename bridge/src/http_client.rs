//! Sends signed requests, and answers a 401 with a fresh credential, once.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, Uri};
use reqwest::{ClientBuilder, Request, Response, Url, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::{Bridge, Credential, Error};

/// How long connecting to the far side may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Bridge {
    /// Signs a request and sends it. If the far side answers 401, the
    /// credential is refreshed, and the request is sent once more with the new
    /// one, unless its body is a stream that can't be sent twice. The answer
    /// is the far side's, whatever its status; redirects are not followed, for
    /// a credential goes only where the caller sent it.
    ///
    /// # Errors
    ///
    /// As [`Bridge::sign`]; the transport failed; or, after a 401, the
    /// connection turns out to need its user.
    pub async fn send(&self, connection_id: &str, request: Request) -> Result<Response, Error> {
        self.destinations.check(request.url())?;
        let again = request.try_clone();
        let credential = self.credentials().get(connection_id).await?;
        let answer = self.send_signed(&credential, request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let renewed = self
            .credentials()
            .invalidate(connection_id, credential.generation())
            .await;
        match (renewed, again) {
            (Ok(renewed), Some(again)) => self.send_signed(&renewed, again).await,
            (Err(error), _) if error.withdraws_credential() => Err(error),
            // Without a newer credential the far side's answer is the answer.
            _ => Ok(answer),
        }
    }

    async fn send_signed(
        &self,
        credential: &Credential,
        mut request: Request,
    ) -> Result<Response, Error> {
        apply(credential, &mut request)?;
        // The URL may hold a credential, an error must not.
        let answer = self.http.execute(request).await;
        answer.map_err(|error| Error::Http(Arc::new(error.without_url())))
    }
}

fn apply(credential: &Credential, request: &mut Request) -> Result<(), Error> {
    let unusable = |problem| Error::Destination {
        origin: request.url().origin().ascii_serialization(),
        problem,
    };
    let uri: Uri = request
        .url()
        .as_str()
        .parse()
        .map_err(|_| unusable("the URL is no URI"))?;
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = uri;
    parts.headers = request.headers().clone();
    credential.apply(&mut parts)?;
    let url = Url::parse(&parts.uri.to_string()).map_err(|_| unusable("the URI is no URL"))?;
    *request.url_mut() = url;
    *request.headers_mut() = parts.headers;
    Ok(())
}

/// A client that trusts the platform's roots and depends on no process-wide
/// cryptography provider, changed as the caller likes, but for redirects.
#[expect(
    clippy::disallowed_methods,
    reason = "an agent's own client, which its user points where they like; the egress guard is the broker's"
)]
pub(crate) fn build(
    change: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<reqwest::Client, Error> {
    let setting = |problem: String| Error::Setting {
        setting: "HTTP client",
        problem,
    };
    let mut roots = RootCertStore::empty();
    // A root that can't be read is left out; a site that needs it is refused.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| setting(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = ClientBuilder::new()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT);
    let client = change(client).redirect(Policy::none()).build();
    client.map_err(|error| setting(error.to_string()))
}
