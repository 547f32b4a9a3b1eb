//! `dromos connections`.

use dromos_proto::v1::{
    Connection, GetConnectionRequest, ListConnectionsRequest, ListConnectionsResponse,
    RevokeConnectionRequest, connection::Status,
};

use super::{PAGE_SIZE, all_pages, answer, client, confirm};
use crate::{
    arguments::{self, Common, ConnectionsCommand, Output},
    failure::Failure,
    json,
    output::{Cell, Details, Table, print},
    style::Style,
    when,
};

/// Runs the command.
///
/// # Errors
///
/// What the gateway answered, or that it could not be asked.
pub async fn run(command: ConnectionsCommand) -> Result<(), Failure> {
    match command {
        ConnectionsCommand::List {
            user,
            provider,
            status,
            common,
        } => {
            let filter = ListConnectionsRequest {
                page_size: PAGE_SIZE,
                page_token: String::new(),
                user_id: user.unwrap_or_default(),
                provider_name: provider.unwrap_or_default(),
                status: status.map_or(Status::Unspecified, Status::from).into(),
            };
            list(filter, &common).await
        }
        ConnectionsCommand::Get {
            connection_id,
            common,
        } => {
            let client = client(&common)?;
            let request = GetConnectionRequest { connection_id };
            let got = client.connections().get_connection(request).await;
            show(&answer(&client, got)?, common.output)
        }
        ConnectionsCommand::Watch {
            connection_id,
            common,
        } => super::watch::run(connection_id, &common).await,
        ConnectionsCommand::Revoke {
            connection_id,
            yes,
            common,
        } => {
            let client = client(&common)?;
            confirm(&format!("Revoke {connection_id} for good?"), yes)?;
            let request = RevokeConnectionRequest {
                connection_id,
                request_id: String::new(),
            };
            let revoked = client.connections().revoke_connection(request).await;
            show(&answer(&client, revoked)?, common.output)
        }
    }
}

async fn list(filter: ListConnectionsRequest, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let connections = all_pages(|page_token| {
        let (client, request) = (
            client.clone(),
            ListConnectionsRequest {
                page_token,
                ..filter.clone()
            },
        );
        async move {
            let page = client.connections().list_connections(request).await;
            let page = answer(&client, page)?;
            Ok((page.connections, page.next_page_token))
        }
    })
    .await?;
    if common.output == Output::Json {
        let all = ListConnectionsResponse {
            connections,
            next_page_token: String::new(),
        };
        return print(&json::render("ListConnectionsResponse", &all)?);
    }
    let now = when::now();
    let header = ["CONNECTION", "PROVIDER", "USER", "STATUS", "CHANGED"];
    let mut table = Table::new(header, "No connections.");
    for connection in &connections {
        table.row([
            (&connection.connection_id).into(),
            (&connection.provider_name).into(),
            (&connection.user_id).into(),
            status_cell(connection.status()),
            when::relative(connection.updated_at.as_ref(), now).into(),
        ]);
    }
    print(&table.render(Style::of_stdout()))
}

fn show(connection: &Connection, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print(&json::render("Connection", connection)?);
    }
    let now = when::now();
    let mut details = Details::default()
        .line("Connection", &connection.connection_id)
        .line("Status", status_cell(connection.status()))
        .line("Reason", &connection.reason)
        .line("User", &connection.user_id)
        .line("Provider", &connection.provider_name)
        .line("Scopes", connection.scopes.join(" "))
        .line("Created", when::full(connection.created_at.as_ref(), now))
        .line("Changed", when::full(connection.updated_at.as_ref(), now))
        .line("Expires", when::full(connection.expires_at.as_ref(), now));
    for (kind, values) in [
        ("config", &connection.connection_config),
        ("metadata", &connection.metadata),
    ] {
        let mut values: Vec<_> = values.iter().collect();
        values.sort();
        for (name, value) in values {
            details = details.line(&format!("{kind}.{name}"), value);
        }
    }
    print(&details.render(Style::of_stdout()))
}

fn status_cell(status: Status) -> Cell {
    let paint = match status {
        Status::Active => Style::good,
        Status::Pending => Style::waiting,
        Status::Attention | Status::Expired | Status::Failed => Style::bad,
        Status::Revoked | Status::Unspecified => Style::dim,
    };
    Cell::painted(status.as_str_name(), paint)
}

impl From<arguments::Status> for Status {
    fn from(status: arguments::Status) -> Self {
        match status {
            arguments::Status::Pending => Self::Pending,
            arguments::Status::Active => Self::Active,
            arguments::Status::Attention => Self::Attention,
            arguments::Status::Expired => Self::Expired,
            arguments::Status::Revoked => Self::Revoked,
            arguments::Status::Failed => Self::Failed,
        }
    }
}
