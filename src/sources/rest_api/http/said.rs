//! Owns what a response says besides its body: that it is a page, that there is nothing behind the last
//! one, or that it is to be left out.

use reqwest::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::domain::text;
use crate::sources::{RateState, SourceError, SourceErrorKind};

/// The key of the text that a response without records is kept as.
const NO_PAGE: &str = "no_page";
/// The most that is kept of the body of one.
const MAX_KEPT: usize = 64 * 1024;

/// What a response says. Everything else that one may mean is an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Said {
    /// It is a page.
    #[default]
    Page,
    /// It is a page, and the last: the job file says so in `rest_api.responses`.
    Last,
    /// It is the proper end: the job file says so in `rest_api.responses`.
    End,
    /// It is a page without records that leaves the full sync incomplete: the job file says so.
    Ignored,
    /// The parent whose children were asked for is gone, and that is complete: the job file says so.
    ParentGone,
    /// Nothing is there: a status such as 404, or an empty body. Behind the last page that may be how the API
    /// says that it was the last; anywhere else it is [`Response::refused`](super::response::Response).
    Nothing,
}

impl Said {
    /// Whether it has records.
    pub fn is_page(self) -> bool {
        matches!(self, Self::Page | Self::Last)
    }
}

/// What a response that says [`Said::Nothing`] is when it is no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The kind of the error.
    pub kind: SourceErrorKind,
    /// What happened, in the API's words.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// What was said of rates.
    pub rate: RateState,
}

impl From<SourceError> for Refused {
    fn from(error: SourceError) -> Self {
        let rate = error.rate();
        let SourceError { kind, message, advice, .. } = error;
        Self { kind, message, advice, rate }
    }
}

impl From<Refused> for SourceError {
    fn from(refused: Refused) -> Self {
        let Refused { kind, message, advice, rate } = refused;
        Self { advice, ..Self::new(kind, message) }.with_rate(rate)
    }
}

/// Whether APIs answer so behind their last page.
pub(in crate::sources::rest_api) fn may_be_the_end(status: u16) -> bool {
    matches!(status, 204 | 400 | 404 | 410 | 416 | 422)
}

/// What a response without a body is, where a page should be.
pub(super) fn no_body(url: &str, status: StatusCode) -> Refused {
    let message = format!("{url} answered {status} without a body");
    let kind = match status {
        // Meant so.
        StatusCode::NO_CONTENT => SourceErrorKind::InvalidResponse,
        _ => SourceErrorKind::BrokenOff,
    };
    Refused { kind, message, advice: None, rate: RateState::default() }
}

/// The JSON text that a response without records is kept as. It is told apart from every page, whatever the
/// page holds: the same body may have been one before the job file said otherwise.
pub(in crate::sources::rest_api) fn kept(status: u16, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let body = match serde_json::from_str::<&RawValue>(&body) {
        Ok(json) if json.get().len() <= MAX_KEPT => json.get().to_owned(),
        _ => Value::from(text::cut(&body, MAX_KEPT)).to_string(),
    };
    format!("{{\"{NO_PAGE}\":{{\"status\":{status},\"body\":{body}}}}}")
}

/// The status and the body of a response that was kept by [`kept`].
pub(in crate::sources::rest_api) fn unkept(text: &str) -> Option<(u16, Vec<u8>)> {
    if !text.starts_with(&format!("{{\"{NO_PAGE}\":")) {
        return None;
    }
    let all: Map<String, Value> = serde_json::from_str(text).ok()?;
    let response = all.get(NO_PAGE)?;
    let status = u16::try_from(response.get("status")?.as_u64()?).ok()?;
    let body = match response.get("body")? {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    Some((status, body.into_bytes()))
}

/// What mapping has to know of a response without records: that it holds none.
pub(in crate::sources::rest_api) fn context() -> Value {
    json!({ NO_PAGE: true })
}

/// Whether mapping was told that there are no records.
pub(in crate::sources::rest_api) fn is_no_page(context: &Value) -> bool {
    context.get(NO_PAGE).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_records_is_kept_as_json_and_read_again() {
        for (body, again) in [
            (r#"{"code":"rest_post_invalid_page_number"}"#, None),
            ("<p>Not \"found\"</p>", None),
            ("", None),
            ("[1, 2]", Some("[1,2]")),
        ] {
            let kept = kept(404, body.as_bytes());
            assert!(serde_json::from_str::<Value>(&kept).is_ok(), "{kept}");
            let (status, read) = unkept(&kept).unwrap();
            assert_eq!((status, read.as_slice()), (404, again.unwrap_or(body).as_bytes()));
        }
        assert_eq!(unkept(r#"{"no_pages":{"status":404,"body":1}}"#), None);
        assert_eq!(unkept("[]"), None);
        let long = kept(400, &[b'x'; MAX_KEPT * 2]);
        assert!(long.len() < MAX_KEPT + 100, "{}", long.len());
        assert!(is_no_page(&context()) && !is_no_page(&Value::Null));
    }
}
