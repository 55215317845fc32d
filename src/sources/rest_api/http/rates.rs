//! Owns what the headers of a response say about how often we may ask: how many requests are left, when
//! there are more again, and how long to wait.
//!
//! Must not know what follows from it for a task.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, FixedOffset};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::sources::RateState;

/// Above this a reset is a time since 1970 in seconds, and above a thousand times this in milliseconds.
const EPOCH: f64 = 1e9;
/// No time that an API names is taken to be farther away.
const FARTHEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// What the names of rate limit headers begin with.
const PREFIXES: [&str; 3] = ["ratelimit-", "x-ratelimit-", "x-rate-limit-"];

/// Reads the headers; `now` is the clock of this machine, of use where the server does not tell its own.
pub(in crate::sources::rest_api) fn of_headers(headers: &HeaderMap, now: SystemTime) -> RateState {
    let now = server_time(headers).unwrap_or(now);
    let mut state = structured(headers);
    for (_, of_window) in windows(headers, now) {
        state = state.and(of_window);
    }
    state = state.and(shopify(headers));
    let retry_after = text_of(headers, RETRY_AFTER.as_str()).and_then(|text| after(text, now));
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| number(text_of(headers, name)?.to_owned()));
    let milliseconds = milliseconds.and_then(|ms| seconds(ms / 1000.0));
    RateState { retry_after: retry_after.or(milliseconds), ..state }
}

/// What values of a body say: those under `rate_limit.remaining_path` and `rate_limit.reset_path`.
pub(in crate::sources::rest_api) fn of_body(
    remaining: Option<&Value>,
    reset: Option<&Value>,
    headers: &HeaderMap,
    now: SystemTime,
) -> RateState {
    let now = server_time(headers).unwrap_or(now);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let remaining = remaining.and_then(|value| number(text(value)));
    let reset = reset.and_then(|value| reset_of(&text(value), now));
    RateState { remaining: remaining.map(|left| whole(left.max(0.0))), reset, retry_after: None }
}

/// The clock of the server: times that it names are times of that clock.
fn server_time(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text_of(headers, DATE.as_str())?).ok()
}

/// Seconds, also with a fraction, or a date; `None` for anything else.
fn after(text: &str, now: SystemTime) -> Option<Duration> {
    match text.parse::<f64>() {
        Ok(number) => seconds(number),
        Err(_) => until(text, now),
    }
}

/// A time since 1970, a number of seconds from now, a span such as `6m0s`, or a date.
fn reset_of(text: &str, now: SystemTime) -> Option<Duration> {
    let Ok(number) = text.parse::<f64>() else {
        let span = humantime_serde::re::humantime::parse_duration(text).ok();
        return span.filter(|span| *span <= FARTHEST).or_else(|| until(text, now));
    };
    if number <= EPOCH {
        return seconds(number);
    }
    let since_1970 = seconds(if number > EPOCH * 1000.0 { number / 1000.0 } else { number })?;
    Some((SystemTime::UNIX_EPOCH + since_1970).duration_since(now).unwrap_or_default())
}

/// The time until a date of HTTP or of RFC 3339; none when it is over.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let at = httpdate::parse_http_date(text).ok().or_else(|| {
        let at: DateTime<FixedOffset> = DateTime::parse_from_rfc3339(text).ok()?;
        Some(at.into())
    })?;
    let left = at.duration_since(now).unwrap_or_default();
    Some(left).filter(|left| *left <= FARTHEST)
}

fn seconds(number: f64) -> Option<Duration> {
    let span = Duration::try_from_secs_f64(number).ok()?;
    // A time since 1970 is farther away than any span.
    Some(span).filter(|span| *span <= FARTHEST * 20)
}

fn number(text: String) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Less than one request left is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// What the headers of each window say: what stands behind `remaining` and `reset` in their names, mostly
/// nothing, tells the windows apart.
fn windows(headers: &HeaderMap, now: SystemTime) -> Vec<(&str, RateState)> {
    let mut windows: Vec<(&str, RateState)> = Vec::new();
    for (name, value) in headers {
        let rest = PREFIXES.iter().find_map(|prefix| name.as_str().strip_prefix(prefix));
        let (Some(rest), Ok(text)) = (rest, value.to_str()) else { continue };
        let (said, window) = if let Some(window) = rest.strip_prefix("remaining") {
            let left = numbers(text).into_iter().filter(|left| *left >= 0.0).min_by(f64::total_cmp);
            (RateState { remaining: left.map(whole), ..RateState::default() }, window)
        } else if let Some(window) = rest.strip_prefix("reset") {
            let reset = reset_of(text.trim(), now);
            // The same in another unit, and no window.
            (
                RateState { reset, ..RateState::default() },
                if window == "-after" { "" } else { window },
            )
        } else {
            continue;
        };
        if !window.is_empty() && !window.starts_with('-') {
            continue;
        }
        match windows.iter_mut().find(|(name, _)| *name == window) {
            Some((_, state)) => *state = state.and(said),
            None => windows.push((window, said)),
        }
    }
    windows
}

/// The numbers of a list; none when something else is in it.
fn numbers(text: &str) -> Vec<f64> {
    text.split(',').map(|part| number(part.to_owned())).collect::<Option<_>>().unwrap_or_default()
}

/// `RateLimit: "default";r=50;t=30`, and what an earlier draft had: `limit=100, remaining=50, reset=30`. Of
/// several policies the one with the fewest requests left counts. A window is known from `RateLimit-Policy`
/// where the time is not told.
fn structured(headers: &HeaderMap) -> RateState {
    let mut state = RateState::default();
    for text in all(headers, "ratelimit") {
        let mut earlier = RateState::default();
        for item in split(text, ',') {
            let (mut left, mut reset, mut policy) = (None, None, "");
            for (place, part) in split(item, ';').enumerate() {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                let value = || number(value.trim().trim_matches('"').to_owned());
                match key.trim() {
                    "r" => left = value(),
                    "t" => reset = value(),
                    "remaining" => earlier.remaining = value().map(|n| whole(n.max(0.0))),
                    "reset" => earlier.reset = value().and_then(seconds),
                    name if place == 0 => policy = name,
                    _ => {}
                }
            }
            let reset = reset.or_else(|| window(headers, policy)).and_then(seconds);
            state = state.and(RateState {
                remaining: left.map(|n| whole(n.max(0.0))),
                reset,
                retry_after: None,
            });
        }
        state = state.and(earlier);
    }
    state
}

/// The window of a policy: `RateLimit-Policy: "default";q=100;w=60`.
fn window(headers: &HeaderMap, policy: &str) -> Option<f64> {
    let policies = all(headers, "ratelimit-policy").flat_map(|text| split(text, ','));
    policies.into_iter().find_map(|item| {
        let mut parts = split(item, ';');
        parts.next().filter(|name| *name == policy)?;
        parts.find_map(|part| number(part.strip_prefix("w=")?.to_owned()))
    })
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The parts of a structured field between these characters, which do not count within quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
    .map(str::trim)
}

/// `X-Shopify-Shop-Api-Call-Limit: 32/40` is how many of how many are taken.
fn shopify(headers: &HeaderMap) -> RateState {
    let taken = text_of(headers, "x-shopify-shop-api-call-limit")
        .and_then(|text| text.split_once('/'))
        .and_then(|(taken, all)| {
            Some((taken.trim().parse::<u64>().ok()?, all.trim().parse::<u64>().ok()?))
        });
    RateState {
        remaining: taken.map(|(taken, all)| all.saturating_sub(taken)),
        ..RateState::default()
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    /// 2001-09-09 01:46:40 UTC.
    const NOW: u64 = 1_000_000_000;

    fn said(headers: &[(&str, &str)]) -> RateState {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        of_headers(&map, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn state(headers: &[(&str, &str)]) -> (Option<u64>, Option<u64>) {
        let RateState { remaining, reset, .. } = said(headers);
        (remaining, reset.map(|reset| reset.as_secs()))
    }

    #[test]
    fn every_form_of_rate_limit_headers_is_read() {
        for (headers, expected) in [
            (&[][..], (None, None)),
            (&[("RateLimit", "\"default\";r=50;t=30")], (Some(50), Some(30))),
            (&[("RateLimit", "\"day\";r=900;t=5000, \"minute\";r=0;t=7")], (Some(0), Some(7))),
            (&[("RateLimit", "\"a;r=9,b\";r=1;t=2")], (Some(1), Some(2))),
            (&[("RateLimit", "limit=100, remaining=3, reset=12")], (Some(3), Some(12))),
            (
                &[
                    ("RateLimit", "\"p\";r=0"),
                    ("RateLimit-Policy", "\"o\";q=1;w=9, \"p\";q=10;w=60"),
                ],
                (Some(0), Some(60)),
            ),
            (&[("RateLimit-Remaining", "7"), ("RateLimit-Reset", "40")], (Some(7), Some(40))),
            (
                &[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1000000090")],
                (Some(0), Some(90)),
            ),
            (
                &[("X-Rate-Limit-Remaining", "2"), ("X-Rate-Limit-Reset", "1000000090500")],
                (Some(2), Some(90)),
            ),
            (
                &[("X-RateLimit-Remaining", "99.0"), ("X-RateLimit-Reset", "1000000012.9")],
                (Some(99), Some(12)),
            ),
            (&[("X-RateLimit-Reset", "999999000")], (None, Some(999_999_000))),
            (&[("X-RateLimit-Reset", "1000000000.0")], (None, Some(1_000_000_000))),
            (
                &[("X-RateLimit-Remaining-Minute", "5"), ("X-RateLimit-Remaining-Hour", "0")],
                (Some(0), None),
            ),
            (&[("X-RateLimit-Remaining", "5, 3")], (Some(3), None)),
            (
                &[
                    ("X-RateLimit-Remaining-Minute", "0"),
                    ("X-RateLimit-Reset-Minute", "9"),
                    ("X-RateLimit-Remaining-Day", "800"),
                    ("X-RateLimit-Reset-Day", "80000"),
                ],
                (Some(0), Some(9)),
            ),
            (
                &[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset-After", "1.5")],
                (Some(0), Some(1)),
            ),
            (
                &[("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "6m0s")],
                (Some(1), Some(360)),
            ),
            (&[("X-RateLimit-Reset", "Sun, 09 Sep 2001 01:47:10 GMT")], (None, Some(30))),
            (&[("X-RateLimit-Reset", "2001-09-09T01:47:10Z")], (None, Some(30))),
            (&[("X-Shopify-Shop-Api-Call-Limit", "32/40")], (Some(8), None)),
            (&[("X-Shopify-Shop-Api-Call-Limit", "40/40")], (Some(0), None)),
            // Nonsense says nothing.
            (&[("X-RateLimit-Remaining", "-1"), ("X-RateLimit-Reset", "soon")], (None, None)),
            (&[("X-RateLimit-Remaining", "NaN"), ("X-RateLimit-Reset", "-5")], (None, None)),
            (&[("X-RateLimit-Remaining", "inf"), ("RateLimit", ";;=,\"")], (None, None)),
            (&[("X-Shopify-Shop-Api-Call-Limit", "many")], (None, None)),
        ] {
            assert_eq!(state(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn retry_after_is_a_number_with_or_without_a_fraction_or_a_date() {
        let after = |text| said(&[("Retry-After", text)]).retry_after;
        for (text, expected) in [
            ("0.5", Some(Duration::from_millis(500))),
            ("119", Some(Duration::from_secs(119))),
            (" 2 ", Some(Duration::from_secs(2))),
            ("Sun, 09 Sep 2001 01:47:10 GMT", Some(Duration::from_secs(30))),
            ("Sun, 09 Sep 2001 01:40:00 GMT", Some(Duration::ZERO)),
            ("2001-09-09T01:47:10Z", Some(Duration::from_secs(30))),
            ("soon", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(after(text), expected, "{text}");
        }
        let milliseconds = said(&[("retry-after-ms", "1500")]).retry_after;
        assert_eq!(milliseconds, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn times_are_those_of_the_servers_clock() {
        let headers =
            [("Date", "Sun, 09 Sep 2001 02:46:40 GMT"), ("X-RateLimit-Reset", "1000003610")];
        assert_eq!(state(&headers), (None, Some(10)));
        let headers = [
            ("Date", "Sun, 09 Sep 2001 02:46:40 GMT"),
            ("Retry-After", "Sun, 09 Sep 2001 02:47:00 GMT"),
        ];
        assert_eq!(said(&headers).retry_after, Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_body_says_it_in_numbers_and_texts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        let of =
            |left: Value, reset: Value| of_body(Some(&left), Some(&reset), &HeaderMap::new(), now);
        let state = |remaining, reset: Option<u64>| RateState {
            remaining,
            reset: reset.map(Duration::from_secs),
            retry_after: None,
        };
        assert_eq!(of(7.into(), 30.into()), state(Some(7), Some(30)));
        assert_eq!(of("0".into(), "2001-09-09T01:47:10Z".into()), state(Some(0), Some(30)));
        assert_eq!(of((-3).into(), Value::Null), state(Some(0), None));
        assert_eq!(of(Value::Null, Value::Null), RateState::default());
    }
}
