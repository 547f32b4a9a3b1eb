use std::{net::SocketAddr, time::Duration};

use dromos_proto::v1::{
    CheckConnectionRequest, CheckConnectionResponse,
    connection_service_client::ConnectionServiceClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tonic::{Code, Status, metadata::MetadataMap, transport::Channel};
use tonic_types::StatusExt;

const CHECK: &str = "/dromos.v1.ConnectionService/CheckConnection";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Grpc,
    GrpcWeb,
    Rest,
}

pub const VIAS: [Via; 3] = [Via::Grpc, Via::GrpcWeb, Via::Rest];

/// An answer, the same whichever way it came.
#[derive(Debug)]
pub struct Answer {
    pub code: Code,
    /// Of REST: the HTTP status.
    pub http: Option<u16>,
    pub message: String,
    pub reason: Option<String>,
    pub retry: Option<Duration>,
    pub connection_id: Option<String>,
    pub headers: HeaderMap,
}

impl Answer {
    /// Asserts the code, its HTTP status where there is one, and the reason.
    #[track_caller]
    pub fn expect(&self, code: Code, http: u16, reason: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.http.is_none_or(|status| status == http), "{self:?}");
        assert_eq!(self.reason.as_deref(), Some(reason), "{self:?}");
    }
}

impl Via {
    /// CheckConnection for `conn-1`, with these headers.
    pub async fn check(
        self,
        gateway: impl Into<SocketAddr>,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        self.check_id(gateway, "conn-1", headers).await
    }

    pub async fn check_id(
        self,
        gateway: impl Into<SocketAddr>,
        id: &str,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let gateway = format!("http://{}", gateway.into());
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let message = CheckConnectionRequest {
            connection_id: id.to_owned(),
        };
        match self {
            Self::Grpc => grpc(gateway, message, headers).await,
            Self::GrpcWeb => grpc_web(gateway, &message, headers).await,
            Self::Rest => rest(gateway, id, headers).await,
        }
    }

    /// The same with the caller's key.
    pub async fn check_with_key(self, gateway: impl Into<SocketAddr>) -> Answer {
        self.check(
            gateway,
            &[("authorization", &format!("Bearer {}", super::KEY))],
        )
        .await
    }
}

/// A client for HTTP/1.1, which gRPC-Web and REST must do with.
pub fn http1() -> reqwest::Client {
    // Fails where another test was first; it set the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

fn answer(result: Result<CheckConnectionResponse, Status>, headers: HeaderMap) -> Answer {
    match result {
        Ok(message) => Answer {
            code: Code::Ok,
            http: None,
            message: String::new(),
            reason: None,
            retry: None,
            connection_id: Some(message.connection_id),
            headers,
        },
        Err(status) => {
            let details = status.get_error_details();
            Answer {
                code: status.code(),
                http: None,
                message: status.message().to_owned(),
                reason: details.error_info().map(|info| info.reason.clone()),
                retry: details.retry_info().and_then(|info| info.retry_delay),
                connection_id: None,
                headers,
            }
        }
    }
}

async fn grpc(gateway: String, message: CheckConnectionRequest, headers: HeaderMap) -> Answer {
    let channel = Channel::from_shared(gateway).unwrap().connect_lazy();
    let mut client = ConnectionServiceClient::new(channel);
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    match client.check_connection(request).await {
        Ok(response) => {
            let (metadata, message, _) = response.into_parts();
            answer(Ok(message), metadata.into_headers())
        }
        Err(status) => {
            let headers = status.metadata().clone().into_headers();
            answer(Err(status), headers)
        }
    }
}

async fn grpc_web(gateway: String, message: &CheckConnectionRequest, headers: HeaderMap) -> Answer {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let call = http1()
        .post(format!("{gateway}{CHECK}"))
        .headers(headers)
        .header("content-type", "application/grpc-web+proto")
        .body(body);
    let response = call.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let headers = response.headers().clone();
    let mut trailers = headers.clone();
    let mut message = CheckConnectionResponse::default();
    let mut rest = &response.bytes().await.unwrap()[..];
    while let Some((head, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let (frame, after) = after.split_at(length);
        if head[0] & 0x80 == 0 {
            message = CheckConnectionResponse::decode(frame).unwrap();
        } else {
            for line in std::str::from_utf8(frame).unwrap().lines() {
                let (name, value) = line.split_once(':').unwrap();
                let name: HeaderName = name.parse().unwrap();
                trailers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        rest = after;
    }
    let status = Status::from_header_map(&trailers).unwrap();
    let ok = status.code() == Code::Ok;
    answer(if ok { Ok(message) } else { Err(status) }, headers)
}

async fn rest(gateway: String, id: &str, headers: HeaderMap) -> Answer {
    let url = format!("{gateway}/v1/check-connection/{id}");
    let response = http1().get(url).headers(headers).send().await.unwrap();
    let http = response.status().as_u16();
    let headers = response.headers().clone();
    let body: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let detail = |kind: &str| {
        let details = body["details"].as_array()?;
        details
            .iter()
            .find(|detail| detail["@type"].as_str().unwrap().ends_with(kind))
            .cloned()
    };
    let code = if http == 200 {
        0
    } else {
        i32::try_from(body["code"].as_i64().unwrap()).unwrap()
    };
    Answer {
        code: Code::from_i32(code),
        http: Some(http),
        message: text(&body["message"]).unwrap_or_default(),
        reason: detail("google.rpc.ErrorInfo").and_then(|info| text(&info["reason"])),
        retry: detail("google.rpc.RetryInfo").map(|info| {
            let delay = text(&info["retryDelay"])
                .or_else(|| text(&info["retry_delay"]))
                .unwrap();
            Duration::from_secs_f64(delay.trim_end_matches('s').parse().unwrap())
        }),
        connection_id: text(&body["connection_id"]),
        headers,
    }
}
