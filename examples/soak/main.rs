//! Lets kasparro work while everything goes wrong that may, for as long as one likes:
//! `cargo run --release --example soak -- MINUTES [SEED]`.
//!
//! A durable PostgreSQL of its own, real processes, an API and files that change under them. After
//! each round of faults, once all is quiet, what must hold is checked (`invariants`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::exit,
    reason = "a program for developers: it prints, and panics when it cannot go on"
)]

#[allow(dead_code, reason = "the tests use what is not used here")]
#[path = "../../tests/support/fake_api.rs"]
mod fake_api;
mod faults;
mod invariants;
#[path = "../../tests/it/faults/own_server.rs"]
#[allow(dead_code, reason = "the tests use what is not used here")]
mod own_server;
mod process;
mod quiet;
mod snapshot;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;

use fake_api::FakeApi;
use faults::Stage;
use own_server::OwnServer;
use process::{AS_KASPARRO, Slot, kasparro};
use snapshot::Snapshot;
use world::{Records, World};

/// What is committed survives a power failure.
const DURABLE: [(&str, &str); 4] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("max_connections", "250"),
];

/// Works while everything goes wrong, and checks what must hold
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Options {
    /// For how long; the last round is brought to its end
    #[arg(value_name = "MINUTES")]
    minutes: f64,

    /// Brings the same faults in the same order [default: another one each time]
    #[arg(value_name = "SEED")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    if std::env::var_os(AS_KASPARRO).is_some() {
        return kasparro::cli::main();
    }
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| rand::rng().random());
    println!("soak: seed {seed}");
    let soaked = tokio::runtime::Runtime::new().context("a runtime").and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                soaked = soak(&options, seed) => soaked,
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            }
        })
    });
    match soaked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: FAILED with seed {seed}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(options: &Options, seed: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let long = Duration::from_secs_f64(options.minutes * 60.0);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut dice = SmallRng::seed_from_u64(seed);
    let folder = std::env::temp_dir().join(format!("kasparro-soak-{}", std::process::id()));
    let mut world = World::create(&folder.join("jobs"), &mut dice)?;
    let moody = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let api = FakeApi::serve(listener, faults::moods(moody.clone()), world.pages()).await;
    world.write_shop(api.address)?;
    let mut server = OwnServer::start(&DURABLE).await;
    let url = server.url().to_owned();
    let migrated = kasparro(&folder, &url, "migrate", &["migrate"])?.status()?;
    ensure!(migrated.success(), "kasparro migrate: {migrated}");
    let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
    let mut slots = cast()?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(15))
        .build()?;
    let (mut happened, mut expected, mut rounds) = (BTreeMap::new(), Records::new(), 0);
    let mut snapshot = None;
    while began.elapsed() < long {
        rounds += 1;
        let mut stage = Stage {
            folder: &folder,
            pool: &pool,
            url: &url,
            server: &mut server,
            slots: &mut slots,
            world: &mut world,
            client: &client,
            happened: &mut happened,
            expected: &mut expected,
            snapshot: &mut snapshot,
        };
        round(&mut stage, &mut dice, &moody)
            .await
            .with_context(|| format!("round {rounds}; logs in {}", folder.display()))?;
        println!("round {rounds}: {}", line(&pool, began, expected.len()).await?);
    }
    for slot in &mut slots {
        slot.stop().await?;
    }
    summary(&pool, rounds, began, &happened, &api).await?;
    pool.close().await;
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// The processes of a small installation, and one `up` that is all of them.
fn cast() -> anyhow::Result<[Slot; 6]> {
    Ok([
        Slot::new("up", &["up", "--no-initial-run"], true)?,
        Slot::new("serve", &["serve"], true)?,
        Slot::new("worker-1", &["worker"], false)?,
        Slot::new("worker-2", &["worker"], false)?,
        Slot::new("scheduler-1", &["scheduler"], false)?,
        Slot::new("scheduler-2", &["scheduler"], false)?,
    ])
}

/// Faults, then quiet, then the look at what must hold.
async fn round(
    stage: &mut Stage<'_>,
    dice: &mut SmallRng,
    moody: &AtomicBool,
) -> anyhow::Result<()> {
    if stage.snapshot.is_none() || dice.random_range(0..3) == 0 {
        let copy = Snapshot::take(stage.server, stage.folder, stage.expected).await?;
        *stage.snapshot = Some(copy);
    }
    moody.store(true, Ordering::Relaxed);
    for slot in stage.slots.iter_mut() {
        slot.ensure(stage.folder, stage.url)?;
    }
    for _ in 0..dice.random_range(6..24) {
        stage.happen(dice).await?;
    }
    moody.store(false, Ordering::Relaxed);
    quiet::come(stage).await?;
    let broken = invariants::broken(stage.pool, stage.world, stage.expected).await?;
    let first = broken.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
    ensure!(broken.is_empty(), "{} violations:\n  {first}", broken.len());
    Ok(())
}

async fn line(pool: &PgPool, began: Instant, records: usize) -> anyhow::Result<String> {
    let runs: i64 = sqlx::query_scalar("select count(*) from etl_runs").fetch_one(pool).await?;
    let seconds = began.elapsed().as_secs();
    Ok(format!(
        "all holds after {seconds} s; {runs} runs so far, {records} records as in the model"
    ))
}

async fn summary(
    pool: &PgPool,
    rounds: usize,
    began: Instant,
    happened: &BTreeMap<&'static str, usize>,
    api: &FakeApi,
) -> anyhow::Result<()> {
    let query = "select string_agg(runs || ' ' || status, ', ') from (
                    select status, sum(runs) as runs from run_totals group by status order by 1
                 ) as t";
    let runs: Option<String> = sqlx::query_scalar(query).fetch_one(pool).await?;
    let tasks: i64 = sqlx::query_scalar("select count(*) from run_tasks").fetch_one(pool).await?;
    let happened: Vec<_> = happened.iter().map(|(what, times)| format!("{times} {what}")).collect();
    println!(
        "soak: {rounds} rounds in {:.1} min, no violation\n  runs: {}\n  {tasks} tasks, {} \
         requests to the API\n  {}",
        began.elapsed().as_secs_f64() / 60.0,
        runs.unwrap_or_default(),
        api.asked().len(),
        happened.join(", ")
    );
    Ok(())
}
