//! Owns what a source is told of the rows that its run has stored of a file.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use sqlx::PgPool;

use super::TaskContext;
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::{failure_class, streamed_files};
use crate::domain::file::ChosenRows;
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;
use crate::sources::{SourceError, SourceErrorKind, StoredBytes};

/// The rows of a run.
pub(super) struct KeptBytes {
    pool: PgPool,
    run: RunId,
}

impl fmt::Debug for KeptBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptBytes({})", self.run)
    }
}

impl KeptBytes {
    pub fn of(context: &TaskContext) -> Self {
        Self { pool: context.pool.clone(), run: context.run }
    }

    async fn load(&self, begins: SliceId, chunk: i32) -> Result<Bytes, sqlx::Error> {
        let Some(file_id) = streamed_files::id(&self.pool, self.run, begins).await? else {
            return Ok(Bytes::new());
        };
        let id = ChunkId { file_id, chunk };
        let mut blocks = raw_csv_blocks::load(&self.pool, id, &ChosenRows::All);
        let mut bytes = BytesMut::new();
        while let Some(block) = blocks.try_next().await? {
            bytes.extend_from_slice(&block.payload);
        }
        Ok(bytes.freeze())
    }
}

impl StoredBytes for KeptBytes {
    fn size(&self, begins: SliceId, chunks: i32) -> BoxFuture<'_, Result<u64, SourceError>> {
        async move {
            let size = streamed_files::stored_bytes(&self.pool, self.run, begins, chunks).await;
            size.map(i64::unsigned_abs).map_err(unread)
        }
        .boxed()
    }

    fn chunk(&self, begins: SliceId, chunk: i32) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        async move { self.load(begins, chunk).await.map_err(unread) }.boxed()
    }
}

/// The file is read when the database answers.
fn unread(error: sqlx::Error) -> SourceError {
    let kind = SourceErrorKind::Engine(failure_class(&error));
    SourceError::new(kind, "what is stored of the file cannot be read").caused_by(error)
}
