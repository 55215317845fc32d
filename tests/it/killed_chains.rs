//! `kill -9` of a worker within a chain that goes on where another ended: at the cursor of the run before, and at the
//! last record of a query that gives no more. Whichever page it waits for, all ends as if nothing had happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use kasparro::domain::run::{Mode, RunId};
use kasparro::sources::Access;
use kasparro::tasks::start_run::{RunRequest, Started};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::process::{Process, kasparro, until};

/// The second of the first record.
const BEGIN: i64 = 1_704_067_200;

/// An API whose records come one a second, and which answers one of its requests never.
#[derive(Default)]
struct Api {
    records: i64,
    asked: usize,
    silent_at: Option<usize>,
}

/// An export of changes, two on a page, whose cursors lead on for ever.
fn export(records: i64, request: &Request) -> Value {
    let query: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
    let from: i64 = match query.get("cursor") {
        Some(cursor) => cursor[1..].parse().expect("a cursor"),
        None => (query["start"].parse::<i64>().expect("seconds") - BEGIN).max(0),
    };
    let end = (from + 2).min(records).max(from);
    let after = format!("c{end}");
    json!({ "items": items(from..end), "after": after, "done": end >= records })
}

/// A search, two on a page, that gives no more than the first six records that it finds.
fn search(records: i64, request: &Request) -> Value {
    let body: Value = request.body_json().expect("JSON");
    let from = (body["from"].as_i64().expect("seconds") - BEGIN).max(0);
    let after = body["after"].as_i64().unwrap_or(0);
    let end = (from + after + 2).min(records).min(from + 6);
    let mut found = json!({ "items": items(from + after..end) });
    if end < records {
        found["next"] = (after + 2).into();
    }
    found
}

fn items(numbers: std::ops::Range<i64>) -> Vec<Value> {
    numbers.map(|n| json!({ "id": n, "name": format!("n{n}"), "at": BEGIN + n })).collect()
}

/// Keys of the job file that read such an API.
const RESUMED: &str = "paginator = { type = \"cursor\", cursor_path = \"$.after\", param = \"cursor\", \
    end_path = \"$.done\", resume = true }\n\
    incremental = { cursor_path = \"$.at\", type = \"epoch\", start_param = \"start\", initial_value = 0 }";
const SEARCHED: &str = "json = { from = \"${incremental.start}\" }\n\
    paginator = { type = \"cursor\", cursor_path = \"$.next\", body_path = \"$.after\", max_records = 6 }\n\
    incremental = { cursor_path = \"$.at\", type = \"epoch\", sorted = \"asc\", initial_value = 0 }";

/// What two runs leave but for the fingerprint of the address, the second of which waits in vain for its request of this number, and whose worker is killed
/// then: the table, the checkpoint, and the counters.
async fn left(
    keys: &str,
    answer: fn(i64, &Request) -> Value,
    killed_at: Option<usize>,
) -> Vec<String> {
    let (server, app) = (MockServer::start().await, TestApp::empty().await);
    let api = Arc::new(Mutex::new(Api { records: 5, ..Api::default() }));
    let held = Arc::clone(&api);
    let answer = move |request: &Request| {
        let mut api = held.lock().unwrap();
        api.asked += 1;
        let page = ResponseTemplate::new(200).set_body_json(answer(api.records, request));
        match api.silent_at {
            Some(number) if number == api.asked => page.set_delay(Duration::from_secs(600)),
            _ => page,
        }
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\ntimeout = \"10m\"\n\
             data_selector = \"$.items\"\n{keys}\n[fields]\nname = {{ required = true }}\n",
            server.uri()
        ),
    );
    let online = RunRequest { access: Access::Network, ..request(Mode::Incremental) };
    app.run_as("items", &online).await;
    *api.lock().unwrap() = Api { records: 25, asked: 0, silent_at: killed_at };
    assert_eq!(app.start_as("items", &online).await, Started::New(RunId(2)));
    let worker = Process::start(kasparro(&app, &["worker"]));
    if let Some(number) = killed_at {
        until("a page does not come", async || api.lock().unwrap().asked == number).await;
        worker.kill();
        api.lock().unwrap().silent_at = None;
        let _second = Process::start(kasparro(&app, &["worker"]));
        ended(&app).await;
        // One request for each page, and the one that was not answered.
        let undisturbed = app.number("select slices from etl_runs where id = 2").await;
        assert_eq!(api.lock().unwrap().asked as i64, undisturbed + 1, "{keys} {number}");
    } else {
        ended(&app).await;
    }
    let mut left = app
        .texts(
            "select concat_ws(' ', external_id, name, encode(content_hash, 'hex'), raw_row)
                from unified_records order by external_id::int",
        )
        .await;
    left.extend(
        app.texts("select (state #- '{rest,request}')::text from ingestion_checkpoints").await,
    );
    left.extend(
        app.texts("select concat_ws(' ', status, slices, rows_read, inserted, updated, unchanged) from etl_runs \
                   order by id")
            .await,
    );
    drop(server);
    app.database.close().await;
    left
}

async fn ended(app: &TestApp) {
    let open = "select count(*) from etl_runs where finished_at is null";
    until("the run has ended", async || app.number(open).await == 0).await;
}

#[tokio::test]
async fn a_chain_whose_worker_is_killed_at_any_page_goes_on_from_there() {
    for (keys, answer, pages) in
        [(RESUMED, export as fn(i64, &Request) -> Value, [1, 2, 6]), (SEARCHED, search, [2, 3, 5])]
    {
        let undisturbed = left(keys, answer, None).await;
        assert!(undisturbed[24].starts_with("24 n24 "), "{undisturbed:?}");
        let killed = join_all(pages.map(|page| left(keys, answer, Some(page)))).await;
        for (page, killed) in pages.iter().zip(killed) {
            assert_eq!(killed, undisturbed, "{keys} {page}");
        }
    }
}
