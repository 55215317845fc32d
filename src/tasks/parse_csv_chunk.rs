//! Owns the tasks that read chunks of files: one each, or several that are small together.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::PgConnection;

use super::chunk_cache::Permit;
use super::memory::InMemory;
use super::read_slice::{Gathered, Slices};
use super::{Effects, StoredSlice, Task, TaskContext, TaskError};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::run_repeated_keys;
use crate::db::source_files::{self, Location};
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::failure::FailureClass;
use crate::domain::slice::SliceId;
use crate::domain::task::{PlannedChunk, TaskPayload};
use crate::sources::{ChunkPosition, Position, SliceRequest};

/// Reads one chunk.
pub(super) struct ParseCsvChunk {
    slices: Slices,
    chunk: PlannedChunk,
}

/// Reads several chunks, and stores them in one transaction, at the first attempt only: what it cannot read becomes a
/// task of its own, and so does each of its chunks when it is tried again.
pub(super) struct ParseSmallChunks {
    first_slice: i64,
    chunks: Vec<PlannedChunk>,
    apart: bool,
}

impl ParseCsvChunk {
    pub fn new(slice: i64, chunk: PlannedChunk) -> Self {
        Self { slices: Slices::from(slice), chunk }
    }
}

impl ParseSmallChunks {
    /// The reader of these chunks, at this attempt: a worker may have been lost with one of them.
    pub fn new(first_slice: i64, chunks: Vec<PlannedChunk>, attempt: i32) -> Self {
        Self { first_slice, chunks, apart: attempt > 1 }
    }
}

impl Task for ParseCsvChunk {
    type Gathered = (Gathered, Permit, InMemory);

    async fn gather(&mut self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let permit = context.chunks.permit(bytes(&self.chunk)).await;
        let memory = context.memory.hold(bytes(&self.chunk)).await;
        let file = source_files::location(&context.pool, self.chunk.file_id).await?;
        let watched = watched_keys(context).await?;
        let request = |slice| request(context, self.chunk, &file, slice, watched);
        Ok((self.slices.gather(context, request).await?, permit, memory))
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (gathered, permit, _memory): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let id = chunk_id(&self.chunk);
        let (rows, effects) = self.slices.chunk(context, gathered, id.file_id)?;
        let (source, run) = (&context.source_name, context.run);
        raw_csv_blocks::store(transaction, source, run, &[(id, &rows.blocks)]).await?;
        permit.keep(run, [(id, rows)]);
        Ok(effects)
    }
}

impl Task for ParseSmallChunks {
    /// What each chunk gave; `None`: it becomes a task of its own.
    type Gathered = (Vec<Option<(Slices, Gathered)>>, Permit, InMemory);

    async fn gather(&mut self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let bytes = self.chunks.iter().map(bytes).sum();
        let permit = context.chunks.permit(bytes).await;
        let memory = context.memory.hold(bytes).await;
        let mut read = Vec::with_capacity(self.chunks.len());
        if self.apart {
            read.resize_with(self.chunks.len(), || None);
            return Ok((read, permit, memory));
        }
        let ids: Vec<_> = self.chunks.iter().map(|chunk| chunk.file_id).collect();
        let files = source_files::locations(&context.pool, &ids).await?;
        let watched = watched_keys(context).await?;
        for (slice, chunk) in (self.first_slice..).zip(&self.chunks) {
            read.push(self::read(context, slice, *chunk, &files, watched.clone()).await?);
        }
        Ok((read, permit, memory))
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (read, permit, _memory): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let mut effects = Effects::default();
        let mut chunks = Vec::with_capacity(read.len());
        for ((slice, chunk), read) in (self.first_slice..).zip(&self.chunks).zip(read) {
            let task = TaskPayload::of_chunk(slice, *chunk);
            let Some((mut slices, gathered)) = read else {
                effects.follow_ups.push(task);
                continue;
            };
            let id = chunk_id(chunk);
            let (rows, Effects { counters, result, .. }) =
                slices.chunk(context, gathered, id.file_id)?;
            effects.read.push(StoredSlice { task, counters, result });
            chunks.push((id, rows));
        }
        let blocks: Vec<_> =
            chunks.iter().map(|(id, rows)| (*id, rows.blocks.as_slice())).collect();
        let (source, run) = (&context.source_name, context.run);
        raw_csv_blocks::store(transaction, source, run, &blocks).await?;
        permit.keep(run, chunks);
        Ok(effects)
    }
}

/// Reads one of several chunks. Whatever is wrong with it is found out, and tried again, by a task of its own: its
/// neighbours do not wait for it.
async fn read(
    context: &TaskContext,
    slice: i64,
    chunk: PlannedChunk,
    files: &HashMap<i64, Location>,
    watched: Option<Arc<Vec<u64>>>,
) -> Result<Option<(Slices, Gathered)>, TaskError> {
    let Some(file) = files.get(&chunk.file_id) else { return Ok(None) };
    let mut slices = Slices::from(slice);
    let request = |slice| request(context, chunk, file, slice, watched);
    match slices.gather(context, request).await {
        Ok(gathered) => Ok(Some((slices, gathered))),
        Err(error) if error.class() == FailureClass::Infrastructure => Err(error),
        Err(_) => Ok(None),
    }
}

fn request(
    context: &TaskContext,
    PlannedChunk { file_id, stamp, chunk }: PlannedChunk,
    file: &Location,
    slice: SliceId,
    watched_keys: Option<Arc<Vec<u64>>>,
) -> SliceRequest {
    let position = ChunkPosition {
        file_id,
        path: context.source.definition.base_dir().join(&file.url),
        layout: file.layout.clone(),
        stamp,
        chunk,
    };
    let (position, access) = (Position::Chunk(position), context.access);
    let tokens = context.tokens.clone();
    SliceRequest {
        slice,
        position,
        access,
        tokens,
        examine: false,
        watched_keys,
        known_pages: None,
        parents: None,
        stored: None,
        last_attempt: false,
        signs: context.signs.clone(),
    }
}

/// The keys whose rows are wanted apart.
async fn watched_keys(context: &TaskContext) -> Result<Option<Arc<Vec<u64>>>, TaskError> {
    Ok(match context.slice_order {
        SliceOrder::Split => {
            Some(Arc::new(run_repeated_keys::load(&context.pool, context.run).await?))
        }
        SliceOrder::Distinct | SliceOrder::Ordered => None,
    })
}

fn bytes(PlannedChunk { chunk, .. }: &PlannedChunk) -> usize {
    usize::try_from(chunk.end.saturating_sub(chunk.start)).unwrap_or(usize::MAX / 2)
}

fn chunk_id(PlannedChunk { file_id, chunk, .. }: &PlannedChunk) -> ChunkId {
    ChunkId { file_id: *file_id, chunk: chunk.index }
}
