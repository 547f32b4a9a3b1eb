//! `dromos webhooks`.

use dromos_proto::v1::{
    CreateWebhookRequest, DeleteWebhookRequest, ListWebhookDeliveriesRequest,
    ListWebhookDeliveriesResponse, ListWebhooksRequest, ListWebhooksResponse,
    ReplayWebhookDeliveryRequest, RotateWebhookSecretRequest, Webhook, WebhookDelivery,
    webhook_delivery::Status,
};

use super::{PAGE_SIZE, all_pages, answer, client, confirm};
use crate::{
    arguments::{self, Common, Output, WebhooksCommand},
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
pub async fn run(command: WebhooksCommand) -> Result<(), Failure> {
    match command {
        WebhooksCommand::List { common } => list(&common).await,
        WebhooksCommand::Create {
            url,
            event_types,
            common,
        } => {
            let webhook = Webhook {
                url,
                event_types,
                ..Webhook::default()
            };
            create(webhook, &common).await
        }
        WebhooksCommand::Delete {
            webhook_id,
            yes,
            common,
        } => {
            let client = client(&common)?;
            confirm(&format!("Delete the webhook {webhook_id}?"), yes)?;
            let request = DeleteWebhookRequest {
                webhook_id: webhook_id.clone(),
                request_id: String::new(),
            };
            answer(&client, client.webhooks().delete_webhook(request).await)?;
            match common.output {
                Output::Json => print("{}"),
                Output::Table => print(&format!("Deleted {webhook_id}.")),
            }
        }
        WebhooksCommand::RotateSecret { webhook_id, common } => {
            let client = client(&common)?;
            let request = RotateWebhookSecretRequest { webhook_id };
            let rotated = client.webhooks().rotate_webhook_secret(request).await;
            let rotated = answer(&client, rotated)?;
            if common.output == Output::Json {
                return print(&json::render("RotateWebhookSecretResponse", &rotated)?);
            }
            let until = rotated.previous_secret_until.as_ref();
            let details = details(&rotated.webhook.unwrap_or_default())
                .line("Secret", &rotated.secret)
                .line("Old secret until", when::full(until, when::now()));
            print(&details.render(Style::of_stdout()))?;
            eprintln!("\nKeep the secret now: it can't be shown again.");
            Ok(())
        }
        WebhooksCommand::Deliveries {
            webhook_id,
            status,
            common,
        } => {
            let status = status.map_or(Status::Unspecified, Status::from);
            deliveries(webhook_id, status, &common).await
        }
        WebhooksCommand::Replay {
            webhook_id,
            delivery_id,
            common,
        } => {
            let client = client(&common)?;
            let request = ReplayWebhookDeliveryRequest {
                webhook_id,
                delivery_id: delivery_id.clone(),
                request_id: String::new(),
            };
            let replayed = client.webhooks().replay_webhook_delivery(request).await;
            let replayed = answer(&client, replayed)?;
            match common.output {
                Output::Json => print(&json::render("WebhookDelivery", &replayed)?),
                Output::Table => print(&format!("{delivery_id} is sent again.")),
            }
        }
    }
}

async fn list(common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let webhooks = all_pages(|page_token| {
        let client = client.clone();
        async move {
            let request = ListWebhooksRequest {
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = answer(&client, client.webhooks().list_webhooks(request).await)?;
            Ok((page.webhooks, page.next_page_token))
        }
    })
    .await?;
    if common.output == Output::Json {
        let all = ListWebhooksResponse {
            webhooks,
            next_page_token: String::new(),
        };
        return print(&json::render("ListWebhooksResponse", &all)?);
    }
    let now = when::now();
    let header = ["ID", "URL", "EVENTS", "STATE", "CHANGED"];
    let mut table = Table::new(header, "No webhooks.");
    for webhook in &webhooks {
        table.row([
            (&webhook.id).into(),
            (&webhook.url).into(),
            events(webhook).into(),
            state(webhook),
            when::relative(webhook.updated_at.as_ref(), now).into(),
        ]);
    }
    print(&table.render(Style::of_stdout()))
}

async fn create(webhook: Webhook, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let request = CreateWebhookRequest {
        webhook: Some(webhook),
    };
    let created = answer(&client, client.webhooks().create_webhook(request).await)?;
    if common.output == Output::Json {
        return print(&json::render("CreateWebhookResponse", &created)?);
    }
    let details = details(&created.webhook.unwrap_or_default()).line("Secret", &created.secret);
    print(&details.render(Style::of_stdout()))?;
    eprintln!("\nKeep the secret now: it can't be shown again.");
    Ok(())
}

async fn deliveries(webhook_id: String, status: Status, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let deliveries = all_pages(|page_token| {
        let (client, webhook_id) = (client.clone(), webhook_id.clone());
        async move {
            let request = ListWebhookDeliveriesRequest {
                webhook_id,
                page_size: PAGE_SIZE,
                page_token,
                status: status.into(),
            };
            let page = client.webhooks().list_webhook_deliveries(request).await;
            let page = answer(&client, page)?;
            Ok((page.deliveries, page.next_page_token))
        }
    })
    .await?;
    if common.output == Output::Json {
        let all = ListWebhookDeliveriesResponse {
            deliveries,
            next_page_token: String::new(),
        };
        return print(&json::render("ListWebhookDeliveriesResponse", &all)?);
    }
    let now = when::now();
    let header = [
        "ID",
        "EVENT",
        "STATUS",
        "ATTEMPTS",
        "LAST ANSWER",
        "HAPPENED",
        "NEXT",
    ];
    let mut table = Table::new(header, "No deliveries in the last seven days.");
    for delivery in &deliveries {
        table.row([
            (&delivery.id).into(),
            (&delivery.event_type).into(),
            delivery_status(delivery.status()),
            delivery.attempts.to_string().into(),
            last_answer(delivery).into(),
            when::relative(delivery.created_at.as_ref(), now).into(),
            when::relative(delivery.next_attempt_at.as_ref(), now).into(),
        ]);
    }
    print(&table.render(Style::of_stdout()))
}

fn last_answer(delivery: &WebhookDelivery) -> String {
    match (delivery.response_status, delivery.error.as_str()) {
        (0, "") => "-".to_owned(),
        (0, error) => error.to_owned(),
        (code, _) => code.to_string(),
    }
}

fn delivery_status(status: Status) -> Cell {
    let paint = match status {
        Status::Delivered => Style::good,
        Status::Pending => Style::waiting,
        Status::Dead => Style::bad,
        Status::Unspecified => Style::dim,
    };
    Cell::painted(status.as_str_name(), paint)
}

fn state(webhook: &Webhook) -> Cell {
    match (webhook.disabled, webhook.disabled_reason.as_str()) {
        (false, _) => Cell::painted("enabled", Style::good),
        (true, "") => Cell::painted("disabled", Style::dim),
        (true, reason) => Cell::painted(&format!("disabled: {reason}"), Style::bad),
    }
}

fn events(webhook: &Webhook) -> String {
    match webhook.event_types.is_empty() {
        true => "all".to_owned(),
        false => webhook.event_types.join(" "),
    }
}

fn details(webhook: &Webhook) -> Details {
    let now = when::now();
    Details::default()
        .line("Id", &webhook.id)
        .line("URL", &webhook.url)
        .line("Events", events(webhook))
        .line("State", state(webhook))
        .line("Created", when::full(webhook.created_at.as_ref(), now))
}

impl From<arguments::DeliveryStatus> for Status {
    fn from(status: arguments::DeliveryStatus) -> Self {
        match status {
            arguments::DeliveryStatus::Pending => Self::Pending,
            arguments::DeliveryStatus::Delivered => Self::Delivered,
            arguments::DeliveryStatus::Dead => Self::Dead,
        }
    }
}
