//! Owns the task that turns the raw rows of consecutive slices into records.

use std::sync::Arc;

use sqlx::PgConnection;

use super::parse_csv_chunk::SliceResult;
use super::{Effects, Task, TaskContext, TaskError, blocking};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::run_tasks::{self, ReadSlice};
use crate::db::{
    quarantined_rows, raw_api_data, run_repeated_keys, schemas, source_files, unified_records,
};
use crate::definition::mapping::{Chosen, Mapped, Mapping};
use crate::domain::counters::Counters;
use crate::domain::file::{Layout, RawBlock};
use crate::domain::raw::RawRef;
use crate::domain::task::{Rows, TaskPayload};
use crate::sources::{Source, SourceError};

pub(super) struct NormalizeBatch {
    pub first_slice: i64,
    pub last_slice: i64,
    pub rows: Rows,
}

/// The raw rows of one slice.
enum RawSlice {
    Page { raw: RawRef, body: String },
    Chunk { raw: RawRef, layout: Arc<Layout>, blocks: Vec<RawBlock> },
}

impl Task for NormalizeBatch {
    type Gathered = Mapped;

    async fn gather(&self, context: &TaskContext) -> Result<Mapped, TaskError> {
        let (first, last) = (self.first_slice, self.last_slice);
        let slices = run_tasks::read_slices(&context.pool, context.run, first, last).await?;
        let schema = schemas::accepted_for(&context.pool, context.run).await?;
        let mapping = Mapping::new(&context.source.definition, schema.as_ref());
        let mapping = Arc::new(mapping.of_rows(self.chosen(context).await?));
        let mut mapped = Mapped::default();
        // One slice at a time: its raw rows are gone before the next ones come.
        for slice in slices {
            let raw = load(context, slice).await?;
            let (source, mapping) = (context.source.clone(), mapping.clone());
            mapped = blocking(move || {
                map_slice(&source.source, &raw, &mapping, &mut mapped)?;
                Ok(mapped)
            })
            .await?;
        }
        Ok(mapped)
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        mapped: Mapped,
    ) -> Result<Effects, TaskError> {
        let source = &context.source_name;
        let upserted =
            unified_records::upsert(transaction, source, context.run, &mapped.records).await?;
        quarantined_rows::store(transaction, source, context.run, &mapped.rejects).await?;
        let counters = Counters {
            inserted: upserted.inserted,
            updated: upserted.updated,
            unchanged: upserted.unchanged,
            quarantined: mapped.rejects.len() as i64,
            ..Counters::default()
        };
        Ok(Effects { counters, ..Effects::default() })
    }
}

impl NormalizeBatch {
    async fn chosen(&self, context: &TaskContext) -> Result<Chosen, TaskError> {
        Ok(match self.rows {
            Rows::All => Chosen::All,
            Rows::Single => {
                Chosen::Without(run_repeated_keys::load(&context.pool, context.run).await?)
            }
            Rows::Repeated => {
                Chosen::Only(run_repeated_keys::load(&context.pool, context.run).await?)
            }
        })
    }
}

async fn load(context: &TaskContext, slice: ReadSlice) -> Result<RawSlice, TaskError> {
    let result = SliceResult::from_value(slice.result)?;
    let raw: RawRef =
        result.raw.parse().map_err(|error| TaskError::Inconsistent(format!("{error}")))?;
    match (raw, slice.payload) {
        (RawRef::Page(hash), _) => {
            let body = raw_api_data::body(&context.pool, &context.source_name, hash).await?;
            Ok(RawSlice::Page { raw, body })
        }
        (RawRef::File(file_id), TaskPayload::ParseCsvChunk { chunk, .. }) => {
            let file = source_files::location(&context.pool, file_id).await?;
            let id = ChunkId { file_id, chunk: chunk.index };
            let blocks = raw_csv_blocks::load(&context.pool, id).await?;
            Ok(RawSlice::Chunk { raw, layout: Arc::new(file.layout), blocks })
        }
        (raw, payload) => {
            let text =
                format!("slice {} says {raw} but was read by {}", slice.slice, payload.kind());
            Err(TaskError::Inconsistent(text))
        }
    }
}

fn map_slice(
    source: &Source,
    slice: &RawSlice,
    mapping: &Mapping,
    out: &mut Mapped,
) -> Result<(), SourceError> {
    match (source, slice) {
        (Source::Pages(pages), RawSlice::Page { raw, body }) => pages.map(body, *raw, mapping, out),
        (Source::Files(files), RawSlice::Chunk { raw, layout, blocks }) => {
            blocks.iter().try_for_each(|block| files.map(block, layout, *raw, mapping, out))
        }
        _ => Err(SourceError::permanent("the raw rows are not of the kind that the source reads")),
    }
}
