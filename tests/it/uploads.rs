//! Files that come over HTTP: kept whole or not at all, and only where a run reads them.

use std::fs;
use std::time::Duration;

use kasparro::api::{self, ApiState, AuthConfig, WithoutToken};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::api::{TestApi, problem};
use crate::app::UPLOAD;

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n\n[csv]\npaths = [\"uploads/shop/*.csv\"]\n\n\
                   [files]\nallow_empty = true\nexclude = [\"old*\"]\n\n\
                   [fields]\nname = { column = \"name\", type = \"text\" }\n";

async fn shop() -> TestApi {
    let api = TestApi::admitting_this_machine().await;
    api.app.write("shop.toml", JOB);
    api
}

fn upload(api: &TestApi, query: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    api.client.post(api.url(&format!("/sources/{query}"))).body(body)
}

async fn told(answer: Response, status: u16) -> Value {
    assert_eq!(answer.status().as_u16(), status);
    answer.json().await.unwrap()
}

fn files(api: &TestApi, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(api.app.path(folder)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn an_uploaded_file_is_read_by_the_next_run_and_the_same_again_changes_nothing() {
    let api = shop().await;
    let rows: String = (0..90_000).map(|row| format!("{row},Product {row}\n")).collect();
    let body = format!("id,name\n{rows}");
    assert!(body.len() > 1 << 20, "more than other bodies may have");
    let answer = upload(&api, "shop/files?file=a%201.csv", body.clone()).send().await.unwrap();
    let first = told(answer, 201).await;
    assert_eq!(first["outcome"], "new");
    assert_eq!(first["bytes"], body.len());
    assert_eq!(first["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(api.app.read("uploads/shop/a 1.csv"), body);
    let run = api.app.run("shop").await;
    assert_eq!((run.status.as_str(), run.counters.inserted), ("success", 90_000));

    let again = upload(&api, "shop/files?file=a%201.csv", body).send().await.unwrap();
    let again = told(again, 200).await;
    assert_eq!((&again["outcome"], &again["sha256"]), (&"unchanged".into(), &first["sha256"]));

    // A run may not have read what is there.
    let other = || upload(&api, "shop/files?file=a%201.csv", "id,name\n1,New\n");
    let refused = problem(other().send().await.unwrap(), 409, "file-exists").await;
    assert!(refused["detail"].as_str().unwrap().contains("replace=true"), "{refused}");
    let replaced = upload(&api, "shop/files?file=a%201.csv&replace=true", "id,name\n1,New\n");
    assert_eq!(told(replaced.send().await.unwrap(), 201).await["outcome"], "replaced");
    let run = api.app.run("shop").await;
    assert_eq!(run.counters.updated, 1);
    assert_eq!(files(&api, "uploads/.kasparro-incoming"), Vec::<String>::new());
}

#[tokio::test]
async fn what_no_run_would_read_is_refused_with_what_to_do() {
    let api = shop().await;
    api.app.write("api.toml", "kind = \"rest_api\"\nprimary_key = [\"id\"]\n\n[rest_api]\nbase_url = \"https://api.example.com\"\npath = \"/a\"\npaginator = { type = \"single_page\" }\n\n[fields]\nname = {}\n");
    api.app.write("wide.toml", JOB.replace("uploads/shop/*.csv", "uploads/**/*"));
    api.app.write("far.toml", JOB.replace("uploads/shop/*.csv", "elsewhere/*.csv"));
    for (query, status, kind, says) in [
        ("far/files?file=a.csv", 422, "unread-file", "add \"uploads/far/*.csv\""),
        ("nosuch/files?file=a.csv", 404, "unknown-source", "there is no source"),
        ("api/files?file=a.csv", 422, "unread-file", "reads no files"),
        ("shop/files?file=a.txt", 422, "unread-file", "add \"uploads/shop/*.txt\""),
        ("shop/files?file=old1.csv", 422, "unread-file", "files.exclude"),
        ("shop/files?file=.a.csv", 400, "invalid-parameter", "begins with a dot"),
        ("shop/files?file=..%2Fa.csv", 400, "invalid-parameter", "begins with a dot"),
        ("shop/files?file=x%2Fa.csv", 400, "invalid-parameter", "has a folder in it"),
        ("shop/files?file=", 400, "invalid-parameter", "is empty"),
        ("shop/files", 400, "invalid-parameter", "file"),
    ] {
        let answer = upload(&api, query, "id,name\n1,A\n").send().await.unwrap();
        let refused = problem(answer, status, kind).await;
        assert!(refused["detail"].as_str().unwrap().contains(says), "{query}: {refused}");
    }
    assert_eq!(files(&api, "uploads"), Vec::<String>::new(), "no folder is left of them");
    told(upload(&api, "shop/files?file=a.csv", "id,name\n1,A\n").send().await.unwrap(), 201).await;
    let empty = upload(&api, "shop/files?file=b.csv", "").send().await.unwrap();
    problem(empty, 400, "damaged-body").await;
    // What is still coming is no file of any source.
    api.app.write("uploads/.kasparro-incoming/x.csv", "id,name\n9,half\n");
    let run = api.app.run("wide").await;
    assert_eq!(run.counters.rows_read, 1, "{run:?}");
    std::os::unix::fs::symlink(api.app.path("elsewhere"), api.app.path("uploads/wide")).unwrap();
    fs::create_dir(api.app.path("elsewhere")).unwrap();
    let linked = upload(&api, "wide/files?file=a.csv", "id,name\n1,A\n").send().await.unwrap();
    problem(linked, 422, "unread-file").await;
    assert_eq!(files(&api, "elsewhere"), Vec::<String>::new());
    assert_eq!(files(&api, "uploads/shop"), ["a.csv"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_damaged_or_cut_leaves_nothing() {
    let api = shop().await;
    let large = vec![b'x'; UPLOAD as usize + 1];
    let pieces: Vec<_> =
        large.chunks(1 << 16).map(|piece| Ok::<_, String>(piece.to_vec())).collect();
    let untold = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    for body in [reqwest::Body::from(large), untold] {
        let answer = upload(&api, "shop/files?file=a.csv", body).send().await.unwrap();
        let refused = problem(answer, 413, "body-too-large").await;
        assert!(refused["detail"].as_str().unwrap().contains("upload_max_bytes"), "{refused}");
    }
    let with = |name: &str, value: &str| {
        upload(&api, "shop/files?file=a.csv", "hello").header(name, value).send()
    };
    let form = with("content-type", "multipart/form-data; boundary=x").await.unwrap();
    problem(form, 415, "unsupported-media-type").await;
    let none = with("content-digest", "sha-256=hello").await.unwrap();
    problem(none, 400, "invalid-parameter").await;
    let other = with("content-digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    problem(other.await.unwrap(), 400, "damaged-body").await;

    let mut cut = TcpStream::connect(api.base.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /sources/shop/files?file=a.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\nid,name\n";
    cut.write_all(head.as_bytes()).await.unwrap();
    let is_coming = || !files(&api, "uploads/.kasparro-incoming").is_empty();
    until(is_coming).await;
    drop(cut);
    until(|| !is_coming()).await;
    assert_eq!(files(&api, "uploads/shop"), Vec::<String>::new());

    // `echo -n hello | openssl dgst -sha256 -binary | base64`
    let right = with(
        "content-digest",
        "md5=:abc=:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
    );
    told(right.await.unwrap(), 201).await;
}

/// Waits for what another process or task does to files.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not become so");
}

#[tokio::test]
async fn nothing_can_be_uploaded_where_the_operator_has_named_no_folder() {
    let api = shop().await;
    let listener = api::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let state = ApiState { uploads: None, ..api.app.api_state() };
    let end = std::future::pending();
    let auth = AuthConfig::of(WithoutToken::ThisMachine);
    tokio::spawn(api::serve(state, auth, listener, Duration::ZERO, end));
    let answer = api.client.post(format!("{base}/sources/shop/files?file=a.csv")).body("x").send();
    let refused = problem(answer.await.unwrap(), 409, "no-uploads").await;
    assert!(refused["detail"].as_str().unwrap().contains("upload_dir"), "{refused}");
}
