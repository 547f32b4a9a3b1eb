//! dromos.v1.ProviderService.

use dromos_proto::v1::{
    CreateProviderRequest, DeleteProviderRequest, GetProviderRequest, ListProvidersRequest,
    ListProvidersResponse, Provider as ProtoProvider, UpdateProviderRequest,
    provider_service_server::ProviderService,
};
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    field_mask,
    provider_convert::{from_proto, to_proto},
    repeatable::once,
    split,
};
use crate::{
    domain::{
        error::{Error, Result},
        page::PageRequest,
    },
    flow::providers,
};

#[tonic::async_trait]
impl ProviderService for Rpc {
    async fn list_providers(
        &self,
        request: Request<ListProvidersRequest>,
    ) -> std::result::Result<Response<ListProvidersResponse>, Status> {
        reply(self.list_providers_page(request).await)
    }

    async fn get_provider(
        &self,
        request: Request<GetProviderRequest>,
    ) -> std::result::Result<Response<ProtoProvider>, Status> {
        reply(self.provider(request).await)
    }

    async fn create_provider(
        &self,
        request: Request<CreateProviderRequest>,
    ) -> std::result::Result<Response<ProtoProvider>, Status> {
        reply(self.new_provider(request).await)
    }

    async fn update_provider(
        &self,
        request: Request<UpdateProviderRequest>,
    ) -> std::result::Result<Response<ProtoProvider>, Status> {
        reply(self.change_provider(request).await)
    }

    async fn delete_provider(
        &self,
        request: Request<DeleteProviderRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        reply(self.drop_provider(request).await)
    }
}

impl Rpc {
    async fn list_providers_page(
        &self,
        request: Request<ListProvidersRequest>,
    ) -> Result<ListProvidersResponse> {
        let (
            caller,
            ListProvidersRequest {
                page_size,
                page_token,
            },
        ) = split(request)?;
        let page = providers::list(
            &self.0,
            &caller,
            PageRequest::parse(page_size, &page_token)?,
        )
        .await?;
        Ok(ListProvidersResponse {
            providers: page
                .items
                .iter()
                .map(|provider| to_proto(provider, &self.0.base_url))
                .collect(),
            next_page_token: page.next_page_token,
        })
    }

    async fn provider(&self, request: Request<GetProviderRequest>) -> Result<ProtoProvider> {
        let (caller, GetProviderRequest { name }) = split(request)?;
        let provider = providers::get(&self.0, &caller, &name).await?;
        Ok(to_proto(&provider, &self.0.base_url))
    }

    async fn new_provider(&self, request: Request<CreateProviderRequest>) -> Result<ProtoProvider> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ProviderService/CreateProvider";
        let call = || async {
            let CreateProviderRequest {
                provider,
                request_id: _,
            } = message.clone();
            let provider = provider.ok_or_else(|| Error::invalid("provider", "is required"))?;
            let (name, definition, client_secret) = from_proto(provider)?;
            let provider =
                providers::create(&self.0, &caller, name, definition, client_secret).await?;
            Ok(to_proto(&provider, &self.0.base_url))
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

    async fn change_provider(
        &self,
        request: Request<UpdateProviderRequest>,
    ) -> Result<ProtoProvider> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ProviderService/UpdateProvider";
        let call = || async {
            let UpdateProviderRequest {
                provider,
                update_mask,
                request_id: _,
            } = message.clone();
            let mut update = provider.ok_or_else(|| Error::invalid("provider", "is required"))?;
            let read = providers::get(&self.0, &caller, &update.name).await?;
            update.name.clone_from(&read.name);
            let current = to_proto(&read, &self.0.base_url);
            let merged = field_mask::apply("dromos.v1.Provider", &current, &update, update_mask)?;
            let (_, definition, client_secret) = from_proto(ProtoProvider {
                name: read.name.clone(),
                ..merged
            })?;
            let provider =
                providers::update(&self.0, &caller, read, definition, client_secret).await?;
            Ok(to_proto(&provider, &self.0.base_url))
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

    async fn drop_provider(&self, request: Request<DeleteProviderRequest>) -> Result<()> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.ProviderService/DeleteProvider";
        let call = || async {
            let DeleteProviderRequest {
                name,
                force,
                request_id: _,
            } = &message;
            providers::delete(&self.0, &caller, name, *force).await
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
