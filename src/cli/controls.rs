//! Owns what is done from here to sources and to runs that were started: `sources pause` and
//! `resume`, `runs cancel` and `retry`.

use std::process::ExitCode;

use anyhow::bail;

use super::database::{Database, Schema};
use crate::config::Settings;
use crate::db::Transaction;
use crate::definition::{DefinitionError, JobsFolder};
use crate::domain::actor::Actor;
use crate::domain::pause::PauseReason;
use crate::domain::run::RunId;
use crate::domain::source_name::SourceName;
use crate::sources;
use crate::tasks::cancel_run::{CancelOutcome, cancel_run};
use crate::tasks::pause_source::{pause_source, resume_source};
use crate::tasks::retry_run::{RetryOutcome, retry_run};

#[derive(Debug, clap::Subcommand)]
pub(super) enum RunsCommand {
    /// Cancel a run; what it has committed stays
    Cancel {
        /// The run's number
        id: i64,
    },
    /// Try the dead tasks of a failed run again, with the job file that it began with
    Retry {
        /// The run's number
        id: i64,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum SourcesCommand {
    /// Start no runs of a source, and let the tasks of an active one wait
    Pause {
        /// The source's name
        source: SourceName,

        /// Why, for others
        #[arg(long)]
        reason: PauseReason,
    },
    /// Let runs of a source start and go on again
    Resume {
        /// The source's name
        source: SourceName,

        /// Why, for the record
        #[arg(long)]
        reason: Option<PauseReason>,
    },
}

/// Who types here.
fn actor() -> Actor {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let user = user.map_or_else(|| nix::unistd::getuid().to_string(), |user| user.name);
    Actor::command_line(&user)
}

pub(super) async fn runs(settings: &Settings, command: &RunsCommand) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match command {
        RunsCommand::Cancel { id } => cancel(&database, RunId(*id)).await,
        RunsCommand::Retry { id } => retry(&database, RunId(*id)).await,
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

pub(super) async fn sources(
    settings: &Settings,
    jobs: &JobsFolder,
    command: &SourcesCommand,
) -> anyhow::Result<ExitCode> {
    if let SourcesCommand::Pause { source, .. } = command {
        known(jobs, source)?;
    }
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match command {
        SourcesCommand::Pause { source, reason } => pause(&database, source, reason).await,
        SourcesCommand::Resume { source, reason } => {
            resume(&database, source, reason.as_ref()).await
        }
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

/// A broken job file is one all the same: that may be why its source is paused.
fn known(jobs: &JobsFolder, source: &SourceName) -> anyhow::Result<()> {
    match jobs.get(source.as_str(), sources::kinds()) {
        Err(error @ (DefinitionError::UnknownSource { .. } | DefinitionError::Folder { .. })) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

async fn pause(
    database: &Database,
    source: &SourceName,
    reason: &PauseReason,
) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let pause = pause_source(&mut transaction, source.as_str(), &actor(), reason).await?;
    transaction.commit().await?;
    println!("{pause}");
    Ok(())
}

async fn resume(
    database: &Database,
    source: &SourceName,
    reason: Option<&PauseReason>,
) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let pause = resume_source(&mut transaction, source.as_str(), &actor(), reason).await?;
    transaction.commit().await?;
    match pause {
        Some(_) => println!("source {source} is resumed"),
        None => bail!("source {source} is not paused"),
    }
    Ok(())
}

async fn cancel(database: &Database, id: RunId) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let outcome = cancel_run(&mut transaction, id, &actor()).await?;
    transaction.commit().await?;
    match outcome {
        CancelOutcome::Cancelled(run) => println!("run {id} of {} is cancelled", run.source),
        CancelOutcome::Ended(run) => bail!("run {id} has ended: {}", run.status),
        CancelOutcome::Unknown => bail!("there is no run {id}"),
    }
    Ok(())
}

async fn retry(database: &Database, id: RunId) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let outcome = retry_run(&mut transaction, id, &actor()).await?;
    transaction.commit().await?;
    match outcome {
        RetryOutcome::Retried(run) => {
            println!("run {id} of {} goes on: {} tasks are open", run.source, run.open_tasks);
        }
        RetryOutcome::NothingDead(run) => bail!("run {id} has no dead task: it is {}", run.status),
        RetryOutcome::Superseded(later) => bail!(
            "run {later} of the source is later than run {id}, whose values could be older: start a \
             new run instead"
        ),
        RetryOutcome::Paused(pause) => bail!("{pause}"),
        RetryOutcome::Unknown => bail!("there is no run {id}"),
    }
    Ok(())
}
