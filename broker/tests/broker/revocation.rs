//! Revoking one connection, or thousands at once with what they hang on; and
//! telling the providers, now or later.

use std::time::Duration;

use chrono::TimeDelta;
use dromos_broker::{
    domain::{
        connection::Status,
        id::{ProviderId, WorkspaceId},
        sealed::Sealed,
    },
    flow::revocations,
    store::{Retirement, UpstreamRevocation},
};
use dromos_simulator::{Endpoint, Failure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    database::Database,
    shelf::Shelf,
    world::{World, both, eventually, on_both, reason},
};

fn unavailable() -> Failure {
    Failure::status(503)
}

/// How often the provider was told, or was to be told.
fn told(world: &World) -> u64 {
    world.simulator.counts().of(Endpoint::Revocation)
}

async fn attempts(world: &World) -> Vec<String> {
    let mut database = Database::of(world).await;
    let sql = "select cast(attempts as text) as line from upstream_revocations";
    database.lines(sql).await
}

async fn delete(world: &World, path: &str) -> (StatusCode, Value) {
    world.call(Method::DELETE, path, Value::Null).await
}

both!(
    a_provider_that_can_not_be_told_is_tried_again_later_and_later,
    |world: World| async move {
        let id = world.connect("ada").await;
        let before = told(&world);
        world
            .simulator
            .fail_next(Endpoint::Revocation, 3, unavailable());
        let path = format!("/v1/connections/{id}:revoke");
        let (status, revoked) = world.post(&path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{revoked}");
        assert_eq!(revoked["status"], "REVOKED");
        eventually("the first attempt", async || {
            attempts(&world).await == ["1"]
        })
        .await;
        assert_eq!(told(&world), before + 1);
        // Before its time nobody tries, however often they look.
        for _ in 0..3 {
            revocations::once(&world.core).await.expect("a round");
        }
        assert_eq!(told(&world), before + 1);
        for (attempt, longest) in [(2, 38), (3, 75)] {
            world.clock.advance(longest);
            revocations::once(&world.core).await.expect("a round");
            let count = attempt.to_string();
            eventually("another attempt", async || {
                attempts(&world).await == [count.as_str()]
            })
            .await;
            assert_eq!(told(&world), before + attempt);
        }
        assert!(world.audit("connection.revoked_upstream").await.is_empty());
        world.clock.advance(150);
        revocations::once(&world.core).await.expect("a round");
        eventually("it is told", async || attempts(&world).await.is_empty()).await;
        let events = world.audit("connection.revoked_upstream").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["outcome"], "success", "{events:?}");
        assert_eq!(events[0]["connection_id"], id.as_str());
    }
);

both!(
    a_provider_that_is_away_for_a_day_is_given_up_and_the_audit_says_so,
    |world: World| async move {
        world.connect("ada").await;
        world
            .simulator
            .fail_next(Endpoint::Revocation, 1000, unavailable());
        let (status, _) = delete(&world, "/v1/providers/sim?force=true").await;
        assert_eq!(status, StatusCode::OK);
        eventually("the first attempt", async || {
            !attempts(&world).await.is_empty()
        })
        .await;
        world.clock.advance(24 * 3600 + 60);
        revocations::once(&world.core).await.expect("a round");
        eventually("it is given up", async || attempts(&world).await.is_empty()).await;
        let events = world.audit("connection.revoked_upstream").await;
        assert_eq!(events[0]["reason"], "provider_unavailable", "{events:?}");
        assert_eq!(events[0]["provider_name"], "sim");
    }
);

on_both!(
    two_brokers_never_claim_the_same_revocation,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let connection = shelf.active(&provider, "user-1").await;
        let at = shelf.now();
        for _ in 0..100 {
            let revocation = UpstreamRevocation {
                id: shelf.ambient.id(),
                workspace_id: connection.workspace_id,
                connection_id: connection.id,
                provider_id: provider.id,
                token: Sealed(vec![1]),
                created_at: at,
                attempts: 0,
                next_attempt_at: at,
            };
            let inserted = shelf.store.insert_upstream_revocation(&revocation).await;
            inserted.expect("the store answers");
        }
        let until = at + TimeDelta::seconds(60);
        let claims = (0..20).map(|_| shelf.store.claim_upstream_revocations(at, until, 10));
        let mut claimed = std::collections::HashSet::new();
        for claim in futures_util::future::join_all(claims).await {
            for revocation in claim.expect("the store answers") {
                assert!(claimed.insert(revocation.id), "claimed twice");
            }
        }
        // Skipped where another one held them: the next look finds the rest.
        loop {
            let rest = shelf.store.claim_upstream_revocations(at, until, 10).await;
            let rest = rest.expect("the store answers");
            if rest.is_empty() {
                break;
            }
            for revocation in rest {
                assert!(claimed.insert(revocation.id), "claimed twice");
            }
        }
        assert_eq!(claimed.len(), 100);
        // Whoever claimed them may have died.
        let again = shelf
            .store
            .claim_upstream_revocations(until, until + TimeDelta::seconds(60), 200)
            .await;
        assert_eq!(again.expect("the store answers").len(), 100);
    }
);

both!(
    a_deleted_providers_credentials_are_gone_at_once_even_if_the_broker_dies_right_after,
    |world: World| async move {
        let ids = [world.connect("ada").await, world.connect("bob").await];
        let (_, provider) = world.get("/v1/providers/sim").await;
        let id: uuid::Uuid = provider["id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("a UUID");
        let retirement = Retirement {
            workspace_id: WorkspaceId::DEFAULT,
            provider_id: Some(ProviderId(id)),
        };
        // What DeleteProvider commits first. Then nothing: the broker died.
        let event = dromos_broker::domain::audit::AuditEvent::new(
            &world.core.ambient,
            dromos_broker::domain::audit::Action::ProviderDeleted,
            dromos_broker::domain::audit::Actor::Anonymous(WorkspaceId::DEFAULT, ""),
        );
        let now = world.core.ambient.now();
        let retired = world
            .core
            .store
            .retire_provider(retirement, now, true, event);
        retired.await.expect("the store answers");
        for id in &ids {
            let (status, error) = world.token(id).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{error}");
            assert_eq!(reason(&error), "CONNECTION_REVOKED");
        }
        assert_eq!(
            world.get("/v1/providers/sim").await.0,
            StatusCode::NOT_FOUND
        );
        // Its name is free, and what comes next is another provider.
        let next = world.create_provider("sim", json!({})).await;
        assert_ne!(next["id"], provider["id"]);
        let other = world.connect("eve").await;

        let before = told(&world);
        eventually("any broker takes it up", async || {
            revocations::once(&world.core).await.expect("a round");
            told(&world) == before + 2 || told(&world) == 2
        })
        .await;
        for id in &ids {
            assert_eq!(world.check(id).await["status"], "REVOKED");
        }
        assert_eq!(world.token(&other).await.0, StatusCode::OK);
        eventually("nothing is left of it", async || {
            revocations::once(&world.core).await.expect("a round");
            let left = world.core.store.retirements(10).await;
            left.expect("the store answers").is_empty()
        })
        .await;
    }
);

both!(
    deleting_a_provider_with_a_thousand_connections_revokes_them_all,
    |world: World| async move {
        let id = world.connect("ada").await;
        // A thousand copies of its row; theirs would be credentials that do
        // not open, which must not hold anything up.
        let mut database = Database::of(&world).await;
        let copies = match world.database_url.starts_with("postgres") {
            true => "select gen_random_uuid() as n from generate_series(1, 1000)",
            false => {
                "with recursive s(i) as (select 1 union all select i + 1 from s where i < 1000) \
                 select randomblob(16) as n from s"
            }
        };
        let own = database.id(&id);
        database
            .execute(&format!(
                "create table copies as {copies};
                 insert into connections (workspace_id, connection_id, user_id, provider_id,
                   provider_name, status, reason, scopes, connection_config, metadata, subject,
                   consent_expires_at, expires_at, refreshable, created_at, updated_at)
                 select workspace_id, n, user_id, provider_id, provider_name, status, reason, scopes,
                   connection_config, metadata, subject, consent_expires_at, expires_at, refreshable,
                   created_at, updated_at from connections, copies where connection_id = {own};
                 insert into credentials (workspace_id, connection_id, usage, refresh, generation,
                   issued_at, expires_at, refresh_at, token_origin, lease_epoch, committed_epoch,
                   attempts)
                 select workspace_id, n, usage, refresh, generation, issued_at, null,
                   null, token_origin, 0, 0, 0 from credentials, copies
                 where connection_id = {own};
                 drop table copies;"
            ))
            .await;
        let (status, error) = delete(&world, "/v1/providers/sim").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(reason(&error), "PROVIDER_IN_USE");
        assert!(error.to_string().contains("1001"), "{error}");
        let (status, answer) = delete(&world, "/v1/providers/sim?force=true").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(world.token(&id).await.0, StatusCode::FORBIDDEN);
        let long = Duration::from_secs(120);
        let done = async {
            loop {
                let counts = world.core.store.count_by_status().await;
                let counts = counts.expect("the store answers");
                if counts == [(Status::Revoked, 1001)] {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(long, done)
            .await
            .expect("all are revoked");
        eventually("the provider is told, and then gone", async || {
            let left = world.core.store.retirements(10).await;
            told(&world) == 1 && left.expect("the store answers").is_empty()
        })
        .await;
        let lines = database
            .lines("select cast(count(*) as text) as line from credentials")
            .await;
        assert_eq!(lines, ["0"]);
    }
);

both!(
    a_deleted_workspace_lets_nobody_in_and_waits_for_its_providers_before_it_goes,
    |world: World| async move {
        let (_, workspace) = world
            .post(
                "/v1/workspaces",
                json!({ "name": "tenant", "allowed_return_urls": [] }),
            )
            .await;
        let workspace = workspace["id"].as_str().expect("an id").to_owned();
        let body = json!({ "name": "k", "scopes": ["admin"], "workspace_id": workspace });
        let (_, key) = world.post("/v1/api-keys", body).await;
        let key = key["secret"].as_str().expect("a secret").to_owned();
        let tenant = async |method, path: &str, body| world.call_as(&key, method, path, body).await;
        let (status, provider) = tenant(
            Method::POST,
            "/v1/providers",
            json!({ "name": "sim", "strategy": { "type": "oauth2" },
                    "oauth2": { "issuer": world.simulator.url(),
                                "client_id": world.simulator.client_id(),
                                "client_secret": world.simulator.client_secret(),
                                "scopes": ["openid", "offline_access"] } }),
        )
        .await;
        assert_eq!(status, StatusCode::OK, "{provider}");
        world
            .simulator
            .allow_redirect_uri(provider["redirect_uri"].as_str().expect("one"));
        let (_, begun) = tenant(
            Method::POST,
            "/v1/request-connection",
            json!({ "user_id": "ada", "provider_name": "sim",
                    "return_url": crate::world::RETURN_URL }),
        )
        .await;
        world.consent(&begun).await;
        let id = begun["connection_id"].as_str().expect("an id");
        let token = format!("/v1/token/{id}");
        let (status, _) = tenant(Method::GET, &token, Value::Null).await;
        assert_eq!(status, StatusCode::OK);

        let path = format!("/v1/workspaces/{workspace}");
        let (status, error) = delete(&world, &path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        assert!(
            error.to_string().contains("\"connections\":\"1\""),
            "{error}"
        );
        world
            .simulator
            .fail_next(Endpoint::Revocation, 1, unavailable());
        let (status, answer) = delete(&world, &format!("{path}?force=true")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let (status, _) = tenant(Method::GET, &token, Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND);
        let (again, _) = delete(&world, &path).await;
        assert_eq!(again, StatusCode::NOT_FOUND);
        let left = world
            .core
            .store
            .retirements(10)
            .await
            .expect("the store answers");
        assert!(
            left.iter().any(|left| left.provider_id.is_none()),
            "the sealed token needs the workspace's data key until the provider was told"
        );
        world.clock.advance(60);
        eventually("it is told, and gone", async || {
            revocations::once(&world.core).await.expect("a round");
            let left = world.core.store.retirements(10).await;
            left.expect("the store answers").is_empty()
        })
        .await;
        assert_eq!(told(&world), 2);
        let mut database = Database::of(&world).await;
        let own = database.id(&workspace);
        for table in [
            "workspaces",
            "providers",
            "connections",
            "consents",
            "credentials",
            "data_keys",
            "api_keys",
            "upstream_revocations",
        ] {
            let sql = format!(
                "select cast(count(*) as text) as line from {table} where workspace_id = {own}"
            );
            assert_eq!(database.lines(&sql).await, ["0"], "{table}");
        }
    }
);
