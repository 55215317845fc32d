//! Owns the task that reads one chunk of a file.

use std::sync::Arc;

use sqlx::PgConnection;

use super::chunk_cache::Permit;
use super::read_slice::{Gathered, Slices};
use super::{Effects, Task, TaskContext, TaskError};
use crate::db::raw_csv_blocks::ChunkId;
use crate::db::{run_repeated_keys, source_files};
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::file::FileStamp;
use crate::domain::task::Chunk;
use crate::sources::{ChunkPosition, Position, SliceRequest};

pub(super) struct ParseCsvChunk {
    slices: Slices,
    file_id: i64,
    stamp: FileStamp,
    chunk: Chunk,
}

impl ParseCsvChunk {
    pub fn new(slice: i64, file_id: i64, stamp: FileStamp, chunk: Chunk) -> Self {
        Self { slices: Slices::from(slice), file_id, stamp, chunk }
    }
}

impl Task for ParseCsvChunk {
    type Gathered = (Gathered, Permit);

    async fn gather(&mut self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let permit = context.chunks.permit().await;
        let file = source_files::location(&context.pool, self.file_id).await?;
        let watched_keys = match context.slice_order {
            SliceOrder::Split => {
                Some(Arc::new(run_repeated_keys::load(&context.pool, context.run).await?))
            }
            SliceOrder::Distinct | SliceOrder::Ordered => None,
        };
        let position = ChunkPosition {
            file_id: self.file_id,
            path: context.source.definition.base_dir().join(&file.url),
            layout: file.layout,
            stamp: self.stamp,
            chunk: self.chunk,
        };
        let request = |slice| SliceRequest {
            slice,
            position: Position::Chunk(position),
            access: context.access,
            watched_keys,
        };
        Ok((self.slices.gather(context, request).await?, permit))
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (gathered, permit): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let id = ChunkId { file_id: self.file_id, chunk: self.chunk.index };
        self.slices.store(context, transaction, gathered, Some((id, permit))).await
    }
}
