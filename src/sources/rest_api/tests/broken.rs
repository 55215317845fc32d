//! Connections that break in the middle, from a bare TCP listener: a fake HTTP server cannot.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server whose first connection is answered by `answer` once the request has come.
pub(super) async fn server<F>(answer: impl FnOnce(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        answer(stream).await;
    });
    address
}

/// A key in the query, because reqwest's own errors hold the address.
fn with_key(lines: &str) -> String {
    format!(
        "auth = {{ type = \"api_key\", in = \"query\", name = \"k\", value = {{ file = \"key\" }} }}\n{lines}"
    )
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_transient() {
    let url = server(|mut stream| async move {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{\"id\":1}";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let error = failure(&source(&url, &with_key(""))).await;
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(error.text().contains("broke off"), "{error}");
    assert!(error.kind != SourceErrorKind::Unreachable);
}

#[tokio::test]
async fn a_gzip_body_that_ends_early_is_transient() {
    let url = server(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x8b]).await.unwrap();
    })
    .await;
    assert_eq!(failure(&source(&url, &with_key(""))).await.class(), FailureClass::Transient);
}

#[tokio::test]
async fn a_reset_connection_is_transient() {
    let url = server(|stream| async move {
        stream.set_zero_linger().unwrap();
        drop(stream);
    })
    .await;
    let error = failure(&source(&url, &with_key(""))).await;
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(error.kind != SourceErrorKind::Unreachable, "the host was reached");
}

#[tokio::test]
async fn an_answer_that_never_comes_times_out() {
    let url = server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut opened = source(&url, &with_key(""));
    Arc::make_mut(&mut opened.source.params).timeout = Duration::from_millis(50);
    let error = failure(&opened).await;
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(error.text().contains("longer than `rest_api.timeout` = \"50ms\""), "{error}");
}

#[tokio::test]
async fn a_host_that_refuses_is_unreachable_and_given_up_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = failure(&source(&url, &with_key("recording = \"x\""))).await;
    assert_eq!(error.class(), FailureClass::Transient);
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert_eq!(error.max_attempts(8), SourceError::UNREACHABLE_ATTEMPTS);
    let address = url.trim_start_matches("http://");
    assert!(error.text().contains(&format!("{address} cannot be reached: ")), "{error}");
    assert!(error.text().contains("refused"), "{error}");
    assert!(error.text().contains("--offline --restart`"), "{error}");
}
