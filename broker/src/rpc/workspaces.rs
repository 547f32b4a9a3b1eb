//! dromos.v1.WorkspaceService.

use dromos_proto::v1::{
    CreateWorkspaceRequest, DeleteWorkspaceRequest, GetWorkspaceRequest, ListWorkspacesRequest,
    ListWorkspacesResponse, UpdateWorkspaceRequest, Workspace as ProtoWorkspace,
    workspace_service_server::WorkspaceService,
};
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    convert::{Checks, parse_id, timestamp},
    field_mask,
    repeatable::once,
    split,
};
use crate::{
    domain::{
        error::{Error, Result},
        page::PageRequest,
        workspace::Workspace,
    },
    flow::workspaces,
};

#[tonic::async_trait]
impl WorkspaceService for Rpc {
    async fn create_workspace(
        &self,
        request: Request<CreateWorkspaceRequest>,
    ) -> std::result::Result<Response<ProtoWorkspace>, Status> {
        reply(self.new_workspace(request).await)
    }

    async fn get_workspace(
        &self,
        request: Request<GetWorkspaceRequest>,
    ) -> std::result::Result<Response<ProtoWorkspace>, Status> {
        reply(self.workspace(request).await)
    }

    async fn list_workspaces(
        &self,
        request: Request<ListWorkspacesRequest>,
    ) -> std::result::Result<Response<ListWorkspacesResponse>, Status> {
        reply(self.list_workspaces_page(request).await)
    }

    async fn update_workspace(
        &self,
        request: Request<UpdateWorkspaceRequest>,
    ) -> std::result::Result<Response<ProtoWorkspace>, Status> {
        reply(self.change_workspace(request).await)
    }

    async fn delete_workspace(
        &self,
        request: Request<DeleteWorkspaceRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        reply(self.drop_workspace(request).await)
    }
}

impl Rpc {
    async fn new_workspace(
        &self,
        request: Request<CreateWorkspaceRequest>,
    ) -> Result<ProtoWorkspace> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.WorkspaceService/CreateWorkspace";
        let call = || async {
            let CreateWorkspaceRequest {
                workspace,
                request_id: _,
            } = message.clone();
            let workspace = checked(workspace)?;
            let created = workspaces::create(
                &self.0,
                &caller,
                workspace.name,
                workspace.allowed_return_urls,
            )
            .await?;
            Ok(to_proto(created))
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

    async fn workspace(&self, request: Request<GetWorkspaceRequest>) -> Result<ProtoWorkspace> {
        let (_, GetWorkspaceRequest { workspace_id }) = split(request)?;
        workspaces::get(&self.0, parse_id("workspace_id", &workspace_id)?)
            .await
            .map(to_proto)
    }

    async fn list_workspaces_page(
        &self,
        request: Request<ListWorkspacesRequest>,
    ) -> Result<ListWorkspacesResponse> {
        let (
            _,
            ListWorkspacesRequest {
                page_size,
                page_token,
            },
        ) = split(request)?;
        let page = workspaces::list(&self.0, PageRequest::parse(page_size, &page_token)?).await?;
        Ok(ListWorkspacesResponse {
            workspaces: page.items.into_iter().map(to_proto).collect(),
            next_page_token: page.next_page_token,
        })
    }

    async fn change_workspace(
        &self,
        request: Request<UpdateWorkspaceRequest>,
    ) -> Result<ProtoWorkspace> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.WorkspaceService/UpdateWorkspace";
        let call = || async {
            let UpdateWorkspaceRequest {
                workspace,
                update_mask,
                request_id: _,
            } = message.clone();
            let update = workspace.ok_or_else(|| Error::invalid("workspace", "is required"))?;
            let read = workspaces::get(&self.0, parse_id("workspace.id", &update.id)?).await?;
            let merged = field_mask::apply(
                "dromos.v1.Workspace",
                &to_proto(read.clone()),
                &update,
                update_mask,
            )?;
            let ProtoWorkspace {
                id: _,
                name,
                allowed_return_urls,
                created_at: _,
            } = checked(Some(merged))?;
            let workspace = Workspace {
                name,
                allowed_return_urls,
                ..read
            };
            workspaces::update(&self.0, &caller, workspace)
                .await
                .map(to_proto)
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

    async fn drop_workspace(&self, request: Request<DeleteWorkspaceRequest>) -> Result<()> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.WorkspaceService/DeleteWorkspace";
        let call = || async {
            let DeleteWorkspaceRequest {
                workspace_id,
                force,
                request_id: _,
            } = &message;
            workspaces::delete(
                &self.0,
                &caller,
                parse_id("workspace_id", workspace_id)?,
                *force,
            )
            .await
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

fn checked(workspace: Option<ProtoWorkspace>) -> Result<ProtoWorkspace> {
    let workspace = workspace.ok_or_else(|| Error::invalid("workspace", "is required"))?;
    let mut checks = Checks::default();
    checks.required("name", &workspace.name);
    checks.list("allowed_return_urls", &workspace.allowed_return_urls);
    checks.done()?;
    Ok(workspace)
}

fn to_proto(workspace: Workspace) -> ProtoWorkspace {
    ProtoWorkspace {
        id: workspace.id.to_string(),
        name: workspace.name,
        allowed_return_urls: workspace.allowed_return_urls,
        created_at: Some(timestamp(workspace.created_at)),
    }
}
