//! Owns the outermost layer: whatever happens inside, the client gets an answer, in time, and every
//! refusal is a problem.
//!
//! Must not know any resource.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use poem::PathPattern;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::ALLOW;
use poem::http::{HeaderValue, Method};
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError};
use tokio::time::timeout;

use super::auth::Viewer;
use super::problem::{Kind, Problem};
use super::required_scope;
use crate::api::openapi::paths::KnownPath;

/// The longest a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a file may be on its way; pauses between its pieces are bounded by themselves.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// An endpoint that never fails, panics or hangs.
pub(crate) struct ErrorHandler<E> {
    inner: E,
    paths: HashMap<String, KnownPath>,
    timeout: Duration,
}

impl<E: Endpoint> ErrorHandler<E> {
    /// Around `inner`, which answers at these paths, by the pattern of the router.
    pub(crate) fn new(inner: E, paths: HashMap<String, KnownPath>) -> Self {
        Self { inner, paths, timeout: REQUEST_TIMEOUT }
    }

    /// The answer, which knows still who asked, for those who show it as a page.
    fn refuse(&self, error: poem::Error, method: &Method, path: &str) -> Response {
        let viewer = error.data::<Viewer>().cloned();
        let mut response = self.answer(error, method, path);
        if let Some(viewer) = viewer {
            response.extensions_mut().insert(viewer);
        }
        response
    }

    fn answer(&self, error: poem::Error, method: &Method, path: &str) -> Response {
        let pattern = error.data::<PathPattern>();
        let known = pattern.and_then(|pattern| self.paths.get(&*pattern.0));
        if error.is::<MethodNotAllowedError>() {
            return not_allowed(known, method, path);
        }
        match problem(&error, known, path) {
            Some(problem) => problem.into_response(),
            None if error.is_from_response() => error.into_response(),
            None => {
                tracing::error!(error = %error, path, "a request failed unexpectedly");
                Problem::internal().into_response()
            }
        }
    }
}

fn not_allowed(known: Option<&KnownPath>, method: &Method, path: &str) -> Response {
    // What is not in the document is a page to look at, or what a form of one sends.
    let of_page =
        if matches!(*method, Method::GET | Method::HEAD) { Method::POST } else { Method::GET };
    let mut allowed = known.map_or_else(|| vec![of_page], |known| known.methods.clone());
    if allowed.contains(&Method::GET) {
        allowed.push(Method::HEAD);
    }
    let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let detail = format!("{path} takes {allowed}, not {method}");
    let mut response = Problem::new(Kind::MethodNotAllowed, detail).into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

impl<E: Endpoint> Endpoint for ErrorHandler<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let longest = match required_scope::is_upload(&method, &path) {
            true => UPLOAD_TIMEOUT,
            false => self.timeout,
        };
        Ok(match timeout(longest, answer).await {
            Ok(Ok(Ok(answer))) => answer.into_response(),
            Ok(Ok(Err(error))) => self.refuse(error, &method, &path),
            // The panic hook has said what happened and where.
            Ok(Err(_panic)) => {
                tracing::error!(%method, path, "a request panicked");
                Problem::internal().into_response()
            }
            Err(_elapsed) => {
                tracing::warn!(%method, path, "a request took too long");
                Problem::unavailable().into_response()
            }
        })
    }
}

/// What an error of poem says in our words.
fn problem(error: &poem::Error, known: Option<&KnownPath>, path: &str) -> Option<Problem> {
    if error.is::<NotFoundError>() {
        let detail = format!("there is nothing at {path}; see /docs for what there is");
        return Some(Problem::new(Kind::UnknownPath, detail));
    }
    if error.is::<poem::error::ParsePathError>() {
        let detail = "the path is not UTF-8 once it is percent-decoded";
        return Some(Problem::new(Kind::InvalidParameter, detail));
    }
    if let Some(poem::error::ParseQueryError(reason)) = error.downcast_ref() {
        return Some(Problem::new(Kind::InvalidParameter, format!("a parameter: {reason}")));
    }
    if error.is::<poem::error::ParseFormError>() {
        let detail = format!("the form cannot be read: {error}");
        return Some(Problem::new(Kind::InvalidRequest, detail));
    }
    if let Some(ParsePathError { name, reason }) = error.downcast_ref() {
        let at = name.strip_prefix("param").and_then(|at| at.parse::<usize>().ok());
        let name = at.zip(known).and_then(|(at, known)| known.parameters.get(at));
        return Some(parameter(name.map_or("path", String::as_str), reason));
    }
    if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
        return Some(parameter(name, reason));
    }
    let detail = match error.downcast_ref()? {
        ContentTypeError::NotSupported { content_type } => {
            format!("send the body with `Content-Type: application/json`, not {content_type:?}")
        }
        ContentTypeError::ExpectContentType => {
            "send the body with the header `Content-Type: application/json`".to_owned()
        }
    };
    Some(Problem::new(Kind::UnsupportedMediaType, detail))
}

/// poem-openapi wraps what our types say in words about Rust types, which say nothing to people:
/// `failed to parse "Limit": … (occurred while parsing "optional_Limit")`.
fn parameter(name: &str, reason: &str) -> Problem {
    let reason = reason.split(" (occurred while parsing ").next().unwrap_or(reason);
    let reason = match reason.strip_prefix("failed to parse ").and_then(|r| r.split_once(": ")) {
        Some((_type, reason)) => reason,
        None => reason,
    };
    let reason = reason.replace("verification failed. ", "it must satisfy ");
    Problem::new(Kind::InvalidParameter, format!("parameter `{name}`: {reason}"))
}

#[cfg(test)]
mod tests {
    use crate::api::openapi::document;
    use poem::endpoint::{make, make_sync};
    use poem::http::StatusCode;
    use poem::{Route, get};
    use serde_json::Value;

    use super::*;

    async fn answer(method: Method, path: &str) -> (u16, Option<String>, Value) {
        let failure = || poem::Error::from_string("secret", StatusCode::BAD_REQUEST);
        let routes = Route::new()
            .at("/runs", get(make_sync(|_| "fine")))
            .at("/panic", make_sync(|_| if true { panic!("secret") } else { "" }))
            .at("/hang", make(|_| std::future::pending::<poem::Result<String>>()))
            .at("/fail", make(move |_| async move { Err::<(), _>(failure()) }));
        let handler = ErrorHandler::new(routes, document::paths());
        let handler = ErrorHandler { timeout: Duration::from_millis(50), ..handler };
        let request = Request::builder().method(method).uri(path.parse().unwrap()).finish();
        let response = handler.call(request).await.unwrap();
        let allow = response.header("allow").map(str::to_owned);
        assert_eq!(response.content_type(), Some("application/problem+json"));
        let status = response.status().as_u16();
        (status, allow, response.into_body().into_json().await.unwrap())
    }

    #[tokio::test]
    async fn whatever_happens_inside_is_answered_as_a_problem_without_its_text() {
        for (path, expected) in [("/panic", 500), ("/fail", 500), ("/hang", 503), ("/none", 404)] {
            let (status, _, body) = answer(Method::GET, path).await;
            assert_eq!(status, expected, "{path}");
            assert_eq!(body["status"], expected, "{path}");
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_the_right_ones() {
        let (status, allow, body) = answer(Method::DELETE, "/runs").await;
        assert_eq!((status, allow.as_deref()), (405, Some("POST, GET, HEAD")));
        assert_eq!(body["detail"], "/runs takes POST, GET, HEAD, not DELETE");
    }

    #[test]
    fn a_parameter_is_refused_without_the_words_of_the_library() {
        let reason =
            "failed to parse \"Limit\": x is no number (occurred while parsing \"optional_Limit\")";
        let problem = format!("{:?}", parameter("limit", reason));
        assert!(problem.contains("\"parameter `limit`: x is no number\""), "{problem}");
    }
}
