//! Owns the only way a run begins, whoever asks for it.

use sqlx::PgConnection;

use crate::db::definitions::{self, StoredDefinition};
use crate::db::run_tasks;
use crate::db::runs::{self, NewRun};
use crate::db::source_pauses::{self, SourcePause};
use crate::definition::Definition;
use crate::domain::raw::ContentHash;
use crate::domain::run::{Mode, RunId, Trigger};
use crate::domain::task::TaskPayload;
use crate::queue;
use crate::sources::Access;

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
}

/// Inserts the run and its first task, in the caller's transaction.
///
/// # Errors
/// Database errors.
pub async fn start_run(
    transaction: &mut PgConnection,
    definition: &Definition,
    request: &RunRequest<'_>,
) -> Result<Started, sqlx::Error> {
    let source = definition.source.as_str();
    // Workers may run in another folder than whoever starts the run.
    let path = std::path::absolute(&definition.path).unwrap_or_else(|_| definition.path.clone());
    let stored = StoredDefinition {
        source: source.to_owned(),
        path: path.to_string_lossy().into_owned(),
        toml: definition.text.clone(),
    };
    let config_hash = ContentHash::of(format!("{}\0{}", stored.path, stored.toml).as_bytes());
    definitions::store(&mut *transaction, config_hash, &stored).await?;
    let run = NewRun {
        source,
        mode: request.mode,
        trigger: request.trigger,
        access: request.access.as_str(),
        idempotency_key: request.idempotency_key,
        config_hash,
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

async fn plan(transaction: &mut PgConnection, id: RunId) -> Result<(), sqlx::Error> {
    let opened = run_tasks::insert(transaction, id, &[TaskPayload::PlanRun {}]).await?;
    queue::enqueue(transaction, id, &opened).await
}
