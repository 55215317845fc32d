//! Owns `rest_api.conditional`: asking for a page only if it has changed, and what an answer that it has not stands for.
//!
//! Must not know where pages are kept.

use std::time::{Duration, SystemTime};

use reqwest::header::{
    CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use serde_json::{Map, Value};

use super::http::response::Response;
use super::http::said::Said;
use crate::domain::known_page::{KnownPage, Validators};

/// The most bytes of headers that are kept with a page.
const MAX_KEPT: usize = 16 << 10;
/// Headers that are of a connection or of a moment, and say nothing of the page.
const PASSING: [&str; 16] = [
    "age",
    "alt-svc",
    "cache-control",
    "cf-ray",
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "expires",
    "keep-alive",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
];

/// Asks for a page only if it has changed since.
pub(super) fn ask(headers: &mut HeaderMap, known: &KnownPage) {
    let Validators { etag, last_modified, .. } = &known.validators;
    let validators = [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, last_modified)];
    for (name, value) in validators {
        let value = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// What tells later whether the page has changed; `None` where nothing does, or the answer is no good page. A time is
/// left out within whose second the page may have changed once more.
pub(super) fn validators(response: &Response) -> Option<Validators> {
    let text = |name| {
        let text = response.headers.get(name)?.to_str().ok()?.trim().to_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let is_page = response.status == 200 && response.said == Said::Page;
    let last_modified = text(LAST_MODIFIED).filter(|at| is_over(at, text(DATE).as_deref()));
    let etag = text(ETAG);
    if !is_page || (etag.is_none() && last_modified.is_none()) {
        return None;
    }
    let headers = kept(&response.headers)?;
    Some(Validators { etag, last_modified, headers, credentials: None })
}

/// Whether the second of a time was over when the answer was made, by the server's clock: what changed later within it
/// would have the same time (RFC 9110, 8.8.2.2).
fn is_over(last_modified: &str, answered: Option<&str>) -> bool {
    let time = |text: &str| httpdate::parse_http_date(text).ok();
    let answered = answered.map_or_else(|| Some(SystemTime::now()), time);
    let (Some(last_modified), Some(answered)) = (time(last_modified), answered) else {
        return false;
    };
    answered.duration_since(last_modified).is_ok_and(|since| since >= Duration::from_secs(1))
}

/// The headers that stay with a page; `None` when they are too many to be kept: the next page may be in any.
fn kept(headers: &HeaderMap) -> Option<Value> {
    let mut kept = Map::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let (name, Ok(value)) = (name.as_str(), value.to_str()) else { continue };
        if PASSING.contains(&name) || name.contains("ratelimit") || name.contains("rate-limit") {
            continue;
        }
        bytes += name.len() + value.len();
        if let Value::Array(values) = kept.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
            values.push(value.into());
        }
    }
    (bytes <= MAX_KEPT).then_some(Value::Object(kept))
}

/// The page that an answer stands for that says that it has not changed: its body, and the headers that stood beside
/// it, but for those that the answer renews.
pub(super) fn unchanged(answer: Response, known: &KnownPage, body: String) -> Response {
    let mut headers = answer.headers.clone();
    for (name, values) in known.validators.headers.as_object().into_iter().flatten() {
        let Ok(name) = name.parse::<HeaderName>() else { continue };
        if answer.headers.contains_key(&name) {
            continue;
        }
        for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(&name, value);
            }
        }
    }
    // The body is kept as UTF-8, whatever it came in.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    let Response { from, rate, .. } = answer;
    Response { from, status: 200, headers, body: body.into_bytes(), rate, ..Response::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash::ContentHash;

    fn response(headers: &[(&str, &str)]) -> Response {
        let mut response = Response { status: 200, ..Response::default() };
        for (name, value) in headers {
            response.headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        response
    }

    #[test]
    fn a_page_that_has_not_changed_is_the_one_that_was_kept_with_its_links() {
        let first = response(&[
            ("etag", "W/\"7\""),
            ("link", "<https://a/2>; rel=\"next\""),
            ("link", "<https://a/9>; rel=\"last\""),
            ("x-total", "12"),
            ("set-cookie", "s=1"),
            ("x-ratelimit-remaining", "9"),
        ]);
        let validators = validators(&first).unwrap();
        assert_eq!(validators.etag.as_deref(), Some("W/\"7\""));
        let known = KnownPage { validators, page: ContentHash::of(b"").into() };
        let mut asked = HeaderMap::new();
        ask(&mut asked, &known);
        assert_eq!(asked[IF_NONE_MATCH], "W/\"7\"");
        assert!(!asked.contains_key(IF_MODIFIED_SINCE));

        let mut answer = response(&[("x-total", "13"), ("etag", "W/\"7\"")]);
        answer.status = 304;
        let page = unchanged(answer, &known, "[1]".to_owned());
        assert_eq!((page.status, page.body.as_slice()), (200, &b"[1]"[..]));
        assert_eq!(page.headers.get_all("link").iter().count(), 2);
        assert_eq!(page.headers["x-total"], "13");
        assert!(!page.headers.contains_key("set-cookie"));
        assert!(!page.headers.contains_key("x-ratelimit-remaining"));
    }

    #[test]
    fn what_has_no_validator_or_is_no_page_is_not_asked_for_conditionally() {
        assert_eq!(validators(&response(&[("x-total", "1")])), None);
        assert_eq!(validators(&response(&[("etag", " ")])), None);
        let mut ended = response(&[("last-modified", "Sun, 09 Sep 2001 01:46:40 GMT")]);
        assert!(validators(&ended).is_some());
        for (date, is_kept) in [
            ("Sun, 09 Sep 2001 01:46:39 GMT", false),
            ("Sun, 09 Sep 2001 01:46:40 GMT", false),
            ("Sun, 09 Sep 2001 01:46:41 GMT", true),
            ("yesterday", false),
        ] {
            let mut dated = ended.clone();
            dated.headers.insert("date", date.parse().unwrap());
            assert_eq!(validators(&dated).is_some(), is_kept, "{date}");
            dated.headers.insert("etag", "\"1\"".parse().unwrap());
            let kept = validators(&dated).unwrap();
            assert_eq!((kept.etag.is_some(), kept.last_modified.is_some()), (true, is_kept));
        }
        ended.said = Said::Nothing;
        assert_eq!(validators(&ended), None);
        let many = "x".repeat(MAX_KEPT);
        assert_eq!(validators(&response(&[("etag", "\"1\""), ("x-long", &many)])), None);
    }
}
