//! Runs that end, but not as they should, say so: in their status, in their note and in the exit code.

use kasparro::db::run_tasks;
use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::tasks::start_run::RunRequest;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::api::TestApi;
use crate::app::{TestApp, request};
use crate::process::call;

const JOB: &str = r#"
kind = "csv"
primary_key = ["id"]

[csv]
paths = ["items.csv"]
chunk_size = 1000

[fields]
name = { column = "name" }
price = { column = "price", type = "decimal" }
source_updated_at = { column = "Updated At", type = "timestamp" }
"#;

/// So many rows, of which those that `bad` picks have no time.
fn items(rows: usize, bad: impl Fn(usize) -> bool) -> String {
    let line = |row: usize| match bad(row) {
        true => format!("{row},n{row},1,2026/10/01 0{}:15\n", row % 7),
        false => format!("{row},n{row},1,2026-10-01 08:15:00 +0200\n"),
    };
    format!("id,name,price,Updated At\n{}", (0..rows).map(line).collect::<String>())
}

async fn csv(rows: usize, bad: impl Fn(usize) -> bool, more: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("items.toml", format!("{JOB}{more}"));
    app.write("items.csv", items(rows, bad));
    app
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

async fn dry_run(app: &TestApp, mode: Mode) -> Run {
    app.run_as("items", &RunRequest { dry_run: true, ..request(mode) }).await
}

#[tokio::test]
async fn a_run_without_a_good_row_is_degraded_and_names_the_reason_with_an_example() {
    let app = csv(2000, |_| true, "").await;
    let says = "2,000 of 2,000 rows quarantined, so none was loaded: \
                2,000 × `Updated At` invalid_timestamp: \"2026/10/01 00:15\"";
    for run in [
        dry_run(&app, Mode::Incremental).await,
        app.run("items").await,
        app.run_mode("items", Mode::Full).await,
        app.run_mode("items", Mode::Replay).await,
        dry_run(&app, Mode::Replay).await,
    ] {
        assert_eq!((run.status, note(&run)), (Degraded, says), "{run:?}");
    }
    // Not even a job file that allows everything makes it a success.
    app.write("items.toml", format!("{JOB}[checks]\nmax_quarantine_ratio = 1.0\n"));
    let run = app.run("items").await;
    assert_eq!((run.status, note(&run)), (Degraded, says), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_run_with_more_bad_rows_than_good_ones_is_degraded_unless_the_job_file_allows_it() {
    let app = csv(1000, |row| row % 3 > 0, "").await;
    let run = app.run("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).starts_with("666 of 1,000 rows quarantined, more than the share of 0.5"));
    app.write("items.toml", format!("{JOB}[checks]\nmax_quarantine_ratio = 1.0\n"));
    let run = app.run("items").await;
    assert_eq!(run.status, SuccessWithDuplicates, "{run:?}");
    assert!(note(&run).starts_with("666 of 1,000 rows quarantined: 666 × `Updated At`"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_success_that_set_rows_aside_says_why_wherever_runs_are_shown() {
    let api = TestApi::admitting_this_machine().await;
    let app = &api.app;
    app.write("items.toml", JOB.replace("type = \"decimal\"", "type = \"decimal\", min = 0"));
    let file = items(300, |row| row == 7);
    app.write("items.csv", file.replace(",n9,1,", ",n9,-5,").replace(",n11,1,", ",n11,-3,"));
    let says = "3 of 300 rows quarantined: 2 × `price` out_of_range: \"-3\", \
                1 × `Updated At` invalid_timestamp: \"2026/10/01 00:15\"";
    let run = app.run("items").await;
    assert_eq!((run.status, note(&run)), (Success, says), "{run:?}");
    call(app, &["runs"]).await.code(0).prints(&["invalid_timestamp", "out_of_range"]);
    let shown = call(app, &["runs", "--json"]).await.code(0).json();
    assert_eq!(shown["runs"][0]["stop_reason"], says);
    let shown: serde_json::Value =
        api.get(&format!("/runs/{}", run.id)).await.json().await.unwrap();
    assert_eq!(shown["stop_reason"], says);
}

#[tokio::test]
async fn a_row_that_is_set_aside_once_more_says_what_is_wrong_with_it_now() {
    let app = csv(3, |_| false, "").await;
    app.write("items.toml", JOB.replace("type = \"decimal\"", "type = \"decimal\", min = 2"));
    let messages = "select message || ' ' || status from quarantined_rows order by raw_row";
    assert_eq!(app.run("items").await.status, Degraded);
    assert!(app.texts(messages).await[0].contains("2"), "{:?}", app.texts(messages).await);
    app.write("items.toml", JOB.replace("type = \"decimal\"", "type = \"decimal\", min = 7"));
    assert_eq!(app.run_mode("items", Mode::Replay).await.status, Degraded);
    for message in app.texts(messages).await {
        assert!(message.contains('7') && message.ends_with(" redriven"), "{message}");
    }
    let other = "type = \"date\", date_format = \"%d.%m.%Y\"";
    let job = JOB.replace("price = {", "cost = {").replace("type = \"decimal\"", other);
    app.write("items.toml", job);
    assert_eq!(app.run_mode("items", Mode::Replay).await.status, Degraded);
    let reasons = "select distinct reason || ' ' || status from quarantined_rows order by 1";
    assert_eq!(app.texts(reasons).await, ["invalid_date open", "out_of_range resolved"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_space_that_looks_like_another_one_is_named() {
    let app = csv(3, |_| false, "").await;
    let file = items(3, |_| false)
        .replace(",n1,1,", ",n1,1\u{a0}234,")
        .replace(",n2,1,", ",n2,1\u{202f}5,");
    app.write("items.csv", file);
    let run = app.run("items").await;
    assert!(note(&run).contains("2 × `price` invalid_decimal: \"1<U+00A0>234\""), "{run:?}");
    let messages = app.texts("select message from quarantined_rows order by raw_row").await;
    assert!(
        messages[1].starts_with("price: \"1<U+202F>5\" is not a decimal number"),
        "{messages:?}"
    );
    app.database.close().await;
}

#[tokio::test]
async fn records_that_are_no_records_degrade_the_run_of_an_api() {
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$.data[*].id\"\nrecording = \"pages\"\n[fields]\nname = {}\n",
    );
    app.write("pages/page-0001.json", r#"{"data":[{"id":1},{"id":2}]}"#);
    // An incremental run passes the page over, and knows why all the same.
    for _ in 0..2 {
        let run = app.run("items").await;
        assert_eq!(run.status, Degraded, "{run:?}");
        let says = "2 of 2 rows quarantined, so none was loaded: 2 × not_an_object: 1";
        assert_eq!(note(&run), says);
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_replay_counts_the_rows_that_another_selector_finds() {
    let app = TestApp::empty().await;
    let job = "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
               recording = \"pages\"\n[fields]\nname = {}\n";
    app.write("items.toml", job);
    let page = r#"{"data":[{"id":1,"name":"a"},{"id":2,"name":"b"},{"id":3,"name":"c"}]}"#;
    app.write("pages/page-0001.json", page);
    // The whole answer is taken for a record.
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.rows_read), (Degraded, 1), "{run:?}");
    let selector = "recording = \"pages\"\ndata_selector = \"$.data[*]\"";
    app.write("items.toml", job.replace("recording = \"pages\"", selector));
    let run = app.run_mode("items", Mode::Replay).await;
    assert_eq!((run.status, note(&run)), (Success, ""), "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (3, 3), "{run:?}");
    let run = app.run_mode("items", Mode::Replay).await;
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (3, 3), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_failed_run_says_what_it_set_aside_beside_what_it_died_of() {
    let app = csv(3, |_| false, "[contract]\ntype_change = \"freeze\"\n").await;
    assert_eq!(app.run("items").await.status, Success);
    // The last chunk dies of its price; the first has five rows without a key.
    let keyless = ",x,1,2026-10-01\n".repeat(5);
    let file = items(300, |_| false).replacen('\n', &format!("\n{keyless}"), 1);
    app.write("items.csv", format!("{file}9999,x,dear,2026-10-01\n"));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.quarantined), (Failed, 5), "{run:?}");
    assert!(run.error.as_ref().unwrap().contains("dear"), "{run:?}");
    assert!(note(&run).contains("5 of 306 rows quarantined: 5 × `id` missing_key"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_value_that_suits_neither_of_two_fields_is_one_bad_row() {
    let app = csv(9, |_| false, "cost = { column = \"price\", type = \"decimal\" }\n").await;
    app.write("items.csv", items(9, |_| false).replace("7,n7,1,", "7,n7,dear,"));
    let run = app.run("items").await;
    assert_eq!((run.status, run.counters.quarantined), (Success, 1), "{run:?}");
    assert_eq!(note(&run), "1 of 9 rows quarantined: 1 × `price` invalid_decimal: \"dear\"");
    assert_eq!(app.number("select count(*) from quarantined_rows").await, 1);
    app.database.close().await;
}

#[tokio::test]
async fn the_reasons_of_a_million_rows_are_added_up_exactly() {
    let app = csv(9, |_| false, "").await;
    let run = app.run("items").await;
    // A thousand batches of a thousand bad rows each, of 30 kinds.
    let batches = "insert into run_tasks (run_id, task_key, kind, role, state, done_at, first_slice,
            last_slice, payload, quarantined, result)
        select r.id, 'normalize_batch:' || n, 'normalize_batch', 'normalize', 'done', now(), n, n, '{}', 1000,
            jsonb_build_object('set_aside', jsonb_build_object('reasons', k.reasons))
        from etl_runs as r, generate_series(1000, 1999) as n, (
            select jsonb_agg(jsonb_build_object('field', 'f' || k, 'reason', 'invalid_decimal',
                'rows', 10 * k, 'example', repeat('x', 100)) order by k) as reasons
            from generate_series(1, 30) as k
        ) as k";
    sqlx::query(batches).execute(&app.pool).await.unwrap();
    let mut connection = app.pool.acquire().await.unwrap();
    let reasons = run_tasks::set_aside(&mut connection, run.id).await.unwrap().to_string();
    assert!(reasons.starts_with("300,000 × `f30` invalid_decimal: xxx"), "{reasons}");
    assert!(reasons.ends_with(", and 27 more"), "{reasons}");
    drop(connection);
    app.database.close().await;
}

#[tokio::test]
async fn the_database_refuses_a_success_that_loaded_none_of_its_rows() {
    let app = csv(3, |_| false, "").await;
    assert_eq!(app.run("items").await.status, Success);
    for status in ["success", "success_with_duplicates"] {
        let lie = "update etl_runs set status = $1, inserted = 0, quarantined = rows_read";
        let refused = sqlx::query(lie).bind(status).execute(&app.pool).await.unwrap_err();
        assert!(refused.to_string().contains("etl_runs_success_check"), "{refused}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn run_exits_with_2_when_a_run_is_degraded_and_with_1_when_one_failed_as_well() {
    let app = csv(3, |_| true, "").await;
    app.write("good.toml", JOB.replace("items.csv", "good.csv"));
    app.write("good.csv", items(3, |_| false));
    app.write("gone.toml", JOB.replace("items.csv", "gone.csv"));
    call(&app, &["run", "good"]).await.code(0);
    let degraded = call(&app, &["run", "items", "good", "--full"]).await;
    degraded.code(2).prints(&["degraded", "invalid_timestamp"]);
    call(&app, &["run", "items", "--full", "--json"]).await.code(2);
    call(&app, &["run", "items", "good", "--full", "--allow-degraded"]).await.code(0);
    for more in [&[] as &[&str], &["--allow-degraded"]] {
        let failed = call(&app, &[&["run", "gone", "items", "--full"], more].concat()).await;
        failed.code(1).prints(&["failed", "degraded"]);
    }
    // Nothing that is typed wrong reads as a degraded run.
    call(&app, &["run", "--no-such-flag"]).await.code(64).complains(&["--no-such-flag"]);
    call(&app, &["run"]).await.code(64);
    call(&app, &["--help"]).await.code(0).prints(&["Usage"]);
    app.database.close().await;
}

/// An API that answers every request alike, and its source.
async fn api(answer: ResponseTemplate, selector: &str, paginator: &str) -> (MockServer, TestApp) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             data_selector = \"{selector}\"\n{paginator}\n[fields]\nname = {{}}\n",
            server.uri()
        ),
    );
    (server, app)
}

#[tokio::test]
async fn one_page_of_an_api_that_has_more_is_degraded_and_says_what_to_set() {
    let body = serde_json::json!({ "data": [{ "id": 1, "name": "a" }], "has_more": true });
    let body = ResponseTemplate::new(200).set_body_json(body);
    let link = ResponseTemplate::new(200)
        .insert_header("link", "<https://api.example.com/items?page=2>; rel=\"next\"")
        .set_body_json(serde_json::json!([{ "id": 1, "name": "a" }]));
    let listed = |status, header: &str, value: &str| {
        let list = serde_json::json!([{ "id": 1, "name": "a" }]);
        ResponseTemplate::new(status).insert_header(header, value).set_body_json(list)
    };
    for (answer, selector, shows) in [
        (body, "$.data[*]", "it says so in `has_more`"),
        (link, "$[*]", "`Link` has rel=\"next\""),
        (listed(200, "X-Total-Pages", "7"), "$[*]", "its header `X-Total-Pages` is 7"),
        (listed(206, "Content-Range", "0-0/*"), "$[*]", "its status is 206"),
    ] {
        let (_server, app) = api(answer.clone(), selector, "").await;
        let online = RunRequest {
            access: kasparro::sources::Access::Network,
            dry_run: true,
            ..request(Mode::Incremental)
        };
        for run in [app.run_as("items", &online).await, app.run_online("items").await] {
            assert_eq!((run.status, run.counters.inserted), (Degraded, 1), "{run:?}");
            for part in [shows, "rest_api.paginator", "first_page_only = true"] {
                assert!(note(&run).contains(part), "{part}: {run:?}");
            }
        }
        let mode = request(Mode::Replay);
        assert_eq!(app.run_as("items", &mode).await.status, SuccessWithDuplicates);
        app.database.close().await;
        let first = "paginator = { type = \"single_page\", first_page_only = true }";
        let (_server, app) = api(answer, selector, first).await;
        assert_eq!(app.run_online("items").await.status, Success);
        app.database.close().await;
    }
}

#[tokio::test]
async fn an_answer_that_says_something_is_wrong_is_no_success() {
    let good = serde_json::json!({ "data": [{ "id": 1, "name": "a" }], "error": null });
    let part = serde_json::json!({
        "data": [{ "id": 1, "name": "a" }], "errors": [{ "message": "timeout" }], "status": "partial",
    });
    let none = serde_json::json!({ "data": [], "error": "quota exceeded", "status": "error" });
    for (body, records, says) in
        [(good, 1, None), (part, 1, Some("`errors`: timeout")), (none, 0, Some("quota exceeded"))]
    {
        let answer = ResponseTemplate::new(200).set_body_json(&body);
        let (_server, app) = api(answer.clone(), "$.data[*]", "").await;
        let online = RunRequest {
            access: kasparro::sources::Access::Network,
            dry_run: true,
            ..request(Mode::Incremental)
        };
        for run in [app.run_as("items", &online).await, app.run_online("items").await] {
            let status = if says.is_some() { Degraded } else { Success };
            assert_eq!((run.status, run.counters.inserted), (status, records), "{run:?}");
            assert!(note(&run).contains(says.unwrap_or_default()), "{run:?}");
            assert_eq!(note(&run).contains("ignore_errors = true"), says.is_some(), "{run:?}");
        }
        app.database.close().await;
        let (_server, app) = api(answer, "$.data[*]", "ignore_errors = true").await;
        assert_eq!(app.run_online("items").await.status, Success);
        app.database.close().await;
    }
    let body = serde_json::json!({ "data": null, "errors": [{ "message": "not allowed" }] });
    let answer = ResponseTemplate::new(200).set_body_json(body);
    let (_server, app) = api(answer, "$.data[*]", "").await;
    let run = app.run_online("items").await;
    assert_eq!(run.status, Failed, "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn one_page_of_an_api_that_has_no_more_is_a_success() {
    let body = serde_json::json!({
        "data": [{ "id": 1, "name": "a", "next": "x", "has_more": true }],
        "next": null, "has_more": false, "total": 1, "total_pages": 1,
    });
    let link = "<https://api.example.com/items?page=1>; rel=\"first\"";
    let answer = ResponseTemplate::new(200).insert_header("link", link).set_body_json(body);
    let (_server, app) = api(answer, "$.data[*]", "").await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, run.stop_reason), (Success, None));
    app.database.close().await;
}

#[tokio::test]
async fn check_refuses_a_dotted_name_without_a_dollar_and_says_what_to_write() {
    let (_server, app) = api(ResponseTemplate::new(200), "$", "").await;
    let job = app.read("items.toml");
    let job = job.replace("primary_key = [\"id\"]", "primary_key = [\"meta.id\"]");
    app.write("items.toml", job + "client = { from = \"client.name\" }\n\"a.b\" = {}\n");
    let ended = call(&app, &["check"]).await;
    ended.code(1).prints(&[
        "items.toml:2: primary_key[0]: `meta.id` is one key with a dot",
        "items.toml:9: fields.client.from: `client.name` is one key with a dot in its name: write `$.client.name`",
        "`$['client.name']` when the key is really called so",
        "items.toml:10: fields.\"a.b\": `a.b`",
    ]);
    call(&app, &["run", "items"])
        .await
        .code(1)
        .complains(&["items.toml:9: fields.client.from: `client.name`"]);
    let job = app.read("items.toml").replace("meta.id", "$.meta.id").replace("\"a.b\" = {}\n", "");
    app.write("items.toml", job.replace("\"client.name\"", "\"$['client.name']\""));
    call(&app, &["check"]).await.code(0);
    app.database.close().await;
}
