//! How gRPC and gRPC-Web calls are made: with the generated clients, and by
//! hand over HTTP/1.1, as from a browser.

use dromos_proto::v1::{
    CheckConnectionRequest, CreateApiKeyRequest, CreateProviderRequest, CreateWebhookRequest,
    CreateWorkspaceRequest, DeleteApiKeyRequest, DeleteProviderRequest, DeleteWorkspaceRequest,
    GetApiKeyRequest, GetConnectionRequest, GetProviderRequest, GetTokenRequest, GetWebhookRequest,
    GetWorkspaceRequest, ListApiKeysRequest, ListAuditEventsRequest, ListConnectionsRequest,
    ListKeysRequest, ListProvidersRequest, ListWebhooksRequest, ListWorkspacesRequest,
    ReconnectConnectionRequest, RefreshConnectionRequest, ReplayWebhookDeliveryRequest,
    RequestConnectionRequest, RevokeConnectionRequest, RotateKeysRequest, UpdateProviderRequest,
    UpdateWorkspaceRequest, access_service_client::AccessServiceClient,
    audit_service_client::AuditServiceClient, connection_service_client::ConnectionServiceClient,
    key_service_client::KeyServiceClient, provider_service_client::ProviderServiceClient,
    webhook_service_client::WebhookServiceClient, workspace_service_client::WorkspaceServiceClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use tonic::{Code, Request, Status, body::Body, metadata::MetadataMap};

/// The encoded answer, or the error; and the headers that came first.
pub type Answered = (Result<Vec<u8>, Status>, HeaderMap);

/// HTTP/2 without TLS. A `tonic` channel would end the call at `grpc-timeout`
/// by itself; here only the server does.
fn http2() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

macro_rules! generated {
    ($($client:ident { $($rpc:literal => $method:ident($request:ty),)* })*) => {
        /// gRPC, by the generated client that has this method.
        pub async fn generated(
            rpc: &str,
            base: &str,
            headers: HeaderMap,
            message: &[u8],
        ) -> Answered {
            let origin = base.parse().expect("a URI");
            match rpc {
                $($($rpc => {
                    let mut client = $client::with_origin(http2(), origin);
                    let message = <$request>::decode(message).expect("the encoded message");
                    let mut request = Request::new(message);
                    *request.metadata_mut() = MetadataMap::from_headers(headers);
                    match client.$method(request).await {
                        Ok(response) => {
                            let (headers, message, _) = response.into_parts();
                            (Ok(message.encode_to_vec()), headers.into_headers())
                        }
                        Err(status) => {
                            let headers = status.metadata().clone().into_headers();
                            (Err(status), headers)
                        }
                    }
                })*)*
                other => panic!("no generated client has {other}"),
            }
        }
    };
}

generated! {
    ConnectionServiceClient {
        "dromos.v1.ConnectionService/RequestConnection" => request_connection(RequestConnectionRequest),
        "dromos.v1.ConnectionService/CheckConnection" => check_connection(CheckConnectionRequest),
        "dromos.v1.ConnectionService/GetToken" => get_token(GetTokenRequest),
        "dromos.v1.ConnectionService/RefreshConnection" => refresh_connection(RefreshConnectionRequest),
        "dromos.v1.ConnectionService/GetConnection" => get_connection(GetConnectionRequest),
        "dromos.v1.ConnectionService/ListConnections" => list_connections(ListConnectionsRequest),
        "dromos.v1.ConnectionService/ReconnectConnection" => reconnect_connection(ReconnectConnectionRequest),
        "dromos.v1.ConnectionService/RevokeConnection" => revoke_connection(RevokeConnectionRequest),
    }
    ProviderServiceClient {
        "dromos.v1.ProviderService/ListProviders" => list_providers(ListProvidersRequest),
        "dromos.v1.ProviderService/GetProvider" => get_provider(GetProviderRequest),
        "dromos.v1.ProviderService/CreateProvider" => create_provider(CreateProviderRequest),
        "dromos.v1.ProviderService/UpdateProvider" => update_provider(UpdateProviderRequest),
        "dromos.v1.ProviderService/DeleteProvider" => delete_provider(DeleteProviderRequest),
    }
    AccessServiceClient {
        "dromos.v1.AccessService/CreateApiKey" => create_api_key(CreateApiKeyRequest),
        "dromos.v1.AccessService/GetApiKey" => get_api_key(GetApiKeyRequest),
        "dromos.v1.AccessService/ListApiKeys" => list_api_keys(ListApiKeysRequest),
        "dromos.v1.AccessService/DeleteApiKey" => delete_api_key(DeleteApiKeyRequest),
    }
    AuditServiceClient {
        "dromos.v1.AuditService/ListAuditEvents" => list_audit_events(ListAuditEventsRequest),
    }
    KeyServiceClient {
        "dromos.v1.KeyService/ListKeys" => list_keys(ListKeysRequest),
        "dromos.v1.KeyService/RotateKeys" => rotate_keys(RotateKeysRequest),
    }
    WorkspaceServiceClient {
        "dromos.v1.WorkspaceService/CreateWorkspace" => create_workspace(CreateWorkspaceRequest),
        "dromos.v1.WorkspaceService/GetWorkspace" => get_workspace(GetWorkspaceRequest),
        "dromos.v1.WorkspaceService/ListWorkspaces" => list_workspaces(ListWorkspacesRequest),
        "dromos.v1.WorkspaceService/UpdateWorkspace" => update_workspace(UpdateWorkspaceRequest),
        "dromos.v1.WorkspaceService/DeleteWorkspace" => delete_workspace(DeleteWorkspaceRequest),
    }
    WebhookServiceClient {
        "dromos.v1.WebhookService/CreateWebhook" => create_webhook(CreateWebhookRequest),
        "dromos.v1.WebhookService/GetWebhook" => get_webhook(GetWebhookRequest),
        "dromos.v1.WebhookService/ListWebhooks" => list_webhooks(ListWebhooksRequest),
        "dromos.v1.WebhookService/ReplayWebhookDelivery" => replay_webhook_delivery(ReplayWebhookDeliveryRequest),
    }
}

/// gRPC-Web: frames of a flag, a length and a body; the last one, with the top
/// bit set, holds the trailers as text.
pub async fn grpc_web(
    http: &reqwest::Client,
    rpc: &str,
    base: &str,
    headers: HeaderMap,
    message: &[u8],
) -> Answered {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("it fits").to_be_bytes());
    body.extend(message);
    let response = http
        .post(format!("{base}/{rpc}"))
        .headers(headers)
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(body)
        .send()
        .await
        .expect("the gateway answers");
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/grpc-web+proto"
    );
    let headers = response.headers().clone();
    let bytes = response.bytes().await.expect("a body");
    let (mut trailers, mut message) = (headers.clone(), None);
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let (frame, after) = after.split_at(length as usize);
        rest = after;
        if head[0] & 0x80 == 0 {
            assert!(message.replace(frame.to_vec()).is_none(), "one message");
            continue;
        }
        assert!(rest.is_empty(), "the trailers come last");
        for line in std::str::from_utf8(frame).expect("text").lines() {
            let (name, value) = line.split_once(':').expect("name:value");
            let name: HeaderName = name.parse().expect("a name");
            let value = HeaderValue::from_str(value.trim()).expect("a value");
            trailers.insert(name, value);
        }
    }
    let status = Status::from_header_map(&trailers).expect("a status");
    let result = match status.code() {
        Code::Ok => Ok(message.expect("a message")),
        _ => Err(status),
    };
    (result, headers)
}
