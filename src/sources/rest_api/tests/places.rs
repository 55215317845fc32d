//! Where numbers and cursors of pages go: what is sent for each, page by page.

use serde_json::Value;

use super::*;

/// What is sent for the first pages of a list of six records, two a page, each as `METHOD path?query body`.
async fn sent(lines: &str) -> Vec<String> {
    let server = MockServer::start().await;
    let page = |ids: [u64; 2], next: Value| {
        let items: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        ResponseTemplate::new(200).set_body_json(json!({ "items": items, "next": next }))
    };
    for (ids, next) in [([1, 2], json!("a/b?c")), ([3, 4], json!(7)), ([5, 6], Value::Null)] {
        let answer = page(ids, next);
        Mock::given(wiremock::matchers::any())
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    let lines = format!("data_selector = '$.items[*]'\n{lines}");
    let text = format!("base_url = '{}'\n{lines}", server.uri());
    let params = toml::from_str(&text).expect("the parameters of the test");
    let source = RestApiSource::new(params, PathBuf::new(), Vec::new()).unwrap();
    let mut at = Some(source.first());
    for _ in 0..3 {
        let page = source.fetch(&at.take().unwrap(), Access::Network).await.unwrap();
        at = page.next;
    }
    let sent = server.received_requests().await.unwrap().into_iter().map(|request| {
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = String::from_utf8(request.body).unwrap();
        let sent = format!("{} {}{query} {body}", request.method, request.url.path());
        sent.trim_end().to_owned()
    });
    sent.collect()
}

#[tokio::test]
async fn numbers_and_cursors_go_where_the_job_file_says_and_stay_numbers_in_json() {
    let query = r#"{"query":"{ a }","variables":"#;
    for (lines, expected) in [
        (
            "path = 'x'\npaginator = { type = 'page_number' }",
            ["GET /x?page=1", "GET /x?page=2", "GET /x?page=3"].map(str::to_owned),
        ),
        (
            "path = 'x'\nparams = { page = 9 }\npaginator = { type = 'page_number' }",
            ["GET /x?page=1", "GET /x?page=2", "GET /x?page=3"].map(str::to_owned),
        ),
        (
            "paginator = { type = 'page_number', path = 'x/page/${page.number}.json', start = 0 }",
            ["GET /x/page/0.json", "GET /x/page/1.json", "GET /x/page/2.json"].map(str::to_owned),
        ),
        (
            "paginator = { type = 'offset', path = 'x/${page.offset}/2' }",
            ["GET /x/0/2", "GET /x/2/2", "GET /x/4/2"].map(str::to_owned),
        ),
        (
            "path = 'x'\npaginator = { type = 'cursor', cursor_path = '$.next', path = 'x/after/${page.cursor}' }",
            ["GET /x", "GET /x/after/a%2Fb%3Fc", "GET /x/after/7"].map(str::to_owned),
        ),
        (
            "json = { n = 2 }\npaginator = { type = 'page_number', body_path = '$.at.page', size_param = 'n', size = 2 }",
            [1, 2, 3].map(|page| format!(r#"POST /?n=2 {{"n":2,"at":{{"page":{page}}}}}"#)),
        ),
        (
            "form = { n = 2 }\npaginator = { type = 'offset', body_path = '$.from' }",
            [0, 2, 4].map(|from| format!("POST / n=2&from={from}")),
        ),
        (
            "graphql = { query = '{ a }' }\npaginator = { type = 'offset', body_path = '$.variables.at.skip' }",
            [0, 2, 4].map(|skip| format!(r#"POST / {query}{{"at":{{"skip":{skip}}}}}}}"#)),
        ),
    ] {
        let json = |text: &str| match text.split_once(" {") {
            Some((before, json)) => {
                (before.to_owned(), serde_json::from_str::<Value>(&format!("{{{json}")).ok())
            }
            None => (text.to_owned(), None),
        };
        let sent = sent(lines).await;
        let [sent, expected] =
            [&sent[..], &expected[..]].map(|all| all.iter().map(|one| json(one)));
        assert_eq!(sent.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{lines}");
    }
}

#[tokio::test]
async fn a_variable_of_a_query_takes_the_number_as_a_number() {
    let lines = "graphql = { query = 'query ($p: Int!) { a(page: $p) }' }\n\
                 paginator = { type = 'page_number', variable = 'p' }";
    for (at, sent) in (1..).zip(sent(lines).await) {
        let body: Value = serde_json::from_str(sent.strip_prefix("POST / ").unwrap()).unwrap();
        assert_eq!(body["variables"], json!({ "p": at }));
    }
}

#[test]
fn a_cursor_that_would_ask_for_another_path_is_refused() {
    let lines =
        "paginator = { type = 'cursor', cursor_path = '$.next', path = 'x/${page.cursor}' }";
    let source = source("https://api.example.com/", lines);
    for cursor in ["..", "."] {
        let error = source.unsent(&json!({ "page": 2, "cursor": cursor })).unwrap_err();
        assert!(error.text().contains("would ask for something else"), "{error}");
    }
}

#[test]
fn what_is_stored_of_a_paginator_with_keys_of_before_is_what_it_was() {
    for (lines, identity) in [
        (
            "type = 'page_number'",
            "PageNumber(PageNumber { param: \"page\", start: 1, size_param: None, size: None, concurrency: None, \
             total_path: None, total_pages: None, total_tolerance: 0, has_more_path: None, end_path: None, \
             max_pages: None, first_pages_only: false, max_records: None })",
        ),
        (
            "type = 'offset', param = 'o', max_pages = 2",
            "Offset(Offset { param: \"o\", start: 0, size_param: None, size: None, concurrency: None, total_path: None, \
             total_pages: None, total_tolerance: 0, has_more_path: None, end_path: None, max_pages: Some(2), \
             first_pages_only: false, max_records: None })",
        ),
        (
            "type = 'cursor', cursor_path = '$.c', param = 'c'",
            "Cursor(Cursor { cursor_path: Some(\"$.c\"), cursor_header: None, end_values: [], param: Some(\"c\"), \
             body_path: None, variable: None, size_param: None, size: None, resume: false, total_path: None, \
             total_pages: None, total_tolerance: 0, has_more_path: None, end_path: None, max_pages: None, \
             first_pages_only: false, max_records: None })",
        ),
    ] {
        let params: RestApiParams = toml::from_str(&format!(
            "base_url = 'https://api.example.com'\npaginator = {{ {lines} }}"
        ))
        .unwrap();
        assert_eq!(params.paginator.identity(), identity);
    }
}
