//! Credentials and the refresh lease, as the store's API promises them.

use chrono::TimeDelta;
use dromos_broker::{
    domain::{
        connection::{Connection, Status},
        credential::Credential,
        provider::Provider,
    },
    store::{Attempt, Claim, Committed, Completion, Refreshed, Release, Revocation, Revoked},
};
use futures_util::future::join_all;

use crate::{
    shelf::{Shelf, WORKSPACE},
    world::{Db, on_both},
};

impl Shelf {
    async fn held(&self, connection: &Connection) -> Credential {
        let held = self.store.credential(WORKSPACE, connection.id).await;
        held.expect("the store answers").expect("a credential")
    }

    fn wish(&self, connection: &Connection, generation: u32, forced: bool) -> Claim {
        Claim {
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            generation,
            owner: self.ambient.id(),
            at: self.now(),
            forced,
        }
    }

    async fn claim(&self, connection: &Connection, generation: u32) -> Option<i64> {
        let wish = self.wish(connection, generation, false);
        self.store
            .claim_refresh(wish)
            .await
            .expect("the store answers")
    }

    fn attempt(&self, connection: &Connection, epoch: i64, generation: u32) -> Attempt {
        Attempt {
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            epoch,
            generation,
            at: self.now(),
        }
    }

    async fn commit(&self, attempt: Attempt, tag: u8) -> Committed {
        let refreshed = Refreshed {
            attempt,
            credential: self.credential(tag),
            scopes: None,
        };
        let committed = self.store.commit_refresh(refreshed, self.event()).await;
        committed.expect("the store answers")
    }

    async fn refuse(&self, attempt: Attempt) -> bool {
        let refused = self
            .store
            .refuse_refresh(attempt, "invalid_grant", self.event());
        refused.await.expect("the store answers")
    }

    async fn release(&self, attempt: Attempt, seconds: i64, uncertain: bool) {
        let release = Release {
            next_attempt_at: self.now() + TimeDelta::seconds(seconds),
            due_at: None,
            uncertain_since: uncertain.then(|| self.now()),
        };
        let released = self.store.release_refresh(attempt, release, self.event());
        released.await.expect("the store answers");
    }

    async fn run_out(&self, connection: &Connection) {
        let mut database = self.database().await;
        let (row, past) = (
            database.id(&connection.id.to_string()),
            database.time("2020-01-01 00:00:00"),
        );
        let sql =
            format!("update credentials set lease_until = {past} where connection_id = {row}");
        database.execute(&sql).await;
    }

    async fn revoke(&self, connection: &Connection, generation: u32) -> Revoked {
        let revocation = Revocation {
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            at: self.now(),
            generation,
            upstream: None,
        };
        let revoked = self.store.revoke_connection(revocation, self.event()).await;
        revoked.expect("the store answers")
    }
}

async fn shelf_with_active(db: Db) -> (Shelf, Provider, Connection) {
    let shelf = Shelf::new(db).await;
    let provider = shelf.provider("p").await;
    let connection = shelf.active(&provider, "user-1").await;
    (shelf, provider, connection)
}

on_both!(
    one_lease_at_a_time_and_only_for_the_generation_that_is_held,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        assert_eq!(shelf.claim(&connection, 2).await, None, "not yet there");
        let epoch = shelf
            .claim(&connection, 1)
            .await
            .expect("the lease is free");
        assert_eq!(shelf.claim(&connection, 1).await, None, "held");
        let wish = shelf.wish(&connection, 1, true);
        let forced = shelf
            .store
            .claim_refresh(wish)
            .await
            .expect("the store answers");
        assert_eq!(forced, None, "held, whoever insists");
        let attempt = shelf.attempt(&connection, epoch, 1);
        assert_eq!(shelf.commit(attempt, 2).await, Committed::Done);
        assert_eq!(shelf.claim(&connection, 1).await, None, "moved on");
        assert!(shelf.claim(&connection, 2).await.expect("free again") > epoch);
    }
);

on_both!(
    of_many_who_claim_at_once_one_gets_the_lease,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let claims = join_all((0..12).map(|_| shelf.claim(&connection, 1))).await;
        assert_eq!(claims.iter().flatten().count(), 1, "{claims:?}");
    }
);

on_both!(
    a_lease_that_ran_out_can_be_claimed_with_a_higher_epoch,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let first = shelf.claim(&connection, 1).await.expect("free");
        shelf.run_out(&connection).await;
        let second = shelf.claim(&connection, 1).await.expect("ran out");
        assert!(second > first);
        // The first was only slow: its tokens are real, and count.
        let late = shelf.attempt(&connection, first, 1);
        assert_eq!(shelf.commit(late, 7).await, Committed::Done);
        assert_eq!(shelf.held(&connection).await.content, shelf.credential(7));
        // The second's refusal is about a refresh token that was spent by then.
        assert!(!shelf.refuse(shelf.attempt(&connection, second, 1)).await);
        assert_eq!(shelf.status(connection.id).await, Status::Active);
    }
);

on_both!(
    an_older_epoch_never_overwrites_a_newer_one,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let first = shelf.claim(&connection, 1).await.expect("free");
        shelf.run_out(&connection).await;
        let second = shelf.claim(&connection, 1).await.expect("ran out");
        let attempt = shelf.attempt(&connection, second, 1);
        assert_eq!(shelf.commit(attempt, 8).await, Committed::Done);
        let late = shelf.attempt(&connection, first, 1);
        assert_eq!(shelf.commit(late, 7).await, Committed::Superseded);
        assert_eq!(
            shelf.commit(attempt, 9).await,
            Committed::Superseded,
            "once"
        );
        let held = shelf.held(&connection).await;
        assert_eq!((held.generation, held.content), (2, shelf.credential(8)));
    }
);

on_both!(
    a_failed_attempt_is_not_repeated_too_early_unless_forced,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let epoch = shelf.claim(&connection, 1).await.expect("free");
        shelf
            .release(shelf.attempt(&connection, epoch, 1), 5, false)
            .await;
        let held = shelf.held(&connection).await;
        assert_eq!((held.lease_until, held.uncertain_since), (None, None));
        assert_eq!(
            held.next_attempt_at,
            Some(shelf.now() + TimeDelta::seconds(5))
        );
        shelf.clock.advance(4);
        assert_eq!(shelf.claim(&connection, 1).await, None, "too early");
        let wish = shelf.wish(&connection, 1, true);
        let forced = shelf
            .store
            .claim_refresh(wish)
            .await
            .expect("the store answers");
        let epoch = forced.expect("a person does not wait");
        shelf
            .release(shelf.attempt(&connection, epoch, 1), 1, false)
            .await;
        shelf.clock.advance(1);
        let epoch = shelf.claim(&connection, 1).await.expect("due");
        let attempt = shelf.attempt(&connection, epoch, 1);
        assert_eq!(shelf.commit(attempt, 2).await, Committed::Done);
        assert_eq!(shelf.held(&connection).await.next_attempt_at, None);
    }
);

on_both!(
    an_unknown_outcome_is_recorded_from_its_first_time_until_a_commit,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let first = shelf.now();
        for _ in 0..2 {
            let epoch = shelf.claim(&connection, 1).await.expect("due");
            shelf
                .release(shelf.attempt(&connection, epoch, 1), 5, true)
                .await;
            shelf.clock.advance(5);
        }
        assert_eq!(shelf.held(&connection).await.uncertain_since, Some(first));
        let epoch = shelf.claim(&connection, 1).await.expect("due");
        shelf
            .release(shelf.attempt(&connection, epoch, 1), 5, false)
            .await;
        assert_eq!(shelf.held(&connection).await.uncertain_since, Some(first));
        shelf.clock.advance(5);
        let epoch = shelf.claim(&connection, 1).await.expect("due");
        let attempt = shelf.attempt(&connection, epoch, 1);
        assert_eq!(shelf.commit(attempt, 2).await, Committed::Done);
        assert_eq!(shelf.held(&connection).await.uncertain_since, None);
    }
);

on_both!(
    a_release_of_an_older_lease_does_not_end_the_newer_one,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let first = shelf.claim(&connection, 1).await.expect("free");
        shelf.run_out(&connection).await;
        shelf.claim(&connection, 1).await.expect("ran out");
        shelf
            .release(shelf.attempt(&connection, first, 1), 0, true)
            .await;
        let held = shelf.held(&connection).await;
        assert!(held.lease_until.is_some());
        assert_eq!(held.uncertain_since, None);
        assert_eq!(shelf.claim(&connection, 1).await, None);
    }
);

on_both!(
    a_refusal_counts_only_while_nothing_has_changed,
    |db| async move {
        let (shelf, provider, _) = shelf_with_active(db).await;
        // Unchanged: it counts.
        let refused = shelf.active(&provider, "refused").await;
        let epoch = shelf.claim(&refused, 1).await.expect("free");
        assert!(shelf.refuse(shelf.attempt(&refused, epoch, 1)).await);
        let row = shelf.store.connection(WORKSPACE, refused.id).await;
        let row = row.expect("the store answers").expect("a row");
        assert_eq!(
            (row.status, row.reason.as_str()),
            (Status::Attention, "invalid_grant")
        );
        // Slow tokens of the same epoch still heal it.
        let attempt = shelf.attempt(&refused, epoch, 1);
        assert_eq!(shelf.commit(attempt, 2).await, Committed::Done);
        assert_eq!(shelf.status(refused.id).await, Status::Active);
        // Reconnected meanwhile: it does not count.
        let (pending, consent) = shelf.pending(&provider, "reconnected").await;
        shelf.complete(&consent, 0, 1).await;
        let epoch = shelf.claim(&pending, 1).await.expect("free");
        let consent = shelf.consent_row(&pending);
        let begun = shelf.store.insert_consent(&consent, shelf.event()).await;
        assert!(begun.expect("the store answers"));
        assert_eq!(shelf.complete(&consent, 1, 5).await, Completion::Done);
        assert!(!shelf.refuse(shelf.attempt(&pending, epoch, 1)).await);
        let attempt = shelf.attempt(&pending, epoch, 1);
        assert_eq!(shelf.commit(attempt, 6).await, Committed::Superseded);
        assert_eq!(shelf.status(pending.id).await, Status::Active);
        assert_eq!(shelf.held(&pending).await.content, shelf.credential(5));
        assert!(shelf.held(&pending).await.content.refresh_at.is_some());
    }
);

on_both!(nothing_leads_out_of_a_revocation, |db| async move {
    let (shelf, _, connection) = shelf_with_active(db).await;
    let epoch = shelf.claim(&connection, 1).await.expect("free");
    assert_eq!(shelf.revoke(&connection, 2).await, Revoked::Conflict);
    assert_eq!(shelf.revoke(&connection, 0).await, Revoked::Conflict);
    assert_eq!(shelf.status(connection.id).await, Status::Active);
    assert_eq!(shelf.revoke(&connection, 1).await, Revoked::Done);
    assert_eq!(shelf.revoke(&connection, 1).await, Revoked::Before);
    let attempt = shelf.attempt(&connection, epoch, 1);
    assert_eq!(shelf.commit(attempt, 2).await, Committed::Revoked);
    assert!(!shelf.refuse(attempt).await);
    assert_eq!(shelf.claim(&connection, 1).await, None);
    let consent = shelf.consent_row(&connection);
    let begun = shelf.store.insert_consent(&consent, shelf.event()).await;
    assert!(!begun.expect("the store answers"));
    assert_eq!(shelf.complete(&consent, 0, 3).await, Completion::Superseded);
    assert_eq!(shelf.status(connection.id).await, Status::Revoked);
    let held = shelf.store.credential(WORKSPACE, connection.id).await;
    assert_eq!(held.expect("the store answers"), None);
});

on_both!(
    a_consent_replaces_the_generation_it_was_sealed_after,
    |db| async move {
        let shelf = Shelf::new(db).await;
        let provider = shelf.provider("p").await;
        let (connection, first) = shelf.pending(&provider, "user-1").await;
        assert_eq!(shelf.complete(&first, 1, 9).await, Completion::Conflict);
        assert_eq!(shelf.status(connection.id).await, Status::Pending);
        assert_eq!(shelf.complete(&first, 0, 1).await, Completion::Done);
        shelf.clock.advance(1);
        let second = shelf.consent_row(&connection);
        let begun = shelf.store.insert_consent(&second, shelf.event()).await;
        assert!(begun.expect("the store answers"));
        // The older one comes too late, even with the right generation.
        assert_eq!(shelf.complete(&first, 1, 9).await, Completion::Superseded);
        assert_eq!(shelf.complete(&second, 0, 9).await, Completion::Conflict);
        assert_eq!(shelf.complete(&second, 1, 2).await, Completion::Done);
        let held = shelf.held(&connection).await;
        assert_eq!((held.generation, held.content), (2, shelf.credential(2)));
    }
);

on_both!(
    revocations_for_the_provider_stay_until_they_are_ended,
    |db| async move {
        let (shelf, _, connection) = shelf_with_active(db).await;
        let upstream = dromos_broker::store::UpstreamRevocation {
            id: shelf.ambient.id(),
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            provider_id: connection.provider_id,
            token: dromos_broker::domain::sealed::Sealed(vec![9]),
            created_at: shelf.now(),
            attempts: 0,
            next_attempt_at: shelf.now(),
        };
        let revocation = Revocation {
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            at: shelf.now(),
            generation: 1,
            upstream: Some(upstream.clone()),
        };
        let revoked = shelf
            .store
            .revoke_connection(revocation, shelf.event())
            .await;
        assert_eq!(revoked.expect("the store answers"), Revoked::Done);
        for expected in [vec![upstream.clone()], vec![]] {
            let (now, until) = (shelf.now(), shelf.now());
            let waiting = shelf.store.claim_upstream_revocations(now, until, 10).await;
            assert_eq!(waiting.expect("the store answers"), expected);
            let ended = shelf
                .store
                .end_upstream_revocation(&upstream, shelf.event())
                .await;
            ended.expect("the store answers");
        }
    }
);
