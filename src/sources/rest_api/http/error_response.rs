//! Owns what an error response means for the task: its status, `Retry-After`, and its own words.
//!
//! Must not know how requests are made.

use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_duration;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::domain::text;
use crate::sources::rest_api::error_words::error_in;
use crate::sources::{SourceError, SourceErrorKind};

/// The shortest wait: `Retry-After: 0`, or a date just passed, must not make a busy loop of
/// requests that spend no attempt.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// A response that is no page.
#[derive(Debug)]
pub(super) struct ErrorResponse<'a> {
    /// The address asked, without secrets.
    pub url: &'a str,
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    /// The body, or its beginning.
    pub body: &'a str,
}

/// How long an error response may make us wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// When the API does not say how long.
    pub usual: Duration,
    /// `rest_api.retry.max_retry_after`.
    pub longest: Duration,
}

impl ErrorResponse<'_> {
    /// The error of the task. `advice` says what to do about missing authorization.
    pub fn classify(&self, waits: Waits, advice: &str, now: SystemTime) -> SourceError {
        let said = self.said();
        let asked = self.headers.get(RETRY_AFTER).and_then(|value| {
            let text = value.to_str().ok()?.trim();
            retry_after(text, now)
        });
        match (self.status.as_u16(), asked) {
            (401, _) => SourceError::new(SourceErrorKind::Unauthorized, said).advise(advice),
            (403, _) => SourceError::new(SourceErrorKind::Forbidden, said).advise(advice),
            (429, asked) => self.wait(asked.unwrap_or(waits.usual), waits.longest),
            (503, Some(asked)) => self.wait(asked, waits.longest),
            (404 | 410, _) => SourceError::new(SourceErrorKind::NotFound, said),
            (408 | 425 | 500..=599, _) => SourceError::new(SourceErrorKind::ServerError, said),
            (300..=399, _) => {
                let message = format!("{said}; it redirects to nowhere");
                SourceError::new(SourceErrorKind::BadRedirect, message)
            }
            _ => SourceError::new(SourceErrorKind::Rejected, said),
        }
    }

    fn wait(&self, asked: Duration, longest: Duration) -> SourceError {
        let wait = Duration::from_secs(asked.as_secs());
        let said = format!("{}; asked to wait {}", self.said(), format_duration(wait));
        if asked > longest {
            let longest = format_duration(longest);
            let message = format!(
                "{said}, longer than `rest_api.retry.max_retry_after` = \"{longest}\" allows"
            );
            return SourceError::new(SourceErrorKind::WaitTooLong, message);
        }
        SourceError::new(SourceErrorKind::RateLimited(asked.max(SHORTEST_WAIT)), said)
    }

    fn said(&self) -> String {
        let Self { url, status, .. } = self;
        match words_of(self.body) {
            words if words.is_empty() => format!("{url} answered {status}"),
            words => format!("{url} answered {status}: {words}"),
        }
    }
}

/// Seconds, or an HTTP date; `None` for anything else.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The API's own words in an error body of any kind.
fn words_of(body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    text::beginning(json.as_ref().and_then(error_in).unwrap_or(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    const WAITS: Waits =
        Waits { usual: Duration::from_secs(60), longest: Duration::from_secs(3600) };

    fn classified(status: u16, retry_after: Option<&str>, body: &str) -> SourceError {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        ErrorResponse { url: "https://api.example.com/x", status, headers: &headers, body }
            .classify(
                WAITS,
                "set the environment variable KEY",
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            )
    }

    fn wait(seconds: u64) -> FailureClass {
        FailureClass::NotYet(Duration::from_secs(seconds))
    }

    #[test]
    fn too_many_requests_wait_as_long_as_the_api_says() {
        assert_eq!(classified(429, Some("119"), "").class(), wait(119));
        assert_eq!(classified(429, Some("Sun, 09 Sep 2001 01:47:10 GMT"), "").class(), wait(30));
        assert_eq!(classified(429, None, "Throttled").class(), wait(60));
        assert_eq!(classified(429, Some("soon"), "").class(), wait(60));
        assert_eq!(classified(503, Some("7"), "").class(), wait(7));
    }

    #[test]
    fn a_wait_is_never_nothing() {
        assert_eq!(classified(429, Some("0"), "").class(), wait(1));
        assert_eq!(classified(429, Some("Sun, 09 Sep 2001 01:40:00 GMT"), "").class(), wait(1));
    }

    #[test]
    fn a_wait_beyond_the_limit_is_classified() {
        let error = classified(429, Some("3601"), "");
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains("wait 1h 1s, longer than"), "{error}");
        assert!(error.text().contains("max_retry_after` = \"1h\""), "{error}");
    }

    #[test]
    fn the_kind_and_with_it_the_class_follow_from_the_status() {
        for (status, kind) in [
            (408, SourceErrorKind::ServerError),
            (425, SourceErrorKind::ServerError),
            (500, SourceErrorKind::ServerError),
            (503, SourceErrorKind::ServerError),
            (599, SourceErrorKind::ServerError),
            (302, SourceErrorKind::BadRedirect),
            (400, SourceErrorKind::Rejected),
            (401, SourceErrorKind::Unauthorized),
            (403, SourceErrorKind::Forbidden),
            (404, SourceErrorKind::NotFound),
            (410, SourceErrorKind::NotFound),
            (422, SourceErrorKind::Rejected),
            (451, SourceErrorKind::Rejected),
        ] {
            let error = classified(status, None, "");
            let is_transient = error.class() == FailureClass::Transient;
            assert_eq!((error.kind, is_transient), (kind, kind == SourceErrorKind::ServerError));
        }
    }

    #[test]
    fn the_three_error_bodies_and_bare_text_are_quoted() {
        for body in [
            r#"{"status":{"error_code":429,"error_message":"slow down"}}"#,
            r#"{"error":"slow down"}"#,
            r#"{"error":{"status":{"error_code":429,"error_message":"slow down"}}}"#,
            "slow\n  down",
        ] {
            let error = classified(404, None, body);
            assert!(error.text().ends_with("answered 404 Not Found: slow down"), "{error}");
        }
    }

    #[test]
    fn unauthorized_says_what_to_set() {
        let error = classified(401, None, "{}");
        assert_eq!(error.advice.as_deref(), Some("set the environment variable KEY"));
    }
}
