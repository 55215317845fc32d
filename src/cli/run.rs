//! Owns `run`: load sources now, working on their tasks in this process beside any other worker.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::builder::FalseyValueParser;
use clap_complete::ArgValueCompleter;
use poem_openapi::types::ToJSON;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::check::no_job_file;
use super::database::{Database, Schema};
use super::follow::follow;
use super::progress::Progress;
use super::sample_lines::sample_lines;
use super::{args, completions, exit, joining, out, processes, run_table};
use crate::api::resources::run::Run as RunView;
use crate::api::resources::samples::Sample;
use crate::config::Settings;
use crate::db::Transaction;
use crate::db::runs::{self as db_runs, Run};
use crate::domain::failure::chain;
use crate::domain::reject::Fingerprint;
use crate::domain::run::{Mode, RunId, Trigger};
use crate::job_file::{Definition, JobsFolder};
use crate::sources::{self, Access, AskedRange};
use crate::tasks::dry_run;
use crate::tasks::redrive::{RedriveRequest, Redriven, redrive};
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use crate::worker::{self, WorkerOptions};

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro run products_csv vendors_csv    load two sources and wait
  kasparro run --all --full                read everything again, whatever the checkpoints say
  kasparro run coingecko_api --record      load from the network and keep a recording
  kasparro run --all --detach              enqueue only; workers elsewhere do the work
  kasparro run products_csv --dry-run      show what a run would do, and write nothing
  kasparro run products_csv --replay       normalize again what was read, with the current job file
  kasparro run github_issues --from 2026-01-01 --to 2026-03-01
                                           read a range again, and leave the checkpoint where it is

Exits 0 when every run succeeded, 1 when one failed or was cancelled, 2 when one is degraded: it ended,
but not as it should, and its note says why.";

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Names of sources
    #[arg(
        value_name = "SOURCE",
        required_unless_present = "all",
        conflicts_with = "all",
        add = ArgValueCompleter::new(completions::sources)
    )]
    sources: Vec<String>,

    /// Every source
    #[arg(long)]
    all: bool,

    /// Read everything, whatever the checkpoint says
    #[arg(long)]
    full: bool,

    /// Read what an API shows from there on, such as 2026-01-01, and leave the checkpoint where it is: for sources
    /// with `incremental`. A date means midnight, and a time without an offset is one, in `incremental.time_zone` (or UTC)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["all", "full", "offline", "record", "replay", "redrive"])]
    from: Option<String>,

    /// Up to where, exclusive, in the same words; without it up to now
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,

    /// Read recorded API pages instead of the network
    #[arg(
        long,
        env = "KASPARRO_OFFLINE",
        value_parser = FalseyValueParser::new(),
        conflicts_with = "record"
    )]
    offline: bool,

    /// Keep the API pages as the source's recording
    #[arg(long)]
    record: bool,

    /// Read nothing; normalize again what earlier runs have read
    #[arg(long, conflicts_with_all = ["full", "offline", "record"])]
    replay: bool,

    /// The first run whose rows to replay; without it the first whose rows are kept
    #[arg(long, value_name = "RUN", value_parser = args::run, requires = "replay", conflicts_with = "all")]
    from_run: Option<RunId>,

    /// The last run whose rows to replay
    #[arg(long, value_name = "RUN", value_parser = args::run, requires = "replay", conflicts_with = "all")]
    to_run: Option<RunId>,

    /// Replay from the run on that kept the first row that is still set aside
    #[arg(long, conflicts_with_all = ["full", "replay", "offline", "record"])]
    redrive: bool,

    /// Only for rows set aside in this way, as `GET /quarantine?group_by=fingerprint` names it
    #[arg(long, value_name = "HEX", requires = "redrive", conflicts_with = "all")]
    fingerprint: Option<Fingerprint>,

    /// Write nothing; show what the run would do
    #[arg(long, conflicts_with_all = ["detach", "record"])]
    dry_run: bool,

    /// Exit with 0 when a run is degraded
    #[arg(long, conflicts_with = "detach")]
    allow_degraded: bool,

    /// Only enqueue the runs
    #[arg(long)]
    detach: bool,

    /// Cancel a run of the source that is under way, and start anew
    #[arg(long)]
    restart: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    fn access(&self, definition: &Definition) -> Access {
        match (self.offline, self.record && sources::recordable(definition)) {
            (true, _) => Access::Offline,
            (_, true) => Access::Record,
            _ => Access::Network,
        }
    }

    /// Whether a run that is under way already may not be what is asked for.
    fn asks_for_more(&self) -> bool {
        self.mode() != Mode::Incremental
            || self.from.is_some()
            || self.offline
            || self.record
            || self.dry_run
    }

    fn range(&self) -> Option<AskedRange<'_>> {
        Some(AskedRange { from: self.from.as_deref()?, to: self.to.as_deref() })
    }

    fn mode(&self) -> Mode {
        match (self.full, self.replay || self.redrive) {
            (true, _) => Mode::Full,
            (_, true) => Mode::Replay,
            _ => Mode::Incremental,
        }
    }
}

pub(super) async fn run(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &RunArgs,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    let (definitions, all_good) = chosen(jobs, args)?;
    let connections = WorkerOptions::connections(settings.workers);
    let database = Database::open(settings, connections, Schema::Migrate).await?;
    let outcome = work(settings, args, &definitions, progress, &database.pool).await;
    database.close().await?;
    outcome.map(|code| if all_good { code } else { ExitCode::FAILURE })
}

/// The sources to run, and whether all that were meant can be: with `--all`, broken job files are
/// shown and left out, because a failing source never stops the others.
fn chosen(jobs: &JobsFolder, args: &RunArgs) -> anyhow::Result<(Vec<Definition>, bool)> {
    let kinds = sources::kinds();
    if args.all {
        let (good, broken): (Vec<_>, Vec<_>) =
            jobs.load(kinds)?.into_iter().partition(Result::is_ok);
        if good.is_empty() && broken.is_empty() {
            bail!("{}", no_job_file(jobs).trim_end());
        }
        for error in broken.iter().filter_map(|definition| definition.as_ref().err()) {
            out::remark(format!("error: {}", chain(error)));
        }
        return Ok((good.into_iter().flatten().collect(), broken.is_empty()));
    }
    let mut definitions: Vec<Definition> = Vec::new();
    for name in args.sources.iter().map(|text| args::source_of(text)) {
        if !definitions.iter().any(|d| d.source.as_str() == name) {
            definitions.push(jobs.get(name, kinds)?);
        }
    }
    if args.record
        && let Some(files) = definitions.iter().find(|d| !sources::recordable(d))
    {
        bail!(
            "--record keeps the pages of an API, and {} reads files ({}): leave it out for this source",
            files.source,
            files.kind
        );
    }
    Ok((definitions, true))
}

async fn work(
    settings: &Settings,
    args: &RunArgs,
    definitions: &[Definition],
    progress: &Progress,
    pool: &PgPool,
) -> anyhow::Result<ExitCode> {
    let ids = start(pool, definitions, args).await?;
    let all_started = ids.len() == definitions.len();
    if args.detach {
        let code = detached(&ids, args, all_started)?;
        processes::say_if_nobody_works(pool).await?;
        return Ok(code);
    }
    let stop = processes::stop_signal()?;
    let options = processes::worker_options(settings)?;
    let _notes = if args.json { None } else { progress.until_notes_are_shown() };
    let worker_stop = stop.child_token();
    let (worker_pool, stopped) = (pool.clone(), worker_stop.clone());
    let worker = tokio::spawn(async move {
        worker::run(&worker_pool, &options, stopped.cancelled_owned()).await
    });
    // With --json the answer is a document that a program reads, and nothing else.
    let shown = (!args.json).then_some(progress);
    let followed = follow_until(pool, &ids, shown, &stop).await;
    if matches!(followed, Ok(None)) {
        out::remark("stopping: tasks under way finish first");
    }
    worker_stop.cancel();
    worker.await.context("the workers crashed")??;
    let Some(runs) = followed? else { return stopped_early(pool, &ids, args).await };
    show(pool, &runs, args).await?;
    Ok(match all_started {
        true => exit::code(runs.iter().map(|run| run.status), args.allow_degraded),
        false => ExitCode::FAILURE,
    })
}

/// Shows the runs that have ended, and fails with what can be done about the others.
async fn stopped_early(pool: &PgPool, ids: &[RunId], args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (mut ended, mut open) = (Vec::new(), Vec::new());
    for id in ids {
        let Some(run) = db_runs::get(pool, *id).await? else { continue };
        if run.status.is_active() { open.push(run) } else { ended.push(run) }
    }
    // To a program, an answer with some of the runs would look whole.
    if !args.json {
        show(pool, &ended, args).await?;
    }
    let names: Vec<_> = open.iter().map(|run| format!("{} ({})", run.id, run.source)).collect();
    let cancel: Vec<_> =
        open.iter().map(|run| format!("`kasparro runs cancel {}`", run.id)).collect();
    if open.is_empty() {
        bail!("stopped; every run had ended by then");
    }
    bail!(
        "stopped before the end of run {}; the same command or any worker goes on, {} ends it for good",
        names.join(", "),
        cancel.join(", ")
    )
}

async fn show(pool: &PgPool, runs: &[Run], args: &RunArgs) -> anyhow::Result<()> {
    let views: Vec<RunView> = runs.iter().cloned().map(RunView::from).collect();
    if !args.json && !runs.is_empty() {
        out::table(&run_table::table(&views).of_few());
    }
    let mut answers: Vec<Value> = views.iter().filter_map(RunView::to_json).collect();
    for (run, answer) in runs.iter().zip(&mut answers).filter(|(run, _)| run.dry_run) {
        let samples = dry_run::shown(pool, run.id).await?;
        if args.json {
            let samples = samples.into_iter().map(Sample::from);
            answer["samples"] = samples.filter_map(|sample| sample.to_json()).collect();
        } else {
            out::text(&sample_lines(&run.source, &samples));
        }
    }
    if args.json {
        out::json(&json!({ "runs": answers }))?;
    }
    Ok(())
}

async fn follow_until(
    pool: &PgPool,
    ids: &[RunId],
    progress: Option<&Progress>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Vec<Run>>> {
    tokio::select! {
        runs = follow(pool, ids, progress) => runs.map(Some),
        () = stop.cancelled() => Ok(None),
    }
}

async fn start(
    pool: &PgPool,
    definitions: &[Definition],
    args: &RunArgs,
) -> anyhow::Result<Vec<RunId>> {
    let mut ids = Vec::new();
    for definition in definitions {
        let Some(started) = begin(pool, definition, args).await? else {
            out::remark(format!("error: no such row of {} is set aside", definition.source));
            continue;
        };
        match started {
            Started::New(id) | Started::Same(id) => ids.push(id),
            // A source that cannot start does not stop the others.
            Started::Paused(pause) => out::remark(format!("error: {pause}")),
            Started::NothingToReplay(nothing) => out::remark(format!("error: {nothing}")),
            Started::NoRange(problem) | Started::Invalid(problem) => {
                out::remark(format!("error: {problem}"));
            }
            Started::Busy(id) => {
                let active = db_runs::get(pool, id).await?;
                let asked = (args.mode(), args.access(definition), args.dry_run);
                // Two replays may be of other rows, and two backfills of other ranges.
                let may_differ = args.mode() == Mode::Replay || args.from.is_some();
                let other =
                    active.as_ref().filter(|run| may_differ || joining::differs(run, asked));
                match other {
                    Some(run) if args.asks_for_more() => {
                        bail!("{}", joining::refusal(run, definition))
                    }
                    // It reads nothing that is new. The other sources are not stopped by it.
                    Some(run) if run.range.is_some() => {
                        out::remark(format!("error: {}", joining::refusal(run, definition)));
                        continue;
                    }
                    Some(run) => out::remark(joining::remark(run, definition)),
                    None => {
                        let source = &definition.source;
                        out::remark(format!("{source}: run {id} is under way; going on with it"));
                    }
                }
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

/// `None` when there is nothing to redrive.
async fn begin(
    pool: &PgPool,
    definition: &Definition,
    args: &RunArgs,
) -> anyhow::Result<Option<Started>> {
    let mut transaction = Transaction::begin(pool).await?;
    if args.restart {
        joining::cancel_active(&mut transaction, definition).await?;
    }
    let started = if args.redrive {
        let request = RedriveRequest {
            fingerprint: args.fingerprint,
            trigger: Trigger::Cli,
            idempotency_key: None,
            dry_run: args.dry_run,
        };
        match redrive(&mut transaction, definition, request).await? {
            Redriven::Started(started) => Some(started),
            Redriven::NothingSetAside => None,
        }
    } else {
        let request = RunRequest {
            mode: args.mode(),
            trigger: Trigger::Cli,
            access: args.access(definition),
            idempotency_key: None,
            raw: RawRange { from: args.from_run, to: args.to_run },
            dry_run: args.dry_run,
            range: args.range(),
        };
        Some(start_run(&mut transaction, definition, &request).await?)
    };
    transaction.commit().await?;
    Ok(started)
}

fn detached(ids: &[RunId], args: &RunArgs, all_started: bool) -> anyhow::Result<ExitCode> {
    if args.json {
        out::json(&json!({ "runs": ids }))?;
    } else if !ids.is_empty() {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        out::line(format!("enqueued: run {}", ids.join(", ")));
    }
    Ok(if all_started { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
