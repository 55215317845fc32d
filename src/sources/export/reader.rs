//! Owns reading one job: it is created, or it is looked at and its files are read one after the other, chunk by chunk.
//!
//! A task that begins again asks the API anew where the files are, and passes over what is stored.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::exported::{Export, behind, own};
use super::open::{Job, Open, next_chunk};
use super::params::renamed;
use super::position::{CreatedJob, ExportPosition, FileAt};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::file::StreamedFile;
use crate::sources::files::format::RowFormat;
use crate::sources::files::landing::{LandedChunk, Landing, LandingFile};
use crate::sources::rest_api::RestApiSource;
use crate::sources::{
    NextSlice, RawSlice, SliceContent, SliceNotes, SliceReader, SliceRequest, SourceError,
    StreamedChunk,
};

/// Reads one job.
pub(super) struct ExportReader<F: RowFormat> {
    job: Job<F>,
    open: Option<Open<F>>,
}

impl<F: RowFormat> ExportReader<F> {
    pub fn new(source: Arc<Export<F>>, request: SliceRequest) -> Self {
        Self { job: Job { source, request }, open: None }
    }

    async fn read(&mut self) -> Result<SliceContent, SourceError> {
        let position = own(&self.job.request.position)?;
        if position.job.is_none() {
            return self.job.create(position).await;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.job.begin(position).await?,
        };
        if open.links.is_empty() {
            return self.job.without_files(&open);
        }
        let mut landing = match open.landing.take() {
            Some(landing) => landing,
            None => match self.job.next_file(&mut open).await? {
                Some(landing) => landing,
                None => {
                    let content = self.job.still_looking(&mut open);
                    self.open = Some(open);
                    return Ok(content);
                }
            },
        };
        let chunk = match open.ahead.take() {
            Some(chunk) => chunk,
            None => {
                let (of, chunk) = next_chunk(landing).await;
                landing = of;
                chunk?
            }
        };
        let ended = chunk.end.is_some();
        let content = self.job.content(&mut open, &landing, chunk)?;
        if content.continues_at.is_some() {
            open.landing = (!ended).then_some(landing);
            self.open = Some(open);
        }
        Ok(content)
    }
}

impl<F: RowFormat> Job<F> {
    /// Creates the job. Its id is committed with the slice: killed before that, there is one job that nobody asks for.
    async fn create(&self, position: ExportPosition) -> Result<SliceContent, SourceError> {
        let source = &self.source;
        let mut headers = Vec::new();
        if source.params.create.idempotency_key {
            let name = source.definition.source.as_str();
            headers.push(("idempotency-key", source.create.idempotency_key(name, &position.at)?));
        }
        let answer = source.create.call(&position.at, &self.request.tokens, &headers).await?;
        let id = source.paths.id(&answer, &source.params.create.id)?;
        let at = RestApiSource::of_job(&position.at, id)?;
        let job = Some(CreatedJob { date: answer.date, file: None });
        let slice = self.request.slice.next();
        let position = ExportPosition { at, job, ..position }.to_json();
        Ok(SliceContent {
            next: vec![NextSlice { slice, position }],
            notes: SliceNotes { rate: answer.rate, ..SliceNotes::default() },
            ..SliceContent::default()
        })
    }

    /// What is left of a part of a file that was looked through.
    fn still_looking(&self, open: &mut Open<F>) -> SliceContent {
        open.slice = open.slice.next();
        open.begins = open.slice;
        let (number, of, begins) = (open.number, open.links.len(), open.begins);
        let at = FileAt { number, of, begins, landed: None };
        let rate = std::mem::take(&mut open.rate);
        SliceContent {
            continues_at: Some(open.position.at_file(at).to_json()),
            notes: SliceNotes { rate, ..SliceNotes::default() },
            ..SliceContent::default()
        }
    }

    /// What a chunk leaves.
    fn content(
        &self,
        open: &mut Open<F>,
        landing: &Landing<F>,
        landed: LandedChunk,
    ) -> Result<SliceContent, SourceError> {
        let source = &self.source;
        let LandedChunk { chunk, parsed, landed, first_row, end } = landed;
        self.refuse(open, landing, &landed, first_row)?;
        if let Some(known) = &end {
            source.guard(landing.name(), &known.layout, &open.position.had)?;
        }
        let layout =
            end.as_ref().map_or_else(|| landing.layout().clone(), |end| end.layout.clone());
        let name = landing.name().to_owned();
        let (listed, member) = (None, None);
        let file = StreamedFile { begins: open.begins, name, layout, listed, member };
        let (slice, of, is_end) = (open.slice, open.links.len(), end.is_some());
        open.slice = slice.next();
        if is_end {
            open.number += 1;
            open.begins = open.slice;
        }
        let is_last = open.number == of;
        let landed_bytes = landed.end.bytes;
        let landed = Some(landed).filter(|_| !is_end);
        let at = FileAt { number: open.number, of, begins: open.begins, landed };
        let continues_at = (!is_last).then(|| open.position.at_file(at).to_json());
        let finished = is_last.then(|| ChainEnd::complete(StopReason::Total));
        let mut watermark = self.trace(open, finished.as_ref())?;
        if let (true, true) = (is_end, parsed.rows > 0 || chunk.index > 0) {
            watermark = source.with_columns(watermark, &file.layout);
        }
        if is_end && landed_bytes == 0 {
            watermark = source.with_loss(watermark, &file, &open.position.had);
        }
        let next = if is_last { behind(source, &open.position, slice)? } else { None };
        let (rate, files) = (std::mem::take(&mut open.rate), std::mem::take(&mut open.notes));
        let (blocks, rows, shape) = (parsed.blocks, parsed.rows, parsed.shape);
        Ok(SliceContent {
            raw: RawSlice::Streamed(vec![StreamedChunk { file, chunk, blocks, rows, shape, end }]),
            bytes: chunk.end - chunk.start,
            rows,
            next: next.into_iter().collect(),
            continues_at,
            end: finished,
            watermark,
            notes: SliceNotes { rate, files, ..SliceNotes::default() },
            ..SliceContent::default()
        })
    }

    /// What a job leaves that has no files: all that it was asked for was read.
    fn without_files(&self, open: &Open<F>) -> Result<SliceContent, SourceError> {
        let end = ChainEnd::complete(StopReason::Empty);
        let watermark = self.trace(open, Some(&end))?;
        let next = behind(&self.source, &open.position, open.slice)?.into_iter().collect();
        let notes = SliceNotes { rate: open.rate, ..SliceNotes::default() };
        Ok(SliceContent { next, end: Some(end), watermark, notes, ..SliceContent::default() })
    }

    fn trace(&self, open: &Open<F>, end: Option<&ChainEnd>) -> Result<Option<Value>, SourceError> {
        let Some(end) = end else { return Ok(None) };
        let date = open.position.job.as_ref().and_then(|job| job.date);
        self.source.create.job_trace(&open.position.at, date, end)
    }
}

impl<F: RowFormat> SliceReader for ExportReader<F> {
    fn next(&mut self) -> BoxFuture<'_, Result<SliceContent, SourceError>> {
        async move { self.read().await.map_err(renamed) }.boxed()
    }
}
