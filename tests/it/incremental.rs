//! Whole incremental runs against an API that filters: what they ask for, what they leave, and that the
//! watermark moves with the end of a run that had everything, and with nothing else.

use std::sync::{Arc, Mutex};

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};

/// When the API answers, by its own clock.
const DATE: &str = "Sat, 28 Nov 2026 12:00:00 GMT";
const SINCE: &str =
    "incremental = { cursor_path = \"$.at\", start_param = \"since\", lookback = \"10m\" }";

/// An API that lists what was changed since a time, two on a page, the oldest first.
struct Api {
    server: MockServer,
    /// `(id, name, at)`.
    records: Arc<Mutex<Vec<(i64, Value, String)>>>,
    /// The page that is refused.
    bad_page: Arc<Mutex<Option<usize>>>,
    /// How many requests were looked at.
    seen: Mutex<usize>,
}

impl Api {
    async fn start() -> Self {
        let server = MockServer::start().await;
        let records = Arc::new(Mutex::new(Vec::<(i64, Value, String)>::new()));
        let bad_page = Arc::new(Mutex::new(None));
        let (held, bad) = (Arc::clone(&records), Arc::clone(&bad_page));
        let answer = move |request: &Request| {
            let query: std::collections::HashMap<_, _> = request.url.query_pairs().collect();
            let page: usize = query["page"].parse().expect("a number");
            if *bad.lock().unwrap() == Some(page) {
                return ResponseTemplate::new(403);
            }
            let since = query.get("since").map(|since| since.to_string()).unwrap_or_default();
            let mut found: Vec<_> = held.lock().unwrap().clone();
            found.retain(|(.., at)| *at >= since);
            found.sort_by(|one, other| one.2.cmp(&other.2));
            let page = found.into_iter().skip((page - 1) * 2).take(2);
            let items: Vec<_> =
                page.map(|(id, name, at)| json!({ "id": id, "name": name, "at": at })).collect();
            ResponseTemplate::new(200).insert_header("date", DATE).set_body_json(items)
        };
        Mock::given(any()).respond_with(answer).mount(&server).await;
        Self { server, records, bad_page, seen: Mutex::new(0) }
    }

    fn put(&self, id: i64, name: impl Into<Value>, at: &str) {
        let mut records = self.records.lock().unwrap();
        records.retain(|(known, ..)| *known != id);
        records.push((id, name.into(), at.to_owned()));
    }

    async fn app(&self, lines: &str) -> TestApp {
        let app = TestApp::empty().await;
        self.write(&app, lines);
        app
    }

    fn write(&self, app: &TestApp, lines: &str) {
        let url = self.server.uri();
        app.write(
            "items.toml",
            format!(
                "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{url}\"\n\
                 paginator = {{ type = \"page_number\" }}\n{lines}\n[fields]\nname = {{ required = true }}\n"
            ),
        );
    }

    /// What was asked for since the last look.
    async fn asked(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.expect("requests are recorded");
        let seen = std::mem::replace(&mut *self.seen.lock().unwrap(), requests.len());
        requests[seen..]
            .iter()
            .map(|request| request.url.query().unwrap_or_default().to_owned())
            .collect()
    }
}

async fn watermark(app: &TestApp) -> Option<String> {
    let found = app
        .texts("select coalesce(state #>> '{rest,watermark}', 'none') from ingestion_checkpoints")
        .await;
    found.into_iter().next()
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

async fn run(app: &TestApp, mode: Mode) -> Run {
    app.run_as("items", &RunRequest { access: Access::Network, ..request(mode) }).await
}

#[tokio::test]
async fn the_next_run_asks_from_the_watermark_on_and_loads_only_what_is_new() {
    let api = Api::start().await;
    let app = api.app(SINCE).await;
    for (id, at) in
        [(1, "2026-11-28T09:00:00Z"), (2, "2026-11-28T10:00:00Z"), (3, "2026-11-28T11:00:00Z")]
    {
        api.put(id, "a", at);
    }
    let first = run(&app, Mode::Incremental).await;
    assert_eq!((first.status, first.counters.inserted), (Success, 3), "{first:?}");
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T11:00:00Z"));
    assert!(api.asked().await.iter().all(|query| !query.contains("since")));

    // One is late, one is changed.
    api.put(4, "late", "2026-11-28T10:55:00Z");
    api.put(1, "b", "2026-11-28T11:30:00Z");
    let second = run(&app, Mode::Incremental).await;
    let counters = &second.counters;
    assert_eq!(second.status, SuccessWithDuplicates, "{second:?}");
    assert_eq!((counters.inserted, counters.updated, counters.unchanged), (1, 1, 1));
    let asked = api.asked().await;
    assert!(
        asked.iter().all(|query| query.starts_with("since=2026-11-28T10%3A50%3A00Z&")),
        "{asked:?}"
    );
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T11:30:00Z"));

    // Nothing new, and everything once more.
    let third = run(&app, Mode::Incremental).await;
    assert_eq!((third.status, third.counters.unchanged), (SuccessWithDuplicates, 1), "{third:?}");
    api.asked().await;
    let full = run(&app, Mode::Full).await;
    assert_eq!((full.counters.rows_read, full.counters.unchanged), (4, 4), "{full:?}");
    assert!(api.asked().await.iter().all(|query| !query.contains("since")));
    app.database.close().await;
}

#[tokio::test]
async fn a_recording_has_everything_in_it_whatever_was_read_before() {
    let api = Api::start().await;
    let app = api.app(&format!("{SINCE}\nrecording = \"recordings/items\"")).await;
    for id in 1..=3 {
        api.put(id, format!("n{id}"), &format!("2026-11-0{id}T00:00:00Z"));
    }
    run(&app, Mode::Incremental).await;
    let before = watermark(&app).await;
    api.asked().await;
    let record = RunRequest { access: Access::Record, ..request(Mode::Incremental) };
    let recorded = app.run_as("items", &record).await;
    assert_eq!(recorded.counters.rows_read, 3, "{recorded:?}");
    assert!(note(&recorded).contains("a recording has everything"), "{recorded:?}");
    assert_eq!(api.asked().await, ["page=1", "page=2", "page=3"]);
    assert_eq!(watermark(&app).await, before);

    sqlx::query("truncate unified_records, ingestion_checkpoints")
        .execute(&app.pool)
        .await
        .unwrap();
    let offline = RunRequest { access: Access::Offline, ..request(Mode::Full) };
    let read = app.run_as("items", &offline).await;
    assert_eq!((read.status, read.counters.inserted), (Success, 3), "{read:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_run_that_lacks_something_moves_nothing_and_the_next_one_has_it() {
    let api = Api::start().await;
    let app = api.app(SINCE).await;
    api.put(1, "a", "2026-11-28T09:00:00Z");
    run(&app, Mode::Incremental).await;
    for (id, at) in
        [(2, "2026-11-28T10:00:00Z"), (3, "2026-11-28T11:00:00Z"), (4, "2026-11-28T11:30:00Z")]
    {
        api.put(id, "a", at);
    }
    *api.bad_page.lock().unwrap() = Some(2);
    let failed = run(&app, Mode::Incremental).await;
    assert_eq!((failed.status, failed.counters.inserted), (Failed, 1), "{failed:?}");
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T09:00:00Z"));
    *api.bad_page.lock().unwrap() = None;
    let next = run(&app, Mode::Incremental).await;
    assert_eq!((next.status, next.counters.inserted), (SuccessWithDuplicates, 2), "{next:?}");
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T11:30:00Z"));
    app.database.close().await;
}

#[tokio::test]
async fn records_from_the_future_without_a_cursor_or_set_aside_stop_nothing() {
    let api = Api::start().await;
    let app = api.app(SINCE).await;
    api.put(1, "a", "2026-11-28T09:00:00Z");
    api.put(2, Value::Null, "2026-11-28T10:00:00Z");
    api.put(3, "a", "soon");
    let run_ = run(&app, Mode::Incremental).await;
    assert_eq!((run_.counters.inserted, run_.counters.quarantined), (2, 1), "{run_:?}");
    assert!(note(&run_).contains("1 of 3 records have no readable cursor"), "{}", note(&run_));
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T10:00:00Z"));
    api.put(4, "a", "2099-01-01T00:00:00Z");
    run(&app, Mode::Incremental).await;
    // No clock stamped it, so it says nothing of what is stamped next, if that clock is late.
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T10:00:00Z"));
    api.put(5, "a", "2026-11-28T12:00:00Z");
    api.put(6, "a", "2026-11-28T11:00:00Z");
    run(&app, Mode::Incremental).await;
    assert_eq!(app.number("select count(*) from unified_records").await, 5);
    assert_eq!(watermark(&app).await.as_deref(), Some("2026-11-28T12:00:00Z"));
    // Nobody can read this one.
    api.write(&app, &SINCE.replace("$.at", "$.updated"));
    let blind = run(&app, Mode::Incremental).await;
    assert_eq!(blind.status, Degraded, "{blind:?}");
    for says in
        ["asks the API for something else than run", "none of 6 records has a readable cursor"]
    {
        assert!(note(&blind).contains(says), "{}", note(&blind));
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_body_is_asked_for_with_the_start_in_it() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200)
        .insert_header("date", DATE)
        .set_body_json(json!([{ "id": 1, "name": "a", "at": 1_795_000_000_123_i64 }]));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             json = {{ where = {{ since = \"${{incremental.start}}\", day = \"d${{incremental.start:%d}}\" }} }}\n\
             incremental = {{ cursor_path = \"$.at\", type = \"epoch_ms\", initial_value = 0 }}\n\
             [fields]\nname = {{}}\n",
            server.uri()
        ),
    );
    for _ in 0..2 {
        run(&app, Mode::Incremental).await;
    }
    let asked = server.received_requests().await.expect("requests are recorded");
    let bodies: Vec<Value> =
        asked.iter().map(|request| serde_json::from_slice(&request.body).expect("JSON")).collect();
    assert_eq!(
        bodies,
        [
            json!({ "where": { "since": 0, "day": "d01" } }),
            json!({ "where": { "since": 1_795_000_000_123_i64, "day": "d18" } }),
        ]
    );
    app.database.close().await;
}

#[tokio::test]
async fn an_edited_mapping_normalizes_what_is_stored_again_and_asks_for_nothing() {
    let api = Api::start().await;
    let app = api.app(SINCE).await;
    for (id, at) in [(1, "2026-11-28T09:00:00Z"), (2, "2026-11-28T10:00:00Z")] {
        api.put(id, "a", at);
        run(&app, Mode::Incremental).await;
    }
    api.asked().await;
    let job = app.read("items.toml");
    app.write("items.toml", format!("{job}seen = {{ from = \"$.at\" }}\n"));
    let edited = run(&app, Mode::Incremental).await;
    assert_eq!((edited.mode, edited.counters.updated), (Mode::Replay, 2), "{edited:?}");
    assert_eq!(
        (api.asked().await.len(), watermark(&app).await.as_deref()),
        (0, Some("2026-11-28T10:00:00Z"))
    );
    let next = run(&app, Mode::Incremental).await;
    assert_eq!((next.mode, next.counters.unchanged), (Mode::Incremental, 1), "{next:?}");
    assert!(api.asked().await[0].starts_with("since=2026-11-28T09%3A50"));
    // What is stored lacks something: everything is read again.
    let seen = app.read("items.toml");
    app.write("items.toml", seen.replace("seen", "changed"));
    app.number("with gone as (delete from raw_api_pages returning 1) select count(*) from gone")
        .await;
    let again = run(&app, Mode::Incremental).await;
    assert_eq!((again.mode, again.counters.updated), (Mode::Full, 2), "{again:?}");
    app.database.close().await;
}

#[tokio::test]
async fn exploded_orders_are_lines_with_their_order_at_parent() {
    let server = MockServer::start().await;
    let orders = json!([
        { "id": 7, "currency": "EUR", "lines": [{ "sku": "a", "price": 1.5 }, { "sku": "b" }] },
        { "id": 8, "currency": "USD", "lines": [{ "sku": "a", "price": 2 }, 3] },
        { "id": 9, "currency": "USD", "lines": [] },
    ]);
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(orders))
        .mount(&server)
        .await;
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"$._parent.id\", \"sku\"]\n[rest_api]\nbase_url = \"{}\"\n\
             explode = \"lines\"\n[fields]\nname = {{ from = \"$.sku\" }}\n\
             currency = {{ from = \"$._parent.currency\" }}\nprice = {{ type = \"decimal\" }}\n",
            server.uri()
        ),
    );
    let run = run(&app, Mode::Incremental).await;
    let counters = &run.counters;
    assert_eq!((counters.rows_read, counters.inserted, counters.quarantined), (4, 3, 1), "{run:?}");
    let rows = app
        .texts("select external_id || ' ' || currency || ' ' || raw_row from unified_records order by raw_row")
        .await;
    assert_eq!(rows, ["7|a EUR 1", "7|b EUR 2", "8|a USD 3"]);
    app.database.close().await;
}

#[tokio::test]
async fn only_a_full_run_that_asks_for_all_that_was_read_finds_what_is_missing() {
    const GONE: &str =
        "select external_id from unified_records where deleted_at is not null order by 1";
    const MISSING: &str = "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    let since = |initial: &str| {
        let initial = format!("initial_value = \"{initial}\", lookback");
        SINCE.replace("lookback", &initial)
    };
    let api = Api::start().await;
    let app = TestApp::empty().await;
    let write = |initial: &str| {
        api.write(&app, &since(initial));
        app.write("items.toml", app.read("items.toml") + MISSING);
    };
    write("2026-11-28T08:00:00Z");
    for (id, hour) in [(1, 9), (2, 10), (3, 11), (4, 12)] {
        api.put(id, "a", &format!("2026-11-28T{hour:02}:00:00Z"));
    }
    let remove = |id: i64| api.records.lock().unwrap().retain(|(known, ..)| *known != id);
    run(&app, Mode::Incremental).await;
    remove(3);
    run(&app, Mode::Incremental).await;
    assert!(app.texts(GONE).await.is_empty());
    // Pages that are asked for by number may have moved: two runs must lack it.
    let full = run(&app, Mode::Full).await;
    assert!(note(&full).contains("1 record missing, 0 marked as deleted"), "{full:?}");
    let full = run(&app, Mode::Full).await;
    assert!(note(&full).contains("marked as deleted"), "{full:?}");
    assert_eq!(app.texts(GONE).await, ["3"]);
    // What is before a later beginning is not asked for, and may be there all the same.
    write("2026-11-28T09:30:00Z");
    remove(4);
    for mode in [Mode::Incremental, Mode::Full, Mode::Full] {
        run(&app, mode).await;
        assert_eq!(app.texts(GONE).await, ["3"]);
    }
    let full = run(&app, Mode::Full).await;
    assert!(note(&full).contains("no record counts as missing"), "{full:?}");
    write("2026-11-28T08:00:00Z");
    run(&app, Mode::Full).await;
    run(&app, Mode::Full).await;
    assert_eq!(app.texts(GONE).await, ["3", "4"]);
    // Without a beginning everything is asked for.
    api.write(&app, SINCE);
    app.write("items.toml", app.read("items.toml") + MISSING);
    remove(1);
    run(&app, Mode::Full).await;
    run(&app, Mode::Full).await;
    assert_eq!(app.texts(GONE).await, ["1", "3", "4"]);
    // A run that lacks something proves nothing.
    remove(2);
    api.put(5, "a", "2026-11-28T09:00:00Z");
    api.put(6, "a", "2026-11-28T09:01:00Z");
    api.put(7, "a", "2026-11-28T09:02:00Z");
    *api.bad_page.lock().unwrap() = Some(2);
    assert_eq!(run(&app, Mode::Full).await.status, Failed);
    assert_eq!(app.texts(GONE).await, ["1", "3", "4"]);
    app.database.close().await;
}

#[tokio::test]
async fn an_answer_that_says_that_something_is_wrong_leaves_the_watermark_where_it_is() {
    let server = MockServer::start().await;
    let bodies = Mutex::new(vec![
        json!({ "data": [{ "id": 2, "name": "b", "at": "2026-11-02T00:00:00Z" }] }),
        json!({ "data": [], "error": "quota exceeded" }),
        json!({ "data": [{ "id": 1, "name": "a", "at": "2026-11-01T00:00:00Z" }] }),
    ]);
    let answer = move |_: &Request| {
        let body = bodies.lock().unwrap().pop().expect("one run more");
        ResponseTemplate::new(200)
            .insert_header("date", "Sat, 21 Nov 2026 12:00:00 GMT")
            .set_body_json(body)
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             data_selector = \"$.data[*]\"\nincremental = {{ cursor_path = \"$.at\", start_param = \"since\", \
             end_param = \"until\" }}\n[fields]\nname = {{}}\n",
            server.uri()
        ),
    );
    assert_eq!(run(&app, Mode::Incremental).await.status, Success);
    let before = watermark(&app).await;
    let degraded = run(&app, Mode::Incremental).await;
    assert_eq!(degraded.status, Degraded, "{degraded:?}");
    assert!(note(&degraded).contains("quota exceeded"), "{degraded:?}");
    assert_eq!(watermark(&app).await, before);
    let healed = run(&app, Mode::Incremental).await;
    assert_eq!((healed.status, healed.counters.inserted), (Success, 1), "{healed:?}");
    drop(server);
    app.database.close().await;
}
