//! Owns the page of a record: its columns as they stand, and where they come from.

use askama::Template;
use chrono::{DateTime, Utc};
use poem::web::{Data, Path};
use poem::{Response, handler};
use serde_json::Value;

use crate::api::console::html::{Html, Tone, ago, badge, exact, length, part};
use crate::api::console::origin::RawShown;
use crate::api::console::shell::{Shell, page};
use crate::api::http::problem::Problem;
use crate::api::resources::lineage::{Lineage, OriginRun, OriginTask, find_record, payload_permit};
use crate::api::resources::quarantine::QuarantinedRow;
use crate::api::state::ApiState;
use crate::db::{clock, definitions};
use crate::domain::text;

/// The longest value of a page, in bytes.
const VALUE: usize = 16 << 10;
/// The longest job file of a page, in bytes.
const JOB_FILE: usize = 64 << 10;

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    shell: Shell,
    source: String,
    key: String,
    deleted: Option<Html>,
    changed: Html,
    inserted: Html,
    values: Vec<(&'static str, String)>,
    left_out: Vec<String>,
    raw: RawShown,
    fetched: Option<Html>,
    tasks: Vec<TaskRow>,
    last: Option<RunRow>,
    first: Option<RunRow>,
    job_file: Option<String>,
    defects: Vec<DefectRow>,
    more_defects: bool,
    address: String,
}

struct TaskRow {
    role: String,
    key: String,
    run: i64,
    attempts: i32,
    worker: String,
    begun: Option<Html>,
    took: String,
    done: Option<Html>,
}

struct RunRow {
    id: i64,
    how: String,
    finished: Option<Html>,
    config: String,
    schema: Option<(i32, i64)>,
}

struct DefectRow {
    run: i64,
    place: String,
    field: String,
    reason: String,
    message: String,
    status: Html,
    fingerprint: String,
    raw: Option<String>,
}

/// `GET /ui/records/{source}/{key}`
#[handler]
pub(crate) async fn show(
    shell: Shell,
    state: Data<&ApiState>,
    Path((source, key)): Path<(String, String)>,
) -> poem::Result<Response> {
    let _permit = payload_permit().await?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let record = find_record(&mut connection, &source, &key).await?;
    let lineage = Lineage::of(&state, &mut connection, &record).await?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let hash = lineage.last_run.as_ref().and_then(|run| run.config_hash.parse().ok());
    let job_file = match hash {
        Some(hash) => {
            let stored = definitions::load(&mut *connection, hash).await;
            Some(text::cut(&stored.map_err(Problem::from)?.toml, JOB_FILE).into_owned())
        }
        None => None,
    };
    Ok(page(&RecordPage {
        shell,
        deleted: record.deleted_at.map(|at| {
            badge(Tone::Calm, &format!("deleted {}", at.format("%Y-%m-%d %H:%M:%S UTC")))
        }),
        changed: ago(record.updated_at, now),
        inserted: ago(record.created_at, now),
        left_out: record.left_out.clone(),
        values: record.into_values().map(|(name, value)| (name, shown(value))).collect(),
        raw: RawShown::of(&lineage.origin),
        fetched: lineage.origin.page.as_ref().map(|page| exact(page.fetched_at)),
        tasks: lineage.tasks.into_iter().map(|task| TaskRow::of(task, now)).collect(),
        last: lineage.last_run.map(|run| RunRow::of(run, now)),
        first: lineage.first_run.map(|run| RunRow::of(run, now)),
        job_file,
        defects: lineage.quarantine.into_iter().map(DefectRow::of).collect(),
        more_defects: lineage.quarantine_cut,
        address: format!("{}/{}", part(&source), part(&key)),
        source,
        key,
    }))
}

/// A value as text.
fn shown(value: Value) -> String {
    let whole = match value {
        Value::String(text) => text,
        other => format!("{other:#}"),
    };
    text::cut(&whole, VALUE).into_owned()
}

impl TaskRow {
    fn of(task: OriginTask, now: DateTime<Utc>) -> Self {
        let took = task.begun_at.zip(task.done_at).map(|(begun, done)| length(done - begun));
        Self {
            role: match task.role.as_str() {
                "read" => "read by".to_owned(),
                _ => "normalized by".to_owned(),
            },
            key: task.key,
            run: task.run_id,
            attempts: task.attempts,
            worker: task.worker.unwrap_or_default(),
            begun: task.begun_at.map(exact),
            took: took.unwrap_or_default(),
            done: task.done_at.map(|at| ago(at, now)),
        }
    }
}

impl RunRow {
    fn of(run: OriginRun, now: DateTime<Utc>) -> Self {
        Self {
            id: run.run_id,
            how: format!(
                "{}, {}, started by {}",
                run.status.replace('_', " "),
                run.mode,
                run.trigger
            ),
            finished: run.finished_at.map(|at| ago(at, now)),
            config: run.config_hash,
            schema: run.schema_version.zip(run.schema_run_id),
        }
    }
}

impl DefectRow {
    fn of(row: QuarantinedRow) -> Self {
        let status = match row.status.as_str() {
            "open" | "redriven" => badge(Tone::Warn, &row.status),
            _ => badge(Tone::Good, &row.status),
        };
        Self {
            run: row.run_id,
            place: match row.line {
                Some(line) => format!("row {} of {}, line {line}", row.raw_row, row.raw_ref),
                None => format!("row {} of {}", row.raw_row, row.raw_ref),
            },
            field: row.field.unwrap_or_default(),
            reason: row.reason,
            message: row.message,
            status,
            fingerprint: row.fingerprint,
            raw: row.raw_text,
        }
    }
}
