//! Where a chain of cursors ends.

use wiremock::Request;
use wiremock::matchers::any;

use super::*;
use crate::domain::chain_end::{ChainEnd, StopReason};

/// How many pages are read, and how the chain of them ends; every page is the one that is given for its number.
async fn walked(lines: &str, pages: &'static [&'static str]) -> (usize, Option<ChainEnd>) {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let cursor = request.url.query_pairs().find(|(name, _)| name == "cursor");
        let page = cursor.map_or(0, |(_, cursor)| cursor.trim_start_matches('c').parse().unwrap());
        ResponseTemplate::new(200).set_body_string(pages[page])
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let source = source(&server.uri(), lines);
    let (mut at, mut read) = (source.first(), 0);
    loop {
        let page = source.fetch(&at, Access::Network).await.unwrap();
        read += 1;
        match page.next {
            Some(next) => at = next,
            None => return (read, page.end),
        }
    }
}

#[tokio::test]
async fn end_values_say_which_cursors_are_none_and_a_flag_of_null_says_nothing() {
    const CURSOR: &str = "data_selector = \"$.a[*]\"\npaginator = { type = \"cursor\", cursor_path = \"$.next\", param = \"cursor\"";
    for end in ["0", "\"0\"", "\"-1\"", "-1"] {
        let last = format!(r#"{{"a":[{{"id":2}}],"next":{end}}}"#).leak();
        let pages = vec![r#"{"a":[{"id":1}],"next":"c1"}"#, last].leak();
        let (read, end) = walked(&format!("{CURSOR}, end_values = [\"0\", -1] }}"), pages).await;
        let end = end.unwrap();
        assert_eq!((read, end.reason, end.complete), (2, StopReason::NoNext, true), "{end:?}");
    }
    let lines = format!("{CURSOR}, has_more_path = \"$.more\" }}");
    let pages = &[
        r#"{"a":[{"id":1}],"next":"c1","more":null}"#,
        r#"{"a":[{"id":2}],"next":null,"more":null}"#,
    ];
    let (read, end) = walked(&lines, pages).await;
    assert_eq!((read, end.unwrap().complete), (2, true));
}
