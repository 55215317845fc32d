//! Owns `sources`: what the job files say, how each source is doing, and pausing one.

use std::process::ExitCode;

use anyhow::bail;
use poem_openapi::types::ToJSON;

use super::actor::actor;
use super::args::{self, OutputArgs};
use super::database::{Database, Schema};
use super::out;
use super::table::{Cell, Table, Tone};
use super::{runs, times};
use crate::api::catalog::Catalog;
use crate::api::sources::Source;
use crate::config::Settings;
use crate::db::Transaction;
use crate::definition::JobsFolder;
use crate::domain::pause::PauseReason;
use crate::domain::source_name::SourceName;
use crate::tasks::pause_source::{pause_source, resume_source};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct SourcesArgs {
    #[command(subcommand)]
    command: Option<SourcesCommand>,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Subcommand)]
enum SourcesCommand {
    /// Start no runs of a source, and let the tasks of an active one wait
    Pause {
        /// The source's name
        #[arg(value_parser = args::source)]
        source: SourceName,

        /// Why, for others
        #[arg(long)]
        reason: PauseReason,
    },
    /// Let runs of a source start and go on again
    Resume {
        /// The source's name
        #[arg(value_parser = args::source)]
        source: SourceName,

        /// Why, for the record
        #[arg(long)]
        reason: Option<PauseReason>,
    },
}

pub(super) async fn sources(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &SourcesArgs,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(SourcesCommand::Pause { source, .. }) => args::must_be_known(jobs, source)?,
        // Before the database is opened: whatever is wrong with the folder is told first.
        None => drop(Catalog::load(jobs).await?),
        Some(SourcesCommand::Resume { .. }) => {}
    }
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match &args.command {
        None => list(&database, jobs, args.output).await,
        Some(SourcesCommand::Pause { source, reason }) => pause(&database, source, reason).await,
        Some(SourcesCommand::Resume { source, reason }) => {
            resume(&database, source, reason.as_ref()).await
        }
    };
    database.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(database: &Database, jobs: &JobsFolder, args: OutputArgs) -> anyhow::Result<()> {
    let catalog = Catalog::load(jobs).await?;
    let sources = Source::all(&mut *database.pool.acquire().await?, &catalog).await?;
    if args.json {
        let items = sources.iter().filter_map(Source::to_json).collect();
        return out::json(&args::list(items, None, "sources"));
    }
    out::table(&table(&sources));
    Ok(())
}

fn table(sources: &[Source]) -> Table {
    let mut table = Table::new("there are no job files; `kasparro help check` says where they go")
        .name("source")
        .word("kind")
        .word("schedule")
        .id("last run")
        .word("status")
        .count("records")
        .text("description");
    for source in sources {
        let run = source.last_run.as_ref();
        let status = match (&source.problem, run) {
            (Some(_), _) => Cell::new("broken", Tone::Bad),
            (None, Some(run)) => runs::status(run),
            (None, None) => Cell::default(),
        };
        table.row([
            Cell::from(&source.source),
            Cell::from(source.kind.as_deref().unwrap_or_default()),
            Cell::from(source.schedule.as_deref().unwrap_or_default()),
            Cell::from(run.map(|run| run.id.to_string()).unwrap_or_default()),
            status,
            Cell::from(source.records),
            Cell::from(source.description.as_deref().unwrap_or_default()),
        ]);
        if let Some(problem) = &source.problem {
            table.note(&source.source, Cell::new(problem, Tone::Bad));
        }
        if let Some(pause) = &source.pause {
            let since = times::minute(pause.paused_at);
            let text =
                format!("is paused since {since} UTC by {}: {}", pause.paused_by, pause.reason);
            table.note(&source.source, Cell::new(text, Tone::Warning));
        }
    }
    table
}

async fn pause(
    database: &Database,
    source: &SourceName,
    reason: &PauseReason,
) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let pause = pause_source(&mut transaction, source.as_str(), &actor(), reason).await?;
    transaction.commit().await?;
    out::line(pause);
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
        Some(_) => out::line(format!("source {source} is resumed")),
        None => bail!("source {source} is not paused"),
    }
    Ok(())
}
