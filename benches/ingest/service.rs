//! How fast the API answers beside a loaded table.
//!
//! Owns asking it. It must not know how the table came to be.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::Bench;
use crate::kasparro_program;

/// What is asked for.
const PATHS: [&str; 2] = ["/stats", "/runs"];
const ASKED: usize = 200;
/// Connections and plans are made once, and by nobody's request in particular.
const WARM_UP: usize = 5;
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Milliseconds that the answers to one path took.
#[derive(Debug, Clone)]
pub struct Latency {
    pub path: &'static str,
    /// Shortest first.
    pub sorted: Vec<f64>,
}

impl Latency {
    /// The time within which this share of the answers came.
    pub fn quantile(&self, share: f64) -> f64 {
        let at = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Starts `kasparro serve` on the database and asks each path many times, one after the other.
pub async fn latencies(bench: &Bench<'_>, database: &str) -> anyhow::Result<Vec<Latency>> {
    // reqwest is built without a TLS provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut command = kasparro_program::command(bench, database);
    command.args([
        "serve",
        "--log",
        "warn",
        "--rate-limit",
        "0",
        "--listen",
        &address,
        "--jobs-dir",
    ]);
    command.arg(bench.files.jobs()).kill_on_drop(true);
    let mut serving = command.spawn()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    wait(&client, &address).await?;
    let mut all = Vec::new();
    for path in PATHS {
        let url = format!("http://{address}{path}");
        let mut sorted = Vec::with_capacity(ASKED);
        for asked in 0..WARM_UP + ASKED {
            let started = Instant::now();
            let answer = client.get(&url).send().await?.error_for_status()?;
            answer.bytes().await?;
            if asked >= WARM_UP {
                sorted.push(started.elapsed().as_secs_f64() * 1_000.0);
            }
        }
        sorted.sort_by(f64::total_cmp);
        all.push(Latency { path, sorted });
    }
    serving.kill().await.context("the API's process")?;
    Ok(all)
}

async fn wait(client: &reqwest::Client, address: &str) -> anyhow::Result<()> {
    let url = format!("http://{address}/health/ready");
    let begin = Instant::now();
    while begin.elapsed() < START_TIMEOUT {
        if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the API on {address} does not get ready")
}
