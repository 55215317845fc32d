//! Owns the workers: one apalis worker per queue, started again when it ends or is stuck.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::prelude::{
    BackendBuilder, BoxDynError, Data, Event, Task, WorkerBuilder, WorkerBuilderExt, WorkerContext,
    WorkerError,
};
use futures::stream::BoxStream;
use futures::{FutureExt, SinkExt, StreamExt, sink};
use sqlx::PgPool;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use ulid::Ulid;

use super::ask::ask;
use super::delivery::Delivery;
use super::faults::{Faults, Pauses};
use super::heartbeat::Heartbeat;
use super::keepers::keep_at;
use super::listener::Listener;
use super::notify::notify;
use super::poll::{Items, Poller};
use super::presence::register;
use super::pulse::Pulse;
use super::upkeep;
use crate::domain::task::TaskKind;

/// A worker that stops does not wait for a database that is gone.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// A worker that was replaced is also considered dead in time.
const RELEASE_ATTEMPTS: usize = 10;
const RELEASE_AGAIN: Duration = Duration::from_secs(1);
/// A worker that lived for so long has not died of what the one before it died of.
const LONG: Duration = Duration::from_secs(120);

/// What is done with a delivery. It must end the lease one way or another.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Does the work. Must not panic: a panic strands the worker's other deliveries.
    fn handle(&self, delivery: Delivery) -> impl Future<Output = ()> + Send;
}

/// How many deliveries of each queue a process works on at once.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency {
    /// For tasks that compute: parsing and normalizing.
    pub computing: usize,
    /// For tasks that wait: planning, requests, snapshots.
    pub waiting: usize,
}

/// How long things may take that the database is asked on the queue's own behalf.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// A look for an item that takes longer is given up.
    pub look: Duration,
    /// A worker that has asked for nothing for so long, though it has room for more, is stuck and is
    /// started again. Longer than any look and the pause after it.
    pub stuck: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { look: Duration::from_secs(20), stuck: Duration::from_secs(60) }
    }
}

/// The workers stopped for a reason other than the signal.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The system refuses a thread.
    #[error("the queue workers cannot start")]
    Thread(#[from] std::io::Error),
}

impl Concurrency {
    fn of(self, kind: TaskKind) -> usize {
        if kind.computes() { self.computing } else { self.waiting }.max(1)
    }
}

/// Works on all queues until `stop` resolves, then lets deliveries under way finish for up to
/// `grace`. `process` names this process in the ledger.
///
/// # Errors
/// When the workers cannot start.
pub async fn work<H: Handler>(
    pool: &PgPool,
    process: &str,
    concurrency: Concurrency,
    timeouts: Timeouts,
    handler: H,
    grace: Duration,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), WorkError> {
    let listener = Arc::new(Listener::new());
    let heartbeat = Arc::new(Heartbeat::start(pool)?);
    let faults = Arc::new(Faults::default());
    let stopping = CancellationToken::new();
    let looks = TaskTracker::new();
    let listening = {
        let (listener, pool, faults) = (listener.clone(), pool.clone(), faults.clone());
        tokio::spawn(async move {
            keep_at("listening for items", || listener.listen(&pool, &faults)).await
        })
    };
    // Dropping the wait for the workers stops these, too.
    let _listening = AbortOnDropHandle::new(listening);
    let upkeep = {
        let (pool, heartbeat, faults) = (pool.clone(), heartbeat.clone(), faults.clone());
        tokio::spawn(async move {
            let keep = || upkeep::keep(pool.clone(), heartbeat.clone(), faults.clone());
            keep_at("the upkeep of the queue", keep).await
        })
    };
    let _upkeep = AbortOnDropHandle::new(upkeep);
    let mut queues = JoinSet::new();
    for kind in TaskKind::ALL.iter().copied() {
        let queue = Queue {
            pool: pool.clone(),
            process: process.to_owned(),
            kind,
            slots: concurrency.of(kind),
            timeouts,
            handler: handler.clone(),
            listener: listener.clone(),
            heartbeat: heartbeat.clone(),
            faults: faults.clone(),
            stop: stopping.clone(),
            looks: looks.clone(),
        };
        queues.spawn(async move { keep_at("a queue", || queue.serve()).await });
    }
    stop.await;
    stopping.cancel();
    let ending = async { while queues.join_next().await.is_some() {} };
    if timeout(grace, ending).await.is_err() {
        queues.shutdown().await;
    }
    // A look under way may still be given an item.
    looks.close();
    let _ = timeout(RELEASED_WITHIN, looks.wait()).await;
    let workers: Vec<_> =
        heartbeat.pulses().iter().map(|pulse| pulse.worker().to_owned()).collect();
    if let Err(error) = release(pool, &workers).await {
        tracing::debug!(%error, "what is left is taken over by others");
    }
    Ok(())
}

/// One queue, and its worker.
struct Queue<H> {
    pool: PgPool,
    process: String,
    kind: TaskKind,
    slots: usize,
    timeouts: Timeouts,
    handler: H,
    listener: Arc<Listener>,
    heartbeat: Arc<Heartbeat>,
    faults: Arc<Faults>,
    stop: CancellationToken,
    looks: TaskTracker,
}

impl<H: Handler> Queue<H> {
    /// Has one worker after the other until told to stop.
    async fn serve(&self) {
        let mut pauses = Pauses::new();
        while let Some(pulse) = self.next_worker().await {
            let began = Instant::now();
            let Some(why) = self.have_work(&pulse).await else { return };
            self.faults.meet_worker(pulse.worker(), &why);
            self.heartbeat.leave(&pulse);
            tokio::spawn(release_former(self.pool.clone(), pulse.worker().to_owned()));
            if began.elapsed() > LONG {
                pauses = Pauses::new();
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(pauses.next()) => {}
            }
        }
    }

    /// A worker with a name that was never used before, since a namesake's items would stay locked;
    /// `None` when it is time to stop. A database that refuses is asked again with a pause.
    async fn next_worker(&self) -> Option<Arc<Pulse>> {
        let name = format!("{}/{}/{}", self.process, self.kind, Ulid::generate());
        let mut pauses = Pauses::new();
        loop {
            let registered = tokio::select! {
                () = self.stop.cancelled() => return None,
                registered = ask(&self.pool, self.timeouts.look, async |connection| {
                    register(connection, &name, self.kind).await
                }) => registered,
            };
            let Err(error) = registered else { break };
            self.faults.meet("a queue worker cannot be registered", &error);
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(pauses.next()) => {}
            }
        }
        let pulse = Arc::new(Pulse::new(name, self.slots, self.timeouts.stuck));
        self.heartbeat.enter(pulse.clone());
        Some(pulse)
    }

    /// Works until stopped, or returns why the worker must be started again.
    async fn have_work(&self, pulse: &Arc<Pulse>) -> Option<String> {
        let asking = self.stop.child_token();
        // Dropped, it asks for no more.
        let _asks = asking.clone().drop_guard();
        let look = Poller {
            pool: self.pool.clone(),
            queue: self.kind,
            within: self.timeouts.look,
            pulse: pulse.clone(),
            inserted: self.listener.of(self.kind)?,
            faults: self.faults.clone(),
            stop: asking.clone(),
            looks: self.looks.clone(),
        };
        let backend = BackendBuilder::new().database(look).fetcher(items).sink(nowhere).build();
        let backend = match backend {
            Ok(backend) => backend,
            Err(error) => return Some(format!("cannot begin: {error}")),
        };
        let context = WorkerContext::new(pulse.worker());
        let hands = Hands { handler: self.handler.clone(), pulse: pulse.clone() };
        let events = WorkerBuilder::new(context.clone())
            .backend(backend)
            .concurrency(self.slots)
            .data(hands)
            .build(deliver::<H>)
            .stream()
            .boxed();
        let working = run(events, context, asking, pulse.clone());
        let mut working = AbortOnDropHandle::new(tokio::spawn(working));
        tokio::select! {
            worked = &mut working => match worked {
                Ok(Ok(())) if self.stop.is_cancelled() => None,
                Ok(Ok(())) => Some("ended".to_owned()),
                Ok(Err(error)) => Some(format!("ended: {error}")),
                Err(error) => Some(format!("ended: {error}")),
            },
            () = pulse.is_stuck() => {
                Some(format!("has asked for nothing for {} s", self.timeouts.stuck.as_secs()))
            }
        }
    }
}

/// Runs a worker until `stop` resolves and it has stopped.
async fn run(
    mut events: BoxStream<'static, Result<Event, WorkerError>>,
    context: WorkerContext,
    stop: CancellationToken,
    pulse: Arc<Pulse>,
) -> Result<(), WorkerError> {
    let mut turns = pulse.clone().turns().boxed();
    let mut told = false;
    loop {
        tokio::select! {
            // The first turn is the worker's: only who has begun can be stopped.
            biased;
            event = events.next() => match event {
                Some(event) => drop(event?),
                None => return Ok(()),
            },
            () = stop.cancelled(), if !told => {
                told = true;
                pulse.stops();
                context.stop()?;
            }
            never = &mut turns => match never {},
        }
    }
}

fn items(look: &mut Poller, (): &(), _: &WorkerContext) -> Items {
    look.items()
}

/// apalis lets workers put items into a queue, too; here none does.
fn nowhere(_: &mut Poller, (): &()) -> Nowhere {
    sink::drain().sink_map_err(|never| match never {})
}

type Nowhere =
    sink::SinkMapErr<sink::Drain<Task<Delivery>>, fn(std::convert::Infallible) -> JoinError>;

/// Puts back what workers that have stopped still hold: items that were fetched just before the end
/// and not started, and what was under way. Nobody needs to wait until they are considered dead.
async fn release(pool: &PgPool, workers: &[String]) -> Result<(), sqlx::Error> {
    ask(pool, RELEASED_WITHIN, async |connection| {
        let queues = sqlx::query_scalar!(
            "update apalis.jobs set
                status = 'Pending', lock_by = null, lock_at = now(), run_at = least(run_at, now())
             where lock_by = any($1) and status in ('Queued', 'Running')
             returning job_type",
            workers,
        )
        .fetch_all(&mut *connection)
        .await?;
        notify(connection, &queues).await
    })
    .await
}

/// The same of a worker that another has replaced. Its database may be what it died of.
async fn release_former(pool: PgPool, worker: String) {
    let workers = [worker];
    for _ in 0..RELEASE_ATTEMPTS {
        match release(&pool, &workers).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "a dead worker's items are not released yet"),
        }
        sleep(RELEASE_AGAIN).await;
    }
}

/// What a worker needs for each delivery.
#[derive(Clone)]
struct Hands<H> {
    handler: H,
    pulse: Arc<Pulse>,
}

async fn deliver<H: Handler>(delivery: Delivery, hands: Data<Hands<H>>) -> Result<(), BoxDynError> {
    let _under_way = hands.pulse.begin(&delivery.lease);
    hands.handler.handle(delivery).await;
    Ok(())
}
