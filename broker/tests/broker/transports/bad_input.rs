//! Malformed fields: an error that names them, the same on every transport, and
//! nothing is lost.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    call::{Call, Refusal, VIAS},
    table::{check, create_provider, get, get_provider, refresh, request, token},
};
use crate::world::{RETURN_URL, World, both};

/// A connection to `sim` as it may be asked for, with one field changed.
pub fn asked(field: &str, value: Value) -> Call {
    let mut message = json!({ "user_id": "ada", "provider_name": "sim", "return_url": RETURN_URL });
    message[field] = value;
    request(message)
}

fn list(rpc: &'static str, path: &str, field: &str, value: Value) -> Call {
    let text = value.as_str().map_or(value.to_string(), str::to_owned);
    let query: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let path = format!("{path}?{field}={query}");
    Call::new(rpc, json!({ field: value }), Method::GET, path, Value::Null)
}

fn update(rpc: &'static str, field: &str, path: &str, resource: Value, mask: &str) -> Call {
    let message = json!({ field: resource.clone(), "update_mask": mask });
    let path = format!("{path}?update_mask={mask}");
    Call::new(rpc, message, Method::PATCH, path, resource)
}

/// A new provider, with one field changed.
fn provider(field: &str, value: Value) -> Call {
    let mut provider = json!({
        "name": "new",
        "oauth2": { "issuer": "http://127.0.0.1:9", "client_id": "x", "client_secret": "y" },
        "strategy": { "type": "oauth2" },
    });
    provider[field] = value;
    create_provider(provider)
}

/// What every transport can say, and the field that the error must name.
fn bad_calls(id: &str) -> Vec<(Call, &'static str)> {
    const CONNECTIONS: &str = "dromos.v1.ConnectionService/ListConnections";
    const AUDIT: &str = "dromos.v1.AuditService/ListAuditEvents";
    const UPDATE: &str = "dromos.v1.ProviderService/UpdateProvider";
    let workspace = "dromos.v1.WorkspaceService/GetWorkspace";
    let key = "dromos.v1.AccessService/GetApiKey";
    let long = "x".repeat(1025);
    let many: Value = (0..65).map(|n| (format!("k{n}"), "v")).collect();
    let sim = || json!({ "name": "sim", "display_name": "x" });
    vec![
        (check("not-an-id"), "connection_id"),
        (token(&id.to_ascii_uppercase()), "connection_id"),
        (token(&id.replace('-', "")), "connection_id"),
        (
            refresh("00000000-0000-0000-0000-000000000000"),
            "connection_id",
        ),
        (
            get(workspace, "workspace_id", "/v1/workspaces", "7"),
            "workspace_id",
        ),
        (get(key, "api_key_id", "/v1/api-keys", "none"), "api_key_id"),
        (asked("user_id", "".into()), "user_id"),
        (asked("user_id", long.clone().into()), "user_id"),
        (asked("user_id", "a\0b".into()), "user_id"),
        (asked("user_id", "a\u{1b}[2Jb".into()), "user_id"),
        (asked("return_url", "a\0b".into()), "return_url"),
        (
            asked("return_url", "https://elsewhere.example.com/".into()),
            "return_url",
        ),
        (
            asked("return_url", "javascript:alert(1)".into()),
            "return_url",
        ),
        (asked("scopes", json!([""])), "scopes"),
        (asked("scopes", json!(["a\0b"])), "scopes"),
        (asked("metadata", json!({ "k": "a\0b" })), "metadata"),
        (asked("metadata", json!({ "a\0b": "v" })), "metadata"),
        (asked("metadata", json!({ "k": long })), "metadata"),
        (asked("metadata", many), "metadata"),
        (asked("provider_id", "x".into()), "provider_id"),
        (asked("request_id", "two words".into()), "request_id"),
        (asked("request_id", "x".repeat(129).into()), "request_id"),
        (
            list(CONNECTIONS, "/v1/connections", "page_size", json!(-1)),
            "page_size",
        ),
        (
            list(CONNECTIONS, "/v1/connections", "page_token", json!("x")),
            "page_token",
        ),
        (
            list(CONNECTIONS, "/v1/connections", "user_id", json!("a\0b")),
            "user_id",
        ),
        (
            list(
                CONNECTIONS,
                "/v1/connections",
                "provider_name",
                json!("a\0b"),
            ),
            "provider_name",
        ),
        (
            list(AUDIT, "/v1/audit", "connection_id", json!("x")),
            "connection_id",
        ),
        (list(AUDIT, "/v1/audit", "action", json!("a\0b")), "action"),
        (
            update(UPDATE, "provider", "/v1/providers/sim", sim(), "nothing"),
            "update_mask",
        ),
        (
            update(
                UPDATE,
                "provider",
                "/v1/providers/sim",
                sim(),
                "oauth2.nothing",
            ),
            "update_mask",
        ),
        (
            update(UPDATE, "provider", "/v1/providers/sim", sim(), "name.x"),
            "update_mask",
        ),
        (provider("name", "Sim".into()), "name"),
        (provider("name", "-sim".into()), "name"),
        (provider("name", "x".repeat(64).into()), "name"),
        (provider("name", "a\0b".into()), "name"),
        (provider("display_name", "a\0b".into()), "display_name"),
        (
            provider("api_base_url", "ftp://example.com".into()),
            "api_base_url",
        ),
        (provider("oauth2", Value::Null), "oauth2"),
        (
            provider("oauth2", json!({ "client_id": "a\0b" })),
            "oauth2.client_id",
        ),
        (
            provider("strategy", json!({ "type": "none-such" })),
            "strategy.type",
        ),
    ]
}

both!(
    a_malformed_field_is_named_on_every_transport,
    |world: World| async move {
        let id = world.connect("ada").await;
        for (number, (call, field)) in bad_calls(&id).into_iter().enumerate() {
            let mut refusals: Vec<Refusal> = vec![];
            for via in VIAS {
                let answer = via.call(&world, &call).await;
                let shown = format!("{number} over {via:?}: {answer:?}");
                let Err(refusal) = answer.result else {
                    panic!("no error; {shown}");
                };
                assert_eq!(refusal.code, 3, "{shown}");
                assert!(answer.http.is_none_or(|http| http == 400), "{shown}");
                assert!(refusal.fields().contains(&field), "{field}; {shown}");
                assert!(!refusal.message.contains('\0'), "{shown}");
                refusals.push(refusal);
            }
            assert_eq!(refusals[0], refusals[1], "{number}");
            assert_eq!(refusals[0], refusals[2], "{number}");
        }
        serves(&world, &id).await;
        let (_, all) = world.get("/v1/connections").await;
        assert_eq!(all["connections"].as_array().map(Vec::len), Some(1));
    }
);

both!(
    a_name_that_nothing_can_have_names_nothing,
    |world: World| async move {
        for name in ["a\0b".to_owned(), "Sim".to_owned(), "x".repeat(2000)] {
            let encoded = name.replace('\0', "%00");
            let get = Call::new(
                "dromos.v1.ProviderService/GetProvider",
                json!({ "name": name }),
                Method::GET,
                format!("/v1/providers/{encoded}"),
                Value::Null,
            );
            let delete = Call::new(
                "dromos.v1.ProviderService/DeleteProvider",
                json!({ "name": name }),
                Method::DELETE,
                format!("/v1/providers/{encoded}"),
                Value::Null,
            );
            for call in [get, delete, asked("provider_name", name.into())] {
                for via in VIAS {
                    let answer = via.call(&world, &call).await;
                    let refusal = answer.result.expect_err("no such name");
                    assert_eq!(
                        (refusal.code, refusal.reason()),
                        (5, "PROVIDER_NOT_FOUND"),
                        "{via:?}"
                    );
                }
            }
        }
        let sim = VIAS[2].call(&world, &get_provider("sim")).await;
        assert!(sim.result.is_ok());
    }
);

/// The connection is as it was.
pub async fn serves(world: &World, id: &str) {
    for via in VIAS {
        let payload = via.call(world, &token(id)).await.result.expect("a token");
        assert_eq!(payload["generation"], 1, "{via:?}");
    }
}
