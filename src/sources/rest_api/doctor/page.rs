//! Owns what there is to say of a page that was read.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::next_page::{Advice, Looking};
use super::order::order;

use crate::sources::Finding;
use crate::sources::rest_api::around::RecordsPlace;
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::rest_api::http::said::Said;
use crate::sources::rest_api::page::Page;
use crate::sources::rest_api::params::RestApiParams;

/// The largest body that is looked through.
const MOST_BYTES: usize = 8 << 20;
/// Query parameters that say how many records are wanted.
const SIZES: &[&str] = &[
    "limit",
    "size",
    "per_page",
    "perpage",
    "page_size",
    "pagesize",
    "page[size]",
    "max_results",
    "maxresults",
    "count",
    "first",
    "top",
    "$top",
    "rows",
    "take",
    "num",
];

/// What there is to say of a page: `records` are its records as they came.
pub(in crate::sources::rest_api) fn examine(
    params: &RestApiParams,
    asked: &Url,
    page: &Page,
    records: &[String],
) -> Vec<Finding> {
    if let Some(what) = no_page(page) {
        return vec![what];
    }
    let mut found = vec![Finding::note(
        "records",
        format!("`{}` finds {} on this page", params.data_selector, records.len()),
    )];
    let came = records.len() + usize::try_from(page.filtered).unwrap_or(usize::MAX);
    found.extend(size(params, asked, came, page.next.is_some()));
    let place = RecordsPlace::of(params.data_selector.trim_end_matches("[*]"));
    let advice = Advice::of(params, &page.headers, came, page.next.is_some());
    if let Some(body) = json(&page.body) {
        let mut looking = Looking::new(&advice, &params.data_selector, place.key());
        looking.look(&body);
        found.extend(lists(&looking, &params.data_selector, records.is_empty()));
        found.append(&mut looking.found);
    }
    found.extend(advice.of_headers(&page.headers));
    found.extend(rates(&page.headers));
    found.extend(order(records));
    found
}

/// What an answer is that has no records by its status, or by what the job file says of it.
fn no_page(page: &Page) -> Option<Finding> {
    let status = page.status;
    let what = match page.said {
        Said::Page | Said::Last => return None,
        Said::End => format!(
            "the answer ({status}) is the end of the pages, by `rest_api.responses` or as one behind them"
        ),
        Said::Ignored => format!("the answer ({status}) is left out, by `rest_api.responses`"),
        Said::ParentGone => {
            format!("the answer ({status}) says that the parent is gone, by `rest_api.responses`")
        }
        Said::Nothing => format!("the answer ({status}) says that nothing is behind the last page"),
    };
    Some(Finding::note("records", what))
}

/// A body as JSON, unless it is too large to be looked through.
pub(super) fn json(body: &str) -> Option<Value> {
    (body.len() <= MOST_BYTES).then(|| serde_json::from_str(body).ok()).flatten()
}

/// The lists of objects besides that of the records; the longest is what is meant where there are no records.
pub(super) fn lists(looking: &Looking<'_>, selector: &str, no_records: bool) -> Option<Finding> {
    let selected = selector.trim_end_matches("[*]");
    let others = || looking.lists.iter().filter(|(path, _)| path != selected);
    let texts: Vec<_> = others().map(|(path, length)| format!("`{path}[*]` ({length})")).collect();
    if texts.is_empty() {
        return None;
    }
    let finding = Finding {
        suspicious: no_records,
        ..Finding::note("lists", format!("other lists of objects: {}", texts.join(", ")))
    };
    let longest = others().max_by_key(|(_, length)| *length);
    Some(match longest.filter(|_| no_records) {
        Some((path, _)) => finding.suggest(format!("data_selector = \"{path}[*]\"")),
        None => finding,
    })
}

/// How many records were asked for, and how many came.
fn size(params: &RestApiParams, asked: &Url, came: usize, has_next: bool) -> Option<Finding> {
    let wanted = asked.query_pairs().find_map(|(name, value)| {
        let is_size = SIZES.iter().any(|known| name.eq_ignore_ascii_case(known));
        Some((name.into_owned(), value.parse::<usize>().ok()?)).filter(|_| is_size)
    });
    let (name, wanted) = wanted?;
    let text = format!("asked for {wanted} (`{name}`), got {came}");
    let is_own = params.paginator.query_params().contains(&("size_param", name.as_str()));
    Some(match came.cmp(&wanted) {
        std::cmp::Ordering::Less if has_next && fills_a_page(came as u64) => {
            let finding = Finding::suspicious(
                "size",
                format!("{text}, and there is more: that may be the most that the API gives"),
            );
            // Where it stands among `params`, it is the author's to change.
            if is_own { finding.suggest(format!("size = {came}")) } else { finding }
        }
        std::cmp::Ordering::Less if has_next => Finding::note(
            "size",
            format!("{text}, and there is more: records may be left out after the API has paged"),
        ),
        std::cmp::Ordering::Greater => Finding::suspicious(
            "size",
            format!("{text}: the API does not know the parameter, or counts something else"),
        ),
        _ => Finding::note("size", text),
    })
}

/// What headers say of rates.
fn rates(headers: &HeaderMap) -> Option<Finding> {
    let rates: BTreeMap<_, _> = headers
        .iter()
        .filter(|(name, _)| says_of_rates(name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()))
        .collect();
    let rates: Vec<_> = rates.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    (!rates.is_empty()).then(|| Finding::note("rates", rates.join(", ")))
}

pub(super) fn says_of_rates(header: &str) -> bool {
    header.contains("ratelimit")
        || header.contains("rate-limit")
        || header == "retry-after"
        || header.contains("call-limit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::rest_api::{Response, RestApiSource};

    fn examined(
        lines: &str,
        query: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Vec<Finding> {
        let text = format!("base_url = \"https://api.example/x\"\n{lines}");
        let params: RestApiParams = toml::from_str(&text).unwrap();
        let source = RestApiSource::new(params.clone(), "".into(), Vec::new()).unwrap();
        let mut response = Response { status: 200, body: body.into(), ..Response::default() };
        response.headers = HeaderMap::new();
        for (name, value) in headers {
            response.headers.append(*name, value.parse().unwrap());
        }
        let page = source.read(&source.first(), response.clone()).unwrap();
        let records = source.reader.selector.select(&page.body).unwrap();
        let records: Vec<String> = records.into_iter().map(String::from).collect();
        let asked = Url::parse(&format!("https://api.example/x?{query}")).unwrap();
        examine(&params, &asked, &page, &records)
    }

    fn says(found: &[Finding], topic: &str, part: &str) -> bool {
        found.iter().any(|finding| finding.topic == topic && finding.text.contains(part))
    }

    #[test]
    fn what_leads_to_further_pages_and_is_not_used_is_told_with_the_line_to_write() {
        for (body, says, line) in [
            (
                r#"{"items":[{"id":1}],"next":"https://api.example/x?page=2"}"#,
                "address of the next page",
                "next_url_path = \"$.next\"",
            ),
            (
                r#"{"items":[{"id":1}],"meta":{"next_cursor":"abc"}}"#,
                "likely to be a cursor",
                "cursor_path = \"$.meta.next_cursor\"",
            ),
            (
                r#"{"items":[{"id":1}],"has_more":true}"#,
                "says that there is more",
                "has_more_path = \"$.has_more\"",
            ),
            (
                r#"{"items":[{"id":1}],"total-count":70}"#,
                "likely to be the total",
                "total_path = \"$['total-count']\"",
            ),
        ] {
            let found = examined("data_selector = \"$.items[*]\"", "", &[], body);
            let finding = found.iter().find(|finding| finding.text.contains(says)).expect(body);
            assert!(finding.suspicious, "{finding:?}");
            assert!(finding.suggestion.as_ref().unwrap().contains(line), "{finding:?}");
        }
        // Each shape of which a run makes a note.
        for (selector, body, line) in [
            (
                "$.data[*]",
                r#"{"data":[{}],"result_info":{"page":1,"total_pages":9}}"#,
                "total_pages = \"$.result_info.total_pages\"",
            ),
            (
                "$.hits[*]",
                r#"{"hits":[{}],"estimatedTotalHits":9}"#,
                "total_path = \"$.estimatedTotalHits\"",
            ),
            ("$.a[*]", r#"{"a":[{}],"end_of_stream":false}"#, "end_path = \"$.end_of_stream\""),
            ("$.users[*]", r#"{"users":[{}],"total_users":9}"#, "total_path = \"$.total_users\""),
            ("$.a[*]", r#"{"a":[{}],"isLastPage":false}"#, "end_path = \"$.isLastPage\""),
            ("$.a[*]", r#"{"a":[{}],"has_next":true}"#, "has_more_path = \"$.has_next\""),
            ("$.a[*]", r#"{"a":[{}],"nextPageStart":25}"#, "cursor_path = \"$.nextPageStart\""),
        ] {
            let found = examined(&format!("data_selector = \"{selector}\""), "", &[], body);
            let said = |finding: &Finding| {
                finding.suspicious
                    && finding.suggestion.as_deref().is_some_and(|s| s.contains(line))
            };
            assert!(found.iter().any(said), "{body}: {found:?}");
        }
        for header in ["total-count", "x-total", "x-wp-total", "x-total-count"] {
            let found = examined("data_selector = \"$\"", "", &[(header, "9")], "[{}]");
            let line = format!("total_path = {{ header = \"{header}\" }}");
            assert!(
                found.iter().any(|f| f.suggestion.as_deref().is_some_and(|s| s.contains(&line))),
                "{found:?}"
            );
        }
        let link = [("link", "<https://api.example/x?page=2>; rel=\"next\"")];
        let found = examined("", "", &link, "[]");
        assert!(found.iter().any(|finding| finding.suggestion.as_deref()
            == Some("paginator = { type = \"link_header\" }")));
    }

    #[test]
    fn no_line_is_suggested_that_is_there_already_or_would_be_wrong() {
        const NUMBERS: &str = "data_selector = \"$.a[*]\"\npaginator = { type = \"page_number\", size_param = \"limit\", size = 100";
        let numbers = |keys: &str| format!("{NUMBERS}{keys} }}");
        let total = [("x-total", "70")];
        for (lines, headers, body) in [
            // A total that is named already, and one that counts what came.
            (
                numbers(", total_path = \"$.total\""),
                &[][..],
                r#"{"a":[{"id":1}],"total":70,"count":70}"#,
            ),
            (
                numbers(", total_path = { header = \"x-total\" }"),
                &total[..],
                r#"{"a":[{"id":1}],"total":70}"#,
            ),
            (numbers(""), &[][..], r#"{"a":[{"id":1}],"count":1}"#),
            ("data_selector = \"$.a[*]\"".to_owned(), &[][..], r#"{"a":[{"id":1}],"total":1}"#),
            // One record of a hundred says nothing of the most that the API gives.
            (numbers(""), &[][..], r#"{"a":[{"id":1}]}"#),
            // What stands in a record.
            (
                "data_selector = \"$.a\"".to_owned(),
                &[][..],
                r#"{"a":{"next":"/x","total":9,"has_more":true}}"#,
            ),
        ] {
            let found = examined(&lines, "limit=100", headers, body);
            assert!(found.iter().all(|finding| finding.suggestion.is_none()), "{lines}: {found:?}");
        }
    }

    #[test]
    fn a_cursor_that_may_be_none_is_told() {
        let lines = "data_selector = \"$.a[*]\"\npaginator = { type = \"cursor\", cursor_path = \"$.next_cursor\", param = \"cursor\" }";
        for (value, line) in [("0", "end_values = [0]"), ("\"-1\"", "end_values = [\"-1\"]")] {
            let body = format!(r#"{{"a":[{{"id":1}}],"next_cursor":{value}}}"#);
            let found = examined(lines, "", &[], &body);
            let said = |finding: &Finding| finding.suggestion.as_deref() == Some(line);
            assert!(found.iter().any(said), "{found:?}");
        }
    }

    #[test]
    fn sizes_lists_rates_and_the_order_of_records_are_told() {
        let body = r#"{"data":[{"id":1,"updated_at":"2026-01-01T00:00:00.5+02:00"},
                       {"id":3,"updated_at":"2026-01-02T00:00:00Z"},{"id":2,"updated_at":"2026-01-03T00:00:00Z"}],
                       "included":[{"x":1}]}"#;
        let rates = [("x-ratelimit-remaining", "7")];
        let found = examined("data_selector = \"$.data[*]\"", "limit=100&a=1", &rates, body);
        assert!(says(&found, "size", "asked for 100 (`limit`), got 3"), "{found:?}");
        assert!(says(&found, "lists", "`$.included[*]` (1)"), "{found:?}");
        assert!(says(&found, "rates", "x-ratelimit-remaining: 7"), "{found:?}");
        assert!(
            says(
                &found,
                "order",
                "`$.updated_at`: ascending (1 digits of a second, with its offset)"
            ),
            "{found:?}"
        );
        assert!(says(&found, "order", "`$.id`: in no order"), "{found:?}");
    }
}
