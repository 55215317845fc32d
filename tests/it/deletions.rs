//! Records that their source does not show any more: marked as deleted by runs that have read everything, not by
//! others, and never too many at once.

use std::fs::{File, FileTimes};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use kasparro::domain::actor::Actor;
use kasparro::domain::run::{Mode, RunId, RunStatus};
use kasparro::sources::Access;
use kasparro::tasks::accept_deletions::{AcceptOutcome, accept_deletions};
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::fake_api::{FakeApi, Mood};
use crate::file_formats::gzip;

const STANDS: &str =
    "select external_id || case when deleted_at is null then '' else ' deleted' end
    from unified_records order by external_id";

fn files(more: &str, missing: &str) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"data/*.csv\"]\n{more}\n[csv]\n\
         [fields]\nname = {{}}\nprice = {{ type = \"decimal\" }}\n\
         [missing]\naction = \"tombstone\"\nmax_ratio = 0.5\n{missing}\n"
    )
}

fn rows(ids: impl IntoIterator<Item = u32>) -> String {
    let lines = ids.into_iter().map(|id| format!("{id},name {id},1\n"));
    format!("id,name,price\n{}", lines.collect::<String>())
}

async fn app(more: &str, missing: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("shop.toml", files(more, missing));
    app
}

fn note(run: &kasparro::db::runs::Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_record_that_a_complete_run_lacks_is_marked_and_comes_back_as_an_update() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=5));
    app.run("shop").await;
    app.write("data/a.csv", rows([1, 2, 4, 5]));
    let run = app.run("shop").await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    assert!(note(&run).contains("1 record marked as deleted"), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3 deleted", "4", "5"]);
    let kept = "select name || ' ' || price || ' ' || last_run_id from unified_records where external_id = '3'";
    assert_eq!(app.texts(kept).await, ["name 3 1 2"]);
    // It says what it said before: an update all the same.
    app.write("data/a.csv", rows(1..=5));
    let run = app.run("shop").await;
    assert_eq!((run.counters.updated, run.counters.unchanged), (1, 4), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(app.number("select count(*) from seen_keys").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_run_that_has_not_read_everything_marks_nothing() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=5));
    app.write("data/b.csv", rows(6..=9));
    app.run("shop").await;
    // One file is as it was, and not read: its records are not missing, and nobody asks for those of the other.
    app.write("data/a.csv", rows(1..=4));
    let run = app.run("shop").await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(app.texts(STANDS).await.len(), 9);
    assert_eq!(app.number("select count(*) from missing_records").await, 0);
    // A file that cannot be read.
    app.write("data/b.csv", "other\nx\n");
    app.run_mode("shop", Mode::Full).await;
    assert!(app.texts(STANDS).await.iter().all(|stands| !stands.contains("deleted")));
    // What one of them has, and then everything.
    app.write("data/b.csv", rows(6..=8));
    let run = app.run_mode("shop", Mode::Full).await;
    assert!(note(&run).contains("2 records marked as deleted"), "{run:?}");
    let marked = app.texts(STANDS).await;
    assert_eq!((marked[4].as_str(), marked[8].as_str()), ("5 deleted", "9 deleted"));
    app.database.close().await;
}

#[tokio::test]
async fn a_quarantined_row_is_not_missing_and_one_without_a_key_may_be_any() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=5));
    app.run("shop").await;
    app.write("data/a.csv", rows(1..=3) + "4,name 4,cheap\n");
    let run = app.run("shop").await;
    assert_eq!(run.counters.quarantined, 1);
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4", "5 deleted"]);
    app.write("data/a.csv", rows(1..=2) + "3,name 3\n");
    let run = app.run("shop").await;
    assert!(note(&run).contains("have no key that can be read"), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4", "5 deleted"]);
    app.database.close().await;
}

#[tokio::test]
async fn too_many_at_once_are_held_back_until_they_are_accepted() {
    for (missing, limit) in [("", "max_ratio = 0.5"), ("max_rows = 3", "max_rows = 3")] {
        let app = app("", missing).await;
        app.write("data/a.csv", rows(1..=9));
        app.run("shop").await;
        app.write("data/a.csv", rows(1..=3));
        let run = app.run("shop").await;
        assert_eq!(run.status, RunStatus::Degraded, "{run:?}");
        let said = format!("6 of 9 records are missing, more than {limit} of `[missing]`");
        assert!(note(&run).starts_with(&said), "{run:?}");
        assert!(note(&run).contains("`kasparro runs accept-deletions 2`"), "{run:?}");
        assert!(app.texts(STANDS).await.iter().all(|stands| !stands.contains("deleted")));
        crate::process::call(&app, &["runs", "accept-deletions", "1"]).await.code(1);
        crate::process::call(&app, &["runs", "accept-deletions", "2"]).await.code(0);
        let stands = app.texts(STANDS).await;
        assert_eq!(stands[3..], ["4", "5", "6", "7", "8", "9"].map(|id| format!("{id} deleted")));
        assert!(
            note(&app.get(RunId(2)).await).contains("6 records marked as deleted, accepted by")
        );
        // Once.
        let mut transaction = app.pool.begin().await.unwrap();
        let again = accept_deletions(&mut transaction, RunId(2), &Actor::command_line("ann")).await;
        assert!(matches!(again.unwrap(), AcceptOutcome::NothingHeldBack(_)));
        drop(transaction);
        app.database.close().await;
    }
}

#[tokio::test]
async fn deletions_are_not_accepted_once_a_later_run_may_have_seen_the_records() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=9));
    app.run("shop").await;
    app.write("data/a.csv", rows(1..=3));
    assert_eq!(app.run("shop").await.status, RunStatus::Degraded);
    app.write("data/a.csv", rows(1..=9));
    app.run_mode("shop", Mode::Full).await;
    let mut transaction = app.pool.begin().await.unwrap();
    let outcome = accept_deletions(&mut transaction, RunId(2), &Actor::command_line("ann")).await;
    assert!(matches!(outcome.unwrap(), AcceptOutcome::Superseded(RunId(3))));
    drop(transaction);
    assert_eq!(app.number("select count(*) from missing_records").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_record_is_marked_after_as_many_complete_runs_in_a_row_as_are_asked_for() {
    let app = app("", "after_sweeps = 2").await;
    app.write("data/a.csv", rows(1..=5));
    app.run("shop").await;
    app.write("data/a.csv", rows(1..=4));
    let run = app.run("shop").await;
    assert!(note(&run).contains("1 record missing, 0 marked"), "{run:?}");
    app.write("data/a.csv", rows(2..=5));
    app.run("shop").await;
    // 1 is missing for the first time, 5 was seen again.
    app.write("data/a.csv", rows(2..=4));
    app.run("shop").await;
    assert_eq!(app.texts(STANDS).await, ["1 deleted", "2", "3", "4", "5"]);
    app.database.close().await;
}

#[tokio::test]
async fn the_records_of_a_file_that_is_gone_are_marked_where_that_is_asked_for() {
    for (more, marked) in [("", false), ("when_gone = \"tombstone\"", true)] {
        let app = app(more, "").await;
        app.write("data/a.csv", rows(1..=4));
        app.write("data/b.csv", rows(4..=6));
        app.run("shop").await;
        std::fs::remove_file(app.path("data/b.csv")).unwrap();
        let run = app.run("shop").await;
        assert!(run.status.is_success(), "{run:?}");
        let stands = app.texts(STANDS).await;
        let expected = if marked { "5 deleted" } else { "5" };
        assert_eq!((stands[3].as_str(), stands[4].as_str()), ("4", expected));
        // What is gone is gone: the next run reads nothing again.
        assert_eq!(app.run("shop").await.counters.rows_read, 0);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_name_that_is_left_out_does_not_have_everything_read_again_in_every_run() {
    for left_out in ["another name", "hidden", "leads nowhere"] {
        let app = app("when_gone = \"tombstone\"", "").await;
        app.write("data/a.csv", rows(1..=4));
        app.write("data/b.csv", rows(4..=6));
        app.run("shop").await;
        let b = app.path("data/b.csv");
        match left_out {
            "hidden" => {
                std::fs::rename(&b, app.path("data/.b.csv")).unwrap();
                // An earlier version of kasparro read such a file.
                let was_read =
                    "update source_files set url = 'data/.b.csv' where url = 'data/b.csv'";
                sqlx::query(was_read).execute(&app.pool).await.unwrap();
            }
            _ => {
                std::fs::remove_file(&b).unwrap();
                let target = if left_out == "leads nowhere" { "c.csv" } else { "a.csv" };
                std::os::unix::fs::symlink(app.path("data").join(target), &b).unwrap();
            }
        }
        // What is behind a link may come back: then nothing is known to be gone.
        let is_gone = left_out != "leads nowhere";
        let run = app.run("shop").await;
        assert_eq!(run.status.is_success(), is_gone, "{left_out}: {run:?}");
        let stands = app.texts(STANDS).await;
        let expected = if is_gone { ["5 deleted", "6 deleted"] } else { ["5", "6"] };
        assert_eq!(stands[4..], expected, "{left_out}: {run:?}");
        assert_eq!(run.counters.rows_read, if is_gone { 4 } else { 0 }, "{left_out}");
        for _ in 0..2 {
            let run = app.run("shop").await;
            assert_eq!(run.counters.rows_read, 0, "{left_out}: {run:?}");
        }
        app.database.close().await;
    }
}

#[tokio::test]
async fn what_a_gone_file_had_is_looked_for_once_all_others_can_be_read_and_not_before() {
    for why in ["lost its rows", "damaged", "young"] {
        let app = app("when_gone = \"tombstone\"\nmin_age = \"1m\"", "").await;
        let write = |file: &str, bytes: &[u8], is_old: bool| {
            app.write(&format!("data/{file}"), bytes);
            let file = File::options().write(true).open(app.path("data").join(file)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(if is_old { 100 } else { 0 });
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        };
        write("a.csv", rows(1..=4).as_bytes(), true);
        write("b.csv", rows(4..=6).as_bytes(), true);
        write("c.csv", rows(7..=9).as_bytes(), true);
        assert_eq!(app.run("shop").await.counters.rows_read, 10);
        std::fs::remove_file(app.path("data/b.csv")).unwrap();
        match why {
            "young" => write("c.csv", rows(7..=9).as_bytes(), false),
            "damaged" => write("c.csv", &gzip(rows(7..=900).as_bytes())[..500], true),
            _ => write("c.csv", rows([]).as_bytes(), true),
        }
        for run in 0..3 {
            let ended = app.run("shop").await;
            assert!(run == 0 || ended.counters.rows_read == 0, "{why}: {ended:?}");
            assert_eq!(app.texts(STANDS).await[4..6], ["5", "6"], "{why}");
        }
        write("c.csv", rows(6..=9).as_bytes(), true);
        let run = app.run("shop").await;
        assert!(run.status.is_success(), "{why}: {run:?}");
        assert_eq!(run.counters.rows_read, 8, "{why}");
        assert_eq!(app.texts(STANDS).await[4..6], ["5 deleted", "6"], "{why}: {run:?}");
        assert_eq!(app.run("shop").await.counters.rows_read, 0, "{why}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_replay_brings_nothing_back_and_what_the_source_shows_again_comes_back() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=4));
    app.run("shop").await;
    app.write("data/a.csv", rows(1..=3));
    app.run("shop").await;
    let names = "select external_id || coalesce(' ' || name, '') || case when deleted_at is null then '' else ' deleted' end \
                 from unified_records order by 1";
    let before = app.texts(names).await;
    assert!(before[3].ends_with("deleted"), "{before:?}");
    let job = app.read("shop.toml");
    app.write("shop.toml", job.replace("name = {}", "name = { transform = [\"upper\"] }"));
    for _ in 0..2 {
        let run = app.run_mode("shop", Mode::Replay).await;
        assert!(run.status.is_success(), "{run:?}");
        let after = app.texts(names).await;
        assert_ne!(after, before, "the mapping is another");
        assert!(after[3].ends_with("deleted") && !after[2].ends_with("deleted"), "{after:?}");
    }
    // As it was before it was marked.
    app.write("data/a.csv", rows(1..=4));
    app.run("shop").await;
    assert!(!app.texts(names).await[3].ends_with("deleted"));
    app.database.close().await;
}

#[tokio::test]
async fn a_row_that_was_read_after_its_record_was_marked_brings_it_back_in_a_replay() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=4));
    app.run("shop").await;
    app.write("data/a.csv", rows(1..=3));
    app.run("shop").await;
    // It is there again, and set aside.
    app.write("data/a.csv", rows(1..=3) + "4,name 4,dear\n");
    let run = app.run("shop").await;
    assert_eq!(run.counters.quarantined, 1, "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4 deleted"]);
    app.write("shop.toml", app.read("shop.toml").replace("price = { type = \"decimal\" }\n", ""));
    let run = app.run_mode("shop", Mode::Replay).await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_midst_changes_nothing_of_it() {
    let app = app("", "").await;
    app.write("data/a.csv", rows(1..=5));
    app.run("shop").await;
    app.write("data/a.csv", rows(1..=4));
    app.start("shop", Mode::Incremental).await;
    let mut command = crate::process::kasparro(&app, &["worker", "--workers", "2"]);
    command.env("KASPARRO_FAULTS", "snapshot_schema/stored=kill,normalize_batch/committed=kill");
    let mut killed = crate::process::Process::start(command);
    crate::process::until("the worker is killed", async || killed.has_ended()).await;
    let silence = "update apalis.workers set last_seen = now() - interval '1 hour'";
    sqlx::query(silence).execute(&app.pool).await.unwrap();
    app.drain().await;
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4", "5 deleted"]);
    app.database.close().await;
}

/// The answers of an API, page by page; behind the last there is an empty one, and an empty text is an error.
type Pages = Arc<Mutex<Vec<Vec<u32>>>>;

async fn shop(
    app: &TestApp,
    pages: &Pages,
    mood: impl Fn(usize) -> Mood + Send + Sync + 'static,
) -> FakeApi {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pages = pages.clone();
    let api = FakeApi::serve(listener, mood, move |path| {
        let page = path.split("page=").nth(1).and_then(|page| page.split('&').next());
        let page: usize = page.and_then(|page| page.parse().ok()).unwrap_or(1);
        let ids = pages.lock().unwrap().get(page - 1).cloned().unwrap_or_default();
        let records = ids.iter().map(|id| json!({ "id": id, "name": format!("name {id}") }));
        Value::Array(records.collect()).to_string()
    })
    .await;
    app.write(
        "shop.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://{}/\"\n\
             data_selector = \"$[*]\"\npaginator = {{ type = \"page_number\", size = 3 }}\n\
             retry = {{ max_attempts = 1 }}\n[fields]\nname = {{}}\n[missing]\naction = \"tombstone\"\n\
             max_ratio = 0.5\n",
            api.address
        ),
    );
    api
}

#[tokio::test]
async fn records_that_an_api_shows_no_more_are_marked_although_most_pages_are_skipped() {
    let app = TestApp::empty().await;
    let pages = Pages::new(Mutex::new(vec![vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]]));
    let _api = shop(&app, &pages, |_| Mood::Well).await;
    assert_eq!(app.run_online("shop").await.counters.inserted, 8);
    let run = app.run_online("shop").await;
    assert_eq!((run.counters.unchanged, note(&run)), (8, ""), "{run:?}");
    *pages.lock().unwrap() = vec![vec![1, 2, 3], vec![4, 5, 6], vec![7]];
    // Pages that are asked for by number may have moved: what one run lacks, another may show.
    let run = app.run_online("shop").await;
    assert!(note(&run).contains("1 record missing, 0 marked as deleted"), "{run:?}");
    let run = app.run_online("shop").await;
    assert!(note(&run).contains("1 record marked as deleted"), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4", "5", "6", "7", "8 deleted"]);
    // The page that showed it comes back as it was.
    *pages.lock().unwrap() = vec![vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]];
    let run = app.run_online("shop").await;
    assert_eq!((run.counters.updated, run.counters.unchanged), (1, 7), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    app.database.close().await;
}

/// The statuses of the records of an API, from 1 on.
async fn of_statuses(app: &TestApp, statuses: &[&str]) -> (FakeApi, kasparro::db::runs::Run) {
    let records: Vec<_> =
        (1..).zip(statuses).map(|(id, status)| json!({ "id": id, "status": status })).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let body = Value::Array(records).to_string();
    let api = FakeApi::serve(listener, |_| Mood::Well, move |_| body.clone()).await;
    app.write(
        "shop.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://{}/\"\n\
             data_selector = \"$[*]\"\ndeleted = \"$[?@.status == 'deleted']\"\n[fields]\n\
             status = {{}}\n",
            api.address
        ),
    );
    let run = app.run_online("shop").await;
    (api, run)
}

#[tokio::test]
async fn records_that_say_so_themselves_are_deleted_and_come_back() {
    let app = TestApp::empty().await;
    let (_api, run) = of_statuses(&app, &["open", "open", "deleted"]).await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 3), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3 deleted"]);
    let since = "select deleted_at::text from unified_records where external_id = '3'";
    let first = app.texts(since).await;
    let (_api, run) = of_statuses(&app, &["deleted", "open", "deleted"]).await;
    assert_eq!((run.counters.updated, run.counters.unchanged), (1, 2), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1 deleted", "2", "3 deleted"]);
    assert_eq!(app.texts(since).await, first);
    let (_api, run) = of_statuses(&app, &["open", "open", "open"]).await;
    assert_eq!((run.counters.updated, run.counters.unchanged), (2, 1), "{run:?}");
    assert_eq!(app.texts(STANDS).await, ["1", "2", "3"]);
    app.database.close().await;
}

#[tokio::test]
async fn an_api_that_did_not_show_everything_costs_no_record() {
    let app = TestApp::empty().await;
    let pages = Pages::new(Mutex::new(vec![vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]]));
    // The requests of the first run are good, the second of the next run is not.
    let asked = Arc::new(Mutex::new(0));
    let broken = asked.clone();
    let _api = shop(&app, &pages, move |_| {
        let mut left = broken.lock().unwrap();
        *left -= 1;
        if *left == 0 { Mood::Broken } else { Mood::Well }
    })
    .await;
    assert_eq!(app.run_online("shop").await.counters.inserted, 8);
    *asked.lock().unwrap() = 2;
    *pages.lock().unwrap() = vec![vec![1, 2, 3], vec![4, 5, 6], vec![7]];
    let run = app.run_online("shop").await;
    assert!(!run.status.is_success() || run.status == RunStatus::Degraded, "{run:?}");
    assert!(app.texts(STANDS).await.iter().all(|stands| !stands.contains("deleted")));
    app.database.close().await;
}

#[tokio::test]
async fn a_record_that_moved_onto_a_page_that_was_read_is_not_deleted_however_pages_are_found() {
    // The pages of the list; with the last flag, the first record goes while the second run reads.
    for lines in [
        "paginator = { type = 'cursor', cursor_path = '$.number', param = 'at' }",
        "paginator = { type = 'cursor', cursor_path = '$.opaque', param = 'at' }",
        "paginator = { type = 'next_url', next_url_path = '$.link' }\nfor_each = { values = [7], as = 'n' }",
    ] {
        let list = Arc::new(Mutex::new(((0..6).collect::<Vec<i64>>(), false)));
        let held = Arc::clone(&list);
        let server = MockServer::start().await;
        let answer = move |request: &Request| {
            let mut list = held.lock().unwrap();
            let at = request.url.query_pairs().find(|(name, _)| name == "at");
            let page: usize = at.map_or(0, |(_, at)| at.trim_start_matches('c').parse().unwrap());
            let items: Vec<_> = list
                .0
                .iter()
                .skip(page * 2)
                .take(2)
                .map(|id| json!({ "id": id, "name": "a" }))
                .collect();
            let more = list.0.len() > page * 2 + 2;
            let or_null = |value: Value| if more { value } else { Value::Null };
            if std::mem::take(&mut list.1) {
                list.0.remove(0);
            }
            ResponseTemplate::new(200).set_body_json(json!({
                "items": items,
                "number": or_null(json!(page + 1)),
                "opaque": or_null(json!(format!("c{}", page + 1))),
                "link": or_null(json!(format!("?n=7&at={}", page + 1))),
            }))
        };
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let app = TestApp::empty().await;
        let params =
            if lines.contains("for_each") { "params = { n = '${parent.n}' }\n" } else { "" };
        app.write(
            "list.toml",
            format!(
                "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = '{}'\n\
                 data_selector = '$.items[*]'\n{params}{lines}\n[fields]\nname = {{}}\n\
                 [missing]\naction = 'tombstone'\nmax_ratio = 1.0\n",
                server.uri()
            ),
        );
        let full = RunRequest { access: Access::Network, ..request(Mode::Full) };
        assert_eq!(app.run_as("list", &full).await.status, RunStatus::Success, "{lines}");
        // Record 0 goes behind the first page, and 2 moves onto it.
        list.lock().unwrap().1 = true;
        let run = app.run_as("list", &full).await;
        assert!(run.status.is_success(), "{lines}: {run:?}");
        assert!(note(&run).contains("1 record missing, 0 marked as deleted"), "{lines}: {run:?}");
        // Two runs lack the one that is gone.
        let run = app.run_as("list", &full).await;
        assert!(note(&run).contains("1 record missing, 0 marked as deleted"), "{lines}: {run:?}");
        assert_eq!(app.texts(STANDS).await, ["0", "1", "2", "3", "4", "5"], "{lines}");
        app.run_as("list", &full).await;
        assert_eq!(app.texts(STANDS).await, ["0 deleted", "1", "2", "3", "4", "5"], "{lines}");
        app.database.close().await;
    }
}
