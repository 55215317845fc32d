//! Owns saying that the workers of this process live, whatever they are busy with.
//!
//! A worker that is only busy must not be considered dead, so a thread and a connection of their own say
//! it, and wait neither for the work nor for the pool nor for the disk. Of a worker that is stuck
//! no heartbeat is written, see [`Pulse`].
//!
//! Must not know what the workers do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Executor, PgPool};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::keepers::keep_at;
use super::pulse::Pulse;

/// Several times within the time after which a worker is considered dead.
const EVERY: Duration = Duration::from_secs(2);
/// A connection that takes longer to answer is given up for a new one.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);
/// Heartbeats need not be on disk; nor does it matter whose comes first.
const SESSION: &str = "set synchronous_commit = off;
    set default_transaction_isolation = 'read committed'";
/// A process whose other threads have done nothing for so long is not busy but stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Says that this process's workers live until it is dropped.
pub(super) struct Heartbeat {
    state: Arc<HeartbeatState>,
    stop: CancellationToken,
    _ticking: AbortOnDropHandle<()>,
}

struct HeartbeatState {
    /// The worker of each queue.
    workers: Mutex<Vec<Arc<Pulse>>>,
    since: Instant,
    /// When the process's own threads last had a turn, in seconds after `since`.
    last_tick: AtomicU64,
}

impl Heartbeat {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn start(pool: &PgPool) -> std::io::Result<Self> {
        let state = Arc::new(HeartbeatState {
            workers: Mutex::default(),
            since: Instant::now(),
            last_tick: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let options =
            PgConnectOptions::clone(&pool.connect_options()).application_name("kasparro heartbeat");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (of_thread, until) = (state.clone(), stop.clone());
        std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            let beat = keep_at("the heartbeat", || of_thread.beat(&options));
            runtime.block_on(until.run_until_cancelled(beat));
        })?;
        let ticking = {
            let state = state.clone();
            tokio::spawn(async move {
                loop {
                    state.last_tick.store(state.since.elapsed().as_secs(), Ordering::Relaxed);
                    sleep(EVERY).await;
                }
            })
        };
        Ok(Self { state, stop, _ticking: AbortOnDropHandle::new(ticking) })
    }

    /// From now on this worker has heartbeats.
    pub(super) fn enter(&self, worker: Arc<Pulse>) {
        self.state.workers().push(worker);
    }

    /// This worker has ended.
    pub(super) fn leave(&self, worker: &Arc<Pulse>) {
        self.state.workers().retain(|other| !Arc::ptr_eq(other, worker));
    }

    /// The workers that have not ended.
    pub(super) fn pulses(&self) -> Vec<Arc<Pulse>> {
        self.state.workers().clone()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl HeartbeatState {
    async fn beat(&self, options: &PgConnectOptions) {
        let mut connection = None;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.is_stuck() {
                tracing::error!(
                    "the process has done nothing for {} s; others may take its tasks over",
                    STUCK_AFTER.as_secs()
                );
                continue;
            }
            let said = timeout(ANSWERS_WITHIN, self.say(options, connection.take())).await;
            match said {
                Ok(Ok(answered)) => connection = Some(answered),
                Ok(Err(error)) => tracing::debug!(%error, "no heartbeat"),
                Err(_) => tracing::debug!("no heartbeat: the database does not answer"),
            }
        }
    }

    fn is_stuck(&self) -> bool {
        let last_tick = Duration::from_secs(self.last_tick.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last_tick) > STUCK_AFTER
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The workers that live.
    fn names(&self) -> Vec<String> {
        let workers = self.workers();
        let well = workers.iter().filter(|worker| worker.is_well());
        well.map(|worker| worker.worker().to_owned()).collect()
    }

    async fn say(
        &self,
        options: &PgConnectOptions,
        connection: Option<PgConnection>,
    ) -> Result<PgConnection, sqlx::Error> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let mut connection = options.connect().await?;
                connection.execute(SESSION).await?;
                connection
            }
        };
        let workers = self.names();
        sqlx::query!("update apalis.workers set last_seen = now() where id = any($1)", &workers)
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }
}
