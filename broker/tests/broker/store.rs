//! The store's own promises, alike on both databases: pages, filters, changes
//! that notice each other, times, and a schema that goes up and down.

use chrono::{TimeDelta, Timelike};
use dromos_broker::{
    domain::{
        access::{ApiKey, KeyHash, Scope},
        connection::{Connection, ConnectionFilter, Status},
        id::{ApiKeyId, ConnectionId, DataKeyId, WorkspaceId},
        page::PageRequest,
        sealed::{Sealed, WrappedDataKey},
        workspace::Workspace,
    },
    store::{
        AnswerClaim, AnswerKey, Completion, Removed, Retired, Retirement, Revocation, Revoked,
    },
};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::{
    shelf::{Shelf, WORKSPACE},
    world::{Db, on_both},
};

const ALL: PageRequest = PageRequest {
    size: 1000,
    after: None,
};

fn page(size: usize, after: Option<Uuid>) -> PageRequest {
    PageRequest { size, after }
}

impl Shelf {
    async fn listed(&self, filter: &ConnectionFilter) -> Vec<ConnectionId> {
        let rows = self.store.connections(WORKSPACE, filter, ALL).await;
        let rows = rows.expect("the store answers");
        rows.iter().map(|row| row.id).collect()
    }
}

on_both!(
    a_list_pages_through_everything_once_and_in_order,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let mut ids = vec![];
        for n in 0..7 {
            shelf.clock.advance(1);
            ids.push(shelf.pending(&provider, &format!("user-{n}")).await.0.id);
        }
        for size in [1, 3, 7, 8] {
            let (mut found, mut after) = (vec![], None);
            loop {
                let request = page(size, after);
                let filter = ConnectionFilter::default();
                let rows = shelf.store.connections(WORKSPACE, &filter, request);
                let page = request.page(rows.await.expect("the store answers"), |row| row.id.0);
                assert!(page.items.len() <= size);
                found.extend(page.items.iter().map(|row| row.id));
                if page.next_page_token.is_empty() {
                    break;
                }
                after = Some(page.next_page_token.parse().expect("a token"));
            }
            assert_eq!(found, ids, "pages of {size}");
        }
    }
);

on_both!(
    filters_show_what_they_name_and_what_time_has_done,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let (p, q) = (shelf.provider("p").await, shelf.provider("q").await);
        let active = shelf.active(&p, "ada").await;
        let (waiting, _) = shelf.pending(&q, "ada").await;
        let other = shelf.active(&q, "bob").await;
        let of = |user: Option<&str>, provider: Option<&str>, status| ConnectionFilter {
            user_id: user.map(str::to_owned),
            provider_name: provider.map(str::to_owned),
            status,
        };
        let mut of_ada = shelf.listed(&of(Some("ada"), None, None)).await;
        of_ada.sort();
        let mut expected = vec![active.id, waiting.id];
        expected.sort();
        assert_eq!(of_ada, expected);
        assert_eq!(
            shelf.listed(&of(Some("ada"), Some("q"), None)).await,
            [waiting.id]
        );
        assert!(
            shelf
                .listed(&of(Some("nobody"), None, None))
                .await
                .is_empty()
        );
        // A credential that can be refreshed does not expire, and a consent does.
        for (seconds, pending, failed) in [
            (599, vec![waiting.id], vec![]),
            (600, vec![], vec![waiting.id]),
        ] {
            let at = shelf.now() + TimeDelta::seconds(seconds);
            let listed = async |status| {
                shelf
                    .listed(&of(Some("ada"), None, Some((status, at))))
                    .await
            };
            assert_eq!(listed(Status::Pending).await, pending, "{seconds}");
            assert_eq!(listed(Status::Failed).await, failed, "{seconds}");
            assert_eq!(listed(Status::Active).await, [active.id], "{seconds}");
            assert!(listed(Status::Expired).await.is_empty());
        }
        // Another workspace sees none of it.
        let elsewhere = WorkspaceId(shelf.ambient.id());
        let rows = shelf
            .store
            .connections(elsewhere, &of(None, None, None), ALL)
            .await;
        assert!(rows.expect("the store answers").is_empty());
        let found = shelf.store.connection(elsewhere, other.id).await;
        assert_eq!(found.expect("the store answers"), None);
    }
);

on_both!(rows_come_back_as_they_went_in, |db| async move {
    let shelf = Shelf::new(db).await;
    let provider = shelf.provider("p").await;
    let (connection, consent) = shelf.pending(&provider, "süße \"user\"'; --").await;
    let store = &shelf.store;
    let found = store
        .provider_by_name(WORKSPACE, "p")
        .await
        .expect("the store answers");
    assert_eq!(found.as_ref(), Some(&provider));
    let found = store
        .provider(WORKSPACE, provider.id)
        .await
        .expect("the store answers");
    assert_eq!(found, Some(provider));
    let found = store
        .connection(WORKSPACE, connection.id)
        .await
        .expect("the store answers");
    assert_eq!(found, Some(connection));
    let found = store
        .consent_by_state(consent.state_hash)
        .await
        .expect("the store answers");
    assert_eq!(found.as_ref(), Some(&consent));
    let found = store
        .consent_by_handle(consent.handle_hash)
        .await
        .expect("the store answers");
    assert_eq!(found, Some(consent));
});

/// Microseconds around whole seconds and around each other, as a database that
/// keeps times as text could confuse them.
const MICROS: [i64; 9] = [
    0, 1, 10, 99_999, 100_000, 120_000, 500_000, 999_999, 1_000_000,
];

on_both!(
    times_keep_their_microseconds_and_compare_as_times,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let whole = shelf.now().with_nanosecond(0).expect("a whole second");
        for expires in MICROS {
            for at in MICROS {
                let connection = shelf.connection_row(&provider, "user-1");
                let mut consent = shelf.consent_row(&connection);
                consent.expires_at = whole + TimeDelta::microseconds(expires);
                let inserted = shelf
                    .store
                    .insert_connection(&connection, &consent, shelf.event());
                inserted.await.expect("the store answers");
                let found = shelf.store.consent_by_state(consent.state_hash).await;
                assert_eq!(found.expect("the store answers").as_ref(), Some(&consent));
                let at_time = whole + TimeDelta::microseconds(at);
                let spent = shelf.store.spend_consent(consent.state_hash, at_time).await;
                assert_eq!(
                    spent.expect("the store answers"),
                    at < expires,
                    "expires at {expires}, spent at {at}"
                );
            }
        }
    }
);

on_both!(a_consent_is_spent_once_however_many_try, |db| async move {
    let shelf = Shelf::new(db).await;
    let provider = shelf.provider("p").await;
    for _ in 0..5 {
        let (_, consent) = shelf.pending(&provider, "user-1").await;
        let tries = (0..8).map(|_| shelf.store.spend_consent(consent.state_hash, shelf.now()));
        let spent = join_all(tries).await;
        let spent = spent
            .into_iter()
            .filter(|spent| *spent.as_ref().expect("the store answers"));
        assert_eq!(spent.count(), 1);
    }
    let unknown = shelf.store.spend_consent([7; 32], shelf.now()).await;
    assert!(!unknown.expect("the store answers"));
});

on_both!(
    a_new_consent_spends_the_older_ones_of_its_connection_alone,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let (connection, first) = shelf.pending(&provider, "user-1").await;
        let (_, bystander) = shelf.pending(&provider, "user-2").await;
        shelf.clock.advance(1);
        let second = shelf.consent_row(&connection);
        let begun = shelf.store.insert_consent(&second, shelf.event()).await;
        assert!(begun.expect("the store answers"));
        for (consent, open) in [(&first, false), (&bystander, true), (&second, true)] {
            let spent = shelf
                .store
                .spend_consent(consent.state_hash, shelf.now())
                .await;
            assert_eq!(spent.expect("the store answers"), open);
        }
        // The first one's failure is no longer the connection's.
        let third = shelf.consent_row(&connection);
        shelf
            .store
            .insert_consent(&third, shelf.event())
            .await
            .expect("the store answers");
        let failed = shelf
            .store
            .fail_consent(&first, "access_denied", shelf.now(), shelf.event());
        failed.await.expect("the store answers");
        assert_eq!(shelf.status(connection.id).await, Status::Pending);
    }
);

on_both!(
    a_provider_is_changed_only_by_who_has_read_it_as_it_is,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let read = shelf.provider("p").await;
        let mut same_name = shelf.provider_row("p");
        same_name.id = dromos_broker::domain::id::ProviderId(shelf.ambient.id());
        let taken = shelf.store.insert_provider(&same_name, shelf.event()).await;
        assert!(!taken.expect("the store answers"), "the name is taken");
        shelf.clock.advance(1);
        let mut changed = read.clone();
        changed.definition.display_name = "Changed".to_owned();
        changed.updated_at = shelf.now();
        let update = async |provider, read_at| {
            let updated = shelf
                .store
                .update_provider(provider, read_at, shelf.event())
                .await;
            updated.expect("the store answers")
        };
        assert!(update(&changed, read.updated_at).await);
        assert!(!update(&changed, read.updated_at).await, "changed since");
        let found = shelf.store.provider(WORKSPACE, read.id).await;
        assert_eq!(found.expect("the store answers"), Some(changed.clone()));

        let connection = shelf.active(&changed, "user-1").await;
        let retirement = Retirement {
            workspace_id: WORKSPACE,
            provider_id: Some(read.id),
        };
        let retire = async |force| {
            let retired =
                shelf
                    .store
                    .retire_provider(retirement, shelf.now(), force, shelf.event());
            retired.await.expect("the store answers")
        };
        let remove = async || {
            let removed = shelf.store.remove_retired(retirement, 10).await;
            removed.expect("the store answers")
        };
        assert_eq!(retire(false).await, Retired::InUse(1));
        let revocation = Revocation {
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            at: shelf.now(),
            generation: 1,
            upstream: None,
        };
        let revoked = shelf
            .store
            .revoke_connection(revocation, shelf.event())
            .await;
        assert_eq!(revoked.expect("the store answers"), Revoked::Done);
        assert_eq!(retire(false).await, Retired::Done);
        assert_eq!(retire(true).await, Retired::Gone);
        let retired = shelf.store.retirements(10).await;
        assert_eq!(retired.expect("the store answers"), [retirement]);
        // Its name is free at once.
        shelf.provider("q").await;
        let again = shelf.provider(&changed.name).await;
        assert_ne!(again.id, read.id);
        assert_eq!(remove().await, Removed::All);
        assert!(!update(&changed, changed.updated_at).await, "gone");
        // A connection can't begin at a provider that is gone.
        let late = shelf.connection_row(&changed, "user-2");
        let consent = shelf.consent_row(&late);
        let begun = shelf
            .store
            .insert_connection(&late, &consent, shelf.event())
            .await;
        assert_eq!(
            begun.expect_err("refused").kind,
            dromos_broker::domain::error::ErrorKind::ProviderNotFound
        );
    }
);

on_both!(
    a_request_id_is_claimed_once_and_remembers_its_answer,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let key = |request_id: &str| AnswerKey {
            workspace_id: WORKSPACE,
            api_key_id: ApiKeyId(Uuid::nil()),
            method: "/dromos.v1.ProviderService/CreateProvider".to_owned(),
            request_id: request_id.to_owned(),
        };
        let claim = async |name: &str| {
            let claimed = shelf
                .store
                .claim_answer(&key(name), [1; 32], shelf.now())
                .await;
            claimed.expect("the store answers")
        };
        let running = AnswerClaim::Running {
            request_hash: [1; 32],
        };
        let done = AnswerClaim::Done {
            request_hash: [1; 32],
            answer: Sealed(vec![5]),
        };

        let claims = join_all((0..8).map(|_| claim("a"))).await;
        assert_eq!(
            claims
                .iter()
                .filter(|claim| **claim == AnswerClaim::New)
                .count(),
            1
        );
        assert_eq!(claims.iter().filter(|claim| **claim == running).count(), 7);
        assert_eq!(claim("b").await, AnswerClaim::New);
        // Of another key it is another one.
        let foreign = AnswerKey {
            api_key_id: ApiKeyId(shelf.ambient.id()),
            ..key("a")
        };
        let claimed = shelf
            .store
            .claim_answer(&foreign, [2; 32], shelf.now())
            .await;
        assert_eq!(claimed.expect("the store answers"), AnswerClaim::New);

        shelf
            .store
            .finish_answer(&key("a"), Sealed(vec![5]))
            .await
            .expect("the store answers");
        assert_eq!(claim("a").await, done);
        // An answer that is there stays; a failed call gives the key back.
        for name in ["a", "b"] {
            shelf
                .store
                .drop_answer(&key(name))
                .await
                .expect("the store answers");
        }
        assert_eq!(claim("a").await, done);
        assert_eq!(claim("b").await, AnswerClaim::New);
        // Whoever was making the call has died.
        shelf.clock.advance(119);
        assert_eq!(claim("b").await, running);
        shelf.clock.advance(1);
        assert_eq!(claim("b").await, AnswerClaim::New);
        shelf.clock.advance(24 * 3600 - 121);
        assert_eq!(claim("a").await, done);
        shelf.clock.advance(1);
        assert_eq!(claim("a").await, AnswerClaim::New);
    }
);

on_both!(the_bootstrap_key_is_taken_once, |db| async move {
    let shelf = Shelf::new(db).await;
    let api_key = || ApiKey {
        id: ApiKeyId(shelf.ambient.id()),
        workspace_id: WORKSPACE,
        name: "bootstrap".to_owned(),
        scopes: vec![Scope::Admin, Scope::Operator],
        created_at: shelf.now(),
        expires_at: None,
        last_used_at: None,
    };
    let keys: Vec<(ApiKey, KeyHash)> = (0..6).map(|n: u8| (api_key(), KeyHash([n; 32]))).collect();
    let takes = keys
        .iter()
        .map(|(key, hash)| shelf.store.take_bootstrap_key(key, *hash, shelf.event()));
    let taken = join_all(takes).await;
    let winners: Vec<usize> = (0..6)
        .filter(|n| *taken[*n].as_ref().expect("the store answers"))
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    let (key, hash) = &keys[winners[0]];
    let found = shelf
        .store
        .api_key_by_hash(*hash)
        .await
        .expect("the store answers");
    assert_eq!(found.as_ref(), Some(key));
    let deleted = shelf
        .store
        .delete_api_key(WORKSPACE, key.id, shelf.event())
        .await;
    assert!(deleted.expect("the store answers"));
    let again = shelf
        .store
        .take_bootstrap_key(key, *hash, shelf.event())
        .await;
    assert!(!again.expect("the store answers"), "never again");
});

on_both!(
    a_workspace_has_one_active_data_key_however_many_make_one,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let keys: Vec<WrappedDataKey> = (0..6)
            .map(|n| WrappedDataKey {
                workspace_id: WORKSPACE,
                data_key_id: DataKeyId(shelf.ambient.id()),
                kek_id: "k".to_owned(),
                wrapped: vec![n],
                created_at: shelf.now(),
            })
            .collect();
        let made = join_all(keys.iter().map(|key| shelf.store.insert_data_key(key))).await;
        let active = shelf.store.active_data_key(WORKSPACE).await;
        let active = active.expect("the store answers").expect("a key");
        assert!(keys.contains(&active));
        for made in made {
            assert_eq!(made.expect("the store answers"), active);
        }
    }
);

on_both!(
    a_deleted_workspace_takes_everything_but_its_audit_along,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let workspace = Workspace {
            id: WORKSPACE,
            name: "w".to_owned(),
            allowed_return_urls: vec!["https://app.example.com".to_owned()],
            created_at: shelf.now(),
        };
        let inserted = shelf
            .store
            .insert_workspace(&workspace, shelf.event())
            .await;
        inserted.expect("the store answers");
        let provider = shelf.provider("p").await;
        let connection: Connection = shelf.active(&provider, "user-1").await;
        let retire = async || {
            let (store, event) = (&shelf.store, shelf.event());
            let retired = store.retire_workspace(WORKSPACE, shelf.now(), event).await;
            retired.expect("the store answers")
        };
        assert!(retire().await);
        assert!(!retire().await);
        let workspace = Retirement {
            workspace_id: WORKSPACE,
            provider_id: None,
        };
        let remove = async || {
            let removed = shelf.store.remove_retired(workspace, 10).await;
            removed.expect("the store answers")
        };
        assert_eq!(remove().await, Removed::HeldUp, "a connection lives");
        let living = shelf.store.living_connections(workspace, 10).await;
        let living = living.expect("the store answers");
        let [(found, Some(credential))] = living.as_slice() else {
            panic!("{} connections", living.len());
        };
        assert_eq!((found.id, credential.generation), (connection.id, 1));
        let revocation = Revocation {
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            at: shelf.now(),
            generation: 1,
            upstream: None,
        };
        let outcomes = shelf
            .store
            .revoke_connections(vec![
                (revocation.clone(), shelf.event()),
                (revocation, shelf.event()),
            ])
            .await;
        let outcomes = outcomes.expect("the store answers");
        assert_eq!(outcomes, [Revoked::Done, Revoked::Before]);
        assert_eq!(remove().await, Removed::Some);
        assert_eq!(remove().await, Removed::All);
        let dump = shelf.database().await.dump().await;
        for line in dump.lines().filter(|line| !line.starts_with("__diesel")) {
            assert!(line.starts_with("audit_events: "), "{line}");
        }
        let id = connection.id;
        assert_eq!(
            shelf
                .store
                .connection(WORKSPACE, id)
                .await
                .expect("the store answers"),
            None
        );
        let events = shelf
            .store
            .audit_events(WORKSPACE, &Default::default(), ALL)
            .await;
        assert!(events.expect("the store answers").len() >= 4);
    }
);

on_both!(
    time_is_recorded_and_old_rows_are_forgotten,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let (late, consent) = shelf.pending(&provider, "late").await;
        let active = shelf.active(&provider, "active").await;
        shelf.clock.advance(599);
        shelf
            .store
            .tidy(shelf.now())
            .await
            .expect("the store answers");
        assert_eq!(shelf.status(late.id).await, Status::Pending);
        shelf.clock.advance(1);
        shelf
            .store
            .tidy(shelf.now())
            .await
            .expect("the store answers");
        assert_eq!(shelf.status(late.id).await, Status::Failed);
        assert_eq!(shelf.status(active.id).await, Status::Active);
        let kept = async || {
            let found = shelf.store.consent_by_state(consent.state_hash).await;
            found.expect("the store answers").is_some()
        };
        shelf.clock.advance(24 * 3600 - 1);
        shelf
            .store
            .tidy(shelf.now())
            .await
            .expect("the store answers");
        assert!(kept().await);
        shelf.clock.advance(1);
        shelf
            .store
            .tidy(shelf.now())
            .await
            .expect("the store answers");
        assert!(!kept().await);
        let mut counts = shelf
            .store
            .count_by_status()
            .await
            .expect("the store answers");
        counts.sort_by_key(|count| count.0.as_str());
        assert_eq!(counts, [(Status::Active, 1), (Status::Failed, 1)]);
    }
);

on_both!(the_schema_goes_up_and_down_and_up_again, |db| async move {
    let shelf = Shelf::unmigrated(db).await;
    let folder = match db {
        Db::Sqlite => "../migrations/sqlite",
        Db::Postgres => "../migrations/postgres",
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut migrations: Vec<_> = std::fs::read_dir(folder)
        .expect("the migrations")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    migrations.sort();
    let store = &shelf.store;
    assert!(!store.is_migrated().await.expect("the store answers"));
    for _ in 0..2 {
        assert_eq!(store.migrate().await.expect("up"), migrations.len());
        assert_eq!(store.migrate().await.expect("nothing to do"), 0);
        assert!(store.is_migrated().await.expect("the store answers"));
        let provider = shelf.provider("p").await;
        let (_, consent) = shelf.pending(&provider, "user-1").await;
        assert_eq!(shelf.complete(&consent, 0, 1).await, Completion::Done);

        let mut database = shelf.database().await;
        for migration in migrations.iter().rev() {
            let down = std::fs::read_to_string(migration.join("down.sql")).expect("down.sql");
            database.execute(&down).await;
        }
        let tables = match db {
            Db::Sqlite => "select name as line from sqlite_master where type = 'table'",
            Db::Postgres => {
                "select tablename::text as line from pg_tables where schemaname = 'public'"
            }
        };
        assert_eq!(database.lines(tables).await, ["__diesel_schema_migrations"]);
        database
            .execute("delete from __diesel_schema_migrations")
            .await;
    }
});
