//! Clients that are slow on purpose: what they hold, and for how long.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use kasparro::api::{Admission, WithoutToken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::TestApi;

/// What the API grants, several times over: the machine may be busy.
const LET_GO: Duration = Duration::from_secs(60);

async fn app() -> TestApi {
    let rate = NonZeroU32::new(1000);
    TestApi::admitting(Admission { without_token: WithoutToken::ThisMachine, rate }).await
}

/// A connection on which the text was sent.
async fn said(app: &TestApi, text: &str) -> TcpStream {
    let address = app.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
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
async fn a_connection_ends_with_its_answer_when_others_wait_for_its_place() {
    const REQUEST: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let app = app().await;
    let mut first = said(&app, REQUEST).await;
    let answer = until_said(&mut first, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("close"), "{answer}");
    let mut silent = Vec::new();
    for _ in 1..512 {
        silent.push(said(&app, "").await);
    }
    // It waits outside until somebody leaves.
    let mut outside = said(&app, REQUEST).await;
    let mut answer = String::new();
    silent.push(first);
    let last = silent.last_mut().unwrap();
    last.write_all(REQUEST.as_bytes()).await.unwrap();
    last.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let answer = until_said(&mut outside, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
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
