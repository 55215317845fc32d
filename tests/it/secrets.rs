//! Real processes with a secret of every kind, an API that repeats whatever it is sent, and failures
//! of every kind, all of it logged: nowhere is a secret found again.

use std::path::Path;
use std::process::Command;

use kasparro::domain::run::Mode;
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::canary::{Canary, assert_tables_are_clean, assert_text_is_clean};
use crate::parrot::{BROKEN, KEY_VARIABLE, parrot, write_broken_sources, write_sources};
use crate::process::{Ended, Process, kasparro, until};

#[tokio::test]
async fn what_could_be_data_stays_as_it_is_and_a_run_says_what_it_replaced() {
    const NAMES: &str = "select coalesce(name, '') from unified_records order by external_id";
    let server = MockServer::start().await;
    let rows = json!([
        { "id": 1, "name": "administrator" },
        { "id": 2, "name": "20261128" },
        { "id": 3, "name": "my s3cret p%4055word" },
    ]);
    let answer = ResponseTemplate::new(200).set_body_json(rows);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write("user", "administrator");
    app.write("number", "20261128");
    app.write("password", "s3cret p@55word");
    for (auth, names, note) in [
        (
            "type = \"basic\", username = { file = \"user\" }, password = { file = \"password\" }",
            ["administrator", "20261128", "my ***"],
            Some("in 1 place "),
        ),
        (
            "type = \"basic\", username = { file = \"user\" }",
            ["***", "20261128", "my s3cret p%4055word"],
            Some("in 1 place "),
        ),
        (
            "type = \"api_key\", in = \"query\", name = \"id\", value = { file = \"number\" }",
            ["administrator", "20261128", "my s3cret p%4055word"],
            None,
        ),
    ] {
        app.write(
            "people.toml",
            format!(
                "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
                 data_selector = \"$[*]\"\nauth = {{ {auth} }}\n[fields]\n\
                 name = {{ from = \"$.name\", type = \"text\" }}\n",
                server.uri()
            ),
        );
        let run = app.run_online("people").await;
        assert_eq!(app.texts(NAMES).await, names, "{auth}");
        let said = run.stop_reason.as_deref().unwrap_or_default();
        match note {
            Some(places) => assert!(said.contains(places), "{auth}: {run:?}"),
            None => assert!(!said.contains("secret"), "{auth}: {run:?}"),
        }
    }
    app.database.close().await;
}

/// An API that lists keys by themselves, those among them that it is asked with.
#[tokio::test]
async fn records_whose_keys_are_secrets_stay_apart_online_and_from_a_recording() {
    const ROWS: &str =
        "select external_id || ' ' || coalesce(name, '') from unified_records order by 1";
    const ASIDE: &str =
        "select reason || ' ' || field from quarantined_rows where status <> 'resolved'";
    let server = MockServer::start().await;
    let rows = json!([
        { "id": "the first key", "name": "a", "uses": { "the first key": 1, "another key": 2 } },
        { "id": "another key", "name": "b", "uses": {} },
        { "id": "a third key", "name": "c", "uses": { "the first key": 1, "another key": 2, "***": 3 } },
    ]);
    let answer = ResponseTemplate::new(200).set_body_json(rows);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write("one", "the first key");
    app.write("two", "another key");
    let job = |recording: &str| {
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\nrecording = \"{recording}\"\n\
             auth = [{{ type = \"api_key\", name = \"x-one\", value = {{ file = \"one\" }} }},\n\
             {{ type = \"bearer\", token = {{ file = \"two\" }} }}]\n[fields]\n\
             name = {{ from = \"$.name\" }}\nattributes = {{ from = \"$.uses\", type = \"json\" }}\n",
            server.uri()
        )
    };
    app.write("keys.toml", job("recorded"));
    for (access, restart) in [(Access::Record, Mode::Incremental), (Access::Offline, Mode::Full)] {
        let run = app.run_as("keys", &RunRequest { access, ..request(restart) }).await;
        assert_eq!((run.counters.rows_read, run.counters.quarantined), (3, 2), "{run:?}");
        assert_eq!(app.texts(ROWS).await, ["a third key c"], "{run:?}");
        let said = run.stop_reason.as_deref().unwrap_or_default();
        assert!(said.contains("`id` redacted_key"), "{said}");
    }
    let aside = app.texts(ASIDE).await;
    assert!(aside.len() >= 2 && aside.iter().all(|row| row == "redacted_key id"), "{aside:?}");
    let uses = app.texts("select attributes::text from unified_records").await;
    let uses: Value = serde_json::from_str(&uses[0]).unwrap();
    assert_eq!(uses, json!({ "***2": 1, "***3": 2, "***": 3 }));
    app.database.close().await;
}

/// Every secret there is.
struct Aviary {
    /// A key from a variable, sent in a header.
    header: Canary,
    /// One from a file, sent in the query and in another header.
    file: Canary,
    /// Of the database.
    password: Canary,
    /// What somebody wrote into a job file by mistake.
    literal: Canary,
    /// A token of our API.
    token: Canary,
    /// A token that a login server gives.
    access: Canary,
}

impl Aviary {
    async fn new(app: &TestApp) -> Self {
        let made = kasparro(app, &["token", "create", "--scope", "admin"]);
        let token = Process::start(made).ended().await.code(0).stdout.trim().to_owned();
        let (_, secret) = token.rsplit_once('_').expect("a token");
        // The end is left out: the test presents tokens that differ there.
        let core = secret[..secret.len() - 4].to_owned();
        Self {
            header: Canary::new("hdr+7Qx2Lk9ZwVb4/==", "7Qx2Lk9ZwVb4"),
            file: Canary::new("fil&3Rt8Mn5YjCd6+/<x>", "3Rt8Mn5YjCd6"),
            password: Canary::new("pw%@5Gh1Bs6XqTf9/+", "5Gh1Bs6XqTf9"),
            literal: Canary::new("lit+8Kp4Dv7NzWc2/", "8Kp4Dv7NzWc2"),
            token: Canary { text: token, core },
            access: Canary::new("acc.6Jt9Wm3QzHs8-_x", "6Jt9Wm3QzHs8"),
        }
    }

    fn all(&self) -> Vec<Canary> {
        [&self.header, &self.file, &self.password, &self.literal, &self.token, &self.access]
            .map(Clone::clone)
            .to_vec()
    }

    /// A command with everything that a process of kasparro is given in secret, and all its logs.
    fn kasparro(&self, app: &TestApp, arguments: &[&str]) -> Command {
        let mut command = kasparro(app, arguments);
        command
            .env("DATABASE_URL", self.with_password(app.database.url()))
            .env(KEY_VARIABLE, &self.header.text)
            .env("KASPARRO_LOG", "trace");
        command
    }

    fn with_password(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        url.set_password(Some(&self.password.text)).unwrap();
        url.to_string()
    }

    async fn call(&self, app: &TestApp, arguments: &[&str]) -> Ended {
        let ended = Process::start(self.kasparro(app, arguments)).ended().await;
        self.assert_said_nothing(&format!("kasparro {arguments:?}"), &ended);
        ended
    }

    #[track_caller]
    fn assert_said_nothing(&self, what: &str, ended: &Ended) {
        self.assert_clean(&format!("{what}, standard output"), &ended.stdout);
        self.assert_clean(&format!("{what}, standard error"), &ended.stderr);
    }

    #[track_caller]
    fn assert_clean(&self, what: &str, text: &str) {
        assert_text_is_clean(&self.all(), what, text);
    }

    fn assert_command_line_is_clean(&self, process: &Process) {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        let line = String::from_utf8_lossy(&line);
        assert!(line.contains("kasparro"), "{line}");
        self.assert_clean("the command line", &line);
    }
}

/// The API of a running kasparro, asked as somebody with a token, with a bad one, and with none.
struct Asker<'a> {
    base: String,
    client: reqwest::Client,
    canaries: &'a Aviary,
}

impl Asker<'_> {
    /// The answer, after looking through all of it.
    async fn ask(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let answer = request.send().await.unwrap();
        let (status, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        let what = format!("the answer to {}", answer.url());
        let body = answer.text().await.unwrap();
        self.canaries.assert_clean(&what, &head);
        self.canaries.assert_clean(&what, &body);
        (status, body)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.base);
        self.ask(self.client.get(url).bearer_auth(&self.canaries.token.text)).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.base)).json(body);
        self.ask(request.bearer_auth(&self.canaries.token.text)).await
    }

    /// Every operation that reads, of everything there is.
    async fn get_everything(&self, app: &TestApp) {
        let mut places = vec![
            ("{id}", app.texts("select id::text from etl_runs").await),
            ("{source}", app.texts("select distinct source from etl_runs").await),
            ("{hash}", app.texts("select encode(hash, 'hex') from source_definitions").await),
        ];
        let records = "select distinct external_id from unified_records";
        let encode = |id: &String| {
            percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        places.push(("{external_id}", app.texts(records).await.iter().map(encode).collect()));
        let document: Value = serde_json::from_str(&kasparro::api::openapi_json()).unwrap();
        let mut asked = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            if operations.get("get").is_none() {
                continue;
            }
            let exports = path == "/records/export";
            let more = "?source={source}&format=jsonl&rows=all&lineage=true";
            let mut paths = vec![format!("{path}{}", if exports { more } else { "" })];
            for (place, values) in &places {
                let fill = |path: &String| match path.contains(place) {
                    true => values.iter().map(|value| path.replace(place, value)).collect(),
                    false => vec![path.clone()],
                };
                paths = paths.iter().flat_map(fill).collect();
            }
            for path in paths {
                assert!(!path.contains('{'), "{path}: say here what to put there");
                let (status, body) = self.get(&path).await;
                // Nothing is exported of a source whose job file is broken.
                let fits = [200, 404].contains(&status) || exports && status == 422;
                assert!(fits, "{path}: {status} {body}");
                asked += 1;
            }
        }
        assert!(asked > 50, "{asked}");
        self.get_what_is_refused().await;
    }

    async fn get_what_is_refused(&self) {
        let token = &self.canaries.token.text;
        let bad = format!("{}0000", &token[..token.len() - 4]);
        for path in ["/runs", "/docs", "/nothing"] {
            let url = format!("{}{path}", self.base);
            for request in [
                self.client.get(&url).bearer_auth(&bad),
                self.client.get(&url).basic_auth("me", Some(&bad)),
                self.client.get(&url),
            ] {
                assert_eq!(self.ask(request).await.0, 401, "{path}");
            }
        }
        for path in ["/runs?limit=x", "/quarantine?source=X", "/runs/0", "/nothing"] {
            assert!((400..500).contains(&self.get(path).await.0), "{path}");
        }
    }
}

/// Serves and works in processes of their own, runs every source, asks for everything, and ends.
async fn live(app: &TestApp, canaries: &Aviary) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = ["serve", "--rate-limit", "0", "--listen", &free.to_string()];
    let mut serve = Process::start(canaries.kasparro(app, &listen));
    let mut worker = canaries.kasparro(app, &["worker"]);
    worker.env("KASPARRO_LOG_FORMAT", "json");
    let mut worker = Process::start(worker);
    serve.says("API listening").await;
    worker.says("worker started").await;
    canaries.assert_command_line_is_clean(&serve);
    canaries.assert_command_line_is_clean(&worker);

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asker = Asker { base: format!("http://{free}"), client, canaries };
    let (status, body) = asker.post("/runs", &json!({ "all": true })).await;
    assert_eq!(status, 202, "{body}");
    assert_eq!(body.matches("\"invalid\"").count(), BROKEN, "{body}");
    for name in ["broken_token", "broken_user", "broken_open"] {
        assert_eq!(asker.post("/runs", &json!({ "source": name })).await.0, 422, "{name}");
    }
    let open = "select count(*) from etl_runs where finished_at is null";
    until("all runs end", async || app.number(open).await == 0).await;
    asker.get_everything(app).await;
    for (process, most_wordy) in [(serve, "DEBUG"), (worker, "TRACE")] {
        process.signal(Signal::SIGTERM);
        let ended = process.ended().await;
        assert!(ended.stderr.contains(most_wordy), "everything is logged");
        canaries.assert_said_nothing("serve or worker", ended.code(0));
    }
}

/// What the runs came to: that the secrets were sent, and that the answers repeated them.
async fn assert_the_parrot_spoke(app: &TestApp, canaries: &Aviary, api: &MockServer) {
    let requests = api.received_requests().await.unwrap();
    let sent = |name: &str, secret: &str| {
        requests.iter().any(|request| {
            let header = request.headers.get(name).is_some_and(|value| value == secret);
            header || request.url.query_pairs().any(|(key, value)| key == name && value == secret)
        })
    };
    assert!(sent("x-key", &canaries.header.text), "in a header");
    assert!(sent("authorization", &format!("Bearer {}", canaries.access.text)), "a token");
    assert!(sent("key", &canaries.file.text) && sent("x-second", &canaries.file.text));
    let outcomes = "select source || ' ' || status || ' ' || coalesce(error, '') from etl_runs";
    for outcome in app.texts(outcomes).await {
        let (source, rest) = outcome.split_once(' ').unwrap();
        let good = source.starts_with("good") || source.starts_with("escaped");
        assert_ne!(good, rest.starts_with("failed"), "{outcome}");
        let quotes =
            ["unauthorized", "broken", "page"].iter().any(|place| source.starts_with(place));
        assert!(!quotes || outcome.contains("***"), "{outcome}");
    }
    let struck = "select count(*) from unified_records where name like '%***%'";
    assert_eq!(app.number(struck).await, 6);
    let struck = "select count(*) from quarantined_rows where raw::text like '%' ||
        encode('***', 'hex') || '%'";
    assert!(app.number(struck).await >= 8);
}

#[tokio::test]
async fn no_secret_is_ever_found_again() {
    let app = TestApp::empty().await;
    let canaries = Aviary::new(&app).await;
    let api = parrot(&canaries.access.text).await;
    write_sources(&app, &canaries.file.text, &api.uri());
    write_broken_sources(&app, &canaries.literal.text);
    live(&app, &canaries).await;
    assert_the_parrot_spoke(&app, &canaries, &api).await;
    assert_tables_are_clean(&app, &canaries.all()).await;

    // The same from the command line, and everything that it prints.
    canaries.call(&app, &["run", "--all", "--full", "--json"]).await.code(1);
    canaries.call(&app, &["run", "good_query", "broken_token"]).await.code(1);
    canaries.call(&app, &["run", "broken_open"]).await.code(1);
    canaries.call(&app, &["check"]).await.code(1).prints(&["broken_auth", "broken_user"]);
    let checked = canaries.call(&app, &["check", "--json"]).await.code(1).stdout.clone();
    assert_eq!(checked.matches("\"ok\": false").count(), BROKEN, "{checked}");
    for arguments in [&["sources"] as &[&str], &["sources", "--json"]] {
        canaries.call(&app, arguments).await.code(0).prints(&["broken_auth", "broken_user"]);
    }
    canaries.call(&app, &["runs"]).await.code(0);
    canaries.call(&app, &["runs", "--json", "--limit", "1000"]).await.code(0);
    let own = ["exec", "--", "sh", "-c", "tr '\\0' ' ' < /proc/$PPID/cmdline"];
    canaries.call(&app, &own).await.code(0).prints(&["kasparro exec"]);
    assert_tables_are_clean(&app, &canaries.all()).await;
    for definition in app.jobs().load(kasparro::sources::kinds()).unwrap() {
        let shown = format!("{definition:?}");
        let broken = shown.contains("broken_");
        assert!(broken || shown.contains("rest_api"), "{shown}");
        // Whoever writes a secret into a job file has it in the text of that file.
        let mut canaries = canaries.all();
        canaries.retain(|canary| !broken || !shown.contains(&canary.text));
        assert_text_is_clean(&canaries, "a definition", &shown);
    }
    app.database.close().await;
}

#[tokio::test]
async fn no_password_of_the_database_is_shown_when_it_cannot_be_used() {
    let app = TestApp::empty().await;
    let canaries = Aviary::new(&app).await;
    let good = canaries.with_password(app.database.url());
    let mut unknown = reqwest::Url::parse(&good).unwrap();
    unknown.set_path("/no_such_database");
    let said = async |mut command: Command| {
        command.env("KASPARRO_LOG", "trace");
        let ended = Process::start(command).ended().await;
        canaries.assert_said_nothing("a kasparro without a database", ended.code(1));
        ended.stderr
    };
    for (url, problem) in [
        (unknown.as_str(), "refused the connection"),
        (&format!("postgresql://me:{}@localhost:x/y", canaries.password.core), "cannot be read"),
    ] {
        let mut command = kasparro(&app, &["worker", "--database-wait", "0"]);
        command.env("DATABASE_URL", url);
        let stderr = said(command).await;
        assert!(stderr.contains(problem), "{url}: {stderr}");
    }
    let file = Path::new("settings.toml");
    for line in [format!("database_url = \"{good}"), format!("database_ur = \"{good}\"")] {
        app.write("settings.toml", &line);
        let config = app.path("settings.toml").display().to_string();
        let mut command = kasparro(&app, &["worker", "--config", &config]);
        command.env_remove("DATABASE_URL");
        let stderr = said(command).await;
        assert!(stderr.contains(&format!("{}:1: ", file.display())), "{stderr}");
    }
    app.database.close().await;
}
