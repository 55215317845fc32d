//! Owns what there is to say of a page that was read.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::next_page::{Advice, Looking};
use super::order::order;
use super::ways::Ways;

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
    if let Some(what) = repeated(params, page).or_else(|| no_page(page)) {
        return vec![what];
    }
    let mut found = vec![Finding::note(
        "records",
        format!("`{}` finds {} on this page", params.data_selector, records.len()),
    )];
    let came = records.len() + usize::try_from(page.filtered).unwrap_or(usize::MAX);
    found.extend(size(params, asked, came, page.next.is_some()));
    let place = RecordsPlace::of(params.data_selector.trim_end_matches("[*]"));
    let body = json(&page.body);
    let ways = Ways::of(asked, body.as_ref(), &params.data_selector, records);
    let advice = Advice::of(params, &page.headers, came, page.next.is_some(), ways);
    if let Some(body) = body {
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

/// What a page says that has the records of the one before it: only the second is looked at, and so that is the first.
fn repeated(params: &RestApiParams, page: &Page) -> Option<Finding> {
    let number = params.paginator.number_at().filter(|_| page.repeats)?;
    Some(Finding::suspicious(
        "next page",
        format!(
            "the page has the records of the one before it: the API seems not to know {number}; if there is one page \
             only, write `single_page`"
        ),
    ))
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
        Some((path, _)) => finding.suggest(format!("data_selector = {:?}", format!("{path}[*]"))),
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

    fn source(lines: &str) -> RestApiSource {
        let text = format!("base_url = \"https://api.example/x\"\n{lines}");
        let params: RestApiParams = toml::from_str(&text).unwrap();
        RestApiSource::new(params, "".into(), Vec::new()).unwrap()
    }

    fn examined(
        lines: &str,
        query: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Vec<Finding> {
        try_examined(lines, query, headers, body).unwrap()
    }

    /// The same; `None` for a page that fails.
    fn try_examined(
        lines: &str,
        query: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Option<Vec<Finding>> {
        let source = source(lines);
        let mut response = Response { status: 200, body: body.into(), ..Response::default() };
        response.headers = HeaderMap::new();
        for (name, value) in headers {
            response.headers.append(*name, value.parse().unwrap());
        }
        let page = source.read(&source.first(), response.clone()).ok()?;
        let records = source.reader.selector.select(&page.body).unwrap();
        let records: Vec<String> = records.into_iter().map(String::from).collect();
        let asked = Url::parse(&format!("https://api.example/x?{query}")).unwrap();
        Some(examine(&source.params, &asked, &page, &records))
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
            (
                "$.a[*]",
                r#"{"a":[{"id":1}],"end_of_stream":false}"#,
                "end_path = \"$.end_of_stream\"",
            ),
            ("$.users[*]", r#"{"users":[{}],"total_users":9}"#, "total_path = \"$.total_users\""),
            (
                "$.a[*]",
                r#"{"a":[{}],"isLastPage":false,"page":1}"#,
                "page_number\", end_path = \"$.isLastPage\"",
            ),
            (
                "$.a[*]",
                r#"{"a":[{}],"has_next":true,"offset":0}"#,
                "offset\", has_more_path = \"$.has_next\"",
            ),
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

    /// Stripe's answers, and others that say no more than that there is more.
    #[test]
    fn only_a_paginator_is_suggested_that_the_answer_has_evidence_of() {
        let suggested = |query: &str, body: &str| -> Vec<String> {
            let found = examined("data_selector = \"$.data[*]\"", query, &[], body);
            found.into_iter().filter_map(|finding| finding.suggestion).collect()
        };
        let stripe = r#"{"object":"list","url":"/v1/charges","has_more":true,"data":[{"id":"ch_2"},{"id":"ch_1"}]}"#;
        assert_eq!(
            suggested("limit=2", stripe),
            [
                r#"paginator = { type = "cursor", cursor_path = "$.data[-1].id", param = "starting_after", has_more_path = "$.has_more" }"#
            ]
        );
        let numbered = r#"paginator = { type = "page_number", has_more_path = "$.has_more" }"#;
        assert_eq!(suggested("page=1", stripe), [numbered]);
        assert_eq!(suggested("", &stripe.replace("\"object\":\"list\"", "\"page\":1")), [numbered]);
        let offset = r#"paginator = { type = "offset", has_more_path = "$.has_more" }"#;
        assert_eq!(suggested("skip=0", stripe), [offset]);
        assert_eq!(suggested("", &stripe.replace("\"object\":\"list\"", "\"offset\":0")), [offset]);
        // Notion: the cursor is the way, and its line is the only one.
        let notion =
            r#"{"object":"list","data":[{"id":"a"}],"next_cursor":"33e1","has_more":true}"#;
        assert_eq!(
            suggested("", notion),
            [r#"paginator = { type = "cursor", cursor_path = "$.next_cursor", param = "cursor" }"#]
        );
        let tokens = r#"{"data":[{"id":"a"}],"nextPageToken":"33e1","total":90}"#;
        assert_eq!(
            suggested("", tokens),
            [
                r#"paginator = { type = "cursor", cursor_path = "$.nextPageToken", param = "pageToken" }"#
            ]
        );
        let next = r#"{"data":[{"id":"a"}],"links":{"next":"/x?page=2"},"has_more":true}"#;
        assert_eq!(
            suggested("", next),
            [r#"paginator = { type = "next_url", next_url_path = "$.links.next" }"#]
        );
        // Neither has an id, nor anything else.
        assert_eq!(suggested("", r#"{"data":[{"key":1}],"has_more":true}"#), [""; 0]);
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

    /// The job file with a line of advice in it: in place of what it has of the same name, or within the paginator.
    fn pasted(lines: &str, advice: &str) -> String {
        let key = advice.split_once(" = ").expect("a key").0;
        if key != "paginator" && key != "data_selector" {
            assert!(lines.contains("paginator = {"), "{advice} of {lines}");
            if let Some(at) = lines.find(&format!(" {key} = ")) {
                let end = at + lines[at..].find([',', '}']).expect("an end");
                return format!("{} {advice} {}", &lines[..at], &lines[end..]);
            }
            return lines.replacen("paginator = {", &format!("paginator = {{ {advice},"), 1);
        }
        let others = lines.lines().filter(|line| !line.starts_with(key));
        others.chain([advice]).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_line_of_advice_is_accepted_by_a_check_where_it_is_pasted() {
        let jobs = [
            "",
            "paginator = { type = \"page_number\", size_param = \"limit\", size = 100 }",
            "paginator = { type = \"page_number\", param = \"_page\", size_param = \"_limit\", size = 100 }",
            "paginator = { type = \"offset\" }",
            "paginator = { type = \"cursor\", cursor_path = \"$.next_cursor\", param = \"cursor\" }",
            "paginator = { type = \"cursor\", cursor_path = \"$.data[-1].id\", param = \"starting_after\" }",
            "paginator = { type = \"next_url\", next_url_path = \"$.links.next\" }",
            "paginator = { type = \"link_header\" }",
            "json = { q = 1 }",
            "graphql = { query = \"{ items { id } }\" }",
            "graphql = { query = \"query ($after: ID) { items(after: $after) { id } }\" }",
            "graphql = { query = \"query ($page: Int) { items(page: $page) { id } }\" }",
            "graphql = { query = \"query ($page: Int!) { items(page: $page) { id } }\", variables = { page = 1 } }",
            "incremental = { cursor_path = \"$.at\", start_param = \"cursor\" }",
            "incremental = { cursor_path = \"$.at\", start_param = \"page\" }",
        ];
        let surroundings = [
            r#""next":"https://api.example/x?_page=2&_limit=10""#,
            r#""next":"/x?page=2""#,
            r#""next_cursor":"abc""#,
            r#""next_cursor":"0""#,
            r#""next-cursor":-1"#,
            r#""has_more":true,"object":"list","url":"/v1/x""#,
            r#""meta":{"total":700,"pages":7,"current page":1}"#,
            r#""_page":{"total_pages":7,"_next":"abc"}"#,
            r#""pageInfo":{"hasNextPage":true,"endCursor":"abc"}"#,
            r#""isLastPage":false,"nextPageStart":25"#,
            r#""o'clock":{"total":900},"it'ems":[{"a":1}]"#,
            r#""total":{"value":900}"#,
        ];
        let headers: [&[(&'static str, &str)]; 4] = [
            &[],
            &[("link", "<https://api.example/x?_page=2>; rel=\"next\""), ("x-total-count", "70")],
            &[("x-next-cursor", "abc"), ("x-total-pages", "9")],
            &[("x-next-page", "https://api.example/x?page=2")],
        ];
        let ids: Vec<_> = (0..20).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for job in jobs {
            for around in surroundings {
                for headers in headers {
                    for selector in ["$.data[*]", "$.none[*]"] {
                        let lines =
                            format!("{job}\ndata_selector = \"{selector}\"\nempty = \"ok\"");
                        let body = format!(r#"{{"data":[{}],{around}}}"#, ids.join(","));
                        let Some(found) = try_examined(&lines, "limit=100", headers, &body) else {
                            continue;
                        };
                        for line in found.into_iter().filter_map(|finding| finding.suggestion) {
                            let text = format!(
                                "base_url = \"https://api.example/x\"\n{}",
                                pasted(&lines, &line)
                            );
                            let params = toml::from_str::<RestApiParams>(&text);
                            let params = params.unwrap_or_else(|error| panic!("{text}: {error}"));
                            assert_eq!(params.problems(), [], "{text}");
                            seen.insert(line);
                        }
                    }
                }
            }
        }
        // Each kind of them was seen.
        for part in [
            "link_header",
            "next_url_path",
            "cursor_path",
            "total_path = {",
            "total_pages",
            "has_more_path",
            "end_path",
            "end_values",
            "size = 20",
            "data_selector",
            "variable = \"after\"",
            "variable = \"page\"",
        ] {
            assert!(seen.iter().any(|line| line.contains(part)), "{part}: {seen:#?}");
        }
    }

    #[test]
    fn a_second_page_that_is_the_first_again_is_told_with_what_the_api_may_not_know() {
        let body = |time: u32| format!(r#"{{"a":[{{"id":1}},{{"id":2}}],"at":{time}}}"#);
        for (keys, says) in
            [("", "not to know `page`"), (", param = \"_page\"", "not to know `_page`")]
        {
            let lines = format!(
                "data_selector = \"$.a[*]\"\npaginator = {{ type = \"page_number\"{keys} }}"
            );
            let source = source(&lines);
            let respond =
                |time| Response { status: 200, body: body(time).into(), ..Response::default() };
            let first = source.read(&source.first(), respond(1)).unwrap();
            let second = source.read(&first.next.unwrap(), respond(2)).unwrap();
            let asked = Url::parse("https://api.example/x").unwrap();
            let found = examine(&source.params, &asked, &second, &[]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].suspicious && says_in(&found, says), "{found:?}");
        }
    }

    fn says_in(found: &[Finding], part: &str) -> bool {
        found.iter().any(|finding| finding.text.contains(part))
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
