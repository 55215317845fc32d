//! Pages whose numbers are known are asked for side by side: as many at once as the job file allows, and the table
//! is that of pages that are read one after the other.

use std::sync::Arc;
use std::time::Duration;

use kasparro::db::run_chains;
use kasparro::domain::chain_end::StopReason;
use kasparro::domain::run::RunStatus::Success;
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::web::{Data, Json, Query};
use poem::{EndpointExt as _, Route, Server, get, handler};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app::TestApp;

const PAGES: u64 = 12;
const SIZE: u64 = 25;
const CONCURRENCY: usize = 4;

/// How many requests are open, and how many were at most.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    now: usize,
    most: usize,
}

#[derive(Deserialize)]
struct Asked {
    page: u64,
}

/// A page, which comes once as many requests as may be open at once were: an API that is slow.
#[handler]
async fn items(
    Query(Asked { page }): Query<Asked>,
    Data(open): Data<&Arc<watch::Sender<Open>>>,
    Data(at_once): Data<&usize>,
) -> Json<Value> {
    let at_once = if page == 1 { 1 } else { *at_once };
    open.send_modify(|open| {
        open.now += 1;
        open.most = open.most.max(open.now);
    });
    let mut seen = open.subscribe();
    let enough = seen.wait_for(|open| open.most >= at_once);
    // Who asks for one after the other is answered late, and fails the test by its number.
    let _ = tokio::time::timeout(Duration::from_secs(30), enough).await;
    open.send_modify(|open| open.now -= 1);
    let rows = (page - 1) * SIZE..(page * SIZE).min(PAGES * SIZE);
    let rows: Vec<_> = rows
        .map(|id| json!({ "id": id, "name": format!("item {id}"), "price": format!("{id}.50") }))
        .collect();
    Json(json!({ "total": PAGES * SIZE, "items": rows }))
}

/// What the table holds after a run, and how many requests were open at most.
async fn table(lines: &str, at_once: usize) -> (Vec<String>, usize) {
    let open = Arc::new(watch::Sender::new(Open::default()));
    let listener = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a port");
    let address = listener.local_addr()[0].to_string();
    let address = address.rsplit('/').next().expect("an address").to_owned();
    let routes = Route::new().at("/items", get(items)).data(open.clone()).data(at_once);
    let server = tokio::spawn(Server::new_with_acceptor(listener).run(routes));
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = 'http://{address}/'\npath = 'items'\n\
             data_selector = '$.items[*]'\n\
             paginator = {{ type = 'page_number', total_path = '$.total'{lines} }}\n\
             [fields]\nname = {{}}\nprice = {{ type = 'decimal' }}\n"
        ),
    );
    let run = app.run_online("items").await;
    assert_eq!((run.status, run.counters.inserted), (Success, (PAGES * SIZE) as i64), "{run:?}");
    let chains = run_chains::list(&app.pool, run.id, 9).await.unwrap();
    let ends: Vec<_> = chains.iter().map(|chain| (chain.end.reason, chain.end.complete)).collect();
    assert_eq!(ends, [(StopReason::Empty, true)]);
    let rows = "select concat_ws('|', external_id, name, price, content_hash, raw_ref, raw_row) from unified_records
                order by external_id";
    let rows = app.texts(rows).await;
    server.abort();
    app.database.close().await;
    let most = open.borrow().most;
    (rows, most)
}

#[tokio::test]
async fn pages_side_by_side_are_asked_for_at_once_and_give_the_table_of_those_read_one_by_one() {
    let (one_by_one, most) = table("", 1).await;
    assert_eq!((one_by_one.len() as u64, most), (PAGES * SIZE, 1));
    let (side_by_side, most) = table(&format!(", concurrency = {CONCURRENCY}"), CONCURRENCY).await;
    assert_eq!(most, CONCURRENCY);
    assert_eq!(side_by_side, one_by_one);
}
