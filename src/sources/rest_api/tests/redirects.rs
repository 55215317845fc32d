//! Where redirects lead, and what is sent there. Servers on other ports and under other names stand
//! for other hosts.

use wiremock::Request;

use super::*;

const KEY_AND_HEADERS: &str = r#"
    auth = { type = "api_key", name = "x-k", value = { file = "key" } }
    headers = { x-plain = "yes", authorization = { file = "key" } }
"#;
const KEY_IN_QUERY: &str =
    r#"auth = { type = "api_key", in = "query", name = "k", value = { file = "key" } }"#;

/// A fake API that redirects every request.
async fn redirecting(to: &str) -> MockServer {
    api(ResponseTemplate::new(302).insert_header("location", to)).await
}

/// A fake host with a page for everybody, or one that must not be asked.
async fn other_host(asked: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string("[{}]"))
        .expect(asked)
        .mount(&server)
        .await;
    server
}

/// The address of a server under the other name of this machine.
fn by_name(server: &MockServer) -> String {
    format!("http://localhost:{}", server.address().port())
}

fn allowing(host: &str) -> String {
    format!("allowed_hosts = [\"{}\"]\n", host.trim_start_matches("http://"))
}

async fn only_request(server: &MockServer) -> Request {
    let mut requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

#[tokio::test]
async fn within_the_origin_a_redirect_is_followed_with_the_key() {
    for status in [301, 302, 303, 307, 308] {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(status).insert_header("location", "/v2/coins");
        Mock::given(path("/coins")).respond_with(answer).expect(1).mount(&server).await;
        Mock::given(path("/v2/coins"))
            .and(header("x-k", CANARY))
            .and(header("x-plain", "yes"))
            .respond_with(ResponseTemplate::new(200).set_body_string("[{}]"))
            .expect(1)
            .mount(&server)
            .await;
        let source = source(&server.uri(), KEY_AND_HEADERS);
        let page = source.fetch(&source.first(), Access::Network).await.unwrap();
        assert_eq!(page.records, 1);
        assert!(page.url.ends_with("/coins") && !page.url.contains("v2"), "{}", page.url);
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_unless_it_is_allowed() {
    let other = other_host(0).await;
    let server = redirecting(&format!("{}/coins?k=1", other.uri())).await;
    let error = failure(&source(&server.uri(), KEY_AND_HEADERS)).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    let port = other.address().port();
    for part in [
        format!("answered 302 Found, which leads to {}; if that is right", other.uri()),
        format!("allowed_hosts = [\"127.0.0.1:{port}\"]"),
    ] {
        assert!(error.text().contains(&part), "{error}");
    }
}

#[tokio::test]
async fn an_allowed_host_is_asked_without_the_key_and_the_headers_of_the_job_file() {
    let other = other_host(2).await;
    let server = redirecting(&format!("{}/file", other.uri())).await;
    // Another port of the job file's own host, and another host.
    for base_url in [server.uri(), by_name(&server)] {
        let lines = format!("{}{KEY_AND_HEADERS}", allowing(&other.uri()));
        let source = source(&base_url, &lines);
        let page = source.fetch(&source.first(), Access::Network).await.unwrap();
        assert_eq!(page.body, "[{}]");
    }
    for request in other.received_requests().await.unwrap() {
        assert_no_secret(&format!("{request:?}"));
        for name in ["x-k", "x-plain", "authorization", "referer", "cookie"] {
            assert!(!request.headers.contains_key(name), "{name}");
        }
        assert_eq!(request.headers["accept"], "application/json");
    }
}

#[tokio::test]
async fn an_allowed_name_must_lead_to_a_public_address() {
    let other = other_host(0).await;
    let server = redirecting(&format!("{}/file", by_name(&other))).await;
    let source = source(&server.uri(), &allowing(&by_name(&other)));
    let error = failure(&source).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.kind != SourceErrorKind::Unreachable);
    assert!(error.text().contains("redirects: localhost leads to "), "{error}");
    assert!(error.text().contains("which is no public address"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_an_internal_address_is_refused() {
    for address in ["http://169.254.169.254/latest", "http://[::ffff:127.0.0.2]:1/", "//10.1"] {
        let server = redirecting(address).await;
        let error = failure(&source(&server.uri(), &allowing("cdn.example.com"))).await;
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains("which is no public address"), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_key_in_the_address_is_not_carried_elsewhere() {
    let other = other_host(0).await;
    let to = format!("{}/coins?k={CANARY_ENCODED}", other.uri());
    let server = redirecting(&to).await;
    let lines = format!("{}{KEY_IN_QUERY}", allowing(&other.uri()));
    let error = failure(&source(&server.uri(), &lines)).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("with the key in the address"), "{error}");
}

#[tokio::test]
async fn who_comes_back_to_the_origin_comes_without_the_key() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);
    for (asked, at, to) in
        [(&server, "/coins", other.uri()), (&other, "/", format!("{}/back", server.uri()))]
    {
        let answer = ResponseTemplate::new(302).insert_header("location", to.as_str());
        Mock::given(path(at)).respond_with(answer).expect(1).mount(asked).await;
    }
    Mock::given(path("/back"))
        .respond_with(ResponseTemplate::new(200).set_body_string("[]"))
        .mount(&server)
        .await;
    let lines = format!("{}{KEY_AND_HEADERS}", allowing(&other.uri()));
    let source = source(&server.uri(), &lines);
    source.fetch(&source.first(), Access::Network).await.unwrap();
    assert_no_secret(&format!("{:?}", only_request(&other).await));
    let requests = server.received_requests().await.unwrap();
    assert!(requests[0].headers.contains_key("x-k"));
    assert!(!requests[1].headers.contains_key("x-k"));
}

#[tokio::test]
async fn an_api_that_redirects_for_ever_is_given_up_after_five_redirects() {
    let server = redirecting("/coins").await;
    let error = failure(&source(&server.uri(), "")).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("redirects more than 5 times"), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_refused() {
    for (status, to) in [(302, None), (300, Some("/x")), (304, Some("/x")), (302, Some("http://"))]
    {
        let mut answer = ResponseTemplate::new(status);
        if let Some(to) = to {
            answer = answer.insert_header("location", to);
        }
        let error = failure(&source(&api(answer).await.uri(), "")).await;
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains(" answered 30"), "{error}");
    }
}

#[tokio::test]
async fn the_time_limit_is_one_for_all_redirects() {
    let slow = ResponseTemplate::new(302).insert_header("location", "/coins");
    let server = api(slow.set_delay(Duration::from_millis(200))).await;
    let mut opened = source(&server.uri(), "");
    Arc::make_mut(&mut opened.source.params).timeout = Duration::from_millis(500);
    let error = failure(&opened).await;
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(error.text().contains("`rest_api.timeout` = \"500ms\""), "{error}");
}
