//! The seam: what a source is to the engine, and a kind of source to kasparro.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::access::{Access, RateLimit};
use super::allowed_roots::AllowedRoots;
use super::error::{SourceError, SourceErrorKind};
use super::lanes::{GoesOn, ReadLanes};
use super::plan::{AskedRange, Plan, PlanRequest};
use super::readable_row::ReadableRow;
use super::rows::spans;
use super::slice::{NextSlice, RawRow, RawRows, SliceReader, SliceRequest};
use super::token_store::TokenKey;
use super::upload::Upload;
use crate::domain::file::Layout;
use crate::domain::hash::ContentHash;
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::remark::Remark;
use crate::domain::run::{ReadRange, RunId};
use crate::domain::slice::SliceId;
use crate::domain::upload::UploadOutcome;
use crate::job_file::{Definition, Inspection, KindRules};
use crate::mapping::{Mapped, Mapping};

/// An opened source. It plans slices, reads them, and turns what was read into rows: all that the
/// engine asks of it. It knows neither the database nor the queue nor runs.
pub trait Source: Send + Sync {
    /// What the engine has to know of how it is read.
    fn profile(&self) -> Profile;

    /// Decides what to read first. May do I/O, and stops soon when nobody waits for it any more.
    ///
    /// # Errors
    /// When nothing can be read.
    fn plan(self: Arc<Self>, request: PlanRequest)
    -> BoxFuture<'static, Result<Plan, SourceError>>;

    /// The range that a backfill is asked to read, in the words of the watermark; `now` is the database's time.
    ///
    /// # Errors
    /// Why it cannot be read: what is no time, or a source that cannot be asked for a range, as most cannot.
    fn read_range(
        &self,
        asked: AskedRange<'_>,
        now: DateTime<Utc>,
    ) -> Result<ReadRange, SourceError> {
        let _ = (asked, now);
        Err(SourceError::new(
            SourceErrorKind::InvalidConfig,
            "the source cannot be asked for a range of what it has",
        ))
    }

    /// Decides what a backfill reads first; the state is what the last one of this range left.
    ///
    /// # Errors
    /// When nothing can be read.
    fn plan_range(
        self: Arc<Self>,
        request: PlanRequest,
        range: ReadRange,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        let _ = request;
        let error = self.read_range(AskedRange::of(&range), DateTime::<Utc>::MAX_UTC).err();
        let error = error.unwrap_or_else(|| {
            SourceError::new(SourceErrorKind::InvalidState, "no range can be read of the source")
        });
        std::future::ready(Err(error)).boxed()
    }

    /// The state of the source once a backfill of this range has begun: it may read what no run has read before.
    fn widened(&self, state: &Value, range: &ReadRange) -> Value {
        let _ = range;
        state.clone()
    }

    /// How often [`Source::listing`] may be asked for.
    fn listed_every(&self) -> Duration {
        Duration::ZERO
    }

    /// What tells whether there is anything else to read than there was, without reading it; `None` of a source that
    /// does not show that.
    ///
    /// # Errors
    /// When nobody can tell.
    fn listing(
        self: Arc<Self>,
        access: Access,
    ) -> BoxFuture<'static, Result<Option<Listing>, SourceError>> {
        let _ = access;
        std::future::ready(Ok(None)).boxed()
    }

    /// Whether a file of this machine, which need not be there yet, is read by runs.
    ///
    /// # Errors
    /// When it is not, and what would lead to it.
    fn takes_file(&self, path: &Path) -> Result<(), SourceError> {
        let text =
            format!("the source reads no files of this machine, and so not {}", path.display());
        Err(SourceError::new(SourceErrorKind::InvalidConfig, text))
    }

    /// Whether an object of a bucket, which need not be there yet, is read by runs.
    ///
    /// # Errors
    /// When it is not, and what would lead to it.
    fn takes_object(&self, access: Access, address: &str) -> Result<(), SourceError> {
        let _ = access;
        let text = format!("the source reads no files of buckets, and so not {address}");
        Err(SourceError::new(SourceErrorKind::InvalidConfig, text))
    }

    /// Keeps a file in a bucket, where runs read it; `None` where there is another one of its name, which is not to be
    /// replaced.
    ///
    /// # Errors
    /// When it is not kept, or nobody knows: then the same can be kept again.
    fn keep_object(
        self: Arc<Self>,
        access: Access,
        upload: Upload,
    ) -> BoxFuture<'static, Result<Option<UploadOutcome>, SourceError>> {
        let refused = self.takes_object(access, &upload.address).map(|()| None);
        std::future::ready(refused).boxed()
    }

    /// Begins to read at a position.
    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader>;

    /// What can be read although the slice at this position could not: what comes behind it, where that is known.
    fn behind_a_failure(&self, position: &Value, slice: SliceId) -> Vec<NextSlice> {
        let _ = (position, slice);
        Vec::new()
    }

    /// Whose fault it is that this slice of a lane of parents could not be read, and what is read in its place.
    fn beside_failed_parents(
        &self,
        position: &Value,
        slice: SliceId,
        kind: SourceErrorKind,
    ) -> FailedParents {
        let _ = (position, slice, kind);
        FailedParents::NotAtFault
    }

    /// Maps rows that were read, in order; what is no row or no record becomes a reject. Pure.
    ///
    /// # Errors
    /// When the rows are of a form that the source does not read, or the contract freezes the schema.
    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError>;

    /// The row of that number, as it came; `None` where there is none, or nobody can tell. Pure.
    ///
    /// # Errors
    /// When the rows are of a form that the source does not read, or cannot be found in it any more.
    fn raw_row(&self, rows: RawRows<'_>, number: i64) -> Result<Option<RawRow>, SourceError> {
        let _ = (rows, number);
        Ok(None)
    }

    /// A raw row as people read it, whole or cut, and where the values of the field are that its defects call so. `layout`
    /// is that of its file; rows without one are records of JSON.
    fn row_for_people<'r>(
        &self,
        raw: &'r [u8],
        layout: Option<&Layout>,
        field: &str,
    ) -> ReadableRow<'r> {
        match layout {
            None => spans::readable(raw, field),
            Some(_) => ReadableRow::unmarked(raw),
        }
    }

    /// What the next run begins with, now that one has read what it could: `state` is what it had begun
    /// with, `watermarks` are what its slices left, in their order; `complete` is whether every chain of its
    /// requests ended where all was read. An object, or null for nothing.
    fn advance(&self, state: &Value, watermarks: &[Value], complete: bool) -> Value {
        let _ = (watermarks, complete);
        state.clone()
    }

    /// The lanes in which records came twice, in place of others that did not come at all by the source's own total, and
    /// how many: the list moved while it was read. `slices` are what the slices of each lane left, in their order.
    fn others_missing(&self, slices: &[(u32, Value)]) -> Vec<(u32, u64)> {
        let _ = slices;
        Vec::new()
    }

    /// The same of a run that failed since parts of the source could not be read, though nothing else went wrong: what
    /// need not be read again. `None` where the source is not read in parts that stand for themselves.
    fn goes_on(&self, state: &Value, read: &ReadLanes) -> Option<GoesOn> {
        let _ = (state, read);
        None
    }

    /// The state while a run may put older values over newer ones of what no later run would ask for: if it is broken
    /// off, the next one reads all of it again.
    fn restarted(&self, state: &Value, run: RunId) -> Value {
        let _ = run;
        state.clone()
    }

    /// The state once that run has ended well.
    fn restart_ended(&self, state: &Value, run: RunId) -> Value {
        let _ = run;
        state.clone()
    }

    /// Whether only how rows become records is another than when `state` was left: then what is stored is
    /// normalized again before anything is asked for.
    fn replays_first(&self, state: &Value) -> bool {
        let _ = state;
        false
    }

    /// The state once all that is stored was normalized again.
    fn replayed(&self, state: &Value) -> Value {
        state.clone()
    }

    /// What there is to say at the end of a run of what its slices left.
    fn remarks(&self, watermarks: &[Value]) -> Vec<Remark> {
        let _ = watermarks;
        Vec::new()
    }
}

/// What the engine has to know of how a source is read.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What an incremental run reads.
    pub reads: Reads,
    /// Whether it looks itself, file by file, for what has lost a guarded field. Of all others the engine does, as
    /// soon as all of a run is read.
    pub guards_itself: bool,
    /// Whether the job file decides what the rows of a slice are, so that normalizing it under another
    /// job file may find more or fewer.
    pub rows_by_job_file: bool,
    /// Whether rows may say that their records are deleted.
    pub tells_deletions: bool,
    /// Whether what is read may move while it is read, so that a record is met twice and another not at all: pages
    /// that are asked for by number.
    pub may_shift: bool,
    /// Whether its slices are pages of lists: of one of several pages no kind of paginator shows all that is there, if it
    /// moves while it is read.
    pub pages: bool,
    /// The most slices that are normalized in one transaction when they queue up, and the most small chunks
    /// of files that one task reads.
    pub slices_per_batch: i64,
    /// The most bytes of several such slices.
    pub bytes_per_batch: i64,
    /// The bucket that requests draw from.
    pub rate_limit: Option<RateLimit>,
    /// The most attempts of a reading task; `None`: as for any other.
    pub max_attempts: Option<u32>,
    /// The longest time for which an API may ask for no more requests.
    pub max_block: Option<Duration>,
    /// The longest that an API may make a reading task wait in all, by asking again and again to come later.
    pub max_wait: Option<Duration>,
    /// The tokens of login servers that must be kept between runs, with the keys of the job file that have
    /// them: without a `KASPARRO_SECRET_KEY` it cannot be read.
    pub kept_tokens: Vec<(String, TokenKey)>,
    /// The folder of its recording, if the job file names one.
    pub recording: Option<PathBuf>,
    /// The parents for whose children it asks, if it does.
    pub parents: Option<ParentsProfile>,
    /// Why nothing but a run that loads it can read it, where that is so.
    pub only_by_runs: Option<&'static str>,
    /// Whether a run without rows has lost them, where one before had some.
    pub must_have_rows: bool,
}

/// What a source has to read, as far as that shows without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// Another one when something is new, gone or changed.
    pub hash: ContentHash,
}

/// What the engine has to know of the parents of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentsProfile {
    /// What is asked for each, see [`PlannedParents::asked`](crate::domain::parent::PlannedParents).
    pub asked: String,
    /// Whether each record is known to be of one parent.
    pub one_each: bool,
    /// The keys of the job file that name them.
    pub at: &'static [&'static str],
    /// The source whose records they are, and the fields of it that are wanted.
    pub records: Option<(String, Vec<String>)>,
}

/// Whose fault it is that a slice of a lane of parents could not be read.
#[derive(Debug, Clone, PartialEq)]
pub enum FailedParents {
    /// Not that of its parents, or there are none.
    NotAtFault,
    /// That of its parents, as far as anybody can tell, and the first slice of another lane is read in place of what
    /// is left of it.
    Alone(NextSlice),
    /// That of its parents, or that of the source, since so many in a row could not be read that nothing more is.
    TooMany,
}

/// What opening a source gives.
pub type Opened = Result<Arc<dyn Source>, SourceError>;

/// A kind of source, as it is registered.
pub struct Kind {
    /// The value of `kind` in a job file, and the name of the table with its parameters.
    pub name: &'static str,
    /// Whether what it reads can be recorded, and read again without a network.
    pub recordable: bool,
    /// Whether it reads files, and takes the table `[files]`.
    pub reads_files: bool,
    /// Says everything that is wrong with a job file, wherever the source will be read.
    pub inspect: fn(&mut Inspection<'_>),
    /// Says what is wrong with it on this machine: files and secrets that are not there.
    pub look: fn(&Definition, &AllowedRoots, &mut Inspection<'_>),
    /// Says what is wrong with the parameters, wherever the source will be read.
    pub check: fn(&Definition) -> Result<(), SourceError>,
    /// Opens a source. Reads nothing yet.
    pub open: fn(&Definition, &AllowedRoots) -> Opened,
    /// The JSON Schema of its parameters.
    pub schema: fn() -> schemars::Schema,
}

impl KindRules for Kind {
    fn name(&self) -> &str {
        self.name
    }

    fn reads_files(&self) -> bool {
        self.reads_files
    }

    fn inspect(&self, job: &mut Inspection<'_>) {
        (self.inspect)(job);
    }
}
