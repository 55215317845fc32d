//! Delivers what is queued in an order that a test draws: late, twice, several at once, and to
//! workers that were taken for dead.

use std::time::Duration;

use kasparro::queue::{Delivery, Handler, Lease, Message};
use kasparro::tasks::SourcesInUse;
use kasparro::tasks::perform::Performer;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::app::TestApp;

/// Long enough for a busy machine; a test that needs it has failed.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The worker that takes over comes second.
const WORKERS: [&str; 2] = ["first", "second"];

pub struct Shuffle<'a> {
    app: &'a TestApp,
    at_once: usize,
    /// Two processes: what one of them has at hand the other must read from the database.
    performers: [Performer; 2],
}

/// What a worker was told when it got an item; it may be told so again.
#[derive(Clone)]
struct Claim {
    job: String,
    message: Message,
    worker: &'static str,
    attempts_before: i32,
}

impl Claim {
    fn delivery(&self) -> Delivery {
        Delivery {
            lease: Lease::new(self.job.clone(), self.worker.to_owned(), self.attempts_before),
            message: Ok(self.message.clone()),
            attempt: self.attempts_before + 1,
            begun: std::time::Instant::now(),
        }
    }
}

impl<'a> Shuffle<'a> {
    /// Performs up to `at_once` deliveries at once. With one, the dice decide about everything.
    pub async fn new(app: &'a TestApp, at_once: usize) -> Self {
        Self::with_sources(app, at_once, SourcesInUse::default().with_jobs(Some(app.jobs()))).await
    }

    /// The same with other sources.
    pub async fn with_sources(app: &'a TestApp, at_once: usize, sources: SourcesInUse) -> Self {
        for worker in WORKERS {
            // Without a heartbeat: there is nobody else who could take it for dead.
            let register = "insert into apalis.workers (id, worker_type, storage_name)
                            values ($1, 'any', 'any') on conflict do nothing";
            sqlx::query(register).bind(worker).execute(&app.pool).await.unwrap();
        }
        let performer = || Performer::new(app.pool.clone(), app.retry, at_once, sources.clone());
        Self { app, at_once, performers: [performer(), performer()] }
    }

    /// Performs the only item that is queued, once.
    pub async fn one(&self) {
        let claims = self.waiting().await;
        let [claim] = claims.as_slice() else { panic!("{} items", claims.len()) };
        self.lock(claim).await;
        self.performers[0].handle(claim.delivery()).await;
    }

    /// Performs the only item that is queued until something is so, and then takes its worker for dead: the
    /// item is queued again.
    pub async fn one_killed_when(&self, is_so: impl AsyncFn() -> bool) {
        let claims = self.waiting().await;
        let [claim] = claims.as_slice() else { panic!("{} items", claims.len()) };
        self.lock(claim).await;
        let performing = self.performers[0].handle(claim.delivery());
        let watching = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = performing => panic!("it ends"),
            () = watching => {}
        }
        let put_back = "update apalis.jobs set status = 'Pending', lock_by = null,
                        attempts = attempts + 1 where id = $1";
        sqlx::query(put_back).bind(&claim.job).execute(&self.app.pool).await.unwrap();
    }

    /// Performs what is queued, and what is queued meanwhile, until nothing is left.
    pub async fn all(&self, dice: &mut StdRng) {
        let performing = self.perform_all(dice);
        tokio::time::timeout(TIMEOUT, performing).await.expect("the queue drains");
    }

    async fn perform_all(&self, dice: &mut StdRng) {
        let mut handed_out: Vec<Claim> = Vec::new();
        let mut under_way = JoinSet::new();
        loop {
            let waiting = self.waiting().await;
            let choices = waiting.len() + handed_out.len();
            if choices > 0 && under_way.len() < self.at_once {
                let choice = dice.random_range(0..choices);
                if let Some(claim) = waiting.get(choice) {
                    handed_out.extend(self.hand_out(claim.clone(), dice).await);
                    continue;
                }
                let claim = handed_out.swap_remove(choice - waiting.len());
                let performer = self.performers[dice.random_range(0..2)].clone();
                let delivery = claim.delivery();
                under_way.spawn(async move { performer.handle(delivery).await });
                if dice.random_ratio(1, 8) {
                    handed_out.push(claim);
                }
            } else if let Some(performed) = under_way.join_next().await {
                performed.expect("performing does not panic");
            } else {
                return;
            }
        }
    }

    /// The items that nobody has, in the order of their tasks. Those that are to be tried later are
    /// tried now.
    async fn waiting(&self) -> Vec<Claim> {
        let query = "select id, job, attempts from apalis.jobs where status = 'Pending'
                     order by job_type, job";
        let items: Vec<(String, Vec<u8>, i32)> =
            sqlx::query_as(query).fetch_all(&self.app.pool).await.unwrap();
        let claim = |(job, message, attempts_before): (String, Vec<u8>, i32)| {
            let message = serde_json::from_slice(&message).expect("a message of ours");
            Claim { job, message, worker: WORKERS[0], attempts_before }
        };
        items.into_iter().map(claim).collect()
    }

    /// Hands an item to a worker, or to one that is taken for dead and to the next.
    async fn hand_out(&self, claim: Claim, dice: &mut StdRng) -> Vec<Claim> {
        self.lock(&claim).await;
        if !dice.random_ratio(1, 8) {
            return vec![claim];
        }
        let taken_over = Claim {
            worker: WORKERS[1],
            attempts_before: claim.attempts_before + 1,
            ..claim.clone()
        };
        self.lock(&taken_over).await;
        vec![claim, taken_over]
    }

    async fn lock(&self, claim: &Claim) {
        let lock = "update apalis.jobs
                    set status = 'Queued', lock_by = $2, lock_at = now(), attempts = $3
                    where id = $1";
        let lock =
            sqlx::query(lock).bind(&claim.job).bind(claim.worker).bind(claim.attempts_before);
        lock.execute(&self.app.pool).await.unwrap();
    }
}
