//! Owns what an error response means for the task: its status, what its headers say of rates, and its own words.
//!
//! Must not know how requests are made.

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::text;
use crate::sources::rest_api::error_words::error_in;
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::{RateState, SourceError, SourceErrorKind};

/// The shortest wait: `Retry-After: 0`, or a date just passed, must not make a busy loop of
/// requests that spend no attempt.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The wait after a 429 that does not say how long, when the source has no rate limit.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// A response that is no page.
#[derive(Debug)]
pub(in crate::sources::rest_api) struct ErrorResponse<'a> {
    /// The address asked, without secrets.
    pub url: &'a str,
    pub status: StatusCode,
    /// What its headers say of rates.
    pub rate: RateState,
    /// The body, or its beginning.
    pub body: &'a str,
}

/// How long an error response may make us wait.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) struct Waits {
    /// When the API does not say how long.
    pub usual: Duration,
    /// `rest_api.retry.max_retry_after`.
    pub longest: Duration,
}

impl Waits {
    /// How long answers to the requests of a job file may make us wait.
    pub fn of(params: &RestApiParams) -> Self {
        let longest = params.retry.max_retry_after;
        let usual = params.rate_limit.as_ref().map_or(DEFAULT_WAIT, |limit| limit.per);
        Self { usual: usual.min(longest), longest }
    }
}

impl ErrorResponse<'_> {
    /// The error of the task. `advice` says what to do about missing authorization.
    pub fn classify(&self, waits: Waits, advice: &str) -> SourceError {
        let said = self.said();
        let error = match (self.status.as_u16(), self.rate.retry_after) {
            (401, _) => SourceError::new(SourceErrorKind::Unauthorized, said).advise(advice),
            (403, _) if self.is_not_yet() => self.wait(waits),
            (403, _) => SourceError::new(SourceErrorKind::Forbidden, said).advise(advice),
            (429, _) => self.wait(waits),
            (408 | 425 | 500..=599, Some(_)) => self.wait(waits),
            (404 | 410, _) => SourceError::new(SourceErrorKind::NotFound, said),
            (408 | 425 | 500..=599, None) => SourceError::new(SourceErrorKind::ServerError, said),
            (304, _) => {
                let message = format!("{said}, although it was not asked whether anything is new");
                SourceError::new(SourceErrorKind::InvalidResponse, message)
            }
            (300..=399, _) => {
                let message = format!("{said}; it redirects to nowhere");
                SourceError::new(SourceErrorKind::BadRedirect, message)
            }
            _ => SourceError::new(SourceErrorKind::Rejected, said),
        };
        error.with_rate(self.rate)
    }

    /// Whether a 403 is a rate limit, as of GitHub, and no refusal for good.
    fn is_not_yet(&self) -> bool {
        let RateState { retry_after, remaining, .. } = self.rate;
        retry_after.is_some() || remaining == Some(0) || speaks_of_a_rate_limit(self.body)
    }

    fn wait(&self, waits: Waits) -> SourceError {
        wait(self.said(), self.rate.wait(), waits)
    }

    fn said(&self) -> String {
        let Self { url, status, .. } = self;
        match words_of(self.body) {
            words if words.is_empty() => format!("{url} answered {status}"),
            words => format!("{url} answered {status}: {words}"),
        }
    }
}

/// The error of an API that said `said` and wants us to wait: so long as it asked, or the usual time.
pub(in crate::sources::rest_api) fn wait(
    said: String,
    asked: Option<Duration>,
    waits: Waits,
) -> SourceError {
    let told = |wait: Duration| format_duration(Duration::from_millis(wait.as_millis() as u64));
    let Some(asked) = asked else {
        let usual = waits.usual.min(waits.longest).max(SHORTEST_WAIT);
        let message = format!("{said}; it does not say how long to wait");
        return SourceError::new(SourceErrorKind::RateLimited(usual), message);
    };
    let said = format!("{said}; asked to wait {}", told(asked));
    if asked > waits.longest {
        let longest = format_duration(waits.longest);
        let message =
            format!("{said}, longer than `rest_api.retry.max_retry_after` = \"{longest}\" allows");
        return SourceError::new(SourceErrorKind::WaitTooLong, message);
    }
    SourceError::new(SourceErrorKind::RateLimited(asked.max(SHORTEST_WAIT)), said)
}

/// Whether a text says that there were too many requests.
pub(in crate::sources::rest_api) fn speaks_of_a_rate_limit(text: &str) -> bool {
    let plain: String =
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    ["ratelimit", "toomanyrequests", "throttled"].iter().any(|words| plain.contains(words))
}

/// The API's own words in an error body of any kind.
fn words_of(body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let words = json.as_ref().and_then(error_in).or_else(|| words_of_xml(body));
    text::beginning(words.as_deref().unwrap_or(body))
}

/// What the services of buckets say: `<Error><Code>AccessDenied</Code><Message>Access Denied</Message>…`.
fn words_of_xml(body: &str) -> Option<String> {
    let body = body.trim_start_matches('\u{feff}').trim_start();
    if !body.starts_with("<?xml") && !body.starts_with("<Error") {
        return None;
    }
    let of = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(text.trim())
    };
    match (of("Code"), of("Message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use reqwest::header::{HeaderMap, HeaderName};

    use super::super::rates;
    use super::*;
    use crate::domain::failure::FailureClass;

    const WAITS: Waits =
        Waits { usual: Duration::from_secs(60), longest: Duration::from_secs(3600) };

    fn classified(status: u16, retry_after: Option<&str>, body: &str) -> SourceError {
        with_headers(status, retry_after.map(|text| ("retry-after", text)).as_slice(), body)
    }

    fn with_headers(status: u16, headers: &[(&str, &str)], body: &str) -> SourceError {
        let mut map = HeaderMap::new();
        for (name, text) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), text.parse().unwrap());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let rate = rates::of_headers(&map, now);
        let status = StatusCode::from_u16(status).unwrap();
        ErrorResponse { url: "https://api.example.com/x", status, rate, body }
            .classify(WAITS, "set the environment variable KEY")
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
        let half = FailureClass::NotYet(Duration::from_millis(2500));
        assert_eq!(classified(429, Some("2.5"), "").class(), half);
        for name in ["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"] {
            assert_eq!(with_headers(429, &[(name, "17")], "").class(), wait(17), "{name}");
        }
    }

    #[test]
    fn requests_that_are_left_make_the_reset_no_wait() {
        let headers = [("x-ratelimit-remaining", "12"), ("x-ratelimit-reset", "900")];
        assert_eq!(with_headers(429, &headers, "").class(), wait(60));
    }

    #[test]
    fn forbidden_is_not_yet_when_it_says_so_in_any_way() {
        assert_eq!(classified(403, Some("2"), "").class(), wait(2));
        let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000000045")];
        assert_eq!(with_headers(403, &used_up, "").class(), wait(45));
        for body in [
            r#"{"message":"API rate limit exceeded for 1.2.3.4"}"#,
            r#"{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}"#,
            r#"{"code":"RATE_LIMIT"}"#,
        ] {
            assert_eq!(classified(403, None, body).class(), wait(60), "{body}");
        }
        let left = [("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1000000045")];
        let error = with_headers(403, &left, r#"{"message":"Must have admin rights"}"#);
        assert_eq!(error.kind, SourceErrorKind::Forbidden);
        assert_eq!(error.rate().remaining, Some(4999));
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
            (304, SourceErrorKind::InvalidResponse),
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
    fn the_words_of_buckets_are_quoted() {
        let body = "<?xml version=\"1.0\"?>\n<Error> <Code>NoSuchKey</Code>\n<Message>No such key.</Message><Key>a</Key>";
        let error = classified(404, None, body);
        assert!(error.text().ends_with("404 Not Found: NoSuchKey: No such key."), "{error}");
    }

    #[test]
    fn unauthorized_says_what_to_set() {
        let error = classified(401, None, "{}");
        assert_eq!(error.advice.as_deref(), Some("set the environment variable KEY"));
    }
}
