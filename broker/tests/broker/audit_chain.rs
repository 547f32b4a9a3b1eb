//! The audit proves something: what is done to its rows in the database shows
//! in the verification of an export, and what the broker does to them doesn't.

use chrono::TimeDelta;
use dromos_audit::{
    ExportedRow, Fault, Kek, Mark, Record, Report, WrappedKey, read_heads, read_keys, read_line,
    verify,
};
use dromos_broker::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        id::WorkspaceId,
    },
    flow::{audit_export::Auditor, audit_heads},
};
use dromos_serve::Settings;
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::{
    database::Database,
    key_rotation,
    network::Line,
    world::{ADMIN_KEY, Db, World, both, on_both},
};

/// The world's ENCRYPTION_KEY: all that a verification needs.
const KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// The export, as anybody with an operator's key gets it by curl.
async fn export(world: &World) -> String {
    let answer = world
        .http
        .get(format!("{}/v1/audit:export", world.gateway_url))
        .bearer_auth(ADMIN_KEY)
        .send()
        .await
        .expect("the gateway answers");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.expect("a whole stream")
}

fn check(export: &str, heads: Vec<Mark>) -> Report {
    let keys = [Kek::parse(KEY).expect("a key")];
    let unwrap = |wrapped: &_| Kek::unwrap(&keys, wrapped).map_err(|error| error.to_string());
    verify(export.as_bytes(), unwrap, heads).expect("the export can be read")
}

fn rows(export: &str) -> Vec<ExportedRow> {
    let records = export
        .lines()
        .map(|line| read_line(line).expect("a record"));
    records
        .filter_map(|record| match record {
            Record::Row(row) => Some(row),
            _ => None,
        })
        .collect()
}

/// The longest chain: its writer, as the database writes it, and its rows.
struct Target {
    writer: String,
    rows: Vec<ExportedRow>,
}

/// Does enough that some writer has more than ten rows, and finds that one.
async fn busy(world: &World, database: &Database) -> Target {
    let id = world.connect("ada").await;
    for _ in 0..12 {
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
    }
    let rows = rows(&export(world).await);
    let length = |writer: Uuid| rows.iter().filter(|row| row.writer_id == writer).count();
    let writers = rows.iter().map(|row| row.writer_id);
    let longest = writers.max_by_key(|writer| length(*writer)).expect("rows");
    assert!(length(longest) > 10, "{}", length(longest));
    Target {
        writer: database.id(&longest.to_string()),
        rows: rows
            .into_iter()
            .filter(|row| row.writer_id == longest)
            .collect(),
    }
}

/// Busy, then tampered with by `sql`, in which W is the longest chain's writer
/// and ID a new id: the one finding.
async fn tampered(world: &World, sql: &str) -> (Target, u64, Option<Uuid>, Fault) {
    let mut database = Database::of(world).await;
    let target = busy(world, &database).await;
    let before = check(&export(world).await, vec![]);
    assert_eq!(before.broken, [], "whole before it is tampered with");
    let new = database.id(&world.core.ambient.id().to_string());
    database
        .execute(&sql.replace("ID", &new).replace('W', &target.writer))
        .await;
    let report = check(&export(world).await, vec![]);
    assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
    let broken = report.broken[0].clone();
    assert_eq!(broken.writer_id, target.rows[0].writer_id);
    (target, broken.seq, broken.id, broken.fault)
}

both!(a_changed_row_is_found, |world: World| async move {
    let sql = "update audit_events set user_id = 'mallory' where writer_id = W and seq = 4";
    let (target, seq, id, fault) = tampered(&world, sql).await;
    assert_eq!((seq, fault), (4, Fault::Changed));
    assert_eq!(id, Some(target.rows[4].id));
});

both!(a_removed_row_is_found, |world: World| async move {
    let sql = "delete from audit_events where writer_id = W and seq = 4";
    let (_, seq, _, fault) = tampered(&world, sql).await;
    assert_eq!((seq, fault), (4, Fault::Removed { rows: 1 }));
});

both!(
    a_removed_row_is_found_though_the_others_close_ranks,
    |world: World| async move {
        let sql = "delete from audit_events where writer_id = W and seq = 4;
            update audit_events set seq = 1 - seq where writer_id = W and seq > 4;
            update audit_events set seq = -seq where writer_id = W and seq < 0";
        let (_, seq, _, fault) = tampered(&world, sql).await;
        assert_eq!((seq, fault), (4, Fault::Removed { rows: 1 }));
    }
);

both!(an_inserted_row_is_found, |world: World| async move {
    let sql = "update audit_events set seq = -1 - seq where writer_id = W and seq >= 4;
        update audit_events set seq = -seq where writer_id = W and seq < 0;
        insert into audit_events
            (workspace_id, audit_event_id, occurred_at, action, error, api_key_id, user_id,
             connection_id, provider_name, request_id, writer_id, seq, mac)
        select workspace_id, ID, occurred_at, action, error, api_key_id, user_id,
             connection_id, provider_name, request_id, writer_id, 4, mac
        from audit_events where writer_id = W and seq = 3";
    let (target, seq, id, fault) = tampered(&world, sql).await;
    assert_eq!((seq, fault), (4, Fault::Inserted));
    assert!(
        target.rows.iter().all(|row| Some(row.id) != id),
        "the new one"
    );
});

both!(a_reordered_row_is_found, |world: World| async move {
    let sql = "update audit_events set seq = -4 where writer_id = W and seq = 4;
        update audit_events set seq = 4 where writer_id = W and seq = 5;
        update audit_events set seq = 5 where writer_id = W and seq = -4";
    let (target, seq, id, fault) = tampered(&world, sql).await;
    assert_eq!((seq, fault), (4, Fault::Reordered));
    assert_eq!(id, Some(target.rows[5].id));
});

/// A world that writes heads down, and the folder it writes them to.
async fn with_heads(db: Db) -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().display().to_string();
    let world = World::start_empty(db, &[("DATA_DIR", &path)]).await;
    world.create_provider("sim", serde_json::json!({})).await;
    (world, dir)
}

/// All heads that were written down.
fn heads(dir: &tempfile::TempDir) -> Vec<Mark> {
    let files = std::fs::read_dir(dir.path().join("audit-heads")).expect("a folder of heads");
    let files = files.map(|file| std::fs::read(file.expect("a file").path()).expect("it opens"));
    files
        .flat_map(|file| read_heads(&file[..]).expect("heads"))
        .collect()
}

on_both!(a_cut_tail_is_found_by_a_head, |db| async move {
    let (world, dir) = with_heads(db).await;
    let mut database = Database::of(&world).await;
    let target = busy(&world, &database).await;
    audit_heads::tell(&world.core, false).await.expect("heads");
    let last = target.rows.last().expect("rows").seq;
    let cut = format!(
        "delete from audit_events where writer_id = {} and seq > {}",
        target.writer,
        last - 3
    );
    database.execute(&cut).await;
    let export = export(&world).await;
    assert_eq!(
        check(&export, vec![]).broken,
        [],
        "nothing but a head tells"
    );
    let report = check(&export, heads(&dir));
    assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
    let broken = &report.broken[0];
    assert_eq!(broken.writer_id, target.rows[0].writer_id);
    assert_eq!(broken.seq, last - 2);
    let Fault::CutTail { stood_at } = broken.fault else {
        panic!("{broken}");
    };
    assert!(stood_at >= last);
});

on_both!(a_missing_writer_is_found_by_a_head, |db| async move {
    let (world, dir) = with_heads(db).await;
    let mut database = Database::of(&world).await;
    let target = busy(&world, &database).await;
    audit_heads::tell(&world.core, false).await.expect("heads");
    let gone = format!(
        "delete from audit_events where writer_id = {}",
        target.writer
    );
    database.execute(&gone).await;
    let export = export(&world).await;
    assert_eq!(
        check(&export, vec![]).broken,
        [],
        "nothing but a head tells"
    );
    let report = check(&export, heads(&dir));
    assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
    assert_eq!(report.broken[0].writer_id, target.rows[0].writer_id);
    assert_eq!(report.broken[0].fault, Fault::MissingWriter);
});

both!(a_forged_checkpoint_is_found, |world: World| async move {
    let mut database = Database::of(&world).await;
    let target = busy(&world, &database).await;
    // Everything that a thief of the database can know is right in it.
    let forge = format!(
        "insert into audit_checkpoints (writer_id, seq, row_mac, key_id, made_at, mac)
         select writer_id, seq, mac, {}, occurred_at, mac from audit_events
         where writer_id = {w} and seq = 6;
         delete from audit_events where writer_id = {w} and seq <= 6",
        database.id(&target.rows[0].request_id),
        w = target.writer,
    );
    database.execute(&forge).await;
    let report = check(&export(&world).await, vec![]);
    let faults: Vec<Fault> = report.broken.iter().map(|broken| broken.fault).collect();
    assert_eq!(faults[0], Fault::ForgedCheckpoint, "{:?}", report.broken);
    assert!(faults.contains(&Fault::Removed { rows: 7 }), "{faults:?}");
});

on_both!(old_rows_go_and_the_rest_still_verifies, |db| async move {
    let (world, dir) = with_heads(db).await;
    let mut database = Database::of(&world).await;
    busy(&world, &database).await;
    audit_heads::tell(&world.core, false).await.expect("heads");
    world.clock.advance(3600);
    let before = world.core.ambient.now() - TimeDelta::seconds(60);
    busy(&world, &database).await;
    let auditor = Auditor {
        store: world.core.store.clone(),
        key: world.core.audit_key.clone(),
        ambient: world.core.ambient.clone(),
    };
    let was = check(&export(&world).await, heads(&dir));
    assert_eq!(was.broken, []);
    let pruned = auditor.prune(before).await.expect("it is pruned") as u64;
    assert!(pruned > 10, "{pruned}");
    let text = export(&world).await;
    let report = check(&text, heads(&dir));
    assert_eq!(report.broken, []);
    assert!(report.pruned > 0);
    // Its own row, and where a new writer wrote that, the first one too.
    assert!((was.rows - pruned + 1..=was.rows - pruned + 2).contains(&report.rows));
    let kept = rows(&text);
    assert!(kept.iter().any(|row| row.action == "audit.pruned"));
    assert_eq!(auditor.prune(before).await.expect("it is pruned"), 0);

    // A checkpoint is no licence: what stood behind it must still be there.
    let first = kept
        .iter()
        .find(|row| row.seq > 0)
        .expect("a chain that begins later");
    let gone = format!(
        "delete from audit_events where writer_id = {} and seq = {}",
        database.id(&first.writer_id.to_string()),
        first.seq
    );
    database.execute(&gone).await;
    assert_eq!(check(&export(&world).await, vec![]).broken.len(), 1);
});

on_both!(a_clean_stop_closes_every_writer, |db| async move {
    let (mut world, dir) = with_heads(db).await;
    let database = Database::of(&world).await;
    busy(&world, &database).await;
    world.halt().await;
    world.resume(&[]).await;
    let report = check(&export(&world).await, heads(&dir));
    assert_eq!(report.broken, []);
    assert!(report.closed > 0);
    let open = report.writers - report.closed;
    let closing = rows(&export(&world).await);
    let closing = closing
        .iter()
        .filter(|row| row.action == "audit.writer_closed");
    let ends: Vec<_> = closing.map(|row| (row.writer_id, row.seq)).collect();
    assert_eq!(ends.len() as u64, report.closed);
    // Their last rows are known outside, so nobody can cut them off again.
    for (writer, seq) in ends {
        let known = heads(&dir);
        assert!(
            known
                .iter()
                .any(|head| head.writer_id == writer && head.seq == seq)
        );
    }
    assert!(
        open <= 1,
        "only the broker that runs now has writers to close: {open}"
    );
});

both!(
    two_brokers_write_chains_of_their_own,
    |world: World| async move {
        let other = world.join().await;
        let id = world.connect("ada").await;
        let calls = (0..40).map(|n| {
            let (world, other, id) = (&world, &other, &id);
            async move {
                match n % 2 {
                    0 => world.token(id).await.0,
                    _ => other.token(id).await.0,
                }
            }
        });
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(|status| *status == StatusCode::OK));
        other.stop().await;
        let text = export(&world).await;
        let report = check(&text, vec![]);
        assert_eq!(report.broken, []);
        let reads = rows(&text)
            .into_iter()
            .filter(|row| row.action == "credential.read");
        assert_eq!(reads.count(), 40);
    }
);

both!(
    whoever_goes_away_in_the_middle_leaves_no_gap_and_no_doubt,
    |world: World| async move {
        let event = |n: u32| {
            let actor = Actor::Anonymous(WorkspaceId::DEFAULT, "abandoned");
            let event = AuditEvent::new(&world.core.ambient, Action::CredentialRead, actor);
            AuditEvent {
                user_id: n.to_string(),
                ..event
            }
        };
        let mut kept = Vec::new();
        for n in 0..60 {
            let store = world.core.store.clone();
            let event = event(n);
            let writing = tokio::spawn(async move { store.append_audit(vec![event]).await });
            // Somewhere between the first step and the last.
            for _ in 0..n % 12 {
                tokio::task::yield_now().await;
            }
            if n % 3 == 0 {
                writing.await.expect("it runs").expect("it is stored");
                kept.push(n.to_string());
            } else {
                writing.abort();
            }
        }
        let in_doubt = world.core.store.clone();
        crate::world::eventually("all writers in doubt are closed", || async {
            in_doubt.close_audit_writers(false).await.is_ok()
        })
        .await;
        let text = export(&world).await;
        assert_eq!(check(&text, vec![]).broken, []);
        let stored = rows(&text);
        for user in kept {
            assert_eq!(
                stored
                    .iter()
                    .filter(|row| row.user_id == user && row.request_id == "abandoned")
                    .count(),
                1
            );
        }
    }
);

/// Many writers at once, state changes that roll back, and a line to the
/// database that is cut again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_and_goes_leaves_whole_chains() {
    let url = crate::world::create_database().await;
    let mut through = url::Url::parse(&url).expect("a URL");
    let host = through.host_str().expect("a host").to_owned();
    let line = Line::to(format!("{host}:{}", through.port().unwrap_or(5432))).await;
    through.set_host(Some("127.0.0.1")).expect("a host");
    through.set_port(Some(line.port)).expect("a port");
    let world = World::start_empty(Db::Postgres, &[("DATABASE_URL", through.as_str())]).await;
    world.create_provider("sim", serde_json::json!({})).await;
    let id = world.connect("ada").await;

    let mut answered = 0;
    let mut refused = 0;
    for round in 1..=10 {
        let calls = (0..24).map(|n| {
            let (world, id) = (&world, &id);
            async move {
                match n % 4 {
                    // A name that is taken: the transaction ends without a row.
                    0 => {
                        world
                            .try_create_provider("sim", serde_json::json!({}))
                            .await
                            .0
                    }
                    1 => {
                        let body = serde_json::json!({
                            "user_id": format!("user-{n}"), "provider_name": "sim",
                            "return_url": crate::world::RETURN_URL });
                        world.post("/v1/request-connection", body).await.0
                    }
                    _ => world.token(id).await.0,
                }
            }
        });
        // The line is cut when some have their answers: what the others have
        // begun breaks off somewhere.
        let mut calls: FuturesUnordered<_> = calls.collect();
        let mut ended = 0;
        while let Some(status) = calls.next().await {
            ended += 1;
            if ended == round * 2 {
                line.cut();
            }
            match status {
                StatusCode::OK => answered += 1,
                StatusCode::SERVICE_UNAVAILABLE => refused += 1,
                // The name is taken.
                other => assert_eq!(other, StatusCode::CONFLICT),
            }
        }
        line.mend();
        crate::world::eventually("the database is back", || async {
            world.token(&id).await.0 == StatusCode::OK
        })
        .await;
    }
    crate::world::eventually("all writers in doubt are closed", || async {
        world.core.store.close_audit_writers(false).await.is_ok()
    })
    .await;
    let text = export(&world).await;
    let report = check(&text, vec![]);
    assert_eq!(report.broken, []);
    let stored = rows(&text);
    let done = ["credential.read", "connection.requested"];
    let done = stored
        .iter()
        .filter(|row| done.contains(&row.action.as_str()) && row.error.is_none());
    println!(
        "{answered} calls answered, {refused} refused; {} rows of {} writers, {} of them closed",
        report.rows, report.writers, report.closed
    );
    assert!(done.count() >= answered, "a row for every answer");
    assert!(
        answered > 0 && refused > 0,
        "the line was there, and was cut"
    );
    assert!(report.closed > 0, "some commits were in doubt");
}

both!(
    an_audit_over_rotations_of_its_keys_verifies_with_what_the_broker_gives_out,
    |mut world: World| async move {
        const NEW: &str = "bmV3IGtleS1lbmNyeXB0aW9uIGtleSwgMzIgYnl0ZXM=";
        let id = world.connect("user-1").await;
        let rotation = key_rotation::rotate(&world, json!({ "target": "DATA_KEYS" })).await;
        key_rotation::ended(&world, &rotation).await;
        world.halt().await;
        let both = [("ENCRYPTION_KEY", NEW), ("ENCRYPTION_KEY_PREVIOUS", KEY)];
        world.resume(&both).await;
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
        let target = json!({ "target": "KEY_ENCRYPTION_KEY" });
        let rotation = key_rotation::rotate(&world, target).await;
        key_rotation::ended(&world, &rotation).await;
        let export = export(&world).await;

        let mut settings = world.settings();
        settings.retain(|(name, _)| name != "ENCRYPTION_KEY");
        settings.push(("ENCRYPTION_KEY".to_owned(), NEW.to_owned()));
        let settings = Settings::from_map(settings);
        let mut file = Vec::new();
        let written = dromos_broker::export_audit_keys(&settings, &mut file).await;
        assert_eq!(written.expect("it opens the database"), 2);
        let keys = read_keys(std::str::from_utf8(&file).expect("text")).expect("keys");
        let unwrap = |wrapped: &WrappedKey| {
            let found = keys.iter().find(|key| key.id() == wrapped.key_id);
            found.cloned().ok_or_else(|| "another key".to_owned())
        };
        let report = verify(export.as_bytes(), unwrap, vec![]).expect("it can be read");
        assert!(report.broken.is_empty(), "{:?}", report.broken);
        assert!(report.writers > 1, "one a key at least");

        let [new, old] = [NEW, KEY].map(|key| [Kek::parse(key).expect("a key")]);
        let with = |keys: &[Kek; 1]| {
            let unwrap =
                |wrapped: &_| Kek::unwrap(keys, wrapped).map_err(|error| error.to_string());
            verify(export.as_bytes(), unwrap, vec![])
        };
        assert!(with(&new).is_ok_and(|report| report.broken.is_empty()));
        assert!(with(&old).is_err(), "nothing is wrapped by it any more");
    }
);

both!(
    what_was_pruned_after_a_rotation_of_the_audits_key_still_verifies,
    |mut world: World| async move {
        let id = world.connect("user-1").await;
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
        let rotation = key_rotation::rotate(&world, json!({ "target": "DATA_KEYS" })).await;
        key_rotation::ended(&world, &rotation).await;
        world.halt().await;

        // As an operator does it: a program of its own, which signs with the
        // new key.
        let settings = Settings::from_map(world.settings());
        let tomorrow = (chrono::Utc::now() + TimeDelta::days(1)).date_naive();
        let pruned = dromos_broker::prune_audit(&settings, tomorrow, true).await;
        assert!(pruned.expect("it opens the database") > 0);
        world.resume(&[]).await;
        let export = export(&world).await;
        let report = check(&export, vec![]);
        assert!(report.pruned > 0, "{report:?}");
        assert!(report.broken.is_empty(), "{:?}", report.broken);

        // It is not that anything passes behind a checkpoint.
        let first = rows(&export).into_iter().find(|row| row.seq > 0);
        let first = first.expect("a writer that begins at a checkpoint");
        let line = |action: &str| {
            let row = ExportedRow {
                action: action.to_owned(),
                ..first.clone()
            };
            serde_json::to_string(&Record::Row(row)).expect("a line")
        };
        let changed = export.replacen(&line(&first.action), &line("provider.deleted"), 1);
        assert_ne!(changed, export);
        assert!(!check(&changed, vec![]).broken.is_empty());
    }
);
