//! Owns an export as a source: how it is planned, read and mapped, and what a run leaves for the next.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::exported::{self, EMPTY, Export, HAD};
use super::params::renamed;
use super::reader::ExportReader;
use crate::domain::file::Layout;
use crate::domain::file_standing::shown;
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::remark::{Remark, few};
use crate::domain::run::{ReadRange, RunId};
use crate::mapping::{Mapped, Mapping};
use crate::sources::files::format::RowFormat;
use crate::sources::{
    AskedRange, FileSource, GoesOn, Plan, PlanRequest, Profile, RawRow, RawRows, ReadLanes,
    ReadableRow, SliceReader, SliceRequest, Source, SourceError, SourceErrorKind,
};

/// Chunks that are normalized in one transaction when they queue up.
const CHUNKS_PER_BATCH: i64 = 128;
/// Why nothing but a run reads it.
const ONLY_BY_RUNS: &str = "the files of [export] are made by the API when a run asks for them, which takes its time and \
                            leaves a job there: nothing of them can be seen without one";

/// What to do when files may be empty.
const EVOLVE: &str = "if that is meant, write missing_field = \"evolve\" under [contract]";

impl<F: RowFormat> Source for Export<F> {
    fn profile(&self) -> Profile {
        let profile = self.create.profile();
        let kept = profile.kept_tokens.into_iter();
        let of_export = |key: String| key.replacen("rest_api.", "export.", 1);
        Profile {
            reads: Reads::News,
            guards_itself: true,
            rows_by_job_file: false,
            tells_deletions: false,
            may_shift: false,
            pages: false,
            slices_per_batch: CHUNKS_PER_BATCH,
            bytes_per_batch: i64::try_from(self.files.chunk_size()).unwrap_or(i64::MAX),
            kept_tokens: kept.map(|(key, token)| (of_export(key), token)).collect(),
            only_by_runs: Some(ONLY_BY_RUNS),
            must_have_rows: self.must_have_rows(),
            ..profile
        }
    }

    fn plan(
        self: Arc<Self>,
        request: PlanRequest,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        async move { self.planned(&request).map_err(renamed) }.boxed()
    }

    fn read_range(
        &self,
        _asked: AskedRange<'_>,
        _now: DateTime<Utc>,
    ) -> Result<ReadRange, SourceError> {
        Err(SourceError::new(
            SourceErrorKind::InvalidConfig,
            "a range cannot be read of an export: what its files hold is said by the request of `[export]` that \
             makes them",
        ))
    }

    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader> {
        Box::new(ExportReader::new(self, request))
    }

    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        match rows {
            RawRows::Block(rows) => self.files.map(rows, raw, mapping, out),
            RawRows::Document { .. } => Err(rows.wrong_form()),
        }
    }

    fn raw_row(&self, rows: RawRows<'_>, _: i64) -> Result<Option<RawRow>, SourceError> {
        match rows {
            RawRows::Block(rows) => self.files.raw_row(rows),
            RawRows::Document { .. } => Err(rows.wrong_form()),
        }
    }

    fn row_for_people<'r>(
        &self,
        raw: &'r [u8],
        layout: Option<&Layout>,
        field: &str,
    ) -> ReadableRow<'r> {
        match layout {
            Some(layout) => self.files.row_for_people(raw, layout, field),
            None => ReadableRow::unmarked(raw),
        }
    }

    fn advance(&self, state: &Value, watermarks: &[Value], complete: bool) -> Value {
        let mut after = match self.create.advance(state, watermarks, complete) {
            Value::Object(after) => after,
            _ => Map::new(),
        };
        let of_files = watermarks.iter().filter_map(|watermark| watermark.get(HAD));
        let in_all = |all: Vec<String>, one: Vec<String>| {
            all.into_iter().filter(|column| one.contains(column)).collect()
        };
        let had = of_files.map(|columns| exported::columns(Some(columns))).reduce(in_all);
        let had = had.unwrap_or_else(|| exported::columns(state.get(HAD)));
        after.insert(HAD.to_owned(), json!(had));
        Value::Object(after)
    }

    fn goes_on(&self, state: &Value, read: &ReadLanes) -> Option<GoesOn> {
        self.create.goes_on(state, read)
    }

    fn restarted(&self, state: &Value, run: RunId) -> Value {
        self.create.restarted(state, run)
    }

    fn restart_ended(&self, state: &Value, run: RunId) -> Value {
        self.create.restart_ended(state, run)
    }

    fn replays_first(&self, state: &Value) -> bool {
        self.create.replays_first(state)
    }

    fn replayed(&self, state: &Value) -> Value {
        self.create.replayed(state)
    }

    fn remarks(&self, watermarks: &[Value]) -> Vec<Remark> {
        let mut remarks = self.create.remarks(watermarks);
        let empty = watermarks.iter().filter_map(|watermark| watermark.get(EMPTY)?.as_str());
        let empty: Vec<_> = empty.map(shown).collect();
        if !empty.is_empty() {
            remarks.push(Remark::degrading(format!(
                "{}: no bytes, not even a header, and the last run's files had rows; {EVOLVE}",
                few(empty)
            )));
        }
        remarks
    }
}
