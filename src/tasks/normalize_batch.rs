//! Owns the task that turns the raw rows of consecutive slices into records.

use std::sync::Arc;

use sqlx::PgConnection;

use super::parse_csv_chunk::SliceResult;
use super::{Effects, SourceInUse, Task, TaskContext, TaskError, blocking};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::run_tasks::{self, ReadSlice};
use crate::db::{quarantined_rows, raw_api_data, schemas, source_files, unified_records};
use crate::definition::mapping::{Mapped, Mapping};
use crate::domain::counters::Counters;
use crate::domain::file::{Layout, RawBlock};
use crate::domain::raw::RawRef;
use crate::domain::schema::Schema;
use crate::domain::task::TaskPayload;
use crate::sources::{Source, SourceError};

pub(super) struct NormalizeBatch {
    pub first_slice: i64,
    pub last_slice: i64,
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
        let mut raws = Vec::with_capacity(slices.len());
        for slice in slices {
            raws.push(load(context, slice).await?);
        }
        let source = context.source.clone();
        blocking(move || map(&source, schema.as_ref(), &raws)).await
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

fn map(
    source: &SourceInUse,
    schema: Option<&Schema>,
    raws: &[RawSlice],
) -> Result<Mapped, TaskError> {
    let mapping = Mapping::new(&source.definition, schema);
    let mut out = Mapped::default();
    for slice in raws {
        map_slice(&source.source, slice, &mapping, &mut out)?;
    }
    Ok(out)
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
