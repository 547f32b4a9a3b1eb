//! `dromos audit`.

mod export;
mod keys;
mod verify;

use dromos_proto::v1::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse};

use super::{PAGE_SIZE, all_pages, answer, client};
use crate::{
    arguments::{AuditArguments, AuditCommand, AuditListArguments, Output},
    client::Client,
    failure::Failure,
    json,
    output::{Cell, Table, print},
    style::Style,
    when,
};

/// Runs the command.
///
/// # Errors
///
/// What the gateway answered, or that it could not be asked.
pub async fn run(arguments: AuditArguments) -> Result<(), Failure> {
    match arguments.command {
        None => list(arguments.list).await,
        Some(AuditCommand::Export { to, gateway_url }) => export::run(to, &gateway_url).await,
        Some(AuditCommand::Verify {
            file,
            heads,
            key_file,
            audit_keys,
            output,
        }) => {
            let keys = keys::Keys::read(audit_keys.as_deref(), key_file)?;
            verify::run(&file, &heads, &keys, output)
        }
    }
}

async fn list(arguments: AuditListArguments) -> Result<(), Failure> {
    let client = client(&arguments.common)?;
    let filter = ListAuditEventsRequest {
        page_size: PAGE_SIZE,
        page_token: String::new(),
        connection_id: arguments.connection.unwrap_or_default(),
        action: arguments.action.unwrap_or_default(),
    };
    let audit_events = all_events(&client, &filter).await?;
    if arguments.common.output == Output::Json {
        let all = ListAuditEventsResponse {
            audit_events,
            next_page_token: String::new(),
        };
        return print(&json::render("ListAuditEventsResponse", &all)?);
    }
    let now = when::now();
    let header = [
        "WHEN",
        "ACTION",
        "OUTCOME",
        "USER",
        "PROVIDER",
        "CONNECTION",
    ];
    let mut table = Table::new(header, "Nothing happened yet.");
    for event in &audit_events {
        table.row([
            when::relative(event.occurred_at.as_ref(), now).into(),
            (&event.action).into(),
            outcome(event),
            (&event.user_id).into(),
            (&event.provider_name).into(),
            (&event.connection_id).into(),
        ]);
    }
    print(&table.render(Style::of_stdout()))
}

/// All events that the filter lets through, oldest first.
///
/// # Errors
///
/// What the gateway answered, or that it could not be asked.
pub async fn all_events(
    client: &Client,
    filter: &ListAuditEventsRequest,
) -> Result<Vec<AuditEvent>, Failure> {
    all_pages(|page_token| {
        let request = ListAuditEventsRequest {
            page_token,
            ..filter.clone()
        };
        async move {
            let page = client.audit().list_audit_events(request).await;
            let page = answer(client, page)?;
            Ok((page.audit_events, page.next_page_token))
        }
    })
    .await
}

fn outcome(event: &AuditEvent) -> Cell {
    match event.reason.is_empty() {
        true => Cell::painted(&event.outcome, Style::good),
        false => Cell::painted(&format!("{} ({})", event.outcome, event.reason), Style::bad),
    }
}
