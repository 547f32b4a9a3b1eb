//! dromos.broker.v1.ConnectionService.

use std::collections::BTreeMap;

use dromos_proto::{
    broker_v1::connection_service_server::ConnectionService,
    v1::{
        CheckConnectionRequest, CheckConnectionResponse, ConfirmConnectionRequest,
        Connection as ProtoConnection, CredentialPayload, GetConnectionRequest, GetTokenRequest,
        ListConnectionsRequest, ListConnectionsResponse, ReconnectConnectionRequest,
        RefreshConnectionRequest, RequestConnectionRequest, RequestConnectionResponse,
        RevokeConnectionRequest, Strategy, WatchConnectionRequest,
        connection::Status as ProtoStatus,
    },
};
use secrecy::{ExposeSecret, SecretString};
use tonic::{Request, Response, Status as GrpcStatus, metadata::MetadataValue};

use super::{
    Rpc,
    convert::{Checks, parse_id, timestamp, to_struct},
    repeatable::once,
    split, status,
};
use crate::{
    domain::{
        access::Caller,
        connection::{Connection, Status},
        error::{Error, Result},
        page::PageRequest,
    },
    flow::{
        confirm,
        connect::{self, Begun, ConnectRequest, ProviderRef},
        connections, fetch_token, revoke,
    },
};

#[tonic::async_trait]
impl ConnectionService for Rpc {
    async fn request_connection(
        &self,
        request: Request<RequestConnectionRequest>,
    ) -> std::result::Result<Response<RequestConnectionResponse>, GrpcStatus> {
        reply(self.request(request).await)
    }

    async fn check_connection(
        &self,
        request: Request<CheckConnectionRequest>,
    ) -> std::result::Result<Response<CheckConnectionResponse>, GrpcStatus> {
        reply(self.check(request).await)
    }

    async fn get_token(
        &self,
        request: Request<GetTokenRequest>,
    ) -> std::result::Result<Response<CredentialPayload>, GrpcStatus> {
        reply(self.token(request).await).map(not_to_be_stored)
    }

    async fn refresh_connection(
        &self,
        request: Request<RefreshConnectionRequest>,
    ) -> std::result::Result<Response<CredentialPayload>, GrpcStatus> {
        reply(self.refresh(request).await).map(not_to_be_stored)
    }

    async fn get_connection(
        &self,
        request: Request<GetConnectionRequest>,
    ) -> std::result::Result<Response<ProtoConnection>, GrpcStatus> {
        reply(self.get(request).await)
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> std::result::Result<Response<ListConnectionsResponse>, GrpcStatus> {
        reply(self.list(request).await)
    }

    async fn reconnect_connection(
        &self,
        request: Request<ReconnectConnectionRequest>,
    ) -> std::result::Result<Response<RequestConnectionResponse>, GrpcStatus> {
        reply(self.reconnect(request).await)
    }

    async fn revoke_connection(
        &self,
        request: Request<RevokeConnectionRequest>,
    ) -> std::result::Result<Response<ProtoConnection>, GrpcStatus> {
        reply(self.revoke(request).await)
    }

    async fn confirm_connection(
        &self,
        request: Request<ConfirmConnectionRequest>,
    ) -> std::result::Result<Response<ProtoConnection>, GrpcStatus> {
        reply(self.confirm(request).await)
    }

    type WatchConnectionStream = super::watch::Changes;

    async fn watch_connection(
        &self,
        request: Request<WatchConnectionRequest>,
    ) -> std::result::Result<Response<Self::WatchConnectionStream>, GrpcStatus> {
        reply(self.watch(request).await).map(not_to_be_stored)
    }
}

pub(super) fn reply<T>(result: Result<T>) -> std::result::Result<Response<T>, GrpcStatus> {
    result.map(Response::new).map_err(status::of)
}

/// RFC 9111 §5.2.2.5: no cache on the way keeps a credential.
fn not_to_be_stored<T>(mut response: Response<T>) -> Response<T> {
    response
        .metadata_mut()
        .insert("cache-control", MetadataValue::from_static("no-store"));
    response
}

impl Rpc {
    async fn request(
        &self,
        request: Request<RequestConnectionRequest>,
    ) -> Result<RequestConnectionResponse> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ConnectionService/RequestConnection";
        let request_id = message.request_id.clone();
        let call = || async {
            Ok(begun(
                connect::request(&self.0, &caller, connect_request(message.clone())?).await?,
            ))
        };
        once(&self.0, &caller, method, &request_id, &message, call).await
    }

    async fn check(
        &self,
        request: Request<CheckConnectionRequest>,
    ) -> Result<CheckConnectionResponse> {
        let (caller, CheckConnectionRequest { connection_id }) = split(request)?;
        let found =
            connections::get(&self.0, &caller, parse_id("connection_id", &connection_id)?).await?;
        Ok(CheckConnectionResponse {
            connection_id,
            status: proto_status(found.status).into(),
            reason: found.reason,
            updated_at: Some(timestamp(found.updated_at)),
        })
    }

    async fn token(&self, request: Request<GetTokenRequest>) -> Result<CredentialPayload> {
        let (caller, GetTokenRequest { connection_id }) = split(request)?;
        let id = parse_id("connection_id", &connection_id)?;
        fetch_token::get(&self.0, &caller, id).await.map(payload)
    }

    async fn refresh(
        &self,
        request: Request<RefreshConnectionRequest>,
    ) -> Result<CredentialPayload> {
        let (
            caller,
            RefreshConnectionRequest {
                connection_id,
                generation,
            },
        ) = split(request)?;
        let id = parse_id("connection_id", &connection_id)?;
        fetch_token::force_refresh(&self.0, &caller, id, generation)
            .await
            .map(payload)
    }

    async fn get(&self, request: Request<GetConnectionRequest>) -> Result<ProtoConnection> {
        let (caller, GetConnectionRequest { connection_id }) = split(request)?;
        let id = parse_id("connection_id", &connection_id)?;
        connections::get(&self.0, &caller, id).await.map(to_proto)
    }

    async fn list(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<ListConnectionsResponse> {
        let (caller, message) = split(request)?;
        let ListConnectionsRequest {
            page_size,
            page_token,
            user_id,
            provider_name,
            status,
        } = message;
        let page = PageRequest::parse(page_size, &page_token)?;
        let status = domain_status(status)?;
        let mut checks = Checks::default();
        checks.text("user_id", &user_id);
        checks.text("provider_name", &provider_name);
        checks.done()?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        let found = connections::list(
            &self.0,
            &caller,
            given(user_id),
            given(provider_name),
            status,
            page,
        )
        .await?;
        Ok(ListConnectionsResponse {
            connections: found.items.into_iter().map(to_proto).collect(),
            next_page_token: found.next_page_token,
        })
    }

    async fn reconnect(
        &self,
        request: Request<ReconnectConnectionRequest>,
    ) -> Result<RequestConnectionResponse> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ConnectionService/ReconnectConnection";
        let call = || async {
            let ReconnectConnectionRequest {
                connection_id,
                return_url,
                scopes,
                request_id: _,
                require_confirmation,
            } = message.clone();
            let mut checks = Checks::default();
            checks.required("return_url", &return_url);
            checks.list("scopes", &scopes);
            checks.done()?;
            let id = parse_id("connection_id", &connection_id)?;
            connect::reconnect(
                &self.0,
                &caller,
                id,
                &return_url,
                scopes,
                require_confirmation,
            )
            .await
            .map(begun)
        };
        once(
            &self.0,
            &caller,
            method,
            &message.request_id,
            &message,
            call,
        )
        .await
    }

    async fn confirm(&self, request: Request<ConfirmConnectionRequest>) -> Result<ProtoConnection> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ConnectionService/ConfirmConnection";
        let call = || async {
            let ConfirmConnectionRequest {
                connection_id,
                confirmation_code,
                request_id: _,
            } = message.clone();
            let mut checks = Checks::default();
            checks.required("confirmation_code", &confirmation_code);
            checks.done()?;
            let id = parse_id("connection_id", &connection_id)?;
            let code = SecretString::from(confirmation_code);
            confirm::confirm(&self.0, &caller, id, &code)
                .await
                .map(to_proto)
        };
        let request_id = &message.request_id;
        once(&self.0, &caller, method, request_id, &message, call).await
    }

    async fn revoke(&self, request: Request<RevokeConnectionRequest>) -> Result<ProtoConnection> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ConnectionService/RevokeConnection";
        let call = || async { self.revoke_once(&caller, &message).await };
        once(
            &self.0,
            &caller,
            method,
            &message.request_id,
            &message,
            call,
        )
        .await
    }

    async fn revoke_once(
        &self,
        caller: &Caller,
        message: &RevokeConnectionRequest,
    ) -> Result<ProtoConnection> {
        let RevokeConnectionRequest {
            connection_id,
            request_id: _,
        } = message;
        revoke::revoke(&self.0, caller, parse_id("connection_id", connection_id)?)
            .await
            .map(to_proto)
    }
}

fn connect_request(message: RequestConnectionRequest) -> Result<ConnectRequest> {
    let RequestConnectionRequest {
        user_id,
        provider_name,
        provider_id,
        scopes,
        return_url,
        connection_config,
        metadata,
        request_id: _,
        require_confirmation,
    } = message;
    let connection_config: BTreeMap<_, _> = connection_config.into_iter().collect();
    let metadata: BTreeMap<_, _> = metadata.into_iter().collect();
    let mut checks = Checks::default();
    checks.required("user_id", &user_id);
    checks.required("return_url", &return_url);
    checks.list("scopes", &scopes);
    checks.map("connection_config", &connection_config);
    checks.map("metadata", &metadata);
    match (provider_name.is_empty(), provider_id.is_empty()) {
        (true, true) => checks.wrong("provider_name", "is required, or provider_id"),
        (false, false) => checks.wrong("provider_id", "can't be given with provider_name"),
        _ => {}
    }
    checks.done()?;
    let provider = if provider_id.is_empty() {
        ProviderRef::Name(provider_name)
    } else {
        ProviderRef::Id(parse_id("provider_id", &provider_id)?)
    };
    Ok(ConnectRequest {
        user_id,
        provider,
        scopes,
        return_url,
        connection_config,
        metadata,
        require_confirmation,
    })
}

fn begun(begun: Begun) -> RequestConnectionResponse {
    RequestConnectionResponse {
        connection_id: begun.connection_id.to_string(),
        auth_url: begun.auth_url,
        state: begun.state.expose_secret().to_owned(),
        scopes: begun.scopes,
        provider_id: begun.provider_id.to_string(),
        expires_at: Some(timestamp(begun.expires_at)),
    }
}

pub(super) fn payload(payload: fetch_token::CredentialPayload) -> CredentialPayload {
    CredentialPayload {
        strategy: Some(Strategy {
            r#type: payload.strategy.kind,
            config: Some(to_struct(&payload.strategy.config)),
        }),
        credentials: Some(to_struct(&payload.credentials.0)),
        expires_at: payload.expires_at.map(timestamp),
        generation: payload.generation,
    }
}

fn to_proto(connection: Connection) -> ProtoConnection {
    ProtoConnection {
        connection_id: connection.id.to_string(),
        user_id: connection.user_id,
        provider_id: connection.provider_id.to_string(),
        provider_name: connection.provider_name,
        status: proto_status(connection.status).into(),
        reason: connection.reason,
        scopes: connection.scopes,
        connection_config: connection.connection_config.into_iter().collect(),
        metadata: connection.metadata.into_iter().collect(),
        created_at: Some(timestamp(connection.created_at)),
        updated_at: Some(timestamp(connection.updated_at)),
        expires_at: connection.expires_at.map(timestamp),
    }
}

pub(super) fn proto_status(status: Status) -> ProtoStatus {
    match status {
        Status::Pending => ProtoStatus::Pending,
        Status::Active => ProtoStatus::Active,
        Status::Attention => ProtoStatus::Attention,
        Status::Expired => ProtoStatus::Expired,
        Status::Revoked => ProtoStatus::Revoked,
        Status::Failed => ProtoStatus::Failed,
    }
}

fn domain_status(status: i32) -> Result<Option<Status>> {
    match ProtoStatus::try_from(status) {
        Ok(ProtoStatus::Unspecified) => Ok(None),
        Ok(ProtoStatus::Pending) => Ok(Some(Status::Pending)),
        Ok(ProtoStatus::Active) => Ok(Some(Status::Active)),
        Ok(ProtoStatus::Attention) => Ok(Some(Status::Attention)),
        Ok(ProtoStatus::Expired) => Ok(Some(Status::Expired)),
        Ok(ProtoStatus::Revoked) => Ok(Some(Status::Revoked)),
        Ok(ProtoStatus::Failed) => Ok(Some(Status::Failed)),
        Err(_) => Err(Error::invalid("status", "is not a status")),
    }
}
