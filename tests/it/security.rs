//! Who is let in: tokens, their scopes, addresses that others reach, and pages of other sites.

use std::num::NonZeroU32;
use std::time::Duration;

use kasparro::api::{AuthConfig, WithoutToken};
use kasparro::db::api_tokens;
use kasparro::domain::token::{Scope, Token};
use nix::sys::signal::Signal;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{TestApi, problem};
use crate::app::TestApp;
use crate::process::{Process, call, kasparro, until};

const LOOPBACK: AuthConfig = AuthConfig::of(WithoutToken::ThisMachine);

/// A token of that scope, and its id.
async fn token(app: &TestApi, scope: Scope, number: u8) -> String {
    let token = Token::from_random(&[number; Token::RANDOM_BYTES]);
    api_tokens::insert(&app.pool, token.id(), &token.hash(), scope, None, None).await.unwrap();
    token.reveal()
}

async fn ask(app: &TestApi, method: Method, path: &str, token: &str) -> Response {
    app.client.request(method, app.url(path)).bearer_auth(token).send().await.unwrap()
}

/// Waits until the API has seen what changed in the table of tokens.
async fn answers(app: &TestApi, path: &str, token: Option<&str>, status: u16) {
    until("the API sees the tokens", async || {
        let request = app.client.get(app.url(path));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        request.send().await.unwrap().status().as_u16() == status
    })
    .await;
}

fn challenges(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all("www-authenticate").iter();
    all.map(|challenge| challenge.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn as_soon_as_there_is_a_token_every_request_but_those_on_health_needs_one() {
    let app = TestApi::admitting(LOOPBACK).await;
    assert_eq!(app.get("/stats").await.status(), 200);
    let good = token(&app, Scope::Read, 1).await;
    answers(&app, "/stats", None, 401).await;
    for path in ["/runs", "/stats", "/docs", "/docs/start.js", "/openapi.json", "/", "/nothing"] {
        let refused = app.get(path).await;
        let expected = if ["/runs", "/stats", "/nothing"].contains(&path) { 1 } else { 2 };
        assert_eq!(challenges(refused.headers()).len(), expected, "{path}");
        problem(refused, 401, "unauthorized").await;
    }
    for path in ["/health", "/health/ready"] {
        assert_eq!(app.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(ask(&app, Method::GET, "/stats", &good).await.status(), 200);
    let other = Token::from_random(&[2; Token::RANDOM_BYTES]).reveal();
    let half = format!("{}{}", &good[..13], &other[13..]);
    for bad in ["", "kas_", &other, &half] {
        let refused = ask(&app, Method::GET, "/stats", bad).await;
        assert!(challenges(refused.headers())[0].contains("invalid_token"), "{bad}");
        problem(refused, 401, "unauthorized").await;
    }
    let page = |path| app.client.get(app.url(path)).basic_auth("me", Some(&good)).send();
    assert_eq!(page("/docs").await.unwrap().status(), 200, "a browser asks for a password");
    assert_eq!(page("/stats").await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_token_does_what_its_scope_allows_and_no_more() {
    let app = TestApi::admitting(LOOPBACK).await;
    let read = token(&app, Scope::Read, 1).await;
    let run = token(&app, Scope::Run, 2).await;
    let admin = token(&app, Scope::Admin, 3).await;
    answers(&app, "/stats", None, 401).await;
    let start = async |token: &str| {
        let body = json!({ "source": "none" });
        let request = app.client.post(app.url("/runs")).bearer_auth(token).json(&body);
        request.send().await.unwrap()
    };
    let refused = start(&read).await;
    assert!(challenges(refused.headers())[0].contains("scope=\"run\""));
    let refused = problem(refused, 403, "forbidden").await;
    assert_eq!(refused["detail"], "the token has the scope `read`; this needs `run`");
    for token in [&run, &admin] {
        problem(start(token).await, 404, "unknown-source").await;
        assert_eq!(ask(&app, Method::GET, "/runs", token).await.status(), 200);
    }
    problem(ask(&app, Method::POST, "/anything/new", &run).await, 403, "forbidden").await;
    problem(ask(&app, Method::POST, "/anything/new", &admin).await, 404, "unknown-path").await;
}

#[tokio::test]
async fn an_expired_token_is_refused_and_opens_nothing_and_the_last_revoked_one_does() {
    let app = TestApi::admitting(LOOPBACK).await;
    let good = token(&app, Scope::Read, 1).await;
    answers(&app, "/stats", Some(&good), 200).await;
    let over = "update api_tokens set expires_at = now() - interval '1 second'";
    sqlx::raw_sql(over).execute(&app.pool).await.unwrap();
    answers(&app, "/stats", Some(&good), 401).await;
    assert_eq!(app.get("/stats").await.status(), 401);
    let revoked = "update api_tokens set expires_at = null, revoked_at = now()";
    sqlx::raw_sql(revoked).execute(&app.pool).await.unwrap();
    answers(&app, "/stats", None, 200).await;
    assert_eq!(ask(&app, Method::GET, "/stats", &good).await.status(), 401, "a bad one is bad");
}

#[tokio::test]
async fn an_api_that_others_reach_answers_nobody_when_the_last_token_is_gone() {
    let auth_config = AuthConfig::of(WithoutToken::Nobody);
    let app = TestApi::admitting(auth_config).await;
    problem(app.get("/stats").await, 401, "unauthorized").await;
    assert_eq!(app.get("/health").await.status(), 200);
}

#[tokio::test]
async fn the_use_of_a_token_is_noted_once_and_not_with_every_request() {
    let app = TestApi::admitting(LOOPBACK).await;
    let good = token(&app, Scope::Read, 1).await;
    answers(&app, "/stats", Some(&good), 200).await;
    let noted = "select count(*) from api_tokens where last_used_at is not null";
    until("the use is noted", async || app.app.number(noted).await == 1).await;
    let version = "select xmin::text from api_tokens";
    let before = app.app.texts(version).await;
    for _ in 0..20 {
        assert_eq!(ask(&app, Method::GET, "/stats", &good).await.status(), 200);
    }
    assert_eq!(app.app.texts(version).await, before);
}

#[tokio::test]
async fn without_a_token_pages_of_other_sites_and_other_names_are_not_answered() {
    let app = TestApi::admitting(LOOPBACK).await;
    let with = async |name: &str, value: &str| {
        app.client.get(app.url("/stats")).header(name, value).send().await.unwrap()
    };
    problem(with("Host", "evil.example").await, 403, "foreign-page").await;
    problem(with("Origin", "http://evil.example").await, 403, "foreign-page").await;
    problem(with("Origin", "null").await, 403, "foreign-page").await;
    assert_eq!(with("Origin", &app.base).await.status(), 200);
    assert_eq!(with("Host", "localhost:1").await.status(), 200);
    let good = token(&app, Scope::Read, 1).await;
    answers(&app, "/stats", None, 401).await;
    let request = app.client.get(app.url("/stats")).bearer_auth(&good);
    let answer = request.header("Host", "kasparro.example").send().await.unwrap();
    assert_eq!(answer.status(), 200, "whoever has a token may use any name");
}

/// What is answered to a head that nobody's library would send.
async fn raw(app: &TestApi, head: &str) -> (u16, String) {
    let address = app.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

/// A page that rebinds its name to the API's address asks for that name, as compose's default, which
/// listens on every address, has to notice.
#[tokio::test]
async fn anonymous_requests_are_answered_by_names_of_this_machine_addresses_and_allowed_names_only()
{
    let everybody = AuthConfig {
        allowed_hosts: vec!["api".parse().unwrap(), "kasparro.example:8443".parse().unwrap()],
        ..AuthConfig::of(WithoutToken::Everybody)
    };
    let machine = AuthConfig { without_token: WithoutToken::ThisMachine, ..everybody.clone() };
    let (everybody, machine) =
        (TestApi::admitting(everybody).await, TestApi::admitting(machine).await);
    for host in [
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "localhost.:1",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8080",
        "[::ffff:127.0.0.1]:1",
        "api",
        "API:8080",
        "api.",
        "kasparro.example:8443",
    ] {
        for app in [&everybody, &machine] {
            let (status, answer) =
                raw(app, &format!("GET /stats HTTP/1.1\r\nHost: {host}\r\n")).await;
            assert_eq!(status, 200, "{host}: {answer}");
        }
    }
    for address in ["192.0.2.1:8080", "[2001:db8::1]", "0.0.0.0:8080"] {
        let head = format!("GET /stats HTTP/1.1\r\nHost: {address}\r\n");
        assert_eq!(raw(&everybody, &head).await.0, 200, "{address}");
        assert_eq!(raw(&machine, &head).await.0, 403, "{address}");
    }
    for head in [
        "GET /stats HTTP/1.1\r\nHost: evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: evil.example:8080\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost.evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: api.evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: kasparro.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: me@localhost\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost, evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: \r\n",
        "GET /stats HTTP/1.1\r\n",
        "GET /stats HTTP/1.0\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n",
        "GET http://evil.example/stats HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://localhost/stats HTTP/1.1\r\nHost: evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:2\r\n",
        "GET /stats HTTP/1.1\r\nHost: 192.0.2.1\r\nOrigin: http://192.0.2.2\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: null\r\n",
    ] {
        for app in [&everybody, &machine] {
            let (status, answer) = raw(app, head).await;
            assert_eq!(status, 403, "{head}: {answer}");
            assert!(answer.contains("urn:kasparro:problem:foreign-page"), "{head}: {answer}");
        }
    }
    for head in [
        "GET http://localhost:7/stats HTTP/1.1\r\nHost: LOCALHOST:7\r\n",
        "GET /stats HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://LOCALHOST.:1\r\n",
        // A proxy that asks for another name than the page did.
        "GET /stats HTTP/1.1\r\nHost: localhost:1\r\nOrigin: https://kasparro.example:8443\r\n",
    ] {
        assert_eq!(raw(&everybody, head).await.0, 200, "{head}");
    }
    let (_, refused) = raw(&everybody, "GET /stats HTTP/1.1\r\nHost: kasparro.local\r\n").await;
    for part in ["kasparro.local is no name", "`allowed_hosts` (KASPARRO_ALLOWED_HOSTS)"] {
        assert!(refused.contains(part), "{refused}");
    }
    let probe = raw(&everybody, "GET /health HTTP/1.1\r\nHost: kasparro.local\r\n").await;
    assert_eq!(probe.0, 200, "probes may use any name");
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let auth_config = AuthConfig { rate: NonZeroU32::new(1), ..LOOPBACK };
    let app = TestApi::admitting(auth_config).await;
    let good = token(&app, Scope::Read, 1).await;
    let mut refused = app.get("/health").await;
    for _ in 0..3 {
        refused = app.get("/health").await;
    }
    assert_eq!(refused.headers()["retry-after"], "1");
    problem(refused, 429, "too-many-requests").await;
    let answer = ask(&app, Method::GET, "/stats", &good).await;
    assert_eq!(answer.status(), 200, "a token has a rate of its own");
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_nothing_and_the_page_to_ask_no_other_host() {
    let app = TestApi::admitting(LOOPBACK).await;
    for path in ["/health", "/stats", "/runs?limit=0", "/nothing", "/docs", "/openapi.json", "/"] {
        let answer = app.get(path).await;
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("http"), "{path}: {policy}");
        assert_eq!(policy.contains("script-src 'self';"), answer.url().path() == "/docs", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_listed_without_its_secret_and_revoked() {
    let app = TestApp::empty().await;
    let made = ["token", "create", "--scope", "run", "--name", "airflow", "--expires", "90d"];
    let made = call(&app, &made).await;
    let text = made.code(0).stdout.trim().to_owned();
    let token = Token::parse(&text).expect("a token and nothing else on standard output");
    let (id, secret) = (token.id().as_str(), &text[13..]);
    assert!(!app.texts("select t::text from api_tokens t").await[0].contains(secret));
    let list = call(&app, &["token", "list"]).await;
    list.code(0).prints(&[id, "airflow", "run", "good"]);
    assert!(!list.stdout.contains(secret));
    let json = call(&app, &["token", "list", "--json"]).await.code(0).json();
    assert_eq!(json["items"][0]["state"], "good");
    assert_eq!(json["tokens"], json["items"], "the earlier name");
    let lasts = "select (expires_at - created_at)::text from api_tokens";
    assert_eq!(app.texts(lasts).await, ["90 days"]);
    let revoked = call(&app, &["token", "revoke", id]).await;
    revoked.code(0).prints(&[id]).complains(&["it was the last one"]);
    call(&app, &["token", "list"]).await.code(0).prints(&["revoked"]);
    call(&app, &["token", "revoke", "00000000"]).await.code(1).complains(&["token list"]);
    call(&app, &["token", "create", "--scope", "everything"]).await.code(64);
    app.database.close().await;
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token_or_a_word_that_it_does_not() {
    let app = TestApp::empty().await;
    let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    for command in ["serve", "up"] {
        let ended = call(&app, &[command, "--listen", &address]).await;
        ended.code(1).complains(&[&address, "token create", "--allow-anonymous"]);
    }
    let serves = async |arguments: &[&str]| {
        let serve = Process::start(kasparro(&app, arguments));
        until("it answers", async || {
            call(&app, &["healthcheck", "--listen", &address]).await.status.success()
        })
        .await;
        serve.signal(Signal::SIGTERM);
        serve.ended().await.code(0);
    };
    serves(&["serve", "--listen", &address, "--allow-anonymous"]).await;
    let token = Token::from_random(&[1; Token::RANDOM_BYTES]);
    let (id, hash) = (token.id(), token.hash());
    let short = Some(Duration::from_millis(1));
    api_tokens::insert(&app.pool, id, &hash, Scope::Admin, None, short).await.unwrap();
    let ended = call(&app, &["serve", "--listen", &address]).await;
    ended.code(1).complains(&["no usable token"]);
    call(&app, &["token", "create", "--scope", "admin"]).await.code(0);
    serves(&["serve", "--listen", &address]).await;
    app.database.close().await;
}
