//! Owns the first task of a run: what there is to read, cut into reading tasks.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::file_guard::FileGuard;
use super::file_remarks::FileRemarks;
use super::remark::Remark;
use super::{Effects, SourceInUse, StopFlag, Task, TaskContext, TaskError, blocking, plan_replay};
use crate::db::raw_csv_blocks::{self, ChunkId};
use crate::db::run_repeated_keys;
use crate::db::runs;
use crate::db::source_files::{
    self, CommittedFile, EvaluatedFile, FileVersion, from_nanos, to_nanos,
};
use crate::db::unchanged_pages;
use crate::db::unified_records;
use crate::domain::bloom_filter::{BloomFilter, KeyOrder};
use crate::domain::file::{FileStamp, KnownFile, Layout, Progress};
use crate::domain::hash::{Hashes, StoredHash};
use crate::domain::run::{Mode, RunRange};
use crate::domain::task::TaskPayload;
use crate::mapping::Mapping;
use crate::sources::{FilePlan, FileScan, FoundPaths, Loss, Source};
use crate::values::row::Row;

/// What the plan of a run leaves in the ledger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Planned {
    /// The files that the run reads, or that it found unchanged but touched.
    pub files: Vec<PlannedFile>,
    /// What there is to say about files that it does not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
}

impl Planned {
    /// The form in the ledger.
    pub fn to_value(&self) -> Result<serde_json::Value, TaskError> {
        serde_json::to_value(self).map_err(|error| TaskError::Inconsistent(error.to_string()))
    }
}

/// A file of a run, and what is known of it once the run has succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlannedFile {
    pub file_id: i64,
    pub appended: bool,
    /// `false` when only its time of modification is new.
    pub read: bool,
    /// Rows that were read before: with those behind them the run has to do.
    #[serde(default)]
    behind: i64,
    #[serde(default)]
    width: Option<u32>,
    size: u64,
    modified_ns: i64,
    hash: StoredHash,
    layout: Layout,
    end: Progress,
}

impl PlannedFile {
    pub fn known(&self) -> KnownFile {
        KnownFile {
            size: self.size,
            modified: from_nanos(self.modified_ns),
            hash: self.hash,
            layout: self.layout.clone(),
            end: self.end,
            width: self.width,
        }
    }

    /// The rows of it that the run evaluates.
    pub fn evaluated(&self) -> EvaluatedFile {
        EvaluatedFile { id: self.file_id, behind: self.behind, rows: self.end.rows }
    }

    /// A file of which all is read, or what is behind `before`.
    fn of_scan(file_id: i64, before: Option<&CommittedFile>, scan: &FileScan) -> Self {
        Self {
            file_id,
            appended: before.is_some(),
            read: true,
            behind: before.map_or(0, |before| before.known.end.rows),
            width: scan.widths.map(|widths| widths.all),
            size: scan.size,
            modified_ns: to_nanos(scan.modified),
            hash: scan.hashes.content.into(),
            layout: scan.layout.clone(),
            end: scan.end,
        }
    }
}

pub(super) struct PlanRun;

/// What planning found.
pub(super) enum Plan {
    /// An API: its first page.
    FirstPage(serde_json::Value),
    /// Files, in the order in which their rows count.
    Files(FoundFiles),
    /// Nothing: what these runs have read is normalized again.
    Replay(RunRange, Vec<Remark>),
}

/// The files of a source.
pub(super) struct FoundFiles {
    /// Those that may be read.
    pub files: Vec<FoundFile>,
    /// The names of all that are there, unless a folder could not be read.
    pub urls: Option<Vec<String>>,
    /// What there is to say about them.
    pub remarks: Vec<Remark>,
    /// What their keys allow.
    pub order: KeyOrder,
}

/// A file, and what is to be read of it.
pub(super) struct FoundFile {
    pub url: String,
    pub committed: Option<CommittedFile>,
    pub plan: FilePlan,
}

impl Task for PlanRun {
    type Gathered = Plan;

    async fn gather(&self, context: &TaskContext) -> Result<Plan, TaskError> {
        match &context.source.source {
            _ if context.mode == Mode::Replay => {
                let range = plan_replay::find(context).await?;
                Ok(Plan::Replay(range, plan_replay::remarks(context, range).await?))
            }
            Source::Pages(pages) => Ok(Plan::FirstPage(pages.first())),
            Source::Files(_) => find_files(context).await.map(Plan::Files),
        }
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        plan: Plan,
    ) -> Result<Effects, TaskError> {
        match plan {
            Plan::FirstPage(position) => Ok(Effects {
                follow_ups: vec![TaskPayload::FetchPage { slice: 0, position }],
                ..Effects::default()
            }),
            Plan::Files(FoundFiles { files, urls, remarks, order }) => {
                let from_empty =
                    !unified_records::any(&mut *transaction, &context.source_name).await?;
                run_repeated_keys::store(transaction, context.run, &order, from_empty).await?;
                // The source may have been an API before.
                unchanged_pages::forget(transaction, &context.source_name).await?;
                if let Some(urls) = urls {
                    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
                    source_files::note_found(transaction, &context.source_name, &urls, context.run)
                        .await?;
                }
                store_files(context, transaction, files, remarks).await
            }
            Plan::Replay(range, remarks) => {
                plan_replay::store(context, transaction, range, remarks).await
            }
        }
    }
}

/// The files in the order in which their rows count, what is to be read of each, and what their keys
/// allow.
pub(super) async fn find_files(context: &TaskContext) -> Result<FoundFiles, TaskError> {
    let source = context.source.clone();
    let stop_flag = StopFlag::default();
    let over = stop_flag.is_over();
    let FoundPaths { files: paths, left_out } = blocking(move || match &source.source {
        Source::Files(files) => Ok(files.files(&over)?),
        Source::Pages(_) => Ok(FoundPaths::default()),
    })
    .await?;
    let base = context.source.definition.base_dir().to_owned();
    let bytes = paths.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    let mut filter = BloomFilter::for_bytes(bytes);
    let mut files = Vec::with_capacity(paths.len());
    let mut urls = Vec::with_capacity(paths.len());
    let mut guard = FileGuard::default();
    let mut said = FileRemarks::default();
    // What was in a folder that cannot be looked into may still be there.
    let all_known = left_out.iter().all(|left| left.loss != Loss::Unknown);
    for left in left_out {
        urls.push(stored_url(&base, &left.path));
        guard.leave_out(left);
    }
    for path in paths {
        let url = stored_url(&base, &path);
        if !guard.can_keep(&url) {
            continue;
        }
        let committed = source_files::committed(&context.pool, &context.source_name, &url).await?;
        let known = usable(context, committed.as_ref()).await?;
        let source = context.source.clone();
        urls.push(url.clone());
        let (plan, file);
        (plan, filter, file) = blocking(move || {
            let (plan, filter) = plan_file(&source, &path, known.as_ref(), filter);
            Ok((plan, filter, path))
        })
        .await?;
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                guard.keep_out(&file, &url, error)?;
                continue;
            }
        };
        let found = FoundFile { url, committed, plan };
        if guard.admits(context, &found).await? {
            said.look_at(context, &found);
            files.push(found);
        }
    }
    if let (true, Some(error)) = (files.is_empty(), guard.take_error()) {
        return Err(error.into());
    }
    let urls = all_known.then_some(urls);
    if let Some(urls) = &urls {
        said.look_for_missing(context, urls).await?;
    }
    let remarks = guard.remarks().into_iter().chain(said.remarks(context)).collect();
    Ok(FoundFiles { files, urls, remarks, order: filter.order() })
}

fn plan_file(
    source: &SourceInUse,
    path: &Path,
    known: Option<&KnownFile>,
    mut filter: BloomFilter,
) -> (Result<FilePlan, TaskError>, BloomFilter) {
    let Source::Files(files) = &source.source else {
        return (Err(TaskError::Inconsistent("pages have no files".into())), filter);
    };
    let mapping = Mapping::new(&source.definition, None);
    let mut scratch = String::new();
    let mut visit = |row: &dyn Row| {
        if let Some(hash) = mapping.key_hash(row, &mut scratch) {
            filter.see(hash);
        }
    };
    let plan = files.plan(path, known, &mut visit).map_err(TaskError::from);
    (plan, filter)
}

/// What the checkpoint allows to build upon: nothing in a full run, after the job file changed,
/// or when a run that was not finished left rows behind the committed end, or older values in records
/// than the committed rows have.
async fn usable(
    context: &TaskContext,
    committed: Option<&CommittedFile>,
) -> Result<Option<KnownFile>, TaskError> {
    let Some(committed) = committed else { return Ok(None) };
    let definition = Hashes::of(context.source.definition.text.as_bytes());
    let same_definition =
        committed.definition_hash.is_some_and(|stored| definition.matches(stored));
    if context.mode == Mode::Full || !same_definition {
        return Ok(None);
    }
    let behind = ChunkId { file_id: committed.id, chunk: committed.known.end.chunks };
    if raw_csv_blocks::any_from(&context.pool, behind).await?
        || runs::any_broken_off(&context.pool, &context.source_name, committed.run).await?
    {
        return Ok(None);
    }
    Ok(Some(committed.known.clone()))
}

/// Paths below the job file's folder are stored relative to it, so that the folder can move.
fn stored_url(base: &Path, path: &Path) -> String {
    path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned()
}

async fn store_files(
    context: &TaskContext,
    transaction: &mut PgConnection,
    files: Vec<FoundFile>,
    remarks: Vec<Remark>,
) -> Result<Effects, TaskError> {
    let mut planned = Planned { remarks, ..Planned::default() };
    let mut follow_ups = Vec::new();
    for file in files {
        let (scan, file_id, before) = match (&file.plan, &file.committed) {
            (FilePlan::Unchanged { modified, hash }, Some(committed)) => {
                let mut known = committed.known.clone();
                if known.modified != *modified {
                    known.modified = *modified;
                    known.hash = hash.map_or(known.hash, Into::into);
                    planned.files.push(touched(committed.id, known));
                }
                continue;
            }
            (FilePlan::Appended(scan), Some(committed)) => (scan, committed.id, Some(committed)),
            (FilePlan::Whole(scan), _) => {
                (scan, register(context, transaction, &file.url, scan).await?, None)
            }
            (FilePlan::Unchanged { .. } | FilePlan::Appended(_), None) => {
                let text = format!("{}: planned as known, but it is not", file.url);
                return Err(TaskError::Inconsistent(text));
            }
        };
        planned.files.push(PlannedFile::of_scan(file_id, before, scan));
        let stamp = FileStamp { size: scan.size, modified: scan.modified };
        for chunk in &scan.chunks {
            let slice = follow_ups.len() as i64;
            follow_ups.push(TaskPayload::ParseCsvChunk { slice, file_id, stamp, chunk: *chunk });
        }
    }
    Ok(Effects { result: Some(planned.to_value()?), follow_ups, ..Effects::default() })
}

fn touched(file_id: i64, known: KnownFile) -> PlannedFile {
    PlannedFile {
        file_id,
        appended: false,
        read: false,
        behind: 0,
        width: known.width,
        size: known.size,
        modified_ns: to_nanos(known.modified),
        hash: known.hash,
        layout: known.layout,
        end: known.end,
    }
}

async fn register(
    context: &TaskContext,
    transaction: &mut PgConnection,
    url: &str,
    scan: &FileScan,
) -> Result<i64, TaskError> {
    let version = FileVersion {
        source: &context.source_name,
        url,
        size: scan.size,
        modified: scan.modified,
        hashes: scan.hashes,
        layout: &scan.layout,
    };
    Ok(source_files::register(transaction, &version, context.run).await?)
}
