//! Following a run: its events in their order, to its end, again from where one was, and not for more
//! clients than there is room for.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use kasparro::api::{self, AuthConfig, WithoutToken};
use kasparro::domain::actor::Actor;
use kasparro::domain::run::{Mode, RunId};
use kasparro::tasks::cancel_run::cancel_run;
use reqwest::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::api::{TestApi, problem};
use crate::app::TestApp;
use crate::process::until;

const OPEN: AuthConfig = AuthConfig::of(WithoutToken::ThisMachine);
const JOB: &str = "kind = \"csv\"\nprimary_key = [\"key\"]\n[csv]\npaths = [\"lines.csv\"]\n\
                   chunk_size = 1000\n[fields]\nname = { column = \"name\" }\n";
/// Long enough for a busy machine; a test that needs it has failed.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What the API has room for.
const STREAMS: usize = 64;

/// An event as it came.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: i64,
    name: String,
    data: Value,
}

/// A stream of events that is read as it comes.
struct Events {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { bytes: response.bytes_stream().boxed(), text: String::new() }
    }

    async fn open(url: String, last: Option<i64>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(url);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        Self::of(request.send().await.unwrap())
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                match event.starts_with(':') {
                    true => continue,
                    false => return Some(parse(&event)),
                }
            }
            let bytes = tokio::time::timeout(TIMEOUT, self.bytes.next()).await;
            let bytes = bytes.expect("something is told")?.expect("the stream is whole");
            self.text += std::str::from_utf8(&bytes).unwrap();
        }
    }

    /// All events to the end of the stream.
    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn parse(text: &str) -> Event {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} is missing in {text:?}"))
    };
    Event {
        id: field("id").parse().unwrap(),
        name: field("event").to_owned(),
        data: serde_json::from_str(field("data")).unwrap(),
    }
}

fn keys(events: &[Event]) -> Vec<&str> {
    let tasks = events.iter().filter(|event| event.name == "task");
    tasks.map(|event| event.data["key"].as_str().unwrap()).collect()
}

/// A queued run of many tasks.
async fn queued() -> TestApi {
    let api = TestApi::admitting(OPEN).await;
    api.app.write("lines.toml", JOB);
    let rows: String = (0..2000).map(|row| format!("k{row},name {row}\n")).collect();
    api.app.write("lines.csv", format!("key,name\n{rows}"));
    api.app.start("lines", Mode::Incremental).await;
    api
}

async fn events(api: &TestApi, last: Option<i64>) -> Events {
    Events::open(api.url("/runs/1/events"), last).await
}

async fn run(api: &TestApi) -> Value {
    api.get("/runs/1").await.json().await.unwrap()
}

async fn cancel(app: &TestApp) {
    let mut transaction = app.pool.begin().await.unwrap();
    cancel_run(&mut transaction, RunId(1), &Actor::command_line("ann")).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_worked_on_is_told_from_its_first_task_to_its_end() {
    let api = queued().await;
    let mut stream = events(&api, None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.id, first.name.as_str()), (0, "run"));
    assert_eq!(first.data, run(&api).await);
    let ((), all) = tokio::join!(api.app.drain(), stream.rest());

    let ended = run(&api).await;
    assert_eq!(ended["status"], "success");
    let [.., last, end] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((last.name.as_str(), &last.data), ("run", &ended));
    assert_eq!((end.name.as_str(), &end.data["status"]), ("end", &ended["status"]));
    assert!(all.is_sorted_by_key(|event| event.id), "{all:?}");
    let tasks: Vec<_> = all.iter().filter(|event| event.name == "task").collect();
    assert!(tasks.is_sorted_by(|a, b| a.id < b.id), "{tasks:?}");
    assert!(tasks.iter().all(|task| task.data["state"] == "done"), "{tasks:?}");
    let rows = tasks.iter().map(|task| task.data["counters"]["inserted"].as_i64().unwrap());
    assert_eq!(rows.sum::<i64>(), 2000);
    let mut told = keys(&all);
    assert_eq!(told[0], "plan_run");
    told.sort_unstable();
    let ledger = "select task_key from run_tasks order by task_key collate \"C\"";
    assert_eq!(told, api.app.texts(ledger).await);
    assert_eq!(ended["tasks"], told.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_failed_is_told_before_the_one_that_succeeds() {
    let server = MockServer::start().await;
    let later = ResponseTemplate::new(429).insert_header("Retry-After", "1");
    Mock::given(method("GET")).respond_with(later).mount(&server).await;
    let api = TestApi::admitting(OPEN).await;
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
         path = \"coins\"\ndata_selector = \"$[*]\"\n",
        server.uri()
    );
    api.app.write("coins.toml", job);
    let following = async {
        until("the run begins", async || api.get("/runs/1").await.status() == 200).await;
        let mut stream = events(&api, Some(0)).await;
        let of_page = |event: &Event| event.data["key"] == "fetch_page:0";
        let failed = loop {
            match stream.next().await.unwrap() {
                event if of_page(&event) => break event,
                _ => {}
            }
        };
        let page = ResponseTemplate::new(200).set_body_string("[{\"id\": 1}]");
        Mock::given(method("GET")).respond_with(page).with_priority(1).mount(&server).await;
        (failed, stream.rest().await.into_iter().rfind(of_page).unwrap())
    };
    let (ended, (failed, done)) = tokio::join!(api.app.run_online("coins"), following);
    assert!(ended.status.is_success(), "{ended:?}");
    assert_eq!(failed.data["state"], "open");
    assert!(failed.data["error"].as_str().unwrap().contains("429"), "{failed:?}");
    assert!(failed.data["next_attempt_at"].is_string());
    assert_eq!((&done.data["state"], &done.data["error"]), (&"done".into(), &Value::Null));
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_that_was_seen() {
    let api = queued().await;
    api.app.drain().await;
    let all = events(&api, Some(0)).await.rest().await;
    let tasks = keys(&all);
    assert!(tasks.len() > 20, "{tasks:?}");
    let rest = events(&api, Some(all[6].id)).await.rest().await;
    assert_eq!(rest, all[7..]);
    let names = |events: &[Event]| events.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    for last in [None, Some(all.last().unwrap().id), Some(i64::MAX)] {
        let rest = events(&api, last).await.rest().await;
        assert_eq!(names(&rest), ["run", "end"], "{last:?}");
    }
}

#[tokio::test]
async fn each_task_of_a_cancelled_run_is_told_once() {
    let api = queued().await;
    let more = "insert into run_tasks (run_id, task_key, kind, role, payload)
                    select 1, 'fetch_page:' || i, 'fetch_page', 'read', '{}'
                    from generate_series(1, 1200) as i;
                update run_progress set open_tasks = 1201, tasks = 1201";
    sqlx::raw_sql(more).execute(&api.pool).await.unwrap();
    let mut stream = events(&api, None).await;
    assert_eq!(stream.next().await.unwrap().name, "run");
    cancel(&api.app).await;
    let all = stream.rest().await;
    assert_eq!(keys(&all).len(), 1201);
    assert!(all[..1201].is_sorted_by(|a, b| a.id < b.id), "more than one look holds");
    assert!(all[..1201].iter().all(|task| task.data["state"] == "cancelled"));
    assert_eq!(all.last().unwrap().data["status"], "cancelled");
}

#[tokio::test]
async fn a_run_that_is_not_there_and_an_id_that_is_none_are_refused() {
    let api = TestApi::admitting(OPEN).await;
    problem(api.get("/runs/77/events").await, 404, "unknown-run").await;
    for bad in ["x", "-1", "9223372036854775808"] {
        let request = api.client.get(api.url("/runs/1/events")).header("Last-Event-ID", bad);
        let refused = problem(request.send().await.unwrap(), 400, "invalid-parameter").await;
        assert!(refused["detail"].as_str().unwrap().contains("Last-Event-ID"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_streams_than_there_is_room_for_and_they_hold_up_nobody() {
    let api = queued().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = events(&api, None).await;
        assert_eq!(stream.next().await.unwrap().name, "run");
        streams.push(stream);
    }
    let refused = api.get("/runs/1/events").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    problem(refused, 503, "busy").await;
    // As many requests are worked on at once.
    let asked = Instant::now();
    assert_eq!(api.get("/runs/1").await.status(), 200);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    streams.pop();
    until("there is room again", async || api.get("/runs/1/events").await.status() == 200).await;
    cancel(&api.app).await;
    for stream in streams {
        assert_eq!(stream.rest().await.last().unwrap().name, "end");
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_at_once() {
    let app = TestApp::empty().await;
    app.write("lines.toml", JOB);
    app.write("lines.csv", "key,name\n1,one\n");
    app.start("lines", Mode::Incremental).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/runs/1/events", listener.local_addr().unwrap());
    let state = app.api_state();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { stopped.await.unwrap() };
    let serving = tokio::spawn(api::serve(state, OPEN, listener, TIMEOUT, stopped));
    let mut stream = Events::open(url, None).await;
    assert_eq!(stream.next().await.unwrap().name, "run");
    let asked = Instant::now();
    stop.send(()).unwrap();
    assert_eq!(stream.next().await, None, "the run has not ended");
    serving.await.unwrap().unwrap();
    assert!(asked.elapsed() < TIMEOUT / 4, "{:?}", asked.elapsed());
    app.database.close().await;
}
