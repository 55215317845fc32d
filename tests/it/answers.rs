//! Whole runs against an API whose answers mean something else than their status says: that it is not the time yet,
//! that something is prepared, that it refuses with 200; and how rates are kept by all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kasparro::db::rate_limits::{self, Limit};
use kasparro::domain::run::RunStatus::{self, Degraded, Failed, Success};
use serde_json::{Value, json};
use wiremock::matchers::{method, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::TestApp;

const NUMBERED: &str =
    "paginator = { type = \"page_number\", size_param = \"per_page\", size = 5 }";

/// An app whose source `coins` reads this address, with more lines under [rest_api].
async fn coins(base_url: &str, lines: &str) -> TestApp {
    let app = TestApp::empty().await;
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{base_url}\"\n\
         path = \"coins\"\n{lines}\n[fields]\nname = {{ from = \"$.name\", type = \"text\" }}\n"
    );
    app.write("coins.toml", job);
    app
}

fn records(ids: std::ops::Range<usize>) -> Value {
    ids.map(|id| json!({ "id": id, "name": format!("coin {id}") })).collect()
}

fn good() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(records(0..2))
}

fn refusal(status: u16, headers: &[(&str, &str)], body: &str) -> ResponseTemplate {
    let answer = ResponseTemplate::new(status).set_body_string(body);
    headers.iter().fold(answer, |answer, (name, value)| answer.insert_header(*name, *value))
}

/// An API that gives these answers in turn, and the last one for ever.
async fn api(answers: impl IntoIterator<Item = ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let mut answers = answers.into_iter().peekable();
    while let Some(answer) = answers.next() {
        let mock = Mock::given(method("GET")).respond_with(answer);
        let once = answers.peek().is_some();
        if once { mock.up_to_n_times(1) } else { mock }.mount(&server).await;
    }
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.expect("requests are recorded").len()
}

/// What a run ended as, how many requests it made, how many records there are, and its error.
async fn outcome(
    lines: &str,
    answers: impl IntoIterator<Item = ResponseTemplate>,
) -> (RunStatus, usize, i64, String) {
    let server = api(answers).await;
    let app = coins(&server.uri(), lines).await;
    let run = app.run_online("coins").await;
    let stored = app.number("select count(*) from unified_records").await;
    let told = [run.error, run.stop_reason].into_iter().flatten().collect::<Vec<_>>().join("; ");
    app.database.close().await;
    (run.status, requests(&server).await, stored, told)
}

#[tokio::test]
async fn what_is_not_the_time_yet_is_waited_for_without_an_attempt() {
    let lines = "data_selector = \"$[*]\"\nretry = { max_attempts = 1 }";
    for first in [
        refusal(403, &[("retry-after", "0.2")], ""),
        refusal(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")], ""),
        refusal(429, &[("x-rate-limit-reset", "1")], ""),
        refusal(502, &[("retry-after", "0.5")], ""),
        refusal(202, &[("retry-after", "1")], ""),
        refusal(202, &[("retry-after", "1")], "[]"),
        refusal(202, &[("retry-after", "1")], "{\"state\":\"running\"}"),
        refusal(200, &[("retry-after", "1")], "{\"error\":\"API rate limit exceeded\"}"),
    ] {
        let (status, requests, stored, error) = outcome(lines, [first, good()]).await;
        assert_eq!((status, requests, stored), (Success, 2, 2), "{error}");
    }
    // Records are records, whatever the status.
    let accepted = ResponseTemplate::new(202).set_body_json(records(0..2));
    assert_eq!(outcome(lines, [accepted]).await.0, Success);
    let (status, requests, ..) = outcome(lines, [refusal(403, &[], "not yours")]).await;
    assert_eq!((status, requests), (Failed, 1));
}

#[tokio::test]
async fn an_api_that_asks_to_wait_for_ever_is_given_up_and_the_run_says_how_long_it_waited() {
    let enough = || refusal(429, &[("retry-after", "1")], "Slow down");
    let lines = "retry = { max_attempts = 3, max_wait = \"2s\" }";
    let (status, requests, _, error) = outcome(lines, [enough()]).await;
    assert_eq!((status, requests), (Failed, 3), "{error}");
    for part in ["3 times, 3s in all", "`max_wait` = \"2s\"", "429 Too Many Requests: Slow down"] {
        assert!(error.contains(part), "{error}");
    }
    // And so is what is being prepared.
    let (status, requests, _, error) =
        outcome(lines, [refusal(202, &[("retry-after", "2")], "")]).await;
    assert_eq!((status, requests), (Failed, 2), "{error}");
    assert!(error.contains("answered 202 Accepted"), "{error}");
}

#[tokio::test]
async fn rules_of_the_job_file_say_what_answers_mean_also_those_with_200() {
    let rule = |rule: &str| {
        format!(
            "data_selector = \"$.data[*]\"\nresponses = [{{ {rule} }}]\nretry = {{ max_attempts = 2 }}"
        )
    };
    let data = || ResponseTemplate::new(200).set_body_json(json!({ "data": records(0..2) }));
    let busy = || refusal(200, &[("x-state", "busy bee")], r#"{"data":[],"state":{"code":7}}"#);

    let lines = rule(r#"where = "$.state[?@ == 7]", action = "wait", wait = "1s""#);
    let (status, requests, stored, told) = outcome(&lines, [busy(), data()]).await;
    assert_eq!((status, requests, stored), (Success, 2, 2), "{told}");

    let lines = rule(r#"header = { x-state = "BUSY" }, action = "retry""#);
    let (status, requests, _, error) = outcome(&lines, [busy()]).await;
    assert_eq!((status, requests), (Failed, 2), "{error}");
    assert!(error.contains("by `rest_api.responses[0]`"), "{error}");

    let lines =
        rule(r#"contains = "\"code\":7", action = "fail", message = "the index is being built""#);
    let (status, requests, _, error) = outcome(&lines, [busy(), data()]).await;
    assert_eq!((status, requests), (Failed, 1), "{error}");
    assert!(error.contains("the index is being built"), "{error}");

    let lines = rule("status = 403, action = \"end\"");
    let (status, _, stored, told) = outcome(&lines, [refusal(403, &[], "no more")]).await;
    assert_eq!((status, stored), (Success, 0), "{told}");

    let lines = rule("status = 403, action = \"ignore\"");
    let (status, _, stored, told) = outcome(&lines, [refusal(403, &[], "no more")]).await;
    assert_eq!((status, stored), (Degraded, 0), "{told}");
}

#[tokio::test]
async fn a_refusal_with_200_in_the_middle_is_never_a_success() {
    for second in [
        r#"{"data":null,"errors":[{"message":"Throttled query"}]}"#,
        r#"{"success":false,"message":"bad key","data":[]}"#,
        r#"{"ok":false,"error":"invalid_cursor"}"#,
        r#"{"data":[],"error":"quota used up"}"#,
    ] {
        let server = MockServer::start().await;
        let page = json!({ "data": records(0..5) });
        Mock::given(query_param("page", "1"))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .mount(&server)
            .await;
        Mock::given(query_param("page", "2"))
            .respond_with(ResponseTemplate::new(200).set_body_string(second))
            .mount(&server)
            .await;
        let lines =
            format!("{NUMBERED}\ndata_selector = \"$.data[*]\"\nretry = {{ max_wait = \"1s\" }}");
        let app = coins(&server.uri(), &lines).await;
        let run = app.run_online("coins").await;
        assert!(matches!(run.status, Failed | Degraded), "{second}: {run:?}");
        let told = [run.error, run.stop_reason].into_iter().flatten().collect::<String>();
        let words = ["Throttled query", "bad key", "invalid_cursor", "quota used up"];
        assert!(words.iter().any(|words| told.contains(words)), "{second}: {told}");
        app.database.close().await;
    }
}

/// A request that comes when the API said that none is left is counted, and refused.
#[tokio::test]
async fn three_workers_ask_for_no_more_than_the_api_says_is_left() {
    let server = MockServer::start().await;
    let (asked, too_many) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, above) = (asked.clone(), too_many.clone());
    let started = std::time::Instant::now();
    // Three requests every two seconds.
    Mock::given(method("GET"))
        .respond_with(move |request: &Request| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let window = started.elapsed().as_secs() / 2;
            let left = 2_usize.saturating_sub(number % 3);
            if number / 3 > usize::try_from(window).unwrap() {
                above.fetch_add(1, Ordering::SeqCst);
            }
            let page: usize = request
                .url
                .query_pairs()
                .find_map(|(name, value)| (name == "page").then(|| value.parse().unwrap()))
                .unwrap_or(1);
            let ids = 5 * (page - 1)..(5 * page).min(32);
            ResponseTemplate::new(200)
                .set_body_json(records(ids))
                .insert_header("x-ratelimit-remaining", left.to_string())
                .insert_header("x-ratelimit-reset", "2")
        })
        .mount(&server)
        .await;
    let mut app = coins(&server.uri(), NUMBERED).await;
    app.workers = 3;
    let run = app.run_online("coins").await;
    assert_eq!(run.status, Success, "{run:?}");
    assert_eq!(app.number("select count(*) from unified_records").await, 32);
    assert_eq!(too_many.load(Ordering::SeqCst), 0);
    let bucket = &rate_limits::list(&app.pool, None, None, 10).await.unwrap()[0];
    assert_eq!((bucket.key.as_str(), bucket.declared), ("source:coins", None));
    assert!(bucket.remaining.is_some() && bucket.told_at.is_some(), "{bucket:?}");
    app.database.close().await;
}

#[tokio::test]
async fn nothing_left_until_too_late_fails_the_next_page_without_a_request() {
    let day = [("ratelimit", "\"day\";r=0;t=40000")];
    let full = ResponseTemplate::new(200).set_body_json(records(0..5));
    let full = day.iter().fold(full, |answer, (name, value)| answer.insert_header(*name, *value));
    let (status, requests, stored, error) = outcome(NUMBERED, [full]).await;
    assert_eq!((status, requests, stored), (Failed, 1, 5), "{error}");
    for part in
        ["no request left for 11h", "`rest_api.retry.max_retry_after` = \"1h\"", "\"source:coins\""]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_good_answer_corrects_the_bucket_downwards_and_never_upwards() {
    let app = TestApp::empty().await;
    let hour = Duration::from_secs(3600);
    let limit = Some(Limit { requests: 100, per: hour });
    let take = async || rate_limits::take(&app.pool, "k", limit).await.unwrap();
    assert_eq!(take().await, Ok(()));
    rate_limits::correct(&app.pool, "k", 2, Some(hour)).await.unwrap();
    rate_limits::correct(&app.pool, "k", 50, Some(hour)).await.unwrap();
    assert_eq!((take().await, take().await), (Ok(()), Ok(())));
    let none = take().await.unwrap_err();
    assert!(!none.blocked && none.delay <= hour / 100, "{none:?}");
    rate_limits::correct(&app.pool, "k", 0, Some(hour)).await.unwrap();
    let none = take().await.unwrap_err();
    assert!(none.blocked && none.delay > hour / 2, "{none:?}");
    app.database.close().await;
}

#[tokio::test]
async fn what_a_body_says_is_left_counts_as_well() {
    let limit = "rate_limit = { key = \"points\", requests = 1000, per = \"1s\", remaining_path = \"$.cost.left\", reset_path = \"$.cost.reset\" }";
    let lines = format!("{NUMBERED}\ndata_selector = \"$.data[*]\"\n{limit}");
    let body = json!({ "data": records(0..5), "cost": { "left": 0, "reset": 90_000 } });
    let (status, requests, stored, error) =
        outcome(&lines, [ResponseTemplate::new(200).set_body_json(body)]).await;
    assert_eq!((status, requests, stored), (Failed, 1, 5), "{error}");
    assert!(error.contains("no request left for") && error.contains("points"), "{error}");
}

/// A proxy that answers everything itself, and says what it was asked for.
#[tokio::test]
async fn the_proxy_of_the_environment_is_used_unless_no_proxy_names_the_host() {
    let proxy = api([good()]).await;
    let app = coins("http://api.invalid/v1", "").await;
    let run = |no_proxy: &'static str| {
        let mut command = crate::process::kasparro(&app, &["run", "coins"]);
        command.env("HTTP_PROXY", proxy.uri()).env("NO_PROXY", no_proxy);
        crate::process::Process::start(command)
    };
    run("localhost").ended().await.code(0);
    let asked = proxy.received_requests().await.unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].headers["host"], "api.invalid");
    run("localhost,.invalid").ended().await.code(1);
    assert_eq!(requests(&proxy).await, 1, "the host is asked itself, and there is none");
    app.database.close().await;
}
