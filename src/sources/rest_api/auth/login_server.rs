//! Owns how a login server is asked for a token, and what its answer says.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

use super::authorize::Calls;
use crate::job_file::setting::SecretText;
use crate::sources::rest_api::body::Body;
use crate::sources::rest_api::http::response::Response;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// The form of a request for a token. Has no `Debug`: it holds secrets.
pub(super) struct TokenForm {
    request: RequestParts,
    fields: Vec<(String, String)>,
}

/// What a token endpoint of OAuth 2.0 answers (RFC 6749, section 5.1).
pub(super) struct Granted {
    pub access: SecretText,
    pub refresh: Option<SecretText>,
    /// How long the access token is good for, if it says so.
    pub lasts: Option<Duration>,
}

impl TokenForm {
    pub fn new(url: Url) -> Self {
        let mut request = RequestParts::new(url);
        request.method = Method::POST;
        Self { request, fields: Vec::new() }
    }

    /// Adds a field.
    pub fn add(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// Adds a field whose value is a secret; `key` is the key of the job file.
    pub fn add_secret(
        &mut self,
        name: &str,
        value: &SecretText,
        key: &str,
    ) -> Result<(), SourceError> {
        self.request.secrets.add(value.expose(), key)?;
        self.add(name, value.expose());
        Ok(())
    }

    /// Sets a header whose value is a secret; `key` is the key of the job file.
    pub fn set_secret_header(
        &mut self,
        name: &str,
        prefix: &str,
        value: &SecretText,
        key: &str,
    ) -> Result<(), SourceError> {
        self.request.set_secret_header(name, prefix, value, key)
    }

    /// Notes a secret that is sent in some other form; `key` is the key of the job file.
    pub fn note_secret(&mut self, value: &SecretText, key: &str) -> Result<(), SourceError> {
        self.request.secrets.add(value.expose(), key)
    }

    /// Sends it; `advice` says what to do when the server refuses it.
    pub async fn send(self, calls: &Arc<dyn Calls>, advice: &str) -> Result<Granted, SourceError> {
        let Self { mut request, fields } = self;
        request.body = Body::Form(fields);
        let response = ask(calls, request, advice).await?;
        granted(&response).map_err(|error| error.at(&response.from))
    }
}

/// Sends a request to a login server; `advice` says what to do when it refuses it.
pub(super) async fn ask(
    calls: &Arc<dyn Calls>,
    mut request: RequestParts,
    advice: &str,
) -> Result<Response, SourceError> {
    advice.clone_into(&mut request.advice);
    calls.call(request).await.map_err(|error| {
        let is_refusal = matches!(
            error.kind,
            SourceErrorKind::Rejected | SourceErrorKind::Unauthorized | SourceErrorKind::Forbidden
        );
        let error = match is_refusal && error.advice.is_none() {
            true => error.advise(advice),
            false => error,
        };
        error.at("the login server gave no token")
    })
}

/// What the answer of a token endpoint says. The answer is never repeated: it may hold the token.
fn granted(response: &Response) -> Result<Granted, SourceError> {
    let body: Value =
        serde_json::from_slice(&response.body).map_err(|_| no_token("the answer is no JSON"))?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(access) = text("access_token") else {
        let error = text("error").map(|error| format!("; it says: {error}")).unwrap_or_default();
        return Err(no_token(&format!("the answer has no `access_token`{error}")));
    };
    Ok(Granted {
        access: access.to_owned().into(),
        refresh: text("refresh_token").map(|text| text.to_owned().into()),
        lasts: body.get("expires_in").and_then(seconds),
    })
}

pub(super) fn no_token(problem: &str) -> SourceError {
    let message = format!("the login server gave no token: {problem}");
    SourceError::new(SourceErrorKind::InvalidResponse, message)
}

/// A number of seconds, which some servers write as a text. What is not above 0 says nothing.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds: f64 = match value {
        Value::Number(number) => number.as_str().parse().ok()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    // More than a century is as good as for ever.
    let seconds = seconds.min(100.0 * 366.0 * 86_400.0);
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Result<Granted, SourceError> {
        granted(&Response { body: body.into(), ..Response::default() })
    }

    #[test]
    fn a_token_is_read_with_its_life_however_the_server_writes_that() {
        for (expires, lasts) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("3.6e3", Some(3600)),
            ("0", None),
            ("-1", None),
            ("null", None),
            ("\"soon\"", None),
            ("1e300", Some(3_162_240_000)),
        ] {
            let body =
                format!(r#"{{"access_token":"a","expires_in":{expires},"refresh_token":"r"}}"#);
            let granted = said(&body).unwrap();
            assert_eq!(granted.lasts, lasts.map(Duration::from_secs), "{expires}");
            assert_eq!(granted.access.expose(), "a");
            assert_eq!(granted.refresh.unwrap().expose(), "r");
        }
    }

    #[test]
    fn an_answer_without_a_token_is_told_without_what_is_in_it() {
        for (body, says) in [
            ("<html>s3cr3t", "no JSON"),
            (r#"{"token":"s3cr3t"}"#, "no `access_token`"),
            (r#"{"error":"invalid_scope","x":"s3cr3t"}"#, "it says: invalid_scope"),
            (r#"{"access_token":""}"#, "no `access_token`"),
        ] {
            let error = said(body).err().unwrap().text();
            assert!(error.contains(says) && !error.contains("s3cr3t"), "{error}");
        }
    }
}
