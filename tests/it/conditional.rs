//! `conditional = true`: pages that have not changed cost nothing, and the table is what it would be without.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Failed, Success, SuccessWithDuplicates};
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};

/// An API of pages with a version each, and how often it sent a body and said that there is nothing new.
#[derive(Default)]
struct Api {
    /// What it has: pages of names.
    pages: BTreeMap<usize, Vec<String>>,
    /// By `Last-Modified` and not by `ETag`.
    dated: bool,
    sent: usize,
    unchanged: usize,
}

impl Api {
    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        let page = request.url.query_pairs().find(|(name, _)| name == "page");
        let page: usize = page.map_or(1, |(_, number)| number.parse().unwrap());
        let names = self.pages.get(&page).cloned().unwrap_or_default();
        let rows = names.iter().enumerate();
        let rows: Value =
            rows.map(|(n, name)| json!({ "id": 10 * page + n, "name": name })).collect();
        let (header, value, condition) = match self.dated {
            // A second for each version.
            true => {
                let seconds = names.concat().len() as u64;
                let at =
                    std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 + seconds);
                ("last-modified", httpdate::fmt_http_date(at), "if-modified-since")
            }
            false => ("etag", format!("W/\"{}\"", names.join("+")), "if-none-match"),
        };
        let known = request.headers.get(condition).is_some_and(|known| known == value.as_str());
        if known {
            self.unchanged += 1;
            return ResponseTemplate::new(304).insert_header(header, value.as_str());
        }
        self.sent += 1;
        ResponseTemplate::new(200).set_body_json(rows).insert_header(header, value.as_str())
    }
}

async fn serve(api: &Arc<Mutex<Api>>) -> MockServer {
    let server = MockServer::start().await;
    let api = api.clone();
    Mock::given(method("GET"))
        .respond_with(move |request: &Request| api.lock().unwrap().answer(request))
        .mount(&server)
        .await;
    server
}

async fn coins(base_url: &str, lines: &str) -> TestApp {
    let app = TestApp::empty().await;
    write(&app, base_url, lines);
    app
}

fn write(app: &TestApp, base_url: &str, lines: &str) {
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{base_url}\"\n\
         path = \"coins\"\nconditional = true\n{lines}\n\
         paginator = {{ type = \"page_number\" }}\n[fields]\n\
         name = {{ from = \"$.name\", type = \"text\" }}\n"
    );
    app.write("coins.toml", job);
}

const NAMES: &str = "select external_id || ' ' || name from unified_records order by external_id";

fn api(dated: bool) -> Arc<Mutex<Api>> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let pages = [(1, names(&["a", "b"])), (2, names(&["c", "d"])), (3, names(&["e"]))];
    Arc::new(Mutex::new(Api { pages: pages.into_iter().collect(), dated, ..Api::default() }))
}

fn counts(api: &Mutex<Api>) -> (usize, usize) {
    let mut api = api.lock().unwrap();
    let counts = (api.sent, api.unchanged);
    (api.sent, api.unchanged) = (0, 0);
    counts
}

#[tokio::test]
async fn pages_that_have_not_changed_are_not_sent_again_and_count_as_read() {
    for dated in [false, true] {
        let api = api(dated);
        let server = serve(&api).await;
        let app = coins(&server.uri(), "").await;
        assert_eq!(app.run_online("coins").await.status, Success);
        assert_eq!(counts(&api), (4, 0), "three pages and the empty one behind them");
        let again = app.run_online("coins").await;
        assert_eq!(again.status, SuccessWithDuplicates, "{again:?}");
        assert_eq!((again.counters.rows_read, again.counters.unchanged), (5, 5));
        assert_eq!(counts(&api), (0, 4));

        api.lock().unwrap().pages.get_mut(&2).unwrap().push("new".to_owned());
        let changed = app.run_online("coins").await;
        assert_eq!((changed.counters.rows_read, changed.counters.inserted), (6, 1), "{changed:?}");
        assert_eq!(counts(&api), (1, 3));
        assert_eq!(app.texts(NAMES).await, ["10 a", "11 b", "20 c", "21 d", "22 new", "30 e"]);
        app.database.close().await;
    }
}

#[tokio::test]
async fn another_job_file_a_full_run_and_a_page_that_is_gone_ask_for_everything() {
    let api = api(false);
    let server = serve(&api).await;
    let app = coins(&server.uri(), "").await;
    app.run_online("coins").await;
    assert_eq!(counts(&api), (4, 0));

    write(&app, &server.uri(), "headers = { accept-language = \"de\" }");
    app.run_online("coins").await;
    assert_eq!(counts(&api), (4, 0), "the job file is another");
    app.run_online("coins").await;
    assert_eq!(counts(&api), (0, 4));

    let full = RunRequest { access: Access::Network, ..request(Mode::Full) };
    app.run_as("coins", &full).await;
    assert_eq!(counts(&api), (4, 0), "a full run sees for itself");

    sqlx::query("delete from raw_api_pages where url like '%page=2'")
        .execute(&app.pool)
        .await
        .unwrap();
    let run = app.run_online("coins").await;
    assert_eq!((run.status, run.counters.rows_read), (SuccessWithDuplicates, 5), "{run:?}");
    assert_eq!(counts(&api), (1, 3), "the page is not kept any more");
    app.database.close().await;
}

#[tokio::test]
async fn another_key_asks_for_everything_and_none_is_kept() {
    let api = api(false);
    let server = serve(&api).await;
    for auth in [
        "auth = { type = \"bearer\", token = { file = \"key\" } }",
        "auth = { type = \"basic\", username = \"me\", password = { file = \"key\" } }",
        "headers = { x-key = { file = \"key\" } }",
    ] {
        let app = coins(&server.uri(), auth).await;
        app.write("key", "the key of an account");
        app.run_online("coins").await;
        assert_eq!(counts(&api), (4, 0));
        app.run_online("coins").await;
        assert_eq!(counts(&api), (0, 4), "the same key, {auth}");

        app.write("key", "the key of another one");
        app.run_online("coins").await;
        assert_eq!(counts(&api), (4, 0), "another key, {auth}");
        app.run_online("coins").await;
        assert_eq!(counts(&api), (0, 4), "{auth}");
        let kept = "select count(distinct credentials_hash)::text from page_validators";
        assert_eq!(app.texts(kept).await, ["1"]);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_page_that_may_change_within_the_second_of_its_date_is_asked_for_again() {
    let server = MockServer::start().await;
    let page = |request: &Request| {
        assert!(request.headers.get("if-modified-since").is_none(), "{request:?}");
        let now = httpdate::fmt_http_date(std::time::SystemTime::now());
        let first = request.url.query().is_none_or(|query| query.ends_with("page=1"));
        let rows = if first { json!([{ "id": 1, "name": "a" }]) } else { json!([]) };
        ResponseTemplate::new(200)
            .set_body_json(rows)
            .insert_header("date", now.as_str())
            .insert_header("last-modified", now.as_str())
    };
    Mock::given(method("GET")).respond_with(page).mount(&server).await;
    let app = coins(&server.uri(), "").await;
    for _ in 0..2 {
        app.run_online("coins").await;
    }
    assert_eq!(app.texts("select etag from page_validators").await, [""; 0]);
    app.database.close().await;
}

#[tokio::test]
async fn an_answer_that_nothing_is_new_although_nobody_asked_is_an_error() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(304)).mount(&server).await;
    let app = coins(&server.uri(), "").await;
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Failed, "{run:?}");
    let error = run.error.unwrap();
    assert!(error.contains("304 Not Modified, although it was not asked"), "{error}");
    app.database.close().await;
}
