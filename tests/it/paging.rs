//! Whole runs against APIs that end in their own ways: what was reported in public, and paginators that follow what
//! a page says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kasparro::db::run_chains;
use kasparro::db::runs::Run;
use kasparro::domain::actor::Actor;
use kasparro::domain::chain_end::StopReason;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::tasks::retry_run::{RetryOutcome, retry_run};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::TestApp;

fn number(request: &Request, name: &str) -> Option<u64> {
    let mut query = request.url.query_pairs();
    query.find(|(key, _)| key == name)?.1.parse().ok()
}

fn rows(from: u64, to: u64) -> Vec<Value> {
    (from..to).map(|id| json!({ "id": id, "name": format!("item {id}") })).collect()
}

fn ok(body: impl serde::Serialize) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

async fn server(
    answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static,
) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn app(server: &MockServer, lines: &str) -> TestApp {
    let app = TestApp::empty().await;
    let selector = if lines.contains("data_selector") { "" } else { "data_selector = '$[*]'\n" };
    app.write(
        "items.toml",
        format!(
            "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = '{}'\npath = 'items'\n{selector}\
             {lines}\nretry = {{ max_attempts = 2 }}\n[fields]\nname = {{}}\n",
            server.uri(),
        ),
    );
    app
}

async fn asked(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("requests are recorded")
}

const RECORDS: &str = "select count(*) from unified_records";

async fn end(app: &TestApp, run: &Run) -> (StopReason, bool) {
    let chains = run_chains::list(&app.pool, run.id, 9).await.unwrap();
    let [chain] = &chains[..] else { panic!("{run:?} {chains:?}") };
    (chain.end.reason, chain.end.complete)
}

#[tokio::test]
async fn an_api_that_gives_fewer_per_page_than_asked_is_read_to_its_end() {
    let server = server(|request| {
        let from = (number(request, "page").unwrap() - 1) * 20;
        ok(rows(from, (from + 20).min(70)))
    })
    .await;
    let lines = "paginator = { type = 'page_number', size_param = 'per_page', size = 100 }";
    let app = app(&server, lines).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Success, 70), "{run:?}");
    assert_eq!(end(&app, &run).await, (StopReason::Empty, true));
    let note = run.stop_reason.unwrap_or_default();
    assert!(note.contains("asked for 100 records, and the longest has 20"), "{note}");
    app.database.close().await;
}

#[tokio::test]
async fn pages_past_the_end_that_repeat_the_last_one_are_its_end_and_count_no_row_twice() {
    let time = AtomicU64::new(0);
    let server = server(move |request| {
        let page = number(request, "page").unwrap().min(3);
        let time = time.fetch_add(1, Ordering::Relaxed);
        ok(json!({ "rows": rows((page - 1) * 10, page * 10), "served_at": time }))
    })
    .await;
    let lines = "data_selector = '$.rows[*]'\n\
                 paginator = { type = 'page_number', size_param = 'n', size = 10 }";
    let app = app(&server, lines).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Success, 30), "{run:?}");
    assert_eq!((run.counters.rows_read, asked(&server).await.len()), (30, 5));
    assert_eq!(end(&app, &run).await, (StopReason::Repeated, true));
    app.database.close().await;
}

/// Three pages of ten records, and behind them what `behind` makes of the page's number; each record has the time in
/// it, and those of a page come in another order each time.
async fn restless(behind: fn(u64) -> u64) -> MockServer {
    let time = AtomicU64::new(0);
    server(move |request| {
        let page = number(request, "page").unwrap();
        let page = if page > 3 { behind(page) } else { page };
        let time = time.fetch_add(1, Ordering::Relaxed);
        let mut rows = rows((page - 1) * 10, page * 10);
        rows.rotate_left(time as usize % 10);
        rows.iter_mut().for_each(|row| row["seen"] = time.into());
        ok(rows)
    })
    .await
}

#[tokio::test]
async fn pages_with_the_same_keys_are_the_same_page_whatever_else_stands_in_their_records() {
    let lines = "paginator = { type = 'page_number', size_param = 'n', size = 10 }";
    let server = restless(|_| 3).await;
    let app = app(&server, lines).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Success, 30), "{run:?}");
    assert_eq!((run.counters.rows_read, asked(&server).await.len()), (30, 5));
    assert_eq!(end(&app, &run).await, (StopReason::Repeated, true));
    app.database.close().await;
}

#[tokio::test]
async fn pages_that_go_round_are_noticed_whatever_else_stands_in_their_records() {
    let lines = "paginator = { type = 'page_number', size_param = 'n', size = 10 }";
    let server = restless(|page| 2 + page % 2).await;
    let app = app(&server, lines).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Failed, 30), "{run:?}");
    assert!(asked(&server).await.len() <= 6, "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn an_api_of_one_page_that_does_not_sort_and_knows_no_pages_is_asked_three_times() {
    let time = AtomicU64::new(0);
    let server = server(move |_| {
        let mut rows = rows(0, 11);
        rows.rotate_left(time.fetch_add(1, Ordering::Relaxed) as usize % 11);
        ok(rows)
    })
    .await;
    let lines = "paginator = { type = 'page_number', size_param = 'n', size = 100 }";
    let app = app(&server, lines).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Degraded, 11), "{run:?}");
    assert_eq!((run.counters.rows_read, asked(&server).await.len()), (11, 3));
    app.database.close().await;
}

#[tokio::test]
async fn a_page_that_cannot_be_had_does_not_hide_the_others_and_a_retry_asks_for_it_alone() {
    for status in [422, 404, 500] {
        let mended = std::sync::Arc::new(AtomicU64::new(0));
        let is_mended = mended.clone();
        let server = server(move |request| {
            let page = number(request, "page").unwrap();
            if page == 2 && is_mended.load(Ordering::Relaxed) == 0 {
                let error = json!({ "error": "row 17 cannot be rendered" });
                return ResponseTemplate::new(status).set_body_json(error);
            }
            ok(if page < 5 { rows((page - 1) * 10, page * 10) } else { Vec::new() })
        })
        .await;
        let lines = "paginator = { type = 'page_number', size_param = 'per_page', size = 10 }";
        let app = app(&server, lines).await;
        let run = app.run_online("items").await;
        assert_eq!((run.status, app.number(RECORDS).await), (Failed, 30), "{status}: {run:?}");
        let error = run.error.unwrap();
        assert!(error.contains("page=2"), "{error}");

        mended.store(1, Ordering::Relaxed);
        let before = asked(&server).await.len();
        let mut transaction = app.pool.begin().await.unwrap();
        let actor = Actor::command_line("tester");
        let outcome = retry_run(&mut transaction, run.id, &actor).await.unwrap();
        assert!(matches!(outcome, RetryOutcome::Retried(_)), "{outcome:?}");
        transaction.commit().await.unwrap();
        app.drain().await;
        let run = app.get(run.id).await;
        assert!(run.status.is_success(), "{status}: {run:?}");
        assert_eq!((app.number(RECORDS).await, run.counters.rows_read), (40, 40), "{status}");
        let asked = asked(&server).await;
        let asked = asked[before..].iter().map(|request| number(request, "page").unwrap());
        assert_eq!(asked.collect::<Vec<_>>(), [2], "{status}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn max_pages_leaves_a_doubt_and_the_run_says_so() {
    let server = server(|request| {
        let page = number(request, "page").unwrap();
        ok(rows((page - 1) * 10, page * 10))
    })
    .await;
    let app = app(&server, "paginator = { type = 'page_number', max_pages = 3 }").await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Degraded, 30), "{run:?}");
    assert!(run.stop_reason.unwrap().contains("`max_pages` = 3 was reached after 30 records"));
    app.database.close().await;
}

/// Between the first two pages a record is deleted, which hides one; between the next two one is added, which shows
/// one again: as many come as there are.
#[tokio::test]
async fn a_record_that_comes_twice_in_place_of_another_is_no_success_where_the_total_tells() {
    for (total, added) in [(true, true), (true, false), (false, true)] {
        let list = Mutex::new((0..15).collect::<Vec<u64>>());
        let server = server(move |request| {
            let mut list = list.lock().unwrap();
            let page = number(request, "page").unwrap();
            match page {
                2 if added => drop(list.remove(0)),
                3 => list.insert(0, 100),
                _ => {}
            }
            let of_page = list.iter().skip((page as usize - 1) * 5).take(5);
            let items: Vec<_> =
                of_page.map(|id| json!({ "id": id, "name": format!("item {id}") })).collect();
            ok(json!({ "total": list.len(), "items": items }))
        })
        .await;
        let total_path = if total { ", total_path = '$.total'" } else { "" };
        let lines = format!(
            "data_selector = '$.items[*]'\npaginator = {{ type = 'page_number', size_param = 'n', size = 5{total_path} }}"
        );
        let app = app(&server, &lines).await;
        let run = app.run_online("items").await;
        let said = run.stop_reason.clone().unwrap_or_default();
        let (_, complete) = end(&app, &run).await;
        if added {
            // Not 5, and 10 twice.
            assert_eq!((run.counters.rows_read, app.number(RECORDS).await), (15, 14), "{run:?}");
            assert_eq!((run.status, complete), (Degraded, false), "{total} {run:?}");
            assert!(
                said.starts_with("1 of the records came twice: either the list moved"),
                "{said}"
            );
            assert!(said.contains("others did not come at all"), "{said}");
        } else {
            // What is added alone hides nothing.
            assert_eq!((run.counters.rows_read, app.number(RECORDS).await), (16, 15), "{run:?}");
            assert_eq!((run.status, complete), (SuccessWithDuplicates, true), "{run:?}");
            assert!(said.starts_with("1 of the records came twice"), "{said}");
        }
        assert_eq!(app.number("select count(*) from seen_keys").await, 0);
        drop(server);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_list_that_leads_in_a_circle_fails_and_names_both_pages() {
    let server = server(|request| {
        let page = number(request, "c").unwrap_or(0);
        let time = json!({ "next": (page + 1) % 3, "at": page });
        ok(json!({ "rows": rows(page * 10, page * 10 + 10), "meta": time }))
    })
    .await;
    let lines = "data_selector = '$.rows[*]'\n\
                 paginator = { type = 'cursor', cursor_path = '$.meta.next', param = 'c' }";
    let app = app(&server, lines).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, asked(&server).await.len()), (Failed, 4), "{run:?}");
    assert!(run.error.unwrap().contains("page 4 is page 1 again"));
    app.database.close().await;
}

#[tokio::test]
async fn links_are_followed_with_the_key_that_is_stored_nowhere() {
    let server = server(|request| {
        let from = number(request, "from").unwrap_or(0);
        assert!(
            request.url.query().unwrap_or_default().contains("k=s3cr3t-0123456789"),
            "{}",
            request.url
        );
        let body = rows(from, (from + 10).min(25));
        match from + 10 < 25 {
            // Relative to the address that answered, and with the key in it.
            true => {
                let link =
                    format!("</items?from={}&k=s3cr3t-0123456789>; rel=\"last next\"", from + 10);
                ok(body).append_header("Link", "</x>; rel=prev").append_header("Link", link)
            }
            false => ok(body),
        }
    })
    .await;
    let lines = "auth = { type = 'api_key', in = 'query', name = 'k', value = { file = 'key' } }\n\
                 paginator = { type = 'link_header' }";
    let app = app(&server, lines).await;
    app.write("key", "s3cr3t-0123456789");
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(RECORDS).await), (Success, 25), "{run:?}");
    assert_eq!(end(&app, &run).await, (StopReason::NoNext, true));
    let payloads = app.texts("select payload::text from run_tasks").await;
    assert!(payloads.iter().any(|payload| payload.contains("from=20")), "{payloads:?}");
    assert!(payloads.iter().all(|payload| !payload.contains("s3cr3t-0123456789")), "{payloads:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_next_url_on_another_host_is_refused_and_never_gets_the_key() {
    let elsewhere = server(|_| ok(json!({ "rows": [], "next": null }))).await;
    let link = format!("{}/items", elsewhere.uri()).replace("127.0.0.1", "localhost");
    let home = server(move |_| ok(json!({ "rows": rows(0, 1), "next": link }))).await;
    let lines = "auth = { type = 'bearer', token = { file = 'key' } }\n\
                 data_selector = '$.rows[*]'\npaginator = { type = 'next_url' }";
    let app = app(&home, lines).await;
    app.write("key", "s3cr3t-0123456789");
    let run = app.run_online("items").await;
    assert_eq!(run.status, Failed, "{run:?}");
    let error = run.error.unwrap();
    assert!(error.contains("the link to the next page leads to http://localhost"), "{error}");
    assert!(error.contains("allowed_hosts"), "{error}");
    assert!(asked(&elsewhere).await.is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn a_cursor_goes_into_a_header_a_body_or_a_graphql_variable_and_comes_from_any_of_them() {
    let bodies = Mutex::new(Vec::new());
    let server = server(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        bodies.lock().unwrap().push(body.clone());
        let from = body.pointer("/paging/after").or(body.pointer("/variables/after"));
        let from = from.and_then(Value::as_u64).unwrap_or(0);
        let to = (from + 10).min(25);
        let answer = ok(json!({ "rows": rows(from, to), "end": to == 25, "after": to }));
        if to < 25 { answer.append_header("x-next", to.to_string()) } else { answer }
    })
    .await;
    for lines in [
        "method = 'POST'\njson = { limit = 10 }\npaginator = { type = 'cursor', cursor_path = '$.after', \
         body_path = '$.paging.after', end_path = '$.end' }",
        "graphql = { query = 'query ($after: Int) { x }' }\npaginator = { type = 'cursor', \
         cursor_path = '$.rows[-1].id', variable = 'after', has_more_path = '$.more' }",
    ] {
        let app = app(&server, &format!("data_selector = '$.rows[*]'\n{lines}")).await;
        let run = app.run_online("items").await;
        if lines.contains("has_more_path") {
            // It is declared, and the API does not say it.
            assert!(run.error.unwrap().contains("`$.more` leads nowhere"));
        } else {
            assert_eq!((run.status, app.number(RECORDS).await), (Success, 25), "{run:?}");
            assert_eq!(end(&app, &run).await, (StopReason::EndPath, true));
        }
        app.database.close().await;
    }
}
