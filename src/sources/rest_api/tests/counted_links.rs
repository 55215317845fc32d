//! Links and cursors that count pages or records: their pages are places in a list as numbered ones are, and what
//! moves in it while it is read is asked for by the next run.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{DATE, HeaderMap, LINK};
use serde_json::{Value, json};

use super::*;
use crate::domain::remark::Remark;
use crate::domain::slice::SliceId;
use crate::sources::Source;

const SIZE: usize = 3;

/// How a page leads to the next one.
type Leads = fn(page: usize, headers: &mut HeaderMap, body: &mut Value);

fn by_page_in_a_header(page: usize, headers: &mut HeaderMap, _: &mut Value) {
    let link =
        format!("<https://api.example.com/?per_page={SIZE}&page={}>; rel=\"next\"", page + 1);
    headers.insert(LINK, link.parse().unwrap());
}

fn by_offset_in_the_body(page: usize, _: &mut HeaderMap, body: &mut Value) {
    let next = format!("https://api.example.com/?limit={SIZE}&offset={}", page * SIZE);
    body["next"] = next.into();
}

fn by_number_as_a_cursor(page: usize, _: &mut HeaderMap, body: &mut Value) {
    body["next_page"] = (page + 1).into();
}

fn by_cursor_in_a_link(page: usize, headers: &mut HeaderMap, body: &mut Value) {
    let last = body["items"].as_array().unwrap().last().unwrap();
    let cursor = format!("c{}x{page}", last["at"]);
    let link = format!("<https://api.example.com/?per_page={SIZE}&after={cursor}>; rel=\"next\"");
    headers.insert(LINK, link.parse().unwrap());
}

fn noon() -> DateTime<Utc> {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

/// Reads pages of records, each with its id and its cursor as seconds behind noon: where the watermark is then, and
/// what there is to say.
fn left(paginator: &str, leads: Leads, pages: &[&[(u64, i64)]]) -> (Option<i64>, Vec<Remark>) {
    let lines = format!(
        "base_url = \"https://api.example.com/\"\ndata_selector = \"$.items[*]\"\npaginator = {paginator}\n\
         incremental = {{ cursor_path = \"$.at\", type = \"epoch\", start_param = \"since\" }}"
    );
    let source =
        RestApiSource::new(toml::from_str(&lines).unwrap(), PathBuf::new(), vec![]).unwrap();
    let source = source.keyed_by(&[Locator::of_source_field("id")]).unwrap();
    let window = json!({ "planned": noon(), "fresh": true });
    let mut position = Some(json!({ "at": source.first(), "window": window }));
    let mut watermarks = Vec::new();
    for (page, records) in (1..).zip(pages) {
        let answered = noon() + TimeDelta::seconds(10 * page as i64);
        let mut headers = HeaderMap::new();
        headers.insert(DATE, httpdate::fmt_http_date(answered.into()).parse().unwrap());
        let at = |second: i64| (noon() + TimeDelta::seconds(second)).timestamp();
        let items: Vec<_> =
            records.iter().map(|(id, second)| json!({ "id": id, "at": at(*second) })).collect();
        let mut body = json!({ "items": items });
        if page < pages.len() {
            leads(page, &mut headers, &mut body);
        }
        let body = serde_json::to_vec(&body).unwrap();
        let response = Response { status: 200, headers, body, ..Response::default() };
        let page = source.read(&position.expect("a further page"), response).unwrap();
        position = page.next.clone();
        watermarks.extend(page.into_slice(SliceId::FIRST).watermark);
    }
    assert_eq!(position, None, "the last page was not read");
    let state = source.advance(&source.state().unwrap().to_json(), &watermarks, true);
    let watermark = state.pointer("/rest/watermark").and_then(Value::as_str);
    let watermark =
        watermark.map(|text| (text.parse::<DateTime<Utc>>().unwrap() - noon()).num_seconds());
    (watermark, source.remarks(&watermarks))
}

/// 2 was changed when the first page had been read: 4 moved onto that page, and was not met.
const MOVED: &[&[(u64, i64)]] = &[
    &[(1, -9_000), (2, -8_000), (3, -7_000)],
    &[(5, -5_000), (6, -4_000), (7, -3_000)],
    &[(8, -2_000), (2, 15)],
];

#[test]
fn where_links_or_cursors_count_what_moved_is_asked_for_by_the_next_run() {
    let ways: [(&str, Leads); 3] = [
        ("{ type = \"link_header\" }", by_page_in_a_header),
        ("{ type = \"next_url\" }", by_offset_in_the_body),
        (
            "{ type = \"cursor\", cursor_path = \"$.next_page\", param = \"page\" }",
            by_number_as_a_cursor,
        ),
    ];
    for (paginator, leads) in ways {
        let (watermark, said) = left(paginator, leads, MOVED);
        assert!(watermark.is_some_and(|second| second <= -7_000), "{paginator}: {watermark:?}");
        let degraded = said.iter().any(|said| said.degrades && said.text.contains("was changed"));
        assert!(degraded, "{paginator}: {said:?}");
        // A list that only grows moves nothing.
        let grown: &[&[(u64, i64)]] =
            &[MOVED[0], &[(4, -6_000), (5, -5_000), (6, -4_000)], &[(7, 15)]];
        let (_, said) = left(paginator, leads, grown);
        assert_eq!(said, [], "{paginator}");
    }
}

#[test]
fn where_links_hold_cursors_a_record_that_is_met_twice_hides_no_other() {
    // Nothing is missing: 4 is on the second page.
    let pages: &[&[(u64, i64)]] =
        &[MOVED[0], &[(4, -6_000), (5, -5_000), (6, -4_000)], &[(7, -2_000), (2, 15)]];
    let (watermark, said) = left("{ type = \"link_header\" }", by_cursor_in_a_link, pages);
    assert_eq!(said, []);
    assert!(watermark.is_some_and(|second| second > -2_000), "{watermark:?}");
}
