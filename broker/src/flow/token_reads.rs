//! What GetToken reads: one query for all who ask at the same time.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::try_join_all;

use super::batch::Batches;
use crate::{
    domain::{
        credential::TokenView,
        error::{Error, Result},
        id::{ConnectionId, WorkspaceId},
    },
    store::Store,
};

/// Queries at once, for each workspace in a batch.
const LANES: usize = 2;

type Key = (WorkspaceId, ConnectionId);
/// A row that can't be understood is its own connection's error only.
type Found = std::result::Result<Option<TokenView>, Arc<Error>>;

/// Reads what GetToken needs.
#[derive(Clone)]
pub struct TokenReads(Batches<Key, Found>);

impl TokenReads {
    /// Starts the readers; they end when the last handle to them is dropped.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> Self {
        Self(Batches::start(LANES, move |keys: Vec<Key>| {
            let store = store.clone();
            async move { read(&*store, &keys).await }
        }))
    }

    /// As the database has it now: the query starts after this was called.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE.
    pub async fn view(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<TokenView>> {
        self.0.take((workspace, id)).await?.map_err(Error::internal)
    }
}

async fn read(store: &dyn Store, keys: &[Key]) -> Result<Vec<Found>> {
    let mut wanted: HashMap<WorkspaceId, Vec<ConnectionId>> = HashMap::new();
    for (workspace, id) in keys {
        wanted.entry(*workspace).or_default().push(*id);
    }
    let queries = wanted.into_iter().map(|(workspace, ids)| async move {
        let views = store.token_views(workspace, ids).await?;
        Ok::<_, Error>(
            views
                .into_iter()
                .map(move |(id, view)| ((workspace, id), view.map_err(Arc::new))),
        )
    });
    let found: HashMap<Key, std::result::Result<TokenView, Arc<Error>>> =
        try_join_all(queries).await?.into_iter().flatten().collect();
    let answer = |key| found.get(key).cloned().transpose();
    Ok(keys.iter().map(answer).collect())
}
