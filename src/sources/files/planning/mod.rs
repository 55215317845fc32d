//! Files as a source: which of them to read and how far, and reading them chunk by chunk.
//!
//! What is not to be read is said; it never stops the others.
//! Must not know: what a row of a file looks like.

mod guard;
mod remarks;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::domain::bloom_filter::BloomFilter;
use crate::domain::file::{CommittedFile, KnownFile};
use crate::domain::hash::Hashes;
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::run::{Mode, ReadRange};
use crate::job_file::Definition;
use crate::job_file::policy::MissingAction;
use crate::mapping::{Mapped, Mapping};
use crate::sources::SourceErrorKind;
use crate::sources::files::file_source::WhenGone;
use crate::sources::files::off_thread::off_thread;
use crate::sources::files::store::stored_name;
use crate::sources::{
    AskedRange, FilePlan, FileSource, FoundFile, FoundPaths, KeyWatch, Loss, OneSlice, ParsedChunk,
    Plan, PlanRequest, Position, Profile, RawRows, RawSlice, SliceContent, SliceNotes, SliceReader,
    SliceRequest, Source, SourceError,
};
use crate::values::row::Row;
use guard::FileGuard;
use remarks::FileRemarks;

/// Small files, or what is new of them, that are read in one transaction, and normalized in one: enough for what
/// each transaction costs not to count. Together they have no more bytes than one chunk, so a whole chunk is
/// alone.
const CHUNKS_PER_BATCH: i64 = 128;

/// Files, as a source: cut into slices.
pub struct SlicedFiles {
    files: Box<dyn FileSource>,
    definition: Arc<Definition>,
}

impl SlicedFiles {
    /// The files of a definition.
    pub fn new(files: impl FileSource + 'static, definition: &Definition) -> Self {
        Self { files: Box::new(files), definition: Arc::new(definition.clone()) }
    }
}

impl Source for SlicedFiles {
    fn profile(&self) -> Profile {
        Profile {
            reads: Reads::News,
            guards_itself: true,
            rows_by_job_file: false,
            may_shift: false,
            slices_per_batch: CHUNKS_PER_BATCH,
            bytes_per_batch: i64::try_from(self.files.chunk_size()).unwrap_or(i64::MAX),
            rate_limit: None,
            max_attempts: None,
            max_block: None,
            max_wait: None,
            kept_tokens: Vec::new(),
            recording: None,
            parents: None,
            only_by_runs: None,
            must_have_rows: false,
        }
    }

    fn plan(
        self: Arc<Self>,
        request: PlanRequest,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        let timeouts = Timeouts::default();
        let stopped = Arc::clone(&timeouts.0);
        async move {
            let _patience = timeouts;
            off_thread(move || self.plan_files(&request, &stopped)).await
        }
        .boxed()
    }

    fn read_range(
        &self,
        _asked: AskedRange<'_>,
        _now: DateTime<Utc>,
    ) -> Result<ReadRange, SourceError> {
        Err(SourceError::new(
            SourceErrorKind::InvalidConfig,
            "a range cannot be read of files, since nothing says which rows are of it: a run reads what is new in them, \
             and one with `--full` all of them again",
        ))
    }

    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader> {
        OneSlice::of(async move { off_thread(move || self.read_chunk(&request)).await })
    }

    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        match rows {
            RawRows::Block { block, layout, chosen } => {
                self.files.map(block, layout, raw, chosen, mapping, out)
            }
            RawRows::Document { .. } => Err(rows.wrong_form()),
        }
    }
}

impl SlicedFiles {
    fn plan_files(&self, request: &PlanRequest, stopped: &AtomicBool) -> Result<Plan, SourceError> {
        let FoundPaths { files: paths, left_out } = self.files.files(stopped)?;
        let (definition, base) = (&*self.definition, self.definition.base_dir());
        let bytes = paths.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len());
        let mut keys = BloomFilter::for_bytes(bytes.sum());
        let mut files = Vec::with_capacity(paths.len());
        let mut names = Vec::with_capacity(paths.len());
        let mut guard = FileGuard::new(&*self.files, definition, &request.files);
        let mut remarks = FileRemarks::new(&*self.files, definition);
        let listed = paths.len();
        let nothing_left_out = left_out.iter().all(|left| left.loss == Loss::Nothing);
        // What was in a folder that cannot be looked into may still be there.
        let all_known = left_out.iter().all(|left| left.loss != Loss::Unknown);
        for left in left_out {
            names.push(stored_name(base, &left.path));
            guard.leave_out(left);
        }
        let written = Hashes::of(definition.text.as_bytes());
        let mapping = Mapping::new(definition, None);
        let mut scratch = String::new();
        let mut visit = |row: &dyn Row| {
            if let Some(hash) = mapping.key_hash(row, &mut scratch) {
                keys.see(hash);
            }
        };
        let read_again = self.reads_all_without_gone_files(request, &paths);
        for path in paths {
            if stopped.load(Ordering::Relaxed) {
                return Err(SourceError::new(
                    SourceErrorKind::Abandoned,
                    "nobody waits for the plan any more",
                ));
            }
            let url = stored_name(base, &path);
            if !guard.can_keep(&url) {
                continue;
            }
            let committed = request.files.get(&url).cloned();
            let known = usable(request, &written, committed.as_ref()).filter(|_| !read_again);
            names.push(url.clone());
            let plan = match self.files.plan(&path, known, &mut visit) {
                Ok(plan) => plan,
                Err(error) => {
                    guard.keep_out(&path, &url, error)?;
                    continue;
                }
            };
            let found = FoundFile { url, committed, plan };
            if guard.admits(&found) {
                remarks.look_at(&found);
                files.push(found);
            }
        }
        if let (true, Some(error)) = (files.is_empty(), guard.take_error()) {
            return Err(error);
        }
        let found = all_known.then_some(names);
        if let Some(names) = &found {
            remarks.look_for_missing(&request.files, names);
        }
        let remarks = guard.remarks().into_iter().chain(remarks.remarks()).collect();
        let whole = files.iter().all(|file| matches!(file.plan, FilePlan::Whole(_)));
        let everything = nothing_left_out && whole && files.len() == listed;
        let (slices, parents) = (Vec::new(), None);
        Ok(Plan { slices, files, everything, found, remarks, order: keys.order(), parents })
    }

    /// Whether a file is gone, and its records with it unless another file has them: only reading all tells.
    fn reads_all_without_gone_files(&self, request: &PlanRequest, paths: &[PathBuf]) -> bool {
        let base = self.definition.base_dir();
        let looks = self.definition.missing.action == MissingAction::Tombstone
            && self.files.when_gone() == WhenGone::Tombstone;
        looks && {
            let there: HashSet<_> = paths.iter().map(|path| stored_name(base, path)).collect();
            request.files.iter().any(|(name, file)| !file.gone_for_good && !there.contains(name))
        }
    }

    fn read_chunk(&self, request: &SliceRequest) -> Result<SliceContent, SourceError> {
        let Position::Chunk(at) = &request.position else {
            return Err(SourceError::new(
                SourceErrorKind::InvalidState,
                "files are read in chunks, and no chunk was asked for",
            ));
        };
        let mut watch = request.watched_keys.as_ref().map(|keys| {
            let (mapping, mut scratch) = (Mapping::new(&self.definition, None), String::new());
            move |row: &dyn Row| {
                let hash = mapping.key_hash(row, &mut scratch);
                hash.is_some_and(|hash| keys.binary_search(&hash).is_ok())
            }
        });
        let watch = watch.as_mut().map(|watch| watch as KeyWatch<'_>);
        let (stamp, chunk) = (&at.stamp, &at.chunk);
        let parsed = self.files.read(&at.path, stamp, &at.layout, chunk, at.file_id, watch)?;
        let ParsedChunk { blocks, rows, picked, watched, shape } = parsed;
        Ok(SliceContent {
            raw: RawSlice::Blocks { blocks, watched: picked, watched_rows: watched },
            bytes: chunk.end - chunk.start,
            rows,
            shape,
            next: Vec::new(),
            continues_at: None,
            end: None,
            met: None,
            watermark: None,
            notes: SliceNotes::default(),
        })
    }
}

/// What the last good run allows to build upon: nothing in a full run, after the job file changed, or when a
/// run that was not finished left rows behind the committed end, or older values in records than the
/// committed rows have. `written` is the job file of now.
fn usable<'a>(
    request: &PlanRequest,
    written: &Hashes,
    committed: Option<&'a CommittedFile>,
) -> Option<&'a KnownFile> {
    let committed = committed?;
    let same_definition = committed.definition_hash.is_some_and(|stored| written.matches(stored));
    let broken_off = request.broken_off.is_some_and(|run| run > committed.run);
    let usable =
        request.mode != Mode::Full && same_definition && !committed.rows_behind && !broken_off;
    usable.then_some(&committed.known)
}

/// Tells the thread that plans, once it is dropped, that nobody waits for it any more.
#[derive(Default)]
struct Timeouts(Arc<AtomicBool>);

impl Drop for Timeouts {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
