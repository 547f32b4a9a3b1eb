//! Keys are rotated while everything goes on, and nothing is lost by it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use chrono::TimeDelta;
use dromos_broker::{
    domain::{
        access::{ApiKey, Caller, Scope},
        id::{ApiKeyId, ConnectionId, DataKeyId, ProviderId, WorkspaceId},
        page::PageRequest,
        sealed::{Place, SEALED_COLUMNS, SEALS_AT_MOST, SEALS_UNTIL_RETIREMENT, Sealed},
    },
    flow::{self, Core},
    store::{Reseal, SealedRow, UpstreamRevocation},
};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    database::Database,
    world::{World, both, eventually, fields, reason},
};

const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
const SECRET: &[u8] = b"a made-up secret";

async fn keys(world: &World) -> Value {
    let (status, keys) = world.get("/v1/keys").await;
    assert_eq!(status, StatusCode::OK, "{keys}");
    keys
}

/// The active data key of the default workspace.
async fn active(core: &Core) -> DataKeyId {
    let key = core.store.active_data_key(WORKSPACE).await;
    key.expect("the store answers").expect("a key").data_key_id
}

pub async fn rotate(world: &World, body: Value) -> Value {
    let (status, rotation) = world.post("/v1/keys:rotate", body).await;
    assert_eq!(status, StatusCode::OK, "{rotation}");
    rotation
}

/// Somebody who may.
fn operator(core: &Core) -> Caller {
    Caller {
        key: Arc::new(ApiKey {
            id: ApiKeyId(core.ambient.id()),
            workspace_id: WORKSPACE,
            name: String::new(),
            scopes: vec![Scope::Operator],
            created_at: core.ambient.now(),
            expires_at: None,
            last_used_at: None,
        }),
        request_id: "request-1".to_owned(),
    }
}

/// Until a rotation has ended: what it says then.
pub async fn ended(world: &World, rotation: &Value) -> Value {
    let find = async || {
        let keys = keys(world).await;
        let rotations = keys["rotations"].as_array().expect("a list").clone();
        let found = rotations.into_iter().find(|r| r["id"] == rotation["id"]);
        found.expect("it is listed")
    };
    eventually("the rotation ends", async || {
        find().await.get("finished_at").is_some()
    })
    .await;
    find().await
}

/// How many ciphertexts name a key that is not active.
async fn rows_left(world: &World) -> u64 {
    let keys = keys(world).await;
    let keys = keys["data_keys"].as_array().expect("a list").clone();
    keys.iter()
        .filter_map(|key| key["rows_left"].as_u64())
        .sum()
}

/// Which data key a ciphertext names.
fn key_of(sealed: &Sealed) -> &[u8] {
    &sealed.0[1..17]
}

async fn usage(core: &Core, id: &str) -> (u32, Sealed) {
    let id: ConnectionId = id.parse().expect("an id");
    let held = core.store.credential(WORKSPACE, id).await;
    let held = held.expect("the store answers").expect("a credential");
    (held.generation, held.content.usage)
}

/// Sealed tokens that wait for their revocation; the clock stands still, so
/// they are never due: each is its place and its row.
async fn seed(core: &Core, count: usize) -> Vec<UpstreamRevocation> {
    let mut rows = vec![];
    for _ in 0..count {
        let mut row = UpstreamRevocation {
            id: core.ambient.id(),
            workspace_id: WORKSPACE,
            connection_id: ConnectionId(core.ambient.id()),
            provider_id: ProviderId(core.ambient.id()),
            token: Sealed(vec![]),
            created_at: core.ambient.now(),
            attempts: 0,
            next_attempt_at: core.ambient.now() + TimeDelta::days(1),
        };
        row.token = core.vault.seal(&place(&row), SECRET).await.expect("sealed");
        let inserted = core.store.insert_upstream_revocation(&row).await;
        inserted.expect("the store answers");
        rows.push(row);
    }
    rows
}

fn place(row: &UpstreamRevocation) -> Place {
    Place {
        workspace_id: row.workspace_id,
        table: "upstream_revocations",
        row: row.id,
        field: "token",
        generation: 0,
    }
}

/// All of them are under the active key, and open.
async fn all_open(core: &Core, count: usize) {
    let key = active(core).await;
    let due = core.ambient.now() + TimeDelta::days(1);
    let rows = core
        .store
        .claim_upstream_revocations(due, due, 10_000)
        .await;
    let rows = rows.expect("the store answers");
    assert_eq!(rows.len(), count);
    for row in rows {
        assert_eq!(key_of(&row.token), key.0.as_bytes());
        let opened = core.vault.open(&place(&row), &row.token).await;
        assert_eq!(opened.expect("it opens").expose_secret(), SECRET);
    }
}

both!(
    data_keys_are_rotated_while_everything_is_served,
    |world: World| async move {
        let mut ids = vec![];
        for user in 0..4 {
            ids.push(world.connect(&format!("user-{user}")).await);
        }
        seed(&world.core, 250).await;
        let open_consent = world.request_connection("late").await;
        let before = active(&world.core).await;

        let world = Arc::new(world);
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let serving = ids.iter().cloned().enumerate().map(|(index, id)| {
            let (world, stop, served) = (world.clone(), stop.clone(), served.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let (status, token) = if index == 0 {
                        world.refresh(&id, json!({})).await
                    } else {
                        world.token(&id).await
                    };
                    assert_eq!(status, StatusCode::OK, "{token}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let serving: Vec<_> = serving.collect();
        let asked = served.load(Ordering::Relaxed);
        let rotation = rotate(&world, json!({})).await;
        assert_eq!(rotation["target"], "DATA_KEYS");
        let rotation = ended(&world, &rotation).await;
        let during = served.load(Ordering::Relaxed) - asked;
        stop.store(true, Ordering::Relaxed);
        for task in serving {
            task.await.expect("everything was served");
        }
        assert!(during > 0, "nothing was served meanwhile");

        assert_ne!(active(&world.core).await, before);
        assert!(
            rotation["total"].as_u64().expect("a number") >= 250,
            "{rotation}"
        );
        assert_eq!(rotation["done"], rotation["total"]);
        assert_eq!(rotation["failed"], 0);
        assert_eq!(rows_left(&world).await, 0);
        all_open(&world.core, 250).await;
        // The refresh needs the refresh token and the client secret; the
        // consent, its verifier.
        for id in &ids {
            assert_eq!(world.refresh(id, json!({})).await.0, StatusCode::OK);
        }
        let end = world.consent(&open_consent).await;
        assert_eq!(crate::world::query(&end, "error"), None, "{end}");
        assert_eq!(world.audit("keys.rotation_requested").await.len(), 1);
    }
);

both!(
    a_rotation_whose_broker_is_killed_is_ended_by_another,
    |mut world: World| async move {
        seed(&world.core, 350).await;
        world.halt().await;
        let core = world.core.clone();
        let caller = operator(&core);
        let target = dromos_broker::domain::keys::RotationTarget::DataKeys;
        let asked = flow::keys::rotate(&core, &caller, target, None).await;
        let asked = asked.expect("it is begun");
        let worker = {
            let core = core.clone();
            tokio::spawn(async move { flow::keys::once(&core).await })
        };
        let progress = async || {
            let rotations = core.store.rotations(1).await.expect("the store answers");
            rotations[0].progress
        };
        eventually("it has begun", async || progress().await.done > 0).await;
        worker.abort();
        let _ = worker.await;
        let stopped_at = progress().await;
        assert!(stopped_at.done < stopped_at.total, "{stopped_at:?}");

        world.resume(&[]).await;
        // Its lease has not run out yet, so nobody else goes on.
        assert!(
            !flow::keys::once(&world.core)
                .await
                .expect("the store answers")
        );
        let expired = match world.database_url.starts_with("postgres") {
            true => "update key_rotations set lease_until = now() - interval '1 second'",
            false => "update key_rotations set lease_until = '2000-01-01 00:00:00+00:00'",
        };
        world.sql(expired).await;
        let rotation = json!({ "id": asked.id.to_string() });
        let rotation = ended(&world, &rotation).await;
        assert_eq!(rotation["done"], rotation["total"]);
        assert!(
            rotation["total"].as_i64() >= Some(stopped_at.total),
            "{rotation}"
        );
        assert_eq!(rows_left(&world).await, 0);
        all_open(&world.core, 350).await;
    }
);

both!(
    a_broker_that_has_not_heard_of_a_rotation_uses_the_new_key_at_once,
    |world: World| async move {
        let other = world.join().await;
        let id = world.connect("user-1").await;
        // Now the other one knows the active key as well.
        assert_eq!(other.refresh(&id, json!({})).await.0, StatusCode::OK);
        let before = active(&world.core).await;
        let stale = seed(&other.core, 1).await.remove(0);
        let now = world.core.ambient.now();
        let rotated = world.core.vault.rotate(WORKSPACE, before, now).await;
        rotated.expect("a new key");
        let after = active(&world.core).await;
        assert_ne!(before, after);

        // What was sealed under the old key is not stored any more…
        let mut late = stale.clone();
        late.id = world.core.ambient.id();
        let refused = other.core.store.insert_upstream_revocation(&late).await;
        assert!(refused.is_err_and(|error| error.is_stale_seal));
        // …and nobody notices: everything that seals does it again.
        assert_eq!(other.refresh(&id, json!({})).await.0, StatusCode::OK);
        assert_eq!(key_of(&usage(&world.core, &id).await.1), after.0.as_bytes());
        let forget = || world.core.vault.rotate(WORKSPACE, after, now);
        forget().await.expect("a new key");
        let newest = active(&world.core).await;
        let change = json!({ "oauth2": { "client_secret": world.simulator.client_secret() } });
        let path = "/v1/providers/sim?update_mask=oauth2.client_secret";
        let (status, changed) = other.call(Method::PATCH, path, change).await;
        assert_eq!(status, StatusCode::OK, "{changed}");
        let provider = world.core.store.provider_by_name(WORKSPACE, "sim").await;
        let provider = provider.expect("the store answers").expect("a provider");
        let secret = provider.client_secret.expect("a secret");
        assert_eq!(key_of(&secret), newest.0.as_bytes());
        for broker in [&world.core, &other.core] {
            let (generation, sealed) = usage(broker, &id).await;
            let place = SEALED_COLUMNS[1].place(
                WORKSPACE,
                id.parse::<ConnectionId>().expect("an id").0,
                generation,
            );
            broker.vault.open(&place, &sealed).await.expect("it opens");
        }
        other.stop().await;
    }
);

both!(
    a_rotation_never_writes_back_an_older_generation,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let core = &world.core;
        let column = &SEALED_COLUMNS[1];
        let before = active(core).await;
        let rotated = core.vault.rotate(WORKSPACE, before, core.ambient.now());
        rotated.await.expect("a new key");
        // The rotation reads the row, and is slow…
        let rows = core
            .store
            .sealed_rows(column, WORKSPACE, &[before], None, 10)
            .await
            .expect("the store answers");
        let [read] = &rows[..] else {
            panic!("one row: {rows:?}");
        };
        let place = column.place(WORKSPACE, read.row, read.generation);
        let sealed = core
            .vault
            .reseal(&place, &read.sealed)
            .await
            .expect("it opens");
        let slow = Reseal {
            read: read.clone(),
            sealed,
        };
        // …while the credential is refreshed.
        assert_eq!(world.refresh(&id, json!({})).await.0, StatusCode::OK);
        let (generation, newer) = usage(core, &id).await;
        assert_eq!(generation, read.generation + 1);
        let swapped = core
            .store
            .reseal(column, WORKSPACE, vec![slow.clone()])
            .await;
        assert_eq!(swapped.expect("the store answers"), 0);
        assert_eq!(usage(core, &id).await, (generation, newer.clone()));

        // The generation alone decides, too, and the ciphertext alone.
        for read in [
            SealedRow {
                generation: generation - 1,
                sealed: newer.clone(),
                ..slow.read.clone()
            },
            SealedRow {
                generation,
                ..slow.read.clone()
            },
        ] {
            let swap = Reseal {
                read,
                ..slow.clone()
            };
            let swapped = core.store.reseal(column, WORKSPACE, vec![swap]).await;
            assert_eq!(swapped.expect("the store answers"), 0);
        }
        assert_eq!(usage(core, &id).await, (generation, newer));
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
    }
);

both!(
    what_does_not_open_is_counted_and_stays,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let mut database = Database::of(&world).await;
        let at = database.id(&id);
        // Its last bytes, of which the tag is made.
        let spoilt = match world.database_url.starts_with("postgres") {
            true => {
                "set_byte(usage, length(usage) - 1, (get_byte(usage, length(usage) - 1) + 1) % 256)"
            }
            false => "cast(substr(usage, 1, length(usage) - 4) || x'00010203' as blob)",
        };
        database
            .execute(&format!(
                "update credentials set usage = {spoilt} where connection_id = {at}"
            ))
            .await;
        let (_, before) = usage(&world.core, &id).await;
        let rotation = rotate(&world, json!({})).await;
        let rotation = ended(&world, &rotation).await;
        assert_eq!(rotation["failed"], 1, "{rotation}");
        assert_eq!(rows_left(&world).await, 1);
        assert_eq!(usage(&world.core, &id).await.1, before);
    }
);

both!(
    a_data_key_retires_long_before_it_has_sealed_too_often,
    |world: World| async move {
        let core = &world.core;
        let before = active(core).await;
        let keys = core
            .store
            .data_keys(
                Some(WORKSPACE),
                PageRequest {
                    size: 10,
                    after: None,
                },
            )
            .await
            .expect("the store answers");
        // What a process may use is written down before it uses it.
        assert!(keys[0].seals > 0 && keys[0].seals < 1 << 20, "{keys:?}");
        world
            .sql(&format!(
                "update data_keys set seals = {SEALS_UNTIL_RETIREMENT}"
            ))
            .await;
        flow::keys::once(core).await.expect("the store answers");
        eventually("another key is active", async || {
            active(core).await != before
        })
        .await;
        eventually("nothing is left", async || rows_left(&world).await == 0).await;
    }
);

both!(
    a_data_key_that_has_sealed_as_often_as_it_may_seals_no_more,
    |mut world: World| async move {
        world.halt().await;
        let core = world.core.clone();
        let sealed = seed(&core, 1).await.remove(0);
        world
            .sql(&format!("update data_keys set seals = {SEALS_AT_MOST}"))
            .await;
        core.vault.forget_active(WORKSPACE);
        let refused = core.vault.seal(&place(&sealed), SECRET).await;
        assert!(refused.is_err());
        // What is sealed still opens, and a rotation mends it.
        core.vault
            .open(&place(&sealed), &sealed.token)
            .await
            .expect("it opens");
        while flow::keys::once(&core).await.expect("the store answers") {}
        core.vault
            .seal(&place(&sealed), SECRET)
            .await
            .expect("a new key");
        all_open(&core, 1).await;
    }
);

both!(
    the_key_encryption_key_is_rotated_while_everything_is_served,
    |mut world: World| async move {
        const NEW: &str = "bmV3IGtleS1lbmNyeXB0aW9uIGtleSwgMzIgYnl0ZXM=";
        let id = world.connect("user-1").await;
        let old = world
            .settings()
            .into_iter()
            .find(|entry| entry.0 == "ENCRYPTION_KEY");
        let old = old.expect("it has one").1;
        let before = keys(&world).await["key_encryption_keys"].clone();
        assert_eq!(before.as_array().map(Vec::len), Some(1), "{before}");

        world.halt().await;
        let both = [
            ("ENCRYPTION_KEY", NEW),
            ("ENCRYPTION_KEY_PREVIOUS", old.as_str()),
        ];
        world.resume(&both).await;
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
        let during = keys(&world).await["key_encryption_keys"].clone();
        assert_eq!(during.as_array().map(Vec::len), Some(2), "{during}");

        let rotation = rotate(&world, json!({ "target": "KEY_ENCRYPTION_KEY" })).await;
        let rotation = ended(&world, &rotation).await;
        assert_eq!(
            (&rotation["done"], &rotation["failed"]),
            (&json!(2), &json!(0)),
            "the workspace's key, and the audit's"
        );
        let after = keys(&world).await["key_encryption_keys"].clone();
        assert_eq!(after.as_array().map(Vec::len), Some(1), "{after}");
        assert_eq!(after[0]["current"], true);
        assert_ne!(after[0]["id"], before[0]["id"]);
        assert_eq!(world.refresh(&id, json!({})).await.0, StatusCode::OK);

        // The old key is not needed any more.
        world.halt().await;
        world.resume(&[("ENCRYPTION_KEY", NEW)]).await;
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
    }
);

both!(
    a_deleted_workspace_is_shredded_on_every_broker,
    |world: World| async move {
        let (workspace, key) = crate::isolation::second_workspace(&world).await;
        let provider = json!({
            "name": "sim",
            "oauth2": {
                "issuer": world.simulator.url(), "client_id": "c", "client_secret": "made up",
            },
        });
        let (status, provider) = world
            .call_as(&key, Method::POST, "/v1/providers", provider)
            .await;
        assert_eq!(status, StatusCode::OK, "{provider}");
        let workspace_id: WorkspaceId = workspace.parse().expect("an id");
        let other = world.join().await;
        let stored = other.core.store.provider_by_name(workspace_id, "sim").await;
        let stored = stored.expect("the store answers").expect("a provider");
        // As a backup would have it.
        let sealed = stored.client_secret.clone().expect("a secret");
        let place = SEALED_COLUMNS[0].place(workspace_id, stored.id.0, 1);
        for core in [&world.core, &other.core] {
            let opened = core.vault.open(&place, &sealed).await.expect("it opens");
            assert_eq!(opened.expose_secret(), b"made up");
        }
        let path = format!("/v1/workspaces/{workspace}?force=true");
        let (status, error) = world.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{error}");
        assert!(world.core.vault.open(&place, &sealed).await.is_err());
        let forgotten = async {
            while other.core.vault.open(&place, &sealed).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let bound = std::time::Duration::from_secs(5);
        tokio::time::timeout(bound, forgotten)
            .await
            .expect("within five seconds");
        // Nothing can be written for it either.
        let event = dromos_broker::domain::audit::AuditEvent::new(
            &world.core.ambient,
            dromos_broker::domain::audit::Action::ProviderCreated,
            dromos_broker::domain::audit::Actor::Anonymous(workspace_id, ""),
        );
        let refused = other.core.store.insert_provider(&stored, event).await;
        assert!(refused.is_err_and(|error| error.is_stale_seal));
        other.stop().await;
    }
);

both!(
    every_column_that_holds_ciphertext_is_rotated_and_guarded,
    |world: World| async move {
        let postgres = world.database_url.starts_with("postgres");
        let columns = match postgres {
            true => {
                "select table_name || '.' || column_name as line from information_schema.columns \
                     where table_schema = 'public' and data_type = 'bytea'"
            }
            false => {
                "select m.name || '.' || c.name as line from sqlite_master m, \
                      pragma_table_info(m.name) c where m.type = 'table' and lower(c.type) = 'blob'"
            }
        };
        let triggers = match postgres {
            true => "select distinct trigger_name::text as line from information_schema.triggers",
            false => "select name as line from sqlite_master where type = 'trigger'",
        };
        let mut database = Database::of(&world).await;
        let triggers = database.lines(triggers).await;
        let mut found = 0;
        for column in database.lines(columns).await {
            // SQLite keeps ids and JSON as blobs too.
            let (_, field) = column.split_once('.').expect("a table and a column");
            let is_plain = field.ends_with("_id")
                || field.ends_with("_hash")
                || field.ends_with("mac")
                || [
                    "lease_owner", "scopes", "definition", "strategy", "connection_config",
                    "metadata", "allowed_return_urls",
                    "event_types",
                ]
                .contains(&field)
                // Sealed by the key-encryption key.
                || column == "data_keys.wrapped";
            if is_plain {
                continue;
            }
            let is_listed = SEALED_COLUMNS
                .iter()
                .any(|sealed| format!("{}.{}", sealed.table, sealed.column) == column);
            // Those rows live for a day.
            assert!(
                is_listed || column == "answers.answer",
                "{column} is not in SEALED_COLUMNS"
            );
            let name = column.replace('.', "_");
            for suffix in ["inserted", "updated"] {
                let trigger = format!("{name}_{suffix}");
                assert!(
                    triggers.contains(&trigger),
                    "{column} has no trigger {trigger}"
                );
            }
            found += 1;
        }
        assert!(found > SEALED_COLUMNS.len(), "{found}");
    }
);

both!(
    the_operator_rotates_one_workspaces_key,
    |world: World| async move {
        let (workspace, key) = crate::isolation::second_workspace(&world).await;
        let provider = json!({
            "name": "sim",
            "oauth2": { "issuer": world.simulator.url(), "client_id": "c", "client_secret": "s" },
        });
        world
            .call_as(&key, Method::POST, "/v1/providers", provider)
            .await;
        let ours = active(&world.core).await;
        // Lists are by time of creation.
        world.clock.advance(1);
        let rotation = rotate(&world, json!({ "workspace_id": workspace })).await;
        assert_eq!(rotation["workspace_id"], workspace.as_str());
        ended(&world, &rotation).await;
        assert_eq!(active(&world.core).await, ours);
        let (_, listed) = world
            .get(&format!("/v1/keys?workspace_id={workspace}"))
            .await;
        let listed = listed["data_keys"].as_array().expect("a list").clone();
        let active: Vec<bool> = listed
            .iter()
            .filter_map(|key| key["active"].as_bool())
            .collect();
        assert_eq!(active, [false, true]);
        for key in &listed {
            assert_eq!(key["workspace_id"], workspace.as_str());
            assert_eq!(key["rows_left"], 0);
        }

        let unknown = uuid::Uuid::now_v7().to_string();
        let (status, error) = world
            .post("/v1/keys:rotate", json!({ "workspace_id": unknown }))
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "WORKSPACE_NOT_FOUND")
        );
        let wrong = json!({ "target": "KEY_ENCRYPTION_KEY", "workspace_id": workspace });
        let (status, error) = world.post("/v1/keys:rotate", wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(fields(&error), ["workspace_id"]);
        // A workspace's admin is no operator.
        for (method, path, body) in [
            (Method::GET, "/v1/keys", Value::Null),
            (Method::POST, "/v1/keys:rotate", json!({})),
        ] {
            let (status, error) = world.call_as(&key, method, path, body).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::FORBIDDEN, "SCOPE_MISSING")
            );
        }
    }
);

both!(
    a_webhooks_secrets_and_what_waits_for_a_confirmation_are_rotated,
    |world: World| async move {
        let hook = json!({ "url": "http://127.0.0.1:9/hook", "disabled": true });
        let (status, created) = world.post("/v1/webhooks", hook).await;
        assert_eq!(status, StatusCode::OK, "{created}");
        let id = created["webhook"]["id"].as_str().expect("an id").to_owned();
        let renew = format!("/v1/webhooks/{id}:rotate-secret");
        assert_eq!(world.post(&renew, json!({})).await.0, StatusCode::OK);
        let body = json!({
            "user_id": "ada", "provider_name": "sim", "return_url": crate::world::RETURN_URL,
            "require_confirmation": true,
        });
        let (_, begun) = world.post("/v1/request-connection", body).await;
        let end = world.consent(&begun).await;
        let code = crate::world::query(&end, "confirmation_code").expect("a code");

        // The client secret, two of the webhook's, what waits, the consent's.
        let rotation = ended(&world, &rotate(&world, json!({})).await).await;
        assert_eq!(
            (&rotation["done"], &rotation["failed"]),
            (&json!(5), &json!(0))
        );
        assert_eq!(rows_left(&world).await, 0);
        let id = begun["connection_id"].as_str().expect("an id");
        let confirm = format!("/v1/connections/{id}:confirm");
        let body = json!({ "confirmation_code": code });
        let (status, confirmed) = world.post(&confirm, body).await;
        assert_eq!(status, StatusCode::OK, "{confirmed}");
        assert_eq!(world.token(id).await.0, StatusCode::OK);

        // A secret that a rotation has not come to yet can be renewed: the one
        // before is sealed anew beside it.
        let key = active(&world.core).await;
        let now = world.core.ambient.now();
        world
            .core
            .vault
            .rotate(WORKSPACE, key, now)
            .await
            .expect("a new key");
        assert_eq!(world.post(&renew, json!({})).await.0, StatusCode::OK);
    }
);

both!(
    a_rotation_that_is_under_way_is_not_begun_twice,
    |mut world: World| async move {
        world.halt().await;
        let core = world.core.clone();
        let caller = operator(&core);
        let target = dromos_broker::domain::keys::RotationTarget::DataKeys;
        let first = flow::keys::rotate(&core, &caller, target, None).await;
        let second = flow::keys::rotate(&core, &caller, target, None).await;
        assert_eq!(first.expect("begun"), second.expect("answered"));
        assert!(flow::keys::once(&core).await.expect("the store answers"));
        assert!(!flow::keys::once(&core).await.expect("the store answers"));
        world.clock.advance(1);
        let third = flow::keys::rotate(&core, &caller, target, None).await;
        let rotations = core.store.rotations(10).await.expect("the store answers");
        assert_eq!(rotations.len(), 2);
        assert_eq!(rotations[0], third.expect("begun"));
    }
);
