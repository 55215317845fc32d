//! Files whose connections break off, against servers that send so many bytes of each answer and no more.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Server, Step, answer};
use super::{body, places, read, told};
use crate::domain::failure::FailureClass;
use crate::sources::files::places::Listed;
use crate::sources::{SourceError, SourceErrorKind};

fn text() -> String {
    (0..30_000).map(|row| format!("{row},row {row}\n")).collect()
}

/// An answer with these headers and these bytes of all, which breaks off after `most` of them.
fn cut(all: &[u8], headers: &[&str], range: Range<usize>, most: usize) -> Vec<Step> {
    let part = format!("content-range: bytes {}-{}/{}", range.start, range.end - 1, all.len());
    let (status, part) = match range.len() == all.len() {
        true => ("200 OK", &[][..]),
        false => ("206 Partial Content", &[part.as_str()][..]),
    };
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for header in headers.iter().chain(part) {
        head.push_str(&format!("{header}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", range.len()));
    let sent = &all[range.start..range.end.min(range.start.saturating_add(most))];
    vec![Step::Send([head.as_bytes(), sent].concat())]
}

/// Where the bytes begin that a request asks for.
fn from(head: &str) -> usize {
    let range = head.split_once("range: bytes=").map(|(_, range)| range.split('-').next().unwrap());
    range.map_or(0, |from| from.parse().unwrap())
}

async fn reads(server: &Server) -> Result<String, SourceError> {
    let entry = format!("{}/a.csv", server.address);
    let places = places("", &entry);
    read(body(&places, &Listed { name: entry, ..Listed::default() }, 0).await?).await
}

#[tokio::test]
async fn a_link_that_always_breaks_off_brings_each_byte_once() {
    let text = text();
    // So few bytes that they are waited for, and so many that the next are asked for at once.
    for most in [60_000, 200_000] {
        let all = text.clone().into_bytes();
        let server =
            Server::start(move |head| cut(&all, &["etag: \"v1\""], from(head)..all.len(), most))
                .await;
        assert!(reads(&server).await.unwrap() == text);
        let requests = server.requests();
        assert_eq!(requests.len(), text.len().div_ceil(most));
        for (at, request) in requests.iter().enumerate().skip(1) {
            assert!(request.contains(&format!("\nrange: bytes={}-\n", at * most)), "{request}");
            assert!(request.contains("\nif-match: \"v1\"\n"), "{request}");
        }
    }
}

#[tokio::test]
async fn a_server_without_parts_is_passed_over_once_and_the_task_tries_again_after_that() {
    let text = text();
    for (breaks, comes) in [(1, true), (2, false)] {
        let (all, asked) = (text.clone().into_bytes(), AtomicUsize::new(0));
        let server = Server::start(move |_| {
            let most = match asked.fetch_add(1, Ordering::SeqCst) {
                before if before < breaks => 100_000 * (before + 1),
                _ => usize::MAX,
            };
            cut(&all, &["etag: \"v1\""], 0..all.len(), most)
        })
        .await;
        match reads(&server).await {
            Ok(read) => assert!(comes && read == text),
            Err(error) => {
                assert!(!comes, "{error}");
                assert_eq!(error.class(), FailureClass::Transient);
            }
        }
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn nothing_of_another_file_gets_behind_what_came() {
    let text = text();
    // It keeps to If-Match, or does not look; or sends the other one from its start.
    for (other, says) in [
        ("412", SourceErrorKind::FileChanged),
        ("206 \"v2\"", SourceErrorKind::FileChanged),
        ("200 \"v2\"", SourceErrorKind::FileChanged),
        ("200", SourceErrorKind::BrokenOff),
        ("206", SourceErrorKind::BrokenOff),
    ] {
        let all = text.clone().into_bytes();
        let server = Server::start(move |head| {
            let (status, etag) = other.split_once(' ').unwrap_or((other, ""));
            let etag = format!("etag: {etag}");
            let headers = if etag == "etag: " { &[][..] } else { &[etag.as_str()] };
            match (head.contains("range: bytes="), status) {
                (false, "200" | "206") if !head.contains("if-match") => {
                    cut(&all, &["etag: \"v1\""], 0..all.len(), 100_000)
                }
                (false, "412") => cut(&all, &["etag: \"v1\""], 0..all.len(), 100_000),
                (_, "412") => answer("412 Precondition Failed", &[], ""),
                (true, "206") => cut(&all, headers, from(head)..all.len(), usize::MAX),
                _ => cut(&all, headers, 0..all.len(), usize::MAX),
            }
        })
        .await;
        let error = told(reads(&server).await, &[]);
        assert_eq!(error.kind, says, "{other}: {error}");
    }
    // Without a word that no other file has, nothing is asked for.
    for etag in ["etag: W/\"v1\"", "last-modified: Sun, 09 Sep 2001 01:46:40 GMT"] {
        let all = text.clone().into_bytes();
        let server = Server::start(move |head| {
            cut(&all, &[etag, "accept-ranges: bytes"], from(head)..all.len(), 100_000)
        })
        .await;
        assert_eq!(told(reads(&server).await, &[]).kind, SourceErrorKind::BrokenOff);
        assert_eq!(server.requests().len(), 1, "{etag}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_is_waited_for_and_one_that_stays_away_is_not() {
    let text = text();
    for (away, comes) in [(3, true), (usize::MAX, false)] {
        let (all, asked) = (text.clone().into_bytes(), AtomicUsize::new(0));
        let server = Server::start(move |head| {
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => cut(&all, &["etag: \"v1\""], 0..all.len(), 100_000),
                // It sends no byte, or says that it cannot.
                before if before <= away && before % 2 == 0 => {
                    cut(&all, &["etag: \"v1\""], from(head)..all.len(), 0)
                }
                before if before <= away => answer("503 Service Unavailable", &[], ""),
                _ => cut(&all, &["etag: \"v1\""], from(head)..all.len(), usize::MAX),
            }
        })
        .await;
        match reads(&server).await {
            Ok(read) => assert!(comes && read == text),
            Err(error) => {
                assert!(!comes, "{error}");
                assert_eq!(error.class(), FailureClass::Transient, "{error}");
            }
        }
        let expected = if comes { 5 } else { 7 };
        assert_eq!(server.requests().len(), expected);
    }
}

#[tokio::test]
async fn an_object_that_is_kept_packed_goes_on_within_what_is_packed() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let text = text();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let size = packed.len();
    for coding in ["content-encoding: gzip", "content-encoding: identity"] {
        let (all, most) = (packed.clone(), size / 3 + 1);
        let server = Server::start(move |head| {
            assert!(head.contains("authorization: aws4-hmac-sha256"), "{head}");
            cut(&all, &["etag: \"e1\"", coding], from(head)..all.len(), most)
        })
        .await;
        let places =
            places(&super::buckets::s3(folder.path(), &server.address, ""), "s3://acme/a.csv.gz");
        let file = Listed {
            name: "s3://acme/a.csv.gz".into(),
            size: Some(size as u64),
            etag: Some("\"e1\"".into()),
            ..Listed::default()
        };
        let mut body = body(&places, &file, 0).await.unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            body.bytes.read_to_end(&mut read).map(|_| read)
        });
        let read = read.await.unwrap().unwrap();
        assert!(
            read == if coding.ends_with("gzip") {
                text.clone().into_bytes()
            } else {
                packed.clone()
            }
        );
        assert_eq!(server.requests().len(), 3);
    }
}

/// An answer that says nothing of where its bytes end.
fn untold(status: &str, headers: &[&str], bytes: &[u8]) -> Vec<Step> {
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    vec![Step::Send([head.as_bytes(), b"\r\n", bytes].concat())]
}

#[tokio::test]
async fn bytes_that_just_stop_are_no_rest_of_a_file_whose_end_was_told() {
    let text = text();
    let (etag, size) = ("etag: \"v1\"", text.len());
    for (first, second) in
        [("length", "whole"), ("length", "part"), ("chunks", "whole"), ("chunks", "part")]
    {
        let all = text.clone().into_bytes();
        let server = Server::start(move |head| match (head.contains("range: bytes="), first) {
            (false, "length") => cut(&all, &[etag], 0..size, 100_000),
            (false, _) => {
                let chunk = [b"30d40\r\n", &all[..100_000]].concat();
                untold("200 OK", &[etag, "transfer-encoding: chunked"], &chunk)
            }
            (true, _) if second == "whole" => untold("200 OK", &[etag], &all[..200_000]),
            (true, _) => {
                let from = from(head);
                let range = format!("content-range: bytes {from}-{}/{size}", size - 1);
                let sent = &all[from..from.max(200_000)];
                untold("206 Partial Content", &[etag, range.as_str()], sent)
            }
        })
        .await;
        let error = told(reads(&server).await, &[]);
        assert_eq!(error.kind, SourceErrorKind::BrokenOff, "{first} {second}: {error}");
        assert!(server.requests().len() > 1, "{first} {second}");
    }
    // What comes to the size that was told is whole.
    let all = text.clone().into_bytes();
    let server = Server::start(move |head| match head.contains("range: bytes=") {
        false => cut(&all, &[etag], 0..size, 100_000),
        true => untold("200 OK", &[etag], &all),
    })
    .await;
    assert!(reads(&server).await.unwrap() == text);
}
