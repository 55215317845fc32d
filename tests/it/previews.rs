//! Looking at a source before it is loaded, and comparing what its recording becomes with what is expected: neither
//! writes anything, nor needs a database.

use std::process::Command;

use serde_json::{Value, json};
use wiremock::matchers::{any, header_exists};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::TestApp;
use crate::process::{Ended, Process, kasparro};

/// A kasparro without any database.
async fn call(app: &TestApp, arguments: &[&str]) -> Ended {
    let mut command: Command = kasparro(app, arguments);
    command.env("DATABASE_URL", "postgresql://127.0.0.1:9/none");
    Process::start(command).ended().await
}

/// Pages of two, capped, with an ETag; every second page repeats one record.
async fn api() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(header_exists("if-none-match"))
        .respond_with(ResponseTemplate::new(304))
        .with_priority(1)
        .mount(&server)
        .await;
    let answer = |request: &Request| {
        let page = request
            .url
            .query_pairs()
            .find(|(name, _)| name == "page")
            .map(|(_, page)| page.into_owned());
        let page: i64 = page.and_then(|page| page.parse().ok()).unwrap_or(1);
        let record = |id: i64| json!({ "id": id, "name": format!("n{id}"), "updated_at": format!("2026-01-0{id}T00:00:00Z") });
        let body = json!({ "items": [record(page), record(page + 1)], "total": 70, "included": [{ "x": 1 }] });
        ResponseTemplate::new(200)
            .insert_header("etag", "\"a\"")
            .insert_header("x-ratelimit-remaining", "7")
            .set_body_json(body)
    };
    Mock::given(any()).respond_with(answer).with_priority(5).mount(&server).await;
    server
}

#[tokio::test]
async fn a_preview_of_an_api_says_what_is_suspicious_and_writes_nothing() {
    let (app, api) = (TestApp::empty().await, api().await);
    let url = api.uri();
    app.write(
        "items.toml",
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{url}\"\n\
             data_selector = \"$.items[*]\"\n\
             paginator = {{ type = \"page_number\", size_param = \"per_page\", size = 2 }}\n\
             [fields]\nname = {{}}\nsource_updated_at = {{ from = \"updated_at\" }}\n"
        ),
    );
    let before = std::fs::read_dir(app.folder.path()).unwrap().count();
    let shown = call(&app, &["preview", "items"]).await;
    shown.code(0).prints(&[
        "asked for 2 (`per_page`), got 2",
        "`$.included[*]` (1)",
        "write: total_path = \"$.total\"",
        "x-ratelimit-remaining: 7",
        "answered by 304",
        "`$.updated_at`: ascending (seconds, UTC)",
        "page 2 repeats 1 of the 2 keys of page 1",
    ]);
    let document = call(&app, &["preview", "items", "--json"]).await.code(0).json();
    assert_eq!(document["counts"], json!({ "records": 4, "set_aside": 0 }));
    assert_eq!(document["slices"].as_array().unwrap().len(), 2);
    assert_eq!(document["records"][0]["name"], "n1");
    let after = std::fs::read_dir(app.folder.path()).unwrap().count();
    // The folder that the commands work in is the test's own.
    assert!(after - before <= 1, "{before} {after}");
    app.database.close().await;
}

#[tokio::test]
async fn a_preview_of_a_page_that_fails_says_what_was_asked_for_what_came_and_what_to_do() {
    let (app, server) = (TestApp::empty().await, MockServer::start().await);
    app.write("key", "a-secret-key-of-the-test");
    let write = |keys: &str| {
        app.write(
            "items.toml",
            format!(
                "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
                 path = \"items\"\nparams = {{ a = 1 }}\n\
                 auth = {{ type = \"bearer\", token = {{ file = \"key\" }} }}\n{keys}\n\
                 [fields]\nname = {{}}\n",
                server.uri()
            ),
        );
    };
    for (answer, keys, says) in [
        (
            ResponseTemplate::new(403)
                .insert_header("x-ratelimit-remaining", "7")
                .set_body_string("{\"error\":\"no scope for a-secret-key-of-the-test\"}"),
            "",
            [
                "answer: 403; ",
                "x-ratelimit-remaining: 7",
                "body: {\"error\":\"no scope for ***\"}",
                "see its scopes",
            ],
        ),
        (
            ResponseTemplate::new(200).set_body_raw("<!DOCTYPE html><p>Welcome", "text/html"),
            "",
            [
                "answer: 200; ",
                "content-type: text/html",
                "body: <!DOCTYPE html><p>Welcome",
                "a page for people",
            ],
        ),
        (
            ResponseTemplate::new(200).set_body_json(json!({ "data": { "rows": [{ "id": 1 }] } })),
            "data_selector = \"$.items[*]\"",
            [
                "answer: 200; ",
                "body: {\"data\"",
                "`$.data.rows[*]` (1)",
                "write: data_selector = \"$.data.rows[*]\"",
            ],
        ),
    ] {
        server.reset().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        write(keys);
        let shown = call(&app, &["preview", "items"]).await;
        let asked = format!("request: GET {}/items?a=1; authorization: ***", server.uri());
        shown.code(1).prints(&[asked.as_str()]).prints(&says);
        let document = call(&app, &["preview", "items", "--json"]).await;
        let document = document.code(1).json();
        assert!(document["error"].is_string(), "{document}");
        assert_eq!(document["findings"][0]["topic"], "request", "{document}");
        assert!(!document.to_string().contains("a-secret-key"), "{document}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let job = app.read("items.toml").replace(&server.uri(), &format!("http://{free}"));
    app.write("items.toml", job);
    call(&app, &["preview", "items"])
        .await
        .code(1)
        .prints(&["request: GET "])
        .complains(&["cannot be reached"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_preview_of_files_says_how_they_are_read_and_what_is_in_them() {
    let app = TestApp::empty().await;
    app.write("items.csv", "id;name;price\n1;a;1,5\n2;b;x\n");
    app.write(
        "items.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"items.csv\"]\n[fields]\n\
         name = {}\nprice = { decimal_separator = \",\" }\n",
    );
    let document = call(&app, &["preview", "items", "--json"]).await.code(0).json();
    let layout =
        document["findings"].as_array().unwrap().iter().find(|f| f["topic"] == "layout").unwrap();
    assert!(layout["text"].as_str().unwrap().contains("items.csv: "), "{layout}");
    assert!(layout["text"].as_str().unwrap().contains(";"), "{layout}");
    assert_eq!(document["counts"], json!({ "records": 1, "set_aside": 1 }));
    assert_eq!(document["fields"]["id"], json!({ "integer": 2 }));
    assert_eq!(document["records"][0]["price"], "1.5");
    app.database.close().await;
}

#[tokio::test]
async fn a_recording_is_compared_with_the_records_that_are_expected_of_it() {
    let app = TestApp::empty().await;
    app.write("recordings/items/page-0001.json", r#"[{"id":1,"name":"a"},{"id":2,"name":"b"},5]"#);
    let job = |name: &str| {
        app.write(
            "items.toml",
            format!(
                "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = {{ env = \"NOT_SET_ANYWHERE\" }}\n\
                 recording = \"recordings/items\"\n[fields]\nname = {{ from = \"{name}\" }}\n"
            ),
        );
    };
    job("$.name");
    call(&app, &["test"]).await.code(1).complains(&["nothing was tested"]);
    call(&app, &["test", "items"]).await.code(1).prints(&["--accept"]);
    call(&app, &["test", "items", "--accept"])
        .await
        .code(0)
        .prints(&["accepted  items: 3 records"]);
    let expected = app.read("recordings/items/expected.jsonl");
    let lines: Vec<Value> =
        expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({ "external_id": "1", "name": "a" }));
    assert!(lines[2]["set_aside"][0].as_str().unwrap().contains("expected an object"), "{lines:?}");
    call(&app, &["test"]).await.code(0).prints(&["ok        items: 3 records"]);
    job("$.id");
    let differs = call(&app, &["test"]).await;
    differs.code(1).prints(&["differs   items: 2 differences", "~ 1 name: \"a\" -> \"1\""]);
    let document = call(&app, &["test", "--json"]).await.code(1).json();
    assert_eq!(document["items"][0]["outcome"], "differs");
    app.write("broken.toml", "kind = 7");
    call(&app, &["test"]).await.code(1).prints(&["failed    ", "broken.toml"]);
    app.database.close().await;
}

#[tokio::test]
async fn what_ships_makes_the_records_that_are_expected_of_it() {
    let app = TestApp::shipped().await;
    let tested = call(&app, &["test"]).await;
    tested.code(0).prints(&["ok        coingecko_api: 1200 records", "ok        products_csv: "]);
    app.database.close().await;
}
