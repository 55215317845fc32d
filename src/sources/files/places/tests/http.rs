//! Files behind http addresses.

use std::io::Write;
use std::time::{Duration, SystemTime};

use flate2::write::GzEncoder;

use super::server::{Server, Step, answer, raw};
use super::{body, open, opened_places, places, read, told};
use crate::domain::failure::FailureClass;
use crate::sources::files::places::{Listed, OpenedFile};
use crate::sources::{SourceError, SourceErrorKind};

fn named(name: &str) -> Listed {
    Listed { name: name.to_owned(), ..Listed::default() }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A server of one file, and what opening it gives.
async fn opened(
    keys: &str,
    respond: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static,
) -> (Server, Result<String, SourceError>) {
    let server = Server::start(respond).await;
    let entry = format!("{}/a.csv", server.address);
    let places = places(keys, &entry);
    let text = match body(&places, &named(&entry), 0).await {
        Ok(body) => read(body).await,
        Err(error) => Err(error),
    };
    (server, text)
}

#[tokio::test]
async fn a_file_is_asked_for_once_and_next_time_only_if_it_has_changed() {
    let server = Server::start(|head| match head.contains("if-none-match: \"v1\"") {
        true => answer("304 Not Modified", &["etag: \"v1\""], ""),
        false => answer(
            "200 OK",
            &["etag: \"v1\"", "last-modified: Sun, 09 Sep 2001 01:46:40 GMT"],
            "a\n1\n",
        ),
    })
    .await;
    let entry = format!("{}/in/a%20b.csv?format=csv", server.address);
    let places = places("", &entry);
    let listed = places.of(&entry).list(&entry).await.unwrap();
    assert_eq!(listed, [named(&entry)]);
    assert!(server.requests().is_empty(), "a web server has no list");
    let body = body(&places, &listed[0], 0).await.unwrap();
    let known = body.file.clone();
    assert_eq!((known.size, known.etag.as_deref()), (Some(4), Some("\"v1\"")));
    assert_eq!(known.modified, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)));
    assert!(body.end_is_told && body.from == 0);
    assert_eq!(read(body).await.unwrap(), "a\n1\n");
    let again = open(&places, &listed[0], Some(&known), 0).await.unwrap();
    assert!(matches!(again, OpenedFile::Unchanged));
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].starts_with("GET /in/a%20b.csv?format=csv HTTP/1.1\n"), "{requests:?}");
    assert!(requests[0].contains("accept-encoding: identity\n"));
    assert!(!places.of(&entry).proves_unchanged(&known, &known, chrono::Utc::now()));
}

#[tokio::test]
async fn a_weak_etag_and_a_time_say_that_a_file_has_not_changed_too() {
    let time = "last-modified: Sun, 09 Sep 2001 01:46:40 GMT";
    for (header, condition) in [
        ("etag: W/\"v1\"", "if-none-match: w/\"v1\"\n"),
        (time, "if-modified-since: sun, 09 sep 2001 01:46:40 gmt\n"),
    ] {
        let server = Server::start(move |head| match head.contains(condition) {
            true => answer("304 Not Modified", &[], ""),
            false => answer("200 OK", &[header], "a\n1\n"),
        })
        .await;
        let entry = format!("{}/a.csv", server.address);
        let places = places("", &entry);
        let known = body(&places, &named(&entry), 0).await.unwrap().file;
        let again = open(&places, &named(&entry), Some(&known), 0).await.unwrap();
        assert!(matches!(again, OpenedFile::Unchanged), "{header}");
    }
}

#[tokio::test]
async fn an_answer_with_the_etag_that_was_known_is_no_other_file() {
    let server = Server::start(|_| answer("200 OK", &["etag: \"v1\""], "a\n1\n")).await;
    let entry = format!("{}/a.csv", server.address);
    let places = places("", &entry);
    let known = body(&places, &named(&entry), 0).await.unwrap().file;
    let again = open(&places, &named(&entry), Some(&known), 0).await.unwrap();
    assert!(matches!(again, OpenedFile::Unchanged));
    let other = Listed { etag: Some("\"v0\"".into()), ..known };
    let again = open(&places, &named(&entry), Some(&other), 0).await.unwrap();
    assert!(matches!(again, OpenedFile::Body(_)));
}

#[tokio::test]
async fn a_part_that_does_not_reach_to_the_end_is_no_file() {
    let server = Server::start(|head| {
        let range = match () {
            () if head.contains("/cut") => "content-range: bytes 0-3/9",
            () if head.contains("/unknown") => "content-range: bytes 0-3/*",
            () => "content-range: bytes 0-3/4",
        };
        answer("206 Partial Content", &["etag: \"v1\"", range], "a\n1\n")
    })
    .await;
    for (file, good) in [("cut.csv", false), ("unknown.csv", false), ("whole.csv", true)] {
        let entry = format!("{}/{file}", server.address);
        let body = body(&places("", &entry), &named(&entry), 0).await;
        assert_eq!(body.is_ok(), good, "{file}");
        let said = body.err().map(|error| error.text()).unwrap_or_default();
        assert!(good || said.contains("does not reach to the end of the file"), "{said}");
    }
}

#[tokio::test]
async fn a_file_goes_on_behind_an_offset_only_while_it_is_the_same() {
    let server = Server::start(|head| match () {
        () if head.contains("if-match: \"v0\"") => answer("412 Precondition Failed", &[], ""),
        () if head.contains("range: bytes=2-") => {
            answer("206 Partial Content", &["etag: \"v1\"", "content-range: bytes 2-3/4"], "1\n")
        }
        () if head.contains("range: bytes=3-") => {
            answer("206 Partial Content", &["content-range: bytes 0-3/4"], "a\n1\n")
        }
        () => answer("200 OK", &["etag: \"v1\""], "a\n1\n"),
    })
    .await;
    let entry = format!("{}/a.csv", server.address);
    let places = places("", &entry);
    let file = body(&places, &named(&entry), 0).await.unwrap().file;
    let rest = body(&places, &file, 2).await.unwrap();
    assert_eq!((rest.from, &rest.file), (2, &file));
    assert_eq!(read(rest).await.unwrap(), "1\n");
    // Without a word by which it is known again, all of it is asked for.
    let unknown = Listed { etag: None, ..file.clone() };
    let whole = body(&places, &unknown, 2).await.unwrap();
    assert_eq!((whole.from, read(whole).await.unwrap().as_str()), (0, "a\n1\n"));
    let weak = Listed { etag: Some("W/\"v1\"".into()), ..file.clone() };
    assert_eq!(body(&places, &weak, 2).await.unwrap().from, 0);
    // Behind its end there is nothing to ask for.
    assert_eq!(body(&places, &file, 4).await.unwrap().from, 0);
    let other = Listed { etag: Some("\"v0\"".into()), ..file.clone() };
    assert_eq!(told(body(&places, &other, 2).await, &[]).kind, SourceErrorKind::FileChanged);
    let longer = Listed { size: Some(5), ..file.clone() };
    assert_eq!(told(body(&places, &longer, 0).await, &[]).kind, SourceErrorKind::FileChanged);
    let misled = told(body(&places, &file, 3).await, &[]);
    assert!(misled.text().contains("with a part from 0 on"), "{misled}");
}

#[tokio::test]
async fn a_body_that_is_cut_can_be_tried_again_and_one_that_stalls_is_given_up() {
    let (_, cut) = opened("", |_| vec![raw("HTTP/1.1 200 OK\ncontent-length: 10", "a\n1\n")]).await;
    let error = told(cut, &[]);
    assert_eq!((error.kind, error.class()), (SourceErrorKind::BrokenOff, FailureClass::Transient));
    assert!(error.text().contains("/a.csv broke off"), "{error}");
    let chunked = "HTTP/1.1 200 OK\ntransfer-encoding: chunked";
    let (_, cut) = opened("", move |_| vec![raw(chunked, "4\r\na\n1\n\r\n")]).await;
    assert_eq!(told(cut, &[]).kind, SourceErrorKind::BrokenOff);
    let keys = "http = { timeout = \"100ms\" }";
    let head = "HTTP/1.1 200 OK\ncontent-length: 10";
    let (_, stalled) = opened(keys, move |_| vec![raw(head, "a\n1\n"), Step::Stall]).await;
    let error = told(stalled, &[]);
    assert_eq!(error.kind, SourceErrorKind::TimedOut);
    assert!(error.text().contains("longer than `files.http.timeout` = \"100ms\""), "{error}");
    let (_, silent) = opened(keys, |_| vec![Step::Stall]).await;
    assert_eq!(told(silent, &[]).kind, SourceErrorKind::TimedOut);
}

#[tokio::test]
async fn where_nobody_says_where_a_body_ends_the_file_says_so() {
    let server = Server::start(|_| vec![raw("HTTP/1.1 200 OK", "a\n1\n")]).await;
    let entry = format!("{}/a.csv", server.address);
    let body = body(&places("", &entry), &named(&entry), 0).await.unwrap();
    assert!(!body.end_is_told && body.file.size.is_none());
    assert_eq!(read(body).await.unwrap(), "a\n1\n");
}

#[tokio::test]
async fn what_is_packed_for_its_way_is_unpacked_and_a_packed_file_stays_packed() {
    let packed = gzip("a\n1\n");
    let length = packed.len() as u64;
    let sent = packed.clone();
    let server = Server::start(move |head| match head.starts_with("GET /a.csv.gz") {
        true => answer("200 OK", &["etag: \"v1\""], &sent),
        false => answer("200 OK", &["etag: \"v1\"", "content-encoding: gzip"], &sent),
    })
    .await;
    let entry = format!("{}/a.csv", server.address);
    let transported = body(&places("", &entry), &named(&entry), 0).await.unwrap();
    // An offset within what was unpacked is none of what the server has.
    assert_eq!(transported.file.etag.as_deref(), Some("W/\"v1\""));
    assert_eq!(read(transported).await.unwrap(), "a\n1\n");
    let entry = format!("{}/a.csv.gz", server.address);
    let file = body(&places("", &entry), &named(&entry), 0).await.unwrap();
    assert_eq!((file.file.size, file.file.etag.as_deref()), (Some(length), Some("\"v1\"")));
    assert_ne!(read(file).await.unwrap(), "a\n1\n");
    let half = packed[..packed.len() / 2].to_vec();
    let (_, cut) = opened("", move |_| answer("200 OK", &["content-encoding: gzip"], &half)).await;
    assert_eq!(told(cut, &[]).kind, SourceErrorKind::BrokenOff);
    // It says so, and is not.
    let (_, plain) = opened("", |_| answer("200 OK", &["content-encoding: gzip"], "a\n1\n")).await;
    assert_eq!(plain.unwrap(), "a\n1\n");
    let (_, other) = opened("", |_| answer("200 OK", &["content-encoding: br"], "a\n1\n")).await;
    assert!(told(other, &[]).text().contains("in the encoding br"));
}

#[tokio::test]
async fn a_refusal_is_told_with_the_file_and_the_key_to_set() {
    for (status, headers, kind, says) in [
        (
            "401 Unauthorized",
            &[][..],
            SourceErrorKind::Unauthorized,
            "add `http = { auth = { … } }` to [files]",
        ),
        ("403 Forbidden", &[], SourceErrorKind::Forbidden, "[files]"),
        ("404 Not Found", &[], SourceErrorKind::NotFound, "/a.csv answered 404"),
        ("410 Gone", &[], SourceErrorKind::NotFound, "410"),
        (
            "429 Too Many Requests",
            &["retry-after: 7"],
            SourceErrorKind::RateLimited(Duration::from_secs(7)),
            "7s",
        ),
        (
            "503 Service Unavailable",
            &["retry-after: 7"],
            SourceErrorKind::RateLimited(Duration::from_secs(7)),
            "7s",
        ),
        ("500 Internal Server Error", &[], SourceErrorKind::ServerError, "500"),
        ("204 No Content", &[], SourceErrorKind::InvalidResponse, "no whole file"),
        ("304 Not Modified", &[], SourceErrorKind::InvalidResponse, "304"),
        ("416 Range Not Satisfiable", &[], SourceErrorKind::FileChanged, "changed"),
    ] {
        let (_, refused) = opened("", move |_| answer(status, headers, "")).await;
        let error = told(refused, &[]);
        assert_eq!(error.kind, kind, "{status}");
        assert!(error.text().contains(says), "{status}: {error}");
        assert!(!error.text().contains("rest_api"), "{error}");
    }
    let html = |_: &str| {
        answer(
            "200 OK",
            &["content-type: text/html; charset=utf-8"],
            "\n<!DOCTYPE html><title>Login",
        )
    };
    let error = told(opened("", html).await.1, &[]);
    assert!(error.text().contains("with a web page"), "{error}");
    // PHP says so of all that it sends.
    let csv = |_: &str| answer("200 OK", &["content-type: text/html"], "a\n1\n");
    assert_eq!(opened("", csv).await.1.unwrap(), "a\n1\n");
}

#[tokio::test]
async fn nothing_secret_leaves_its_host_or_is_told() {
    const PASSWORD: &str = "s3cr3t-canary-0123";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let other = Server::start(|head| match head.contains("authorization") {
        true => answer("500 Internal Server Error", &[], "the password came here"),
        false => answer("200 OK", &[], "a\n1\n"),
    })
    .await;
    let port = other.address.rsplit(':').next().unwrap().to_owned();
    let link = format!("location: {}/b.csv?sig=S1gnature", other.address);
    let server = Server::start(move |head| match head.contains("authorization: basic") {
        true => answer("302 Found", &[&link], ""),
        false => answer("401 Unauthorized", &[], "no s3cr3t-canary-0123"),
    })
    .await;
    let entry = format!("{}/a.csv", server.address);
    let auth = format!(
        "auth = {{ type = \"basic\", username = \"me\", password = {{ file = {file:?} }} }}"
    );
    let keys = format!("http = {{ {auth}, allowed_hosts = [\"127.0.0.1:{port}\"] }}");
    let opened = body(&places(&keys, &entry), &named(&entry), 0).await.unwrap();
    assert_eq!(opened.file.name, entry);
    assert_eq!(read(opened).await.unwrap(), "a\n1\n");
    assert!(!other.requests()[0].contains("authorization"));
    // Without leave it is not followed, and the address that is as good as a key is not told.
    let error = told(
        body(&places(&format!("http = {{ {auth} }}"), &entry), &named(&entry), 0).await,
        &["S1gn"],
    );
    assert_eq!(error.kind, SourceErrorKind::BadRedirect);
    assert!(error.text().contains("allowed_hosts"), "{error}");
    assert!(error.text().contains("in `http` of [files]"), "{error}");
    let error = told(body(&places("", &entry), &named(&entry), 0).await, &[]);
    assert_eq!(error.kind, SourceErrorKind::Unauthorized);
}

#[tokio::test]
async fn an_address_that_is_as_good_as_a_key_is_a_name_without_its_query() {
    let server = Server::start(|head| match head.contains("X-Amz-Signature=S1gnature-0123") {
        true => answer("403 Forbidden", &[], "expired: S1gnature-0123"),
        false => answer("200 OK", &[], "a\n"),
    })
    .await;
    let bare = format!("{}/a.csv", server.address);
    let entry = format!("{bare}?X-Amz-Signature=S1gnature-0123&X-Amz-Expires=60");
    let places = places("", &entry);
    assert_eq!(places.of(&entry).list(&entry).await.unwrap(), [named(&bare)]);
    let error = told(body(&places, &named(&bare), 0).await, &["S1gnature"]);
    assert_eq!(error.kind, SourceErrorKind::Forbidden);
    assert!(error.text().contains(&bare), "{error}");
    let error = told(opened_places("", "https://me:hunter22@x.example/a.csv").map(drop), &[]);
    assert!(error.text().contains("user name"), "{error}");
}
