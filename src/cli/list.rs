//! Owns the commands that answer a question: `sources`, `runs`, and printing documents.

use std::io::Write;
use std::process::ExitCode;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};

use super::controls::{self, RunsCommand, SourcesCommand};
use super::database::{Database, Schema};
use super::follow::table;
use crate::config::Settings;
use crate::db::runs::{self, Run, RunFilter};
use crate::db::source_pauses::{self, SourcePause};
use crate::definition::{Definition, JobsFolder};
use crate::domain::failure::chain;
use crate::domain::run::RunStatus;
use crate::sources;

#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// Whether a program reads what is printed.
    pub(super) fn json(&self) -> bool {
        self.json
    }
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct SourcesArgs {
    #[command(subcommand)]
    command: Option<SourcesCommand>,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,

    /// Only runs of this source
    #[arg(long)]
    source: Option<String>,

    /// Only runs with this status
    #[arg(long)]
    status: Option<RunStatus>,

    /// How many, newest first
    #[arg(long, default_value_t = 20)]
    limit: i64,

    #[command(flatten)]
    output: OutputArgs,
}

/// Writes a document to standard output; a reader that stops early is no error.
pub(super) fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub(super) async fn sources(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &SourcesArgs,
) -> anyhow::Result<ExitCode> {
    if let Some(command) = &args.command {
        return controls::sources(settings, jobs, command).await;
    }
    let definitions = jobs.load(sources::kinds())?;
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let latest = runs::latest_per_source(&database.pool).await;
    let pauses = source_pauses::all_in_force(&database.pool).await;
    database.close().await?;
    let (latest, pauses) = (latest?, pauses?);
    let mut good = Vec::new();
    for definition in definitions {
        let checked = definition.map_err(|error| chain(&error)).and_then(|definition| {
            sources::check(&definition).map(|()| definition).map_err(|error| chain(&error))
        });
        match checked {
            Ok(definition) => good.push(definition),
            Err(problem) => eprintln!("error: {problem}"),
        }
    }
    let last = |definition: &Definition| {
        latest.iter().find(|run| run.source == definition.source.as_str())
    };
    let pause = |definition: &Definition| {
        pauses.iter().find(|pause| pause.source == definition.source.as_str())
    };
    if args.output.json {
        let list: Vec<Value> = good.iter().map(|d| source_json(d, last(d), pause(d))).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "sources": list }))?);
    } else {
        println!("{}", source_table(&good, last));
        for pause in &pauses {
            println!("{pause}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn schedule_text(definition: &Definition) -> String {
    definition.schedule.as_ref().map(|s| s.expression().to_owned()).unwrap_or_default()
}

fn status_text(run: &Run) -> String {
    let stalled = if run.stalled { ", stalled" } else { "" };
    format!("{}{stalled}", run.status)
}

fn source_table<'a>(
    definitions: &[Definition],
    last: impl Fn(&Definition) -> Option<&'a Run>,
) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["source", "kind", "schedule", "last run", "status", "description"]);
    for definition in definitions {
        let run = last(definition);
        table.add_row([
            definition.source.to_string(),
            definition.kind.clone(),
            schedule_text(definition),
            run.map(|run| run.id.to_string()).unwrap_or_default(),
            run.map(status_text).unwrap_or_default(),
            definition.description.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn source_json(definition: &Definition, run: Option<&Run>, pause: Option<&SourcePause>) -> Value {
    json!({
        "source": definition.source,
        "kind": definition.kind,
        "description": definition.description,
        "schedule": definition.schedule.as_ref().map(|s| s.expression()),

        "pause": pause.map(|pause| json!({
            "paused_at": pause.paused_at,
            "paused_by": pause.paused_by,
            "reason": pause.reason,
        })),
        "last_run": run.map(run_json),
    })
}

pub(super) async fn runs(settings: &Settings, args: &RunsArgs) -> anyhow::Result<ExitCode> {
    if let Some(command) = &args.command {
        return controls::runs(settings, command).await;
    }
    let database = Database::open(settings, 2, Schema::Expect).await?;
    let filter = RunFilter { source: args.source.clone(), status: args.status, before: None };
    let list = runs::list(&database.pool, &filter, args.limit.clamp(1, 1000)).await;
    database.close().await?;
    let list = list?;
    if args.output.json {
        let list: Vec<Value> = list.iter().map(run_json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "runs": list }))?);
    } else {
        println!("{}", table(&list));
    }
    Ok(ExitCode::SUCCESS)
}

/// A run as programs read it.
pub(super) fn run_json(run: &Run) -> Value {
    json!({
        "id": run.id,
        "source": run.source,
        "status": run.status,
        "mode": run.mode,
        "trigger": run.trigger,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "counters": run.counters,
        "error": run.error,
        "stop_reason": run.stop_reason,
        "dry_run": run.dry_run,
        "replay_from": run.replay.map(|range| range.from),
        "replay_to": run.replay.map(|range| range.to),
        "tasks": run.tasks,
        "settled_tasks": run.settled_tasks(),
        "moved_at": run.moved_at,
        "stalled": run.stalled,
    })
}
