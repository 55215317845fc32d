//! Owns reading one job: it is created, or it is looked at and its files are read one after the other, chunk by chunk.
//!
//! A task that begins again asks the API anew where the files are, and passes over what is stored.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::exported::{Export, behind, own};
use super::params::renamed;
use super::position::{CreatedJob, ExportPosition, FileAt};
use crate::sources::files::places::incoming::Incoming;

use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::file::StreamedFile;
use crate::domain::slice::SliceId;
use crate::job_file::policy::Policy;
use crate::sources::files::format::{Doubts, RowFormat};
use crate::sources::files::landing::{Coming, Damage, LandedChunk, Landing, LandingFile};
use crate::sources::files::off_thread::off_thread;
use crate::sources::files::unpack::only;
use crate::sources::rest_api::RestApiSource;
use crate::sources::rest_api::jobs::Download;
use crate::sources::{
    FirstRow, NextSlice, RateState, RawSlice, SliceContent, SliceNotes, SliceReader, SliceRequest,
    SourceError, SourceErrorKind, StreamedChunk,
};

/// How often in a row another address of the same file is asked for.
const MOST_RENEWALS: usize = 3;
/// Where that is no use.
const SAME_ADDRESS: &str = "the API gives the same address when it is asked again, so that its age is not at fault: see \
                            whether the file is there, and `export.download.allowed_hosts` and `export.auth`";

/// Reads one job.
pub(super) struct ExportReader<F: RowFormat> {
    job: Job<F>,
    open: Option<Open<F>>,
}

/// The job that is read, apart from its files.
struct Job<F: RowFormat> {
    source: Arc<Export<F>>,
    request: SliceRequest,
}

/// A job whose files are being read.
struct Open<F: RowFormat> {
    position: ExportPosition,
    /// The slice that is read next.
    slice: SliceId,
    links: Vec<String>,
    number: usize,
    begins: SliceId,
    /// `None` between two files.
    landing: Option<Landing<F>>,
    /// Its next chunk, where that was read to see what the file has.
    ahead: Option<LandedChunk>,
    rate: RateState,
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
            None => self.job.next_file(&mut open).await?,
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

    /// Where the files of the job are.
    async fn links(&self, at: &Value) -> Result<(Vec<String>, RateState), SourceError> {
        let source = &self.source;
        let answer = source.poll.call(at, &self.request.tokens, &[]).await?;
        let job = RestApiSource::job_of(at)?;
        let links = source.paths.files(&answer, &job, &source.params)?;
        Ok((links, answer.rate))
    }

    /// Looks at the job, and begins where the task stands.
    async fn begin(&self, position: ExportPosition) -> Result<Open<F>, SourceError> {
        let (links, rate) = self.links(&position.at).await?;
        let (number, begins) = match position.job.as_ref().and_then(|job| job.file.as_ref()) {
            Some(file) if file.of != links.len() => return Err(other_files(file.of, links.len())),
            Some(file) => (file.number, file.begins),
            None => (0, self.request.slice),
        };
        let slice = self.request.slice;
        Ok(Open { position, slice, links, number, begins, landing: None, ahead: None, rate })
    }

    /// Opens the next file. Where only its rows say what it has, nothing of it is kept before these have shown all
    /// that it must have: it is looked through, and asked for again if that took more than its first chunk.
    async fn next_file(&self, open: &mut Open<F>) -> Result<Landing<F>, SourceError> {
        let mut landing = self.file(open).await?;
        let file = open.position.job.as_ref().and_then(|job| job.file.as_ref());
        let goes_on = file.is_some_and(|file| file.number == open.number && file.landed.is_some());
        let must_have = self.source.guarded(&open.position.had);
        if goes_on || landing.has_met(&must_have) {
            return Ok(landing);
        }
        let mut chunks = 0;
        loop {
            let (of, chunk) = next_chunk(landing).await;
            (landing, chunks) = (of, chunks + 1);
            let chunk = chunk?;
            self.refuse(open, &landing, &chunk.landed, chunk.first_row)?;
            if chunks == 1 && (chunk.end.is_some() || landing.has_met(&must_have)) {
                open.ahead = Some(chunk);
                return Ok(landing);
            }
            if let Some(known) = chunk.end {
                self.source.guard(landing.name(), &known.layout, &open.position.had)?;
                break;
            }
            if landing.has_met(&must_have) {
                break;
            }
        }
        self.file(open).await
    }

    /// Opens the file that is read next, and passes over what of it is stored.
    async fn file(&self, open: &mut Open<F>) -> Result<Landing<F>, SourceError> {
        let Download { name, end_is_told, bytes } = self.download(open).await?;
        let name = match open.links.len() {
            1 => name,
            _ => format!("{name}#{}", open.number + 1),
        };
        let (files, packing) = (Arc::clone(&self.source.files), self.source.packing.clone());
        let file = open.position.job.as_ref().and_then(|job| job.file.clone());
        let stored = file.filter(|file| file.number == open.number).and_then(|file| file.landed);
        let signs = self.request.signs.clone();
        off_thread(move || {
            let bytes = only(signs.over(Box::new(Incoming::of(bytes))), &packing, end_is_told);
            let (damage, doubts) = (Damage::MayPass, Doubts::default());
            let coming = Coming { end_is_told, charset: None, damage, doubts };
            let mut landing = Landing::open(files, name, bytes, coming)?;
            if let Some(stored) = stored {
                landing.pass(&stored)?;
            }
            Ok(landing)
        })
        .await
    }

    /// Begins to download the next file. An address may be good for a while only: another one is asked for, as long as
    /// the API has another one.
    async fn download(&self, open: &mut Open<F>) -> Result<Download, SourceError> {
        let source = &self.source;
        let tokens = &self.request.tokens;
        let mut refused: Vec<String> = Vec::new();
        loop {
            let link = open.links.get(open.number).cloned().unwrap_or_default();
            refused.push(link);
            match source.poll.download(&open.position.at, &refused, tokens).await {
                Err(error) if may_be_expired(error.kind) && refused.len() <= MOST_RENEWALS => {}
                Err(error) if may_be_expired(error.kind) => {
                    return Err(error.advise(format!(
                        "{} addresses of it were refused, one after the other, each as soon as the API had given it: it \
                         is not their age that is at fault",
                        refused.len()
                    )));
                }
                download => return download,
            }
            let (links, rate) = self.links(&open.position.at).await?;
            if links.len() != open.links.len() {
                return Err(other_files(open.links.len(), links.len()));
            }
            let is_same = links.get(open.number) == refused.last();
            (open.links, open.rate) = (links, rate);
            if is_same {
                // It may be one that is good again, or was refused by chance.
                let last = source.poll.download(&open.position.at, &refused, tokens).await;
                return last.map_err(|error| match may_be_expired(error.kind) {
                    true => error.advise(SAME_ADDRESS),
                    false => error,
                });
            }
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
        let rate = std::mem::take(&mut open.rate);
        let (blocks, rows, shape) = (parsed.blocks, parsed.rows, parsed.shape);
        Ok(SliceContent {
            raw: RawSlice::Streamed(vec![StreamedChunk { file, chunk, blocks, rows, shape, end }]),
            bytes: chunk.end - chunk.start,
            rows,
            next: next.into_iter().collect(),
            continues_at,
            end: finished,
            watermark,
            notes: SliceNotes { rate, ..SliceNotes::default() },
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

    /// Refuses a file that is not what it should be.
    fn refuse(
        &self,
        open: &Open<F>,
        landing: &Landing<F>,
        landed: &crate::sources::files::landing::Landed,
        first_row: FirstRow,
    ) -> Result<(), SourceError> {
        let (source, name) = (&self.source, landing.name());
        let most = source.params.download.max_bytes.get();
        if landed.end.bytes > most {
            let message =
                format!("{name} has more than `export.download.max_bytes` = {most} bytes");
            return Err(SourceError::new(SourceErrorKind::TooLarge, message)
                .advise("ask for a shorter time, or raise it"));
        }
        let guards = source.definition.contract.missing_field != Policy::Evolve;
        if guards && first_row == FirstRow::OtherHeader {
            let message = format!(
                "{name}: its first row is a header, in another order than the job file names the columns"
            );
            return Err(SourceError::new(SourceErrorKind::InvalidFile, message)
                .advise("name the columns in that order"));
        }
        if landed.end.rows > 0 {
            source.guard(name, landing.layout(), &open.position.had)?;
        }
        Ok(())
    }
}

/// The next chunk of a file that is coming.
async fn next_chunk<F: RowFormat>(
    mut landing: Landing<F>,
) -> (Landing<F>, Result<LandedChunk, SourceError>) {
    off_thread(move || {
        let chunk = landing.next();
        (landing, chunk)
    })
    .await
}

impl<F: RowFormat> SliceReader for ExportReader<F> {
    fn next(&mut self) -> BoxFuture<'_, Result<SliceContent, SourceError>> {
        async move { self.read().await.map_err(renamed) }.boxed()
    }
}

/// Whether an address may have been good for a while only.
fn may_be_expired(kind: SourceErrorKind) -> bool {
    matches!(
        kind,
        SourceErrorKind::Forbidden
            | SourceErrorKind::Unauthorized
            | SourceErrorKind::NotFound
            | SourceErrorKind::Rejected
    )
}

fn other_files(before: usize, now: usize) -> SourceError {
    let message =
        format!("the export job had {before} files when it was looked at first, and has {now} now");
    SourceError::new(SourceErrorKind::FileChanged, message)
        .advise("the next run asks for a new one")
}
