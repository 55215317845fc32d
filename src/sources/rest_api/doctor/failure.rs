//! Owns what there is to say of a page that failed: what was asked for, what came, and what to do about it.

use reqwest::header::{CONTENT_TYPE, HeaderMap};

use super::next_page::{Advice, Looking};
use super::page::{json, lists, says_of_rates};
use super::ways::Ways;
use crate::domain::text;
use crate::sources::rest_api::around::RecordsPlace;
use crate::sources::rest_api::body::Body;
use crate::sources::rest_api::http::response::Response;
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{Finding, SourceError, SourceErrorKind};

/// Headers of an answer that may say why a request failed.
const OF_NOTE: &[&str] = &[
    "content-type",
    "content-encoding",
    "allow",
    "location",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];
/// The most that is shown of a body.
const MOST_SHOWN: usize = 600;

/// What was asked for. Nothing secret of it is shown.
pub(in crate::sources::rest_api) fn of_request(request: &RequestParts) -> Finding {
    let headers = request.headers.iter().map(|(name, value)| match value.is_sensitive() {
        true => format!("{name}: ***"),
        false => format!("{name}: {}", value.to_str().unwrap_or("?")),
    });
    let headers: Vec<_> = headers.collect();
    let mut said = format!("{} {}", request.method, request.url);
    let secret: Vec<_> = request.secret_query().map(|name| format!("`{name}`")).collect();
    if !secret.is_empty() {
        said.push_str(&format!(", with {} in the query besides", secret.join(" and ")));
    }
    if !headers.is_empty() {
        said.push_str(&format!("; {}", headers.join(", ")));
    }
    if request.body != Body::None {
        let body = String::from_utf8_lossy(&request.body.to_bytes()).into_owned();
        said.push_str(&format!("; body: {}", shown(&body)));
    }
    Finding::note("request", said)
}

/// What came, and what to do about it.
pub(in crate::sources::rest_api) fn of_answer(
    params: &RestApiParams,
    answer: &Response,
    error: &SourceError,
) -> Vec<Finding> {
    let body = String::from_utf8_lossy(&answer.body);
    let headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| is_of_note(name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
        .collect();
    let mut said = answer.status.to_string();
    if !headers.is_empty() {
        said.push_str(&format!("; {}", headers.join(", ")));
    }
    let mut found = vec![Finding::note("answer", said)];
    found.push(match body.trim() {
        "" => Finding::note("body", "none"),
        body => Finding::note("body", shown(body)),
    });
    if let Some(what) = to_do(params, answer, &body, error) {
        found.push(Finding::suspicious("what to do", what));
    }
    if error.kind == SourceErrorKind::InvalidResponse
        && let Some(body) = json(&body)
    {
        let place = RecordsPlace::of(params.data_selector.trim_end_matches("[*]"));
        let advice = Advice::of(params, &HeaderMap::new(), 0, true, Ways::default());
        let mut looking = Looking::new(&advice, &params.data_selector, place.key());
        looking.look(&body);
        found.extend(lists(&looking, &params.data_selector, true));
    }
    found
}

/// What to do, beside what the error advises.
fn to_do(
    params: &RestApiParams,
    answer: &Response,
    body: &str,
    error: &SourceError,
) -> Option<String> {
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_html = content_type.is_some_and(|kind| kind.contains("html"))
        || body.trim_start().starts_with("<!DOCTYPE html")
        || body.trim_start().starts_with("<html");
    let what = match answer.status {
        401 | 403 if params.auth.is_none() && params.headers.is_empty() => {
            "the API wants to know who asks: see `auth` under [rest_api]"
        }
        401 => {
            "the key is not known there: see whether it is sent where the API looks for it, in a header, the query or a \
                cookie, and with its prefix (`auth` of [rest_api])"
        }
        403 => {
            "the key is known and may not do this, or the API refuses who asks: see its scopes, and whether the API \
                wants a `user-agent` in `headers`"
        }
        404 | 410 => {
            "nothing is at this address: see `base_url` and `path` of [rest_api], which stand one behind the other"
        }
        405 => "the API takes another method there: see `method` of [rest_api]",
        406 | 415 => {
            "the API takes or gives another format: see `accept` and `content-type` in `headers`"
        }
        400 | 422 => {
            "the API does not take a parameter: see `params`, the body, and what the paginator adds"
        }
        429 => "the API counts requests: see `rate_limit` of [rest_api]",
        500.. => {
            "the API itself failed; if it does so again, ask for less: a smaller page, fewer `params`"
        }
        _ if is_html => {
            "that is a page for people: `base_url` may be that of the website and not of the API, or it is a \
                         login page and no key was accepted"
        }
        _ if error.kind == SourceErrorKind::InvalidResponse => {
            "see `data_selector` of [rest_api] and what it should find in the body above"
        }
        _ => return None,
    };
    Some(what.to_owned())
}

fn is_of_note(header: &str) -> bool {
    OF_NOTE.contains(&header) || says_of_rates(header) || header.contains("error")
}

fn shown(body: &str) -> String {
    text::visible(&text::cut(body, MOST_SHOWN)).into_owned()
}
