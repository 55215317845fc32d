//! Pages that could not be had and are asked for again on their own, and pages side by side: whatever they are
//! answered, no run is a success that lacks records, no parent and no window counts as read of which one lacks
//! something, nothing is marked as deleted that is there, and the next run of an API that is well again has everything.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use kasparro::db::run_chains;
use kasparro::db::runs::Run;
use kasparro::domain::actor::Actor;
use kasparro::domain::run::Mode::{self, Full, Incremental};
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::sources::Access;
use kasparro::tasks::retry_run::retry_run;
use kasparro::tasks::start_run::RunRequest;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};

const RECORDS: i64 = 11;
const SIZE: usize = 3;

/// What the second page is answered while the API is ill: when it is asked for first, and ever after.
type Fault = (&'static str, &'static str);

/// Asked for again on its own.
const AGAIN: &[Fault] = &[
    ("404", "422"),
    ("404", "ignored"),
    ("404", "ended"),
    ("404", "204"),
    ("404", "no body"),
    ("404", "no records"),
    ("404", "null"),
    ("404", "an error"),
    ("404", "a part"),
    ("404", "a part and an error"),
    ("404", "the page"),
    ("no body", "no records"),
    ("422", "ignored"),
    ("422", "the page"),
];

/// Asked for side by side with others.
const BESIDE: &[Fault] = &[
    ("ignored", "ignored"),
    ("ended", "ended"),
    ("no records", "no records"),
    ("an error", "an error"),
    ("a part", "a part"),
    ("204", "204"),
    ("404", "404"),
    ("the page", "the page"),
];

/// An API with a list of the same records for each source, which is asked for by its name.
struct Api {
    server: MockServer,
    ill: Arc<Mutex<Ill>>,
    app: TestApp,
}

#[derive(Default)]
struct Ill {
    is: bool,
    faults: HashMap<String, Fault>,
    /// How often the second page of each was asked for.
    asked: BTreeMap<String, u32>,
}

fn query(request: &Request) -> HashMap<String, String> {
    request.url.query_pairs().into_owned().collect()
}

fn body(items: Value, total: usize) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "items": items, "total": total }))
}

fn answer_of(fault: &str, page: Vec<Value>, total: usize) -> ResponseTemplate {
    let first = || json!(page[..1]);
    match fault {
        "ignored" => ResponseTemplate::new(409).set_body_json(json!({})),
        "ended" => ResponseTemplate::new(418).set_body_json(json!({})),
        "no body" => ResponseTemplate::new(200),
        "no records" => body(json!([]), total),
        "null" => body(Value::Null, total),
        "an error" => ResponseTemplate::new(200)
            .set_body_json(json!({ "items": [], "error": "boom", "total": total })),
        "a part" => body(first(), total),
        "a part and an error" => ResponseTemplate::new(200)
            .set_body_json(json!({ "items": first(), "error": "boom", "total": total })),
        "the page" => body(page.into(), total),
        "204" => ResponseTemplate::new(204),
        status => {
            ResponseTemplate::new(status.parse::<u16>().expect("a status")).set_body_json(json!({}))
        }
    }
}

impl Api {
    /// With a source for each fault, of which these lines are below `[rest_api]`, besides.
    async fn start(faults: &[Fault], lines: &str, more: &str) -> Self {
        let begin = Utc::now() - Duration::days(8);
        let at = |hours: i64| {
            (begin + Duration::hours(hours)).to_rfc3339_opts(SecondsFormat::Secs, true)
        };
        let all: Vec<Value> =
            (1..=RECORDS).map(|id| json!({ "id": id, "name": "a", "at": at(id) })).collect();
        let ill = Arc::new(Mutex::new(Ill::default()));
        let held = Arc::clone(&ill);
        let answer = move |request: &Request| {
            let query = query(request);
            let source = request.url.path().trim_matches('/').split('/').next().unwrap().to_owned();
            let bound = |name: &str| {
                query.get(name).map(|text| text.parse::<DateTime<Utc>>().expect("a time"))
            };
            let at =
                |record: &Value| record["at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
            let is_asked = |record: &&Value| {
                bound("since").is_none_or(|since| since <= at(record))
                    && bound("until").is_none_or(|until| at(record) < until)
            };
            let mut list: Vec<Value> = all.iter().filter(is_asked).cloned().collect();
            if query.contains_key("newest") {
                list.reverse();
            }
            let page: usize = query["page"].parse().expect("a number");
            let of_page: Vec<_> = list.iter().skip((page - 1) * SIZE).take(SIZE).cloned().collect();
            let mut ill = held.lock().unwrap();
            if !ill.is || page != 2 || of_page.is_empty() {
                return body(of_page.into(), list.len());
            }
            let (first, then) = ill.faults[&source];
            let asked = ill.asked.entry(source).or_default();
            *asked += 1;
            answer_of(if *asked == 1 { first } else { then }, of_page, list.len())
        };
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let app = TestApp::empty().await;
        app.write(
            "parents.toml",
            "kind = 'jsonl'\nprimary_key = ['id']\n[files]\npaths = ['parents.jsonl']\n[jsonl]\n[fields]\nname = {}\n",
        );
        app.write("parents.jsonl", "{\"id\":1,\"name\":\"a\"}\n");
        app.run("parents").await;
        let lines = lines.replace("BEGIN", &begin.to_rfc3339());
        for (number, fault) in faults.iter().enumerate() {
            let source = format!("source{number}");
            ill.lock().unwrap().faults.insert(source.clone(), *fault);
            let path = if lines.contains("for_each") { "/${parent.external_id}" } else { "" };
            app.write(
                &format!("{source}.toml"),
                format!(
                    "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = '{}'\n\
                     path = '{source}{path}'\ndata_selector = '$.items[*]'\nretry = {{ max_attempts = 1 }}\n\
                     responses = [{{ status = 409, action = 'ignore' }}, {{ status = 418, action = 'end' }}]\n\
                     {lines}\n[fields]\nname = {{}}\n{more}",
                    server.uri(),
                ),
            );
        }
        Self { server, ill, app }
    }

    fn set(&self, ill: bool) {
        let mut state = self.ill.lock().unwrap();
        (state.is, state.asked) = (ill, BTreeMap::new());
    }

    async fn run(&self, number: usize, mode: Mode) -> Run {
        let online = RunRequest { access: Access::Network, ..request(mode) };
        self.app.run_as(&format!("source{number}"), &online).await
    }

    /// How many records of a source are there and not marked as deleted.
    async fn living(&self, number: usize) -> i64 {
        let living = "select source from unified_records where deleted_at is null";
        let source = format!("source{number}");
        self.app.texts(living).await.iter().filter(|of| **of == source).count() as i64
    }

    async fn end(self) {
        drop(self.server);
        self.app.database.close().await;
    }
}

/// Two runs of each source, one while the API is ill and one when it is well.
async fn nothing_is_lost(paginator: &str, faults: &[Fault], lines: &str) {
    let api = Api::start(faults, &format!("paginator = {{ {paginator} }}\n{lines}"), "").await;
    for (number, fault) in faults.iter().enumerate() {
        api.set(true);
        let first = api.run(number, Incremental).await;
        let living = api.living(number).await;
        assert!(
            living == RECORDS || !first.status.is_success(),
            "{fault:?}: {living} records: {first:?}"
        );
        if fault.1 == "the page" {
            assert_eq!((first.status, living), (Success, RECORDS), "{fault:?}: {first:?}");
        }
        api.set(false);
        let second = api.run(number, Incremental).await;
        assert!(second.status.is_success(), "{fault:?}: {second:?}");
        assert_eq!(api.living(number).await, RECORDS, "{fault:?}: {first:?} {second:?}");
    }
    api.end().await;
}

const NUMBERED: &str = "type = 'page_number'";
const SIDE_BY_SIDE: &str =
    "type = 'page_number', size_param = 'n', size = 3, total_path = '$.total', concurrency = 3";
const TOTALLED: &str = "type = 'page_number', size_param = 'n', size = 3, total_path = '$.total'";
const FOR_EACH: &str = "for_each = { source = 'parents', fields = ['external_id'] }";
const WINDOWS: &str = "incremental = { cursor_path = '$.at', start_param = 'since', end_param = 'until', \
                       step = '5d', initial_value = 'BEGIN' }";
const NEWEST_FIRST: &str =
    "params = { newest = '1' }\nincremental = { cursor_path = '$.at', start_param = 'since' }";

#[tokio::test]
async fn a_parent_is_read_only_if_no_page_of_it_lacks_anything() {
    nothing_is_lost(NUMBERED, AGAIN, FOR_EACH).await;
    nothing_is_lost(SIDE_BY_SIDE, BESIDE, FOR_EACH).await;
}

#[tokio::test]
async fn a_window_is_read_only_if_no_page_of_it_lacks_anything() {
    nothing_is_lost(NUMBERED, AGAIN, WINDOWS).await;
    nothing_is_lost(SIDE_BY_SIDE, BESIDE, WINDOWS).await;
}

#[tokio::test]
async fn a_watermark_stays_where_a_page_was_not_had_again() {
    nothing_is_lost(NUMBERED, AGAIN, NEWEST_FIRST).await;
    nothing_is_lost(SIDE_BY_SIDE, BESIDE, NEWEST_FIRST).await;
}

#[tokio::test]
async fn a_list_is_not_complete_where_a_page_was_not_had_again() {
    nothing_is_lost(NUMBERED, AGAIN, "").await;
    nothing_is_lost(TOTALLED, AGAIN, "").await;
}

#[tokio::test]
async fn nothing_is_marked_as_deleted_that_is_on_a_page_that_was_not_had_again() {
    let missing = "[missing]\naction = 'tombstone'\nmax_ratio = 1.0\n";
    for (paginator, faults) in [(NUMBERED, AGAIN), (SIDE_BY_SIDE, BESIDE)] {
        let api = Api::start(faults, &format!("paginator = {{ {paginator} }}"), missing).await;
        for (number, fault) in faults.iter().enumerate() {
            api.set(false);
            let run = api.run(number, Full).await;
            assert_eq!((run.status, api.living(number).await), (Success, RECORDS), "{run:?}");
            for _ in 0..2 {
                api.set(true);
                let run = api.run(number, Full).await;
                assert_eq!(api.living(number).await, RECORDS, "{fault:?}: {run:?}");
                assert_eq!(run.status.is_success(), fault.1 == "the page", "{fault:?}: {run:?}");
            }
        }
        api.end().await;
    }
}

/// An API whose answers are these, and a source that reads it.
async fn of(
    lines: &str,
    answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static,
) -> (MockServer, TestApp) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let app = TestApp::empty().await;
    app.write(
        "parents.toml",
        "kind = 'jsonl'\nprimary_key = ['id']\n[files]\npaths = ['parents.jsonl']\n[jsonl]\n[fields]\nname = {}\n",
    );
    let parents: String = (1..=6).map(|id| format!("{{\"id\":{id},\"name\":\"a\"}}\n")).collect();
    app.write("parents.jsonl", parents);
    app.run("parents").await;
    let path = if lines.contains("for_each") { "/${parent.external_id}" } else { "" };
    app.write(
        "items.toml",
        format!(
            "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\nbase_url = '{}'\npath = 'items{path}'\n\
             data_selector = '$.items[*]'\nretry = {{ max_attempts = 1 }}\n{lines}\n[fields]\nname = {{}}\n",
            server.uri(),
        ),
    );
    (server, app)
}

const COUNT: &str = "select count(*) from unified_records where source = 'items'";

/// How often each page of each path was asked for.
#[derive(Default)]
struct Asked(Mutex<BTreeMap<String, u32>>);

impl Asked {
    /// How often before.
    fn before(&self, request: &Request) -> u32 {
        let mut asked = self.0.lock().unwrap();
        let times = asked.entry(request.url.to_string()).or_default();
        *times += 1;
        *times - 1
    }
}

#[tokio::test]
async fn the_parents_behind_one_of_which_a_page_is_asked_for_again_are_asked_for() {
    for (first, concurrency) in [("404", 1), ("422", 1), ("no body", 2)] {
        for (then, size) in [("no records", 3), ("the page", 4), ("422", 3), ("ignored", 3)] {
            let asked = Asked::default();
            let answer = move |request: &Request| {
                let parent: i64 = request.url.path().rsplit('/').next().unwrap().parse().unwrap();
                let page: usize = query(request)["page"].parse().unwrap();
                let of_all: i64 = if parent == 1 { size } else { 3 };
                let all: Vec<_> =
                    (0..of_all).map(|id| json!({ "id": parent * 100 + id, "name": "a" })).collect();
                let page_of: Vec<_> = all.into_iter().skip((page - 1) * 3).take(3).collect();
                match (parent, page, asked.before(request)) {
                    (1, 2, 0) => answer_of(first, page_of, 0),
                    (1, 2, _) => answer_of(then, page_of, 0),
                    _ => body(page_of.into(), 0),
                }
            };
            let lines = format!(
                "paginator = {{ type = 'page_number' }}\n\
                     responses = [{{ status = 409, action = 'ignore' }}]\n\
                     for_each = {{ source = 'parents', fields = ['external_id'], concurrency = {concurrency} }}"
            );
            let (server, app) = of(&lines, answer).await;
            let run = app.run_online("items").await;
            assert_eq!(app.number(COUNT).await, size + 15, "{first} {then}: {run:?}");
            let good = matches!(then, "no records" | "the page");
            assert_eq!(
                run.status,
                if good { Success } else { Degraded },
                "{first} {then}: {run:?}"
            );
            let done = "select count(*) from parent_progress where parent_hash is not null";
            assert_eq!(app.number(done).await, if good { 6 } else { 5 }, "{first} {then}");
            drop(server);
            app.database.close().await;
        }
    }
}

#[tokio::test]
async fn what_a_page_had_again_brings_counts_towards_the_total() {
    for (lost, first) in [(2, "no body"), (2, "404"), (4, "404"), (4, "422")] {
        for paginator in ["page_number", "offset"] {
            let asked = Asked::default();
            let answer = move |request: &Request| {
                let parent: i64 = request.url.path().rsplit('/').next().unwrap().parse().unwrap();
                let query = query(request);
                let page = query.get("page").map(|page| page.parse::<usize>().unwrap());
                let before = query.get("offset").map(|before| before.parse::<usize>().unwrap());
                let page = page.or(before.map(|before| before.div_ceil(3) + 1)).unwrap();
                let of_page: Vec<_> = (0..11)
                    .skip((page - 1) * 3)
                    .take(3)
                    .map(|id| json!({ "id": parent * 100 + id, "name": "a" }))
                    .collect();
                match asked.before(request) {
                    0 if page == lost && parent == 1 => answer_of(first, of_page, 11),
                    _ => body(of_page.into(), 11),
                }
            };
            let lines = format!(
                "paginator = {{ type = '{paginator}', size_param = 'n', size = 3, total_path = '$.total' }}\n\
                 for_each = {{ source = 'parents', fields = ['external_id'], concurrency = 1 }}"
            );
            let (server, app) = of(&lines, answer).await;
            let run = app.run_online("items").await;
            assert_eq!(
                (run.status, app.number(COUNT).await),
                (Success, 66),
                "{lost} {first} {paginator}: {run:?}"
            );
            drop(server);
            app.database.close().await;
        }
    }
}

/// A list of which a page is lost once; 404 behind its end is how it ends.
#[tokio::test]
async fn skip_parent_is_for_the_first_page_of_a_parent() {
    let ways = [
        ("type = 'link_header'", "link"),
        ("type = 'cursor', cursor_path = '$.next', param = 'page'", "cursor"),
        ("type = 'page_number'", "number"),
        (SIDE_BY_SIDE, "aside"),
    ];
    for (paginator, way) in ways {
        for (status, lost) in [(404, true), (403, true), (404, false)] {
            let ill = Arc::new(Mutex::new(lost));
            let is_ill = Arc::clone(&ill);
            let answer = move |request: &Request| {
                let parent: i64 = request.url.path().rsplit('/').next().unwrap().parse().unwrap();
                let page =
                    query(request).get("page").map_or(1, |page| page.parse::<usize>().unwrap());
                let gone = parent == 2 || page > 4 || page == 2 && *is_ill.lock().unwrap();
                if gone {
                    return ResponseTemplate::new(if page == 2 { status } else { 404 });
                }
                let of_page = (0..11).skip((page - 1) * 3).take(3);
                let of_page: Vec<_> =
                    of_page.map(|id| json!({ "id": parent * 100 + id, "name": "a" })).collect();
                let mut said = json!({ "items": of_page, "total": 11 });
                // Elsewhere null would say that this is the last page.
                if way == "cursor" {
                    said["next"] = (page < 4).then_some(page + 1).into();
                }
                let answer = ResponseTemplate::new(200).set_body_json(said);
                match way == "link" && page < 4 {
                    true => {
                        let to = format!("{}?page={}", request.url.path(), page + 1);
                        answer.insert_header("link", format!("<{to}>; rel=\"next\"").as_str())
                    }
                    false => answer,
                }
            };
            let lines = format!(
                "paginator = {{ {paginator} }}\n\
                 responses = [{{ status = [403, 404], action = 'skip_parent' }}]\n\
                 for_each = {{ source = 'parents', fields = ['external_id'] }}"
            );
            let (server, app) = of(&lines, answer).await;
            let run = app.run_online("items").await;
            let all = 5 * RECORDS;
            if lost {
                assert!(!run.status.is_success(), "{way} {status}: {run:?}");
                *ill.lock().unwrap() = false;
                let run = app.run_online("items").await;
                assert!(run.status.is_success(), "{way} {status}: {run:?}");
            } else {
                assert_eq!(run.status, Success, "{way}: {run:?}");
            }
            assert_eq!(app.number(COUNT).await, all, "{way} {status}");
            drop(server);
            app.database.close().await;
        }
    }
}

#[tokio::test]
async fn records_that_come_twice_in_place_of_others_hold_the_watermark() {
    let numbered = "size_param = 'n', size = 3, total_path = '$.total'";
    for paginator in [
        format!("type = 'page_number', {numbered}"),
        format!("type = 'page_number', {numbered}, concurrency = 3"),
        format!("type = 'offset', {numbered}"),
        "type = 'link_header', total_path = '$.total'".to_owned(),
    ] {
        for step in ["", ", end_param = 'until', step = '5d', initial_value = 'BEGIN'"] {
            for is_log in [false, true] {
                let begin = Utc::now() - Duration::days(8);
                let ill = Arc::new(Mutex::new(true));
                let is_ill = Arc::clone(&ill);
                let answer = move |request: &Request| {
                    let query = query(request);
                    let offset =
                        query.get("offset").map(|before| before.parse::<usize>().unwrap() / 3 + 1);
                    let page = query.get("page").map(|page| page.parse::<usize>().unwrap());
                    let page = page.or(offset).unwrap_or(1);
                    let at = |id: i64| begin + Duration::hours(id);
                    let bound = |name: &str| {
                        query.get(name).map(|text| text.parse::<DateTime<Utc>>().unwrap())
                    };
                    let is_asked = |id: &i64| {
                        bound("since").is_none_or(|since| since <= at(*id))
                            && bound("until").is_none_or(|until| at(*id) < until)
                    };
                    let list: Vec<i64> = (1..=RECORDS).rev().filter(is_asked).collect();
                    let of_page = |page: usize| {
                        list.iter().skip((page - 1) * 3).take(3).copied().collect::<Vec<_>>()
                    };
                    // The list moves by two between the first page and the second, and back again.
                    let moved = *is_ill.lock().unwrap() && page == 2 && list.len() > 3;
                    let ids = match moved && !is_log {
                        true => [of_page(1)[1..].to_vec(), of_page(2)[2..].to_vec()].concat(),
                        false => of_page(page),
                    };
                    // Of a log a key comes again, with another time.
                    let key = |id: i64| if is_log { id % 4 } else { id };
                    let items: Vec<_> = ids
                        .into_iter()
                        .map(|id| {
                            let at = at(id).to_rfc3339_opts(SecondsFormat::Secs, true);
                            json!({ "id": key(id), "name": "a", "at": at })
                        })
                        .collect();
                    let answer = body(items.into(), list.len());
                    match page * 3 < list.len() {
                        true => {
                            let mut to = request.url.clone();
                            let pairs: Vec<_> = request
                                .url
                                .query_pairs()
                                .into_owned()
                                .filter(|(name, _)| name != "page")
                                .collect();
                            to.query_pairs_mut()
                                .clear()
                                .extend_pairs(pairs)
                                .append_pair("page", &(page + 1).to_string());
                            let to = format!("{}?{}", to.path(), to.query().unwrap_or_default());
                            answer.insert_header("link", format!("<{to}>; rel=\"next\"").as_str())
                        }
                        false => answer,
                    }
                };
                let step = step.replace("BEGIN", &begin.to_rfc3339());
                let lines = format!(
                    "paginator = {{ {paginator} }}\n\
                     incremental = {{ cursor_path = '$.at', start_param = 'since'{step} }}"
                );
                let (server, app) = of(&lines, answer).await;
                let run = app.run_online("items").await;
                let case = format!("{paginator} {step} {is_log}: {run:?}");
                if is_log {
                    assert!(run.status.is_success(), "{case}");
                } else {
                    assert_eq!(
                        (run.status, app.number(COUNT).await),
                        (Degraded, RECORDS - 2),
                        "{case}"
                    );
                    let note = run.stop_reason.clone().unwrap_or_default();
                    assert!(note.starts_with("2 of the records came twice"), "{case}");
                    let chains = run_chains::list(&app.pool, run.id, 9).await.unwrap();
                    assert!(!chains[0].end.complete, "{case}");
                    *ill.lock().unwrap() = false;
                    let run = app.run_online("items").await;
                    assert_eq!(run.status, SuccessWithDuplicates, "{case}: {run:?}");
                    assert_eq!(app.number(COUNT).await, RECORDS, "{case}");
                }
                drop(server);
                app.database.close().await;
            }
        }
    }
}

/// An API with 40 records on pages of five, of which some cannot be had while it is ill.
fn holes(
    lost: &'static [usize],
    ill: Arc<Mutex<bool>>,
) -> impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static {
    move |request: &Request| {
        let page: usize = query(request)["page"].parse().unwrap();
        if lost.contains(&page) && *ill.lock().unwrap() {
            return ResponseTemplate::new(422).set_body_json(json!({ "error": "boom" }));
        }
        let of_page: Vec<_> = (0..40)
            .skip((page - 1) * 5)
            .take(5)
            .map(|id| json!({ "id": id, "name": "a" }))
            .collect();
        ResponseTemplate::new(200)
            .set_body_json(json!({ "items": of_page, "total": 40, "pages": 8 }))
    }
}

async fn retried(app: &TestApp, run: &Run) -> Run {
    let mut transaction = app.pool.begin().await.unwrap();
    retry_run(&mut transaction, run.id, &Actor::command_line("tester")).await.unwrap();
    transaction.commit().await.unwrap();
    app.drain().await;
    app.get(run.id).await
}

#[tokio::test]
async fn pages_behind_several_that_cannot_be_had_are_read_where_the_api_says_that_there_are_some() {
    for place in ["total_path = '$.total'", "total_pages = '$.pages'"] {
        let ill = Arc::new(Mutex::new(true));
        let lines =
            format!("paginator = {{ type = 'page_number', size_param = 'n', size = 5, {place} }}");
        let (server, app) = of(&lines, holes(&[3, 4, 5], Arc::clone(&ill))).await;
        let run = app.run_online("items").await;
        assert_eq!((run.status, run.failed_tasks), (Failed, 3), "{run:?}");
        assert_eq!(app.number(COUNT).await, 25, "{run:?}");
        *ill.lock().unwrap() = false;
        let run = retried(&app, &run).await;
        assert_eq!((run.status, app.number(COUNT).await), (Success, 40), "{place}: {run:?}");
        assert_eq!(run.stop_reason, None, "{place}");
        drop(server);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_limit_behind_which_every_page_is_refused_says_how_many_records_there_are() {
    let ill = Arc::new(Mutex::new(true));
    let lines =
        "paginator = { type = 'page_number', size_param = 'n', size = 5, total_path = '$.total' }";
    let (server, app) = of(lines, holes(&[3, 4, 5, 6, 7, 8, 9], ill)).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(COUNT).await), (Degraded, 10), "{run:?}");
    let note = run.stop_reason.unwrap_or_default();
    assert!(note.contains("after 10 records, and by `$.total` there are 40"), "{note}");
    drop(server);
    app.database.close().await;
}

#[tokio::test]
async fn what_a_retry_normalizes_once_more_did_not_come_twice() {
    let ill = Arc::new(Mutex::new(true));
    let lines = "paginator = { type = 'page_number', size_param = 'n', size = 5 }";
    let (server, app) = of(lines, holes(&[2, 6], Arc::clone(&ill))).await;
    let run = app.run_online("items").await;
    assert_eq!((run.status, app.number(COUNT).await), (Failed, 30), "{run:?}");
    *ill.lock().unwrap() = false;
    let run = retried(&app, &run).await;
    assert_eq!((run.status, app.number(COUNT).await), (Success, 40), "{run:?}");
    assert_eq!(run.stop_reason, None);
    drop(server);
    app.database.close().await;
}
