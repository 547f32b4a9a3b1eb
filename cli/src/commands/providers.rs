//! `dromos providers`.

use std::{io::Read, path::Path};

use dromos_proto::v1::{
    CreateProviderRequest, DeleteProviderRequest, GetProviderRequest, ListConnectionsRequest,
    ListProvidersRequest, ListProvidersResponse, Provider, connection::Status,
};

use super::{PAGE_SIZE, all_pages, answer, asks, client, confirm};
use crate::{
    arguments::{Common, Output, ProvidersCommand},
    client::Client,
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
/// What the gateway answered, that it could not be asked, or what is wrong
/// with the file.
pub async fn run(command: ProvidersCommand) -> Result<(), Failure> {
    match command {
        ProvidersCommand::List { common } => list(&common).await,
        ProvidersCommand::Show { name, common } => {
            let client = client(&common)?;
            let request = GetProviderRequest { name };
            let provider = answer(&client, client.providers().get_provider(request).await)?;
            show(&provider, common.output)
        }
        ProvidersCommand::Create { file, common } => create(&file, &common).await,
        ProvidersCommand::Delete {
            name,
            force,
            yes,
            common,
        } => {
            let client = client(&common)?;
            if asks(yes) {
                confirm(&question(&client, &name, force).await?, yes)?;
            }
            let request = DeleteProviderRequest {
                name: name.clone(),
                force,
                request_id: String::new(),
            };
            answer(&client, client.providers().delete_provider(request).await)?;
            match common.output {
                Output::Json => print("{}"),
                Output::Table => print(&format!("Deleted {name}.")),
            }
        }
    }
}

/// What a deletion does, with its measure.
async fn question(client: &Client, name: &str, force: bool) -> Result<String, Failure> {
    if !force {
        return Ok(format!("Delete {name}?"));
    }
    let connections = all_pages(|page_token| {
        let request = ListConnectionsRequest {
            page_size: PAGE_SIZE,
            page_token,
            provider_name: name.to_owned(),
            ..ListConnectionsRequest::default()
        };
        async move {
            let page = client.connections().list_connections(request).await;
            let page = answer(client, page)?;
            Ok((page.connections, page.next_page_token))
        }
    })
    .await?;
    let living = connections
        .iter()
        .filter(|connection| connection.status() != Status::Revoked)
        .count();
    Ok(match living {
        0 => format!("Delete {name}? No connection uses it."),
        1 => format!("Revoke the connection that uses {name}, tell the provider, and delete it?"),
        many => format!(
            "Revoke the {many} connections that use {name}, tell the provider, and delete it?"
        ),
    })
}

async fn list(common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let providers = all_pages(|page_token| {
        let client = client.clone();
        async move {
            let request = ListProvidersRequest {
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = client.providers().list_providers(request).await;
            let page = answer(&client, page)?;
            Ok((page.providers, page.next_page_token))
        }
    })
    .await?;
    if common.output == Output::Json {
        let all = ListProvidersResponse {
            providers,
            next_page_token: String::new(),
        };
        return print(&json::render("ListProvidersResponse", &all)?);
    }
    let header = ["NAME", "DISPLAY NAME", "CATEGORY", "STRATEGY", "API"];
    let mut table = Table::new(header, "No providers. `dromos providers create` adds one.");
    for provider in &providers {
        table.row([
            (&provider.name).into(),
            (&provider.display_name).into(),
            (&provider.category).into(),
            strategy(provider).into(),
            (&provider.api_base_url).into(),
        ]);
    }
    print(&table.render(Style::of_stdout()))
}

async fn create(file: &Path, common: &Common) -> Result<(), Failure> {
    let shown = match file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let text =
        read(file).map_err(|error| Failure::new(format!("{shown} can't be read: {error}")))?;
    let provider: Provider = json::parse("Provider", &text).map_err(|problem| {
        Failure::new(format!("{shown} is no provider: {problem}"))
            .next("`dromos providers create --help` shows an example")
    })?;
    let client = client(common)?;
    let request = CreateProviderRequest {
        provider: Some(provider),
        request_id: String::new(),
    };
    let created = answer(&client, client.providers().create_provider(request).await)?;
    show(&created, common.output)?;
    if common.output == Output::Table && !created.redirect_uri.is_empty() {
        eprintln!("\nRegister the redirect URI at the provider.");
    }
    Ok(())
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn strategy(provider: &Provider) -> &str {
    provider
        .strategy
        .as_ref()
        .map_or("", |strategy| &strategy.r#type)
}

fn show(provider: &Provider, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print(&json::render("Provider", provider)?);
    }
    let now = when::now();
    let oauth2 = provider.oauth2.clone().unwrap_or_default();
    let details = Details::default()
        .line("Name", &provider.name)
        .line("Display name", &provider.display_name)
        .line("Category", &provider.category)
        .line("Description", &provider.description)
        .line("API", &provider.api_base_url)
        .line("Strategy", strategy(provider))
        .line("Issuer", oauth2.issuer)
        .line("Authorization endpoint", oauth2.authorization_endpoint)
        .line("Token endpoint", oauth2.token_endpoint)
        .line("Revocation endpoint", oauth2.revocation_endpoint)
        .line("Client id", oauth2.client_id)
        .line("Scopes", oauth2.scopes.join(" "))
        .line("Redirect URI", &provider.redirect_uri)
        .line("Id", &provider.id)
        .line("Created", when::full(provider.created_at.as_ref(), now))
        .line("Changed", when::full(provider.updated_at.as_ref(), now));
    print(&details.render(Style::of_stdout()))
}
