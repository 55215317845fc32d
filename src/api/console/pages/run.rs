//! Owns the page of a run: what it does or did, why it is slow or failed.

use askama::Template;
use askama::filters::Safe;
use chrono::{DateTime, Utc};
use poem::web::{Data, Path};
use poem::{Response, handler};

use crate::api::console::actions::run_id;
use crate::api::console::html::{Html, Tone, ago, badge, bytes, exact, icon, length, number};
use crate::api::console::run_rows::RunRow;
use crate::api::console::shell::{Shell, page};
use crate::api::http::problem::Problem;
use crate::api::resources::run::MOST_CHAINS;
use crate::api::state::ApiState;
use crate::db::run_chains::{self, RunChain};
use crate::db::run_tasks::{self, FailedAttempt, LedgerTask};
use crate::db::{clock, runs};
use crate::domain::run::RunId;
use crate::domain::token::Scope;

/// Tasks of a page.
const TASKS: usize = 100;
/// Attempts of a page.
const ATTEMPTS: i64 = 100;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    shell: Shell,
    run: RunRow,
    is_active: bool,
    adds_up: bool,
    good: Html,
    warn: Html,
    error: Option<String>,
    note: Option<String>,
    failed: i32,
    retry_word: String,
    completed: i32,
    tasks_known: i32,
    mode: &'static str,
    trigger: &'static str,
    access: String,
    created: Html,
    waited: String,
    slices: String,
    bytes: String,
    config: String,
    chains: Vec<ChainRow>,
    tasks: Vec<TaskRow>,
    more_tasks: bool,
    attempts: Vec<AttemptRow>,
}

struct ChainRow {
    lane: u32,
    last_page: u32,
    reason: &'static str,
    complete: Html,
    note: Option<String>,
}

struct TaskRow {
    key: String,
    state: Html,
    attempts: i32,
    worker: String,
    took: String,
    rows: String,
    error: Option<String>,
}

struct AttemptRow {
    key: String,
    number: i32,
    ended: Html,
    took: String,
    error: String,
}

/// `GET /ui/runs/{id}`
#[handler]
pub(crate) async fn show(
    shell: Shell,
    state: Data<&ApiState>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = run_id(&id)?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let read = async {
        let run = runs::get(&mut *connection, RunId(id)).await?;
        let Some(run) = run else { return Ok(None) };
        let chains = run_chains::list(&mut *connection, run.id, MOST_CHAINS).await?;
        let unfinished = run_tasks::unfinished(&mut *connection, run.id, TASKS as i64 + 1).await?;
        let room = (TASKS + 1).saturating_sub(unfinished.len()) as i64;
        let others = run_tasks::list(&mut *connection, run.id, None, room).await?;
        let attempts = run_tasks::failed_attempts(&mut *connection, run.id, ATTEMPTS).await?;
        let now = clock::now(&mut *connection).await?;
        Ok::<_, sqlx::Error>(Some((run, chains, unfinished, others, attempts, now)))
    };
    let found = read.await.map_err(Problem::from)?;
    let (run, chains, mut tasks, others, attempts, now) =
        found.ok_or_else(|| Problem::unknown_run(id))?;
    for task in others {
        if !tasks.iter().any(|known| known.task_key == task.task_key) {
            tasks.push(task);
        }
    }
    let more_tasks = tasks.len() > TASKS || (run.tasks as usize) > tasks.len();
    tasks.truncate(TASKS);
    let counters = &run.counters;
    Ok(page(&RunPage {
        shell: shell.following("runs"),
        is_active: run.status.is_active(),
        adds_up: counters.rows_read == counters.evaluated(),
        good: Safe(icon(Tone::Good)),
        warn: Safe(icon(Tone::Warn)),
        error: run.error.clone(),
        note: run.stop_reason.clone(),
        failed: run.failed_tasks,
        retry_word: format!("Retry {} failed", run.failed_tasks),
        completed: run.completed_tasks(),
        tasks_known: run.tasks,
        mode: run.mode.as_str(),
        trigger: run.trigger.as_str(),
        access: match run.access.as_str() {
            "network" => "from the network".to_owned(),
            "offline" => "from the recording".to_owned(),
            other => other.to_owned(),
        },
        created: exact(run.created_at),
        waited: length(run.started_at.unwrap_or(now) - run.created_at),
        slices: number(counters.slices),
        bytes: bytes(counters.bytes),
        config: run.config_hash.to_string(),
        chains: chains.into_iter().map(ChainRow::of).collect(),
        tasks: tasks.into_iter().map(|task| TaskRow::of(task, now)).collect(),
        more_tasks,
        attempts: attempts.into_iter().map(|attempt| AttemptRow::of(attempt, now)).collect(),
        run: RunRow::of(&run, now),
    }))
}

impl ChainRow {
    fn of(chain: RunChain) -> Self {
        let complete = match chain.end.complete {
            true => badge(Tone::Good, "complete"),
            false => badge(Tone::Warn, "may lack something"),
        };
        Self {
            lane: chain.slice.lane(),
            last_page: chain.slice.number(),
            reason: chain.end.reason.as_str(),
            complete,
            note: chain.end.note,
        }
    }
}

impl TaskRow {
    fn of(task: LedgerTask, now: DateTime<Utc>) -> Self {
        let state = match task.state.as_str() {
            "done" => badge(Tone::Good, "done"),
            "failed" => badge(Tone::Bad, "failed"),
            "cancelled" => badge(Tone::Calm, "cancelled"),
            _ => match task.next_attempt_at.filter(|next| *next > now) {
                Some(next) => badge(Tone::Warn, &format!("again in {}", length(next - now))),
                None => badge(Tone::Active, "open"),
            },
        };
        let took = task.begun_at.zip(task.done_at).map(|(begun, done)| length(done - begun));
        Self {
            key: task.task_key,
            state,
            attempts: task.attempt,
            worker: task.worker.as_deref().map(short).unwrap_or_default(),
            took: took.unwrap_or_default(),
            rows: number(
                task.rows_read
                    .max(task.inserted + task.updated + task.unchanged + task.quarantined),
            ),
            error: task.error,
        }
    }
}

/// The end of a worker's name tells it from others: its beginning names host and kind.
fn short(worker: &str) -> String {
    let characters = worker.chars().count();
    worker.chars().skip(characters.saturating_sub(8)).collect()
}

impl AttemptRow {
    fn of(attempt: FailedAttempt, now: DateTime<Utc>) -> Self {
        let took = attempt.begun_at.map(|begun| length(attempt.ended_at - begun));
        Self {
            key: attempt.task_key,
            number: attempt.attempt,
            ended: ago(attempt.ended_at, now),
            took: took.unwrap_or_default(),
            error: attempt.error,
        }
    }
}
