//! Floor 5: the worker process: all queues, until it is stopped.

use std::future::Future;
use std::time::Duration;

use sqlx::PgPool;

use crate::job_file::JobsFolder;
use crate::job_file::setting::SecretText;
use crate::queue::{self, Concurrency, Timeouts, WorkError};
use crate::sources::AllowedRoots;
use crate::tasks::SourcesInUse;
use crate::tasks::perform::{Performer, RetryPolicy};
use crate::tasks::tokens::Sealing;

/// Tasks that wait for others use a slot and hardly anything else.
const WAITING_TASKS: usize = 4;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name in the ledger; the queue adds what makes it unique.
    pub name: String,
    /// Computing tasks at once.
    pub computing: usize,
    /// Which files job files may lead to.
    pub allowed_roots: AllowedRoots,
    /// The job files: they tell which runs follow others.
    pub jobs: Option<JobsFolder>,
    /// What tokens of login servers are sealed with, where they are stored.
    pub secret_key: Option<SecretText>,
    /// How failed tasks are tried again.
    pub retry: RetryPolicy,
    /// How long tasks under way may take once it is stopped.
    pub grace: Duration,
}

impl WorkerOptions {
    /// Connections that a worker's pool needs: one for each task at once, one to listen, one per
    /// queue to look for items, and a few for bookings.
    pub fn connections(computing: usize) -> u32 {
        // A server has 100 by default, and this process is not alone.
        (2 * computing + 3 * WAITING_TASKS + 5 + 5).min(60) as u32
    }
}

/// Works until `stop` resolves.
///
/// # Errors
/// When the queue cannot be worked on at all.
pub async fn run(
    pool: &PgPool,
    options: &WorkerOptions,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), WorkError> {
    let sources = SourcesInUse::new(options.allowed_roots.clone()).with_jobs(options.jobs.clone());
    let mut performer = Performer::new(pool.clone(), options.retry, options.computing, sources);
    if let Some(key) = &options.secret_key {
        performer = performer.with_sealing(Sealing::new(key.expose()));
    }
    let concurrency = Concurrency { computing: options.computing, waiting: WAITING_TASKS };
    let timeouts = Timeouts::default();
    queue::work(pool, &options.name, concurrency, timeouts, performer, options.grace, stop).await
}

/// A name for this process's worker: host and process number, for people who look at the ledger.
pub fn process_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}-{}", host.unwrap_or_else(|| "host".to_owned()), std::process::id())
}
