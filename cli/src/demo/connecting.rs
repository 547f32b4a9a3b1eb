//! From a provider's registration to a connection that is active.

use dromos_bridge::{Bridge, Gateway};
use dromos_proto::v1::{
    CheckConnectionRequest, CreateApiKeyRequest, CreateProviderRequest, OAuth2, Provider,
    RequestConnectionRequest, RequestConnectionResponse, Strategy, connection::Status,
};
use dromos_simulator::{
    Endpoint,
    browser::{Browser, Page, approve},
};
use url::Url;

use super::{
    stage::Stage,
    world::{PROVIDER, RETURN_URL, USER, World},
};
use crate::{failure::Failure, output::hidden, when};

/// An agent: a key of its own, and the bridge that uses it.
pub struct Agent {
    /// The id of its API key.
    pub api_key_id: String,
    /// Signs and sends its requests.
    pub bridge: Bridge,
}

/// An administrator registers the provider.
pub async fn register_the_provider(stage: &mut Stage, world: &World) -> Result<(), Failure> {
    stage.step("Register the provider: data, no code")?;
    let simulator = &world.simulator;
    let provider = Provider {
        name: PROVIDER.to_owned(),
        display_name: "Acme (simulated)".to_owned(),
        api_base_url: simulator.url(),
        oauth2: Some(OAuth2 {
            issuer: simulator.url(),
            client_id: simulator.client_id().to_owned(),
            client_secret: Some(simulator.client_secret().to_owned()),
            scopes: vec!["openid".to_owned(), "items:read".to_owned()],
            ..OAuth2::default()
        }),
        strategy: Some(Strategy {
            r#type: "oauth2".to_owned(),
            config: None,
        }),
        ..Provider::default()
    };
    stage.sent(
        "ProviderService/CreateProvider",
        &format!(
            "name {PROVIDER}, issuer {}, client_secret {}",
            simulator.url(),
            hidden(simulator.client_secret())
        ),
    )?;
    let request = CreateProviderRequest {
        provider: Some(provider),
        request_id: String::new(),
    };
    let created = world.admin.providers().create_provider(request).await;
    let created = world.answer(created)?;
    simulator.allow_redirect_uri(&created.redirect_uri);
    stage.came("id", &created.id)?;
    stage.came("redirect_uri", &created.redirect_uri)?;
    let answered = created.oauth2.map(|oauth2| oauth2.client_secret);
    stage.check(
        answered == Some(None),
        "The answer does not hold the client secret",
    )
}

/// An administrator makes an API key for the agent.
pub async fn give_the_agent_a_key(stage: &mut Stage, world: &World) -> Result<Agent, Failure> {
    stage.step("Give the agent an API key of its own")?;
    let scopes = ["credentials:read", "credentials:refresh"];
    stage.sent(
        "AccessService/CreateApiKey",
        &format!("name agent, scopes {}", scopes.join(" ")),
    )?;
    let request = CreateApiKeyRequest {
        name: "agent".to_owned(),
        scopes: scopes.map(str::to_owned).to_vec(),
        expires_at: None,
        workspace_id: String::new(),
    };
    let created = world.answer(world.admin.access().create_api_key(request).await)?;
    stage.secret(&created.secret);
    let api_key = created.api_key.unwrap_or_default();
    stage.came("id", &api_key.id)?;
    stage.came("secret", &hidden(&created.secret))?;
    stage.check(
        api_key.scopes == scopes,
        "It may use credentials and nothing else",
    )?;
    let bridge = Gateway::builder(&world.places.gateway_url(), &created.secret)
        .build()
        .and_then(|gateway| Bridge::builder(gateway).build())
        .and_then(|bridge| bridge.only_to([world.simulator.url().as_str()]))
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(Agent {
        api_key_id: api_key.id,
        bridge,
    })
}

/// The user's application asks for a connection.
pub async fn ask_for_a_connection(
    stage: &mut Stage,
    world: &World,
) -> Result<RequestConnectionResponse, Failure> {
    stage.step("Ask for a connection of a user")?;
    stage.sent(
        "ConnectionService/RequestConnection",
        &format!("user_id {USER}, provider_name {PROVIDER}, return_url {RETURN_URL}"),
    )?;
    let request = RequestConnectionRequest {
        user_id: USER.to_owned(),
        provider_name: PROVIDER.to_owned(),
        return_url: RETURN_URL.to_owned(),
        ..RequestConnectionRequest::default()
    };
    let requested = world.admin.connections().request_connection(request).await;
    let requested = world.answer(requested)?;
    stage.secret(&requested.state);
    let (page, handle) = requested
        .auth_url
        .rsplit_once('/')
        .ok_or_else(|| Failure::new("the auth_url is no URL"))?;
    stage.secret(handle);
    stage.came("connection_id", &requested.connection_id)?;
    stage.came("auth_url", &format!("{page}/{}", hidden(handle)))?;
    stage.came(
        "expires_at",
        &when::relative(requested.expires_at.as_ref(), when::now()),
    )?;
    let public = format!("http://{}/connect", world.places.public);
    stage.check(
        page == public,
        "The user is sent to the broker's public page",
    )?;
    let status = status(world, &requested.connection_id).await?;
    stage.check(status == Status::Pending, "The connection is PENDING")?;
    Ok(requested)
}

/// The user goes through the browser and says yes.
pub async fn consent(
    stage: &mut Stage,
    world: &World,
    request: &RequestConnectionResponse,
) -> Result<(), Failure> {
    stage.step("The user consents, in a browser")?;
    stage.sent("GET auth_url", "and on, through every redirect and form")?;
    let mut pages: Vec<Url> = Vec::new();
    let approves = |page: &Page| {
        pages.push(page.url.clone());
        approve(page)
    };
    let end = Browser::new()
        .walk(&request.auth_url, RETURN_URL, approves)
        .await
        // Its words may quote a URL, and with it a code or a state.
        .map_err(|_| Failure::new("the browser did not come back to the application"))?;
    for page in &pages {
        let place = page.origin().ascii_serialization();
        stage.came("page", &format!("{place}{}, approved", page.path()))?;
    }
    let answer = |name: &str| {
        let mut pairs = end.query_pairs();
        pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    };
    let succeeded = answer("status").unwrap_or_default();
    stage.came("back at", &format!("{RETURN_URL}, status={succeeded}"))?;
    let asked = pages
        .iter()
        .any(|page| page.origin().ascii_serialization() == world.simulator.url());
    stage.check(asked, "The provider itself asked the user")?;
    let counts = world.simulator.counts();
    stage.check(
        counts.of(Endpoint::Discovery) > 0
            && counts.of(Endpoint::Token) == 1
            && world.simulator.behaviour().require_pkce,
        "Its endpoints came by discovery, and it insists on PKCE",
    )?;
    stage.check(
        succeeded == "success" && answer("connection_id").as_ref() == Some(&request.connection_id),
        "The application learns which connection succeeded",
    )?;
    stage.check(
        answer("code").is_none() && answer("access_token").is_none(),
        "It sees neither a code nor a token",
    )
}

/// The application sees that the connection is active.
pub async fn look_at_the_connection(
    stage: &mut Stage,
    world: &World,
    connection_id: &str,
) -> Result<(), Failure> {
    stage.step("Look at the connection")?;
    stage.sent("ConnectionService/CheckConnection", "")?;
    let status = status(world, connection_id).await?;
    stage.came("status", status.as_str_name())?;
    stage.check(status == Status::Active, "The connection is ACTIVE")
}

async fn status(world: &World, connection_id: &str) -> Result<Status, Failure> {
    let request = CheckConnectionRequest {
        connection_id: connection_id.to_owned(),
    };
    let checked = world.admin.connections().check_connection(request).await;
    Ok(world.answer(checked)?.status())
}
