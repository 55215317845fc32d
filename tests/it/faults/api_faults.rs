//! Fault 6: an API that has enough, answers slowly, breaks off, and is not there for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use kasparro::domain::run::RunStatus;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::trial::{Figures, Trial};
use super::{open_runs, worker};
use crate::app::TestApp;
use crate::fake_api::{FakeApi, Mood};
use crate::process::{Process, call, until};

const PAGES: usize = 12;
const SOURCES: usize = 3;
/// The bucket that all sources share: so many requests …
const REQUESTS: usize = 20;
/// … in so much time.
const PER: Duration = Duration::from_secs(2);

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn api(
    listener: TcpListener,
    mood: impl Fn(usize) -> Mood + Send + Sync + 'static,
) -> FakeApi {
    FakeApi::serve(listener, mood, |path| page(path).to_string()).await
}

/// The most requests within any window of the bucket's period.
fn densest(api: &FakeApi) -> usize {
    let asked = api.asked();
    let within = |first: &Instant| {
        asked.iter().filter(|time| *time >= first && **time - *first < PER).count()
    };
    asked.iter().map(within).max().unwrap_or(0)
}

/// Three records of a page such as `/shop_1?page=4`; none behind the last.
fn page(path: &str) -> Value {
    let number: usize = path.rsplit('=').next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let record = |at| json!({ "id": format!("{number}-{at}"), "name": format!("{path} {at}") });
    if number > PAGES { json!([]) } else { (1..=3).map(record).collect() }
}

/// Runs three sources with the same bucket and three workers, to their ends.
async fn run_all(app: &TestApp, address: std::net::SocketAddr) {
    for source in 0..SOURCES {
        let job = format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\n\
             base_url = \"http://{address}\"\npath = \"shop_{source}\"\n\
             paginator = {{ type = \"page_number\" }}\n\
             rate_limit = {{ key = \"shop\", requests = {REQUESTS}, per = \"{}s\" }}\n\
             [fields]\nname = {{ from = \"$.name\" }}\n",
            PER.as_secs()
        );
        app.write(&format!("shop_{source}.toml"), job);
    }
    let _workers: Vec<Process> = (0..3).map(|_| worker(app, "1")).collect();
    call(app, &["run", "--all", "--detach"]).await.code(0);
    until("the runs have ended", async || {
        open_runs(app).await == 0 && app.number("select count(*) from etl_runs").await == 3
    })
    .await;
}

async fn all_is_there(app: &TestApp) {
    let runs = app.texts("select status || ' ' || inserted from etl_runs order by id").await;
    let expected = format!("{} {}", RunStatus::Success, 3 * PAGES);
    assert_eq!(runs, [expected.clone(), expected.clone(), expected]);
    let records = app.texts("select source || external_id || name from unified_records").await;
    let mut all = BTreeSet::new();
    for source in 0..SOURCES {
        for page in 1..=PAGES {
            for at in 1..=3 {
                let name = format!("/shop_{source}?page={page} {at}");
                all.insert(format!("shop_{source}{page}-{at}{name}"));
            }
        }
    }
    assert_eq!(records.into_iter().collect::<BTreeSet<_>>(), all);
    let pages = app.number("select count(*) from raw_api_data").await;
    assert_eq!(pages as usize, SOURCES * PAGES + SOURCES, "each page once, and the empty last");
}

#[tokio::test]
async fn a_storm_of_429_is_waited_for_and_the_shared_bucket_never_runs_over() {
    let api = api(listener().await, |request| match request % 11 {
        3 | 4 | 7 => Mood::Enough(1),
        _ => Mood::Well,
    })
    .await;
    let app = TestApp::empty().await;
    run_all(&app, api.address).await;
    all_is_there(&app).await;
    assert!(densest(&api) <= REQUESTS, "{} requests within {PER:?}", densest(&api));
    let observed = format!(
        "{} requests, at most {} within any {} s (bucket: {REQUESTS}); all pages once",
        api.asked().len(),
        densest(&api),
        PER.as_secs()
    );
    app.database.close().await;
    Trial {
        number: "6a",
        fault: "a storm of 429 with Retry-After, met by three workers",
        promised: "requests never exceed the shared bucket; nothing is lost or doubled",
    }
    .held(&Figures { rounds: 1, observed });
}

#[tokio::test]
async fn slow_bodies_and_resets_in_the_middle_of_them() {
    let api = api(listener().await, |request| match request % 7 {
        2 | 5 => Mood::Reset,
        3 => Mood::Slow,
        _ => Mood::Well,
    })
    .await;
    let app = TestApp::empty().await;
    run_all(&app, api.address).await;
    all_is_there(&app).await;
    let observed =
        format!("{} requests for {} pages; all pages once", api.asked().len(), 3 * PAGES + 3);
    app.database.close().await;
    Trial {
        number: "6b",
        fault: "slow bodies, and connections reset in the middle of a body",
        promised: "pages are asked for again; nothing is lost or doubled",
    }
    .held(&Figures { rounds: 1, observed });
}
