//! Owns the task that reads one chunk of a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use super::chunk_cache::Permit;
use super::{Effects, Task, TaskContext, TaskError, blocking};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::{run_repeated_keys, source_files};
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::counters::Counters;
use crate::domain::file::FileStamp;
use crate::domain::raw::RawRef;
use crate::domain::row_numbers;
use crate::domain::shape::Shape;
use crate::domain::task::Chunk;
use crate::mapping::Mapping;
use crate::mapping::contract::Gone;
use crate::sources::{KeyWatch, ParsedChunk, Source};
use crate::values::row::Row;

/// What a reading task leaves in the ledger: where its rows are, and what they look like.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SliceResult {
    pub raw: String,
    pub shape: Shape,
    /// Numbers of the rows whose keys occur in other rows of the run as well, where only those must
    /// be applied in order.
    #[serde(default, with = "row_numbers", skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<i64>,
    /// The message when an API has pages that no task will fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
    /// What an API's response says is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
    /// The paths of the mapping that lead into fields of the page and led nowhere in any record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leading_nowhere: Vec<String>,
    /// The paths that may have been meant by some of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meant: BTreeMap<String, String>,
    /// The guarded fields that no record of the page and of those before it has.
    #[serde(flatten)]
    pub gone: Gone,
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
    type Gathered = (ParsedChunk, Permit);

    async fn gather(&self, context: &TaskContext) -> Result<(ParsedChunk, Permit), TaskError> {
        let permit = context.chunks.permit().await;
        let file = source_files::location(&context.pool, self.file_id).await?;
        let path = context.source.definition.base_dir().join(&file.url);
        let repeated = match context.slice_order {
            SliceOrder::Split => Some(run_repeated_keys::load(&context.pool, context.run).await?),
            SliceOrder::Distinct | SliceOrder::Ordered => None,
        };
        let source = context.source.clone();
        let (stamp, chunk, file_id) = (self.stamp, self.chunk, self.file_id);
        let parsed = blocking(move || {
            let Source::Files(files) = &source.source else {
                return Err(TaskError::Inconsistent("pages have no chunks".into()));
            };
            let mapping = Mapping::new(&source.definition, None);
            let mut scratch = String::new();
            let mut watch = repeated.map(|repeated| {
                move |row: &dyn Row| {
                    let hash = mapping.key_hash(row, &mut scratch);
                    hash.is_some_and(|hash| repeated.binary_search(&hash).is_ok())
                }
            });
            let watch = watch.as_mut().map(|watch| watch as KeyWatch<'_>);
            Ok(files.read(&path, &stamp, &file.layout, &chunk, file_id, watch)?)
        })
        .await?;
        Ok((parsed, permit))
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (parsed, permit): (ParsedChunk, Permit),
    ) -> Result<Effects, TaskError> {
        let id = ChunkId { file_id: self.file_id, chunk: self.chunk.index };
        let source = &context.source_name;
        raw_csv_blocks::store(transaction, id, source, context.run, &parsed.blocks).await?;
        let repeated = parsed.picked;
        permit.keep(context.run, id, parsed.blocks, parsed.watched);
        let raw = RawRef::File(self.file_id);
        let counters = Counters {
            slices: 1,
            bytes: (self.chunk.end - self.chunk.start) as i64,
            rows_read: parsed.rows,
            ..Counters::default()
        };
        let result = SliceResult {
            raw: raw.to_string(),
            shape: parsed.shape,
            repeated,
            ..Default::default()
        };
        Ok(Effects { counters, result: Some(result.to_value()?), ..Effects::default() })
    }
}
