//! Whole runs by the paginator `offset`, against an API that has its own mind: what it caps, what it
//! says of its total, and whether it knows the parameter at all. No record may be lost without a word.

use kasparro::db::runs::Run;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};

/// What an API does with `offset` and `limit`.
#[derive(Debug, Clone, Copy)]
struct Api {
    /// How many records it has.
    records: u64,
    /// The most that it gives on a page.
    cap: u64,
    /// What it says of its total, by the records of the page.
    total: fn(u64) -> Value,
    /// Whether it knows `offset`.
    knows_offset: bool,
    /// Whether a page that is not the last says so.
    has_more: bool,
}

const API: Api =
    Api { records: 120, cap: 50, total: |_| Value::Null, knows_offset: true, has_more: false };
const TOTAL: &str = "paginator = { type = \"offset\", size_param = \"limit\", size = 100, \
                     total_path = \"$.total\" }";
const NO_TOTAL: &str = "paginator = { type = \"offset\", size_param = \"limit\", size = 100 }";

impl Api {
    fn answer(self, request: &Request) -> ResponseTemplate {
        let number = |name: &str| {
            let mut query = request.url.query_pairs();
            query.find(|(key, _)| key == name).and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let offset = number("offset").filter(|_| self.knows_offset).unwrap_or(0);
        let count = number("limit").unwrap_or(u64::MAX).min(self.cap);
        let end = offset.saturating_add(count).min(self.records);
        let items: Vec<_> =
            (offset..end).map(|id| json!({ "id": id, "name": format!("item {id}") })).collect();
        let total = (self.total)(items.len() as u64);
        let mut body = json!({ "total": total, "items": items });
        if self.has_more {
            body["has_more"] = json!(end < self.records);
        }
        ResponseTemplate::new(200).set_body_json(body)
    }

    async fn server(self) -> MockServer {
        let server = MockServer::start().await;
        let answer = move |request: &Request| self.answer(request);
        Mock::given(any()).respond_with(answer).mount(&server).await;
        server
    }

    /// A run of it: how it ended, with how many requests, and what it left.
    async fn run(self, paginator: &str) -> (Run, usize, i64) {
        let server = self.server().await;
        let app = app(&server, paginator).await;
        let dry = app.run_as("items", &RunRequest { dry_run: true, ..online() }).await;
        let asked_dry = requests(&server).await;
        let run = app.run_online("items").await;
        let asked = requests(&server).await - asked_dry;
        assert_eq!((dry.status, asked_dry), (run.status, asked), "{dry:?} {run:?}");
        let records = app.number("select count(*) from unified_records").await;
        app.database.close().await;
        (run, asked, records)
    }

    async fn ends(self, paginator: &str, status: RunStatus, requests: usize, records: i64) -> Run {
        let (run, asked, kept) = self.run(paginator).await;
        assert_eq!((run.status, asked, kept), (status, requests, records), "{self:?}: {run:?}");
        run
    }
}

fn online() -> RunRequest<'static> {
    RunRequest { access: Access::Network, ..request(Mode::Incremental) }
}

async fn app(server: &MockServer, paginator: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
             {}recording = \"recordings/items\"\n{paginator}\n[fields]\nname = {{}}\n",
            server.uri(),
            match paginator.contains("data_selector") {
                true => "",
                false => "data_selector = \"$.items[*]\"\n",
            },
        ),
    );
    app
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.expect("requests are recorded").len()
}

#[tokio::test]
async fn an_api_that_caps_its_pages_loses_nothing_with_a_total_and_without() {
    // 50, 50, 20, and an empty page where nothing else proves the end.
    Api { total: |_| json!(120), ..API }.ends(TOTAL, Success, 3, 120).await;
    API.ends(NO_TOTAL, Success, 4, 120).await;
}

#[tokio::test]
async fn a_full_last_page_is_the_last_by_the_total_or_by_the_empty_one_behind_it() {
    let full = Api { records: 150, ..API };
    // The total may be an estimate, which a full page reaches by chance.
    Api { total: |_| json!("150"), ..full }.ends(TOTAL, Success, 4, 150).await;
    full.ends(NO_TOTAL, Success, 4, 150).await;
}

#[tokio::test]
async fn a_total_that_is_too_small_ends_nothing() {
    // The records of the page, a number that is none, and the most that the API counts to.
    Api { total: |page| json!(page), ..API }.ends(TOTAL, Success, 4, 120).await;
    Api { total: |_| json!(70), ..API }.ends(TOTAL, Success, 4, 120).await;
    let capped = Api { records: 1_100, cap: 100, total: |_| json!(1_000), ..API };
    capped.ends(TOTAL, Success, 12, 1_100).await;
}

#[tokio::test]
async fn a_total_that_is_reached_by_a_full_page_is_not_believed() {
    let lies = Api { total: |_| json!(100), has_more: true, ..API };
    lies.ends(TOTAL, Success, 4, 120).await;
}

#[tokio::test]
async fn a_total_that_is_not_reached_degrades_the_run() {
    let run = Api { total: |_| json!(500), ..API }.ends(TOTAL, Degraded, 4, 120).await;
    let note = run.stop_reason.expect("a note");
    assert!(note.contains("end after 120 records, and by `$.total` there are 500"), "{note}");
}

#[tokio::test]
async fn an_api_that_does_not_know_the_offset_fails_at_the_first_repetition() {
    for (total, paginator) in [(json!(500), TOTAL), (Value::Null, NO_TOTAL)] {
        let total: fn(u64) -> Value =
            if total.is_null() { |_| Value::Null } else { |_| json!(500) };
        let deaf = Api { knows_offset: false, total, ..API };
        let run = deaf.ends(paginator, Failed, 2, 50).await;
        let error = run.error.expect("an error");
        for part in ["the paginator repeats itself: the page at offset = 50", "`offset`"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[tokio::test]
async fn a_total_that_the_answer_does_not_have_fails_the_run_and_says_what_to_do() {
    let run = API.ends(TOTAL, Failed, 1, 0).await;
    let error = run.error.expect("an error");
    assert!(error.contains("`paginator.total_path` = `$.total` leads to no number"), "{error}");
}

#[tokio::test]
async fn what_was_recorded_by_offset_is_read_offline() {
    let server = Api { total: |_| json!(120), ..API }.server().await;
    let app = app(&server, TOTAL).await;
    let recorded = RunRequest { access: Access::Record, ..online() };
    assert_eq!(app.run_as("items", &recorded).await.status, Success);
    let before = requests(&server).await;
    let offline = RunRequest { access: Access::Offline, ..request(Mode::Full) };
    let run = app.run_as("items", &offline).await;
    assert_eq!(run.status, SuccessWithDuplicates);
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (120, 120));
    assert_eq!(requests(&server).await, before, "offline asks nobody");
    app.database.close().await;
}

/// The API counts the records that the job file leaves out.
#[tokio::test]
async fn a_filter_of_the_job_file_neither_ends_the_paging_nor_moves_it() {
    let filtered = |filter: &str| format!("data_selector = \"$.items[?{filter}]\"\n{NO_TOTAL}");
    // None on the middle page, and few on the others.
    API.ends(&filtered("@.id < 10 || @.id > 110"), Success, 4, 19).await;
    API.ends(&filtered("@.id > 1000"), Success, 4, 0).await;
    let anywhere = format!("data_selector = \"$.items[?@.id].all[*]\"\n{NO_TOTAL}");
    let server = API.server().await;
    let app = app(&server, &anywhere).await;
    let definition = app.jobs().get("items", kasparro::sources::kinds()).unwrap();
    let error = kasparro::sources::check(&definition).unwrap_err().to_string();
    assert!(error.contains("has a filter before its end"), "{error}");
    app.database.close().await;
}

#[tokio::test]
async fn an_empty_page_that_says_that_there_are_more_is_not_believed_to_be_the_last() {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let first = request.url.query_pairs().any(|(name, value)| name == "offset" && value == "0");
        let items = if first { json!([{ "id": 1, "name": "a" }]) } else { json!([]) };
        ResponseTemplate::new(200).set_body_json(json!({ "items": items, "has_more": true }))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = app(&server, NO_TOTAL).await;
    let run = app.run_online("items").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    let note = run.stop_reason.unwrap_or_default();
    assert!(note.contains("the last page has no records, and says all the same"), "{note}");
    app.database.close().await;
}
