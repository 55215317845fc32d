//! Requests with a body: what is sent, and where redirects may take it.

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
    let clients = Clients::new(&params).unwrap();
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
