//! Owns what there is to say of a page to whoever writes a job file: where lists are, what leads to further pages
//! and is not used, what the API says of its rates, and in what order the records come. Pure.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::page::Page;
use super::params::RestApiParams;
use crate::domain::text;
use crate::sources::Finding;
use crate::values::timestamp::TimeFormat;

/// The largest body that is looked through.
const MOST_BYTES: usize = 8 << 20;
/// How deep lists and signs of further pages are looked for.
const DEPTH: usize = 4;
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
/// Keys of a cursor.
const CURSORS: &[&str] = &[
    "nextcursor",
    "nextpagetoken",
    "cursor",
    "after",
    "aftercursor",
    "endcursor",
    "continuation",
    "continuationtoken",
    "nexttoken",
    "scrollid",
    "startingafter",
    "next",
];
const HAS_MORE: &[&str] = &["hasmore", "hasnext", "hasnextpage", "more", "moreresults"];
const TOTALS: &[&str] =
    &["total", "totalcount", "totalresults", "totalrecords", "totalitems", "totalhits"];
const PAGES: &[&str] = &["totalpages", "pages", "pagecount", "lastpage", "numpages"];

/// What there is to say of a page: `records` are its records as they came.
pub(super) fn examine(
    params: &RestApiParams,
    asked: &Url,
    page: &Page,
    records: &[String],
) -> Vec<Finding> {
    let mut found = vec![Finding::note(
        "records",
        format!("`{}` finds {} on this page", params.data_selector, records.len()),
    )];
    let body: Option<Value> =
        (page.body.len() <= MOST_BYTES).then(|| serde_json::from_str(&page.body).ok()).flatten();
    // What the job file says of further pages, to see what it uses.
    let paginator = format!("{:?}", params.paginator);
    found.extend(size(asked, records.len(), page.next.is_some()));
    if let Some(body) = &body {
        let mut looking = Looking {
            paginator: &paginator,
            next: page.next.is_some(),
            found: Vec::new(),
            lists: Vec::new(),
        };
        looking.look("$", body, DEPTH);
        let selected = params.data_selector.trim_end_matches("[*]").to_owned();
        let others: Vec<_> = looking
            .lists
            .iter()
            .filter(|(path, _)| *path != selected)
            .map(|(path, length)| format!("`{path}[*]` ({length})"))
            .collect();
        if !others.is_empty() {
            let finding = Finding {
                suspicious: records.is_empty(),
                ..Finding::note("lists", format!("other lists of objects: {}", others.join(", ")))
            };
            let longest = looking.lists.iter().max_by_key(|(_, length)| *length);
            found.push(match longest.filter(|_| records.is_empty()) {
                Some((path, _)) => finding.suggest(format!("data_selector = \"{path}[*]\"")),
                None => finding,
            });
        }
        found.append(&mut looking.found);
    }
    found.extend(of_headers(&page.headers, &paginator));
    found.extend(order(records));
    found
}

/// How many records were asked for, and how many came.
fn size(asked: &Url, came: usize, has_next: bool) -> Option<Finding> {
    let wanted = asked.query_pairs().find_map(|(name, value)| {
        let is_size = SIZES.iter().any(|known| name.eq_ignore_ascii_case(known));
        Some((name.into_owned(), value.parse::<usize>().ok()?)).filter(|_| is_size)
    });
    let (name, wanted) = wanted?;
    let text = format!("asked for {wanted} (`{name}`), got {came}");
    Some(match came.cmp(&wanted) {
        std::cmp::Ordering::Less if has_next => Finding::suspicious(
            "size",
            format!("{text}, and there is more: the API gives fewer than is asked for"),
        )
        .suggest(format!("size = {came}")),
        std::cmp::Ordering::Greater => Finding::suspicious(
            "size",
            format!("{text}: the API does not know the parameter, or counts something else"),
        ),
        _ => Finding::note("size", text),
    })
}

/// Looks through a body for lists, and for signs of further pages.
struct Looking<'a> {
    paginator: &'a str,
    next: bool,
    found: Vec<Finding>,
    lists: Vec<(String, usize)>,
}

impl Looking<'_> {
    fn look(&mut self, path: &str, value: &Value, depth: usize) {
        match value {
            Value::Array(elements) if elements.first().is_some_and(Value::is_object) => {
                self.lists.push((path.to_owned(), elements.len()));
            }
            Value::Object(fields) if depth > 0 => {
                for (key, value) in fields {
                    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                        && !key.starts_with(|c: char| c.is_ascii_digit());
                    let below = match plain {
                        true => format!("{path}.{key}"),
                        false => format!("{path}['{}']", key.replace('\'', "\\'")),
                    };
                    self.sign(&below, key, value);
                    self.look(&below, value, depth - 1);
                }
            }
            _ => {}
        }
    }

    /// What a value beside the records says of further pages.
    fn sign(&mut self, path: &str, key: &str, value: &Value) {
        let letters: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
        let letters = letters.to_ascii_lowercase();
        let is = |known: &[&str]| known.contains(&letters.as_str());
        let is_used = self.paginator.contains(&format!("{path:?}"))
            || self.paginator.contains(&format!("\"{path}\""));
        let shown = text::beginning(&value.to_string());
        let finding = match value {
            Value::String(link) if link.starts_with("http") && letters.starts_with("next") => {
                let line =
                    format!("paginator = {{ type = \"next_url\", next_url_path = \"{path}\" }}");
                (format!("`{path}` is the address of the next page"), line)
            }
            Value::String(text) if !text.is_empty() && is(CURSORS) => {
                let line = format!(
                    "paginator = {{ type = \"cursor\", cursor_path = \"{path}\", param = \"cursor\" }}"
                );
                (format!("`{path}` is likely to be a cursor: {shown}"), line)
            }
            Value::Bool(true) if is(HAS_MORE) => {
                (format!("`{path}` says that there is more"), format!("has_more_path = \"{path}\""))
            }
            Value::Number(_) if is(TOTALS) => (
                format!("`{path}` is likely to be the total: {shown}"),
                format!("total_path = \"{path}\""),
            ),
            Value::Number(_) if is(PAGES) => (
                format!("`{path}` is likely to be the number of pages: {shown}"),
                format!("total_pages = \"{path}\""),
            ),
            _ => return,
        };
        let (said, line) = finding;
        self.found.push(match is_used {
            true => Finding::note("next page", format!("{said}; the paginator uses it")),
            // One that goes on all the same may end too early, or not know when.
            false if self.next => {
                Finding::note("next page", format!("{said}; the paginator does not use it"))
                    .suggest(line)
            }
            false => Finding::suspicious(
                "next page",
                format!("{said}; the paginator does not use it, and asks for no further page"),
            )
            .suggest(line),
        });
    }
}

/// What headers say of further pages, rates and versions.
fn of_headers(headers: &HeaderMap, paginator: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(link) = text("link").filter(|link| link.contains("next")) {
        let said = format!("the header `link` leads to the next page: {}", text::beginning(&link));
        let is_used = paginator.starts_with("LinkHeader");
        found.push(match is_used {
            true => Finding::note("next page", format!("{said}; the paginator uses it")),
            false => {
                Finding::suspicious("next page", format!("{said}; the paginator does not use it"))
                    .suggest("paginator = { type = \"link_header\" }")
            }
        });
    }
    for name in ["x-total-count", "x-total", "x-wp-total", "x-total-pages", "x-wp-totalpages"] {
        if let Some(total) = text(name) {
            let is_pages = name.contains("pages");
            let line = match is_pages {
                true => format!("total_pages = {{ header = \"{name}\" }}"),
                false => format!("total_path = {{ header = \"{name}\" }}"),
            };
            found.push(
                Finding::note("total", format!("the header `{name}` says {total}")).suggest(line),
            );
        }
    }
    let rates: BTreeMap<_, _> = headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            name.contains("ratelimit")
                || name.contains("rate-limit")
                || name == "retry-after"
                || name.contains("call-limit")
        })
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()))
        .collect();
    let rates: Vec<_> = rates.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if !rates.is_empty() {
        found.push(Finding::note("rates", rates.join(", ")));
    }
    found
}

/// In what order the times and numbers of the records come that look like a cursor, how precise they are and
/// in which zone.
fn order(records: &[String]) -> Vec<Finding> {
    const NAMES: &[&str] = &["updat", "modif", "creat", "chang", "date", "time", "_at", "last"];
    let parsed: Vec<Value> =
        records.iter().take(1000).filter_map(|record| serde_json::from_str(record).ok()).collect();
    let Some(Value::Object(first)) = parsed.first() else { return Vec::new() };
    let names = first.keys().filter(|name| {
        let lower = name.to_ascii_lowercase();
        NAMES.iter().any(|part| lower.contains(part)) || lower == "id"
    });
    names.filter_map(|name| of_field(name, &parsed)).collect()
}

fn of_field(name: &str, records: &[Value]) -> Option<Finding> {
    let texts: Vec<String> = records
        .iter()
        .filter_map(|record| match record.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    if texts.len() < 2 {
        return None;
    }
    let format = TimeFormat::default();
    let (kind, values): (String, Vec<i64>) =
        match texts.iter().map(|text| format.instant(text)).collect() {
            Ok(instants) => (precision(&texts), instants),
            Err(error) => {
                let numbers: Option<Vec<i64>> =
                    texts.iter().map(|text| text.parse().ok()).collect();
                let said = error.to_string();
                let kind = match said.starts_with("looks like") {
                    true => format!("a number that {said}"),
                    false => "whole numbers".to_owned(),
                };
                (kind, numbers?)
            }
        };
    let order = if values.windows(2).all(|pair| pair[0] < pair[1]) {
        "ascending"
    } else if values.windows(2).all(|pair| pair[0] > pair[1]) {
        "descending"
    } else if values.is_sorted() {
        "ascending, some are equal"
    } else if values.iter().rev().is_sorted() {
        "descending, some are equal"
    } else {
        "in no order"
    };
    Some(Finding::note("order", format!("`$.{name}`: {order} ({kind})")))
}

/// How precise times are, and in which zone.
fn precision(texts: &[String]) -> String {
    let digits = |text: &String| {
        let fraction = text.split_once(['.', ',']).map_or("", |(_, fraction)| fraction);
        fraction.bytes().take_while(u8::is_ascii_digit).count()
    };
    let precise = match texts.iter().map(digits).max() {
        Some(0) | None if texts.iter().all(|text| text.len() == 10) => "days".to_owned(),
        Some(0) | None if texts.iter().all(|text| text.matches(':').count() < 2) => {
            "minutes".to_owned()
        }
        Some(0) | None => "seconds".to_owned(),
        Some(digits) => format!("{digits} digits of a second"),
    };
    let zone = match texts.iter().find_map(|text| text.get(19..)) {
        Some(rest) if rest.contains(['Z', 'z']) => "UTC",
        Some(rest) if rest.contains(['+', '-']) => "with its offset",
        _ => "without a zone: taken for UTC unless `time_zone` is set",
    };
    format!("{precise}, {zone}")
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
        let link = [("link", "<https://api.example/x?page=2>; rel=\"next\"")];
        let found = examined("", "", &link, "[]");
        assert!(found.iter().any(|finding| finding.suggestion.as_deref()
            == Some("paginator = { type = \"link_header\" }")));
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
