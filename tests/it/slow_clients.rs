//! Clients that are slow on purpose: what they hold, and for how long.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use kasparro::api::{AuthConfig, WithoutToken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::api::TestApi;

/// What the API grants, several times over: the machine may be busy.
const LET_GO: Duration = Duration::from_secs(60);

async fn app() -> TestApi {
    let rate = NonZeroU32::new(1000);
    TestApi::admitting(AuthConfig { rate, ..AuthConfig::of(WithoutToken::ThisMachine) }).await
}

/// A connection on which the text was sent.
async fn said(app: &TestApi, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address(app)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Sends a byte now and then, so that the connection is never idle, until the API ends it; then what
/// the API said.
async fn trickle(stream: TcpStream) -> String {
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let mut answer = Vec::new();
    // A connection that is reset has ended as well.
    let _ = read.read_to_end(&mut answer).await;
    sending.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_heads_and_bodies_hold_up_nobody_and_are_let_go() {
    let app = app().await;
    let head = "GET /stats HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let body = "POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100000\r\n\r\n{";
    let mut slow = Vec::new();
    // More than are worked on at once.
    for text in [head, body].repeat(80) {
        slow.push(tokio::spawn(trickle(said(&app, text).await)));
    }
    for _ in 0..5 {
        let asked = Instant::now();
        assert_eq!(app.get("/stats").await.status(), 200);
        // Held up by the slow ones it would wait until they are let go.
        assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    }
    let ended = tokio::time::timeout(LET_GO, futures::future::join_all(slow)).await;
    let answers = ended.expect("the API lets slow clients go");
    let late = answers.iter().filter(|answer| answer.as_ref().unwrap().contains("slow-request"));
    assert!(late.count() > 0, "a slow body is told why");
}

/// Connections that stay open after an answer keep others out only while there is room for all.
#[tokio::test]
async fn a_connection_ends_with_its_answer_when_all_places_are_taken() {
    let app = app().await;
    let mut first = said(&app, PROBE).await;
    let answer = until_said(&mut first, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("close"), "{answer}");
    let mut silent = Vec::new();
    for _ in 1..512 {
        silent.push(said(&app, "").await);
    }
    let mut answer = String::new();
    let last = silent.last_mut().unwrap();
    last.write_all(PROBE.as_bytes()).await.unwrap();
    last.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

/// As many slow connections as one machine can open, of every kind, for as long as the test asks.
#[tokio::test]
async fn slow_clients_of_one_address_hold_up_no_probe_of_another_and_none_of_their_own() {
    let auth_config = AuthConfig {
        connections: NonZeroU32::new(128),
        ..AuthConfig::of(WithoutToken::ThisMachine)
    };
    let app = TestApi::admitting(auth_config).await;
    let attacks: Vec<_> = (0..200)
        .map(|number| {
            let text = [
                "",
                "GET /stats HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
                "POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 100000\r\n\r\n{",
                "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{",
            ];
            let address = address(&app);
            tokio::spawn(async move {
                // Comes again whenever it is let go.
                for round in number.. {
                    let Ok(mut stream) = TcpStream::connect(address).await else { continue };
                    if stream.write_all(text[round % text.len()].as_bytes()).await.is_ok() {
                        trickle(stream).await;
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        for from in ["127.0.0.2", "127.0.0.1"] {
            let asked = Instant::now();
            let answer = probe(&app, from).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{from}: {answer}");
            // Held up by the slow ones it would wait until they are let go, or longer.
            assert!(asked.elapsed() < Duration::from_secs(8), "{from}: {:?}", asked.elapsed());
        }
    }
    attacks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_address_with_all_its_connections_at_work_is_told_so_but_its_probes_are_answered() {
    let auth_config =
        AuthConfig { connections: NonZeroU32::new(2), ..AuthConfig::of(WithoutToken::ThisMachine) };
    let app = TestApi::admitting(auth_config).await;
    let body = "POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\n\r\n{";
    let mut at_work = [said(&app, body).await, said(&app, body).await];
    // The API has read the heads, since it has room for a third as soon as one is silent.
    let mut refused = asked(&app, "127.0.0.1", "/stats").await;
    crate::process::until("the heads are read", async || {
        refused = asked(&app, "127.0.0.1", "/stats").await;
        refused.starts_with("HTTP/1.1 503")
    })
    .await;
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("connections_per_address"), "{refused}");
    assert!(asked(&app, "127.0.0.2", "/stats").await.starts_with("HTTP/1.1 200"));
    // Those that are silent in the lobby give way.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(said(&app, "").await);
    }
    assert!(probe(&app, "127.0.0.1").await.starts_with("HTTP/1.1 200"));
    assert!(probe(&app, "127.0.0.2").await.starts_with("HTTP/1.1 200"));
    at_work[0].write_all(b"}").await.unwrap();
    let answer = until_said(&mut at_work[0], "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 422"), "who is at work is not let go: {answer}");
}

const PROBE: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn address(app: &TestApi) -> std::net::SocketAddr {
    app.base.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Asks for the health from an address of this machine; the head of the answer, and what came with it.
async fn probe(app: &TestApi, from: &str) -> String {
    asked(app, from, "/health").await
}

/// The same of any path.
async fn asked(app: &TestApi, from: &str, path: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address(app)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What the API says, up to some text.
async fn until_said(stream: &mut TcpStream, end: &str) -> String {
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        said.push(stream.read_u8().await.expect("the API has not said all"));
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let app = app().await;
    let large =
        format!("GET /stats HTTP/1.1\r\nHost: localhost\r\nX-Large: {}", "x".repeat(20_000));
    let many =
        format!("GET /stats HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-A: b\r\n".repeat(100));
    for head in [large, many] {
        let mut stream = said(&app, &head).await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 431");
    }
    assert_eq!(app.get("/stats").await.status(), 200);
}
