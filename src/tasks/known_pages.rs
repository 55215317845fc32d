//! Owns what a source is told of the pages that earlier runs have kept.

use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgPool;

use super::TaskContext;
use crate::db::{page_validators, raw_api_data};
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::known_page::KnownPage;
use crate::sources::{KnownPages, SourceError, SourceErrorKind};

/// The pages of a source under a definition.
pub(super) struct KeptPages {
    pool: PgPool,
    source: String,
    config: StoredHash,
}

impl fmt::Debug for KeptPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptPages({})", self.source)
    }
}

impl KeptPages {
    pub fn of(context: &TaskContext) -> Self {
        let (pool, source) = (context.pool.clone(), context.source_name.clone());
        Self { pool, source, config: context.config_hash }
    }
}

impl KnownPages for KeptPages {
    fn find(&self, request: ContentHash) -> BoxFuture<'_, Result<Option<KnownPage>, SourceError>> {
        async move {
            let found = page_validators::find(&self.pool, &self.source, self.config, request).await;
            found.map_err(unread)
        }
        .boxed()
    }

    fn body(&self, page: StoredHash) -> BoxFuture<'_, Result<Option<String>, SourceError>> {
        async move {
            match raw_api_data::page(&self.pool, &self.source, page).await {
                Ok(kept) => Ok(Some(kept.text)),
                Err(sqlx::Error::RowNotFound) => Ok(None),
                Err(error) => Err(unread(error)),
            }
        }
        .boxed()
    }
}

/// The page is asked for again when the database answers.
fn unread(error: sqlx::Error) -> SourceError {
    let message = "what is known of the page cannot be read";
    SourceError::new(SourceErrorKind::Internal, message).caused_by(error)
}
