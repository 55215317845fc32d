//! What kasparro depends on in apalis 1.0, so that an upgrade cannot change it silently. Seen
//! through `kasparro::queue`, with a handler that hands every delivery to the test.

use std::collections::BTreeSet;
use std::time::Duration;

use kasparro::domain::run::RunId;
use kasparro::domain::task::TaskKind;
use kasparro::queue::{self, Concurrency, Delivery, Handler, Lease, Timeouts};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::TestApp;

/// Long enough for a busy machine; a test that needs it has failed.
pub const TIMEOUT: Duration = Duration::from_secs(120);
const NOW: Duration = Duration::ZERO;

/// A delivery whose handler is at work until this is dropped.
#[derive(Debug)]
pub struct Held {
    pub delivery: Delivery,
    _at_work: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Reporter(UnboundedSender<Held>);

impl Handler for Reporter {
    async fn handle(&self, delivery: Delivery) {
        let (at_work, dropped) = oneshot::channel();
        // The test may have ended.
        let _ = self.0.send(Held { delivery, _at_work: at_work });
        let _ = dropped.await;
    }
}

impl Held {
    pub fn task(&self) -> &str {
        &self.delivery.message.as_ref().expect("a readable message").task
    }

    pub async fn complete(self, app: &TestApp) {
        let mut connection = app.pool.acquire().await.unwrap();
        self.delivery.lease.complete(&mut connection).await.unwrap();
    }

    async fn fail(self, app: &TestApp) {
        let mut connection = app.pool.acquire().await.unwrap();
        self.delivery.lease.fail(&mut connection).await.unwrap();
    }

    pub async fn release_in(self, app: &TestApp, delay: Duration) {
        let mut connection = app.pool.acquire().await.unwrap();
        self.delivery.lease.release(&mut connection, delay, false).await.unwrap();
    }

    pub async fn release(self, app: &TestApp, spent: bool) {
        let mut connection = app.pool.acquire().await.unwrap();
        self.delivery.lease.release(&mut connection, NOW, spent).await.unwrap();
    }

    async fn fence(&self, app: &TestApp) -> bool {
        let mut connection = app.pool.acquire().await.unwrap();
        self.delivery.lease.fence(&mut connection).await.unwrap()
    }
}

/// A worker process with one slot per queue and connections of its own.
pub struct Worker {
    deliveries: UnboundedReceiver<Held>,
    stop: oneshot::Sender<()>,
    working: JoinHandle<()>,
    pool: PgPool,
}

impl Worker {
    pub async fn start(app: &TestApp) -> Self {
        Self::with(app, Timeouts::default()).await
    }

    pub async fn with(app: &TestApp, timeouts: Timeouts) -> Self {
        let options = PgPoolOptions::new().max_connections(15);
        let pool = options.connect(app.database.url()).await.unwrap();
        let (report, deliveries) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let of_worker = pool.clone();
        let working = tokio::spawn(async move {
            let concurrency = Concurrency { computing: 1, waiting: 1 };
            let until = async { stopped.await.unwrap_or_default() };
            let (handler, grace) = (Reporter(report), TIMEOUT);
            let working =
                queue::work(&of_worker, "same", concurrency, timeouts, handler, grace, until);
            working.await.unwrap();
        });
        Self { deliveries, stop, working, pool }
    }

    pub async fn next(&mut self) -> Held {
        let next = tokio::time::timeout(TIMEOUT, self.deliveries.recv()).await;
        next.expect("a delivery in time").expect("a worker at work")
    }

    /// The next delivery, which is of this task and its nth attempt.
    pub async fn expect(&mut self, task: &str, attempt: i32) -> Held {
        let held = self.next().await;
        assert_eq!((held.task(), held.delivery.attempt), (task, attempt));
        held
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        // Deliveries that the test holds no more must not be waited for.
        drop(self.deliveries);
        tokio::time::timeout(TIMEOUT, self.working).await.expect("the worker stops").unwrap();
        self.pool.close().await;
    }
}

pub async fn enqueue(app: &TestApp, tasks: &[&str]) {
    let tasks: Vec<_> = tasks.iter().map(|t| ((*t).to_owned(), TaskKind::FetchPage)).collect();
    let mut connection = app.pool.acquire().await.unwrap();
    queue::enqueue(&mut connection, RunId(1), &tasks).await.unwrap();
}

pub async fn execute(app: &TestApp, statement: &'static str) {
    sqlx::query(statement).execute(&app.pool).await.unwrap();
}

/// Waits for what nothing announces.
pub async fn until(app: &TestApp, condition: &'static str) {
    let waiting = async {
        while !sqlx::query_scalar::<_, bool>(condition).fetch_one(&app.pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.expect(condition);
}

const STATUSES: &str = "select convert_from(job, 'UTF8')::json ->> 'task' || ' ' || status
    from apalis.jobs order by 1";
const JOBS: &str = "select j::text from apalis.jobs j order by 1";

#[tokio::test]
async fn a_released_item_comes_again_and_only_spent_tries_count() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["a"]).await;
    worker.expect("a", 1).await.release(&app, true).await;
    worker.expect("a", 2).await.release(&app, false).await;
    worker.expect("a", 2).await.release(&app, true).await;
    worker.expect("a", 3).await.complete(&app).await;
    assert_eq!(app.texts(STATUSES).await, ["a Done"]);
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn what_a_silent_worker_holds_is_taken_over_and_its_lease_is_worth_nothing() {
    let app = TestApp::empty().await;
    let mut first = Worker::start(&app).await;
    enqueue(&app, &["a"]).await;
    let stale = first.expect("a", 1).await;
    assert!(stale.fence(&app).await);
    // The first worker lives on and says so now and then: it is silenced until it is too late.
    let mut second = Worker::start(&app).await;
    let taken_over = loop {
        let silenced = sqlx::query(
            "update apalis.workers set last_seen = now() - interval '1 hour' where id = $1",
        );
        silenced.bind(stale.delivery.lease.worker()).execute(&app.pool).await.unwrap();
        let soon = Duration::from_millis(200);
        if let Ok(held) = tokio::time::timeout(soon, second.deliveries.recv()).await {
            break held.unwrap();
        }
    };
    assert_eq!((taken_over.task(), taken_over.delivery.attempt), ("a", 2));
    assert_ne!(taken_over.delivery.lease.worker(), stale.delivery.lease.worker());

    assert!(!stale.fence(&app).await);
    let before = app.texts(JOBS).await;
    let mut connection = app.pool.acquire().await.unwrap();
    let lease = stale.delivery.lease.clone();
    lease.release(&mut connection, NOW, true).await.unwrap();
    lease.complete(&mut connection).await.unwrap();
    lease.fail(&mut connection).await.unwrap();
    drop((connection, stale));
    assert_eq!(app.texts(JOBS).await, before);

    assert!(taken_over.fence(&app).await);
    taken_over.complete(&app).await;
    assert_eq!(app.texts(STATUSES).await, ["a Done"]);
    first.stop().await;
    second.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_whose_slots_are_all_busy_says_that_it_lives() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["a", "waits for a slot"]).await;
    let busy = worker.expect("a", 1).await;
    for _ in 0..2 {
        execute(&app, "update apalis.workers set last_seen = now() - interval '10 seconds'").await;
        until(
            &app,
            "select bool_and(last_seen > now() - interval '9 seconds') from apalis.workers
             where worker_type = 'fetch_page'",
        )
        .await;
    }
    assert!(busy.fence(&app).await);
    busy.complete(&app).await;
    worker.expect("waits for a slot", 1).await.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn items_that_cannot_be_read_are_delivered_as_such_and_stop_nobody() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    for payload in ["{\"garbage\": true}", "[]", "\"", "{\"run\": 1, ", "no JSON", "", "\u{0}"] {
        let insert = sqlx::query(
            "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at)
             values ($1, 'fetch_page', $2, 'Pending', 0, 25, now())",
        );
        let id = ulid::Ulid::generate().to_string();
        insert.bind(id).bind(payload.as_bytes()).execute(&app.pool).await.unwrap();
        let held = worker.next().await;
        assert!(held.delivery.message.is_err(), "{payload}: {:?}", held.delivery);
        held.fail(&app).await;
    }
    enqueue(&app, &["good"]).await;
    worker.expect("good", 1).await.complete(&app).await;
    let statuses = app.texts("select distinct status from apalis.jobs order by 1").await;
    assert_eq!(statuses, ["Done", "Killed"]);
    let workers = app.number("select count(*) from apalis.workers").await;
    assert_eq!(workers, TaskKind::ALL.len() as i64, "a worker was started again");
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_new_item_wakes_a_worker_that_would_look_only_once_a_second() {
    const ITEMS: usize = 20;
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["first"]).await;
    worker.expect("first", 1).await.complete(&app).await;
    let mut round_trips = Box::pin(async {
        for item in 0..ITEMS {
            let task = format!("item {item}");
            enqueue(&app, &[&task]).await;
            worker.expect(&task, 1).await.complete(&app).await;
        }
    });
    // As many looks as a worker without signals would need, or more.
    let mut looks = 0;
    let mut looking = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = &mut round_trips => break,
            _ = looking.tick() => looks += 1,
        }
    }
    drop(round_trips);
    assert!(looks < ITEMS / 2, "{looks}");
    worker.stop().await;
    app.database.close().await;
}

/// Workers begin to look where they last found something: nothing that lies before it may be lost.
#[tokio::test]
async fn items_that_come_to_lie_before_those_that_were_delivered_are_delivered_too() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["first"]).await;
    worker.expect("first", 1).await.complete(&app).await;
    let mut transaction = app.pool.begin().await.unwrap();
    let (mut left, mut tasks) = (BTreeSet::new(), Vec::new());
    for item in 0..20 {
        left.insert(format!("item {item}"));
        tasks.push((format!("item {item}"), TaskKind::FetchPage));
    }
    queue::enqueue(&mut transaction, RunId(1), &tasks).await.unwrap();
    sqlx::query(
        "update apalis.jobs set run_at = now() - interval '1 hour'
         where status = 'Pending' and idempotency_key > '1:item 15'",
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    while !left.is_empty() {
        let held = worker.next().await;
        assert!(left.remove(held.task()), "{held:?} was delivered twice");
        held.complete(&app).await;
    }
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn an_item_of_the_future_is_delivered_when_its_time_has_come() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    let mut transaction = app.pool.begin().await.unwrap();
    let task = ("later".to_owned(), TaskKind::FetchPage);
    queue::enqueue(&mut transaction, RunId(1), &[task]).await.unwrap();
    let postpone = sqlx::query("update apalis.jobs set run_at = now() + interval '1 hour'");
    postpone.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    for task in ["now", "now too"] {
        enqueue(&app, &[task]).await;
        worker.expect(task, 1).await.complete(&app).await;
    }
    // Nobody is told.
    execute(
        &app,
        "update apalis.jobs set run_at = now() + interval '1 s' where status = 'Pending'",
    )
    .await;
    let held = worker.expect("later", 1).await;
    let due = "select count(*) from apalis.jobs where status = 'Queued' and run_at <= now()";
    assert_eq!(app.number(due).await, 1);
    held.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn the_same_task_is_delivered_once_however_often_it_is_enqueued() {
    let app = TestApp::empty().await;
    enqueue(&app, &["a", "a"]).await;
    enqueue(&app, &["a", "b"]).await;
    let mut worker = Worker::start(&app).await;
    worker.expect("a", 1).await.complete(&app).await;
    enqueue(&app, &["a"]).await;
    worker.expect("b", 1).await.complete(&app).await;
    enqueue(&app, &["a", "b", "c"]).await;
    worker.expect("c", 1).await.complete(&app).await;
    assert_eq!(app.texts(STATUSES).await, ["a Done", "b Done", "c Done"]);
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn what_is_enqueued_in_a_transaction_that_fails_is_never_delivered() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    let mut transaction = app.pool.begin().await.unwrap();
    let task = ("never".to_owned(), TaskKind::FetchPage);
    queue::enqueue(&mut transaction, RunId(1), &[task]).await.unwrap();
    enqueue(&app, &["a"]).await;
    worker.expect("a", 1).await.complete(&app).await;
    transaction.rollback().await.unwrap();
    enqueue(&app, &["b"]).await;
    worker.expect("b", 1).await.complete(&app).await;
    assert_eq!(app.texts(STATUSES).await, ["a Done", "b Done"]);
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn two_workers_never_work_on_the_same_item() {
    let app = TestApp::empty().await;
    let (mut one, mut two) = (Worker::start(&app).await, Worker::start(&app).await);
    let tasks: Vec<_> = (0..200).map(|n| format!("item {n}")).collect();
    enqueue(&app, &tasks.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // Both are at work at once …
    let (a, b) = (one.next().await, two.next().await);
    assert_ne!(a.delivery.lease.worker(), b.delivery.lease.worker());
    let mut seen = BTreeSet::new();
    for held in [a, b] {
        assert!(seen.insert(held.task().to_owned()));
        held.complete(&app).await;
    }
    // … and nothing is delivered twice.
    while seen.len() < tasks.len() {
        let held = tokio::select! {
            held = one.next() => held,
            held = two.next() => held,
        };
        assert_eq!(held.delivery.attempt, 1);
        assert!(seen.insert(held.task().to_owned()), "{} came twice", held.task());
        held.complete(&app).await;
    }
    enqueue(&app, &["last"]).await;
    tokio::select! {
        held = one.expect("last", 1) => held.complete(&app).await,
        held = two.expect("last", 1) => held.complete(&app).await,
    }
    assert_eq!(app.number("select count(*) from apalis.jobs where status = 'Done'").await, 201);
    one.stop().await;
    two.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_finished_item_is_never_delivered_again() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["done", "failed"]).await;
    worker.expect("done", 1).await.complete(&app).await;
    worker.expect("failed", 1).await.fail(&app).await;
    worker.stop().await;
    // Not even when who finished it is taken for dead.
    execute(&app, "update apalis.workers set last_seen = now() - interval '1 hour'").await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["next"]).await;
    worker.expect("next", 1).await.complete(&app).await;
    assert_eq!(app.texts(STATUSES).await, ["done Done", "failed Killed", "next Done"]);
    let ended = "select count(*) from apalis.jobs where done_at is not null";
    assert_eq!(app.number(ended).await, 3);
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_lets_its_delivery_finish() {
    let app = TestApp::empty().await;
    let mut worker = Worker::start(&app).await;
    enqueue(&app, &["under way", "left"]).await;
    let held = worker.expect("under way", 1).await;
    let stopping = tokio::spawn(worker.stop());
    assert!(held.fence(&app).await);
    held.complete(&app).await;
    stopping.await.unwrap();
    // The other was left alone, or handed back: that counts as an attempt.
    until(&app, "select count(*) = 1 from apalis.jobs where status = 'Pending'").await;
    let mut worker = Worker::start(&app).await;
    let left = worker.next().await;
    assert_eq!(left.task(), "left");
    left.complete(&app).await;
    worker.stop().await;
    app.database.close().await;
}

#[tokio::test]
async fn worker_names_differ_at_each_registration() {
    let app = TestApp::empty().await;
    for workers in 1..=2 {
        let worker = Worker::start(&app).await;
        let registered = async {
            let expected = workers * TaskKind::ALL.len() as i64;
            while app.number("select count(*) from apalis.workers").await < expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, registered).await.expect("every name is new");
        worker.stop().await;
    }
    let names = app.texts("select id from apalis.workers").await;
    assert!(names.iter().all(|name| name.starts_with("same/")), "{names:?}");
    app.database.close().await;
}

const SETTINGS: &str = "select unnest(proconfig) from pg_proc
    where oid = 'apalis.get_jobs(text, text, integer)'::regprocedure order by 1";

#[tokio::test]
async fn setting_up_makes_fetching_use_the_index_and_may_be_done_again_and_at_once() {
    let app = TestApp::empty().await;
    let settings = ["enable_hashjoin=off", "enable_mergejoin=off", "enable_seqscan=off"];
    assert_eq!(app.texts(SETTINGS).await, settings);
    execute(&app, "alter function apalis.get_jobs(text, text, integer) reset all").await;
    let setup = || async { queue::setup(&app.pool).await.unwrap() };
    tokio::join!(setup(), setup(), setup(), setup());
    assert_eq!(app.texts(SETTINGS).await, settings);
    setup().await;
    assert_eq!(app.texts(SETTINGS).await, settings);
    // From nothing, too.
    execute(&app, "drop schema apalis cascade").await;
    tokio::join!(setup(), setup(), setup(), setup());
    assert_eq!(app.texts(SETTINGS).await, settings);
    app.database.close().await;
}

/// Rows of the queue that this transaction has looked at.
const LOOKED_AT: &str = "select idx_tup_fetch + seq_tup_read from pg_stat_xact_all_tables
                         where relid = 'apalis.jobs'::regclass";

#[tokio::test]
async fn a_claim_is_found_by_its_item_however_much_its_worker_has_done() {
    let app = TestApp::empty().await;
    let mut connection = app.pool.acquire().await.unwrap();
    let tasks: Vec<_> = (0..2_000).map(|task| (task.to_string(), TaskKind::FetchPage)).collect();
    queue::enqueue(&mut connection, RunId(1), &tasks).await.unwrap();
    // What the planner knows is of before the worker was there, as it is with each new worker.
    sqlx::raw_sql(
        "analyze apalis.jobs;
         insert into apalis.workers (id, worker_type, storage_name) values ('w', 'any', 'any');
         update apalis.jobs set status = 'Done', lock_by = 'w', lock_at = now()",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    let job: String = sqlx::query_scalar("select max(id) from apalis.jobs")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    let running = "update apalis.jobs set status = 'Running' where id = $1";
    sqlx::query(running).bind(&job).execute(&mut *connection).await.unwrap();
    let lease = Lease::new(job, "w".to_owned(), 0);
    let mut transaction = connection.begin().await.unwrap();
    let looked_at = async |connection: &mut PgConnection| -> i64 {
        sqlx::query_scalar(LOOKED_AT).fetch_one(connection).await.unwrap()
    };
    let before = looked_at(&mut transaction).await;
    assert!(lease.fence(&mut transaction).await.unwrap());
    lease.release(&mut transaction, NOW, true).await.unwrap();
    lease.complete(&mut transaction).await.unwrap();
    let rows = looked_at(&mut transaction).await - before;
    assert!(rows <= 10, "{rows} rows of the queue");
}
