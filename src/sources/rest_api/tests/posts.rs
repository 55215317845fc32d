//! What a job file asks for: bodies, parameters several times, templates; and where redirects may take a
//! body.

use serde_json::json;
use wiremock::matchers::{body_bytes, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::sources::rest_api::body::Body;
use crate::sources::rest_api::http::client::{Clients, send};
use crate::sources::rest_api::request::RequestParts;

/// Sends this body to `/search` of a server that redirects from there with this status to `to`.
async fn redirected(status: u16, to: &str) -> (Result<Vec<u8>, String>, MockServer) {
    let server = MockServer::start().await;
    let found = ResponseTemplate::new(200).set_body_string("[1]");
    Mock::given(path("/search"))
        .and(header("content-type", "application/json"))
        .and(body_bytes(br#"{"q":"x"}"#))
        .respond_with(ResponseTemplate::new(status).insert_header("location", to))
        .mount(&server)
        .await;
    Mock::given(method("GET")).and(path("/get")).respond_with(found.clone()).mount(&server).await;
    Mock::given(method("POST"))
        .and(path("/post"))
        .and(body_bytes(br#"{"q":"x"}"#))
        .respond_with(found)
        .mount(&server)
        .await;
    let lines = format!("base_url = \"{}\"\nallowed_hosts = [\"localhost\"]", server.uri());
    let params: RestApiParams = toml::from_str(&lines).unwrap();
    let mut request = RequestParts::new(format!("{}/search", server.uri()).parse().unwrap());
    (request.method, request.body) = (reqwest::Method::POST, Body::Json(json!({ "q": "x" })));
    let clients = Clients::new(&params, std::path::Path::new(".")).unwrap();
    let answer = send(&clients, &request, &params).await;
    (answer.map(|answer| answer.body).map_err(|error| error.to_string()), server)
}

#[tokio::test]
async fn a_redirect_keeps_the_body_or_is_told() {
    for (status, to) in [(307, "/post"), (308, "/post"), (303, "/get")] {
        let (answer, _server) = redirected(status, to).await;
        assert_eq!(answer, Ok(b"[1]".to_vec()), "{status}");
    }
    for (status, to, says) in [
        (301, "/post", "without the body of the request"),
        (302, "/get", "without the body of the request"),
        (307, "http://localhost/post", "the body of a request is sent to no other"),
    ] {
        let (answer, _server) = redirected(status, to).await;
        let said = answer.unwrap_err();
        assert!(said.contains(says) && said.contains("in `base_url`"), "{status}: {said}");
    }
}

/// What is sent for this job file's lines, at a position that knows the run.
async fn sent(lines: &str) -> wiremock::Request {
    let server = MockServer::start().await;
    let found = ResponseTemplate::new(200).set_body_string("[]");
    Mock::given(wiremock::matchers::any()).respond_with(found).mount(&server).await;
    let source = source(&server.uri(), lines);
    let run = json!({ "id": 7, "date": "2026-11-28" });
    let position = json!({ "at": source.first(), "run": run });
    source.fetch(&position, Access::Network).await.unwrap();
    server.received_requests().await.unwrap().pop().unwrap()
}

#[tokio::test]
async fn a_body_is_sent_by_post_with_its_type_and_its_templates_filled() {
    for (lines, kind, body) in [
        (
            "json = { n = 1.50, run = \"${run.id}\", day = \"d ${run.date:%d.%m.}\", list = [\"$${x}\", true] }",
            "application/json",
            r#"{"n":1.5,"run":7,"day":"d 28.11.","list":["${x}",true]}"#,
        ),
        (
            "form = { a = [\"x y\", 2], b = \"${run.id}\" }",
            "application/x-www-form-urlencoded",
            "a=x+y&a=2&b=7",
        ),
        (
            "graphql = { query = \"{ a(x: ${run.id}) }\", variables = { run = \"${run.id}\" } }",
            "application/json",
            r#"{"query":"{ a(x: ${run.id}) }","variables":{"run":7}}"#,
        ),
        (
            "graphql = { query_file = \"key\" }",
            "application/json",
            r#"{"query":"s3cr3t+canary/0123456789","variables":{}}"#,
        ),
    ] {
        let request = sent(lines).await;
        assert_eq!(request.method.as_str(), "POST", "{lines}");
        assert_eq!(request.headers["content-type"], kind, "{lines}");
        // Some order of the keys: a body of JSON has none.
        let text = String::from_utf8(request.body).unwrap();
        match kind {
            "application/json" => {
                let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                assert_eq!(json(&text), json(body), "{lines}");
            }
            _ => assert_eq!(text, body, "{lines}"),
        }
    }
    let own = "json = {}\nheaders = { content-type = \"application/vnd.api+json\" }";
    assert_eq!(sent(own).await.headers["content-type"], "application/vnd.api+json");
    let bare = sent("method = \"POST\"").await;
    assert_eq!((bare.method.as_str(), bare.body.as_slice()), ("POST", &b""[..]));
}

#[tokio::test]
async fn parameters_are_repeated_and_templates_are_filled_everywhere() {
    let lines = r#"
        params = { a = ["1", 2, true], day = "${run.date:%s}", "e[]" = ["x"], none = [] }
        headers = { x-run = "run ${run.id}" }
    "#;
    let request = sent(lines).await;
    assert_eq!(request.url.query(), Some("a=1&a=2&a=true&day=1795824000&e%5B%5D=x"));
    assert_eq!(request.headers["x-run"], "run 7");
}

#[tokio::test]
async fn a_post_that_fails_is_tried_again_like_any_other_request() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(503);
    Mock::given(method("POST")).respond_with(busy).up_to_n_times(1).mount(&server).await;
    let found = ResponseTemplate::new(200).set_body_string("[{}]");
    Mock::given(method("POST")).respond_with(found).mount(&server).await;
    let source = source(&server.uri(), "json = { q = 1 }");
    assert_eq!(failure(&source).await.class(), FailureClass::Transient);
    assert_eq!(source.fetch(&source.first(), Access::Network).await.unwrap().records, 1);
}

#[test]
fn exploded_records_are_counted_one_by_one_and_what_leads_nowhere_may_be_empty() {
    let orders = r#"[{"id":1,"lines":[{"n":1},{"n":2}]},{"id":2,"lines":[]}]"#;
    let page = read("explode = \"lines\"", orders).unwrap();
    assert_eq!((page.records, page.shape.rows), (2, 2));
    assert!(page.shape.fields.contains_key("_parent"), "{:?}", page.shape);
    let gone = r#"{"items":[]}"#;
    let selector = "data_selector = \"$.data[*]\"";
    assert!(read(selector, gone).unwrap_err().text().contains("leads nowhere"));
    let lines = format!("{selector}\nempty = \"ok\"");
    assert_eq!(read(&lines, gone).unwrap().records, 0);
    assert!(read(&lines, r#"{"error":"no key"}"#).is_err());
    let filter = read("data_selector = \"$[?@.id > 1]\"", orders).unwrap();
    assert_eq!((filter.records, filter.filtered), (1, 1));
}

#[test]
fn errors_beside_the_data_of_a_graphql_answer_fail_the_page() {
    let body = r#"{"data":{"a":[{"id":1}]},"errors":[{"message":"timeout"}]}"#;
    let lines = "data_selector = \"$.data.a[*]\"\ngraphql = { query = \"{ a { id } }\" }";
    let said = read(lines, body).unwrap_err().to_string();
    assert!(said.contains("GraphQL query says `errors`: timeout"), "{said}");
    assert_eq!(read(&format!("{lines}\nignore_errors = true"), body).unwrap().records, 1);
    let good = r#"{"data":{"a":[{"id":1}]},"errors":[]}"#;
    assert_eq!(read(lines, good).unwrap().records, 1);
}
