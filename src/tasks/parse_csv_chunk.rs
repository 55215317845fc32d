//! Owns the task that reads one chunk of a file.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use super::{Effects, Task, TaskContext, TaskError, blocking};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::{quarantined_rows, source_files};
use crate::domain::counters::Counters;
use crate::domain::file::FileStamp;
use crate::domain::raw::RawRef;
use crate::domain::shape::Shape;
use crate::domain::task::Chunk;
use crate::sources::{ParsedChunk, Source};

/// What a reading task leaves in the ledger: where its rows are, and what they look like.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SliceResult {
    pub raw: String,
    pub shape: Shape,
}

impl SliceResult {
    pub fn to_value(&self) -> Result<Value, TaskError> {
        serde_json::to_value(self).map_err(|error| TaskError::Inconsistent(error.to_string()))
    }

    pub fn from_value(value: Value) -> Result<Self, TaskError> {
        serde_json::from_value(value)
            .map_err(|error| TaskError::Inconsistent(format!("result of a reading task: {error}")))
    }
}

pub(super) struct ParseCsvChunk {
    pub file_id: i64,
    pub stamp: FileStamp,
    pub chunk: Chunk,
}

impl Task for ParseCsvChunk {
    type Gathered = ParsedChunk;

    async fn gather(&self, context: &TaskContext) -> Result<ParsedChunk, TaskError> {
        let file = source_files::location(&context.pool, self.file_id).await?;
        let path = context.source.definition.base_dir().join(&file.url);
        let source = context.source.clone();
        let (stamp, chunk, file_id) = (self.stamp, self.chunk, self.file_id);
        blocking(move || match &source.source {
            Source::Files(files) => Ok(files.read(&path, &stamp, &file.layout, &chunk, file_id)?),
            Source::Pages(_) => Err(TaskError::Inconsistent("pages have no chunks".into())),
        })
        .await
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        parsed: ParsedChunk,
    ) -> Result<Effects, TaskError> {
        let id = ChunkId { file_id: self.file_id, chunk: self.chunk.index };
        let source = &context.source_name;
        raw_csv_blocks::store(transaction, id, source, context.run, &parsed.blocks).await?;
        let raw = RawRef::File(self.file_id);
        let counters = Counters {
            slices: 1,
            bytes: (self.chunk.end - self.chunk.start) as i64,
            rows_read: parsed.rows,
            quarantined: parsed.rejects.len() as i64,
            ..Counters::default()
        };
        let rejects: Vec<_> = parsed.rejects.into_iter().map(|reject| (raw, reject)).collect();
        quarantined_rows::store(transaction, source, context.run, &rejects).await?;
        let result = SliceResult { raw: raw.to_string(), shape: parsed.shape };
        Ok(Effects { counters, result: Some(result.to_value()?), follow_ups: Vec::new() })
    }
}
