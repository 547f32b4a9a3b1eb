//! When a credential is refreshed, and what is kept of the answer.

use reqwest::StatusCode;
use serde_json::{Value, json};

use dromos_simulator::{ClientAuth, Endpoint, ExpiresFormat, ExpiresIn, RequestFormat};

use crate::world::{World, both, reason};

fn expires_in(seconds: u64, format: ExpiresFormat) -> ExpiresIn {
    ExpiresIn { seconds, format }
}

fn token_requests(world: &World) -> u64 {
    world.simulator.counts().of(Endpoint::Token)
}

async fn generation(world: &World, id: &str) -> Value {
    let (status, token) = world.token(id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    token["generation"].clone()
}

fn expiry(world: &World, seconds: i64) -> Value {
    use dromos_broker::domain::ambient::Clock as _;
    let at = world.clock.now() + chrono::TimeDelta::seconds(seconds);
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        .into()
}

/// Whether two RFC 3339 texts mean the same time.
fn same_time(a: &Value, b: &Value) -> bool {
    let parse = |text: &Value| {
        chrono::DateTime::parse_from_rfc3339(text.as_str().expect("a time")).expect("RFC 3339")
    };
    parse(a) == parse(b)
}

both!(
    a_token_is_refreshed_inside_the_margin_and_not_outside,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(3299);
        assert_eq!(generation(&world, &id).await, 1);
        assert_eq!(token_requests(&world), 1);
        world.clock.advance(1);
        assert_eq!(generation(&world, &id).await, 2);
        assert_eq!(generation(&world, &id).await, 2);
        assert_eq!(token_requests(&world), 2);
    }
);

both!(
    a_short_lived_token_is_refreshed_in_its_last_fifth_only,
    |world: World| async move {
        world.behave(|behaviour| behaviour.expires_in = expires_in(60, ExpiresFormat::Number));
        let id = world.connect("user-1").await;
        for expected in 1..4 {
            for step in [0, 47] {
                world.clock.advance(step);
                assert_eq!(generation(&world, &id).await, expected);
            }
            world.clock.advance(1);
        }
        assert_eq!(world.simulator.counts().refreshes, 2);
    }
);

both!(
    the_providers_own_margin_counts_where_it_is_smaller,
    |world: World| async move {
        world
            .create_provider("late", json!({ "oauth2": { "refresh_margin": 10 } }))
            .await;
        let id = world.connect_to("late", "user-1").await;
        world.clock.advance(3589);
        assert_eq!(generation(&world, &id).await, 1);
        world.clock.advance(1);
        assert_eq!(generation(&world, &id).await, 2);
    }
);

both!(
    hardening_08_a_refresh_without_a_refresh_token_keeps_the_old_one,
    |world: World| async move {
        world.behave(|behaviour| behaviour.omit_refresh_token_on_refresh = true);
        let id = world.connect("user-1").await;
        for expected in 2..5 {
            let (status, token) = world.refresh(&id, json!({})).await;
            assert_eq!(status, StatusCode::OK, "{token}");
            assert_eq!(token["generation"], expected);
        }
        world.clock.advance(3400);
        assert_eq!(generation(&world, &id).await, 5);
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
    }
);

both!(
    hardening_12_the_client_authenticates_alike_at_exchange_refresh_and_revocation,
    |world: World| async move {
        for (method, auth) in [
            ("client_secret_basic", ClientAuth::Basic),
            ("client_secret_post", ClientAuth::Post),
        ] {
            world.behave(|behaviour| behaviour.client_auth = auth);
            let name = method.replace('_', "-");
            let changes = json!({ "oauth2": { "token_endpoint_auth_method": method } });
            world.create_provider(&name, changes).await;
            let before = world.simulator.counts();
            let id = world.connect_to(&name, "user-1").await;
            let (status, token) = world.refresh(&id, json!({})).await;
            assert_eq!(status, StatusCode::OK, "{method}: {token}");
            let told = world.simulator.gate_answers(Endpoint::Revocation);
            let path = format!("/v1/connections/{id}:revoke");
            assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
            told.arrived().await;
            let after = world.simulator.counts();
            assert_eq!(after.refreshes, before.refreshes + 1, "{method}");
            assert_eq!(after.revoked, before.revoked + 1, "{method}");
        }
    }
);

both!(
    token_requests_are_json_where_the_provider_wants_that,
    |world: World| async move {
        world.behave(|behaviour| behaviour.token_request_format = RequestFormat::Json);
        let changes = json!({ "oauth2": {
        "token_request_format": "json",
        "token_endpoint_auth_method": "client_secret_post",
    } });
        world.create_provider("json", changes).await;
        let id = world.connect_to("json", "user-1").await;
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(2)));
    }
);

both!(
    hardening_11_expires_in_is_understood_as_text_in_milliseconds_and_absent,
    |world: World| async move {
        let forms = [
            ("text", ExpiresFormat::String, json!({})),
            (
                "millis",
                ExpiresFormat::Milliseconds,
                json!({ "expires_in_unit": "milliseconds" }),
            ),
            (
                "absent",
                ExpiresFormat::Absent,
                json!({ "default_expires_in": 600 }),
            ),
        ];
        for (name, format, oauth2) in forms {
            world.behave(|behaviour| behaviour.expires_in = expires_in(600, format));
            world
                .create_provider(name, json!({ "oauth2": oauth2 }))
                .await;
            let id = world.connect_to(name, "user-1").await;
            let (status, token) = world.token(&id).await;
            assert_eq!(status, StatusCode::OK, "{name}: {token}");
            assert!(
                same_time(&token["expires_at"], &expiry(&world, 600)),
                "{name}: {token}"
            );
            world.clock.advance(479);
            assert_eq!(generation(&world, &id).await, 1, "{name}");
            world.clock.advance(1);
            let (_, token) = world.token(&id).await;
            assert_eq!(token["generation"], 2, "{name}");
            assert!(
                same_time(&token["expires_at"], &expiry(&world, 600)),
                "{name}: {token}"
            );
        }
    }
);

both!(
    hardening_11_a_token_without_any_lifetime_is_served_for_good,
    |world: World| async move {
        let forever = expires_in(1_000_000_000, ExpiresFormat::Absent);
        world.behave(|behaviour| behaviour.expires_in = forever);
        let id = world.connect("user-1").await;
        world.clock.advance(300_000_000);
        let (status, token) = world.token(&id).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(1)));
        assert!(token.get("expires_at").is_none(), "{token}");
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(token_requests(&world), 1);
        let (_, token) = world.refresh(&id, json!({})).await;
        assert_eq!(
            token["generation"], 2,
            "a forced refresh still works: {token}"
        );
    }
);

both!(
    a_forced_refresh_of_an_older_generation_is_answered_without_the_provider,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.refresh(&id, json!({})).await;
        let before = token_requests(&world);
        let (status, token) = world.refresh(&id, json!({ "generation": 1 })).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(2)));
        assert_eq!(token_requests(&world), before);
        let (_, token) = world.refresh(&id, json!({ "generation": 2 })).await;
        assert_eq!(token["generation"], 3);
        assert_eq!(token_requests(&world), before + 1);
    }
);

both!(
    without_a_refresh_token_a_credential_expires,
    |world: World| async move {
        world.behave(|behaviour| behaviour.issue_refresh_token = false);
        let id = world.connect("user-1").await;
        let listed = async |status: &str| {
            let (_, page) = world.get(&format!("/v1/connections?status={status}")).await;
            let all = page["connections"].as_array().expect("a list");
            all.iter()
                .any(|connection| connection["connection_id"] == id.as_str())
        };
        let (status, error) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "NOT_REFRESHABLE")
        );
        world.clock.advance(3599);
        assert_eq!(generation(&world, &id).await, 1);
        assert!(listed("ACTIVE").await && !listed("EXPIRED").await);

        world.clock.advance(1);
        let checked = world.check(&id).await;
        assert_eq!(checked["status"], "EXPIRED");
        assert_eq!(checked["reason"], "credential_expired");
        assert!(listed("EXPIRED").await && !listed("ACTIVE").await);
        for (status, error) in [world.token(&id).await, world.refresh(&id, json!({})).await] {
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::BAD_REQUEST, "CONNECTION_EXPIRED")
            );
            assert_eq!(reconnect(&error), "true");
        }
        assert_eq!(token_requests(&world), 1);

        reconnected(&world, &id).await;
        assert_eq!(generation(&world, &id).await, 2);
    }
);

/// The metadata that tells an agent to ask its user.
pub fn reconnect(error: &Value) -> &str {
    crate::world::detail(error, "ErrorInfo")
        .and_then(|info| info["metadata"]["reconnect"].as_str())
        .unwrap_or_default()
}

/// The user consents once more, a second later.
pub async fn reconnected(world: &World, id: &str) {
    world.clock.advance(1);
    let path = format!("/v1/connections/{id}:reconnect");
    let (status, begun) = world
        .post(&path, json!({ "return_url": crate::world::RETURN_URL }))
        .await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    let end = world.consent(&begun).await;
    assert_eq!(
        crate::world::query(&end, "status").as_deref(),
        Some("success"),
        "{end}"
    );
    assert_eq!(world.check(id).await["status"], "ACTIVE");
}
