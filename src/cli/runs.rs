//! Owns `runs`: how runs went, and what is done to one that was started.

use std::process::ExitCode;

use anyhow::bail;
use clap_complete::ArgValueCompleter;
use poem_openapi::types::ToJSON;

use super::actor::actor;
use super::args::{self, OutputArgs, PartArgs};
use super::database::{Database, Schema};
use super::follow::follow;
use super::progress::Progress;
use super::{completions, exit, out, processes, run_details, run_table};
use crate::api::http::pagination::{self, Page};
use crate::api::resources::run::Run;
use crate::config::Settings;
use crate::db::Transaction;
use crate::db::runs::{self, RunFilter};
use crate::domain::run::{RunId, RunStatus};
use crate::domain::source_name::SourceName;
use crate::job_file::JobsFolder;
use crate::tasks::accept_deletions::{AcceptOutcome, accept_deletions};
use crate::tasks::cancel_run::{CancelOutcome, cancel_run};
use crate::tasks::retry_run::{RetryOutcome, retry_run};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,

    /// Only those of this source
    #[arg(
        value_name = "SOURCE",
        value_parser = args::source_of_runs,
        conflicts_with = "source",
        add = ArgValueCompleter::new(completions::sources)
    )]
    named: Option<SourceName>,

    /// Only runs of this source
    #[arg(
        long,
        value_parser = args::source,
        add = ArgValueCompleter::new(completions::sources)
    )]
    source: Option<SourceName>,

    /// Only runs with this status
    #[arg(long, value_parser = args::word::<RunStatus>(RunStatus::ALL.iter().map(|word| word.as_str())))]
    status: Option<RunStatus>,

    #[command(flatten)]
    part: PartArgs,
}

impl RunsArgs {
    /// The source that is asked for, in either way.
    fn of_source(&self) -> Option<&SourceName> {
        self.named.as_ref().or(self.source.as_ref())
    }
}

#[derive(Debug, clap::Subcommand)]
enum RunsCommand {
    /// Show a run: where it stands, its open and failed tasks, and who holds them
    Show {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,

        #[command(flatten)]
        output: OutputArgs,
    },
    /// List the tasks of a run
    Tasks {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,

        #[command(flatten)]
        part: PartArgs,
    },
    /// Show the samples of a dry run
    Samples {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,

        #[command(flatten)]
        output: OutputArgs,
    },
    /// Watch a run until it has ended; exits as `run` does
    Follow {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,

        #[command(flatten)]
        output: OutputArgs,
    },
    /// Cancel a run; what it has committed stays
    Cancel {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,
    },
    /// Mark the records as deleted that a run did not see and held back, because they were too many
    AcceptDeletions {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,
    },
    /// Try the failed tasks of a failed run again, with the job file that it began with
    Retry {
        /// The run's number
        #[arg(value_parser = args::run)]
        id: RunId,
    },
}

pub(super) async fn runs(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &RunsArgs,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let mut code = ExitCode::SUCCESS;
    let done = match &args.command {
        None => list(&database, jobs, args).await,
        Some(RunsCommand::Show { id, output }) => {
            run_details::show(&database, jobs, *id, *output).await
        }
        Some(RunsCommand::Tasks { id, part }) => run_details::tasks(&database, *id, part).await,
        Some(RunsCommand::Samples { id, output }) => {
            run_details::samples(&database, *id, *output).await
        }
        Some(RunsCommand::Follow { id, output }) => {
            let followed = watch(&database, *id, *output, progress).await;
            followed.map(|ended| code = ended)
        }
        Some(RunsCommand::Cancel { id }) => cancel(&database, *id).await,
        Some(RunsCommand::Retry { id }) => retry(&database, *id).await,
        Some(RunsCommand::AcceptDeletions { id }) => accept(&database, *id).await,
    };
    database.close().await?;
    done.map(|()| code)
}

async fn watch(
    database: &Database,
    id: RunId,
    args: OutputArgs,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    let stop = processes::stop_signal()?;
    let shown = (!args.json).then_some(progress);
    let ids = [id];
    let followed = tokio::select! {
        followed = follow(&database.pool, &ids, shown) => followed?,
        () = stop.cancelled() => bail!("stopped watching; run {id} goes on"),
    };
    let runs: Vec<Run> = followed.into_iter().map(Run::from).collect();
    let Some(run) = runs.first() else { bail!("{}", run_details::unknown(id)) };
    match args.json {
        true => out::json(&run.to_json())?,
        false => out::table(&run_table::table(&runs)),
    }
    Ok(exit::code([run.status], false))
}

async fn list(database: &Database, jobs: &JobsFolder, args: &RunsArgs) -> anyhow::Result<()> {
    let PartArgs { limit, cursor, output } = &args.part;
    let before =
        cursor.as_ref().map(|cursor| pagination::decode_number("runs", cursor)).transpose()?;
    let filter = RunFilter {
        source: args.of_source().map(ToString::to_string),
        status: args.status,
        before: before.map(RunId),
        ..RunFilter::default()
    };
    let rows = runs::list(&database.pool, &filter, limit.rows()).await?;
    if rows.is_empty()
        && let Some(source) = args.of_source()
    {
        args::must_be_known_behind(
            jobs,
            source,
            "runs",
            &["show", "tasks", "samples", "follow", "cancel", "retry", "accept-deletions"],
        )?;
    }
    let page: Page<Run> = Page::new(rows, *limit, "runs", |run: &runs::Run| [run.id.to_string()]);
    if output.json {
        let items = page.items.iter().filter_map(Run::to_json).collect();
        return out::json(&args::list(items, page.next_cursor, "runs"));
    }
    out::table(&run_table::table(&page.items));
    args::say_more(page.next_cursor.as_deref());
    Ok(())
}

async fn cancel(database: &Database, id: RunId) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let outcome = cancel_run(&mut transaction, id, &actor()).await?;
    transaction.commit().await?;
    match outcome {
        CancelOutcome::Cancelled(run) => {
            out::line(format!("run {id} of {} is cancelled", run.source));
        }
        CancelOutcome::Ended(run) => bail!("run {id} has ended: {}", run.status),
        CancelOutcome::Unknown => bail!("{}", run_details::unknown(id)),
    }
    Ok(())
}

async fn accept(database: &Database, id: RunId) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let outcome = accept_deletions(&mut transaction, id, &actor()).await?;
    transaction.commit().await?;
    match outcome {
        AcceptOutcome::Accepted(run, marked) => {
            out::line(format!("{marked} records of {} are marked as deleted", run.source));
        }
        AcceptOutcome::NothingHeldBack(_) => bail!("run {id} holds no deletions back"),
        AcceptOutcome::Superseded(later) => bail!(
            "run {later} of the source is later than run {id}, and may have seen the records: accept the \
             deletions of the last run"
        ),
        AcceptOutcome::Unknown => bail!("{}", run_details::unknown(id)),
    }
    Ok(())
}

async fn retry(database: &Database, id: RunId) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let outcome = retry_run(&mut transaction, id, &actor()).await?;
    transaction.commit().await?;
    match outcome {
        RetryOutcome::Retried(run) => {
            let tasks = run.open_tasks;
            out::line(format!("run {id} of {} goes on: {tasks} tasks are open", run.source));
            processes::say_if_nobody_works(&database.pool).await?;
        }
        RetryOutcome::NothingFailed(run) => {
            bail!("run {id} has no failed task: it is {}", run.status)
        }
        RetryOutcome::Superseded(later) => bail!(
            "run {later} of the source is later than run {id}, whose values could be older: start a \
             new run instead"
        ),
        RetryOutcome::Paused(pause) => bail!("{pause}"),
        RetryOutcome::Unknown => bail!("{}", run_details::unknown(id)),
    }
    Ok(())
}
