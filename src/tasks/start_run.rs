//! Owns the only way to start a run.

use std::fmt;

use sqlx::PgConnection;

use crate::db::checkpoints;
use crate::db::clock;
use crate::db::definitions::{self, StoredDefinition};
use crate::db::replay;
use crate::db::run_tasks;
use crate::db::runs::{self, NewRun};
use crate::db::source_pauses::{self, SourcePause};
use crate::domain::failure::chain;
use crate::domain::hash::ContentHash;
use crate::domain::run::{Mode, ReadRange, RunId, RunRange, Trigger};
use crate::domain::task::TaskPayload;
use crate::job_file::Definition;
use crate::queue;
use crate::sources::{self, Access, AskedRange};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct RunRequest<'a> {
    /// How much to read.
    pub mode: Mode,
    /// Who asks.
    pub trigger: Trigger,
    /// Where API pages come from.
    pub access: Access,
    /// Equal keys of one source are one run.
    pub idempotency_key: Option<&'a str>,
    /// For a replay: whose raw rows.
    pub raw: RawRange,
    /// Only show what the run would do.
    pub dry_run: bool,
    /// For a backfill: what to read.
    pub range: Option<AskedRange<'a>>,
}

/// Which runs' raw rows to normalize again, both ends included. The default is all that are kept
/// without a gap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawRange {
    /// The first run.
    pub from: Option<RunId>,
    /// The last run.
    pub to: Option<RunId>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A new run.
    New(RunId),
    /// The run that the idempotency key began earlier.
    Same(RunId),
    /// The source has an active run; there is one at a time.
    Busy(RunId),
    /// The source is paused.
    Paused(SourcePause),
    /// There is nothing that a replay could normalize again.
    NothingToReplay(NothingToReplay),
    /// The range that is asked for cannot be read, or nothing of the source without loading it; why.
    NoRange(String),
    /// The job file cannot be used; what is wrong with it.
    Invalid(String),
}

/// Why there is nothing to normalize again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NothingToReplay {
    /// No run of the range has read anything.
    #[error("{source_name}: no ended run {range} has read anything that could be replayed")]
    NothingRead {
        /// Name of the source.
        source_name: String,
        /// The range, in words.
        range: String,
    },
    /// The janitor has removed the ledger of a run.
    #[error(
        "{source_name}: the ledger of run {run} is not kept any more (`retention.ledger` of the job \
         file): replay later runs, or read the source again with mode = full"
    )]
    LedgerGone {
        /// Name of the source.
        source_name: String,
        /// The run.
        run: RunId,
    },
}

/// Inserts the run and its first task, in the caller's transaction. A job file that cannot be used
/// is not stored: a secret may be in it.
///
/// # Errors
/// Database errors.
pub async fn start_run(
    transaction: &mut PgConnection,
    definition: &Definition,
    request: &RunRequest<'_>,
) -> Result<Started, sqlx::Error> {
    let source = definition.source.as_str();
    if let Err(error) = sources::check(definition) {
        return Ok(Started::Invalid(chain(&error)));
    }
    let range = match range_of(&mut *transaction, definition, request).await? {
        Ok(range) => range,
        Err(why) => return Ok(Started::NoRange(format!("{source}: {why}"))),
    };
    // Workers may run in another folder than the process that starts the run.
    let path = std::path::absolute(&definition.path).unwrap_or_else(|_| definition.path.clone());
    let stored = StoredDefinition {
        source: source.to_owned(),
        path: path.to_string_lossy().into_owned(),
        toml: definition.text.clone(),
    };
    let config_hash = ContentHash::of(format!("{}\0{}", stored.path, stored.toml).as_bytes());
    definitions::store(&mut *transaction, config_hash, &stored).await?;
    let (mode, replay) = match request.mode {
        Mode::Replay => match replay_range(&mut *transaction, source, request.raw).await? {
            Ok(range) => (Mode::Replay, Some(range)),
            Err(nothing) => return Ok(Started::NothingToReplay(nothing)),
        },
        Mode::Incremental if request.access != Access::Record && range.is_none() => {
            after_edit(&mut *transaction, definition).await?
        }
        Mode::Incremental | Mode::Full => (request.mode, None),
    };
    if request.dry_run
        && mode != Mode::Replay
        && let Some(why) = sources::only_by_runs(definition)
    {
        let why = format!("{source}: {why}; `kasparro run {source}` reads it, without `--dry-run`");
        return Ok(Started::NoRange(why));
    }
    let run = NewRun {
        source,
        mode,
        trigger: request.trigger,
        access: request.access.as_str(),
        idempotency_key: request.idempotency_key,
        config_hash,
        replay,
        dry_run: request.dry_run,
        range,
    };
    loop {
        if let Some(key) = request.idempotency_key
            && let Some(id) = runs::by_idempotency_key(&mut *transaction, source, key).await?
        {
            return Ok(Started::Same(id));
        }
        if let Some(pause) = source_pauses::in_force(&mut *transaction, source).await? {
            return Ok(Started::Paused(pause));
        }
        if let Some(id) = runs::insert(transaction, &run).await? {
            plan(transaction, id).await?;
            return Ok(Started::New(id));
        }
        if let Some(id) = runs::active(&mut *transaction, source).await? {
            return Ok(Started::Busy(id));
        }
        // What stood in the way has ended between the two statements: once more.
    }
}

/// What a backfill is asked to read, or why it cannot.
async fn range_of(
    connection: &mut PgConnection,
    definition: &Definition,
    request: &RunRequest<'_>,
) -> Result<Result<Option<ReadRange>, String>, sqlx::Error> {
    let Some(asked) = request.range else { return Ok(Ok(None)) };
    if request.mode != Mode::Incremental {
        return Ok(Err("a range is read in `mode` = \"incremental\" only".to_owned()));
    }
    if request.access != Access::Network {
        let why =
            "a range is asked of the API: it can neither be read from a recording nor kept as one";
        return Ok(Err(why.to_owned()));
    }
    let now = clock::now(&mut *connection).await?;
    Ok(sources::read_range(definition, asked, now).map(Some).map_err(|error| error.text()))
}

/// What a run does instead of reading what is new, when only the mapping of the job file was edited since
/// the last good one: what is stored is normalized again. Where not all of it is kept any more, everything is
/// read.
async fn after_edit(
    connection: &mut PgConnection,
    definition: &Definition,
) -> Result<(Mode, Option<RunRange>), sqlx::Error> {
    let source = definition.source.as_str();
    let state = checkpoints::get(&mut *connection, source).await?.map(|known| known.state);
    if !state.is_some_and(|state| sources::replays_first(definition, &state)) {
        return Ok((Mode::Incremental, None));
    }
    let runs = replay::reading_runs(&mut *connection, source, None, None).await?;
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return Ok((Mode::Full, None));
    };
    let range = RunRange { from: first.id, to: last.id };
    let kept = runs.iter().all(|run| run.known)
        && replay::missing_raw(&mut *connection, source, range).await?.is_none();
    Ok(if kept { (Mode::Replay, Some(range)) } else { (Mode::Full, None) })
}

/// The runs of the range whose reading the ledger knows. An end that is given is meant: a gap behind
/// it is an error; without one the range begins behind the last gap.
async fn replay_range(
    connection: &mut PgConnection,
    source: &str,
    asked: RawRange,
) -> Result<Result<RunRange, NothingToReplay>, sqlx::Error> {
    let runs = replay::reading_runs(connection, source, asked.from, asked.to).await?;
    let source_name = source.to_owned();
    let gap = runs.iter().rposition(|run| !run.known);
    if let (Some(at), true) = (gap, asked.from.is_some()) {
        return Ok(Err(NothingToReplay::LedgerGone { source_name, run: runs[at].id }));
    }
    let known = &runs[gap.map_or(0, |at| at + 1)..];
    Ok(match (known, gap) {
        ([], Some(at)) => Err(NothingToReplay::LedgerGone { source_name, run: runs[at].id }),
        ([], None) => Err(NothingToReplay::NothingRead { source_name, range: asked.to_string() }),
        ([first, .., last], _) => Ok(RunRange { from: first.id, to: last.id }),
        ([only], _) => Ok(RunRange { from: only.id, to: only.id }),
    })
}

impl fmt::Display for RawRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (None, None) => f.write_str("of the source"),
            (Some(from), None) => write!(f, "from {from} on"),
            (None, Some(to)) => write!(f, "up to {to}"),
            (Some(from), Some(to)) => write!(f, "from {from} to {to}"),
        }
    }
}

async fn plan(transaction: &mut PgConnection, id: RunId) -> Result<(), sqlx::Error> {
    let opened = run_tasks::insert(transaction, id, &[TaskPayload::PlanRun {}]).await?;
    queue::enqueue(transaction, id, &opened).await
}
