//! Owns `up`: everything in one process, and a first run of every source.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::args::AccessArgs;
use super::check::no_job_file;
use super::database::{Database, Schema};
use super::follow::follow;
use super::patience::patiently;
use super::processes::{self, API_CONNECTIONS};
use super::progress::Progress;
use super::{joining, out, run_table};
use crate::api::resources::run::Run as RunView;
use crate::api::{self, ApiState, AuthConfig};
use crate::config::Settings;
use crate::db::Transaction;
use crate::db::runs as db_runs;
use crate::domain::failure::chain;
use crate::domain::run::{Mode, RunId, Trigger};
use crate::job_file::{Definition, JobsFolder};
use crate::sources::{self, Access, AllowedRoots, SourceErrorKind};
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use crate::worker::WorkerOptions;

pub(super) const EXAMPLES: &str = "\
Examples:
  kasparro up                                   a private database, nothing to set up
  DATABASE_URL=postgresql://… kasparro up       your database
  kasparro up --offline --no-initial-run        no network, nothing loaded until you ask

Ctrl-C lets tasks under way finish and stops the private database; a second one does not wait.";

#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    access: AccessArgs,

    /// Do not load every source once at the start
    #[arg(long)]
    no_initial_run: bool,

    /// Cancel runs that are under way since an earlier start, and start anew
    #[arg(long, conflicts_with = "no_initial_run")]
    restart: bool,
}

pub(super) async fn up(
    settings: &Settings,
    jobs: &JobsFolder,
    args: &UpArgs,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    let definitions = usable_definitions(jobs)?;
    let listener = processes::listen(settings)?;
    let stop = processes::stop_signal()?;
    let connections = WorkerOptions::connections(settings.workers) + API_CONNECTIONS;
    let database = Database::open_as_service(settings, connections, Schema::Migrate).await?;
    let access = args.access.access();
    let admitting =
        patiently("the API", async || processes::auth_config(settings, &database.pool).await);
    let admitted = tokio::select! {
        admitted = admitting => admitted,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the start")),
    };
    let auth_config = match admitted {
        Ok(auth_config) => auth_config,
        Err(error) => {
            database.close().await?;
            return Err(error);
        }
    };
    let state = processes::api_state(settings, &database.pool, jobs, access)?;
    let roots = state.allowed_roots.clone();
    let services = Services::start(settings, state, auth_config, listener, &stop)?;
    print_addresses(settings);
    if !args.no_initial_run {
        let begun = with_files(&definitions, &roots, access).await;
        let shown = initial_runs(&database.pool, &begun, access, args.restart, progress);
        tokio::select! {
            // Those that were begun go on whether they can be shown or not.
            result = shown => if let Err(error) = result {
                let why = chain(error.as_ref());
                out::remark(format!("error: the first runs cannot be begun or shown: {why}"));
            },
            () = stop.cancelled() => {}
        }
    }
    stop.cancelled().await;
    out::remark("stopping: tasks under way finish first");
    let ended = services.join().await;
    database.close().await?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Broken job files are shown and left out: a failing source never stops the others.
fn usable_definitions(jobs: &JobsFolder) -> anyhow::Result<Vec<Definition>> {
    let (mut usable, mut is_empty) = (Vec::new(), true);
    for definition in jobs.load(sources::kinds())? {
        match definition {
            Ok(definition) => usable.push(definition),
            Err(error) => {
                is_empty = false;
                out::remark(format!("error: {}", chain(&error)));
            }
        }
    }
    if is_empty && usable.is_empty() {
        out::remark(no_job_file(jobs).trim_end());
    }
    Ok(usable)
}

struct Services {
    api: tokio::task::JoinHandle<std::io::Result<()>>,
    worker: tokio::task::JoinHandle<Result<(), crate::queue::WorkError>>,
    scheduler: tokio::task::JoinHandle<()>,
}

impl Services {
    fn start(
        settings: &Settings,
        state: ApiState,
        auth_config: AuthConfig,
        listener: tokio::net::TcpListener,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let ApiState { pool, jobs, access, allowed_roots: roots, .. } = state.clone();
        let options = processes::worker_options(settings)?;
        let (worker_pool, worker_stop) = (pool.clone(), stop.clone());
        let (scheduler_pool, jobs, scheduler_stop) = (pool, jobs, stop.clone());
        let api = api::serve(
            state,
            auth_config,
            listener,
            settings.grace,
            stop.clone().cancelled_owned(),
        );
        Ok(Self {
            api: tokio::spawn(ending(stop.clone(), api)),
            worker: tokio::spawn(ending(stop.clone(), async move {
                processes::work(&worker_pool, &options, worker_stop).await
            })),
            scheduler: tokio::spawn(ending(stop.clone(), async move {
                processes::schedule(&scheduler_pool, &jobs, access, &roots, &scheduler_stop).await;
            })),
        })
    }

    async fn join(self) -> anyhow::Result<()> {
        let (api, worker, scheduler) = tokio::join!(self.api, self.worker, self.scheduler);
        api.context("the API crashed")?.context("the API failed")?;
        worker.context("the workers crashed")??;
        scheduler.context("the scheduler crashed")
    }
}

/// Whatever ends, by itself or by a panic, ends the whole process: half a service helps nobody.
async fn ending<T>(stop: CancellationToken, service: impl Future<Output = T>) -> T {
    let _ends = stop.drop_guard();
    service.await
}

/// The sources of which a run is begun: one that is watched and has no file yet is read as soon as there is one.
async fn with_files(
    definitions: &[Definition],
    roots: &AllowedRoots,
    access: Access,
) -> Vec<Definition> {
    /// A place that takes longer to answer is read.
    const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
    let mut found = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let listing = async || sources::open(definition, roots)?.listing(access).await;
        let missing = match definition.on_change {
            true => match tokio::time::timeout(ANSWERS_WITHIN, listing()).await {
                Ok(Err(error)) if error.kind == SourceErrorKind::FileMissing => Some(error),
                _ => None,
            },
            false => None,
        };
        match missing {
            // Which of several entries leads nowhere, it says.
            Some(error) => out::remark(format!(
                "{}: no run is begun yet: {}. It starts when there is one",
                definition.source, error.message
            )),
            None => found.push(definition.clone()),
        }
    }
    found
}

/// Starts a run of every source and shows how they go. While the database is away they wait: the run of
/// each source is begun, whatever happens in the first second.
async fn initial_runs(
    pool: &PgPool,
    definitions: &[Definition],
    access: Access,
    restart: bool,
    progress: &Progress,
) -> anyhow::Result<()> {
    let _notes = progress.until_notes_are_shown();
    let mut ids: Vec<RunId> = Vec::new();
    for definition in definitions {
        let what = format!("the first run of {}", definition.source);
        let begun = patiently(&what, async || initial_run(pool, definition, access, restart).await);
        ids.extend(begun.await?);
    }
    let runs =
        patiently("the first runs", async || follow(pool, &ids, Some(progress)).await).await?;
    let views: Vec<_> = runs.into_iter().map(RunView::from).collect();
    if !views.is_empty() {
        out::table(&run_table::table(&views).of_few());
    }
    Ok(())
}

/// `None` when the source has no run to be shown.
async fn initial_run(
    pool: &PgPool,
    definition: &Definition,
    access: Access,
    restart: bool,
) -> anyhow::Result<Option<RunId>> {
    let request = RunRequest {
        mode: Mode::Incremental,
        trigger: Trigger::Cli,
        access,
        idempotency_key: None,
        raw: RawRange::default(),
        dry_run: false,
        range: None,
    };
    let mut transaction = Transaction::begin(pool).await?;
    if restart {
        joining::cancel_active(&mut transaction, definition).await?;
    }
    let started = start_run(&mut transaction, definition, &request).await?;
    transaction.commit().await?;
    match started {
        Started::New(id) | Started::Same(id) => return Ok(Some(id)),
        Started::Busy(id) => {
            let active = db_runs::get(pool, id).await?;
            let asked = (request.mode, access, false);
            if let Some(run) = active.filter(|run| joining::differs(run, asked)) {
                out::remark(joining::remark(&run, definition));
            }
            return Ok(Some(id));
        }
        Started::Paused(pause) => out::remark(pause),
        Started::NothingToReplay(nothing) => out::remark(nothing),
        Started::NoRange(problem) | Started::Invalid(problem) => {
            out::remark(format!("error: {problem}"))
        }
    }
    Ok(None)
}

fn print_addresses(settings: &Settings) {
    let listen = settings.listen;
    out::line(format!("Console      http://{listen}/ui/"));
    out::line(format!("API          http://{listen}"));
    out::line(format!("Swagger UI   http://{listen}/docs"));
    out::line("Press Ctrl-C to stop.");
}
