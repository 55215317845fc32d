//! Whole runs against APIs that take the number or cursor of a page in the path, the body or a variable: one page after
//! the other, side by side, from a recording, for parents, and looked at by `preview`.

use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::Success;
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::process::call;

const RECORDS: u64 = 23;
const SIZE: u64 = 4;

/// Where this API looks for what asks for a page.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    PathNumber,
    PathOffset,
    PathCursor,
    BodyNumber,
    BodyOffset,
    VariableNumber,
    VariableOffset,
}

use Place::*;

impl Place {
    const ALL: [Self; 7] = [
        PathNumber,
        PathOffset,
        PathCursor,
        BodyNumber,
        BodyOffset,
        VariableNumber,
        VariableOffset,
    ];

    fn is_by_cursor(self) -> bool {
        self == PathCursor
    }

    /// The lines of the job file; `more` are further keys of the paginator.
    fn lines(self, parent: &str, more: &str) -> String {
        let path = format!("path = '{parent}items'");
        let size = format!("size = {SIZE}, total_path = '$.total'{more}");
        let query = "graphql = { query = 'query ($at: Int!) { items(at: $at) { id } }' }";
        match self {
            PathNumber => {
                format!(
                    "paginator = {{ type = 'page_number', path = '{parent}items/${{page.number}}', {size} }}"
                )
            }
            PathOffset => {
                format!(
                    "paginator = {{ type = 'offset', path = '{parent}items/${{page.offset}}', {size} }}"
                )
            }
            PathCursor => format!(
                "{path}\npaginator = {{ type = 'cursor', cursor_path = '$.next', path = '{parent}items/${{page.cursor}}', \
                 {size} }}"
            ),
            BodyNumber => format!(
                "{path}\njson = {{}}\npaginator = {{ type = 'page_number', body_path = '$.at', {size} }}"
            ),
            BodyOffset => {
                format!(
                    "{path}\njson = {{}}\npaginator = {{ type = 'offset', body_path = '$.at', {size} }}"
                )
            }
            VariableNumber => {
                format!(
                    "{path}\n{query}\npaginator = {{ type = 'page_number', variable = 'at', {size} }}"
                )
            }
            VariableOffset => {
                format!(
                    "{path}\n{query}\npaginator = {{ type = 'offset', variable = 'at', {size} }}"
                )
            }
        }
    }

    /// How many records come before the page that a request asks for; `None` for one that asks for none.
    fn asked(self, request: &Request) -> Option<u64> {
        let last = request.url.path().rsplit('/').next()?;
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let by_number = |page: u64| Some(page.checked_sub(1)? * SIZE);
        match self {
            PathNumber => by_number(last.parse().ok()?),
            PathOffset => last.parse().ok(),
            PathCursor if last == "items" => Some(0),
            PathCursor => last.strip_prefix("c%2F")?.parse().ok(),
            // What is no number there is none.
            BodyNumber => by_number(body["at"].as_u64()?),
            BodyOffset => body["at"].as_u64(),
            VariableNumber => by_number(body["variables"]["at"].as_u64()?),
            VariableOffset => body["variables"]["at"].as_u64(),
        }
    }
}

async fn api(place: Place) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let Some(from) = place.asked(request) else { return ResponseTemplate::new(400) };
        let parent: u64 = if request.url.path().starts_with("/b/") { 100 } else { 0 };
        let (to, is_last) = ((from + SIZE).min(RECORDS), from + SIZE >= RECORDS);
        let items: Vec<_> = (from..to)
            .map(|id| json!({ "id": parent + id, "name": format!("item {id}") }))
            .collect();
        let next = if is_last { Value::Null } else { format!("c/{}", from + SIZE).into() };
        let body = json!({ "items": items, "total": RECORDS, "next": next });
        ResponseTemplate::new(200).set_body_json(body)
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn app(server: &MockServer, lines: &str) -> TestApp {
    let app = TestApp::empty().await;
    write(&app, server, lines);
    app
}

fn write(app: &TestApp, server: &MockServer, lines: &str) {
    app.write(
        "items.toml",
        format!(
            "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = '{}'\n{lines}\n\
             data_selector = '$.items[*]'\nrecording = 'recorded'\nretry = {{ max_attempts = 1 }}\n\
             [fields]\nname = {{}}\n",
            server.uri()
        ),
    );
}

async fn table(app: &TestApp) -> Vec<String> {
    app.texts("select external_id || ' ' || name from unified_records order by external_id::int")
        .await
}

fn expected() -> Vec<String> {
    (0..RECORDS).map(|id| format!("{id} item {id}")).collect()
}

#[tokio::test]
async fn pages_are_asked_for_where_the_api_looks_and_a_recording_gives_the_same() {
    for place in Place::ALL {
        let server = api(place).await;
        let app = app(&server, &place.lines("", "")).await;
        call(&app, &["check"]).await.code(0);
        let record = RunRequest { access: Access::Record, ..request(Mode::Full) };
        let run = app.run_as("items", &record).await;
        assert_eq!((run.status, table(&app).await), (Success, expected()), "{place:?}: {run:?}");
        let asked = server.received_requests().await.unwrap().len();
        let other = TestApp::empty().await;
        write(&other, &server, &place.lines("", ""));
        std::fs::rename(app.path("recorded"), other.path("recorded")).unwrap();
        let run = other.run("items").await;
        assert_eq!((run.status, table(&other).await), (Success, expected()), "{place:?}: {run:?}");
        assert_eq!(server.received_requests().await.unwrap().len(), asked, "{place:?}");
        other.database.close().await;
        app.database.close().await;
    }
}

#[tokio::test]
async fn pages_side_by_side_are_asked_for_where_the_api_looks() {
    for place in Place::ALL.into_iter().filter(|place| !place.is_by_cursor()) {
        let server = api(place).await;
        let app = app(&server, &place.lines("", ", concurrency = 3")).await;
        let run = app.run_online("items").await;
        assert_eq!((run.status, table(&app).await), (Success, expected()), "{place:?}: {run:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_path_of_pages_takes_parents_and_preview_asks_by_it() {
    for place in [PathNumber, PathOffset, PathCursor] {
        let server = api(place).await;
        let lines = place.lines("${parent.shop}/", "");
        let app =
            app(&server, &format!("{lines}\nfor_each = {{ values = ['a', 'b'], as = 'shop' }}"))
                .await;
        call(&app, &["check"]).await.code(0);
        let run = app.run_online("items").await;
        assert_eq!(run.status, Success, "{place:?}: {run:?}");
        let both = (0..RECORDS).map(|id| format!("{id} item {id}"));
        let both = both.chain((0..RECORDS).map(|id| format!("{} item {id}", 100 + id)));
        assert_eq!(table(&app).await, both.collect::<Vec<_>>(), "{place:?}");
        let shown = call(&app, &["preview", "items", "--json"]).await.code(0).json();
        assert_eq!(shown["counts"]["records"], 2 * SIZE, "{place:?}: {shown}");
        app.database.close().await;
    }
}
