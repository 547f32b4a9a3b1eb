//! One HTTP/1.1 exchange on one connection.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::http::response;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::BrowserError;

/// The largest page that is read, in bytes.
const MAX_PAGE: usize = 4 * 1024 * 1024;

pub(super) async fn exchange(
    url: &Url,
    mut request: Request<Full<Bytes>>,
) -> Result<(response::Parts, Bytes), BrowserError> {
    let unspoken = || BrowserError::Address(url.to_string());
    if url.scheme() != "http" {
        return Err(unspoken());
    }
    let host = match url.host().ok_or_else(unspoken)? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    *request.uri_mut() = format!("{}{query}", url.path())
        .parse::<Uri>()
        .map_err(|_| unspoken())?;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    request.headers_mut().insert(
        header::HOST,
        HeaderValue::from_str(authority).map_err(|_| unspoken())?,
    );
    let accept = HeaderValue::from_static("text/html,application/json;q=0.9,*/*;q=0.8");
    request
        .headers_mut()
        .entry(header::ACCEPT)
        .or_insert(accept);

    let broken = |error: &dyn Error| BrowserError::Connection {
        url: url.clone(),
        reason: error.to_string(),
    };
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| broken(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // It ends by itself once the sender and the body are gone, also when this future is dropped.
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_PAGE)
        .collect()
        .await
        .map_err(|error| broken(error.as_ref()))?;
    Ok((parts, body.to_bytes()))
}
