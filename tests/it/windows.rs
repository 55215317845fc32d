//! Whole incremental runs that are cut into windows: how far the watermark moves when some of them were read and
//! some were not, and that every record is there in the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use kasparro::db::runs::Run;
use kasparro::domain::actor::Actor;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunId};
use kasparro::sources::Access;
use kasparro::tasks::retry_run::retry_run;
use kasparro::tasks::start_run::RunRequest;
use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::process::{Process, call, kasparro, until};

const DAY: i64 = 86_400;
/// How many days there are, and records of each.
const DAYS: i64 = 9;
const OF_A_DAY: i64 = 5;

/// What the API does with the windows that begin on these days.
#[derive(Default)]
struct Api {
    refused: Vec<i64>,
    ignored: Vec<i64>,
    waits: Vec<i64>,
    asked: Vec<i64>,
}

/// A server with records of nine days, the last of which ended half a day ago, two on a page.
struct Days {
    server: MockServer,
    api: Arc<Mutex<Api>>,
    begin: DateTime<Utc>,
    app: TestApp,
}

impl Days {
    async fn start() -> Self {
        let (server, app) = (MockServer::start().await, TestApp::empty().await);
        // Half a day before and behind now no day begins, whenever the test runs.
        let now = Utc::now().timestamp();
        let begin = DateTime::from_timestamp(now - DAYS * DAY - DAY / 2, 0).expect("a time");
        let api = Arc::new(Mutex::new(Api::default()));
        let held = Arc::clone(&api);
        let zero = begin.timestamp();
        let answer = move |request: &Request| {
            let query: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
            let seconds = |name: &str| query[name].parse::<i64>().expect("seconds") - zero;
            let (from, to) = (seconds("from"), seconds("to"));
            let page: i64 = query["page"].parse().expect("a number");
            let mut api = held.lock().unwrap();
            let day = from / DAY;
            api.asked.push(day);
            let status = match day {
                day if api.refused.contains(&day) && page == 2 => 403,
                day if api.ignored.contains(&day) && page == 2 => 418,
                _ => 200,
            };
            let records = (0..DAYS * OF_A_DAY)
                .map(|n| (n, n / OF_A_DAY * DAY + n % OF_A_DAY))
                .filter(|(_, at)| (from..to).contains(at))
                .skip((page as usize - 1) * 2)
                .take(2);
            let items: Vec<_> =
                records.map(|(n, at)| json!({ "id": n, "name": "a", "at": zero + at })).collect();
            let answer = ResponseTemplate::new(status).set_body_json(items);
            match api.waits.contains(&day) && page == 2 {
                true => answer.set_delay(std::time::Duration::from_secs(600)),
                false => answer,
            }
        };
        Mock::given(any()).respond_with(answer).mount(&server).await;
        app.write(
            "items.toml",
            format!(
                "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
                 paginator = {{ type = \"page_number\" }}\ntimeout = \"10m\"\n\
                 responses = [{{ status = 418, action = \"ignore\" }}]\n\
                 incremental = {{ cursor_path = \"$.at\", type = \"epoch\", start_param = \"from\", \
                 end_param = \"to\", initial_value = \"{}\", step = \"1d\", concurrency = 3 }}\n\
                 [fields]\nname = {{ required = true }}\n",
                server.uri(),
                begin.to_rfc3339(),
            ),
        );
        Self { server, api, begin, app }
    }

    async fn run(&self) -> Run {
        let online = RunRequest { access: Access::Network, ..request(Mode::Incremental) };
        self.app.run_as("items", &online).await
    }

    async fn loaded(&self) -> i64 {
        self.app.number("select count(*) from unified_records").await
    }

    /// On which day from the first the watermark is; the run's own end counts as the day of now.
    async fn watermark(&self) -> Option<i64> {
        let text = "select state #>> '{rest,watermark}' from ingestion_checkpoints \
                    where state #>> '{rest,watermark}' is not null";
        let text = self.app.texts(text).await.into_iter().next()?;
        let watermark: DateTime<Utc> = text.parse().expect("a time");
        Some((watermark - self.begin).num_days())
    }

    fn asked(&self) -> Vec<i64> {
        let mut asked = std::mem::take(&mut self.api.lock().unwrap().asked);
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    async fn end(self) {
        drop(self.server);
        self.app.database.close().await;
    }
}

#[tokio::test]
async fn windows_without_a_gap_have_every_record_and_move_the_watermark_to_their_end() {
    let days = Days::start().await;
    let run = days.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, DAYS * OF_A_DAY), "{run:?}");
    // That of today is empty, and moves it all the same.
    assert_eq!(days.watermark().await, Some(DAYS));
    assert_eq!(days.asked(), (0..=DAYS).collect::<Vec<_>>());
    let run = days.run().await;
    assert_eq!((run.status, run.counters.rows_read), (Success, 0), "{run:?}");
    assert!(days.asked().iter().all(|day| *day == DAYS));
    days.end().await;
}

#[tokio::test]
async fn the_watermark_stops_in_front_of_the_first_window_that_lacks_something() {
    let days = Days::start().await;
    days.api.lock().unwrap().ignored = vec![4, 6];
    let run = days.run().await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, DAYS * OF_A_DAY - 6), "{run:?}");
    assert_eq!(days.watermark().await, Some(4));
    days.api.lock().unwrap().ignored = vec![];
    days.asked();
    let run = days.run().await;
    assert_eq!((run.status, run.counters.inserted), (SuccessWithDuplicates, 6), "{run:?}");
    assert_eq!(days.asked(), (4..=DAYS).collect::<Vec<_>>());
    assert_eq!((days.loaded().await, days.watermark().await), (DAYS * OF_A_DAY, Some(DAYS)));
    days.end().await;
}

#[tokio::test]
async fn a_window_that_fails_does_not_hide_the_others_and_a_retry_reads_it_alone() {
    let days = Days::start().await;
    days.api.lock().unwrap().refused = vec![2];
    let failed = days.run().await;
    // Its chain has not ended, so that the windows which come in its place were not opened; all others were.
    assert_eq!(failed.status, Failed, "{failed:?}");
    assert_eq!(days.asked(), [0, 1, 2, 3, 4, 6, 7, 9]);
    assert_eq!(days.watermark().await, None);
    days.api.lock().unwrap().refused = vec![];
    let mut transaction = days.app.pool.begin().await.unwrap();
    retry_run(&mut transaction, failed.id, &Actor::command_line("ann")).await.unwrap();
    transaction.commit().await.unwrap();
    days.app.drain().await;
    let retried = days.app.get(failed.id).await;
    assert!(matches!(retried.status, Success | SuccessWithDuplicates), "{retried:?}");
    assert_eq!((days.loaded().await, days.watermark().await), (DAYS * OF_A_DAY, Some(DAYS)));
    assert_eq!(days.asked(), [2, 5, 8]);
    days.end().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_within_windows_loses_none_and_reads_none_twice() {
    let days = Days::start().await;
    days.api.lock().unwrap().waits = vec![1, 3];
    call(&days.app, &["run", "items", "--detach"]).await.code(0);
    let worker = Process::start(kasparro(&days.app, &["worker"]));
    until("two windows wait for their second page", async || {
        let api = days.api.lock().unwrap();
        api.asked.iter().filter(|day| api.waits.contains(day)).count() == 4
    })
    .await;
    worker.kill();
    days.api.lock().unwrap().waits = vec![];
    days.asked();
    let _second = Process::start(kasparro(&days.app, &["worker"]));
    let open = "select count(*) from etl_runs where finished_at is null";
    until("the run has ended", async || days.app.number(open).await == 0).await;
    let run = days.app.get(RunId(1)).await;
    assert_eq!((run.status, run.counters.inserted), (Success, DAYS * OF_A_DAY), "{run:?}");
    assert_eq!(days.watermark().await, Some(DAYS));
    assert!(!days.asked().contains(&0));
    days.end().await;
}
