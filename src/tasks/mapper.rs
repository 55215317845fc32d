//! Owns turning raw rows into records and rejects, off the async threads, wherever the rows come
//! from: the hands of this process, the raw tables, or the source itself.
//!
//! Writes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use serde_json::Value;

use super::chunk_cache::Normalizing;
use super::evaluated_rows::EvaluatedRows;
use super::read_slice::SliceResult;
use super::unchanged_pages::PagesOfBatch;
use super::{SourceInUse, TaskContext, TaskError, blocking};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::run_tasks::ReadSlice;
use crate::db::source_files::Location;
use crate::db::{raw_api_data, source_files};
use crate::domain::file::{ChosenRows, Layout, RawBlock};
use crate::domain::hash::StoredHash;
use crate::domain::raw::RawRef;
use crate::domain::run::Mode;
use crate::domain::schema::Schema;
use crate::domain::slice::SliceId;
use crate::domain::task::{Chunk, Rows};
use crate::mapping::contract::Gone;
use crate::mapping::{Mapped, Mapping, NotUnique};
use crate::sources::{BlockRows, RawRows, Source, SourceError};

/// Raw bytes that are mapped at a time: enough to be worth another thread, little enough to hold.
const MAPPED_AT_ONCE: usize = 1 << 20;

/// What a file is called in keys, and how it is read.
pub(super) struct NamedLayout {
    pub name: String,
    pub layout: Layout,
}

/// Maps raw rows under one definition and schema.
pub(super) struct Mapper {
    source: Arc<SourceInUse>,
    mapping: Arc<Mapping>,
    schema: Option<Schema>,
    /// What its slices have lost, and whether that is what its pages are measured by.
    gone: (Gone, bool),
    rows: Rows,
    /// Rows with values that other records have.
    not_unique: Arc<NotUnique>,
    /// What the rows became.
    pub mapped: Mapped,
    /// The API pages among them.
    pub pages: PagesOfBatch,
    /// The files that its slices are of.
    files: HashMap<i64, Location>,
    /// The rows that an earlier run has evaluated before.
    pub evaluated: EvaluatedRows,
    /// How many records, and keys of rows that are set aside, there were behind each slice, with its lane.
    pub lanes: Vec<(u32, usize, usize)>,
}

impl Mapper {
    /// A mapper of such rows of its slices; rows that lack one of the fields that are `gone` stay out. `keys` says
    /// whether those of rows that are set aside are looked for.
    pub fn new(
        source: &Arc<SourceInUse>,
        schema: Option<&Schema>,
        rows: Rows,
        pages: PagesOfBatch,
        gone: &Gone,
        keys: bool,
    ) -> Self {
        Self {
            source: source.clone(),
            mapping: Arc::new(Mapping::guarding(&source.definition, schema, gone)),
            schema: schema.cloned(),
            gone: (gone.clone(), true),
            rows,
            not_unique: Arc::default(),
            mapped: Mapped { rejected_keys: keys.then(Vec::new), ..Mapped::default() },
            pages,
            files: HashMap::new(),
            evaluated: EvaluatedRows::default(),
            lanes: Vec::new(),
        }
    }

    /// The same, which sets these rows aside as well.
    #[must_use]
    pub fn setting_aside(self, not_unique: NotUnique) -> Self {
        let not_unique = Arc::new(not_unique);
        let mapping =
            Mapping::guarding(&self.source.definition, self.schema.as_ref(), &self.gone.0);
        let mapping = Arc::new(mapping.setting_aside(Arc::clone(&not_unique)));
        Self { mapping, not_unique, ..self }
    }

    /// Maps slices that are kept.
    pub async fn slices(
        &mut self,
        context: &TaskContext,
        normalizing: &Normalizing,
        slices: Vec<ReadSlice>,
    ) -> Result<(), TaskError> {
        let mut ids: Vec<_> = slices.iter().filter_map(|slice| slice.payload.file_id()).collect();
        ids.dedup();
        if !ids.is_empty() {
            self.files = source_files::locations(&context.pool, &ids).await?;
        }
        for slice in slices {
            let lane = SliceId::of_ledger(slice.slice).lane();
            self.slice(context, normalizing, slice).await?;
            let rejected = self.mapped.rejected_keys.as_ref().map_or(0, Vec::len);
            self.lanes.push((lane, self.mapped.records.len(), rejected));
        }
        Ok(())
    }

    /// From now on, rows that lack one of these fields stay out.
    pub fn guard(&mut self, gone: &Gone) {
        if self.gone.0 != *gone {
            let (definition, schema) = (&self.source.definition, self.schema.as_ref());
            let mapping = Mapping::guarding(definition, schema, gone);
            self.mapping = Arc::new(mapping.setting_aside(Arc::clone(&self.not_unique)));
            self.gone = (gone.clone(), gone.is_empty());
        }
    }

    /// Maps a slice that is kept.
    async fn slice(
        &mut self,
        context: &TaskContext,
        normalizing: &Normalizing,
        slice: ReadSlice,
    ) -> Result<(), TaskError> {
        let result = SliceResult::from_value(slice.result)?;
        if context.mode == Mode::Replay {
            self.guard(&result.missing.missing);
        }
        let Some(raw) = &result.raw else { return Ok(()) };
        let raw: RawRef =
            raw.parse().map_err(|error| TaskError::Inconsistent(format!("{error}")))?;
        match (raw, slice.payload.chunk()) {
            (RawRef::Page(hash), _) if self.pages.skip(slice.slice, hash) => Ok(()),
            (RawRef::Page(hash), _) => {
                let kept = raw_api_data::page(&context.pool, &context.source_name, hash).await?;
                if kept.first_run != context.run {
                    self.evaluated.add(raw, 1, i64::MAX, Arc::new(ChosenRows::All));
                }
                self.page(hash, kept.text, kept.context).await
            }
            (RawRef::File(file_id), Some(chunk)) => {
                let chosen = match self.rows {
                    Rows::All => ChosenRows::All,
                    Rows::Single => ChosenRows::Without(result.repeated),
                    Rows::Repeated => ChosenRows::Only(result.repeated),
                };
                self.chunk(context, normalizing, file_id, chunk, Arc::new(chosen)).await
            }
            (RawRef::File(_), None) => {
                let (slice, kind) = (slice.slice, slice.payload.kind());
                let text = format!("slice {slice} says {raw} but was read by {kind}");
                Err(TaskError::Inconsistent(text))
            }
        }
    }

    /// Maps an API page.
    pub async fn page(
        &mut self,
        hash: StoredHash,
        body: String,
        context: Value,
    ) -> Result<(), TaskError> {
        let before = self.mapped.so_far();
        self.map(move |source, mapping, out| {
            let rows = RawRows::Document { text: &body, context: &context };
            source.map(rows, RawRef::Page(hash), mapping, out)
        })
        .await?;
        let measured = (hash, self.gone.1);
        self.pages.normalized(measured, &before, &self.mapped, &self.source.definition);
        Ok(())
    }

    async fn chunk(
        &mut self,
        context: &TaskContext,
        normalizing: &Normalizing,
        file_id: i64,
        chunk: Chunk,
        rows: Arc<ChosenRows>,
    ) -> Result<(), TaskError> {
        let id = ChunkId { file_id, chunk: chunk.index };
        let Some(location) = self.files.get(&file_id) else {
            return Err(TaskError::Inconsistent(format!("file {file_id} is not known")));
        };
        let (name, layout) = (location.in_keys(), location.layout.clone());
        let (file, first_run) = (Arc::new(NamedLayout { name, layout }), location.first_run);
        let raw = RawRef::File(file_id);
        let at_hand = match self.rows {
            Rows::All | Rows::Single => normalizing.take(context.run, id),
            Rows::Repeated => normalizing.take_repeated(context.run, id),
        };
        let mut last = chunk.first_row;
        if let Some(blocks) = at_hand {
            last = last_row(&blocks).unwrap_or(last);
            self.blocks(blocks, file, raw, rows.clone()).await?;
        } else {
            let mut stored = raw_csv_blocks::load(&context.pool, id, &rows);
            let (mut blocks, mut bytes) = (Vec::new(), 0);
            loop {
                let block = stored.try_next().await?;
                let ended = block.is_none();
                bytes += block.as_ref().map_or(0, |block| block.payload.len());
                blocks.extend(block);
                if ended || bytes >= MAPPED_AT_ONCE {
                    last = last_row(&blocks).unwrap_or(last);
                    let ready = std::mem::take(&mut blocks);
                    self.blocks(ready, file.clone(), raw, rows.clone()).await?;
                    bytes = 0;
                }
                if ended {
                    break;
                }
            }
        }
        if first_run != context.run {
            self.evaluated.add(raw, chunk.first_row, last, rows);
        }
        Ok(())
    }

    /// Maps the chosen rows of blocks.
    pub async fn blocks(
        &mut self,
        blocks: Vec<RawBlock>,
        file: Arc<NamedLayout>,
        raw: RawRef,
        rows: Arc<ChosenRows>,
    ) -> Result<(), TaskError> {
        self.map(move |source, mapping, out| {
            if !matches!(*rows, ChosenRows::Only(_)) {
                let bytes = blocks.iter().map(|block| block.payload.len()).sum();
                out.records.reserve(blocks.iter().map(|block| block.row_ends.len()).sum(), bytes);
            }
            blocks.iter().try_for_each(|block| {
                let NamedLayout { name, layout } = &*file;
                let rows = BlockRows { file: name, block, layout, chosen: &rows };
                let rows = RawRows::Block(rows);
                source.map(rows, raw, mapping, out)
            })
        })
        .await
    }

    async fn map(
        &mut self,
        work: impl FnOnce(&dyn Source, &Mapping, &mut Mapped) -> Result<(), SourceError>
        + Send
        + 'static,
    ) -> Result<(), TaskError> {
        let (source, mapping) = (self.source.clone(), self.mapping.clone());
        let mut mapped = std::mem::take(&mut self.mapped);
        self.mapped = blocking(move || {
            work(&*source.source, &mapping, &mut mapped)?;
            Ok(mapped)
        })
        .await?;
        Ok(())
    }
}

fn last_row(blocks: &[RawBlock]) -> Option<i64> {
    blocks.last().map(|block| block.first_row + block.row_ends.len() as i64 - 1)
}
