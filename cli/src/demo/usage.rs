//! The credential in use, while it is renewed under the agent.

use std::time::Duration;

use dromos_proto::v1::{CredentialPayload, GetTokenRequest, RefreshConnectionRequest};
use dromos_simulator::Endpoint;
use reqwest::{Method, Request, StatusCode};
use serde_json::Value;

use super::{
    connecting::Agent,
    stage::Stage,
    world::{LONG_LIFE, SHORT_LIFE, USER, World, credential},
};
use crate::{failure::Failure, output::hidden, when};

/// The first credential, without what must stay in the broker.
pub async fn get_the_credential(
    stage: &mut Stage,
    world: &World,
    connection_id: &str,
) -> Result<CredentialPayload, Failure> {
    stage.step("Get the credential")?;
    stage.sent("ConnectionService/GetToken", "")?;
    let request = GetTokenRequest {
        connection_id: connection_id.to_owned(),
    };
    let payload = world.answer(world.admin.connections().get_token(request).await)?;
    show(stage, &payload)?;
    stage.check(
        credential(&payload, "access_token").is_some() && payload.generation == 1,
        "It is the connection's first one",
    )?;
    stage.check(
        credential(&payload, "refresh_token").is_none(),
        "The refresh token stays in the broker",
    )?;
    Ok(payload)
}

/// The agent uses it without having seen it.
pub async fn call_the_api(
    stage: &mut Stage,
    world: &World,
    agent: &Agent,
    connection_id: &str,
) -> Result<(), Failure> {
    stage.step("The agent calls the provider's API, through the bridge")?;
    let (status, told) = call(stage, world, agent, connection_id).await?;
    stage.check(
        status == StatusCode::OK && told["sub"] == USER,
        "The provider knows whose data is asked for",
    )
}

/// Two refreshes: the second needs the refresh token of the first.
pub async fn refresh_twice(
    stage: &mut Stage,
    world: &World,
    connection_id: &str,
    first: &CredentialPayload,
) -> Result<CredentialPayload, Failure> {
    stage.step("Refresh, twice, at a provider that rotates refresh tokens")?;
    // Later tokens outlive the first one, which the next step needs.
    let simulator = &world.simulator;
    simulator.change(|behaviour| behaviour.expires_in.seconds = LONG_LIFE);
    let mut payload = first.clone();
    for _ in 0..2 {
        stage.sent("ConnectionService/RefreshConnection", "")?;
        let request = RefreshConnectionRequest {
            connection_id: connection_id.to_owned(),
            generation: None,
        };
        let refreshed = world.admin.connections().refresh_connection(request).await;
        let newer = world.answer(refreshed)?;
        show(stage, &newer)?;
        stage.check(
            newer.generation == payload.generation + 1
                && credential(&newer, "access_token") != credential(&payload, "access_token"),
            "The generation rises, and the access token is another",
        )?;
        payload = newer;
    }
    let counts = simulator.counts();
    let rotates = simulator.behaviour().rotate_refresh_tokens;
    stage.check(
        rotates && counts.refreshes == 2 && counts.refresh_reuses == 0,
        "The provider rotated twice and never saw a spent refresh token again",
    )?;
    Ok(payload)
}

/// The agent's token expires, and its call succeeds all the same.
pub async fn outlive_a_token(
    stage: &mut Stage,
    world: &World,
    agent: &Agent,
    connection_id: &str,
    newest: &CredentialPayload,
) -> Result<(), Failure> {
    stage.step("The agent calls again, 20 minutes later by the provider's clock")?;
    let later = Duration::from_secs(20 * 60);
    debug_assert!(
        (SHORT_LIFE..LONG_LIFE).contains(&later.as_secs()),
        "only the first expires"
    );
    let simulator = &world.simulator;
    simulator.clock().advance(later);
    let before = simulator.counts();
    let (status, told) = call(stage, world, agent, connection_id).await?;
    let after = simulator.counts();
    stage.check(
        status == StatusCode::OK && told["sub"] == USER,
        "The call succeeds",
    )?;
    stage.check(
        after.of(Endpoint::Api) == before.of(Endpoint::Api) + 2,
        "The agent's token had expired: 401, then once more with the newest one",
    )?;
    stage.check(
        after.refreshes == before.refreshes,
        "The broker had it already and did not ask the provider",
    )?;
    let credentials = agent.bridge.credentials();
    let held = credentials.get(connection_id).await.map_err(|error| {
        Failure::new(format!("the bridge has no credential: {}", error.reason()))
    })?;
    let generation = held.generation();
    stage.came("generation", &generation.to_string())?;
    stage.check(
        generation == newest.generation,
        "The bridge now holds the newest generation",
    )
}

/// `GET /api/me`, signed and sent by the agent's bridge.
pub async fn call(
    stage: &mut Stage,
    world: &World,
    agent: &Agent,
    connection_id: &str,
) -> Result<(StatusCode, Value), Failure> {
    let url = format!("{}/api/me", world.simulator.url());
    stage.sent(&format!("GET {url}"), "Authorization: added by the bridge")?;
    let url = url
        .parse()
        .map_err(|_| Failure::new("the provider's address is no URL"))?;
    let answer = agent
        .bridge
        .send(connection_id, Request::new(Method::GET, url))
        .await
        .map_err(|error| Failure::new(format!("{}: {error}", error.reason())))?;
    let status = answer.status();
    let body = answer.bytes().await;
    let body = body.map_err(|_| Failure::new("the provider's answer broke off"))?;
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    stage.came("status", &status.to_string())?;
    if let Some(subject) = told["sub"].as_str() {
        stage.came("sub", subject)?;
    }
    Ok((status, told))
}

fn show(stage: &mut Stage, payload: &CredentialPayload) -> Result<(), Failure> {
    let token = credential(payload, "access_token").unwrap_or_default();
    stage.secret(token);
    let strategy = payload.strategy.as_ref();
    let strategy = strategy.map_or("", |strategy| &strategy.r#type);
    stage.came("strategy", strategy)?;
    stage.came("access_token", &hidden(token))?;
    if let Some(id_token) = credential(payload, "id_token") {
        stage.secret(id_token);
        stage.came("id_token", &hidden(id_token))?;
    }
    let expires = when::relative(payload.expires_at.as_ref(), when::now());
    stage.came(
        "generation",
        &format!("{}, expires {expires}", payload.generation),
    )
}
