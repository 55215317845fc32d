//! Owns where a record comes from: the row, the payload that holds it, the tasks that read and normalized it, the runs,
//! and the job file of then. What is not kept any more is said.

use std::path::Path as FilePath;
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Base64;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::quarantine::{QuarantinedRow, shown};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::lineage::{self, LineageTask};
use crate::db::source_files::Location;
use crate::db::unified_records::{self, Record};
use crate::db::{definitions, quarantined_rows, raw_api_data, raw_csv_blocks, runs, source_files};
use crate::domain::file::{ChosenRows, RawBlock};
use crate::domain::raw::RawRef;
use crate::domain::run::RunId;
use crate::domain::source_name::SourceName;
use crate::domain::task::{Rows, TaskPayload};
use crate::job_file::Definition;
use crate::sources::{self, AllowedRoots, BlockRows, RawRow, RawRows, SourceError};

/// The most bytes of a row that are answered.
const MOST: usize = quarantined_rows::SHOWN as usize;
/// The most defects that are answered.
const DEFECTS: usize = 50;
/// The most slices that one task normalizes whose keys occur once.
const SLICES_TOGETHER: i64 = 128;

/// The page that a row was on.
#[derive(Debug, Object)]
pub(crate) struct OriginPage {
    /// The address asked, without secrets.
    pub(crate) url: String,
    /// When it was answered so first.
    pub(crate) fetched_at: DateTime<Utc>,
    /// The JSON pointer that leads to the row in its body; null where a query of the job file has put it together.
    #[oai(nullable)]
    pub(crate) pointer: Option<String>,
}

/// The file that a row was in.
#[derive(Debug, Object)]
pub(crate) struct OriginFile {
    /// Path or address, without secrets.
    pub(crate) url: String,
    /// The member of the archive.
    #[oai(nullable)]
    pub(crate) member: Option<String>,
    /// The line at which the row begins, from 1; null where the file has no lines, or nobody knows any more.
    #[oai(nullable)]
    pub(crate) line: Option<i64>,
    /// Its first byte in the file, as it is unpacked.
    #[oai(nullable)]
    pub(crate) byte_start: Option<i64>,
    /// The byte behind its last.
    #[oai(nullable)]
    pub(crate) byte_end: Option<i64>,
}

/// A row as it came, and what it was in.
#[derive(Debug, Object)]
pub(crate) struct Origin {
    /// The raw payload: `file/ID` or `page/HASH`.
    pub(crate) raw_ref: String,
    /// The row within it, from 1.
    pub(crate) raw_row: i64,
    /// The page, if it was one and is kept.
    #[oai(nullable)]
    pub(crate) page: Option<OriginPage>,
    /// The file, if it was one.
    #[oai(nullable)]
    pub(crate) file: Option<OriginFile>,
    /// The row as it came, if it is UTF-8.
    #[oai(nullable)]
    pub(crate) raw_text: Option<String>,
    /// The row as it came, if it is not.
    #[oai(nullable)]
    pub(crate) raw_base64: Option<Base64<Vec<u8>>>,
    /// Whether the row is longer than the 16 KiB that are answered.
    pub(crate) raw_cut: bool,
    /// What cannot be told any more, and why.
    pub(crate) lacks: Vec<String>,
}

/// A task on the way from a row to a record.
#[derive(Debug, Object)]
pub(crate) struct OriginTask {
    pub(crate) run_id: i64,
    /// Its key within the run.
    pub(crate) key: String,
    /// `read` or `normalize`.
    pub(crate) role: String,
    /// `open`, `done`, `failed` or `cancelled`.
    pub(crate) state: String,
    /// Attempts that it took.
    pub(crate) attempts: i32,
    /// The worker that completed it.
    #[oai(nullable)]
    pub(crate) worker: Option<String>,
    /// When its last attempt began.
    #[oai(nullable)]
    pub(crate) begun_at: Option<DateTime<Utc>>,
    #[oai(nullable)]
    pub(crate) done_at: Option<DateTime<Utc>>,
}

/// A run that a record comes from.
#[derive(Debug, Object)]
pub(crate) struct OriginRun {
    pub(crate) run_id: i64,
    pub(crate) status: String,
    /// `incremental`, `full` or `replay`.
    pub(crate) mode: String,
    /// What started it.
    pub(crate) trigger: String,
    #[oai(nullable)]
    pub(crate) started_at: Option<DateTime<Utc>>,
    #[oai(nullable)]
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// Hash of the job file that it had.
    pub(crate) config_hash: String,
    /// Where that is: `/definitions/HASH`.
    pub(crate) job_file: String,
    /// The version of the schema that its rows were measured by; null where there was none yet.
    #[oai(nullable)]
    pub(crate) schema_version: Option<i32>,
    /// The run that saw this version first.
    #[oai(nullable)]
    pub(crate) schema_run_id: Option<i64>,
}

/// Where a record comes from.
#[derive(Debug, Object)]
pub(crate) struct Lineage {
    /// Name of the source.
    pub(crate) source: String,
    /// The record's key.
    pub(crate) external_id: String,
    /// The row that it was made of.
    pub(crate) origin: Origin,
    /// The tasks that read and normalized the row, as far as the ledger keeps them.
    pub(crate) tasks: Vec<OriginTask>,
    /// The run that changed it last.
    #[oai(nullable)]
    pub(crate) last_run: Option<OriginRun>,
    /// The run that inserted it.
    #[oai(nullable)]
    pub(crate) first_run: Option<OriginRun>,
    /// What was wrong with this row, and with rows of this key, newest runs first: 50 at most.
    pub(crate) quarantine: Vec<QuarantinedRow>,
    /// Whether there is more of that.
    pub(crate) quarantine_cut: bool,
}

/// `GET /records/{source}/{external_id}/lineage`
struct GetLineage;
impl Declares for GetLineage {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownRecord, Kind::Busy];
}

/// The operation that says where a record comes from.
pub(crate) struct LineageApi;

#[OpenApi(tag = "Tag::Records")]
impl LineageApi {
    /// Where a record comes from
    ///
    /// The row as it came, the page or file that it was in, the tasks that read and normalized it, the runs that
    /// inserted it and changed it last with their job files, and what was wrong with the row. What `[retention]` has
    /// removed is said in `origin.lacks`, or is not among `tasks`.
    #[oai(
        path = "/records/:source/:external_id/lineage",
        method = "get",
        operation_id = "get_record_lineage"
    )]
    async fn lineage(
        &self,
        state: Data<&ApiState>,
        /// Name of the source.
        source: Path<SourceName>,
        /// The record's key, percent-encoded: `a/b` is `a%2Fb`.
        external_id: Path<String>,
    ) -> Result<Json<Lineage>, Refusal<GetLineage>> {
        let _permit = payload_permit().await?;
        let mut connection = state.connection().await?;
        let record = find_record(&mut connection, source.as_str(), &external_id).await?;
        Ok(Json(Lineage::of(&state, &mut connection, &record).await?))
    }
}

/// The record with that key.
///
/// # Errors
/// A problem when there is none.
pub(crate) async fn find_record(
    connection: &mut PgConnection,
    source: &str,
    key: &str,
) -> Result<Record, Problem> {
    let unknown = || {
        let detail = format!("source {source:?} has no record {key:?}");
        Problem::new(Kind::UnknownRecord, detail)
    };
    // PostgreSQL's text cannot hold U+0000, and would not even compare with it.
    if key.contains('\0') || source.contains('\0') {
        return Err(unknown());
    }
    unified_records::get(connection, source, key).await?.ok_or_else(unknown)
}

impl Lineage {
    /// Where a record comes from.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn of(
        state: &ApiState,
        connection: &mut PgConnection,
        record: &Record,
    ) -> Result<Self, Problem> {
        let (source, key) = (record.source.as_str(), record.external_id.as_str());
        let place = (source, record.raw_ref.as_str(), record.raw_row);
        let origin = Origin::find(state, &mut *connection, place, Some(record.last_run_id)).await?;
        let last = RunId(record.last_run_id);
        let tasks = tasks_of(&mut *connection, last, place).await?;
        let last_run = OriginRun::find(&mut *connection, last).await?;
        let first_run = OriginRun::find(&mut *connection, RunId(record.first_run_id)).await?;
        let row = (record.raw_ref.as_str(), record.raw_row);
        let most = DEFECTS as i64 + 1;
        let mut quarantine =
            quarantined_rows::of_record(&mut *connection, (source, key), row, most).await?;
        let quarantine_cut = quarantine.len() > DEFECTS;
        quarantine.truncate(DEFECTS);
        Ok(Self {
            source: source.to_owned(),
            external_id: key.to_owned(),
            origin,
            tasks: tasks.into_iter().map(Into::into).collect(),
            last_run,
            first_run,
            quarantine: quarantine.into_iter().map(Into::into).collect(),
            quarantine_cut,
        })
    }
}

/// The tasks by which a run made a record of a row; of a replay, that which read the row before it.
async fn tasks_of(
    connection: &mut PgConnection,
    run: RunId,
    (source, raw_ref, row): (&str, &str, i64),
) -> Result<Vec<LineageTask>, sqlx::Error> {
    let Some(mut read) = reading(&mut *connection, run, (source, raw_ref, row)).await? else {
        return Ok(Vec::new());
    };
    let mut normalized = None;
    if let Some(slice) = read.slice {
        let first = (slice - SLICES_TOGETHER + 1).max(0);
        let keys = (first..=slice).flat_map(|first_slice| {
            [Rows::Single, Rows::Repeated].map(|rows| {
                TaskPayload::NormalizeBatch { first_slice, last_slice: first_slice, rows }.key()
            })
        });
        let keys: Vec<String> = keys.collect();
        normalized =
            lineage::normalizing(&mut *connection, run, slice, &keys, read.is_repeated).await?;
    }
    if let Some(reader) = read.read_by.map(RunId)
        && let Some(before) = reading(&mut *connection, reader, (source, raw_ref, row)).await?
    {
        read = before;
    }
    Ok([read].into_iter().chain(normalized).collect())
}

/// The task by which a run read a row.
async fn reading(
    connection: &mut PgConnection,
    run: RunId,
    (source, raw_ref, row): (&str, &str, i64),
) -> Result<Option<LineageTask>, sqlx::Error> {
    match raw_ref.parse() {
        Ok(RawRef::File(id)) => lineage::reading_file(connection, run, id, row).await,
        Ok(RawRef::Page(hash)) => {
            let near = raw_api_data::first_slice(&mut *connection, source, hash).await?;
            lineage::reading_page(connection, run, raw_ref, near.unwrap_or_default()).await
        }
        Err(_) => Ok(None),
    }
}

impl OriginRun {
    async fn find(connection: &mut PgConnection, id: RunId) -> Result<Option<Self>, sqlx::Error> {
        let Some(run) = runs::get(&mut *connection, id).await? else { return Ok(None) };
        let schema = lineage::measured_by(connection, id).await?;
        Ok(Some(Self {
            run_id: run.id.0,
            status: run.status.as_str().to_owned(),
            mode: run.mode.as_str().to_owned(),
            trigger: run.trigger.as_str().to_owned(),
            started_at: run.started_at,
            finished_at: run.finished_at,
            config_hash: run.config_hash.to_string(),
            job_file: format!("/definitions/{}", run.config_hash),
            schema_version: schema.as_ref().map(|schema| schema.version),
            schema_run_id: schema.map(|schema| schema.run_id),
        }))
    }
}

/// A payload that is kept.
enum Kept {
    Page(String, Value),
    Block(RawBlock, Location),
}

/// How long one waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Payloads that are read for somebody at once: each may be as large as a page, and takes a connection meanwhile.
static PAYLOADS: Semaphore = Semaphore::const_new(3);

/// The right to read a payload, to be had before a connection is.
///
/// # Errors
/// A problem when it is not had within seconds.
pub(crate) async fn payload_permit() -> Result<SemaphorePermit<'static>, Problem> {
    match timeout(TIMEOUT, PAYLOADS.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => {
            let detail = "too many rows are looked up at once; try again";
            Err(Problem::new(Kind::Busy, detail))
        }
    }
}

impl Origin {
    /// A row of a source and what it was in, by its payload and its number; `run` had the job file that says what its
    /// rows are.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn find(
        state: &ApiState,
        connection: &mut PgConnection,
        (source, raw_ref, raw_row): (&str, &str, i64),
        run: Option<i64>,
    ) -> Result<Self, Problem> {
        let mut origin = Self::unknown(raw_ref, raw_row);
        let Some(kept) = origin.look(&mut *connection, source).await? else { return Ok(origin) };
        let job = match run {
            Some(run) => runs::get(&mut *connection, RunId(run)).await?,
            None => None,
        };
        let job = match job {
            Some(run) => Some(definitions::load(&mut *connection, run.config_hash).await?),
            None => None,
        };
        let (name, roots) = (source.to_owned(), state.allowed_roots.clone());
        let row = tokio::task::spawn_blocking(move || {
            let opened = job.and_then(|job| {
                let path = FilePath::new(&job.path);
                let kinds = sources::kind_names(sources::KINDS);
                Definition::parse(name.parse().ok()?, path, job.toml, &kinds).ok()
            });
            row_of(&kept, opened.as_ref(), &roots, raw_row)
        });
        match row.await.map_err(|_| Problem::internal())? {
            Ok(Some(row)) => origin.takes(row),
            Ok(None) => origin.lacks.push("the row: its payload has no such row".to_owned()),
            Err(error) => origin.lacks.push(format!("the row: {error}")),
        }
        Ok(origin)
    }

    fn unknown(raw_ref: &str, raw_row: i64) -> Self {
        Self {
            raw_ref: raw_ref.to_owned(),
            raw_row,
            page: None,
            file: None,
            raw_text: None,
            raw_base64: None,
            raw_cut: false,
            lacks: Vec::new(),
        }
    }

    /// Notes what the row was in, and gives that if it is kept.
    async fn look(
        &mut self,
        connection: &mut PgConnection,
        source: &str,
    ) -> Result<Option<Kept>, Problem> {
        const RAW: &str = "`[retention] raw` of the job file says for how long it is";
        match self.raw_ref.parse() {
            Ok(RawRef::Page(hash)) => {
                let found = raw_api_data::origin(connection, source, hash).await?;
                let Some(found) = found else {
                    self.lacks.push(format!("the page: no longer kept; {RAW}"));
                    return Ok(None);
                };
                let (url, fetched_at) = (found.url, found.fetched_at);
                self.page = Some(OriginPage { url, fetched_at, pointer: None });
                Ok(Some(Kept::Page(found.page.text, found.page.context)))
            }
            Ok(RawRef::File(id)) => {
                let location = match source_files::location(&mut *connection, id).await {
                    Err(sqlx::Error::RowNotFound) => {
                        self.lacks.push("the file: no longer known".to_owned());
                        return Ok(None);
                    }
                    location => location?,
                };
                self.file = Some(OriginFile {
                    url: location.url.clone(),
                    member: location.member.clone(),
                    line: None,
                    byte_start: None,
                    byte_end: None,
                });
                let block = raw_csv_blocks::with_row(connection, id, self.raw_row).await?;
                if block.is_none() {
                    self.lacks.push(format!("the row of the file: no longer kept; {RAW}"));
                }
                Ok(block.map(|block| Kept::Block(block, location)))
            }
            Err(error) => {
                self.lacks.push(format!("the payload: {error}"));
                Ok(None)
            }
        }
    }

    fn takes(&mut self, row: RawRow) {
        let RawRow { mut bytes, pointer, line, byte_range } = row;
        self.raw_cut = bytes.len() > MOST;
        bytes.truncate(MOST);
        (self.raw_text, self.raw_base64) = shown(bytes, self.raw_cut);
        if let Some(page) = &mut self.page {
            page.pointer = pointer;
        }
        if let Some(file) = &mut self.file {
            (file.byte_start, file.byte_end) = byte_range.unzip();
            file.line = line;
        }
    }
}

/// The row as it came. Takes long for a long page.
fn row_of(
    kept: &Kept,
    definition: Option<&Definition>,
    roots: &AllowedRoots,
    number: i64,
) -> Result<Option<RawRow>, SourceError> {
    let Some(definition) = definition else { return Ok(bytes_of(kept, number)) };
    let by_source = sources::open(definition, roots).and_then(|source| match kept {
        Kept::Page(text, context) => source.raw_row(RawRows::Document { text, context }, number),
        Kept::Block(block, location) => {
            let chosen = ChosenRows::Only(vec![number]);
            let (file, layout) = (location.in_keys(), &location.layout);
            let rows = BlockRows { file: &file, block, layout, chosen: &chosen };
            source.raw_row(RawRows::Block(rows), number)
        }
    });
    // The bytes of a row are there whatever has become of its source.
    match (by_source, bytes_of(kept, number)) {
        (Ok(None) | Err(_), Some(row)) => Ok(Some(row)),
        (by_source, _) => by_source,
    }
}

/// The bytes of a row of a file.
fn bytes_of(kept: &Kept, number: i64) -> Option<RawRow> {
    let Kept::Block(block, _) = kept else { return None };
    let at = usize::try_from(number.checked_sub(block.first_row)?).ok()?;
    let end = usize::try_from(*block.row_ends.get(at)?).ok()?;
    let start = at.checked_sub(1).and_then(|before| block.row_ends.get(before)).copied();
    let bytes = block.payload.get(usize::try_from(start.unwrap_or_default()).ok()?..end)?;
    Some(RawRow { bytes: bytes.to_vec(), pointer: None, line: None, byte_range: None })
}

impl From<LineageTask> for OriginTask {
    fn from(task: LineageTask) -> Self {
        Self {
            run_id: task.run_id,
            key: task.task_key,
            role: task.role,
            state: task.state,
            attempts: task.attempt,
            worker: task.worker,
            begun_at: task.begun_at,
            done_at: task.done_at,
        }
    }
}
