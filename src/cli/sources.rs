//! Owns `sources`: what the job files say, how each source is doing, and pausing one.

use std::process::ExitCode;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap_complete::ArgValueCompleter;
use poem_openapi::types::ToJSON;
use serde_json::json;

use super::actor::actor;
use super::args::{self, OutputArgs};
use super::database::{Database, Schema};
use super::facts::Facts;
use super::table::{Cell, Table, Tone};
use super::{completions, out, run_table, times};
use crate::api::resources::catalog::Catalog;
use crate::api::resources::run::Run;
use crate::api::resources::sources::Source;
use crate::config::Settings;
use crate::db::Transaction;
use crate::db::runs::{self as db_runs, RunFilter};
use crate::db::source_files::{self, ListedFile};
use crate::db::source_pauses;
use crate::domain::pause::PauseReason;
use crate::domain::source_name::SourceName;
use crate::job_file::{Definition, JobsFolder};
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
    /// Show a source: when it runs next, its last runs, its files, its pause, what is wrong with it
    Show {
        /// The source's name
        #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
        source: SourceName,

        #[command(flatten)]
        output: OutputArgs,
    },
    /// Start no runs of a source, and let the tasks of an active one wait
    Pause {
        /// The source's name
        #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
        source: SourceName,

        /// Why, for others
        #[arg(long)]
        reason: PauseReason,
    },
    /// Let runs of a source start and go on again
    Resume {
        /// The source's name
        #[arg(value_parser = args::source, add = ArgValueCompleter::new(completions::sources))]
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
        Some(SourcesCommand::Show { source, .. } | SourcesCommand::Pause { source, .. }) => {
            args::must_be_known(jobs, source)?;
        }
        // Before the database is opened: whatever is wrong with the folder is reported first.
        None => drop(Catalog::load(jobs).await?),
        Some(SourcesCommand::Resume { .. }) => {}
    }
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let done = match &args.command {
        None => list(&database, jobs, args.output).await,
        Some(SourcesCommand::Show { source, output }) => {
            show(&database, jobs, source, *output).await
        }
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
    let mut table = Table::new(
        "there are no job files: put one into the jobs folder, or name another with --jobs-dir",
    )
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
            (None, Some(run)) => run_table::status(run),
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
            // A job file may have several, a line each.
            for line in problem.lines() {
                table.note(&source.source, Cell::new(line, Tone::Bad));
            }
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

/// Runs and ticks that are shown with a source.
const LAST_RUNS: i64 = 5;
const NEXT_TICKS: usize = 3;
const FILES: i64 = 50;

async fn show(
    database: &Database,
    jobs: &JobsFolder,
    name: &SourceName,
    args: OutputArgs,
) -> anyhow::Result<()> {
    let catalog = Catalog::load(jobs).await?;
    let pool = &database.pool;
    let all = Source::all(&mut *pool.acquire().await?, &catalog).await?;
    let Some(source) = all.into_iter().find(|source| source.source == name.as_str()) else {
        return args::must_be_known(jobs, name);
    };
    let definition = catalog.iter().find(|(known, _)| *known == name.as_str());
    let definition = definition.and_then(|(_, definition)| definition.ok());
    let ticks = definition.map(next_ticks).unwrap_or_default();
    let files = source_files::list(pool, name.as_str(), FILES).await?;
    let filter = RunFilter { source: Some(name.to_string()), ..RunFilter::default() };
    let last = db_runs::list(pool, &filter, LAST_RUNS).await?;
    if args.json {
        let mut document = source.to_json().unwrap_or_default();
        document["job_file"] = json!(definition.map(|definition| &definition.path));
        document["next_ticks"] = json!(ticks);
        document["files"] = files
            .iter()
            .map(|file| {
                json!({ "url": file.url, "size": file.size, "rows_read": file.rows,
                        "run_id": file.run, "updated_at": file.updated_at })
            })
            .collect();
        return out::json(&document);
    }
    out::facts(&about(&source, definition, &ticks));
    let runs: Vec<Run> = last.into_iter().map(Run::from).collect();
    if !runs.is_empty() {
        out::line("");
        out::table(&run_table::table(&runs));
    }
    if !files.is_empty() {
        out::line("");
        out::table(&file_table(&files));
    }
    Ok(())
}

/// What is known of a source, a line each.
fn about(source: &Source, definition: Option<&Definition>, ticks: &[DateTime<Utc>]) -> Facts {
    let mut facts = Facts::new(&source.source, None);
    if let Some(description) = &source.description {
        facts.say("is", description.clone());
    }
    if let Some(definition) = definition {
        facts.say("job file", definition.path.display().to_string());
        facts.say("kind", definition.kind.clone());
        match &definition.schedule {
            None if definition.on_change => {
                facts.say("schedule", "on_change: whenever its files have changed");
            }
            None if definition.after.is_empty() => {
                facts.say("schedule", "none: it runs when asked for".to_owned());
            }
            None => {}
            Some(schedule) => {
                facts.say(
                    "schedule",
                    format!("{} ({})", schedule.expression(), schedule.time_zone()),
                );
                let ticks: Vec<_> = ticks.iter().map(|tick| times::minute(*tick)).collect();
                facts.say("next (UTC)", ticks.join(", "));
            }
        }
    }
    if !source.after.is_empty() {
        facts.say("runs after", source.after.join(", "));
    }
    if let Some(pause) = &source.pause {
        let since = times::minute(pause.paused_at);
        facts.say("paused", format!("since {since} UTC by {}: {}", pause.paused_by, pause.reason));
    }
    if let Some(problem) = &source.problem {
        facts.say("broken", problem.clone());
    }
    facts.say("records", source.records.to_string());
    facts
}

fn next_ticks(definition: &Definition) -> Vec<DateTime<Utc>> {
    let schedule = definition.schedule.as_ref();
    let next = |at: DateTime<Utc>| schedule.and_then(|schedule| schedule.next_after(at));
    std::iter::successors(next(Utc::now()), |at| next(*at)).take(NEXT_TICKS).collect()
}

fn file_table(files: &[ListedFile]) -> Table {
    let mut table = Table::new("").id("bytes").id("rows").id("run").word("seen (UTC)").text("file");
    for file in files {
        table.row([
            Cell::from(file.size),
            Cell::from(file.rows),
            Cell::from(file.run.map(|run| run.to_string()).unwrap_or_default()),
            Cell::from(times::minute(file.updated_at)),
            Cell::from(&file.url),
        ]);
    }
    table
}

async fn pause(
    database: &Database,
    source: &SourceName,
    reason: &PauseReason,
) -> anyhow::Result<()> {
    let mut transaction = Transaction::begin(&database.pool).await?;
    let before = source_pauses::in_force(&mut *transaction, source.as_str()).await?;
    let pause = pause_source(&mut transaction, source.as_str(), &actor(), reason).await?;
    transaction.commit().await?;
    out::line(&pause);
    if before.is_some() {
        out::remark(
            "it was paused already, and that pause stays as it was; `sources resume` ends it",
        );
    }
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
