//! The PostgreSQL that the benchmarks measure against: kasparro's own private one, on a folder of
//! the build, with settings under which what is committed survives a power failure.
//!
//! Owns the server's life, its databases, and what it has spent. It must not know what is measured.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kasparro::embedded::{
    DownloadSource, EmbeddedError, Leaving, Options, PrivatePostgres, find_or_start, stop_if_unused,
};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::cpu;

/// Durable, and not so small that only checkpoints are measured.
const SETTINGS: [(&str, &str); 5] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "4GB"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
];
/// Not every installation has it; without it statements are not accounted for.
const STATEMENTS: (&str, &str) = ("shared_preload_libraries", "pg_stat_statements");

/// The one that is never measured.
const MAINTENANCE_DATABASE: &str = "postgres";

const COMMITS: usize = 101;

/// A server in use.
pub struct Server {
    private: PrivatePostgres,
    options: PgConnectOptions,
    postmaster: u32,
    /// Whether the server keeps account of its statements.
    pub keeps_statements: bool,
}

impl Server {
    /// Starts the server on an empty folder.
    pub async fn start() -> anyhow::Result<Self> {
        let (private, keeps_statements) = match started(true).await {
            Ok(private) => (private, true),
            Err(_) => (started(false).await?, false),
        };
        let pid = std::fs::read_to_string(private.data_dir().join("data/postmaster.pid"))?;
        let postmaster = pid.lines().next().unwrap_or_default().parse();
        let postmaster = postmaster.context("postmaster.pid holds no process number")?;
        let options: PgConnectOptions = private.url().parse()?;
        let server = Self { private, options, postmaster, keeps_statements };
        if keeps_statements {
            server.execute("create extension if not exists pg_stat_statements").await?;
        }
        Ok(server)
    }

    /// Stops the server and removes its folder.
    pub async fn stop(self) -> anyhow::Result<()> {
        let folder = self.private.data_dir().to_owned();
        self.private.stop().await?;
        Ok(std::fs::remove_dir_all(folder)?)
    }

    /// For a line of text: version, settings, and what a commit takes on this disk.
    pub async fn description(&self) -> anyhow::Result<String> {
        let settings = SETTINGS.map(|(name, value)| format!("{name} {value}")).join(", ");
        let (version, commit) = (self.private.version(), self.commit_milliseconds().await?);
        Ok(format!("PostgreSQL {version}, {settings}; a commit takes {commit:.1} ms"))
    }

    /// The median time of a transaction that writes one row.
    async fn commit_milliseconds(&self) -> anyhow::Result<f64> {
        self.execute("create table if not exists commits (number int)").await?;
        let mut connection = self.options.connect().await?;
        let mut times = Vec::with_capacity(COMMITS);
        for _ in 0..COMMITS {
            let started = Instant::now();
            sqlx::query("insert into commits values (1)").execute(&mut connection).await?;
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        connection.close().await?;
        times.sort_by(f64::total_cmp);
        Ok(times[COMMITS / 2])
    }

    /// The URL of a database.
    pub fn url(&self, name: &str) -> String {
        // sqlx's own words for it hold settings that psql does not know.
        let maintenance = format!("/{MAINTENANCE_DATABASE}?");
        self.private.url().replacen(&maintenance, &format!("/{name}?"), 1)
    }

    /// Makes an empty database, in place of a former one of that name.
    pub async fn create(&self, name: &str) -> anyhow::Result<()> {
        self.drop(name).await?;
        self.execute(&format!("create database {name}")).await
    }

    /// Drops a database.
    pub async fn drop(&self, name: &str) -> anyhow::Result<()> {
        self.execute(&format!("drop database if exists {name} with (force)")).await
    }

    /// Runs a statement outside the measured databases.
    pub async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let mut connection = self.options.connect().await?;
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// A connection to a database.
    pub async fn connect(&self, name: &str) -> anyhow::Result<PgConnection> {
        Ok(self.options.clone().database(name).connect().await?)
    }

    /// Bytes of write-ahead log ever written.
    pub async fn wal(&self) -> anyhow::Result<i64> {
        let mut connection = self.options.connect().await?;
        let bytes = sqlx::query_scalar(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(bytes)
    }

    /// CPU seconds of all its processes so far.
    pub fn cpu(&self) -> f64 {
        cpu::of_server(self.postmaster)
    }
}

async fn started(with_statements: bool) -> anyhow::Result<PrivatePostgres> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-postgres");
    match start_in(&target, with_statements).await {
        // Run as root, the server's user may not get into our home.
        Err(error) if is_unreachable(&error) => {
            let folder = format!("kasparro-bench-postgres-{}", std::process::id());
            start_in(&std::env::temp_dir().join(folder), with_statements).await
        }
        other => other,
    }
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(EmbeddedError::Unreachable { .. } | EmbeddedError::NotOursAlone { .. })
    )
}

async fn start_in(data_dir: &Path, with_statements: bool) -> anyhow::Result<PrivatePostgres> {
    // What a benchmark that was killed has left.
    if stop_if_unused(data_dir).await? == Leaving::OthersRemain {
        bail!("another benchmark is at work in {}", data_dir.display());
    }
    if data_dir.exists() {
        std::fs::remove_dir_all(data_dir)?;
    }
    let mut settings = SETTINGS.to_vec();
    settings.extend(with_statements.then_some(STATEMENTS));
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mirror = std::env::var("KASPARRO_PG_DOWNLOAD_URL").ok();
    let options = Options {
        binaries: std::env::var_os("KASPARRO_PG_BIN").map(PathBuf::from),
        download: DownloadSource::pinned(mirror.as_deref()),
        settings,
        database: MAINTENANCE_DATABASE.to_owned(),
        ..Options::new(data_dir)
    };
    Ok(find_or_start(&options).await?)
}

/// Backends take a moment to end, and to be counted by the postmaster.
pub async fn settled() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}
