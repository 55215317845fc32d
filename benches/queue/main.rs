//! What the queue costs: `cargo bench --bench queue -- TASKS` lets the shipped worker process drain
//! tasks that have nothing to do, and prints how many it ends a second and what each costs.
//!
//! Owns making such tasks and waiting for their end. It must not know how the queue works within.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for developers: it prints, and panics when it cannot go on"
)]

#[path = "../support/cpu.rs"]
mod cpu;
#[path = "../support/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use kasparro::db::run_tasks;
use kasparro::domain::run::{Mode, RunId, Trigger};
use kasparro::domain::task::{Rows, TaskKind, TaskPayload};
use kasparro::job_file::Definition;
use kasparro::queue;
use kasparro::sources::{Access, kinds};
use kasparro::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};

use server::{Server, settled};

const DATABASE: &str = "bench_queue";
const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"empty.csv\"]\n";
const LOOK_EVERY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_secs(5);

/// Drains tasks that have nothing to do
#[derive(Debug, Parser)]
#[command(name = "queue")]
struct Options {
    /// How many tasks
    #[arg(default_value_t = 1_000, value_name = "TASKS")]
    tasks: u32,

    /// How often everything is measured; the table shows medians
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,

    /// Given by `cargo bench`, and not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is drained.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Items whose task the ledger does not know: delivered, looked up, ended.
    WithoutTask,
    /// Tasks of a run with nothing to normalize: everything that surrounds the work of a task.
    EmptyTask,
}

/// What draining has cost.
#[derive(Debug, Clone, Copy)]
struct Drained {
    seconds: f64,
    worker_cpu: f64,
    server_cpu: f64,
    wal: f64,
    statements: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        eprintln!("nothing is measured without --bench, which `cargo bench` gives");
        return Ok(());
    }
    ensure!(options.rounds > 0 && options.tasks > 0, "at least one round and one task");
    let server = Server::start().await?;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-queue");
    let outcome = tokio::select! {
        outcome = measure(&options, &server, &folder) => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted")))
        }
    };
    server.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    outcome
}

async fn measure(options: &Options, server: &Server, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("idle.toml"), JOB)?;
    std::fs::write(folder.join("empty.csv"), "id\n")?;
    server.create(DATABASE).await?;
    let status = kasparro(server, folder, "migrate").status().await?;
    ensure!(status.success(), "kasparro migrate ended with {status}");
    let definition = Definition::load(&folder.join("idle.toml"), kinds())?;
    let mut worker = kasparro(server, folder, "worker").spawn()?;
    let mut connection = server.connect(DATABASE).await?;
    registered(&mut connection).await?;

    println!("{}\n", server.description().await?);
    let idle = idle(server, &worker).await?;
    println!("| | tasks/s | worker CPU ms | server CPU ms | WAL bytes | statements |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for load in [Load::WithoutTask, Load::EmptyTask] {
        let mut rounds = Vec::new();
        for round in 0..options.rounds {
            let put = Put { load, tasks: options.tasks, round };
            rounds.push(drain(server, &worker, &mut connection, &definition, &put).await?);
        }
        print(load, options.tasks, &rounds);
    }
    println!(
        "\nA worker without anything to do takes {:.1} ms of CPU a second, the server",
        idle.0
    );
    println!("{:.1} ms for it.", idle.1);
    connection.close().await?;
    worker.kill().await.context("the worker's process")
}

/// kasparro at shipped settings.
fn kasparro(server: &Server, folder: &Path, command: &str) -> Command {
    let mut kasparro = Command::new(env!("CARGO_BIN_EXE_kasparro"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KASPARRO_") {
            kasparro.env_remove(name);
        }
    }
    kasparro
        .arg(command)
        .env("DATABASE_URL", server.url(DATABASE))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    kasparro
}

/// Waits until the worker listens to every queue.
async fn registered(connection: &mut PgConnection) -> anyhow::Result<()> {
    let queues = TaskKind::ALL.len() as i64;
    let count = "select count(*) from apalis.workers";
    while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *connection).await? < queues {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// CPU milliseconds a second of the worker and the server while nothing happens.
async fn idle(server: &Server, worker: &Child) -> anyhow::Result<(f64, f64)> {
    settled().await;
    let (own, of_server) = (cpu_of(worker), server.cpu());
    tokio::time::sleep(IDLE).await;
    let rate = |seconds: f64| seconds * 1_000.0 / IDLE.as_secs_f64();
    Ok((rate(cpu_of(worker) - own), rate(server.cpu() - of_server)))
}

fn cpu_of(worker: &Child) -> f64 {
    worker.id().and_then(cpu::spent).map_or(0.0, |spent| spent.own)
}

/// What is put into the queue.
struct Put {
    load: Load,
    tasks: u32,
    round: usize,
}

async fn drain(
    server: &Server,
    worker: &Child,
    connection: &mut PgConnection,
    definition: &Definition,
    put: &Put,
) -> anyhow::Result<Drained> {
    server.execute("checkpoint").await?;
    if server.keeps_statements {
        server.execute("select pg_stat_statements_reset()").await?;
    }
    let (wal, own, of_server) = (server.wal().await?, cpu_of(worker), server.cpu());
    let mut transaction = connection.begin().await?;
    match put.load {
        Load::WithoutTask => without_task(&mut transaction, put).await?,
        Load::EmptyTask => empty_tasks(&mut transaction, definition, put.tasks).await?,
    }
    let began: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8")
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let open = "select exists (select from apalis.jobs where done_at is null)";
    while sqlx::query_scalar::<_, bool>(open).fetch_one(&mut *connection).await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (worker_cpu, server_cpu) = (cpu_of(worker) - own, server.cpu() - of_server);
    let ended: f64 =
        sqlx::query_scalar("select extract(epoch from max(done_at))::float8 from apalis.jobs")
            .fetch_one(&mut *connection)
            .await?;
    let wal = (server.wal().await? - wal) as f64;
    let statements = statements(server).await?;
    Ok(Drained { seconds: ended - began, worker_cpu, server_cpu, wal, statements })
}

async fn without_task(transaction: &mut PgConnection, put: &Put) -> anyhow::Result<()> {
    let item = |n| (format!("unknown:{}:{n}", put.round), TaskKind::NormalizeBatch);
    let items: Vec<_> = (0..put.tasks).map(item).collect();
    Ok(queue::enqueue(transaction, RunId(0), &items).await?)
}

/// A run whose normalizing tasks find no slice that was read.
async fn empty_tasks(
    transaction: &mut PgConnection,
    definition: &Definition,
    tasks: u32,
) -> anyhow::Result<()> {
    let request = RunRequest {
        mode: Mode::Full,
        trigger: Trigger::Cli,
        access: Access::Offline,
        idempotency_key: None,
        raw: RawRange::default(),
        dry_run: false,
        range: None,
    };
    let Started::New(run) = start_run(transaction, definition, &request).await? else {
        anyhow::bail!("the run of an earlier round has not ended");
    };
    let task = |slice: i64| TaskPayload::NormalizeBatch {
        first_slice: slice,
        last_slice: slice,
        rows: Rows::All,
    };
    let payloads: Vec<_> = (0..i64::from(tasks)).map(task).collect();
    let inserted = run_tasks::insert(transaction, run, &payloads).await?;
    queue::enqueue(transaction, run, &inserted).await?;
    let opened = "update run_progress set open_tasks = open_tasks + $2 where run_id = $1";
    let opened = sqlx::query(opened).bind(run.0).bind(i32::try_from(tasks)?);
    opened.execute(transaction).await?;
    Ok(())
}

/// Statements since the account was begun, less our own looks.
async fn statements(server: &Server) -> anyhow::Result<f64> {
    if !server.keeps_statements {
        return Ok(f64::NAN);
    }
    let mut connection = server.connect("postgres").await?;
    let calls: i64 = sqlx::query_scalar(
        "select coalesce(sum(calls), 0)::bigint from pg_stat_statements
         where
            dbid = (select oid from pg_database where datname = $1)
            and query not like '%select from apalis.jobs where done_at is null%'",
    )
    .bind(DATABASE)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(calls as f64)
}

fn print(load: Load, tasks: u32, rounds: &[Drained]) {
    let median = |figure: fn(&Drained) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let tasks = f64::from(tasks);
    let label = match load {
        Load::WithoutTask => "an item without a task: delivered, looked up, ended",
        Load::EmptyTask => "an empty task: ledger, fence, completion and follow-ups as well",
    };
    println!(
        "| {label} | {:.0} | {:.2} | {:.2} | {:.0} | {:.1} |",
        tasks / median(|drained| drained.seconds),
        median(|drained| drained.worker_cpu) * 1_000.0 / tasks,
        median(|drained| drained.server_cpu) * 1_000.0 / tasks,
        median(|drained| drained.wal) / tasks,
        median(|drained| drained.statements) / tasks,
    );
}
