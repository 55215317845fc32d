//! Whole runs against an API that misbehaves in every way there is: how many requests each costs,
//! what becomes of the run, and that no secret is kept anywhere.

use std::time::{Duration, SystemTime};

use kasparro::db::rate_limits::{self, Limit};
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::canary::{Canary, assert_tables_are_clean};

const CANARY: &str = "s3cr3t+cAnArY012345/6789";
const CORE: &str = "cAnArY012345";
const FILE_KEY: &str = r#"auth = { type = "bearer", token = { file = "key" } }"#;
const PAGES: &str = r#"paginator = { type = "page_number", size_param = "per_page", size = 3 }"#;
/// What an attempt of the only page said and cost.
const FIRST_PAGE: &str = "select attempt || ' ' || state from run_tasks where kind = 'fetch_page'";

/// An app whose source `coins` reads this address, with more lines under [rest_api].
async fn coins(base_url: &str, lines: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("key", CANARY);
    write_coins(&app, base_url, lines);
    app
}

fn write_coins(app: &TestApp, base_url: &str, lines: &str) {
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{base_url}\"\n\
         path = \"coins\"\ndata_selector = \"$[*]\"\n{lines}\n[fields]\n\
         name = {{ from = \"$.name\", type = \"text\" }}\n"
    );
    app.write("coins.toml", job);
}

fn records(ids: std::ops::Range<u32>) -> Value {
    ids.map(|id| json!({ "id": id, "name": format!("coin {id}") })).collect()
}

fn good() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(records(0..2))
}

/// An API that gives these answers in turn, and the last one for ever.
async fn api(answers: impl IntoIterator<Item = ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let mut answers = answers.into_iter().peekable();
    while let Some(answer) = answers.next() {
        let mock = Mock::given(method("GET")).and(path("/coins")).respond_with(answer);
        let once = answers.peek().is_some();
        if once { mock.up_to_n_times(1) } else { mock }.mount(&server).await;
    }
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.expect("requests are recorded").len()
}

/// Runs against these answers: the run's error and what its page cost.
async fn outcome(
    lines: &str,
    answers: impl IntoIterator<Item = ResponseTemplate>,
    expected: RunStatus,
    expected_requests: usize,
    expected_page: &str,
) -> String {
    let server = api(answers).await;
    let app = coins(&server.uri(), lines).await;
    let run = app.run_online("coins").await;
    assert_eq!(run.status, expected, "{run:?}");
    assert_eq!(requests(&server).await, expected_requests, "{run:?}");
    assert_eq!(app.texts(FIRST_PAGE).await, [expected_page]);
    assert_eq!(app.texts(OPEN_ITEMS).await, [] as [&str; 0]);
    let stored = app.number("select count(*) from unified_records").await;
    assert_eq!(stored, if expected == Failed { 0 } else { 2 });
    assert_key_is_kept_nowhere(&app).await;
    app.database.close().await;
    run.error.unwrap_or_default()
}

const OPEN_ITEMS: &str = "select id from apalis.jobs where status not in ('Done', 'Killed')";

/// The key, wherever it may be in the database.
async fn assert_key_is_kept_nowhere(app: &TestApp) {
    assert_tables_are_clean(app, &[Canary::new(CANARY, CORE)]).await;
}

fn encoded(secret: &str) -> String {
    secret.replace('+', "%2B").replace('/', "%2F")
}

fn assert_no_secret(text: &str) {
    assert!(!text.contains("s3cr3t"), "{text}");
}

#[tokio::test]
async fn full_pages_are_read_to_the_empty_one_behind_a_short_one_with_one_request_each() {
    let server = MockServer::start().await;
    // A page that is short proves nothing: one more is asked for.
    for page in 1..=5_u32 {
        let ids = (3 * (page - 1)).min(10)..(3 * page).min(10);
        Mock::given(path("/coins"))
            .and(query_param("page", page.to_string()))
            .and(query_param("per_page", "3"))
            .respond_with(ResponseTemplate::new(200).set_body_json(records(ids)))
            .expect(1)
            .mount(&server)
            .await;
    }
    let app = coins(&server.uri(), PAGES).await;
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Success, "{run:?}");
    let counted = (run.counters.slices, run.counters.rows_read, run.counters.inserted);
    assert_eq!(counted, (5, 10, 10));
    assert_eq!(requests(&server).await, 5);
    let ids = "select external_id from unified_records order by external_id::int";
    assert_eq!(app.texts(ids).await.len(), 10);
    let slices = "select slice || ':' || records from raw_api_data order by slice";
    assert_eq!(app.texts(slices).await, ["0:3", "1:3", "2:3", "3:1", "4:0"]);
    app.database.close().await;
}

#[tokio::test]
async fn html_kills_the_page_at_once_and_is_quoted() {
    let html = ResponseTemplate::new(200).set_body_raw("<!DOCTYPE html><p>Hi</p>", "text/html");
    let error = outcome("", [html], Failed, 1, "1 failed").await;
    assert!(error.contains("text/html, no JSON: <!DOCTYPE html>"), "{error}");
}

#[tokio::test]
async fn unauthorized_kills_the_page_at_once_and_names_the_variable_of_the_key() {
    let auth = r#"auth = { type = "api_key", name = "x-key", value = { env = "KASPARRO_TEST_NEVER_SET" }, optional = true }"#;
    let error = outcome(auth, [ResponseTemplate::new(401)], Failed, 1, "1 failed").await;
    assert!(error.contains("KASPARRO_TEST_NEVER_SET"), "{error}");
    assert!(error.starts_with("fetch_page:0: "), "{error}");
}

#[tokio::test]
async fn not_found_kills_the_page_at_once() {
    let answer = ResponseTemplate::new(404).set_body_json(json!({ "error": "no such coin" }));
    let error = outcome("", [answer], Failed, 1, "1 failed").await;
    assert!(error.ends_with("/coins answered 404 Not Found: no such coin"), "{error}");
}

#[tokio::test]
async fn too_many_requests_spend_no_attempt_however_the_wait_is_told() {
    let limit = r#"rate_limit = { key = "coins", requests = 100, per = "1s" }
        retry = { max_attempts = 1 }"#;
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    for told in [Some("1"), Some(date.as_str()), None] {
        let refusal = match told {
            Some(text) => ResponseTemplate::new(429).insert_header("retry-after", text),
            None => ResponseTemplate::new(429),
        };
        outcome(limit, [refusal, good()], Success, 2, "1 done").await;
    }
}

#[tokio::test]
async fn a_server_error_costs_one_attempt() {
    outcome("", [ResponseTemplate::new(500), good()], Success, 2, "2 done").await;
}

#[tokio::test]
async fn server_errors_for_ever_cost_as_many_requests_as_the_job_file_allows() {
    let retry = "retry = { max_attempts = 3 }";
    let error = outcome(retry, [ResponseTemplate::new(503)], Failed, 3, "3 failed").await;
    assert!(error.contains("503 Service Unavailable"), "{error}");
}

#[tokio::test]
async fn json_that_ends_early_is_asked_for_again() {
    let cut = ResponseTemplate::new(200).set_body_string("[{\"id\": 0, \"name\": \"coi");
    outcome("", [cut, good()], Success, 2, "2 done").await;
}

#[tokio::test]
async fn an_object_where_a_list_was_declared_kills_the_page_at_once() {
    let answer = ResponseTemplate::new(200).set_body_json(json!({ "message": "pay first" }));
    let error = outcome("", [answer], Failed, 1, "1 failed").await;
    assert!(error.contains("an object with `message`"), "{error}");
    assert!(error.contains("pay first"), "{error}");
}

#[tokio::test]
async fn the_same_page_for_ever_ends_the_run_at_its_first_repetition() {
    let server = api([ResponseTemplate::new(200).set_body_json(records(0..3))]).await;
    let app = coins(&server.uri(), PAGES).await;
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Failed);
    assert_eq!(requests(&server).await, 2);
    let error = run.error.unwrap();
    assert!(error.contains("the paginator repeats itself"), "{error}");
    // What was read before stays, is counted, and moves no checkpoint.
    assert_eq!((run.counters.rows_read, run.counters.inserted), (3, 3));
    assert_eq!(app.number("select count(*) from unified_records").await, 3);
    assert_eq!(app.number("select count(*) from ingestion_checkpoints").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_asked_for_again() {
    let slow = good().set_delay(Duration::from_secs(3600));
    let lines = "timeout = \"300ms\"\nretry = { max_attempts = 2 }";
    let error = outcome(lines, [slow], Failed, 2, "2 failed").await;
    assert!(error.contains("`rest_api.timeout` = \"300ms\""), "{error}");
}

#[tokio::test]
async fn where_nothing_listens_three_tries_are_enough_and_the_error_says_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = coins(&format!("http://{free}"), "recording = \"recordings/coins\"").await;
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Failed);
    assert_eq!(app.texts(FIRST_PAGE).await, ["3 failed"]);
    let error = run.error.unwrap();
    let cannot = format!("{free} cannot be reached");
    for part in [cannot.as_str(), "Connection refused", "--offline"] {
        assert!(error.contains(part), "{error}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_refused_key_is_repeated_by_the_server_and_not_by_us() {
    let escaped = CANARY.replace('/', "\\/");
    for words in [CANARY, &escaped, &encoded(CANARY)] {
        // With a text in a place that is known, and in one that is not.
        for (status, place) in [(401, "error"), (404, "odd"), (200, "error")] {
            let body = format!("{{\"{place}\": \"Your key {words} is bad\"}}");
            let answer = ResponseTemplate::new(status).set_body_string(body);
            assert_no_secret(&outcome(FILE_KEY, [answer], Failed, 1, "1 failed").await);
        }
    }
}

#[tokio::test]
async fn a_failure_that_is_tried_again_leaves_no_secret_in_the_ledger() {
    let answer = ResponseTemplate::new(500).set_body_string(format!("header Bearer {CANARY}"));
    let lines = format!("{FILE_KEY}\nretry = {{ max_attempts = 2 }}");
    assert_no_secret(&outcome(&lines, [answer], Failed, 2, "2 failed").await);
}

#[tokio::test]
async fn a_good_page_that_repeats_the_key_is_stored_without_it() {
    let next = format!("https://x/coins?page=2&key={}", encoded(CANARY));
    let body = json!([
        { "id": 1, "name": format!("my key is {CANARY}"), "next": next },
        { "id": 2, "name": "plain" },
    ]);
    let escaped = body.to_string().replace(CANARY, &CANARY.replace('/', "\\/"));
    for body in [body.to_string(), escaped] {
        let answer = ResponseTemplate::new(200).set_body_string(body);
        assert_no_secret(&outcome(FILE_KEY, [answer], Success, 1, "1 done").await);
    }
}

#[tokio::test]
async fn a_recording_holds_no_secret_and_is_read_without_a_request() {
    let body = json!([{ "id": 1, "name": format!("my key is {CANARY}") }]);
    let server = api([ResponseTemplate::new(200).set_body_json(body)]).await;
    let app = coins(&server.uri(), &format!("{FILE_KEY}\nrecording = \"kept\"")).await;
    let keeping = RunRequest { access: Access::Record, ..request(Mode::Incremental) };
    app.run_as("coins", &keeping).await;
    let files: Vec<_> = std::fs::read_dir(app.path("kept")).unwrap().collect();
    // The page, in how many places of it a secret was, and what a run without a network cannot know.
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_no_secret(&std::fs::read_to_string(file.unwrap().path()).unwrap());
    }
    let offline = app.run("coins").await;
    assert_eq!(offline.status, SuccessWithDuplicates, "{offline:?}");
    assert_eq!(requests(&server).await, 1);
    assert_key_is_kept_nowhere(&app).await;
    app.database.close().await;
}

#[tokio::test]
async fn the_key_is_sent_and_kept_nowhere() {
    let auth =
        r#"auth = { type = "api_key", in = "query", name = "key", value = { file = "key" } }"#;
    let server = MockServer::start().await;
    Mock::given(query_param("key", CANARY)).respond_with(good()).expect(1).mount(&server).await;
    let app = coins(&server.uri(), auth).await;
    assert_eq!(app.run_online("coins").await.status, Success);
    assert_key_is_kept_nowhere(&app).await;
    app.database.close().await;
}

#[tokio::test]
async fn an_identical_answer_is_stored_once_and_changes_nothing() {
    const TABLES: &str = "select r::text from unified_records r
        union all select a::text from raw_api_data a order by 1";
    let server = api([good()]).await;
    let app = coins(&server.uri(), "").await;
    assert_eq!(app.run_online("coins").await.status, Success);
    let before = app.texts(TABLES).await;
    assert_eq!(before.len(), 3);
    let again = app.run_online("coins").await;
    assert_eq!(again.status, SuccessWithDuplicates);
    assert_eq!((again.counters.rows_read, again.counters.unchanged), (2, 2));
    assert_eq!(app.texts(TABLES).await, before);
    assert_eq!(requests(&server).await, 2);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_is_read_while_the_api_fails() {
    let server = api([ResponseTemplate::new(404)]).await;
    let app = TestApp::shipped().await;
    write_coins(&app, &server.uri(), "");
    app.start("products_csv", Mode::Incremental).await;
    // Works on both: the queues are shared.
    assert_eq!(app.run_online("coins").await.status, Failed);
    let statuses = app.texts("select source || ' ' || status from etl_runs order by source").await;
    assert_eq!(statuses, ["coins failed", "products_csv success"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_page_with_too_few_rows_for_its_checks_degrades_the_run_and_keeps_them() {
    let server = api([good()]).await;
    let app = coins(&server.uri(), "").await;
    let job = app.read("coins.toml");
    app.write("coins.toml", format!("{job}[checks]\nmin_rows = 3\n"));
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert_eq!(app.number("select count(*) from unified_records").await, 2);
    app.database.close().await;
}

/// A period in which nothing is refilled while a test runs.
const FOR_EVER: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn three_workers_share_the_tokens_of_one_bucket() {
    let app = TestApp::empty().await;
    let taken = async || {
        let mut taken = 0;
        for _ in 0..30 {
            taken += usize::from(take(&app, "shared", 30, FOR_EVER).await.is_ok());
        }
        taken
    };
    let (a, b, c) = tokio::join!(taken(), taken(), taken());
    assert_eq!(a + b + c, 30);
    let wait = take(&app, "shared", 30, FOR_EVER).await.unwrap_err();
    // In no period are there more: the first of them has to be over.
    assert!(wait > FOR_EVER / 2 && wait <= within_a_slot(FOR_EVER), "{wait:?}");
    assert_eq!(take(&app, "another", 1, FOR_EVER).await, Ok(()));
    app.database.close().await;
}

#[tokio::test]
async fn a_waited_for_token_is_there() {
    let app = TestApp::empty().await;
    let per = Duration::from_millis(50);
    assert_eq!(take(&app, "quick", 1, per).await, Ok(()));
    while let Err(wait) = take(&app, "quick", 1, per).await {
        assert!(wait <= within_a_slot(per), "{wait:?}");
        tokio::time::sleep(wait).await;
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_blocked_bucket_is_closed_for_all_and_a_shorter_block_does_not_open_it() {
    let app = TestApp::empty().await;
    let minutes = |n: u64| Duration::from_secs(60 * n);
    assert_eq!(take(&app, "blocked", 100, minutes(1)).await, Ok(()));
    rate_limits::block(&app.pool, "blocked", minutes(60)).await.unwrap();
    rate_limits::block(&app.pool, "blocked", minutes(1)).await.unwrap();
    for _ in 0..3 {
        let wait = take(&app, "blocked", 100, minutes(1)).await.unwrap_err();
        assert!(wait > minutes(50) && wait <= minutes(60), "{wait:?}");
    }
    // Of a bucket that nobody knew before, too.
    rate_limits::block(&app.pool, "new", minutes(60)).await.unwrap();
    assert!(take(&app, "new", 100, minutes(1)).await.unwrap_err() > minutes(50));
    app.database.close().await;
}

/// A period is looked at in 50 slots.
fn within_a_slot(per: Duration) -> Duration {
    per + per / 50
}

async fn take(app: &TestApp, key: &str, requests: u32, per: Duration) -> Result<(), Duration> {
    let taken = rate_limits::take(&app.pool, key, Some(Limit { requests, per })).await.unwrap();
    taken.map_err(|none| none.delay)
}

#[tokio::test]
async fn an_api_that_has_enough_for_ever_fails_the_run_in_the_end_and_says_so() {
    let enough = ResponseTemplate::new(429).insert_header("retry-after", "0");
    let server = api([enough]).await;
    let mut app = coins(&server.uri(), "").await;
    app.retry.longest_wait = Duration::from_millis(300);
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Failed, "{run:?}");
    let error = run.error.unwrap();
    assert!(error.contains("given up after 0 h of waiting") && error.contains("429"), "{error}");
    assert_eq!(app.texts(OPEN_ITEMS).await, [] as [&str; 0]);
    app.database.close().await;
}

#[tokio::test]
async fn an_api_that_never_gave_a_row_is_told_of_and_a_failure_has_a_kind() {
    let server = api([ResponseTemplate::new(200).set_body_json(json!([]))]).await;
    let app = coins(&server.uri(), "").await;
    for _ in 0..2 {
        let run = app.run_online("coins").await;
        assert_eq!(run.status, Success, "{run:?}");
        let note = run.stop_reason.unwrap_or_default();
        assert!(note.contains("nor in any run before: `kasparro preview coins`"), "{note}");
    }
    let server = api([good()]).await;
    write_coins(&app, &server.uri(), "");
    assert_eq!(app.run_online("coins").await.counters.inserted, 2);
    let server = api([ResponseTemplate::new(200).set_body_json(json!([]))]).await;
    write_coins(&app, &server.uri(), "");
    let note = app.run_online("coins").await.stop_reason.unwrap_or_default();
    assert!(!note.contains("nor in any run before"), "{note}");

    let server = api([ResponseTemplate::new(403)]).await;
    write_coins(&app, &server.uri(), "");
    assert_eq!(app.run_online("coins").await.status, Failed);
    let kinds = "select kind || ' ' || error_kind from run_tasks where error_kind is not null";
    assert_eq!(app.texts(kinds).await, ["fetch_page forbidden"]);
    app.database.close().await;
}
