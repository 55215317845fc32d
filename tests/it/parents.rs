//! Children: sources that ask an API once for each parent (`for_each`), and of the parents that have changed only.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kasparro::db::runs::Run;
use kasparro::domain::actor::Actor;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunId};
use kasparro::sources::Access;
use kasparro::tasks::accept_deletions::{AcceptOutcome, accept_deletions};
use kasparro::tasks::cancel_run::cancel_run;
use kasparro::tasks::retry_run::retry_run;
use kasparro::tasks::start_run::RunRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::process::{Process, call, kasparro, until};

const COMMENTS: &str =
    "select concat_ws(' ', external_id, attributes ->> 'issue', name, description,
        case when deleted_at is not null then 'deleted' end)
     from unified_records where source = 'comments' order by length(external_id), external_id";
const PROGRESS: &str =
    "select concat_ws(' ', parent_key, parent_hash is not null, attempts, error is not null)
     from parent_progress where source = 'comments' order by length(parent_key), parent_key";

/// What the API holds and does.
#[derive(Default)]
struct Api {
    /// The comments of each issue.
    comments: BTreeMap<u32, Vec<(u32, String)>>,
    /// The issues whose comments are answered with a status, from this page on.
    refused: BTreeMap<u32, (u16, usize)>,
    /// How long it takes to answer.
    takes: Duration,
    /// What was asked for: issue and page.
    asked: Vec<(u32, usize)>,
    paths: Vec<String>,
}

/// Issues in a file, and an API that has their comments, two on a page.
struct Issues {
    server: MockServer,
    api: Arc<Mutex<Api>>,
    app: TestApp,
}

fn issues(of: &[(u32, &str)]) -> String {
    of.iter().fold(String::new(), |mut text, (number, title)| {
        let _ = writeln!(text, "{}", json!({ "id": number, "number": number, "title": title }));
        text
    })
}

impl Issues {
    /// `more` is what stands under `[rest_api]` besides.
    async fn with(for_each: &str, more: &str) -> Self {
        let (server, app) = (MockServer::start().await, TestApp::empty().await);
        let api = Arc::new(Mutex::new(Api::default()));
        let held = Arc::clone(&api);
        let uri = server.uri();
        let answer = move |request: &Request| held.lock().unwrap().answer(request, &uri);
        Mock::given(any()).respond_with(answer).mount(&server).await;
        app.write(
            "issues.toml",
            "kind = \"jsonl\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"issues/*.jsonl\"]\n[jsonl]\n[fields]\n\
             name = { from = \"$.title\" }\nnumber = { type = \"integer\" }\n[missing]\naction = \"tombstone\"\n\
             max_ratio = 1.0\n",
        );
        let issues = Self { server, api, app };
        issues.job(for_each, more, "");
        issues
    }

    async fn new() -> Self {
        Self::with("source = \"issues\", fields = [\"number\", \"name\"]", "").await
    }

    /// Writes the job file of the comments.
    fn job(&self, for_each: &str, more: &str, end: &str) {
        let path = "path = \"issues/${parent.number}/comments\"";
        self.whole_job(for_each, &format!("{path}\n{more}"), end);
    }

    fn whole_job(&self, for_each: &str, more: &str, end: &str) {
        let text = format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n{more}\n\
             paginator = {{ type = \"link_header\" }}\nretry = {{ max_attempts = 2 }}\n\
             for_each = {{ {for_each} }}\n[fields]\nname = {{ from = \"$.text\" }}\n{end}",
            self.server.uri()
        );
        let fields = match text.contains("parent.number}") && !text.contains("join") {
            true => {
                "issue = { from = \"$._parent.number\", type = \"integer\" }\n\
                 description = { from = \"$._parent.name\" }\n"
            }
            false => "",
        };
        let text = text.replace("[fields]\n", &format!("[fields]\n{fields}"));
        self.app.write("comments.toml", text);
    }

    async fn issues(&self, of: &[(u32, &str)]) -> Run {
        self.app.write("issues/all.jsonl", issues(of));
        self.app.run("issues").await
    }

    /// So many issues with so many comments each.
    async fn many(&self, count: u32, comments: u32) {
        let of: Vec<_> = (1..=count).map(|number| (number, "t")).collect();
        self.issues(&of).await;
        let mut api = self.api.lock().unwrap();
        for number in 1..=count {
            api.comments.insert(
                number,
                (1..=comments).map(|n| (number * 100 + n, "c".to_owned())).collect(),
            );
        }
    }

    async fn run(&self) -> Run {
        self.run_mode(Mode::Incremental).await
    }

    async fn run_mode(&self, mode: Mode) -> Run {
        let online = RunRequest { access: Access::Network, ..request(mode) };
        self.app.run_as("comments", &online).await
    }

    /// The issues that were asked for since the last time.
    fn asked(&self) -> Vec<u32> {
        let mut asked: Vec<_> = std::mem::take(&mut self.api.lock().unwrap().asked)
            .into_iter()
            .map(|(issue, _)| issue)
            .collect();
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    fn set(&self, issue: u32, comments: &[(u32, &str)]) {
        let comments = comments.iter().map(|(id, text)| (*id, (*text).to_owned())).collect();
        self.api.lock().unwrap().comments.insert(issue, comments);
    }

    async fn end(self) {
        drop(self.server);
        self.app.database.close().await;
    }
}

impl Api {
    fn answer(&mut self, request: &Request, uri: &str) -> ResponseTemplate {
        let path = request.url.path().to_owned();
        self.paths.push(asked_for(&request.url));
        let page = request.url.query_pairs().find(|(name, _)| name == "page");
        let page: usize = page.map_or(1, |(_, page)| page.parse().expect("a number"));
        let named: Vec<u32> = match request.url.query_pairs().find(|(name, _)| name == "ids") {
            Some((_, ids)) => ids.split(',').map(|id| id.parse().expect("a number")).collect(),
            None => vec![path.split('/').nth(2).and_then(|id| id.parse().ok()).expect("a number")],
        };
        self.asked.extend(named.iter().map(|issue| (*issue, page)));
        let refused = named.iter().find_map(|issue| self.refused.get(issue));
        if let Some((status, _)) = refused.filter(|(_, from)| page >= *from) {
            return ResponseTemplate::new(*status).set_body_json(json!({ "message": "no" }));
        }
        let all: Vec<_> =
            named.iter().flat_map(|issue| self.comments.get(issue)).flatten().collect();
        let of_page = all.iter().skip((page - 1) * 2).take(2);
        let record = |(id, text): &&(u32, String)| match text.starts_with('{') {
            true => serde_json::from_str(text).expect("JSON"),
            false => json!({ "id": id, "text": text }),
        };
        let body: Vec<_> = of_page.map(record).collect();
        let answer = ResponseTemplate::new(200).set_body_json(body).set_delay(self.takes);
        match page * 2 < all.len() {
            true => {
                let mut next = request.url.clone();
                next.query_pairs_mut().clear().append_pair("page", &(page + 1).to_string());
                if named.len() > 1 {
                    let ids: Vec<_> = named.iter().map(u32::to_string).collect();
                    next.query_pairs_mut().append_pair("ids", &ids.join(","));
                }
                let next = format!("{uri}{}", asked_for(&next));
                answer.insert_header("link", format!("<{next}>; rel=\"next\"").as_str())
            }
            false => answer,
        }
    }
}

/// The path and the query of an address.
fn asked_for(url: &reqwest::Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn the_first_run_asks_for_all_parents_the_second_for_none_and_then_only_for_those_that_changed()
 {
    let issues = Issues::new().await;
    issues.issues(&[(1, "one"), (2, "two"), (3, "three")]).await;
    issues.set(1, &[(11, "a"), (12, "b"), (13, "c")]);
    issues.set(3, &[(31, "d")]);
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 4), "{run:?}");
    assert_eq!(issues.asked(), [1, 2, 3]);
    assert_eq!(
        issues.app.texts(COMMENTS).await,
        ["11 1 a one", "12 1 b one", "13 1 c one", "31 3 d three"]
    );

    let run = issues.run().await;
    assert_eq!((run.status, run.counters.slices), (Success, 0), "{run:?}");
    assert_eq!(issues.asked(), [0_u32; 0]);

    // Its comments are the same, but they say another title; a new one has none.
    issues.issues(&[(1, "one"), (2, "two"), (3, "drei"), (4, "four")]).await;
    issues.set(2, &[(21, "nobody asks for this")]);
    let run = issues.run().await;
    assert_eq!(
        (run.status, run.counters.updated, run.counters.rows_read),
        (Success, 1, 1),
        "{run:?}"
    );
    assert_eq!(issues.asked(), [3, 4]);
    assert_eq!(issues.app.texts(COMMENTS).await[3], "31 3 d drei");

    let run = issues.run_mode(Mode::Full).await;
    assert_eq!((run.counters.inserted, issues.asked()), (1, vec![1, 2, 3, 4]), "{run:?}");
    assert_eq!(issues.app.number("select count(*) from run_parents").await, 0);
    issues.end().await;
}

#[tokio::test]
async fn a_parent_that_fails_fails_alone_and_the_next_run_asks_for_it_again() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 2", "")
            .await;
    issues.many(9, 3).await;
    issues.api.lock().unwrap().refused = BTreeMap::from([(2, (500, 1)), (5, (403, 2))]);
    let run = issues.run().await;
    assert_eq!((run.status, run.failed_tasks), (Degraded, 2), "{run:?}");
    // The first page of the fifth was read.
    assert_eq!(run.counters.inserted, 7 * 3 + 2, "{run:?}");
    assert!(note(&run).contains("2 parents could not be read"), "{run:?}");
    assert!(note(&run).contains("2, 5; the first: ") && note(&run).contains("500"), "{run:?}");
    let progress = issues.app.texts(PROGRESS).await;
    assert_eq!((progress[1].as_str(), progress[4].as_str()), ("2 f 1 t", "5 f 1 t"));
    assert_eq!(issues.asked(), (1..=9).collect::<Vec<_>>());

    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 0), "{run:?}");
    assert_eq!(issues.app.texts(PROGRESS).await[1], "2 f 2 t");
    assert_eq!(issues.asked(), [2, 5]);

    issues.api.lock().unwrap().refused.clear();
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (SuccessWithDuplicates, 4), "{run:?}");
    assert_eq!(issues.asked(), [2, 5]);
    assert!(issues.app.texts(PROGRESS).await.iter().all(|line| line.ends_with(" t 0 f")));
    let run = issues.run().await;
    assert_eq!((run.status, issues.asked().len()), (Success, 0), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn what_is_no_fault_of_a_parent_fails_the_run_and_a_retry_reads_the_rest() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 2", "")
            .await;
    issues.many(6, 1).await;
    // Nobody knows the key any more.
    issues.api.lock().unwrap().refused = (3..=6).map(|issue| (issue, (401, 1))).collect();
    let failed = issues.run().await;
    assert_eq!((failed.status, failed.counters.inserted), (Failed, 2), "{failed:?}");
    assert_eq!(issues.asked(), [1, 2, 3, 4], "the others are not asked for");
    issues.api.lock().unwrap().refused.clear();
    let mut transaction = issues.app.pool.begin().await.unwrap();
    retry_run(&mut transaction, failed.id, &Actor::command_line("ann")).await.unwrap();
    transaction.commit().await.unwrap();
    issues.app.drain().await;
    let retried = issues.app.get(failed.id).await;
    assert_eq!((retried.status, retried.counters.inserted), (Success, 6), "{retried:?}");
    assert_eq!(issues.asked(), [3, 4, 5, 6]);
    let run = issues.run().await;
    assert_eq!((run.status, issues.asked().len()), (Success, 0), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn an_api_that_fails_for_ten_parents_in_a_row_is_not_asked_for_the_others() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 1", "")
            .await;
    issues.many(30, 1).await;
    issues.api.lock().unwrap().refused = (3..=30).map(|issue| (issue, (500, 1))).collect();
    let run = issues.run().await;
    // In the order of their keys, as texts: 1, 10, 11 and so on.
    assert_eq!((run.status, run.counters.inserted), (Failed, 1), "{run:?}");
    assert_eq!(issues.asked(), [vec![1], (10..=19).collect()].concat());
    let failed = issues.app.texts(PROGRESS).await;
    let of_ten = failed.iter().filter(|line| line.ends_with(" f 1 t")).count();
    assert_eq!(of_ten, 10, "the tenth as well: {failed:?}");
    assert!(note(&run).contains("the children of 10 parents could not be read"), "{run:?}");
    issues.api.lock().unwrap().refused.clear();
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 29), "{run:?}");
    assert_eq!(issues.asked(), (2..=30).collect::<Vec<_>>());
    issues.end().await;
}

#[tokio::test]
async fn ten_parents_that_always_fail_keep_the_others_waiting_for_one_run_only() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 1", "")
            .await;
    issues.many(30, 1).await;
    // The first by their keys: 1, 10, 11 and so on.
    let refused = [vec![1], (10..=19).collect()].concat();
    issues.api.lock().unwrap().refused = refused.iter().map(|issue| (*issue, (500, 1))).collect();
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Failed, 0), "{run:?}");
    issues.asked();
    let run = issues.run().await;
    assert_eq!(run.counters.inserted, 19, "{run:?}");
    assert_eq!(issues.asked().len(), 30);
    // One can be read again that has ten in front of it which cannot.
    issues.api.lock().unwrap().refused.remove(&17);
    let (mut runs, mut found) = (0, 0);
    while found == 0 && runs < 3 {
        let run = issues.run().await;
        (runs, found) = (runs + 1, run.counters.inserted);
    }
    assert_eq!(found, 1, "after {runs} runs");
    issues.end().await;
}

#[tokio::test]
async fn a_parent_without_the_value_that_is_asked_with_is_left_out_and_told_once() {
    let issues = Issues::new().await;
    let two = self::issues(&[(1, "one"), (2, "two")]);
    let of = |third: &str| format!("{two}{third}\n");
    issues.app.write("issues/all.jsonl", of(r#"{"id":3,"number":null,"title":"none"}"#));
    issues.app.run("issues").await;
    issues.set(1, &[(11, "a")]);
    // A version that asked for it has left it failed.
    let failed = "insert into parent_progress (source, parent_key, attempts, failed_run, error)
                  values ('comments', '3', 7, 1, 'the path is empty')";
    sqlx::query(failed).execute(&issues.app.pool).await.unwrap();
    let foretold =
        RunRequest { access: Access::Network, dry_run: true, ..request(Mode::Incremental) };
    let says = "1 parent has no `number`, without which nothing can be asked for";
    for run in [issues.app.run_as("comments", &foretold).await, issues.run().await] {
        assert_eq!((run.status, run.counters.inserted), (Success, 1), "{run:?}");
        assert!(note(&run).contains(says), "{run:?}");
    }
    assert_eq!(issues.asked(), [1, 2]);
    assert_eq!(issues.app.texts(PROGRESS).await, ["1 t 0 f", "2 t 0 f", "3 t 0 f"]);
    let run = issues.run().await;
    assert_eq!((run.status, note(&run)), (Success, "nothing new"), "{run:?}");
    // It gets one.
    issues.app.write("issues/all.jsonl", of(r#"{"id":3,"number":3,"title":"none"}"#));
    issues.app.run("issues").await;
    issues.set(3, &[(31, "b")]);
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 1), "{run:?}");
    assert_eq!(issues.asked(), [3]);
    issues.end().await;
}

#[tokio::test]
async fn a_parent_that_lacks_one_of_several_parameters_asks_for_no_more_than_its_own() {
    let issues = Issues::new().await;
    let lines = [
        r#"{"id":1,"number":1,"title":"one"}"#,
        r#"{"id":2,"number":2,"title":null}"#,
        r#"{"id":3,"number":3,"title":" "}"#,
    ];
    issues.app.write("issues/all.jsonl", lines.join("\n") + "\n");
    issues.app.run("issues").await;
    let job = issues.app.read("comments.toml");
    let job =
        job.replacen("[rest_api]\n", "[rest_api]\nparams = { title = \"${parent.name}\" }\n", 1);
    issues.app.write("comments.toml", job);
    for parent in 1..=3 {
        issues.set(parent, &[(parent * 10, "a")]);
    }
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 1), "{run:?}");
    assert!(note(&run).contains("2 parents have no `name`"), "{run:?}");
    assert_eq!(issues.asked(), [1]);
    issues.end().await;
}

#[tokio::test]
async fn what_a_record_has_itself_where_its_parent_is_told_goes_on_within_the_parent() {
    let issues = Issues::new().await;
    issues.issues(&[(1, "one")]).await;
    issues.job(
        "source = \"issues\", fields = [\"number\", \"name\"]",
        "",
        "own = { from = \"$._parent._parent.id\" }\n",
    );
    issues.set(1, &[(11, r#"{"id":11,"text":"a","_parent":{"id":1.50}}"#), (12, "b")]);
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 2), "{run:?}");
    assert_eq!(issues.app.texts(COMMENTS).await, ["11 1 a one", "12 1 b one"]);
    let own = "select attributes ->> 'own' from unified_records where external_id = '11'";
    assert_eq!(issues.app.texts(own).await, ["1.50"]);
    issues.end().await;
}

#[tokio::test]
async fn parents_that_wait_for_each_other_are_told_by_a_check() {
    let issues = Issues::new().await;
    let for_each = "source = \"issues\", fields = [\"number\", \"name\"]";
    let own = issues.app.read("issues.toml");
    issues.app.write("issues.toml", format!("after = [\"comments\"]\n{own}"));
    let checked = call(&issues.app, &["check"]).await;
    checked.code(1);
    let says = "for_each.source: a circle, in which each waits for records of the next: comments asks for records \
                of issues, issues runs after comments; take one out";
    assert!(checked.stdout.contains(says), "{checked:?}");
    issues.app.write("issues.toml", own);
    // The children of children, whose children are the parents.
    let comments = issues.app.read("comments.toml").replace("\"issues\"", "\"replies\"");
    let comments = comments.replace("[fields]", "[fields]\nnumber = {}");
    issues.app.write("likes.toml", comments.replace("\"replies\"", "\"comments\""));
    issues.app.write("replies.toml", comments.replace("\"replies\"", "\"likes\""));
    issues.app.write("comments.toml", &comments);
    let checked = call(&issues.app, &["check"]).await;
    checked.code(1);
    let says = "likes asks for records of comments, comments asks for records of replies, replies asks for records of \
                likes; take one out";
    assert!(checked.stdout.contains(says), "{checked:?}");
    issues.job(for_each, "", "number = {}\n");
    call(&issues.app, &["check"]).await.code(0);
    issues.end().await;
}

#[tokio::test]
async fn a_full_run_does_not_say_of_the_same_records_that_they_are_deleted_and_that_they_wait() {
    let for_each = "source = \"issues\", fields = [\"number\", \"name\"]";
    let issues = Issues::with(for_each, "").await;
    issues.job(
        for_each,
        "",
        "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\nafter_sweeps = 2\n",
    );
    issues.many(4, 2).await;
    issues.run().await;
    issues.issues(&[(1, "t"), (3, "t"), (4, "t")]).await;
    issues.set(3, &[(301, "c")]);
    let run = issues.run_mode(Mode::Full).await;
    let says = "2 records marked as deleted, since their parents are gone or have them no more; 1 record besides \
                missing, 0 marked as deleted; the others are, once 2 complete runs in a row lack them";
    assert!(note(&run).contains(says), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn a_value_that_the_separator_would_tear_apart_is_not_sent_and_its_parents_fail_alone() {
    let for_each = "source = \"issues\", fields = [\"name\"], batch = 2";
    let issues = Issues::with("source = \"issues\", fields = [\"number\", \"name\"]", "").await;
    issues.whole_job(
        for_each,
        "path = \"comments/all\"\nparams = { ids = \"${parent.name:join(,)}\" }",
        "",
    );
    issues.issues(&[(1, "1"), (2, "2"), (3, "1,2"), (4, "4"), (5, "5")]).await;
    issues.set(1, &[(101, "a")]);
    issues.set(5, &[(501, "b")]);
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 2), "{run:?}");
    assert_eq!(issues.asked(), [1, 2, 5]);
    assert!(note(&run).contains("the children of 2 parents could not be read"), "{run:?}");
    assert!(note(&run).contains("contains its separator: \"1,2\""), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn a_parent_that_the_api_does_not_know_is_skipped_and_not_asked_for_again() {
    let skip = "responses = [{ status = [404, 410], action = \"skip_parent\" }]";
    let issues = Issues::with("source = \"issues\", fields = [\"number\", \"name\"]", skip).await;
    issues.many(3, 1).await;
    issues.api.lock().unwrap().refused = BTreeMap::from([(2, (404, 1))]);
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 2), "{run:?}");
    assert_eq!(issues.asked(), [1, 2, 3]);
    issues.run().await;
    assert_eq!(issues.asked(), [0_u32; 0]);
    issues.end().await;
}

#[tokio::test]
async fn a_list_of_values_is_asked_for_in_each_run() {
    let issues = Issues::with("values = [2, \"3\"], as = \"number\"", "").await;
    issues.job("values = [2, \"3\"], as = \"number\"", "", "");
    let text = issues
        .app
        .read("comments.toml")
        .replace("description = { from = \"$._parent.name\" }\n", "");
    issues.app.write("comments.toml", text);
    issues.set(2, &[(21, "a")]);
    issues.set(3, &[(31, "b")]);
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 2), "{run:?}");
    assert_eq!(issues.app.texts(COMMENTS).await, ["21 2 a", "31 3 b"]);
    let run = issues.run().await;
    assert_eq!((run.status, issues.asked()), (SuccessWithDuplicates, vec![2, 3]), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn several_parents_share_a_request_and_only_the_changed_ones_of_them_are_asked_for() {
    let for_each = "source = \"issues\", fields = [\"number\"], batch = 3";
    let issues = Issues::with("source = \"issues\", fields = [\"number\", \"name\"]", "").await;
    let ids = "path = \"comments/all\"\nparams = { ids = \"${parent.number:join(,)}\" }";
    issues.whole_job(for_each, ids, "");
    issues.many(7, 2).await;
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 14), "{run:?}");
    let mut paths = std::mem::take(&mut issues.api.lock().unwrap().paths);
    paths.sort();
    paths.retain(|path| !path.contains("page="));
    assert_eq!(
        paths,
        ["/comments/all?ids=1%2C2%2C3", "/comments/all?ids=4%2C5%2C6", "/comments/all?ids=7"]
    );
    issues.asked();
    let mut of: Vec<_> = (1..=7).map(|number| (number, "t")).collect();
    (of[1].1, of[6].1) = ("u", "u");
    issues.issues(&of).await;
    let run = issues.run().await;
    assert_eq!((run.status, issues.asked()), (SuccessWithDuplicates, vec![2, 7]), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn a_source_without_records_yet_has_no_children_and_that_is_said() {
    let issues = Issues::new().await;
    let run = issues.run().await;
    assert_eq!((run.status, run.tasks), (Success, 1), "{run:?}");
    assert!(note(&run).contains("issues has no records yet"), "{run:?}");
    issues.many(1, 1).await;
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 1), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn no_more_chains_are_open_than_allowed_however_many_parents_there_are() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 3", "")
            .await;
    issues.many(3_000, 0).await;
    issues.set(77, &[(7_701, "a"), (7_702, "b"), (7_703, "c")]);
    let count = "create table open_at_once (tasks bigint);
        create function note_open() returns trigger language plpgsql as $$
        begin
            insert into open_at_once select count(*) from run_tasks where role = 'read' and state = 'open';
            return null;
        end $$;
        create trigger note_open after insert or update on run_tasks
            for each statement execute function note_open()";
    sqlx::raw_sql(count).execute(&issues.app.pool).await.unwrap();
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 3), "{run:?}");
    assert_eq!(issues.app.number("select max(tasks) from open_at_once").await, 3);
    assert_eq!(issues.app.number("select count(*) from parent_progress").await, 3_000);
    assert_eq!(issues.asked().len(), 3_000);
    // One of a hundred has changed.
    let title = |number: u32| if number.is_multiple_of(100) { "u" } else { "t" };
    let of: Vec<_> = (1..=3_000).map(|number| (number, title(number))).collect();
    issues.issues(&of).await;
    issues.run().await;
    assert_eq!(issues.asked(), (1..=30).map(|n| n * 100).collect::<Vec<_>>());
    issues.end().await;
}

/// The page of such a parent is the same as before. Where a run reads all of them, it is passed over.
#[tokio::test]
async fn children_stay_whose_pages_are_the_same_as_before() {
    for only in ["changed", "all"] {
        let for_each = format!("source = \"issues\", fields = [\"number\"], only = \"{only}\"");
        let issues = Issues::with(&for_each, "").await;
        issues.job(&for_each, "", "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n");
        let job = issues.app.read("comments.toml");
        let without = job.replace("description = { from = \"$._parent.name\" }\n", "");
        issues.app.write("comments.toml", without);
        issues.many(2, 3).await;
        let run = issues.run().await;
        assert_eq!((run.status, run.counters.inserted), (Success, 6), "{run:?}");
        // Nothing that a request or a child is told of.
        for title in ["u", "v"] {
            issues.issues(&[(1, title), (2, "t")]).await;
            let run = issues.run().await;
            let read = if only == "all" { 6 } else { 3 };
            assert_eq!(
                (run.status, run.counters.unchanged),
                (SuccessWithDuplicates, read),
                "{run:?}"
            );
            let deleted = "select count(*) from unified_records where deleted_at is not null";
            assert_eq!(issues.app.number(deleted).await, 0, "{only} {run:?}");
        }
        issues.end().await;
    }
}

#[tokio::test]
async fn children_of_parents_that_are_deleted_are_marked_and_those_that_a_parent_has_no_more() {
    let for_each = "source = \"issues\", fields = [\"number\", \"name\"]";
    let issues = Issues::with(for_each, "").await;
    issues.job(for_each, "", "[missing]\naction = \"tombstone\"\nmax_ratio = 0.5\n");
    issues.many(5, 2).await;
    let run = issues.run().await;
    assert_eq!((run.status, run.counters.inserted), (Success, 10), "{run:?}");
    // The second is gone, the third has lost a comment, which has moved to the fourth, and another one; the fifth
    // has not changed, and is not asked for.
    issues.issues(&[(1, "t"), (3, "u"), (4, "u"), (5, "t")]).await;
    issues.set(3, &[]);
    issues.set(4, &[(401, "c"), (402, "c"), (301, "moved")]);
    issues.set(5, &[]);
    issues.asked();
    let run = issues.run().await;
    assert_eq!(issues.asked(), [3, 4]);
    assert!(
        note(&run).contains("3 records marked as deleted, since their parents are gone"),
        "{run:?}"
    );
    let deleted = "select external_id from unified_records where source = 'comments' and deleted_at is not null
                   order by external_id";
    assert_eq!(issues.app.texts(deleted).await, ["201", "202", "302"]);
    assert_eq!(issues.app.number("select count(*) from parent_progress").await, 4);
    // It comes back as it was, and so do its comments.
    issues.issues(&[(1, "t"), (2, "t"), (3, "u"), (4, "u"), (5, "t")]).await;
    let run = issues.run().await;
    assert_eq!((issues.asked(), run.counters.updated), (vec![2], 2), "{run:?}");
    // A full run sees what the fifth has lost, and that it is with no other: which might have been read before a move.
    let run = issues.run_mode(Mode::Full).await;
    assert!(note(&run).contains("2 records missing, 0 marked as deleted"), "{run:?}");
    assert_eq!(issues.app.texts(deleted).await, ["302"]);
    let run = issues.run_mode(Mode::Full).await;
    assert!(note(&run).contains("2 records marked as deleted"), "{run:?}");
    assert_eq!(issues.app.texts(deleted).await, ["302", "501", "502"]);
    assert_eq!(issues.app.number("select count(*) from parent_keys where stale").await, 0);
    issues.end().await;
}

#[tokio::test]
async fn children_on_several_pages_are_no_more_only_when_two_runs_in_a_row_lack_them() {
    let for_each = "source = \"issues\", fields = [\"number\", \"name\"]";
    let issues = Issues::with(for_each, "").await;
    issues.job(for_each, "", "[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n");
    issues.issues(&[(1, "t")]).await;
    issues.set(1, &[(11, "a"), (12, "a"), (13, "a")]);
    assert_eq!(issues.run().await.status, Success);
    issues.issues(&[(1, "u")]).await;
    issues.set(1, &[(12, "a"), (13, "a"), (14, "a")]);
    let deleted = "select external_id from unified_records where source = 'comments' and deleted_at is not null";
    // The first of them asks for all parents that there are.
    for (mode, marked) in [(Mode::Incremental, 0), (Mode::Full, 1)] {
        let run = issues.run_mode(mode).await;
        assert!(run.status.is_success(), "{run:?}");
        assert_eq!(issues.app.texts(deleted).await.len(), marked, "{run:?}");
    }
    issues.end().await;
}

#[tokio::test]
async fn too_many_children_at_once_are_held_back_until_somebody_accepts_it() {
    let for_each = "source = \"issues\", fields = [\"number\", \"name\"]";
    let issues = Issues::with(for_each, "").await;
    issues.job(for_each, "", "[missing]\naction = \"tombstone\"\n");
    issues.many(5, 2).await;
    issues.run().await;
    issues.issues(&[(1, "t"), (2, "t")]).await;
    for _ in 0..2 {
        let run = issues.run().await;
        assert_eq!(run.status, Degraded, "{run:?}");
        assert!(
            note(&run).contains("6 of 10 records are those of parents that are gone"),
            "{run:?}"
        );
    }
    let deleted =
        "select count(*) from unified_records where source = 'comments' and deleted_at is not null";
    assert_eq!(issues.app.number(deleted).await, 0);
    let last = RunId(issues.app.number("select max(id) from etl_runs").await);
    let mut transaction = issues.app.pool.begin().await.unwrap();
    let accepted =
        accept_deletions(&mut transaction, last, &Actor::command_line("ann")).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(matches!(accepted, AcceptOutcome::Accepted(_, 6)), "{accepted:?}");
    assert_eq!(issues.app.number(deleted).await, 6);
    let run = issues.run().await;
    assert_eq!(run.status, Success, "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn parents_of_a_run_that_was_cancelled_are_asked_for_again_unless_their_children_are_there() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 2", "")
            .await;
    issues.many(40, 3).await;
    issues.api.lock().unwrap().takes = Duration::from_millis(20);
    call(&issues.app, &["run", "comments", "--detach"]).await.code(0);
    let worker = Process::start(kasparro(&issues.app, &["worker"]));
    until("some are read", async || issues.api.lock().unwrap().asked.len() > 20).await;
    let mut transaction = issues.app.pool.begin().await.unwrap();
    cancel_run(&mut transaction, RunId(2), &Actor::command_line("ann")).await.unwrap();
    transaction.commit().await.unwrap();
    worker.kill();
    issues.api.lock().unwrap().takes = Duration::ZERO;
    let done = issues.app.number("select count(*) from parent_progress").await;
    assert!(done < 40, "{done}");
    issues.asked();
    let run = issues.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(issues.asked().len() as i64, 40 - done);
    assert_eq!(issues.app.texts(COMMENTS).await.len(), 120);
    issues.end().await;
}

#[tokio::test]
async fn an_edit_of_the_mapping_replays_and_one_of_the_request_asks_for_all_parents_again() {
    let for_each = "source = \"issues\", fields = [\"number\", \"name\"]";
    let issues = Issues::with(for_each, "").await;
    issues.many(3, 2).await;
    issues.run().await;
    issues.asked();
    issues.job(for_each, "", "text = {}\n");
    let run = issues.run().await;
    assert_eq!((run.mode, run.counters.updated), (Mode::Replay, 6), "{run:?}");
    let of_text = "select count(*) from unified_records where attributes ->> 'text' = 'c' \
                   and attributes ->> 'issue' is not null and description = 't'";
    assert_eq!((issues.asked().len(), issues.app.number(of_text).await), (0, 6));
    let run = issues.run().await;
    assert_eq!((run.mode, run.counters.slices), (Mode::Incremental, 0), "{run:?}");
    issues.job(for_each, "params = { state = \"all\" }", "text = {}\n");
    let run = issues.run().await;
    assert_eq!((run.status, issues.asked()), (SuccessWithDuplicates, vec![1, 2, 3]), "{run:?}");
    issues.end().await;
}

#[tokio::test]
async fn a_parent_is_asked_for_again_when_its_refresh_is_over() {
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], refresh = \"7d\"", "")
            .await;
    issues.many(3, 1).await;
    issues.run().await;
    issues.asked();
    let old =
        "update parent_progress set done_at = now() - interval '8 days' where parent_key = '2'";
    sqlx::query(old).execute(&issues.app.pool).await.unwrap();
    issues.run().await;
    assert_eq!(issues.asked(), [2]);
    issues.run().await;
    assert_eq!(issues.asked(), [0_u32; 0]);
    issues.end().await;
}

#[tokio::test]
async fn a_dry_run_asks_for_what_is_due_and_leaves_nothing_behind() {
    let issues = Issues::new().await;
    issues.many(6, 3).await;
    let online =
        RunRequest { access: Access::Network, dry_run: true, ..request(Mode::Incremental) };
    let run = issues.app.run_as("comments", &online).await;
    assert_eq!((run.status, run.counters.inserted), (Success, 18), "{run:?}");
    assert_eq!(issues.asked(), (1..=6).collect::<Vec<_>>());
    for table in ["select count(*) from parent_progress", "select count(*) from run_parents"] {
        assert_eq!(issues.app.number(table).await, 0, "{table}");
    }
    issues.end().await;
}

#[tokio::test]
async fn a_preview_shows_children_and_a_recording_has_its_parents() {
    let issues = Issues::with(
        "source = \"issues\", fields = [\"number\", \"name\"]",
        "recording = \"recordings/comments\"",
    )
    .await;
    let shown = call(&issues.app, &["preview", "comments"]).await;
    shown.code(0);
    assert!(shown.stdout.contains("issues has no records yet"), "{shown:?}");
    issues.many(6, 3).await;
    let shown = call(&issues.app, &["preview", "comments"]).await;
    shown.code(0);
    assert!(
        shown.stdout.contains("/issues/1/comments") && shown.stdout.contains("\"issue\":1"),
        "{shown:?}"
    );
    call(&issues.app, &["run", "comments", "--record"]).await.code(0);
    let accepted = call(&issues.app, &["test", "comments", "--accept"]).await;
    assert!(accepted.stdout.contains("18 records"), "{accepted:?}");
    assert!(issues.app.read("recordings/comments/expected.jsonl").contains("\"issue\":6"));
    // Without the API, and without the records of the parents.
    sqlx::query("delete from unified_records").execute(&issues.app.pool).await.unwrap();
    issues.asked();
    let tested = call(&issues.app, &["test", "comments"]).await;
    assert!(tested.stdout.contains("ok") && tested.stdout.contains("18 records"), "{tested:?}");
    let run = issues.app.run("comments").await;
    assert_eq!((run.status, run.counters.inserted), (Success, 18), "{run:?}");
    assert_eq!(issues.asked(), [0_u32; 0]);
    let checked = call(&issues.app, &["check"]).await;
    assert!(!checked.stdout.contains("there is no recording"), "{checked:?}");
    issues.end().await;
}

#[tokio::test]
async fn a_check_says_which_source_or_field_of_a_parent_there_is_not() {
    let issues = Issues::new().await;
    call(&issues.app, &["check"]).await.code(0);
    for (for_each, says) in [
        (
            "source = \"isues\", fields = [\"number\", \"name\"]",
            "there is no source \"isues\"; did you mean `issues`?",
        ),
        ("source = \"comments\", fields = [\"number\", \"name\"]", "is this source itself"),
        (
            "source = \"issues\", fields = [\"number\", \"name\", \"titel\"]",
            "for_each.fields[2]: records of issues have no `titel`",
        ),
        (
            "source = \"issues\", fields = [\"number\", \"name\", \"deleted_at\"]",
            "for_each.fields[2]: `deleted_at` is a column of the table and no field of the records of issues",
        ),
        ("values = [\"1\", \"\"], as = \"number\"", "for_each.values[1]: is empty, and nothing"),
        ("source = \"issues\", fields = [\"number\"]", "`name` is not known of the parent"),
        (
            "source = \"issues\", fields = [\"number\", \"name\"], batch = 2",
            "`for_each.batch` puts several",
        ),
    ] {
        issues.job(for_each, "", "");
        let checked = call(&issues.app, &["check"]).await;
        checked.code(1);
        assert!(checked.stdout.contains(says), "{for_each}: {checked:?}");
    }
    let text = issues.app.read("comments.toml");
    let without: String =
        text.lines().filter(|line| !line.starts_with("for_each")).collect::<Vec<_>>().join("\n");
    let without = without
        .replace("[fields]", "responses = [{ status = 404, action = \"skip_parent\" }]\n[fields]");
    issues.app.write("comments.toml", without);
    let checked = call(&issues.app, &["check"]).await;
    for says in [
        "names `${parent.number}`, and there are no parents without `for_each`",
        "skips a parent, and there are none",
    ] {
        assert!(checked.stdout.contains(says), "{says}: {checked:?}");
    }
    issues.end().await;
}

/// What a run of children leaves behind, by content.
async fn left_behind(app: &TestApp) -> Vec<String> {
    let mut all = Vec::new();
    for query in [
        COMMENTS,
        PROGRESS,
        "select concat_ws(' ', status, open_tasks, failed_tasks, failed_alone, slices, rows_read, inserted, updated,
            unchanged, quarantined, regexp_replace(error, ':[0-9]+/', '/')) from etl_runs where source = 'comments' order by id",
        "select concat_ws(' ', t.task_key, t.state, t.slices, t.rows_read) from run_tasks t
         join etl_runs r on r.id = t.run_id where r.source = 'comments' and t.role = 'read' order by t.first_slice",
        "select count(*)::text from run_parents",
    ] {
        all.push(app.texts(query).await);
    }
    all.into_iter().flatten().collect()
}

/// Twenty parents, of which two fail; `kills` workers die at random moments.
async fn killed(seed: u64, kills: usize) -> Vec<String> {
    let mut dice = StdRng::seed_from_u64(seed);
    let issues =
        Issues::with("source = \"issues\", fields = [\"number\", \"name\"], concurrency = 3", "")
            .await;
    issues.many(20, 3).await;
    issues.api.lock().unwrap().refused = BTreeMap::from([(4, (404, 1)), (13, (403, 2))]);
    // A worker that is killed costs its tasks an attempt.
    let job = issues.app.read("comments.toml");
    issues.app.write("comments.toml", job.replace("max_attempts = 2", "max_attempts = 8"));
    call(&issues.app, &["run", "comments", "--detach"]).await.code(0);
    let open = "select count(*) from etl_runs where finished_at is null";
    for _ in 0..kills {
        let worker = Process::start(kasparro(&issues.app, &["worker"]));
        let asked = dice.random_range(0..18);
        issues.asked();
        until("some were asked for", async || {
            issues.api.lock().unwrap().asked.len() >= asked || issues.app.number(open).await == 0
        })
        .await;
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..40))).await;
        worker.kill();
    }
    let _last = Process::start(kasparro(&issues.app, &["worker"]));
    until("the run has ended", async || issues.app.number(open).await == 0).await;
    let left = left_behind(&issues.app).await;
    issues.end().await;
    left
}

#[tokio::test]
async fn kill_9_at_random_moments_leaves_what_an_undisturbed_run_leaves() {
    let undisturbed = killed(0, 0).await;
    assert!(undisturbed.iter().any(|line| line == "4 f 1 t"), "{undisturbed:#?}");
    let rounds: Vec<_> = futures::stream::iter(1..=4)
        .map(|seed| killed(seed, 2))
        .buffer_unordered(2)
        .collect()
        .await;
    for left in rounds {
        assert_eq!(left, undisturbed);
    }
}
