//! Runs that were under way when an earlier kasparro was stopped go on where they were.

use kasparro::db::run_tasks;
use kasparro::domain::actor::Actor;
use kasparro::domain::counters::Counters;
use kasparro::domain::run::{RunId, RunStatus};
use kasparro::queue;
use kasparro::tasks::retry_run::{RetryOutcome, retry_run};
use sqlx::{AssertSqlSafe, PgPool};

use super::hashes::{LOADED, PAGES};
use super::{app_of, migrate};
use crate::app::TestApp;

/// Run 3 reads all of `items` again, as run 1 did, and has not normalized it yet. Run 4 does so with
/// `pages`: the first page is read, the second could not be.
const UNDER_WAY: &str = "
    insert into etl_runs (id, source, status, mode, trigger, access, config_hash, schema_version,
        from_empty, key_order, started_at, open_tasks, dead_tasks, slices, bytes, rows_read, moves,
        moved_at, tasks) overriding system value
    select id + 2, source, 'running', 'full', trigger, access, config_hash, 1, false, key_order, now(),
        2, id - 1, 1, 61, 6 - 2 * id, 2 + id, now(), 3 + id
    from etl_runs;
    select setval('etl_runs_id_seq', 4, true);
    insert into run_tasks (run_id, task_key, kind, state, first_slice, last_slice, payload, attempt,
        worker, done_at, error, result, slices, bytes, rows_read, last_move)
    select run_id + 2, task_key, kind,
        case when task_key = 'fetch_page:1' then 'dead' else 'done' end, first_slice, last_slice,
        payload, attempt, worker, done_at, case when task_key = 'fetch_page:1' then 'HTTP 404' end,
        case when task_key <> 'fetch_page:1' then result end,
        case when task_key <> 'fetch_page:1' then slices else 0 end,
        case when task_key <> 'fetch_page:1' then bytes else 0 end,
        case when task_key <> 'fetch_page:1' then rows_read else 0 end, last_move
    from run_tasks where kind in ('plan_run', 'fetch_page', 'parse_csv_chunk');
    insert into run_tasks (run_id, task_key, kind, first_slice, last_slice, payload)
    select run_id + 2, task_key, kind, first_slice, last_slice, payload
    from run_tasks where run_id < 3 and task_key in ('normalize_batch:0', 'snapshot_schema');
    insert into run_moves
    select id, moves - back, moved_at, tasks, open_tasks, 0, dead_tasks, slices, bytes, rows_read, 0, 0, 0,
        0, 0
    from etl_runs cross join generate_series(0, 1) as back where id > 2";

/// What earlier versions had put into the queue and nobody has ended.
async fn enqueue_open(pool: &PgPool) {
    let open = "select run_id, task_key, kind from run_tasks where state = 'open'";
    let open: Vec<(i64, String, String)> = sqlx::query_as(open).fetch_all(pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    for (run, task, kind) in open {
        let task = [(task, kind.parse().unwrap())];
        queue::enqueue(&mut connection, RunId(run), &task).await.unwrap();
    }
}

/// A database of an earlier version whose processes were stopped, upgraded.
async fn stopped_at(version: i64) -> TestApp {
    let app = app_of(11).await;
    sqlx::raw_sql(LOADED).execute(&app.pool).await.unwrap();
    migrate(&app.pool, 12, version).await;
    sqlx::raw_sql(UNDER_WAY).execute(&app.pool).await.unwrap();
    migrate(&app.pool, version + 1, i64::MAX).await;
    let here = app.folder.path().display();
    let here = format!("update source_definitions set path = '{here}/' || source || '.toml'");
    sqlx::raw_sql(AssertSqlSafe(here)).execute(&app.pool).await.unwrap();
    for (number, page) in (1..).zip(PAGES) {
        app.write(&format!("recordings/pages/page-{number:04}.json"), page);
    }
    // An extension that the queue needs went with the schema.
    sqlx::raw_sql("drop schema apalis cascade").execute(&app.pool).await.unwrap();
    queue::setup(&app.pool).await.unwrap();
    enqueue_open(&app.pool).await;
    app
}

async fn goes_on_from(version: i64) {
    let app = stopped_at(version).await;
    let failed = run_tasks::unfinished(&app.pool, RunId(4), 10).await.unwrap();
    assert_eq!(failed[0].task_key, "fetch_page:1", "{failed:?}");
    assert_eq!((&*failed[0].state, failed.len()), ("failed", 3), "{failed:?}");

    app.drain().await;
    let items = app.get(RunId(3)).await;
    let expected = Counters {
        slices: 1,
        bytes: 61,
        rows_read: 4,
        unchanged: 3,
        quarantined: 1,
        ..Counters::default()
    };
    assert!(items.status.is_success(), "from {version}: {items:?}");
    assert_eq!(items.counters, expected, "from {version}");

    let pages = app.get(RunId(4)).await;
    assert_eq!((pages.status, pages.failed_tasks), (RunStatus::Failed, 1), "from {version}");
    let mut transaction = app.pool.begin().await.unwrap();
    let ann = Actor::command_line("ann");
    let outcome = retry_run(&mut transaction, RunId(4), &ann).await.unwrap();
    assert!(matches!(outcome, RetryOutcome::Retried(..)), "from {version}: {outcome:?}");
    transaction.commit().await.unwrap();
    app.drain().await;
    let pages = app.get(RunId(4)).await;
    assert!(pages.status.is_success(), "from {version}: {pages:?}");
    let Counters { rows_read, unchanged, quarantined, .. } = pages.counters;
    assert_eq!((rows_read, unchanged, quarantined), (3, 2, 1), "from {version}");
    assert_eq!(app.number("select count(*) from unified_records").await, 5, "from {version}");
    app.database.close().await;
}

#[tokio::test]
async fn runs_under_way_are_continued_from_each_earlier_migration() {
    for version in 11..=17 {
        goes_on_from(version).await;
    }
}
