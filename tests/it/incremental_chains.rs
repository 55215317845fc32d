//! Whole incremental runs whose chains go on where others ended: at the cursor of the run before, and at the last
//! record of a query that gives no more.

use std::collections::HashMap;
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

/// The second of the first event.
const BEGIN: i64 = 1_764_547_200;

fn query(request: &Request) -> HashMap<String, String> {
    request.url.query_pairs().into_owned().collect()
}

async fn run(app: &TestApp, mode: Mode) -> Run {
    app.run_as("items", &RunRequest { access: Access::Network, ..request(mode) }).await
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

/// An export of changes, two on a page: an event a second. Its cursors are of one generation.
#[derive(Default)]
struct Export {
    events: i64,
    generation: u32,
    /// What a cursor of another generation is answered.
    refusal: u16,
    /// The event at which a page cannot be had.
    broken: Option<i64>,
}

impl Export {
    fn answer(&self, request: &Request) -> ResponseTemplate {
        let query = query(request);
        let from = match (query.get("cursor"), query.get("start")) {
            (Some(cursor), None) => {
                let (generation, from) = cursor[1..].split_once('-').expect("a cursor");
                if generation.parse() != Ok(self.generation) {
                    let error = json!({ "ok": false, "error": "cursor expired", "items": [] });
                    return ResponseTemplate::new(self.refusal).set_body_json(error);
                }
                from.parse().expect("a number")
            }
            (None, Some(start)) => (start.parse::<i64>().expect("seconds") - BEGIN).max(0),
            both => panic!("one of the two, never both: {both:?}"),
        };
        if self.broken.is_some_and(|broken| broken == from) {
            return ResponseTemplate::new(403);
        }
        let end = (from + 2).min(self.events).max(from);
        let items: Vec<_> =
            (from..end).map(|n| json!({ "id": n, "name": "a", "at": BEGIN + n })).collect();
        let cursor = format!("g{}-{end}", self.generation);
        let body = json!({ "items": items, "after": cursor, "done": end >= self.events });
        ResponseTemplate::new(200).set_body_json(body)
    }
}

/// A server that answers so, and an app with a source of it.
async fn export(lines: &str) -> (MockServer, Arc<Mutex<Export>>, TestApp) {
    let export = Arc::new(Mutex::new(Export { events: 5, ..Export::default() }));
    let server = MockServer::start().await;
    let held = Arc::clone(&export);
    let answer = move |request: &Request| held.lock().unwrap().answer(request);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             paginator = {{ type = \"cursor\", cursor_path = \"$.after\", param = \"cursor\", \
             end_path = \"$.done\", resume = true }}\n\
             incremental = {{ cursor_path = \"$.at\", type = \"epoch\", start_param = \"start\", \
             initial_value = \"2025-12-01T00:00:00Z\", lookback = \"2s\" }}\n\
             data_selector = \"$.items\"\n{lines}\n[fields]\nname = {{ required = true }}\n",
            server.uri()
        ),
    );
    (server, export, app)
}

/// What was asked since `seen`.
async fn asked(server: &MockServer, seen: &mut usize) -> Vec<String> {
    let requests = server.received_requests().await.expect("requests are recorded");
    let from = std::mem::replace(seen, requests.len());
    requests[from..].iter().map(|r| r.url.query().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_run_goes_on_at_the_cursor_at_which_the_last_good_one_ended() {
    let (server, export, app) = export("").await;
    let mut seen = 0;
    let first = run(&app, Mode::Incremental).await;
    assert_eq!((first.status, first.counters.inserted), (Success, 5), "{first:?}");
    let start = format!("start={BEGIN}");
    assert_eq!(asked(&server, &mut seen).await, [start.as_str(), "cursor=g0-2", "cursor=g0-4"]);
    export.lock().unwrap().events = 8;
    let second = run(&app, Mode::Incremental).await;
    assert_eq!((second.status, second.counters.rows_read), (Success, 3), "{second:?}");
    assert_eq!(asked(&server, &mut seen).await, ["cursor=g0-5", "cursor=g0-7"]);
    // Nothing new.
    let third = run(&app, Mode::Incremental).await;
    assert_eq!((third.status, third.counters.rows_read), (Success, 0), "{third:?}");
    assert_eq!(asked(&server, &mut seen).await, ["cursor=g0-8"]);
    // A run that lacks something leaves the cursor where it was.
    export.lock().unwrap().events = 12;
    export.lock().unwrap().broken = Some(10);
    let failed = run(&app, Mode::Incremental).await;
    assert_eq!((failed.status, failed.counters.inserted), (Failed, 2), "{failed:?}");
    export.lock().unwrap().broken = None;
    asked(&server, &mut seen).await;
    let next = run(&app, Mode::Incremental).await;
    assert_eq!((next.status, next.counters.inserted), (SuccessWithDuplicates, 2), "{next:?}");
    assert_eq!(asked(&server, &mut seen).await, ["cursor=g0-8", "cursor=g0-10"]);
    // Everything has no cursor to begin with.
    let full = run(&app, Mode::Full).await;
    assert_eq!((full.counters.rows_read, full.counters.unchanged), (12, 12), "{full:?}");
    assert_eq!(asked(&server, &mut seen).await[0], start);
    run(&app, Mode::Incremental).await;
    assert_eq!(asked(&server, &mut seen).await, ["cursor=g0-12"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_run_whose_cursor_is_refused_goes_on_from_the_watermark() {
    for (refusal, lines) in [
        (410, ""),
        (400, ""),
        (404, ""),
        (200, ""),
        (403, "responses = [{ status = 403, contains = \"expired\", action = \"fail\" }]"),
        (400, "responses = [{ status = 400, action = \"end\" }]"),
        (400, "responses = [{ status = 400, action = \"ignore\" }]"),
    ] {
        let (server, export, app) = export(lines).await;
        let mut seen = 0;
        run(&app, Mode::Incremental).await;
        {
            let mut export = export.lock().unwrap();
            (export.events, export.generation, export.refusal) = (9, 1, refusal);
        }
        asked(&server, &mut seen).await;
        let run_ = run(&app, Mode::Incremental).await;
        let counters = &run_.counters;
        // The last was the fifth; two seconds before it, inclusive, there are three.
        assert_eq!(run_.status, SuccessWithDuplicates, "{refusal} {lines}: {run_:?}");
        assert_eq!((counters.inserted, counters.unchanged), (4, 3), "{refusal} {lines}: {run_:?}");
        assert!(note(&run_).contains("refused the cursor"), "{}", note(&run_));
        let from = format!("start={}", BEGIN + 2);
        let requests = asked(&server, &mut seen).await;
        assert_eq!(requests[..2], ["cursor=g0-5".to_owned(), from], "{refusal} {lines}");
        run(&app, Mode::Incremental).await;
        assert_eq!(asked(&server, &mut seen).await, ["cursor=g1-9"]);
        app.database.close().await;
    }
}

/// A search that gives the first ten that it finds, four on a page, and refuses to go further.
struct Search {
    /// The second of each record.
    times: Vec<i64>,
    /// Whether records come in order, and whether the filter is heeded.
    sorted: bool,
    filters: bool,
    inclusive: bool,
}

impl Search {
    fn answer(&self, request: &Request) -> ResponseTemplate {
        let body: Value = request.body_json().expect("JSON");
        let from = body["from"].as_i64().expect("seconds");
        let after = body.get("after").map_or(0, |after| after.as_u64().expect("a number")) as usize;
        if after >= 10 {
            return ResponseTemplate::new(400).set_body_json(json!({ "error": "no further" }));
        }
        let fits = |n: &usize| match (self.filters, self.inclusive) {
            (false, _) => true,
            (true, true) => self.times[*n] >= from,
            (true, false) => self.times[*n] > from,
        };
        let mut found: Vec<_> = (0..self.times.len()).filter(fits).collect();
        if self.sorted {
            found.sort_by_key(|n| (self.times[*n], *n));
        }
        let page = found.iter().skip(after).take(5);
        let items: Vec<_> =
            page.map(|n| json!({ "id": n, "name": "a", "at": self.times[*n] })).collect();
        let mut body = json!({ "items": items });
        if after + 5 < found.len() {
            body["next"] = json!(after + 5);
        }
        ResponseTemplate::new(200).set_body_json(body)
    }
}

async fn searched(search: Search, keys: &str) -> (Run, i64) {
    let inclusive = search.inclusive;
    let server = MockServer::start().await;
    let answer = move |request: &Request| search.answer(request);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             json = {{ from = \"${{incremental.start}}\" }}\n\
             paginator = {{ type = \"cursor\", cursor_path = \"$.next\", body_path = \"$.after\", max_records = 10 }}\n\
             incremental = {{ cursor_path = \"$.at\", type = \"epoch\", initial_value = 0, \
             inclusive = {inclusive}, {keys} }}\n\
             data_selector = \"$.items\"\n[fields]\nname = {{ required = true }}\n",
            server.uri()
        ),
    );
    let run = run(&app, Mode::Incremental).await;
    let loaded = app.number("select count(*) from unified_records").await;
    app.database.close().await;
    (run, loaded)
}

#[tokio::test]
async fn behind_the_most_records_of_a_query_another_goes_on_from_the_last_one() {
    let ties = |of: i64| (0..34).map(|n| BEGIN + n / of).collect::<Vec<_>>();
    // A whole page of one moment at the boundary is the first page of the next query again.
    let page = (0..34).map(|n| BEGIN + if (5..10).contains(&n) { 5 } else { n }).collect();
    for times in [ties(1), ties(3), ties(5), ties(7), page] {
        for inclusive in [true, false] {
            let search = Search { times: times.clone(), sorted: true, filters: true, inclusive };
            let (run, loaded) = searched(search, "sorted = \"asc\"").await;
            assert_eq!(loaded, 34, "{times:?} {inclusive}: {run:?}");
            assert!(
                matches!(run.status, Success | SuccessWithDuplicates),
                "{times:?} {inclusive}: {run:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_query_behind_which_nobody_can_go_on_leaves_its_run_degraded() {
    let all = |times: Vec<i64>| Search { times, sorted: true, filters: true, inclusive: true };
    let ascending = || (0..34).map(|n| BEGIN + n).collect::<Vec<_>>();
    let mut shuffled = ascending();
    shuffled.swap(2, 7);
    for (search, keys, says) in [
        (all(ascending()), "", "`max_records` = 10 was reached"),
        (all(vec![BEGIN; 34]), "sorted = \"asc\"", "they all have the cursor"),
        (Search { sorted: false, ..all(shuffled) }, "sorted = \"asc\"", "they did not come so"),
        (
            Search { filters: false, ..all(ascending()) },
            "sorted = \"asc\"",
            "they all have the cursor",
        ),
    ] {
        let (run, loaded) = searched(search, keys).await;
        assert!(loaded < 34, "{keys}: {run:?}");
        assert_eq!(run.status, Degraded, "{keys}: {run:?}");
        assert!(note(&run).contains(says), "{keys}: {}", note(&run));
    }
}
