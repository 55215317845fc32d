//! `after`: a run of one source that ends well starts one of another, and none is missed.

use chrono::Utc;
use kasparro::db::due_runs::{self, DueRun, EVERY};
use kasparro::domain::run::{Mode, RunId, RunStatus};
use kasparro::scheduler;
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::app::{TestApp, request};
use crate::process::call;
use crate::shuffle::Shuffle;

const RUNS: &str = "select source || ' ' || trigger || ' ' || coalesce(idempotency_key, '-') \
                    from etl_runs order by id";
const DUE: &str = "select source || ' ' || after || ' ' || run_id from due_runs order by 1";

/// The job file of a source that reads `a.csv`.
fn job(keys: &str) -> String {
    format!("kind = \"csv\"\n{keys}\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n")
}

/// Sources by what their job files say.
async fn app(sources: &[(&str, &str)]) -> TestApp {
    let app = TestApp::empty().await;
    for (name, keys) in sources {
        app.write(&format!("{name}.toml"), job(keys));
    }
    app.write("a.csv", "id,name\n1,one\n");
    app
}

impl TestApp {
    async fn look(&self) {
        scheduler::tick(&self.pool, &self.jobs(), Access::Offline, Utc::now()).await;
    }
}

#[tokio::test]
async fn a_run_that_ends_well_starts_those_that_follow_it_and_those_that_follow_them() {
    let app = app(&[
        ("items", ""),
        ("children", "after = [\"others\", \"items\"]"),
        ("grandchildren", "after = [\"children\"]"),
        ("others", ""),
    ])
    .await;
    app.run("items").await;
    let expected =
        ["items api -", "children after after:items:1", "grandchildren after after:children:2"];
    assert_eq!(app.texts(RUNS).await, expected);
    // A run that finds nothing new has ended well too.
    let last = app.run("items").await;
    assert!(last.status.is_success(), "{last:?}");
    assert_eq!(app.texts(RUNS).await.len(), 6);
    assert!(app.texts(DUE).await.is_empty());
    let shown = call(&app, &["runs", "show", "2"]).await;
    shown.code(0).prints(&["by after"]);
    call(&app, &["sources", "show", "children"]).await.code(0).prints(&["others, items"]);
    app.database.close().await;
}

#[tokio::test]
async fn dry_runs_replays_and_runs_that_do_not_end_well_start_nothing() {
    let app = app(&[("items", ""), ("children", "after = [\"items\"]")]).await;
    let dry = RunRequest { dry_run: true, ..request(Mode::Incremental) };
    assert!(app.run_as("items", &dry).await.status.is_success());
    app.write("items.toml", job("checks = { min_rows = 2 }"));
    assert_eq!(app.run("items").await.status, RunStatus::Degraded);
    app.write("items.toml", job("contract = { new_field = \"freeze\" }").replace("a.csv", "b.csv"));
    app.write("b.csv", "id,name,more\n1,one,1\n");
    assert_eq!(app.run("items").await.status, RunStatus::Failed);
    assert_eq!(app.run_mode("items", Mode::Replay).await.mode, Mode::Replay);
    assert_eq!(app.number("select count(*) from etl_runs where trigger = 'after'").await, 0);
    assert!(app.texts(DUE).await.is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn a_run_under_way_is_followed_by_another_one() {
    let app = app(&[("items", ""), ("children", "after = [\"items\"]")]).await;
    app.start("children", Mode::Incremental).await;
    let later = "update apalis.jobs set run_at = run_at + $1 * interval '1 hour'";
    sqlx::query(later).bind(1_f64).execute(&app.pool).await.unwrap();
    app.start("items", Mode::Incremental).await;
    let ended = async {
        while app.texts(DUE).await != ["children items 2"] {
            tokio::task::yield_now().await;
        }
        let open = format!("{later}, status = 'Pending' where status = 'Pending'");
        sqlx::query(sqlx::AssertSqlSafe(open)).bind(-1_f64).execute(&app.pool).await.unwrap();
    };
    tokio::join!(app.drain(), ended);
    let expected = ["children api -", "items api -", "children after after:items:2"];
    assert_eq!(app.texts(RUNS).await, expected);
    assert!(app.texts(DUE).await.is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn what_follows_starts_once_its_source_is_not_paused_any_more() {
    let app = app(&[("items", ""), ("children", "after = [\"items\"]")]).await;
    app.pause("children").await;
    app.run("items").await;
    app.run("items").await;
    app.look().await;
    assert_eq!(app.texts(RUNS).await, ["items api -", "items api -"]);
    assert_eq!(app.texts(DUE).await, ["children items 2"]);
    app.resume("children").await;
    tokio::join!(app.look(), app.look(), app.look());
    app.drain().await;
    app.look().await;
    let expected = ["items api -", "items api -", "children after after:items:2"];
    assert_eq!(app.texts(RUNS).await, expected);
    assert!(app.texts(DUE).await.is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn a_job_file_that_cannot_be_read_is_made_up_for_when_it_can() {
    let app = app(&[("items", ""), ("other", "")]).await;
    for name in ["children", "stranger", "gone"] {
        app.write(&format!("{name}.toml"), "kind = ");
    }
    app.run("items").await;
    app.look().await;
    assert_eq!(app.texts(RUNS).await.len(), 1);
    app.write("children.toml", job("after = [\"items\"]"));
    app.write("stranger.toml", job("after = [\"other\"]"));
    std::fs::remove_file(app.path("gone.toml")).unwrap();
    app.look().await;
    app.drain().await;
    assert_eq!(app.texts(RUNS).await, ["items api -", "children after after:items:1"]);
    assert!(app.texts(DUE).await.is_empty());
    // What a worker notes that has no job files.
    let mut connection = app.pool.acquire().await.unwrap();
    let due = DueRun { source: EVERY.to_owned(), after: "other".to_owned(), run: RunId(7) };
    due_runs::note(&mut connection, &due).await.unwrap();
    app.look().await;
    app.drain().await;
    assert_eq!(app.texts(RUNS).await[2..], ["stranger after after:other:7"]);
    assert!(app.texts(DUE).await.is_empty());
    drop(connection);
    app.database.close().await;
}

#[tokio::test]
async fn in_any_order_of_tasks_and_crashes_a_run_starts_after_the_last_end() {
    for seed in 0..6 {
        let app = app(&[("a", ""), ("b", ""), ("c", "after = [\"a\", \"b\"]")]).await;
        for source in ["a", "b", "c"] {
            app.start(source, Mode::Incremental).await;
        }
        let shuffle = Shuffle::new(&app, 1 + seed as usize % 3).await;
        shuffle.all(&mut StdRng::seed_from_u64(seed)).await;
        let followed = "select max(c.id) from etl_runs as c where c.source = 'c'
                        and c.started_at >= all (select finished_at from etl_runs where source <> 'c')";
        let shown = app.texts(RUNS).await;
        assert!(app.number(followed).await >= 4, "seed {seed}: {shown:?}");
        let ended = "select count(*) from etl_runs where status like 'success%'";
        let runs = app.texts(RUNS).await.len();
        assert!(runs == 4 || runs == 5, "{runs} runs");
        assert_eq!(app.number(ended).await, runs as i64);
        assert!(app.texts(DUE).await.is_empty());
        app.database.close().await;
    }
}

#[tokio::test]
async fn circles_and_unknown_sources_are_refused_and_never_run_in_circles() {
    let app = app(&[
        ("a", "after = [\"b\"]"),
        ("b", "after = [\"a\"]"),
        ("c", "after = [\n  \"a\",\n  \"itmes\",\n]"),
        ("items", ""),
    ])
    .await;
    let checked = call(&app, &["check"]).await;
    checked.code(1).prints(&[
        "a.toml:2: after[0]: a circle, whose runs would never end: a after b after a",
        "b.toml:2: after[0]: a circle",
        "c.toml:4: after[1]: there is no source \"itmes\"; did you mean `items`?",
    ]);
    app.run("a").await;
    assert_eq!(app.texts(RUNS).await, ["a api -", "c after after:a:1"]);
    app.database.close().await;
}
