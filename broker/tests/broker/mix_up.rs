//! Mix-up: answers of one authorization server passed off as another's (RFC
//! 9700 §4.4, RFC 9207).

use dromos_simulator::{Endpoint, Simulator, SimulatorConfig, browser::Browser};
use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::{
    callback::{assert_refused, deliver, outcome},
    world::{World, both, query, reason},
};

/// A second authorization server, which the attacker runs, as a provider.
async fn attackers_provider(world: &World, name: &str, changes: Value) -> (Simulator, Value) {
    let simulator = Simulator::start_with(SimulatorConfig::default())
        .await
        .expect("it starts");
    let mut all = json!({ "oauth2": { "issuer": simulator.url() } });
    for (key, value) in changes.as_object().expect("an object") {
        all[key] = value.clone();
    }
    let provider = world.create_provider(name, all).await;
    simulator.allow_redirect_uri(provider["redirect_uri"].as_str().expect("one"));
    (simulator, provider)
}

both!(
    hardening_30_an_answer_counts_only_on_its_own_providers_path,
    |world: World| async move {
        let (other, provider) = attackers_provider(&world, "other", json!({})).await;
        let begun = world.request_connection("user-1").await;
        let mut browser = Browser::new();
        let answer = world.approved(&mut browser, &begun).await;
        for path in [
            format!("/auth/callback/{}", provider["id"].as_str().expect("an id")),
            "/auth/callback".to_owned(),
            "/auth/callback/".to_owned(),
            format!("/auth/callback/{}", uuid::Uuid::now_v7()),
            "/auth/callback/sim".to_owned(),
        ] {
            let mut elsewhere = answer.clone();
            elsewhere.set_path(&path);
            let page = deliver(&mut browser, &elsewhere).await;
            if path == "/auth/callback/" {
                assert_eq!(page.status, 404);
            } else {
                assert_refused(&page);
            }
        }
        assert_eq!(other.counts().of(Endpoint::Token), 0);
        assert_eq!(world.simulator.counts().of(Endpoint::Token), 0);
        // Where it belongs, it still counts.
        assert_eq!(outcome(&deliver(&mut browser, &answer).await), None);
    }
);

both!(
    hardening_30_a_shared_redirect_uri_does_not_take_another_servers_code,
    |world: World| async move {
        let shared = json!({ "shared_redirect_uri": true });
        let honest = world.create_provider("honest", shared.clone()).await;
        assert_eq!(
            honest["redirect_uri"],
            format!("{}/auth/callback", world.public_url)
        );
        let (attacker, _) = attackers_provider(&world, "attacker", shared).await;
        // On the path of one provider alone, the shared ones have no business.
        let begun = world.request_connection_to("honest", "user-1").await;
        let mut browser = Browser::new();
        let code = world.approved(&mut browser, &begun).await;
        assert_eq!(code.path(), "/auth/callback");
        let mut elsewhere = code.clone();
        elsewhere.set_path(&format!(
            "/auth/callback/{}",
            honest["id"].as_str().expect("an id")
        ));
        assert_refused(&deliver(&mut browser, &elsewhere).await);

        // The attacker's server sends the user on to the honest one, with the
        // state of its own consent; the code must not reach the attacker.
        let lured = world.request_connection_to("attacker", "user-1").await;
        let page = world.open(&mut browser, &lured).await;
        let state = query(&page.location().expect("the attacker"), "state").expect("a state");
        let mut mixed = Url::parse(&format!("{}/auth/callback", world.public_url)).expect("a URL");
        mixed
            .query_pairs_mut()
            .append_pair("code", &query(&code, "code").expect("a code"))
            .append_pair("iss", &query(&code, "iss").expect("an iss"))
            .append_pair("state", &state);
        let page = deliver(&mut browser, &mixed).await;
        assert_eq!(outcome(&page).as_deref(), Some("issuer_mismatch"));
        assert_eq!(attacker.counts().of(Endpoint::Token), 0);
        assert_eq!(outcome(&deliver(&mut browser, &code).await), None);
    }
);

both!(
    hardening_30_an_iss_that_is_wrong_or_missing_ends_the_consent,
    |world: World| async move {
        // The discovery document has announced `iss`, and is kept.
        world.connect("user-1").await;
        let exchanged = world.simulator.counts().of(Endpoint::Token);
        world.behave(|behaviour| {
            behaviour.authorization_response_iss = Some("https://evil.test".to_owned());
        });
        let begun = world.request_connection("user-1").await;
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "error").as_deref(), Some("issuer_mismatch"));

        world.behave(|behaviour| behaviour.announce_iss = false);
        let begun = world.request_connection("user-1").await;
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "error").as_deref(), Some("issuer_missing"));
        let id = begun["connection_id"].as_str().expect("an id");
        assert_eq!(world.check(id).await["reason"], "issuer_missing");
        // The codes went nowhere.
        assert_eq!(world.simulator.counts().of(Endpoint::Token), exchanged);

        // An error of another server is no reason to believe it either.
        world.behave(|behaviour| behaviour.announce_iss = true);
        let begun = world.request_connection("user-1").await;
        let end = Browser::new()
            .walk(
                begun["auth_url"].as_str().expect("an auth_url"),
                crate::world::RETURN_URL,
                dromos_simulator::browser::deny,
            )
            .await
            .expect("the browser arrives");
        assert_eq!(query(&end, "error").as_deref(), Some("issuer_mismatch"));
    }
);

both!(
    hardening_30_a_discovery_document_of_another_issuer_is_unusable,
    |world: World| async move {
        for claimed in [
            "https://evil.test".to_owned(),
            format!("{}/", world.simulator.url()),
            world.simulator.url().to_uppercase(),
            String::new(),
        ] {
            world.behave(|behaviour| behaviour.discovery_issuer = Some(claimed.clone()));
            let (status, error) = world
                .post(
                    "/v1/request-connection",
                    json!({ "user_id": "u", "provider_name": "sim", "return_url": crate::world::RETURN_URL }),
                )
                .await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::BAD_REQUEST, "PROVIDER_MISCONFIGURED"),
                "{claimed}"
            );
            let text = error.to_string();
            assert!(text.contains("issuer") && !text.contains("evil"), "{text}");
        }
        assert_eq!(
            world.get("/v1/connections").await.1["connections"],
            json!([])
        );
        // Such a document is not kept: once it is right, the provider works.
        world.behave(|behaviour| behaviour.discovery_issuer = None);
        world.connect("user-1").await;
    }
);
