//! dromos.v1.AccessService.

use dromos_proto::v1::{
    ApiKey as ProtoApiKey, CreateApiKeyRequest, CreateApiKeyResponse, DeleteApiKeyRequest,
    GetApiKeyRequest, ListApiKeysRequest, ListApiKeysResponse,
    access_service_server::AccessService,
};
use secrecy::ExposeSecret;
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    convert::{Checks, parse_id, parse_timestamp, timestamp},
    repeatable::once,
    split,
};
use crate::{
    domain::{
        access::{ApiKey, Scope},
        error::{Error, Result},
        page::PageRequest,
    },
    flow::access::{self, NewApiKey},
};

#[tonic::async_trait]
impl AccessService for Rpc {
    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> std::result::Result<Response<CreateApiKeyResponse>, Status> {
        reply(self.new_api_key(request).await)
    }

    async fn get_api_key(
        &self,
        request: Request<GetApiKeyRequest>,
    ) -> std::result::Result<Response<ProtoApiKey>, Status> {
        reply(self.api_key(request).await)
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> std::result::Result<Response<ListApiKeysResponse>, Status> {
        reply(self.list_api_keys_page(request).await)
    }

    async fn delete_api_key(
        &self,
        request: Request<DeleteApiKeyRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        reply(self.drop_api_key(request).await)
    }
}

impl Rpc {
    async fn new_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<CreateApiKeyResponse> {
        let (
            caller,
            CreateApiKeyRequest {
                name,
                scopes,
                expires_at,
                workspace_id,
            },
        ) = split(request)?;
        let mut checks = Checks::default();
        checks.required("name", &name);
        if scopes.is_empty() {
            checks.wrong("scopes", "is required");
        }
        checks.done()?;
        let known = || {
            let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
            Error::invalid(
                "scopes",
                format!("holds what is not one of {}", all.join(", ")),
            )
        };
        let mut scopes = scopes
            .iter()
            .map(|scope| scope.parse().map_err(|_| known()))
            .collect::<Result<Vec<Scope>>>()?;
        scopes.sort();
        scopes.dedup();
        let new = NewApiKey {
            name,
            scopes,
            expires_at: expires_at
                .map(|time| parse_timestamp("expires_at", time))
                .transpose()?,
            workspace_id: match workspace_id.as_str() {
                "" => None,
                id => Some(parse_id("workspace_id", id)?),
            },
        };
        let (key, secret) = access::create(&self.0, &caller, new).await?;
        Ok(CreateApiKeyResponse {
            api_key: Some(to_proto(key)),
            secret: secret.expose_secret().to_owned(),
        })
    }

    async fn api_key(&self, request: Request<GetApiKeyRequest>) -> Result<ProtoApiKey> {
        let (caller, GetApiKeyRequest { api_key_id }) = split(request)?;
        access::get(&self.0, &caller, parse_id("api_key_id", &api_key_id)?)
            .await
            .map(to_proto)
    }

    async fn list_api_keys_page(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<ListApiKeysResponse> {
        let (
            caller,
            ListApiKeysRequest {
                page_size,
                page_token,
            },
        ) = split(request)?;
        let page = access::list(
            &self.0,
            &caller,
            PageRequest::parse(page_size, &page_token)?,
        )
        .await?;
        Ok(ListApiKeysResponse {
            api_keys: page.items.into_iter().map(to_proto).collect(),
            next_page_token: page.next_page_token,
        })
    }

    async fn drop_api_key(&self, request: Request<DeleteApiKeyRequest>) -> Result<()> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.AccessService/DeleteApiKey";
        let call = || async {
            let DeleteApiKeyRequest {
                api_key_id,
                request_id: _,
            } = &message;
            access::delete(&self.0, &caller, parse_id("api_key_id", api_key_id)?).await
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
}

fn to_proto(key: ApiKey) -> ProtoApiKey {
    ProtoApiKey {
        id: key.id.to_string(),
        workspace_id: key.workspace_id.to_string(),
        name: key.name,
        scopes: key.scopes.iter().map(ToString::to_string).collect(),
        created_at: Some(timestamp(key.created_at)),
        expires_at: key.expires_at.map(timestamp),
        last_used_at: key.last_used_at.map(timestamp),
    }
}
