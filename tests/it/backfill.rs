//! Backfills: runs that read a range of an incremental source, have a checkpoint of their own, and leave the watermark
//! where it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunId};
use kasparro::sources::{Access, AskedRange};
use kasparro::tasks::start_run::{RunRequest, Started};
use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::process::{Process, call, kasparro, until};

/// The first second of 2024, and the number of its first days of which there are records.
const BEGIN: i64 = 1_704_067_200;
const DAY: i64 = 86_400;
const DAYS: i64 = 60;
const JANUARY: AskedRange<'static> = AskedRange { from: "2024-01-01", to: Some("2024-02-01") };

/// What the API does.
#[derive(Default)]
struct Behaviour {
    /// The windows, by their first day, that it cuts short, those of which it refuses the second page, and those whose
    /// second page never comes.
    ignored: Vec<i64>,
    refused: Vec<i64>,
    waits: Vec<i64>,
    /// The bounds that were asked for, in days.
    asked: Vec<(i64, Option<i64>)>,
    /// Records that are gone.
    gone: Vec<i64>,
}

/// An API with a record of each day, five on a page.
struct Api {
    server: MockServer,
    behaviour: Arc<Mutex<Behaviour>>,
    app: TestApp,
}

impl Api {
    async fn start(incremental: &str, more: &str) -> Self {
        let (server, app) = (MockServer::start().await, TestApp::empty().await);
        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let held = Arc::clone(&behaviour);
        let answer = move |request: &Request| {
            let query: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
            let day = |name: &str| {
                let seconds: i64 = query.get(name)?.parse().expect("seconds");
                Some((seconds - BEGIN).div_euclid(DAY))
            };
            let (from, to) = (day("from").unwrap_or(0), day("to"));
            let page: usize = query["page"].parse().expect("a number");
            let mut behaviour = held.lock().unwrap();
            behaviour.asked.push((from, to));
            let found: Vec<i64> = (from.max(0)..to.unwrap_or(DAYS).min(DAYS))
                .filter(|day| !behaviour.gone.contains(day))
                .skip((page - 1) * 5)
                .take(5)
                .collect();
            let items: Vec<_> = found
                .iter()
                .map(|day| json!({ "id": day, "name": "a", "at": BEGIN + day * DAY }))
                .collect();
            let status = match page {
                2 if behaviour.ignored.contains(&from) => 418,
                2 if behaviour.refused.contains(&from) => 403,
                _ => 200,
            };
            let answer = ResponseTemplate::new(status).set_body_json(items);
            match behaviour.waits.contains(&from) && page == 2 {
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
                 responses = [{{ status = 418, action = \"ignore\" }}]\n{incremental}\n\
                 [fields]\nname = {{ required = true }}\n{more}",
                server.uri(),
            ),
        );
        Self { server, behaviour, app }
    }

    /// One whose requests have an end, and which is read from 10 February on.
    async fn with_windows() -> Self {
        let incremental = "incremental = { cursor_path = \"$.at\", type = \"epoch\", start_param = \"from\", \
            end_param = \"to\", initial_value = \"2024-02-10\", step = \"10d\", concurrency = 2 }";
        // One window is enough for what is new.
        let api = Self::start(&incremental.replace("10d", "10000d"), "").await;
        let forward = api.run(None).await;
        assert_eq!((forward.status, forward.counters.inserted), (Success, 20), "{forward:?}");
        let job = api.app.read("items.toml").replace("10000d", "10d");
        api.app.write("items.toml", job);
        api.asked();
        api
    }

    async fn run(&self, range: Option<AskedRange<'_>>) -> kasparro::db::runs::Run {
        let online = RunRequest { access: Access::Network, range, ..request(Mode::Incremental) };
        self.app.run_as("items", &online).await
    }

    async fn full(&self) -> kasparro::db::runs::Run {
        let online = RunRequest { access: Access::Network, ..request(Mode::Full) };
        self.app.run_as("items", &online).await
    }

    fn asked(&self) -> Vec<(i64, Option<i64>)> {
        let mut asked = std::mem::take(&mut self.behaviour.lock().unwrap().asked);
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    async fn watermark(&self) -> Vec<String> {
        self.app
            .texts(
                "select coalesce(state #>> '{rest,watermark}', 'none') from ingestion_checkpoints",
            )
            .await
    }

    async fn backfilled(&self) -> Vec<String> {
        let text = "select concat_ws(' ', read_from, read_to, state #>> '{rest,watermark}') \
                    from backfill_checkpoints";
        self.app.texts(text).await
    }

    async fn loaded(&self) -> Vec<i64> {
        let text =
            "select string_agg(external_id, ',' order by external_id::int) from unified_records";
        let ids = self.app.texts(text).await.concat();
        ids.split(',').map(|id| id.parse().expect("a number")).collect()
    }

    async fn end(self) {
        drop(self.server);
        self.app.database.close().await;
    }
}

const WINDOWS: [(i64, Option<i64>); 4] =
    [(0, Some(10)), (10, Some(20)), (20, Some(30)), (30, Some(31))];

#[tokio::test]
async fn a_backfill_reads_its_range_in_windows_and_leaves_the_watermark() {
    let api = Api::with_windows().await;
    let watermark = api.watermark().await;
    let backfill = api.run(Some(JANUARY)).await;
    assert_eq!((backfill.status, backfill.counters.inserted), (Success, 31), "{backfill:?}");
    assert_eq!(api.asked(), WINDOWS);
    assert_eq!(api.loaded().await, (0..31).chain(40..60).collect::<Vec<_>>());
    let range = backfill.range.expect("it is a backfill");
    let [from, to] = ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"];
    assert_eq!((range.from.as_str(), range.to.as_deref()), (from, Some(to)));
    assert_eq!(api.watermark().await, watermark);
    assert_eq!(api.backfilled().await, [format!("{from} {to} {to}")]);
    // What the checkpoint says of the records is of all that are there.
    assert_eq!(api.app.number("select records from ingestion_checkpoints").await, 51);
    // The next run begins where the last forward run ended, and who asks once more reads once more.
    api.app.write("items.toml", api.app.read("items.toml").replace("10d", "10000d"));
    let forward = api.run(None).await;
    assert_eq!(forward.counters.rows_read, 0, "{forward:?}");
    assert!(api.asked().iter().all(|(from, _)| *from > DAYS));
    api.app.write("items.toml", api.app.read("items.toml").replace("10000d", "10d"));
    let again = api.run(Some(JANUARY)).await;
    assert_eq!((again.status, again.counters.unchanged), (SuccessWithDuplicates, 31), "{again:?}");
    // How it is shown.
    let id = again.id.to_string();
    call(&api.app, &["runs", "show", &id])
        .await
        .code(0)
        .prints(&["from 2024-01-01T00:00:00Z to 2024-02-01T00:00:00Z"]);
    let shown = call(&api.app, &["runs", "show", &id, "--json"]).await.json();
    assert_eq!(
        (&shown["from"], &shown["to"], &shown["mode"]),
        (&json!(from), &json!(to), &json!("incremental"))
    );
    api.end().await;
}

#[tokio::test]
async fn a_backfill_that_lacks_something_goes_on_where_it_was_complete_and_one_of_another_range_does_not()
 {
    let api = Api::with_windows().await;
    api.behaviour.lock().unwrap().ignored = vec![20];
    let cut = api.run(Some(JANUARY)).await;
    assert_eq!((cut.status, cut.counters.inserted), (Degraded, 26), "{cut:?}");
    api.behaviour.lock().unwrap().ignored = vec![];
    api.asked();
    let next = api.run(Some(JANUARY)).await;
    assert_eq!((next.status, next.counters.inserted), (SuccessWithDuplicates, 5), "{next:?}");
    assert_eq!(api.asked(), WINDOWS[2..]);
    let note = next.stop_reason.unwrap_or_default();
    assert!(note.contains("has read the range up to 2024-01-21T00:00:00Z"), "{note}");
    let other = api.run(Some(AskedRange { to: Some("2024-01-31"), ..JANUARY })).await;
    assert_eq!((other.status, other.counters.unchanged), (SuccessWithDuplicates, 30), "{other:?}");
    assert_eq!(api.asked()[0], (0, Some(10)));
    api.end().await;
}

#[tokio::test]
async fn a_backfill_of_which_a_window_fails_goes_on_there_when_the_same_command_comes_again() {
    let api = Api::with_windows().await;
    let watermark = api.watermark().await;
    api.behaviour.lock().unwrap().refused = vec![10];
    let failed = api.run(Some(JANUARY)).await;
    assert_eq!(failed.status, Failed, "{failed:?}");
    let note = failed.stop_reason.unwrap_or_default();
    assert!(note.contains("the same command goes on at 2024-01-11T00:00:00Z"), "{note}");
    let [from, to] = ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"];
    assert_eq!(api.backfilled().await, [format!("{from} {to} 2024-01-11T00:00:00Z")]);
    assert_eq!(api.watermark().await, watermark);
    api.behaviour.lock().unwrap().refused = vec![];
    api.asked();
    let next = api.run(Some(JANUARY)).await;
    assert!(next.status.is_success(), "{next:?}");
    assert_eq!(api.asked(), WINDOWS[1..]);
    assert_eq!(api.loaded().await, (0..31).chain(40..60).collect::<Vec<_>>());
    assert_eq!(api.watermark().await, watermark);
    api.end().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_within_a_backfill_loses_nothing_and_the_watermark_stays() {
    let api = Api::with_windows().await;
    let watermark = api.watermark().await;
    api.behaviour.lock().unwrap().waits = vec![0, 10];
    let arguments = ["run", "items", "--from", "2024-01-01", "--to", "2024-02-01", "--detach"];
    call(&api.app, &arguments).await.code(0);
    let worker = Process::start(kasparro(&api.app, &["worker"]));
    until("two windows wait for their second page", async || {
        let behaviour = api.behaviour.lock().unwrap();
        behaviour.asked.iter().filter(|(from, _)| behaviour.waits.contains(from)).count() == 4
    })
    .await;
    worker.kill();
    api.behaviour.lock().unwrap().waits = vec![];
    let _second = Process::start(kasparro(&api.app, &["worker"]));
    let open = "select count(*) from etl_runs where finished_at is null";
    until("the run has ended", async || api.app.number(open).await == 0).await;
    let run = api.app.get(RunId(2)).await;
    assert_eq!((run.status, run.counters.inserted), (Success, 31), "{run:?}");
    assert_eq!(api.loaded().await, (0..31).chain(40..60).collect::<Vec<_>>());
    assert_eq!(api.watermark().await, watermark);
    api.end().await;
}

#[tokio::test]
async fn while_a_backfill_is_under_way_no_other_run_of_the_source_begins() {
    let api = Api::with_windows().await;
    let online = RunRequest { access: Access::Network, ..request(Mode::Incremental) };
    let backfill = RunRequest { range: Some(JANUARY), ..online.clone() };
    let Started::New(id) = api.app.start_as("items", &backfill).await else { panic!("it starts") };
    assert_eq!(api.app.start_as("items", &online).await, Started::Busy(id));
    let other = ["run", "items", "--from", "2024-01-05", "--detach"];
    call(&api.app, &other).await.code(1).complains(&["to read from 2024-01-01T00:00:00Z to"]);
    // One that joined the backfill would end well, and have read nothing that is new.
    for plain in [&["run", "items", "--detach"][..], &["run", "items"]] {
        let says = ["to read from 2024-01-01T00:00:00Z to", "is under way"];
        call(&api.app, plain).await.code(1).complains(&says);
    }
    api.app.drain().await;
    assert_eq!(api.run(None).await.counters.rows_read, 0);
    let Started::New(_) = api.app.start_as("items", &online).await else { panic!("it starts") };
    call(&api.app, &other).await.code(1).complains(&["to read what is new"]);
    api.app.drain().await;
    api.end().await;
}

#[tokio::test]
async fn what_a_backfill_brought_from_before_the_beginning_does_not_count_as_missing() {
    let incremental = "incremental = { cursor_path = \"$.at\", type = \"epoch\", start_param = \"from\", \
                       initial_value = \"2024-02-10\" }";
    let missing = "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    let gone = "select count(*) from unified_records where deleted_at is not null";
    // Before the first run, and behind it.
    for is_first in [true, false] {
        let api = Api::start(incremental, missing).await;
        if !is_first {
            api.run(None).await;
        }
        let backfill = api.run(Some(AskedRange { from: "2024-01-11", to: None })).await;
        let new = if is_first { 50 } else { 30 };
        assert_eq!(backfill.counters.inserted, new, "{backfill:?}");
        assert!(!api.watermark().await.contains(&"2024-01-11T00:00:00Z".to_owned()));
        api.run(None).await;
        api.behaviour.lock().unwrap().gone = vec![59];
        api.full().await;
        let full = api.full().await;
        assert_eq!(api.app.number(gone).await, 0, "{full:?}");
        let note = full.stop_reason.unwrap_or_default();
        assert!(note.contains("no record counts as missing"), "{note}");
        // Who asks for all of it finds what is gone.
        let job = api.app.read("items.toml").replace("2024-02-10", "2024-01-01");
        api.app.write("items.toml", job);
        api.full().await;
        api.full().await;
        assert_eq!(api.app.number(gone).await, 1);
        api.end().await;
    }
}

#[tokio::test]
async fn a_range_that_cannot_be_read_is_refused_with_what_is_wrong() {
    let ends = Api::with_windows().await;
    let open = Api::start(
        "incremental = { cursor_path = \"$.at\", type = \"epoch\", start_param = \"from\" }",
        "",
    );
    let (open, whole) = (open.await, Api::start("", "").await);
    for (api, from, to, says) in [
        (
            &ends,
            "2024-13-01",
            None,
            "`from` = `2024-13-01` cannot be read: expected a time such as",
        ),
        (&ends, "2024-01-01", Some("soon"), "`to` = `soon` cannot be read"),
        (
            &ends,
            "2024-01-01",
            Some("2024-01-01"),
            "`from` = `2024-01-01` is not before `to` = `2024-01-01`",
        ),
        (&ends, "2024-02-01", Some("2024-01-01"), "is not before"),
        (&ends, "2999-01-01", None, "`from` = `2999-01-01` is in the future"),
        (
            &open,
            "2024-01-01",
            Some("2024-02-01"),
            "`to` cannot be asked for, since the job file names no end",
        ),
        (&whole, "2024-01-01", None, "the job file has no `rest_api.incremental`"),
    ] {
        let mut arguments = vec!["run", "items", "--detach", "--from", from];
        arguments.extend(to.iter().flat_map(|to| ["--to", to]));
        call(&api.app, &arguments).await.code(1).complains(&[says, "items"]);
    }
    let runs = "select count(*) from etl_runs";
    assert_eq!((ends.app.number(runs).await, whole.app.number(runs).await), (1, 0));
    call(&ends.app, &["run", "items", "--to", "2024-01-01"]).await.code(64).complains(&["--from"]);
    for api in [ends, open, whole] {
        api.end().await;
    }
}
