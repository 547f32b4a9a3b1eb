//! `dromos api-keys`.

use dromos_proto::v1::{
    ApiKey, CreateApiKeyRequest, DeleteApiKeyRequest, GetApiKeyRequest, ListApiKeysRequest,
    ListApiKeysResponse,
};

use super::{PAGE_SIZE, all_pages, answer, client, confirm};
use crate::{
    arguments::{ApiKeysCommand, Common, Output},
    failure::Failure,
    json,
    output::{Details, Table, print},
    style::Style,
    when,
};

/// Runs the command.
///
/// # Errors
///
/// What the gateway answered, or that it could not be asked.
pub async fn run(command: ApiKeysCommand) -> Result<(), Failure> {
    match command {
        ApiKeysCommand::List { common } => list(&common).await,
        ApiKeysCommand::Create {
            name,
            scopes,
            expires_in,
            common,
        } => {
            let request = CreateApiKeyRequest {
                name,
                scopes,
                expires_at: expires_in.map(|time| when::timestamp(when::now() + time)),
                workspace_id: String::new(),
            };
            create(request, &common).await
        }
        ApiKeysCommand::Get { api_key_id, common } => {
            let client = client(&common)?;
            let request = GetApiKeyRequest { api_key_id };
            let api_key = answer(&client, client.access().get_api_key(request).await)?;
            match common.output {
                Output::Json => print(&json::render("ApiKey", &api_key)?),
                Output::Table => print(&details(&api_key).render(Style::of_stdout())),
            }
        }
        ApiKeysCommand::Delete {
            api_key_id,
            yes,
            common,
        } => {
            let client = client(&common)?;
            confirm(&format!("Delete the API key {api_key_id}?"), yes)?;
            let request = DeleteApiKeyRequest {
                api_key_id: api_key_id.clone(),
                request_id: String::new(),
            };
            answer(&client, client.access().delete_api_key(request).await)?;
            match common.output {
                Output::Json => print("{}"),
                Output::Table => print(&format!("Deleted {api_key_id}.")),
            }
        }
    }
}

async fn list(common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let api_keys = all_pages(|page_token| {
        let client = client.clone();
        async move {
            let request = ListApiKeysRequest {
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = client.access().list_api_keys(request).await;
            let page = answer(&client, page)?;
            Ok((page.api_keys, page.next_page_token))
        }
    })
    .await?;
    if common.output == Output::Json {
        let all = ListApiKeysResponse {
            api_keys,
            next_page_token: String::new(),
        };
        return print(&json::render("ListApiKeysResponse", &all)?);
    }
    let now = when::now();
    let header = ["ID", "NAME", "SCOPES", "LAST USED", "EXPIRES"];
    let mut table = Table::new(header, "No API keys.");
    for api_key in &api_keys {
        table.row([
            (&api_key.id).into(),
            (&api_key.name).into(),
            api_key.scopes.join(" ").into(),
            when::relative(api_key.last_used_at.as_ref(), now).into(),
            when::relative(api_key.expires_at.as_ref(), now).into(),
        ]);
    }
    print(&table.render(Style::of_stdout()))
}

async fn create(request: CreateApiKeyRequest, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let created = answer(&client, client.access().create_api_key(request).await)?;
    if common.output == Output::Json {
        return print(&json::render("CreateApiKeyResponse", &created)?);
    }
    let api_key = created.api_key.unwrap_or_default();
    let details = details(&api_key).line("Secret", &created.secret);
    print(&details.render(Style::of_stdout()))?;
    eprintln!("\nKeep the secret now: it can't be shown again.");
    Ok(())
}

fn details(api_key: &ApiKey) -> Details {
    let now = when::now();
    Details::default()
        .line("Id", &api_key.id)
        .line("Name", &api_key.name)
        .line("Scopes", api_key.scopes.join(" "))
        .line("Workspace", &api_key.workspace_id)
        .line("Created", when::full(api_key.created_at.as_ref(), now))
        .line("Expires", when::full(api_key.expires_at.as_ref(), now))
        .line("Last used", when::full(api_key.last_used_at.as_ref(), now))
}
