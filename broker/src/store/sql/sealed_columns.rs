//! Statements over whichever column holds ciphertext. A ciphertext's second to
//! seventeenth byte name its data key.

use diesel::{
    QueryResult,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

use super::super::{
    Db,
    types::{BigInt, Binary, DbId, Id},
};
use crate::{domain::sealed::SealedColumn, store::Reseal};

/// Whose data keys, and which.
pub(super) struct UnderKeys<'a> {
    pub column: &'a SealedColumn,
    pub workspace: DbId,
    pub keys: Vec<Vec<u8>>,
}

impl UnderKeys<'_> {
    /// `FROM … WHERE …`: the rows whose ciphertext names one of the keys.
    fn walk<'b>(&'b self, out: &mut AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(" FROM ");
        out.push_identifier(self.column.table)?;
        out.push_sql(" WHERE workspace_id = ");
        out.push_bind_param::<Id, _>(&self.workspace)?;
        out.push_sql(" AND substr(");
        out.push_identifier(self.column.column)?;
        out.push_sql(", 2, 16) IN (");
        for (index, key) in self.keys.iter().enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            out.push_bind_param::<Binary, _>(key)?;
        }
        out.push_sql(")");
        Ok(())
    }
}

/// How many rows name each of the keys.
pub(super) struct CountByKey<'a>(pub UnderKeys<'a>);

impl QueryFragment<Db> for CountByKey<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql("SELECT substr(");
        out.push_identifier(self.0.column.column)?;
        out.push_sql(", 2, 16), count(*)");
        self.0.walk(&mut out)?;
        out.push_sql(" GROUP BY 1");
        Ok(())
    }
}

impl Query for CountByKey<'_> {
    type SqlType = (Binary, BigInt);
}

/// The next rows under one of the keys: row, generation, ciphertext.
pub(super) struct NextRows<'a> {
    pub under: UnderKeys<'a>,
    pub after: Option<DbId>,
    pub limit: i64,
}

impl QueryFragment<Db> for NextRows<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let column = self.under.column;
        out.unsafe_to_cache_prepared();
        out.push_sql("SELECT ");
        out.push_identifier(column.row)?;
        out.push_sql(", ");
        match column.generation {
            Some(generation) => out.push_identifier(generation)?,
            None => out.push_sql("CAST(0 AS bigint)"),
        }
        out.push_sql(", ");
        out.push_identifier(column.column)?;
        self.under.walk(&mut out)?;
        if let Some(after) = &self.after {
            out.push_sql(" AND ");
            out.push_identifier(column.row)?;
            out.push_sql(" > ");
            out.push_bind_param::<Id, _>(after)?;
        }
        out.push_sql(" ORDER BY ");
        out.push_identifier(column.row)?;
        out.push_sql(" LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        Ok(())
    }
}

impl Query for NextRows<'_> {
    type SqlType = (Id, BigInt, Binary);
}

/// Replaces ciphertexts, each only where its row still holds what was read, in
/// the same generation.
pub(super) struct CompareAndSwap<'a> {
    column: &'a SealedColumn,
    workspace: DbId,
    rows: Vec<(DbId, i64, Vec<u8>, Vec<u8>)>,
}

impl<'a> CompareAndSwap<'a> {
    /// `rows` must not be empty.
    pub(super) fn new(column: &'a SealedColumn, workspace: DbId, rows: Vec<Reseal>) -> Self {
        let rows = rows.into_iter().map(|Reseal { read, sealed }| {
            (
                DbId(read.row),
                read.generation.into(),
                read.sealed.0,
                sealed.0,
            )
        });
        Self {
            column,
            workspace,
            rows: rows.collect(),
        }
    }
}

impl QueryFragment<Db> for CompareAndSwap<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql("WITH swap (at_row, at_generation, before, after) AS (VALUES ");
        for (index, (row, generation, before, after)) in self.rows.iter().enumerate() {
            out.push_sql(if index > 0 { ", (" } else { "(" });
            out.push_bind_param::<Id, _>(row)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(generation)?;
            out.push_sql(", ");
            out.push_bind_param::<Binary, _>(before)?;
            out.push_sql(", ");
            out.push_bind_param::<Binary, _>(after)?;
            out.push_sql(")");
        }
        out.push_sql(") UPDATE ");
        out.push_identifier(self.column.table)?;
        out.push_sql(" SET ");
        out.push_identifier(self.column.column)?;
        out.push_sql(" = swap.after FROM swap WHERE workspace_id = ");
        out.push_bind_param::<Id, _>(&self.workspace)?;
        out.push_sql(" AND ");
        out.push_identifier(self.column.row)?;
        out.push_sql(" = swap.at_row AND ");
        out.push_identifier(self.column.column)?;
        out.push_sql(" = swap.before");
        if let Some(generation) = self.column.generation {
            out.push_sql(" AND ");
            out.push_identifier(generation)?;
            out.push_sql(" = swap.at_generation");
        }
        Ok(())
    }
}

macro_rules! not_cached_by_type {
    ($($name:ident),*) => {$(
        impl QueryId for $name<'_> {
            type QueryId = ();
            const HAS_STATIC_QUERY_ID: bool = false;
        }
    )*};
}
not_cached_by_type!(CountByKey, NextRows, CompareAndSwap);
