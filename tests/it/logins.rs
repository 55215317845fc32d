//! Tokens of login servers in whole runs: many workers, refresh tokens that are taken once, and where they
//! are found again, which is nowhere.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use kasparro::db::totals;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::job_file::setting::SecretText;
use kasparro::sources::{Access, AllowedRoots};
use kasparro::tasks::start_run::{RunRequest, Started};
use kasparro::worker::{self, WorkerOptions};
use serde_json::json;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::canary::{Canary, assert_tables_are_clean, assert_text_is_clean};
use crate::process::{Ended, Process, kasparro};

/// How long an access token is good for.
const LASTS: Duration = Duration::from_secs(2);
/// How many requests it is good for: the API ends some before their time.
const USES: usize = 40;
pub const KEY: &str = "a-secret-key-of-the-test-0123456789";
/// Part of each access token, and of each refresh token.
const ACCESS: &str = "AccQ7x2Lk9ZwVb4";
pub const REFRESH: &str = "RefQ8y3Mm1XvUc5";

/// A login server and the API behind it.
#[derive(Debug, Default)]
pub struct Server {
    /// The refresh token that is taken next.
    pub refresh: String,
    pub renewals: usize,
    /// Requests with a refresh token that is not good any more.
    pub invalid: usize,
    /// How long the answer with a token takes, when its refresh token is taken already.
    pub answers_after: Duration,
    /// Who has to come before it is answered.
    pub gate: Option<Arc<Barrier>>,
    /// The access tokens: when they end, and how often they may still be used.
    access: HashMap<String, (Instant, usize)>,
}

impl Server {
    fn token(&mut self, request: &Request) -> ResponseTemplate {
        let body = String::from_utf8_lossy(&request.body);
        let sent = body.split('&').find_map(|field| field.strip_prefix("refresh_token="));
        if sent != Some(&self.refresh) {
            self.invalid += 1;
            let body = json!({ "error": "invalid_grant", "error_description": body });
            return ResponseTemplate::new(400).set_body_json(body);
        }
        self.renewals += 1;
        self.refresh = format!("{REFRESH}-{}", self.renewals);
        let access = format!("{ACCESS}-{}", self.renewals);
        self.access.insert(access.clone(), (Instant::now() + LASTS, USES));
        let body = json!({
            "access_token": access,
            "refresh_token": self.refresh,
            "expires_in": LASTS.as_secs(),
        });
        ResponseTemplate::new(200).set_body_json(body).set_delay(self.answers_after)
    }

    /// A page of one record, which repeats the token.
    fn page(&mut self, request: &Request) -> ResponseTemplate {
        let sent = request.headers.get("authorization").map(|value| value.to_str().unwrap());
        let sent = sent.unwrap_or_default().to_owned();
        let known = self.access.get_mut(sent.trim_start_matches("Bearer "));
        let Some((ends, uses)) = known.filter(|(ends, uses)| *ends > Instant::now() && *uses > 0)
        else {
            return ResponseTemplate::new(401).set_body_json(json!({ "error": sent }));
        };
        let _ = ends;
        *uses -= 1;
        let page = request.url.query_pairs().find(|(key, _)| key == "page").unwrap().1;
        let records = match page.parse::<u64>().unwrap() {
            page if page <= PAGES => json!([{ "id": page, "name": sent }]),
            _ => json!([]),
        };
        ResponseTemplate::new(200).set_delay(Duration::from_millis(60)).set_body_json(records)
    }
}

const PAGES: u64 = 25;

pub struct Api {
    server: MockServer,
    pub state: Arc<Mutex<Server>>,
}

pub async fn api() -> Api {
    let server = MockServer::start().await;
    let state =
        Arc::new(Mutex::new(Server { refresh: format!("{REFRESH}-0"), ..Server::default() }));
    let tokens = state.clone();
    Mock::given(path("/token"))
        .respond_with(move |request: &Request| {
            let mut state = tokens.lock().unwrap();
            let (answer, gate) = (state.token(request), state.gate.take());
            drop(state);
            if let Some(gate) = gate {
                gate.wait();
            }
            answer
        })
        .mount(&server)
        .await;
    let pages = state.clone();
    Mock::given(path("/items"))
        .respond_with(move |request: &Request| pages.lock().unwrap().page(request))
        .mount(&server)
        .await;
    Api { server, state }
}

fn job(api: &Api) -> String {
    let url = api.server.uri();
    format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{url}\"\npath = \"items\"\n\
         paginator = {{ type = \"page_number\", size = 1, max_pages = 100 }}\n\
         auth = {{ type = \"oauth2\", grant = \"refresh_token\", token_url = \"{url}/token\", \
         client_id = \"me\", refresh_token = {{ file = \"refresh\" }} }}\n\
         [fields]\nname = {{ from = \"$.name\" }}\n"
    )
}

pub async fn app_of(api: &Api, sources: usize) -> TestApp {
    let mut app = TestApp::empty().await;
    app.secret_key = Some(SecretText::from(KEY.to_owned()));
    app.write("refresh", format!("{REFRESH}-0\n"));
    for number in 0..sources {
        app.write(&format!("items_{number}.toml"), job(api));
    }
    app
}

pub fn online() -> RunRequest<'static> {
    RunRequest { access: Access::Network, ..request(Mode::Full) }
}

/// Works on the queue with so many workers that know nothing of each other.
async fn drain_with(app: &TestApp, workers: usize) {
    let working = (0..workers).map(|number| async move {
        let options = WorkerOptions {
            name: format!("test {number}"),
            computing: 2,
            allowed_roots: AllowedRoots::default(),
            jobs: None,
            secret_key: app.secret_key.clone(),
            retry: app.retry,
            grace: Duration::from_secs(5),
        };
        let idle = async {
            while totals::open_tasks(&app.pool).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        worker::run(&app.pool, &options, idle).await.unwrap();
    });
    let all = futures::future::join_all(working);
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("the queue drains");
}

pub fn canaries() -> Vec<Canary> {
    [ACCESS, REFRESH].map(|core| Canary::new(core, core)).to_vec()
}

#[tokio::test]
async fn ten_workers_share_refresh_tokens_that_are_taken_once_and_store_them_sealed() {
    let api = api().await;
    let app = app_of(&api, 10).await;
    let mut runs = Vec::new();
    for number in 0..10 {
        let Started::New(id) = app.start_as(&format!("items_{number}"), &online()).await else {
            panic!("a run begins");
        };
        runs.push(id);
    }
    drain_with(&app, 5).await;
    for id in runs {
        let run = app.get(id).await;
        assert_eq!(run.status, RunStatus::Success, "{run:?}");
    }
    assert_eq!(app.number("select count(*) from unified_records").await, 10 * PAGES as i64);
    {
        let server = api.state.lock().unwrap();
        assert_eq!(server.invalid, 0, "{server:?}");
        // 260 requests, of which a token is good for 40.
        assert!((7..60).contains(&server.renewals), "{}", server.renewals);
    }
    let kept = app.number("select generation from oauth_tokens").await;
    assert_eq!(kept, api.state.lock().unwrap().renewals as i64);
    assert_tables_are_clean(&app, &canaries()).await;
    app.database.close().await;
}

#[tokio::test]
async fn a_refresh_token_of_the_job_file_is_used_once_and_a_new_one_takes_its_place() {
    let api = api().await;
    let app = app_of(&api, 1).await;
    let run = async |is_good: bool| {
        let run = app.run_as("items_0", &online()).await;
        assert_eq!(run.status != RunStatus::Failed, is_good, "{run:?}");
        run
    };
    run(true).await;
    // The server forgets everything, and somebody allows it again.
    api.state.lock().unwrap().refresh = "second-refresh-token".into();
    api.state.lock().unwrap().access.clear();
    let failed = run(false).await;
    let error = failed.error.unwrap_or_default();
    assert!(error.contains("invalid_grant") && error.contains("kasparro auth set"), "{error}");
    assert_text_is_clean(&canaries(), "the error", &error);
    app.write("refresh", "second-refresh-token");
    run(true).await;
    // A worker that was started before still has the first one.
    app.write("refresh", format!("{REFRESH}-0"));
    api.state.lock().unwrap().access.clear();
    run(true).await;
    assert_eq!(api.state.lock().unwrap().invalid, 1, "of the run that failed");
    app.database.close().await;
}

pub async fn with_input(mut command: Command, input: &str) -> Ended {
    let input = input.to_owned();
    let call = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    tokio::task::spawn_blocking(call).await.unwrap()
}

#[tokio::test]
async fn a_token_is_stored_by_hand_and_a_job_file_without_a_key_is_refused() {
    let api = api().await;
    let app = app_of(&api, 1).await;
    let with_key = |arguments: &[&str]| {
        let mut command = kasparro(&app, arguments);
        command.env("KASPARRO_SECRET_KEY", KEY);
        command
    };
    let checked = Process::start(kasparro(&app, &["check"])).ended().await;
    checked.code(1).prints(&["items_0.toml:7: rest_api.auth", "KASPARRO_SECRET_KEY"]);
    Process::start(with_key(&["check"])).ended().await.code(0);
    let refused = with_input(kasparro(&app, &["auth", "set", "items_0"]), "x").await;
    refused.code(1).complains(&["KASPARRO_SECRET_KEY"]);
    api.state.lock().unwrap().refresh = format!("{REFRESH}-by-hand");
    let stored =
        with_input(with_key(&["auth", "set", "items_0"]), &format!("{REFRESH}-by-hand\n")).await;
    stored.code(0).prints(&["the refresh token of items_0 is stored"]);
    let listed = Process::start(with_key(&["auth", "status", "--json"])).ended().await;
    assert_eq!(listed.code(0).json()["tokens"][0]["stored"], json!(true), "{listed:?}");
    let run = Process::start(with_key(&["run", "items_0", "--json"])).ended().await;
    run.code(0);
    for (what, said) in [("run", &run), ("set", &stored), ("status", &listed)] {
        assert_text_is_clean(&canaries(), what, &format!("{}{}", said.stdout, said.stderr));
    }
    assert_eq!(api.state.lock().unwrap().invalid, 0);
    assert_tables_are_clean(&app, &canaries()).await;
    let run = Process::start(kasparro(&app, &["run", "items_0"])).ended().await;
    run.code(1).complains(&["KASPARRO_SECRET_KEY"]);
    app.database.close().await;
}
