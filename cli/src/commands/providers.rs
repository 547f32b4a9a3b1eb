//! `dromos providers`.

use std::{io::Read, path::Path};

use dromos_proto::v1::{
    CreateProviderRequest, DeleteProviderRequest, GetProviderRequest, ListProvidersRequest,
    ListProvidersResponse, Provider,
};

use super::{PAGE_SIZE, all_pages, answer, client, confirm};
use crate::{
    arguments::{Common, Output, ProvidersCommand},
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
            let question = match force {
                true => format!("Revoke all connections of {name}, and delete it?"),
                false => format!("Delete {name}?"),
            };
            confirm(&question, yes)?;
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
