//! The events outbox: every change of a connection, in order, none lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use dromos_broker::{
    domain::{
        event::{ConnectionEvent, EventKind},
        id::{ConnectionId, WorkspaceId},
        workspace::Workspace,
    },
    store::{self, Completion, Removed, Retirement, Revocation, Revoked, Store},
};
use dromos_simulator::{Endpoint, Failure};
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    shelf::{Shelf, WORKSPACE},
    world::{Db, World, both, on_both},
};

async fn events(store: &Arc<dyn Store>, id: ConnectionId, after: i64) -> Vec<ConnectionEvent> {
    let read = store.events_after(WORKSPACE, id, after, 1000).await;
    read.expect("the store answers")
}

fn kinds(events: &[ConnectionEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

both!(
    every_change_of_a_connection_is_an_event_numbered_without_gaps,
    |world: World| async move {
        let id = world.connect("user-1").await;
        assert_eq!(world.refresh(&id, json!({})).await.0, StatusCode::OK);
        world
            .simulator
            .fail_next(Endpoint::Token, 1, Failure::error(400, "invalid_grant"));
        assert_eq!(
            world.refresh(&id, json!({})).await.0,
            StatusCode::BAD_REQUEST
        );
        let begun = world.reconnect(&id).await;
        world.consent(&begun).await;
        let path = format!("/v1/connections/{id}:revoke");
        assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);

        let all = events(&world.core.store, id.parse().expect("an id"), 0).await;
        let told: Vec<_> = all
            .iter()
            .map(|event| {
                (
                    event.sequence,
                    event.kind.as_str(),
                    event.status.as_str(),
                    event.generation,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, "connection.requested", "pending", 0),
                (2, "connection.activated", "active", 1),
                (3, "credential.refreshed", "active", 2),
                (4, "connection.attention", "attention", 2),
                (5, "connection.reconnect_requested", "attention", 2),
                (6, "connection.activated", "active", 3),
                (7, "connection.revoked", "revoked", 0),
            ]
        );
        assert_eq!(all[3].reason, "invalid_grant");
        assert!(all.iter().all(|event| event.user_id == "user-1"));
        assert!(
            all.iter()
                .all(|event| event.workspace_id == WorkspaceId::DEFAULT)
        );
    }
);

on_both!(what_did_not_change_anything_is_no_event, |db| async move {
    let shelf = Shelf::new(db).await;
    let provider = shelf.provider("p").await;
    let (connection, consent) = shelf.pending(&provider, "user-1").await;
    // A conflict, then a failed consent of a connection that is ACTIVE.
    assert_eq!(shelf.complete(&consent, 7, 1).await, Completion::Conflict);
    assert_eq!(shelf.complete(&consent, 0, 1).await, Completion::Done);
    let failed = shelf
        .store
        .fail_consent(&consent, "access_denied", shelf.now(), shelf.event())
        .await;
    failed.expect("the store answers");
    assert_eq!(
        kinds(&events(&shelf.store, connection.id, 0).await),
        ["connection.requested", "connection.activated"]
    );
});

on_both!(
    what_time_does_is_an_event_once_it_is_recorded,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let (late, _) = shelf.pending(&provider, "late").await;
        let (short, consent) = shelf.pending(&provider, "short").await;
        let mut credential = shelf.credential(1);
        credential.refresh = None;
        credential.refresh_at = None;
        let completed = store::CompletedConsent {
            workspace_id: WORKSPACE,
            connection_id: short.id,
            consent_id: consent.id,
            at: shelf.now(),
            generation: 0,
            credential,
            scopes: vec![],
            subject: None,
            confirmed: false,
        };
        let done = shelf.store.complete_consent(completed, shelf.event()).await;
        assert_eq!(done.expect("the store answers"), Completion::Done);
        shelf.clock.advance(3600);
        // Two brokers may look at the same time; one records it.
        for _ in 0..2 {
            let tidied = shelf.store.tidy(shelf.now()).await;
            tidied.expect("the store answers");
        }
        let late = events(&shelf.store, late.id, 0).await;
        assert_eq!(kinds(&late), ["connection.requested", "connection.failed"]);
        assert_eq!(late[1].reason, "consent_timeout");
        let short_events = events(&shelf.store, short.id, 0).await;
        assert_eq!(
            kinds(&short_events),
            [
                "connection.requested",
                "connection.activated",
                "connection.expired"
            ]
        );
        assert_eq!(short_events[2].reason, "credential_expired");
        let found = shelf.store.connection(WORKSPACE, short.id).await;
        let found = found.expect("the store answers").expect("a row");
        assert_eq!(Some(found.updated_at), found.expires_at);
    }
);

on_both!(events_are_kept_for_seven_days, |db| async move {
    let shelf = Shelf::new(db).await;
    let provider = shelf.provider("p").await;
    let connection = shelf.active(&provider, "user-1").await;
    let kept = async || {
        let tidied = shelf.store.tidy(shelf.now()).await;
        tidied.expect("the store answers");
        events(&shelf.store, connection.id, 0).await.len()
    };
    shelf.clock.advance(7 * 24 * 3600 - 1);
    assert_eq!(kept().await, 2);
    shelf.clock.advance(1);
    assert_eq!(kept().await, 0);
    // The numbers go on, so a reader sees that something is missing.
    let read = shelf.store.numbered_connection(WORKSPACE, connection.id);
    let numbered = read.await.expect("the store answers").expect("a row");
    assert_eq!((numbered.sequence, numbered.generation), (2, 1));
});

on_both!(
    a_reader_who_asks_for_what_is_new_misses_nothing_of_concurrent_writers,
    |db| async move {
        const WRITERS: usize = 8;
        const EACH: usize = 12;
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let connection = shelf.active(&provider, "user-1").await;
        let mut stores = vec![shelf.store.clone()];
        if matches!(db, Db::Postgres) {
            stores.push(shelf.another().await);
        }
        let done = Arc::new(AtomicBool::new(false));
        let reading = {
            let (store, done, id) = (stores[0].clone(), done.clone(), connection.id);
            tokio::spawn(async move {
                let mut seen: Vec<i64> = vec![];
                loop {
                    let last_round = done.load(Ordering::SeqCst);
                    let after = seen.last().copied().unwrap_or(0);
                    let new = events(&store, id, after).await;
                    seen.extend(new.iter().map(|event| event.sequence));
                    if last_round {
                        return seen;
                    }
                    tokio::task::yield_now().await;
                }
            })
        };
        let writing = (0..WRITERS).map(|n| {
            let store = stores[n % stores.len()].clone();
            let consents: Vec<_> = (0..EACH).map(|_| shelf.consent_row(&connection)).collect();
            let audits: Vec<_> = (0..EACH).map(|_| shelf.event()).collect();
            async move {
                for (consent, audit) in consents.iter().zip(audits) {
                    let begun = store.insert_consent(consent, audit).await;
                    assert!(begun.expect("the store answers"));
                }
            }
        });
        futures_util::future::join_all(writing).await;
        done.store(true, Ordering::SeqCst);
        let seen = reading.await.expect("the reader ends well");
        let last = i64::try_from(WRITERS * EACH + 2).expect("a small number");
        assert_eq!(seen, (1..=last).collect::<Vec<_>>());
        let all = events(&shelf.store, connection.id, 2).await;
        assert!(
            all.iter()
                .all(|event| event.kind == EventKind::ConnectionReconnectRequested)
        );
    }
);

on_both!(a_workspace_takes_its_events_with_it, |db| async move {
    let shelf = Shelf::new(db).await;
    let provider = shelf.provider("p").await;
    let connection = shelf.active(&provider, "user-1").await;
    let workspace = Workspace {
        id: WORKSPACE,
        name: "w".to_owned(),
        allowed_return_urls: vec![],
        created_at: shelf.now(),
    };
    let (store, now) = (&shelf.store, shelf.now());
    let inserted = store.insert_workspace(&workspace, shelf.event()).await;
    inserted.expect("the store answers");
    let retired = store.retire_workspace(WORKSPACE, now, shelf.event()).await;
    assert!(retired.expect("the store answers"));
    let revocation = Revocation {
        workspace_id: WORKSPACE,
        connection_id: connection.id,
        at: now,
        generation: 1,
        upstream: None,
    };
    let revoked = store
        .revoke_connections(vec![(revocation, shelf.event())])
        .await;
    assert_eq!(revoked.expect("the store answers"), [Revoked::Done]);
    let kinds: Vec<EventKind> = events(store, connection.id, 1)
        .await
        .iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        kinds,
        [EventKind::ConnectionActivated, EventKind::ConnectionRevoked]
    );
    let retirement = Retirement {
        workspace_id: WORKSPACE,
        provider_id: None,
    };
    for expected in [Removed::Some, Removed::All] {
        let removed = store.remove_retired(retirement, 10).await;
        assert_eq!(removed.expect("the store answers"), expected);
    }
    assert_eq!(events(&shelf.store, connection.id, 0).await, []);
});
