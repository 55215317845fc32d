//! Owns the task that turns the raw rows of consecutive slices into records.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::PgConnection;

use super::chunks_at_hand::Normalizing;
use super::parse_csv_chunk::SliceResult;
use super::settled_pages::PagesOfBatch;
use super::{Effects, SourceInUse, Task, TaskContext, TaskError, blocking};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::run_tasks::{self, ReadSlice};
use crate::db::unified_records::Expect;
use crate::db::{quarantined_rows, raw_api_data, schemas, source_files, unified_records};
use crate::definition::mapping::{Mapped, Mapping};
use crate::domain::counters::Counters;
use crate::domain::file::{ChosenRows, Layout, RawBlock};
use crate::domain::raw::RawRef;
use crate::domain::task::{Rows, TaskPayload};
use crate::sources::{Source, SourceError};

pub(super) struct NormalizeBatch {
    pub first_slice: i64,
    pub last_slice: i64,
    pub rows: Rows,
}

/// Raw bytes that are mapped at a time: enough to be worth another thread, little enough to hold.
const MAPPED_AT_ONCE: usize = 1 << 20;

impl Task for NormalizeBatch {
    type Gathered = (Mapped, PagesOfBatch, Normalizing);

    async fn gather(&self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let normalizing = context.chunks.normalizing();
        let (first, last) = (self.first_slice, self.last_slice);
        let slices = run_tasks::read_slices(&context.pool, context.run, first, last).await?;
        let schema = schemas::accepted_for(&context.pool, context.run).await?;
        let mapping = Mapping::new(&context.source.definition, schema.as_ref());
        let mut mapper = Mapper {
            source: context.source.clone(),
            mapping: Arc::new(mapping),
            rows: self.rows,
            mapped: Mapped::default(),
            pages: PagesOfBatch::look_up(context, &slices, schema.as_ref()).await?,
        };
        for slice in slices {
            mapper.slice(context, &normalizing, slice).await?;
        }
        Ok((mapper.mapped, mapper.pages, normalizing))
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (mapped, pages, _normalizing): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let source = &context.source_name;
        let expect = self.expect(context);
        let upserted =
            unified_records::upsert(transaction, source, context.run, &mapped.records, expect)
                .await?;
        quarantined_rows::store(transaction, source, context.run, &mapped.rejects).await?;
        pages.store(context, transaction, &mapped.records, &upserted.changed).await?;
        let mut counters = Counters {
            inserted: upserted.inserted,
            updated: upserted.updated,
            unchanged: upserted.unchanged,
            quarantined: mapped.rejects.len() as i64,
            ..Counters::default()
        };
        counters += pages.counters();
        Ok(Effects { counters, result: pages.result(), ..Effects::default() })
    }
}

impl NormalizeBatch {
    /// Repeated keys meet each other in the table; the others meet nothing if it was empty.
    fn expect(&self, context: &TaskContext) -> Expect {
        match self.rows {
            Rows::All | Rows::Single if context.from_empty => Expect::NewKeys,
            Rows::All | Rows::Single | Rows::Repeated => Expect::Anything,
        }
    }
}

/// Maps raw rows off the async threads, as they come from the database.
struct Mapper {
    source: Arc<SourceInUse>,
    mapping: Arc<Mapping>,
    rows: Rows,
    mapped: Mapped,
    pages: PagesOfBatch,
}

impl Mapper {
    async fn slice(
        &mut self,
        context: &TaskContext,
        normalizing: &Normalizing,
        slice: ReadSlice,
    ) -> Result<(), TaskError> {
        let result = SliceResult::from_value(slice.result)?;
        let raw: RawRef =
            result.raw.parse().map_err(|error| TaskError::Inconsistent(format!("{error}")))?;
        match (raw, slice.payload) {
            (RawRef::Page(hash), _) if self.pages.pass_over(slice.slice, hash) => Ok(()),
            (RawRef::Page(hash), _) => {
                let (records, rejects) = (self.mapped.records.len(), self.mapped.rejects.len());
                let body = raw_api_data::body(&context.pool, &context.source_name, hash).await?;
                self.map(move |source, mapping, out| match source {
                    Source::Pages(pages) => pages.map(&body, raw, mapping, out),
                    Source::Files(_) => Err(wrong_kind()),
                })
                .await?;
                self.pages.normalized(hash, records, rejects, &self.mapped);
                Ok(())
            }
            (RawRef::File(file_id), TaskPayload::ParseCsvChunk { chunk, .. }) => {
                let chosen = match self.rows {
                    Rows::All => ChosenRows::All,
                    Rows::Single => ChosenRows::Without(result.repeated),
                    Rows::Repeated => ChosenRows::Only(result.repeated),
                };
                let id = ChunkId { file_id, chunk: chunk.index };
                self.chunk(context, normalizing, id, Arc::new(chosen)).await
            }
            (raw, payload) => {
                let text =
                    format!("slice {} says {raw} but was read by {}", slice.slice, payload.kind());
                Err(TaskError::Inconsistent(text))
            }
        }
    }

    async fn chunk(
        &mut self,
        context: &TaskContext,
        normalizing: &Normalizing,
        id: ChunkId,
        rows: Arc<ChosenRows>,
    ) -> Result<(), TaskError> {
        let layout = Arc::new(source_files::location(&context.pool, id.file_id).await?.layout);
        let raw = RawRef::File(id.file_id);
        let at_hand = match self.rows {
            Rows::All | Rows::Single => normalizing.take(id),
            Rows::Repeated => normalizing.take_repeated(id),
        };
        if let Some(blocks) = at_hand {
            return self.blocks(blocks, layout, raw, rows).await;
        }
        let mut stored = raw_csv_blocks::load(&context.pool, id, &rows);
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        loop {
            let block = stored.try_next().await?;
            let ended = block.is_none();
            bytes += block.as_ref().map_or(0, |block| block.payload.len());
            blocks.extend(block);
            if ended || bytes >= MAPPED_AT_ONCE {
                let ready = std::mem::take(&mut blocks);
                self.blocks(ready, layout.clone(), raw, rows.clone()).await?;
                bytes = 0;
            }
            if ended {
                return Ok(());
            }
        }
    }

    async fn blocks(
        &mut self,
        blocks: Vec<RawBlock>,
        layout: Arc<Layout>,
        raw: RawRef,
        rows: Arc<ChosenRows>,
    ) -> Result<(), TaskError> {
        self.map(move |source, mapping, out| {
            let Source::Files(files) = source else { return Err(wrong_kind()) };
            if !matches!(*rows, ChosenRows::Only(_)) {
                let bytes = blocks.iter().map(|block| block.payload.len()).sum();
                out.records.reserve(blocks.iter().map(|block| block.row_ends.len()).sum(), bytes);
            }
            blocks.iter().try_for_each(|block| files.map(block, &layout, raw, &rows, mapping, out))
        })
        .await
    }

    async fn map(
        &mut self,
        work: impl FnOnce(&Source, &Mapping, &mut Mapped) -> Result<(), SourceError> + Send + 'static,
    ) -> Result<(), TaskError> {
        let (source, mapping) = (self.source.clone(), self.mapping.clone());
        let mut mapped = std::mem::take(&mut self.mapped);
        self.mapped = blocking(move || {
            work(&source.source, &mapping, &mut mapped)?;
            Ok(mapped)
        })
        .await?;
        Ok(())
    }
}

fn wrong_kind() -> SourceError {
    SourceError::permanent("the raw rows are not of the kind that the source reads")
}
