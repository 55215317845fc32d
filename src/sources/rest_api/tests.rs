//! The source kind against a fake API: every way in which an answer can be wrong, and that nothing
//! secret is ever shown. Broken connections come from a bare TCP listener in `broken`, answers that
//! are too much in `bounds`.

mod answers;
mod bounds;
mod broken;
mod counted_links;
mod cursors;
mod ends;
mod histories;
mod logins;
mod moving;
mod pages;
mod places;
mod posts;
mod redacted;
mod redirects;
mod tls;
mod windows;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use wiremock::matchers::{header, headers, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::Page;
use super::*;
use crate::domain::failure::FailureClass;
use crate::domain::hash::ContentHash;
use crate::domain::raw::RawRef;
use crate::domain::reject::ReasonCode;
use crate::mapping::Mapped;
use crate::sources::Access;
use crate::values::field::Locator;

const CANARY: &str = "s3cr3t+canary/0123456789";
const CANARY_ENCODED: &str = "s3cr3t%2Bcanary%2F0123456789";

/// Opens a source with these lines under [rest_api] and these locators.
fn source_with(base_url: &str, lines: &str, base_dir: &Path, from: &[&str]) -> RestApiSource {
    let text = format!("base_url = \"{base_url}\"\ntimeout = \"5s\"\npath = \"coins\"\n{lines}");
    let params = toml::from_str(&text).expect("the parameters of the test");
    let locators = from.iter().map(|path| Locator::of_source_field(path)).collect();
    RestApiSource::new(params, base_dir.to_owned(), locators).expect("the source of the test")
}

/// A source and its folder, which goes when it does.
#[derive(Debug)]
struct Opened {
    source: RestApiSource,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Opened {
    type Target = RestApiSource;

    fn deref(&self) -> &RestApiSource {
        &self.source
    }
}

/// As [`source_with`], in a folder where the file `key` holds [`CANARY`].
fn source(base_url: &str, lines: &str) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), CANARY).unwrap();
    Opened { source: source_with(base_url, lines, folder.path(), &[]), _folder: folder }
}

/// A fake API that answers every request like this.
async fn api(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(answer).mount(&server).await;
    server
}

/// The error of the first page.
async fn failure(source: &RestApiSource) -> SourceError {
    let error = source.fetch(&source.first(), Access::Network).await.expect_err("a failure");
    assert_no_secret(&whole_text(&error));
    error
}

async fn failure_of(lines: &str, answer: ResponseTemplate) -> SourceError {
    let server = api(answer).await;
    failure(&source(&server.uri(), lines)).await
}

fn read(lines: &str, body: &str) -> Result<Page, SourceError> {
    let source = source("https://api.example.com/", lines);
    let body = body.as_bytes().to_vec();
    let from = "https://api.example.com/coins".to_owned();
    source.read(&source.first(), Response { from, status: 200, body, ..Response::default() })
}

#[test]
fn an_error_beside_the_records_is_told_and_one_in_their_place_fails_the_page() {
    let complaint = |selector: &str, body: &str| {
        let page = read(&format!("data_selector = \"{selector}\""), body);
        page.map(|page| page.complaint).map_err(|error| error.text())
    };
    let told = |text: &str| Ok(Some(text.to_owned()));
    let quota = r#"{"data":[],"error":"quota exceeded","status":"error"}"#;
    assert_eq!(complaint("$.data[*]", quota), told("`error`: quota exceeded"));
    let part = r#"{"data":[{},{}],"errors":[{"message":"timeout"}],"status":"partial"}"#;
    assert_eq!(complaint("$.data[*]", part), told("`errors`: timeout"));
    assert_eq!(complaint("$.data[*]", r#"{"data":null,"errors":[]}"#), Ok(None));
    // In place of the records.
    for (selector, body, says) in [
        (
            "$.data[*]",
            r#"{"data":null,"errors":[{"message":"not allowed"}]}"#,
            "`errors`: not allowed",
        ),
        (
            "$.data",
            r#"{"data":null,"success":false,"message":"bad key"}"#,
            "`success`: false, bad key",
        ),
        ("$.data.p.nodes[*]", r#"{"data":null,"errors":[{"message":"no such p"}]}"#, "no such p"),
        ("$.members[*]", r#"{"ok":false,"error":"invalid_auth"}"#, "it says: invalid_auth"),
        ("$.items[*]", r#"{"error":{"code":403,"message":"Daily Limit"}}"#, "it says: Daily Limit"),
        ("$.data[*]", r#"{"errors":[{"status":"422","title":"Invalid"}]}"#, "it says: Invalid"),
        ("$.days[*]", r#"{"Note":"Thank you for using us"}"#, "it says: Thank you for using us"),
        ("$.days[*]", r#"{"Information":"25 requests a day"}"#, "it says: 25 requests a day"),
        (
            "$[*]",
            r#"{"status":{"error_code":429,"error_message":"slow down"}}"#,
            "it says: slow down",
        ),
    ] {
        let message = complaint(selector, body).expect_err(body);
        assert!(message.ends_with(says), "{message}");
    }
    // It is the API's way.
    for body in [quota, part, r#"{"data":null,"errors":[{"message":"not allowed"}]}"#] {
        let lines = "data_selector = \"$.data[*]\"\nignore_errors = true";
        assert_eq!(read(lines, body).unwrap().complaint, None);
    }
}

/// Everything that an error can show.
fn whole_text(error: &SourceError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

fn assert_no_secret(text: &str) {
    for form in [CANARY, CANARY_ENCODED, "s3cr3t"] {
        assert!(!text.contains(form), "{text}");
    }
}

fn html() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw("<!DOCTYPE html>\n<p>Hello</p>", "text/html")
}

#[tokio::test]
async fn the_request_says_who_asks_for_what_and_shows_no_key() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/coins"))
        .and(query_param("vs_currency", "usd"))
        .and(query_param("sparkline", "false"))
        .and(query_param("page", "3"))
        .and(query_param("per_page", "250"))
        .and(query_param("api_key", CANARY))
        .and(header("user-agent", concat!("kasparro/", env!("CARGO_PKG_VERSION"))))
        .and(headers("accept-encoding", vec!["gzip", "br", "zstd"]))
        .and(header("x-plain", "yes"))
        .and(header("x-hidden", CANARY))
        .respond_with(ResponseTemplate::new(200).set_body_string("[{\"id\":1.50}]"))
        .expect(1)
        .mount(&server)
        .await;
    let lines = r#"
        params = { vs_currency = "usd", sparkline = false }
        headers = { x-plain = "yes", x-hidden = { file = "key" } }
        auth = { type = "api_key", in = "query", name = "api_key", value = { file = "key" } }
        paginator = { type = "page_number", size_param = "per_page", size = 250, start = 3 }
    "#;
    let source = source(&format!("{}/v1", server.uri()), lines);
    let page = source.fetch(&source.first(), Access::Network).await.unwrap();
    assert_eq!(page.body, "[{\"id\":1.50}]");
    assert_eq!((page.status, page.records), (200, 1));
    assert!(page.url.ends_with("&per_page=250&page=3"), "{}", page.url);
    assert_no_secret(&format!("{page:?} {source:?}"));
}

#[tokio::test]
async fn keys_travel_in_headers_too() {
    for (auth, name, value) in [
        ("{ type = \"bearer\", token = { file = \"key\" } }", "authorization", "Bearer "),
        ("{ type = \"api_key\", name = \"x-k\", value = { file = \"key\" } }", "x-k", ""),
    ] {
        let server = MockServer::start().await;
        let value = format!("{value}{CANARY}");
        Mock::given(header(name, value.as_str()))
            .respond_with(ResponseTemplate::new(200).set_body_string("[]"))
            .mount(&server)
            .await;
        let source = source(&server.uri(), &format!("auth = {auth}"));
        source.fetch(&source.first(), Access::Network).await.unwrap();
    }
}

#[tokio::test]
async fn an_optional_key_may_be_absent_and_another_may_not() {
    let server = api(ResponseTemplate::new(200).set_body_string("[]")).await;
    let auth = |optional| {
        format!(
            "auth = {{ type = \"bearer\", token = {{ env = \"KASPARRO_TEST_NEVER_SET\" }}, \
             optional = {optional} }}"
        )
    };
    let optional = source(&server.uri(), &auth(true));
    optional.fetch(&optional.first(), Access::Network).await.unwrap();
    let error = failure(&source(&server.uri(), &auth(false))).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("KASPARRO_TEST_NEVER_SET"), "{error}");
    assert!(error.text().contains("`rest_api.auth.token`"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_key_to_set_and_repeats_no_secret() {
    let echo = format!("Your key {CANARY} ({CANARY_ENCODED}) is invalid");
    for (key, named, words) in [
        ("{ env = \"KASPARRO_TEST_NEVER_SET\" }", "KASPARRO_TEST_NEVER_SET", "Who are you?"),
        ("{ file = \"key\" }", "the file key", &echo),
    ] {
        let answer = ResponseTemplate::new(401).set_body_json(json!({ "error": words }));
        let lines = format!("auth = {{ type = \"bearer\", token = {key}, optional = true }}");
        let error = failure_of(&lines, answer).await;
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_secret_does_not_show_where_an_error_text_is_cut() {
    let auth = "auth = { type = \"bearer\", token = { file = \"key\" } }";
    for before in 170..200 {
        let words = format!("{}{CANARY} {}", "x".repeat(before), "y".repeat(300));
        for status in [200, 400] {
            failure_of(auth, ResponseTemplate::new(status).set_body_string(words.clone())).await;
        }
    }
}

#[tokio::test]
async fn an_error_text_in_another_encoding_is_read_and_repeats_no_secret() {
    let words = format!("Your key {CANARY} is no good, 東京");
    let wide = |bytes: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    };
    let auth = "auth = { type = \"bearer\", token = { file = \"key\" } }";
    let json = json!({ "error": words }).to_string();
    for status in [400, 401, 404, 500] {
        for (body, kind) in [
            (wide(u16::to_le_bytes, &words), "text/plain"),
            (wide(u16::to_be_bytes, &words), "text/plain; charset=utf-16be"),
            (
                wide(u16::to_le_bytes, &format!("\u{feff}{json}")),
                "application/json; charset=utf-16",
            ),
            // Nobody tells what it is in.
            (wide(u16::to_be_bytes, &json), "application/json"),
        ] {
            let answer = ResponseTemplate::new(status).set_body_raw(body, kind);
            let error = failure_of(auth, answer).await;
            assert!(error.text().contains("Your key *** is no good, 東京"), "{kind}: {error}");
        }
        let odd = wide(u16::to_le_bytes, &format!("東{words}"));
        let error = failure_of(auth, ResponseTemplate::new(status).set_body_raw(odd, "text/plain"));
        let text = whole_text(&error.await);
        assert!(!text.replace(['\0', '\u{fffd}'], "").contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn html_is_no_page() {
    let error = failure_of("", html()).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("text/html, no JSON: <!DOCTYPE html> <p>Hello"), "{error}");
}

#[tokio::test]
async fn not_found_is_permanent_with_the_apis_own_words() {
    let answer = ResponseTemplate::new(404).set_body_json(json!({ "error": "coin not found" }));
    let error = failure_of("", answer).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().ends_with("404 Not Found: coin not found"), "{error}");
}

#[tokio::test]
async fn too_many_requests_wait_for_the_time_asked_or_for_the_period_of_the_limit() {
    let limit = "rate_limit = { key = \"x\", requests = 30, per = \"20s\" }";
    let wait = |seconds| FailureClass::NotYet(Duration::from_secs(seconds));
    let answer = ResponseTemplate::new(429).insert_header("retry-after", "119");
    assert_eq!(failure_of(limit, answer).await.class(), wait(119));
    assert_eq!(failure_of(limit, ResponseTemplate::new(429)).await.class(), wait(20));
    assert_eq!(failure_of("", ResponseTemplate::new(429)).await.class(), wait(60));

    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    let answer = ResponseTemplate::new(429).insert_header("retry-after", date.as_str());
    let FailureClass::NotYet(wait) = failure_of(limit, answer).await.class() else {
        panic!("expected a wait");
    };
    assert!((90..=100).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test]
async fn a_server_error_is_transient_and_the_next_attempt_succeeds() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(500))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string("[]"))
        .mount(&server)
        .await;
    let source = source(&server.uri(), "");
    assert_eq!(failure(&source).await.class(), FailureClass::Transient);
    assert_eq!(source.fetch(&source.first(), Access::Network).await.unwrap().records, 0);
}

#[tokio::test]
async fn json_that_ends_early_is_transient() {
    let error = failure_of("", ResponseTemplate::new(200).set_body_string("[{\"id\":1},")).await;
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(error.text().contains("ends early"), "{error}");
}

#[tokio::test]
async fn an_object_in_place_of_the_list_is_an_error_that_says_what_was_found() {
    let body = json!({ "status": { "error_code": 10005, "error_message": "for paying users" } });
    for selector in ["$[*]", "$", "$.data", "$.data[*]", "$..data"] {
        let lines = format!("data_selector = \"{selector}\"");
        let error = failure_of(&lines, ResponseTemplate::new(200).set_body_json(&body)).await;
        assert_eq!(error.class(), FailureClass::Permanent, "{selector}");
        assert!(error.text().contains("an object with `status`"), "{error}");
        assert!(error.text().contains("for paying users"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_refused_with_and_without_its_length() {
    let body = format!("[{}1]", "1,".repeat(2000));
    for answer in [
        ResponseTemplate::new(200).set_body_string(body.clone()),
        ResponseTemplate::new(200)
            .set_body_string(body.clone())
            .insert_header("transfer-encoding", "chunked"),
    ] {
        let error = failure_of("max_response_bytes = 1024", answer).await;
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains("max_response_bytes` = 1024"), "{error}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_any_request() {
    for (lines, problem) in [
        ("base_url = \"example.com\"", "no address"),
        ("base_url = \"ftp://example.com\"", "http or https"),
        ("base_url = \"file:///etc/passwd\"", "`rest_api.base_url` begins with `file:`"),
        ("base_url = \"https://me:pw@example.com\"", "rest_api.auth"),
        ("base_url = \"https://example.com?key=1\"", "rest_api.auth"),
        ("base_url = \"https://a.b\"\ndata_selector = \"$[\"", "data_selector"),
        ("base_url = \"https://a.b\"\nheaders = { \"a b\" = \"c\" }", "name of a header"),
        ("base_url = \"https://a.b\"\ntimeout = \"0s\"", "rest_api.timeout"),
        (
            "base_url = \"https://a.b\"\npaginator = { type = \"page_number\", size_param = \"n\" }",
            "size_param",
        ),
    ] {
        let params = toml::from_str(lines).unwrap();
        let error = RestApiSource::new(params, PathBuf::new(), vec![]).unwrap_err();
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains(problem), "{lines}: {error}");
        assert!(!error.text().contains("pw@"), "{error}");
    }
}
