//! Answers that are too much: bodies, packed and not, and heads.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::AsyncWriteExt;

use super::broken::server;
use super::*;

fn packed(status: u16, body: &[u8]) -> ResponseTemplate {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(body).unwrap();
    ResponseTemplate::new(status)
        .set_body_raw(packer.finish().unwrap(), "application/json")
        .insert_header("content-encoding", "gzip")
}

#[tokio::test]
async fn a_packed_page_is_read_and_a_packed_refusal_is_quoted() {
    let server = api(packed(200, b"[{\"id\":1.50}]")).await;
    let source = source(&server.uri(), "");
    let page = source.fetch(&source.first(), Access::Network).await.unwrap();
    assert_eq!(page.body, "[{\"id\":1.50}]");
    let error = failure_of("", packed(404, b"{\"error\":\"no such coin\"}")).await;
    assert!(error.text().ends_with("404 Not Found: no such coin"), "{error}");
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_by_its_density() {
    let bomb = format!("[{}]", " ".repeat(4 << 20));
    let error = failure_of("", packed(200, bomb.as_bytes())).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("`rest_api.max_compression_ratio` = 100"), "{error}");
    // As the text of a refusal it is not worth an error of its own.
    assert_eq!(failure_of("", packed(500, bomb.as_bytes())).await.class(), FailureClass::Transient);

    let server = api(packed(200, bomb.as_bytes())).await;
    let generous = source(&server.uri(), "max_compression_ratio = 2000");
    let page = generous.fetch(&generous.first(), Access::Network).await.unwrap();
    assert_eq!((page.body.len(), page.records), ((4 << 20) + 2, 0));
}

#[tokio::test]
async fn a_packed_answer_beyond_the_limit_is_refused_by_its_size() {
    let body = format!("[{}1]", "1,".repeat(2000));
    let error = failure_of("max_response_bytes = 1024", packed(200, body.as_bytes())).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("max_response_bytes` = 1024"), "{error}");
}

#[tokio::test]
async fn an_encoding_that_was_not_asked_for_is_named() {
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "compress");
    let error = failure_of("", answer.set_body_string("...")).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("the encoding compress"), "{error}");
}

#[tokio::test]
async fn too_many_headers_and_too_large_ones_are_refused() {
    let many = "x-a: 1\r\n".repeat(200);
    let large = format!("x-a: {}\r\n", "a".repeat(500 << 10));
    for headers in [many, large] {
        let url = server(move |mut stream| async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{headers}\r\n[]");
            // The other side may well have gone before the end.
            let _ = stream.write_all(head.as_bytes()).await;
            std::future::pending::<()>().await;
        })
        .await;
        let error = failure(&source(&url, "")).await;
        assert_eq!(error.class(), FailureClass::Permanent, "{error}");
        assert!(error.text().contains("more than 100 headers"), "{error}");
    }
}
