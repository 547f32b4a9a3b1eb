//! The end of a connection, and what is remembered of it.

use std::{collections::BTreeSet, time::Duration};

use dromos_proto::v1::{
    CredentialPayload, GetTokenRequest, ListAuditEventsRequest, RevokeConnectionRequest,
    connection::Status,
};
use reqwest::StatusCode;
use tokio::time::{Instant, interval};
use tonic::Code;

use super::{
    connecting::Agent,
    stage::Stage,
    usage::call,
    world::{World, credential},
};
use crate::{client::reason, commands::audit::all_events, failure::Failure};

/// How long the provider's own revocation may take: it happens in the
/// background, so that an outage there can't hold up ours.
const UPSTREAM: Duration = Duration::from_secs(10);

/// The connection ends, here and at the provider.
pub async fn revoke(
    stage: &mut Stage,
    world: &World,
    connection_id: &str,
    newest: &CredentialPayload,
) -> Result<(), Failure> {
    stage.step("Revoke the connection")?;
    stage.sent("ConnectionService/RevokeConnection", "")?;
    let request = RevokeConnectionRequest {
        connection_id: connection_id.to_owned(),
        request_id: String::new(),
    };
    let revoked = world.admin.connections().revoke_connection(request).await;
    let revoked = world.answer(revoked)?;
    stage.came("status", revoked.status().as_str_name())?;
    stage.check(
        revoked.status() == Status::Revoked,
        "The connection is REVOKED",
    )?;
    let token = credential(newest, "access_token").unwrap_or_default();
    let deadline = Instant::now() + UPSTREAM;
    let mut turns = interval(Duration::from_millis(5));
    while !world.simulator.is_revoked(token) && Instant::now() < deadline {
        turns.tick().await;
    }
    stage.check(
        world.simulator.is_revoked(token) && world.simulator.counts().revoked > 0,
        "The provider was told (RFC 7009) and takes the token no more",
    )
}

/// Neither the gateway nor the provider gives anything any more.
pub async fn be_refused(
    stage: &mut Stage,
    world: &World,
    agent: &Agent,
    connection_id: &str,
) -> Result<(), Failure> {
    stage.step("Nobody gets the credential any more")?;
    stage.sent("ConnectionService/GetToken", "")?;
    let request = GetTokenRequest {
        connection_id: connection_id.to_owned(),
    };
    let Err(status) = world.admin.connections().get_token(request).await else {
        return Err(Failure::new("a revoked connection's credential was given"));
    };
    let reason = reason(&status);
    stage.came("error", &format!("{:?}, {reason}", status.code()))?;
    stage.check(
        status.code() == Code::PermissionDenied && reason == "CONNECTION_REVOKED",
        "The gateway answers CONNECTION_REVOKED",
    )?;
    let (status, _) = call(stage, world, agent, connection_id).await?;
    stage.check(
        status == StatusCode::UNAUTHORIZED,
        "The token that the agent still holds opens nothing",
    )
}

/// All of it is on record.
pub async fn read_the_audit(
    stage: &mut Stage,
    world: &World,
    agent: &Agent,
    connection_id: &str,
) -> Result<(), Failure> {
    stage.step("Read the audit")?;
    stage.sent("AuditService/ListAuditEvents", "")?;
    let filter = ListAuditEventsRequest {
        connection_id: connection_id.to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let events = all_events(&world.admin, &filter).await?;
    for event in &events {
        let who = match event.api_key_id.as_str() {
            "" => "the user's browser, or Dromos",
            id if id == agent.api_key_id => "the agent",
            _ => "the administrator",
        };
        let mut outcome = event.outcome.clone();
        if !event.reason.is_empty() {
            outcome = format!("{outcome} {}", event.reason);
        }
        stage.came(&event.action, &format!("{outcome}, by {who}"))?;
    }
    let well: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.outcome == "success")
        .map(|event| event.action.as_str())
        .collect();
    let expected = [
        "connection.requested",
        "connection.activated",
        "credential.read",
        "credential.refreshed",
        "connection.revoked",
    ];
    stage.check(
        expected.iter().all(|action| well.contains(action)),
        "Every step of the connection's life is in it",
    )?;
    stage.check(
        events
            .iter()
            .any(|event| event.action == "credential.read" && event.api_key_id == agent.api_key_id),
        "It names the agent's key where the agent got the credential",
    )
}
