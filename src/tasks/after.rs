//! Owns the runs that follow others: `after` of the job files. They start in the transaction that ends the
//! run before them. What cannot start then is noted in `due_runs`, and starts when the source's active run
//! ends, or when the scheduler finds that it can.

use std::collections::HashSet;

use sqlx::{PgConnection, PgPool};

use super::start_run::{RawRange, RunRequest, Started, start_run};
use super::{SourceInUse, TaskError, blocking};
use crate::db::Transaction;
use crate::db::due_runs::{self, DueRun, EVERY};
use crate::db::runs::{self, Run};
use crate::domain::failure::chain;
use crate::domain::run::{Mode, RunId, RunStatus, Trigger};
use crate::domain::source_name::SourceName;
use crate::job_file::after::Order;
use crate::job_file::{Definition, DefinitionError, JobsFolder};
use crate::sources::{self, Access};

/// What the job files say.
struct Jobs {
    good: Vec<Definition>,
    /// Sources whose job file cannot be read.
    broken: Vec<String>,
}

impl Jobs {
    fn of(loaded: Vec<Result<Definition, DefinitionError>>) -> Self {
        let mut jobs = Self { good: Vec::new(), broken: Vec::new() };
        for one in loaded {
            match one {
                Ok(definition) => jobs.good.push(definition),
                Err(error) => jobs.broken.extend(source_of(&error)),
            }
        }
        jobs
    }

    fn get(&self, source: &str) -> Option<&Definition> {
        self.good.iter().find(|definition| definition.source.as_str() == source)
    }
}

fn source_of(error: &DefinitionError) -> Option<String> {
    let stem = error.path()?.file_stem()?.to_str()?;
    stem.parse::<SourceName>().ok().map(|name| name.to_string())
}

/// Starts what follows a run that has just ended, in the transaction that ends it.
pub(super) async fn follow(
    transaction: &mut PgConnection,
    run: &Run,
    status: RunStatus,
    source: Option<&SourceInUse>,
) -> Result<(), TaskError> {
    // What nobody can start here stays noted, and the scheduler starts it.
    let Some(folder) = source.and_then(|source| source.jobs.clone()) else { return Ok(()) };
    let followed = status.is_success() && !run.dry_run && run.mode != Mode::Replay;
    let waiting = due_runs::take(transaction, &run.source).await?;
    if !followed && waiting.is_empty() {
        return Ok(());
    }
    let access = match Access::from_word(&run.access) {
        Access::Offline => Access::Offline,
        // Who asked for a recording meant that of this source.
        Access::Record | Access::Network => Access::Network,
    };
    let loaded = blocking(move || Ok(folder.load(sources::kinds()))).await?;
    let jobs = match loaded {
        Ok(loaded) => Jobs::of(loaded),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "the job files cannot be read: what follows a run waits"
            );
            let every = followed.then(|| due(EVERY, &run.source, run.id));
            for due in waiting.into_iter().chain(every) {
                due_runs::note(transaction, &due).await?;
            }
            return Ok(());
        }
    };
    start_waiting(transaction, &jobs, waiting, access).await?;
    if followed {
        start_followers(transaction, &jobs, &run.source, run.id, access).await?;
    }
    Ok(())
}

/// Starts what is due and can start by now.
///
/// # Errors
/// Database errors.
pub async fn start_due(
    pool: &PgPool,
    folder: &JobsFolder,
    access: Access,
) -> Result<(), TaskError> {
    let due = due_runs::sources(pool).await?;
    if due.is_empty() {
        return Ok(());
    }
    let folder = folder.clone();
    let jobs = blocking(move || Ok(Jobs::of(folder.load(sources::kinds())?))).await?;
    for source in due {
        let mut transaction = Transaction::begin(pool).await?;
        let taken = due_runs::take(&mut transaction, &source).await?;
        if source == EVERY {
            for due in taken {
                start_followers(&mut transaction, &jobs, &due.after, due.run, access).await?;
            }
        } else {
            start_waiting(&mut transaction, &jobs, taken, access).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

fn due(source: &str, after: &str, run: RunId) -> DueRun {
    DueRun { source: source.to_owned(), after: after.to_owned(), run }
}

/// Starts the runs of all sources that follow a source.
async fn start_followers(
    transaction: &mut PgConnection,
    jobs: &Jobs,
    after: &str,
    run: RunId,
    access: Access,
) -> Result<(), TaskError> {
    let order = Order::of(&jobs.good);
    // In the order of names, so that two that end at the same time do not wait for each other.
    for definition in jobs.good.iter().filter(|job| job.after.iter().any(|s| s.as_str() == after)) {
        let source = definition.source.as_str();
        if let Some(circle) = order.circle(source) {
            let circle = circle.join(" after ");
            tracing::warn!(source, circle, "no run follows: the job files lead in a circle");
            continue;
        }
        due_runs::take(transaction, source).await?;
        start(transaction, definition, &due(source, after, run), access).await?;
    }
    // Whether they follow is known when they can be read.
    for source in &jobs.broken {
        due_runs::note(transaction, &due(source, after, run)).await?;
    }
    Ok(())
}

/// Starts one run for all that is due of a source; what its job file does not say any more is forgotten.
async fn start_waiting(
    transaction: &mut PgConnection,
    jobs: &Jobs,
    waiting: Vec<DueRun>,
    access: Access,
) -> Result<(), TaskError> {
    let mut started = HashSet::new();
    for due in waiting {
        if jobs.broken.contains(&due.source) {
            due_runs::note(transaction, &due).await?;
            continue;
        }
        let Some(definition) = jobs.get(&due.source) else { continue };
        if definition.after.iter().any(|source| source.as_str() == due.after)
            && started.insert(due.source.clone())
        {
            start(transaction, definition, &due, access).await?;
        }
    }
    Ok(())
}

/// Starts a run that is due, or notes that it is.
async fn start(
    transaction: &mut PgConnection,
    definition: &Definition,
    due: &DueRun,
    access: Access,
) -> Result<(), TaskError> {
    let source = definition.source.as_str();
    let key = format!("after:{}:{}", due.after, due.run);
    let request = RunRequest {
        mode: Mode::Incremental,
        trigger: Trigger::After,
        access,
        idempotency_key: Some(&key),
        raw: RawRange::default(),
        dry_run: false,
        range: None,
    };
    loop {
        let why = match start_run(transaction, definition, &request).await? {
            Started::New(id) => {
                tracing::info!(
                    source,
                    run_id = id.0,
                    after = due.after,
                    "run started after another"
                );
                return Ok(());
            }
            Started::Same(_) => return Ok(()),
            Started::Busy(id) => {
                // The end of that run looks for what is due under this lock.
                if !runs::lock(transaction, id).await?.status.is_active() {
                    continue;
                }
                format!("run {id} is under way")
            }
            Started::Paused(pause) => pause.to_string(),
            Started::NothingToReplay(nothing) => nothing.to_string(),
            Started::NoRange(problem) | Started::Invalid(problem) => problem,
        };
        tracing::debug!(source, after = due.after, why, "a run that follows another waits");
        return Ok(due_runs::note(transaction, due).await?);
    }
}
