//! Owns the network: one client per source, one request and its answer within bounds of time and
//! size, and what it means when there is no answer.

use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response};

use super::answer::{Refusal, Waits};
use super::params::RestApiParams;
use super::request::Request;
use crate::sources::SourceError;

/// The longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after a 429 that does not say how long, when the source has no rate limit.
const USUAL_WAIT: Duration = Duration::from_secs(60);
/// The most that is read of an answer that is no page.
const REFUSAL_BYTES: usize = 64 * 1024;
/// The most redirects that are followed, all within the same origin.
const MAX_REDIRECTS: usize = 5;

/// A body as it came.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it came from, without secrets.
    pub from: String,
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// Makes the client of a source.
pub(super) fn client(params: &RestApiParams) -> Result<Client, SourceError> {
    // Fails only when a provider is installed already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("kasparro/", env!("CARGO_PKG_VERSION")))
        .default_headers(
            [(ACCEPT, HeaderValue::from_static("application/json"))].into_iter().collect(),
        )
        .timeout(params.timeout)
        .connect_timeout(params.timeout.min(CONNECT_TIMEOUT))
        .redirect(Policy::custom(within_the_origin))
        .referer(false)
        .build()
        .map_err(|error| {
            let cause = innermost(&error);
            SourceError::permanent(format!(
                "no HTTPS client can be made: {cause}; if certificates are missing, install the \
                 package ca-certificates"
            ))
        })
}

/// Elsewhere the API key must not be sent: reqwest drops only the headers it knows to be secret.
fn within_the_origin(attempt: Attempt) -> reqwest::redirect::Action {
    let stays =
        attempt.previous().last().is_some_and(|last| last.origin() == attempt.url().origin());
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    if stays { attempt.follow() } else { attempt.stop() }
}

/// Sends a request and reads its answer.
pub(super) async fn ask(
    client: &Client,
    request: &Request,
    params: &RestApiParams,
) -> Result<Answer, SourceError> {
    let sent = client.get(request.url.clone()).headers(request.headers.clone()).send();
    let response = sent.await.map_err(|error| no_answer(&error, request, params))?;
    if !response.status().is_success() {
        return Err(refusal(response, request, params).await);
    }
    let status = response.status().as_u16();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = body(response, request, params).await?;
    Ok(Answer { from: request.shown.clone(), status, content_type, body })
}

async fn refusal(mut response: Response, request: &Request, params: &RestApiParams) -> SourceError {
    let mut body = Vec::new();
    // A refusal without its text is still a refusal: what cannot be read is left out.
    while body.len() < REFUSAL_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    let limit = params.rate_limit.as_ref();
    let waits = Waits {
        usual: limit.map_or(USUAL_WAIT, |limit| limit.per).min(params.retry.max_retry_after),
        longest: params.retry.max_retry_after,
    };
    let text = String::from_utf8_lossy(&body);
    let (status, headers) = (response.status(), response.headers());
    Refusal { url: &request.shown, status, headers, body: &text }.meaning(
        waits,
        &request.advice,
        SystemTime::now(),
    )
}

async fn body(
    mut response: Response,
    request: &Request,
    params: &RestApiParams,
) -> Result<Vec<u8>, SourceError> {
    let most = params.max_response_bytes.get();
    let too_large = || {
        SourceError::permanent(format!(
            "{} answered more than `rest_api.max_response_bytes` = {most} bytes: ask for smaller \
             pages, or raise it",
            request.shown
        ))
    };
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| no_answer(&error, request, params))?
    {
        if (body.len() + chunk.len()) as u64 > most {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What it means that a request has no whole answer. reqwest's error is told, not kept: it, or one
/// beneath it, may hold the address with the key in it.
fn no_answer(error: &reqwest::Error, request: &Request, params: &RestApiParams) -> SourceError {
    let shown = &request.shown;
    let cause = innermost(error);
    if error.is_connect() || error.is_dns() {
        let host = request.url.host_str().unwrap_or(shown);
        let hint = match &params.recording {
            Some(_) => "; without a network `--offline` reads the recording instead",
            None => "",
        };
        return SourceError::unreachable(format!("{host} cannot be reached: {cause}{hint}"));
    }
    if error.is_timeout() {
        let timeout = humantime_serde::re::humantime::format_duration(params.timeout);
        return SourceError::transient(format!(
            "{shown} took longer than `rest_api.timeout` = \"{timeout}\""
        ));
    }
    if error.is_builder() || error.is_redirect() {
        return SourceError::permanent(format!("{shown} cannot be asked: {cause}"));
    }
    SourceError::transient(format!("{shown} broke off: {cause}"))
}

/// The text of the error at the bottom, which names the cause.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
