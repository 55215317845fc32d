//! kasparro as a user starts it: the built program, its settings in the environment.
//!
//! Owns its commands and reading what a run counted. It must not know what is expected of it.

use anyhow::Context;
use serde::Deserialize;
use tokio::process::Command;

use crate::bench::Bench;
use crate::cost::{self, Cost};

/// What a run counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    pub rows_read: u64,
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub quarantined: u64,
}

#[derive(Deserialize)]
struct Answer {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    counters: Counters,
}

/// kasparro on a database, in a folder and an environment without settings.
pub fn command(bench: &Bench<'_>, database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kasparro"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KASPARRO_") {
            command.env_remove(name);
        }
    }
    command
        .env("DATABASE_URL", bench.server.url(database))
        .current_dir(bench.files.working_folder())
        .stdin(std::process::Stdio::null());
    command
}

/// `kasparro migrate`.
pub async fn migrate(bench: &Bench<'_>, database: &str) -> anyhow::Result<()> {
    let mut migrate = command(bench, database);
    migrate.arg("migrate");
    cost::measure(bench.server, migrate, bench.files.working_folder()).await.map(|_| ())
}

/// `kasparro run products`.
pub fn run_command(bench: &Bench<'_>, database: &str, workers: usize, full: bool) -> Command {
    let mut command = command(bench, database);
    command
        .args(["run", "products", "--json", "--jobs-dir"])
        .arg(bench.files.jobs())
        .args(full.then_some("--full"))
        .env("KASPARRO_WORKERS", workers.to_string())
        // The jobs folder has a link to the file.
        .env("KASPARRO_DATA_ROOTS", bench.files.working_folder());
    command
}

/// `kasparro run coingecko_api --offline`, with the shipped jobs.
pub fn coins_command(bench: &Bench<'_>, database: &str) -> Command {
    let mut command = command(bench, database);
    command
        .args(["run", "coingecko_api", "--offline", "--json", "--jobs-dir"])
        .arg(bench.files.shipped_jobs());
    command
}

/// Runs a command that loads one source.
pub async fn run(bench: &Bench<'_>, command: Command) -> anyhow::Result<(Cost, Counters)> {
    let folder = bench.files.working_folder();
    let (cost, output) = cost::measure(bench.server, command, folder).await?;
    let answer: Answer = serde_json::from_str(&output).context("the answer of `run --json`")?;
    let run = answer.runs.first().context("one run")?;
    Ok((cost, run.counters))
}
