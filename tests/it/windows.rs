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
use kasparro::tasks::cancel_run::cancel_run;
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
    /// Whether each day has the same keys again, with other values.
    is_log: bool,
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
            let id = |n: i64| if api.is_log { n % OF_A_DAY } else { n };
            let name = |at: i64| format!("day {}", at / DAY);
            let items: Vec<_> = records
                .map(|(n, at)| json!({ "id": id(n), "name": name(at), "at": zero + at }))
                .collect();
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

    /// The table, in the order of its keys.
    async fn table(&self) -> Vec<String> {
        let text =
            "select external_id || ' ' || name from unified_records order by external_id::int";
        self.app.texts(text).await
    }

    /// The table that a run leaves of which no window fails.
    fn undisturbed(is_log: bool) -> Vec<String> {
        let last = (DAYS - 1) * OF_A_DAY;
        let all = if is_log { last..last + OF_A_DAY } else { 0..DAYS * OF_A_DAY };
        let id = |n: i64| if is_log { n % OF_A_DAY } else { n };
        all.map(|n| format!("{} day {}", id(n), n / OF_A_DAY)).collect()
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
    assert_eq!(days.watermark().await, Some(2));
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

#[tokio::test]
async fn behind_a_run_with_windows_that_failed_the_next_one_goes_on_at_the_first_of_them() {
    let days = Days::start().await;
    days.api.lock().unwrap().refused = vec![2, 6];
    let failed = days.run().await;
    assert_eq!((failed.status, days.watermark().await), (Failed, Some(2)), "{failed:?}");
    let note = failed.stop_reason.unwrap_or_default();
    let start = |day: i64| {
        let start = days.begin + chrono::TimeDelta::days(day);
        start.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let says = format!("the window from {} to {} could not be read whole", start(2), start(3));
    assert!(note.contains(&says), "{note}");
    assert!(note.contains(&format!("the next run goes on at {}", start(2))), "{note}");
    days.asked();
    // That one again, and now it is the first that the run asks for.
    days.api.lock().unwrap().refused = vec![2];
    let failed = days.run().await;
    assert_eq!((failed.status, days.watermark().await), (Failed, Some(2)), "{failed:?}");
    let note = failed.stop_reason.unwrap_or_default();
    assert!(note.contains(&format!("the window from {}", start(2))), "{note}");
    assert!(note.contains("the next run begins where this one did"), "{note}");
    days.api.lock().unwrap().refused = vec![6];
    assert_eq!((days.run().await.status, days.watermark().await), (Failed, Some(6)));
    days.api.lock().unwrap().refused = vec![];
    days.asked();
    let run = days.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!((days.asked(), days.watermark().await), ((6..=DAYS).collect(), Some(DAYS)));
    assert_eq!(days.table().await, Days::undisturbed(false));
    days.end().await;
}

#[tokio::test]
async fn a_window_that_is_read_late_leaves_no_older_values_over_those_of_windows_behind_it() {
    let days = Days::start().await;
    days.api.lock().unwrap().is_log = true;
    days.api.lock().unwrap().refused = vec![2];
    assert_eq!((days.run().await.status, days.watermark().await), (Failed, Some(2)));
    days.api.lock().unwrap().refused = vec![];
    days.asked();
    assert!(days.run().await.status.is_success());
    assert_eq!((days.asked(), days.watermark().await), ((2..=DAYS).collect(), Some(DAYS)));
    assert_eq!(days.table().await, Days::undisturbed(true));
    days.end().await;
}

#[tokio::test]
async fn what_a_full_run_overwrote_before_it_was_cancelled_or_failed_is_read_again() {
    for is_cancelled in [true, false] {
        let days = Days::start().await;
        days.api.lock().unwrap().is_log = true;
        assert!(days.run().await.status.is_success());
        assert_eq!(days.table().await, Days::undisturbed(true));
        // A replay that ends well leaves nothing to be read again.
        assert!(days.app.run_mode("items", Mode::Replay).await.status.is_success());
        days.asked();
        assert!(days.run().await.status.is_success());
        assert!(days.asked().iter().all(|day| *day == DAYS));
        let full = RunRequest { access: Access::Network, ..request(Mode::Full) };
        if is_cancelled {
            days.api.lock().unwrap().waits = vec![5];
            days.app.start_as("items", &full).await;
            let worker = Process::start(kasparro(&days.app, &["worker"]));
            let older = "select count(*) from unified_records where name <> 'day 8'";
            until("older values stand there", async || days.app.number(older).await > 0).await;
            let mut transaction = days.app.pool.begin().await.unwrap();
            let actor = Actor::command_line("ann");
            cancel_run(&mut transaction, RunId(4), &actor).await.unwrap();
            transaction.commit().await.unwrap();
            worker.kill();
            days.api.lock().unwrap().waits = vec![];
        } else {
            // The last windows are those that fail.
            days.api.lock().unwrap().refused = vec![6, 7, 8];
            assert_eq!(days.app.run_as("items", &full).await.status, Failed);
        }
        assert_ne!(days.table().await, Days::undisturbed(true));
        days.asked();
        let run = days.run().await;
        assert!(run.status.is_success() || !is_cancelled, "{run:?}");
        days.api.lock().unwrap().refused = vec![];
        assert!(days.run().await.status.is_success());
        assert_eq!(days.table().await, Days::undisturbed(true), "{is_cancelled}");
        assert_eq!(days.watermark().await, Some(DAYS));
        let note = run.stop_reason.unwrap_or_default();
        assert!(!is_cancelled || note.contains("run 4 began to read everything again"), "{note}");
        // Once is enough.
        days.asked();
        days.run().await;
        assert!(days.asked().iter().all(|day| *day == DAYS));
        days.end().await;
    }
}
