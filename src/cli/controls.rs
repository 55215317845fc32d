//! Owns what is done from here to runs that were started: `runs cancel`.

use std::process::ExitCode;

use anyhow::bail;

use super::database::{Database, Schema};
use crate::config::Settings;
use crate::domain::actor::Actor;
use crate::domain::run::RunId;
use crate::tasks::cancel_run::{CancelOutcome, cancel_run};

#[derive(Debug, clap::Subcommand)]
pub(super) enum RunsCommand {
    /// Cancel a run; what it has committed stays
    Cancel {
        /// The run's number
        id: i64,
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
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn cancel(database: &Database, id: RunId) -> anyhow::Result<()> {
    let mut transaction = database.pool.begin().await?;
    let outcome = cancel_run(&mut transaction, id, &actor()).await?;
    transaction.commit().await?;
    match outcome {
        CancelOutcome::Cancelled(run) => println!("run {id} of {} is cancelled", run.source),
        CancelOutcome::Ended(run) => bail!("run {id} has ended: {}", run.status),
        CancelOutcome::Unknown => bail!("there is no run {id}"),
    }
    Ok(())
}
