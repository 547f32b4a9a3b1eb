//! Answers of mutations by their `request_id`.

use async_trait::async_trait;
use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::{SqlStore, schema::answers};
use crate::domain::{
    Timestamp,
    error::{Error, Result},
    sealed::Sealed,
};
use crate::store::{AnswerClaim, AnswerKey, AnswerStore};

type Key = (DbId, DbId, String, String);

fn key(key: &AnswerKey) -> Key {
    (
        DbId(key.workspace_id.0),
        DbId(key.api_key_id.0),
        key.method.clone(),
        key.request_id.clone(),
    )
}

#[async_trait]
impl AnswerStore for SqlStore {
    async fn claim_answer(
        &self,
        whose: &AnswerKey,
        request_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<AnswerClaim> {
        let key = key(whose);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<AnswerClaim> {
            // After a day a request_id is new again; and a call that left no
            // answer for two minutes died with its broker.
            let too_old = answers::table
                .find(key.clone())
                .filter(answers::created_at.le(at - TimeDelta::hours(24)));
            diesel::delete(too_old).execute(tx).await?;
            let dead = answers::table
                .find(key.clone())
                .filter(answers::answer.is_null())
                .filter(answers::created_at.le(at - TimeDelta::minutes(2)));
            diesel::delete(dead).execute(tx).await?;
            let claimed = diesel::insert_into(answers::table)
                .values((
                    answers::workspace_id.eq(key.0),
                    answers::api_key_id.eq(key.1),
                    answers::method.eq(key.2.clone()),
                    answers::request_id.eq(key.3.clone()),
                    answers::request_hash.eq(request_hash.to_vec()),
                    answers::created_at.eq(at),
                ))
                .on_conflict_do_nothing()
                .execute(tx)
                .await?;
            if claimed == 1 {
                return Ok(AnswerClaim::New);
            }
            let (hash, answer): (Vec<u8>, Option<Vec<u8>>) = answers::table
                .find(key)
                .select((answers::request_hash, answers::answer))
                .first(tx)
                .await?;
            let request_hash = hash
                .try_into()
                .map_err(|_| Error::internal("an impossible row: a hash"))?;
            Ok(match answer {
                Some(answer) => AnswerClaim::Done {
                    request_hash,
                    answer: Sealed(answer),
                },
                None => AnswerClaim::Running { request_hash },
            })
        })
    }

    async fn finish_answer(&self, whose: &AnswerKey, answer: Sealed) -> Result<()> {
        diesel::update(answers::table.find(key(whose)))
            .set(answers::answer.eq(answer.0))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }

    async fn drop_answer(&self, whose: &AnswerKey) -> Result<()> {
        let unanswered = answers::table
            .find(key(whose))
            .filter(answers::answer.is_null());
        diesel::delete(unanswered)
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }
}
