//! The job files of `docs/examples`, each against a double of the API that it is for: what the API's public
//! documentation says it answers, with its limits, caps and errors.

mod ads;
mod coingecko;
mod github;
mod hubspot;
mod jira;
mod shopify;
mod stripe;
#[cfg(feature = "sftp")]
mod vendor;
mod woo;
mod zendesk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::sources::{Access, check, kinds};
use kasparro::tasks::start_run::RunRequest;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};

/// An app with job files of `docs/examples`, whose API is a double.
struct Example {
    app: TestApp,
    server: MockServer,
}

impl Example {
    /// `answer` is asked with each request.
    async fn new(
        names: &[&str],
        answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static,
    ) -> Self {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let app = TestApp::empty().await;
        for name in names {
            app.write(&format!("{name}.toml"), example(name, &server.uri()));
        }
        Self { app, server }
    }

    async fn run(&self, source: &str) -> Run {
        self.run_mode(source, Mode::Incremental).await
    }

    async fn run_mode(&self, source: &str, mode: Mode) -> Run {
        let online = RunRequest { access: Access::Network, ..request(mode) };
        self.app.run_as(source, &online).await
    }

    /// The requests so far.
    async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.expect("requests are recorded")
    }

    async fn end(self) {
        self.app.database.close().await;
    }
}

/// A job file of `docs/examples`, for here.
fn example(name: &str, server: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    here(&std::fs::read_to_string(path.with_extension("toml")).expect("an example"), server)
}

/// The job file with the double in place of the API, and each variable of the environment as a value or a
/// file: tests share one environment.
fn here(text: &str, server: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("base_url", _)) => format!("base_url = \"{server}/\""),
        _ => line
            .replace("{ env = \"", "{ file = \"secrets/")
            .replace("https://ads.example.com", server),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The parameters of a query, by name.
fn query(request: &Request) -> BTreeMap<String, String> {
    request.url.query_pairs().into_owned().collect()
}

/// A header of a request, or "".
fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What a double holds, which tests change between runs.
struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.lock().expect("nobody panics with it"))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[test]
fn every_example_is_a_good_job_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let jobs = kasparro::job_file::JobsFolder::new(&folder);
    let mut found = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let definition =
                jobs.get(&name, kinds()).unwrap_or_else(|error| panic!("{name}: {error}"));
            check(&definition).unwrap_or_else(|error| panic!("{name}: {error}"));
            found += 1;
        }
    }
    assert_eq!(found, 12);
}
