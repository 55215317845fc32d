//! The HTTP API against a real database. No worker runs: a started run stays queued.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use kasparro::api::{self, AuthConfig, WithoutToken};

use crate::app::TestApp;

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n\n[csv]\npaths = [\"*.csv\"]\n\n\
                   [fields]\nname = { column = \"name\", type = \"text\" }\n";

/// An app that serves its API.
pub struct TestApi {
    pub app: TestApp,
    pub pool: sqlx::PgPool,
    pub client: reqwest::Client,
    pub base: String,
}

impl TestApi {
    pub async fn admitting_this_machine() -> Self {
        Self::admitting(AuthConfig::of(WithoutToken::ThisMachine)).await
    }

    pub async fn admitting(auth_config: AuthConfig) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let app = TestApp::empty().await;
        let listener = api::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let pool = app.pool.clone();
        let state = app.api_state();
        // Ends with the test's runtime.
        let end = std::future::pending();
        tokio::spawn(api::serve(state, auth_config, listener, Duration::ZERO, end));
        // A connection for each request: the API ends those on which nothing is said for a while.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let client = client.build().unwrap();
        Self { app, pool, client, base }
    }

    fn write_job(&self, source: &str, toml: &str) {
        self.app.write(&format!("{source}.toml"), toml);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub async fn patch_json(&self, path: &str, body: Value) -> Response {
        self.client.patch(self.url(path)).json(&body).send().await.unwrap()
    }

    pub async fn post_json(&self, path: &str, body: Value) -> Response {
        self.client.post(self.url(path)).json(&body).send().await.unwrap()
    }
}

/// An app with the sources `products_csv` and `vendors_csv`.
async fn app() -> TestApi {
    let app = TestApi::admitting_this_machine().await;
    app.write_job("products_csv", JOB);
    app.write_job("vendors_csv", JOB);
    app
}

/// The body of a problem, after checking what all problems have in common.
pub async fn problem(response: Response, status: u16, kind: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], format!("urn:kasparro:problem:{kind}"), "{body}");
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string());
    body
}

async fn items(app: &TestApi, path: &str) -> (Vec<Value>, Option<String>) {
    let response = app.get(path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let body: Value = response.json().await.unwrap();
    let cursor = body["next_cursor"].as_str().map(str::to_owned);
    (body["items"].as_array().unwrap().clone(), cursor)
}

/// Every item of a list, page by page.
async fn all_pages(app: &TestApi, path: &str) -> Vec<Value> {
    let (mut all, mut next) = items(app, path).await;
    while let Some(cursor) = next {
        let (page, following) = items(app, &format!("{path}&cursor={cursor}")).await;
        all.extend(page);
        next = following;
    }
    all
}

async fn execute(app: &TestApi, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&app.pool).await.unwrap();
}

#[tokio::test]
async fn a_run_is_accepted_once_and_the_second_request_is_told_which_one_is_active() {
    let app = app().await;
    let started = app.post_json("/runs", json!({ "source": "products_csv", "mode": "full" })).await;
    assert_eq!(started.status(), StatusCode::ACCEPTED);
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    let run: Value = started.json().await.unwrap();
    assert_eq!(location, format!("/runs/{}", run["id"]));
    assert_eq!((&run["status"], &run["mode"]), (&json!("queued"), &json!("full")));
    assert_eq!(app.get(&location).await.json::<Value>().await.unwrap(), run);

    let busy = app.post_json("/runs", json!({ "source": "products_csv" })).await;
    let busy = problem(busy, 409, "run-active").await;
    assert_eq!(busy["run_id"], run["id"]);

    let (tasks, _) = items(&app, &format!("{location}/tasks")).await;
    assert_eq!(tasks[0]["key"], "plan_run");
}

#[tokio::test]
async fn simultaneous_requests_with_one_idempotency_key_start_one_run() {
    let app = app().await;
    let post = || {
        let body = json!({ "source": "products_csv" });
        app.client.post(app.url("/runs")).header("Idempotency-Key", "k").json(&body).send()
    };
    let answers = futures::future::try_join_all((0..8).map(|_| post())).await.unwrap();
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    statuses.sort();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 202]);
    assert_eq!(items(&app, "/runs").await.0.len(), 1);
}

#[tokio::test]
async fn several_sources_are_started_independently() {
    let app = app().await;
    app.write_job("broken_csv", "kind = 3");
    app.post_json("/runs", json!({ "source": "vendors_csv" })).await;
    let answer = app.post_json("/runs", json!({ "all": true })).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let body: Value = answer.json().await.unwrap();
    let runs = body["runs"].as_array().unwrap();
    let outcomes: Vec<_> = runs.iter().map(|run| (&run["source"], &run["outcome"])).collect();
    assert_eq!(outcomes[0], (&json!("broken_csv"), &json!("invalid")));
    assert_eq!(outcomes[1], (&json!("products_csv"), &json!("started")));
    assert_eq!(outcomes[2], (&json!("vendors_csv"), &json!("busy")));
    let both = json!({ "sources": ["products_csv", "vendors_csv"] });
    problem(app.post_json("/runs", both).await, 409, "run-active").await;
}

#[tokio::test]
async fn a_source_that_is_unknown_or_broken_starts_nothing() {
    let app = app().await;
    app.write_job("broken_csv", "kind = 3");
    let asked = json!({ "sources": ["products_csv", "nope"] });
    let unknown = problem(app.post_json("/runs", asked).await, 404, "unknown-source").await;
    assert_eq!(unknown["known_sources"], json!(["broken_csv", "products_csv", "vendors_csv"]));
    let asked = json!({ "sources": ["products_csv", "broken_csv"] });
    let broken = problem(app.post_json("/runs", asked).await, 422, "invalid-job-file").await;
    assert!(broken["detail"].as_str().unwrap().contains("broken_csv.toml"));
    assert!(items(&app, "/runs").await.0.is_empty());
}

#[tokio::test]
async fn a_body_that_cannot_be_followed_is_refused_with_the_reason() {
    let app = app().await;
    let unknown_field = app.post_json("/runs", json!({ "sorce": "products_csv" })).await;
    let unknown_field = problem(unknown_field, 422, "invalid-request").await;
    assert!(unknown_field["detail"].as_str().unwrap().contains("`sorce`"));
    let none = app.post_json("/runs", json!({})).await;
    problem(none, 422, "invalid-request").await;
    let send = |content_type: &'static str, body: Vec<u8>| {
        let request = app.client.post(app.url("/runs")).header("content-type", content_type);
        async { request.body(body).send().await.unwrap() }
    };
    let broken = send("application/json", b"{\"source\": ".to_vec()).await;
    let broken = problem(broken, 400, "malformed-body").await;
    assert!(broken["detail"].as_str().unwrap().contains("line 1 column 11"));
    let not_json = send("text/plain", b"{}".to_vec()).await;
    problem(not_json, 415, "unsupported-media-type").await;
    let large = send("application/json", vec![b' '; (1 << 20) + 1]).await;
    problem(large, 413, "body-too-large").await;
}

#[tokio::test]
async fn paths_methods_and_parameters_that_do_not_exist_are_problems() {
    let app = app().await;
    problem(app.get("/nothing").await, 404, "unknown-path").await;
    problem(app.get("/runs/7").await, 404, "unknown-run").await;
    problem(app.get("/runs/7/tasks").await, 404, "unknown-run").await;
    problem(app.get("/records/products_csv/x%00").await, 404, "unknown-record").await;
    problem(app.get("/schemas/nope").await, 404, "unknown-source").await;
    for path in ["/runs/x", "/records/products_csv/%FF", "/records/BAD/x"] {
        problem(app.get(path).await, 400, "invalid-parameter").await;
    }
    for query in ["limit=0", "limit=x", "limit=1001", "status=x", "source=%00", "cursor=x"] {
        problem(app.get(&format!("/runs?{query}")).await, 400, "invalid-parameter").await;
    }
    let misspelled = problem(app.get("/runs?limt=7").await, 400, "invalid-parameter").await;
    let expected = "parameter `limt` is not known here; did you mean `limit`?";
    assert_eq!(misspelled["detail"], expected);
    problem(app.get("/stats?source=products_csv").await, 400, "invalid-parameter").await;
    assert_eq!(app.get("/health?at=1").await.status(), 200);
    let wrong = app.client.delete(app.url("/runs")).send().await.unwrap();
    assert_eq!(wrong.headers()["allow"], "POST, GET, HEAD");
    problem(wrong, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn a_list_read_page_by_page_is_the_whole_list() {
    let app = app().await;
    execute(
        &app,
        "insert into unified_records (source, external_id, content_hash, price, attributes, \
                                      raw_ref, raw_row, first_run_id, last_run_id)
         select s, 'id/' || i || ' %ä', '\\x00', 12345678901234567890123456789012345678.90,
                '{\"n\": 0.12345678901234567890}', 'file/1', i, 1, 1
         from unnest(array['a', 'b']) s, generate_series(1, 5) i",
    )
    .await;
    assert_eq!(all_pages(&app, "/records?limit=3").await.len(), 10);
    let records = all_pages(&app, "/records?limit=2&source=b").await;
    let rows: Vec<_> = records.iter().map(|record| record["raw_row"].as_i64().unwrap()).collect();
    assert_eq!(rows, [1, 2, 3, 4, 5]);
    let record = app.get("/records/b/id%2F2%20%25%C3%A4").await.text().await.unwrap();
    assert!(record.contains(r#""price":"12345678901234567890123456789012345678.90""#), "{record}");
    assert!(record.contains(r#"{"n":0.12345678901234567890}"#), "{record}");
}

#[tokio::test]
async fn quarantined_rows_show_their_bytes_and_can_be_grouped() {
    let app = app().await;
    execute(
        &app,
        "insert into quarantined_rows (source, raw_ref, raw_row, field, reason, run_id, message, \
                                       raw, fingerprint) values
         ('a', 'file/1', 1, 'price', 'invalid_decimal', 1, 'm', '1,x', '\\x01'),
         ('a', 'file/1', 2, 'price', 'invalid_decimal', 1, 'm', '\\xff', '\\x01'),
         ('a', 'file/1', 3, '', 'stray_quote', 1, 'm', convert_to(repeat('ä', 9000), 'UTF8'), '\\x02')",
    )
    .await;
    let rows = all_pages(&app, "/quarantine?limit=1").await;
    assert_eq!((&rows[0]["raw_text"], &rows[0]["raw_base64"]), (&json!("1,x"), &Value::Null));
    assert_eq!((&rows[1]["raw_text"], &rows[1]["raw_base64"]), (&Value::Null, &json!("/w==")));
    assert_eq!((&rows[2]["field"], &rows[2]["raw_cut"]), (&Value::Null, &json!(true)));
    let (groups, _) = items(&app, "/quarantine?group_by=fingerprint").await;
    assert_eq!((&groups[0]["fingerprint"], &groups[0]["rows"]), (&json!("01"), &json!(2)));
    assert_eq!(items(&app, "/quarantine?reason=stray_quote").await.0.len(), 1);
    problem(app.get("/quarantine?reason=x").await, 400, "invalid-parameter").await;
}

#[tokio::test]
async fn sources_show_their_job_files_and_how_they_do() {
    let app = app().await;
    app.write_job("broken_csv", "kind = 3");
    app.post_json("/runs", json!({ "source": "vendors_csv" })).await;
    let (sources, _) = items(&app, "/sources").await;
    assert!(sources[0]["problem"].is_string());
    assert_eq!((&sources[1]["kind"], &sources[1]["last_run"]), (&json!("csv"), &Value::Null));
    assert_eq!(sources[2]["last_run"]["status"], "queued");
    assert!(items(&app, "/schemas/products_csv").await.0.is_empty());
    assert!(items(&app, "/drift").await.0.is_empty());
    let stats: Value = app.get("/stats").await.json().await.unwrap();
    assert_eq!((&stats["runs"]["queued"], &stats["queue"]["open_tasks"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn health_says_ok_and_docs_are_served() {
    let app = app().await;
    let health = app.get("/health").await.text().await.unwrap();
    assert_eq!(health, r#"{"status":"ok","database":"ok"}"#);
    assert_eq!(app.get("/health/ready").await.status(), StatusCode::OK);
    let document = app.get("/openapi.json").await.text().await.unwrap();
    assert_eq!(document, kasparro::api::openapi_json());
    // `/` leads here.
    assert!(app.get("/").await.text().await.unwrap().contains("/docs/swagger-ui.js"));
    assert!(app.get("/docs/swagger-ui.js").await.status().is_success());
}

#[tokio::test]
async fn requests_that_get_no_connection_are_told_so_in_time() {
    let app = app().await;
    app.pool.close().await;
    let started = std::time::Instant::now();
    let health = app.get("/health").await;
    // A pool that is closed is no database that is away: the check opens a connection of its own.
    assert_eq!(health.status(), StatusCode::OK);
    problem(app.get("/stats").await, 503, "unavailable").await;
    assert!(started.elapsed() < std::time::Duration::from_secs(25));
}

#[tokio::test]
async fn a_source_is_looked_at_and_nothing_of_it_is_loaded() {
    let api = TestApi::admitting_this_machine().await;
    api.write_job(
        "lines",
        "kind = \"csv\"\nprimary_key = [\"key\"]\n[csv]\npaths = [\"lines.csv\"]\n\
         [fields]\nname = { required = true }\n",
    );
    api.app.write("lines.csv", "key,name\n1,one\n2,\n3,three\n4,four\n5,five\n");
    api.write_job("broken", "kind = \"csv\"\n");
    api.write_job("gone", "kind = \"csv\"\nprimary_key = [\"key\"]\n[csv]\npaths = [\"gone.csv\"]\n[fields]\nname = {}\n");
    let preview = async |source: &str| {
        let url = api.url(&format!("/sources/{source}/preview"));
        let answer = api.client.post(url).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, seen) = preview("lines").await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!(seen["counts"], json!({ "records": 4, "set_aside": 1 }));
    assert_eq!(seen["slices"][0]["rows"], 5);
    assert_eq!(seen["records"].as_array().unwrap().len(), 3);
    assert_eq!(seen["records"][0]["external_id"], "1");
    assert_eq!(
        (&seen["records"][0]["name"], &seen["set_aside"][0]["row"]),
        (&json!("one"), &json!(2))
    );
    assert_eq!(seen["findings"][0]["topic"], "layout");
    assert_eq!(api.app.number("select count(*) from unified_records").await, 0);
    assert_eq!(api.app.number("select count(*) from etl_runs").await, 0);
    for (source, expected, kind) in [
        ("nobody", 404, "unknown-source"),
        ("broken", 422, "invalid-job-file"),
        ("gone", 502, "unreadable-source"),
    ] {
        let (status, problem) = preview(source).await;
        assert_eq!(
            (status, &problem["type"]),
            (expected, &json!(format!("urn:kasparro:problem:{kind}"))),
            "{problem}"
        );
    }
}
