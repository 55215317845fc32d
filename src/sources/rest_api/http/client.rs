//! Owns the network: one request and the response at the end of its redirects, within policy of time
//! and size, and what it means when there is no answer.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, TRANSFER_ENCODING,
};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, StatusCode, Url, Version};

use super::body_text;
use super::decompress::{ACCEPTED, DecompressError, Decompressor, Limits, encodings};
use super::error_response::{ErrorResponse, Waits};
use super::public_address::{NotPublic, PublicOnly};
use super::rates;
use super::redirects::{RedirectPolicy, Target};
use super::response::Response;
use super::said::{self, Said};
use crate::job_file::setting::Setting;
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{RateState, SourceError, SourceErrorKind};

/// The longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of an error response.
const ERROR_BYTES: u64 = 64 * 1024;
/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// The clients of a source.
#[derive(Debug)]
pub(in crate::sources::rest_api) struct Clients {
    /// For the host of the job file.
    own: Client,
    /// For another origin that the job file allows by its address: the same without the certificate by which the API
    /// knows us. Made when it is needed.
    other: OnceLock<Client>,
    /// For hosts that answers lead to: connects to public addresses only, and goes through no proxy,
    /// where the address that is connected to could not be checked. Made when it is needed.
    elsewhere: OnceLock<Client>,
}

impl Clients {
    /// Makes what the first request needs.
    pub fn new(params: &RestApiParams, base_dir: &Path) -> Result<Self, SourceError> {
        let builder = builder(params);
        let own = made(match &params.tls {
            Some(tls) => tls.add_to(builder, base_dir)?,
            None => builder,
        })?;
        Ok(Self { own, other: OnceLock::new(), elsewhere: OnceLock::new() })
    }

    pub(super) fn for_target(
        &self,
        target: &Target,
        params: &RestApiParams,
    ) -> Result<&Client, SourceError> {
        let (kept, builder) = match (target.public_only, target.same_origin) {
            (false, true) => return Ok(&self.own),
            (false, false) if params.tls.is_none() => return Ok(&self.own),
            (false, false) => (&self.other, builder(params)),
            (true, _) => (&self.elsewhere, builder(params).no_proxy().dns_resolver(PublicOnly)),
        };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let client = made(builder)?;
        Ok(kept.get_or_init(|| client))
    }
}

fn builder(params: &RestApiParams) -> ClientBuilder {
    // Fails only when a provider is installed already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Decompressed here and not by the client, which would not tell how much came.
    let headers = [
        (ACCEPT, HeaderValue::from_static("application/json")),
        (ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED)),
    ];
    Client::builder()
        .user_agent(concat!("kasparro/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers.into_iter().collect())
        .connect_timeout(params.timeout.min(CONNECT_TIMEOUT))
        // Followed here and not by the client, which drops only headers it knows to be secret.
        .redirect(Policy::none())
        .referer(false)
}

/// A client of nobody's job file.
///
/// # Errors
/// When there can be none.
pub(in crate::sources::rest_api) fn bare(direct: bool) -> Result<Client, SourceError> {
    let nowhere = Setting::Literal(String::new());
    let builder = builder(&RestApiParams::at(nowhere));
    made(if direct { builder.no_proxy() } else { builder })
}

fn made(builder: ClientBuilder) -> Result<Client, SourceError> {
    builder.build().map_err(|error| {
        let cause = innermost(&error);
        let message = format!("no HTTPS client can be made: {cause}");
        SourceError::new(SourceErrorKind::MissingValue, message)
            .advise("if certificates are missing, install the package ca-certificates")
    })
}

/// Sends a request and reads its response, which has to be one with a body: for login servers.
///
/// # Errors
/// When there is none, or it refuses.
#[allow(dead_code, reason = "for login servers")]
pub(in crate::sources::rest_api) async fn send(
    clients: &Clients,
    request: &RequestParts,
    params: &RestApiParams,
) -> Result<Response, SourceError> {
    let response = send_for_any(clients, request, params).await?;
    match response.refused {
        Some(refused) => Err(refused.into()),
        None => Ok(response),
    }
}

/// Sends a request and reads its response of any status: what it is otherwise than a page, its `refused` says.
///
/// # Errors
/// When there is none.
pub(in crate::sources::rest_api) async fn send_for_any(
    clients: &Clients,
    request: &RequestParts,
    params: &RestApiParams,
) -> Result<Response, SourceError> {
    let response = follow_redirects(clients, request, params, What::Answer).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let rate = rates::of_headers(&headers, SystemTime::now());
    let from = request.url.to_string();
    let came = Response { from, status: status.as_u16(), headers, rate, ..Response::default() };
    if !status.is_success() {
        let (error, text) = error_of(response, rate, request, params).await;
        let (body, refused) = (text.into_bytes(), Some(error.into()));
        let mut came = came;
        body_text::declare_utf_8(&mut came.headers);
        return Ok(Response { body, said: Said::Nothing, refused, ..came });
    }
    let body = body(response, request, params).await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        let refused = Some(said::no_body(&came.from, status));
        return Ok(Response { said: Said::Nothing, refused, ..came });
    }
    Ok(Response { body, ..came })
}

/// Begins to download a file: its bytes are still to come, as they are.
///
/// # Errors
/// When there is none, or the request is refused.
pub(in crate::sources::rest_api) async fn download(
    clients: &Clients,
    request: &RequestParts,
    params: &RestApiParams,
) -> Result<reqwest::Response, SourceError> {
    let response = begin_download(clients, request, params, &HeaderMap::new()).await?;
    let (status, shown) = (response.status(), request.shown());
    if !status.is_success() {
        return Err(refusal(response, request, params).await);
    }
    let invalid = |why: String| {
        SourceError::new(SourceErrorKind::InvalidResponse, format!("{shown} answered {why}"))
    };
    if status != StatusCode::OK {
        return Err(invalid(format!("{status}, which is no whole file")));
    }
    // gzip is told by what the file begins with, whoever has packed it.
    match encoding_but_gzip(response.headers()) {
        Some(other) => Err(invalid(format!("in the encoding {other}, which was not asked for"))),
        None => Ok(response),
    }
}

/// Begins to download a file, whatever the answer is. These headers are sent wherever the request leads: there is
/// nothing secret in them.
///
/// # Errors
/// When there is no answer.
pub(in crate::sources::rest_api) async fn begin_download(
    clients: &Clients,
    request: &RequestParts,
    params: &RestApiParams,
    conditions: &HeaderMap,
) -> Result<reqwest::Response, SourceError> {
    follow_redirects(clients, request, params, What::File(conditions)).await
}

/// What a response means that is no file. Its text is waited for no longer than for any other.
pub(in crate::sources::rest_api) async fn refusal(
    response: reqwest::Response,
    request: &RequestParts,
    params: &RestApiParams,
) -> SourceError {
    let rate = rates::of_headers(response.headers(), SystemTime::now());
    error_of(response, rate, request, params).await.0
}

/// What a body is encoded in for its way, if it is not gzip, as it may be shown.
pub(in crate::sources::rest_api) fn encoding_but_gzip(headers: &HeaderMap) -> Option<String> {
    let encodings = encodings(headers);
    let other = encodings.iter().find(|name| !matches!(name.as_str(), "gzip" | "x-gzip"))?;
    Some(crate::domain::text::beginning(other))
}

/// Whether the server says where a body ends. Otherwise the connection's end is taken for it, which may come early.
pub(in crate::sources::rest_api) fn end_is_told(response: &reqwest::Response) -> bool {
    let encodings = response.headers().get_all(TRANSFER_ENCODING);
    let last = encodings.iter().next_back().and_then(|encoding| encoding.to_str().ok());
    let last = last.and_then(|encodings| encodings.rsplit(',').next());
    response.content_length().is_some()
        || response.version() >= Version::HTTP_2
        || last.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("chunked"))
}

/// The next bytes of a file that is being downloaded; `None` at its end.
///
/// # Errors
/// When the connection breaks off, or nothing comes for as long as a request may take.
pub(in crate::sources::rest_api) async fn more(
    response: &mut reqwest::Response,
    request: &RequestParts,
    params: &RestApiParams,
) -> Result<Option<bytes::Bytes>, SourceError> {
    match tokio::time::timeout(params.timeout, response.chunk()).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let from = response.url().clone();
            Err(no_answer(&error, &from, request, params))
        }
        Err(_) => Err(too_long(request, params)),
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum What<'h> {
    /// An answer, all of which comes within the time limit.
    Answer,
    /// A file, of which only the beginning does; these headers go with the request wherever it leads.
    File(&'h HeaderMap),
}

/// The response at the end of all redirects.
async fn follow_redirects(
    clients: &Clients,
    request: &RequestParts,
    params: &RestApiParams,
    what: What<'_>,
) -> Result<reqwest::Response, SourceError> {
    let deadline = Instant::now() + params.timeout;
    let policy = RedirectPolicy {
        home: request.home.as_ref().unwrap_or(&request.url),
        allowed: &params.allowed_hosts,
        secrets: &request.secrets,
    };
    let mut target = begin(request, &policy)?;
    let mut method = request.method.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut sending =
            clients.for_target(&target, params)?.request(method.clone(), target.url.clone());
        let left = deadline.saturating_duration_since(Instant::now());
        sending = match what {
            What::Answer => sending.timeout(left),
            What::File(more) => {
                let plain = sending.header(ACCEPT, "*/*").header(ACCEPT_ENCODING, "identity");
                plain.headers(more.clone())
            }
        };
        if method != Method::GET {
            // A type that the job file has among its headers replaces this one.
            if let Some(content_type) = request.body.content_type() {
                sending = sending.header(CONTENT_TYPE, content_type);
            }
            sending = sending.body(request.body.to_bytes());
        }
        if target.same_origin {
            sending = sending.headers(request.headers.clone());
        }
        let sent = match what {
            What::Answer => sending.send().await,
            What::File(_) => match tokio::time::timeout(left, sending.send()).await {
                Ok(sent) => sent,
                Err(_) => return Err(too_long(request, params)),
            },
        };
        let response = sent.map_err(|error| no_answer(&error, &target.url, request, params))?;
        let Some(link) = redirect(&response) else { return Ok(response) };
        let status = response.status();
        let next = policy.follow(&target, &link);
        if let Ok(next) = &next {
            method = redirected(&method, status, next)
                .map_err(|why| bad_redirect(request.shown(), status, why))?;
        }
        target = next.map_err(|error| {
            let shown = request.shown();
            let message = format!("{shown} answered {status}, which {error}");
            SourceError {
                advice: error.advice(),
                ..SourceError::new(SourceErrorKind::BadRedirect, message)
            }
        })?;
    }
    let message = format!("{} redirects more than {MAX_REDIRECTS} times", request.shown());
    Err(SourceError::new(SourceErrorKind::BadRedirect, message)
        .advise("put the address at the end in `base_url`"))
}

/// Where the request goes first: to the job file's own origin with everything that is secret, or to where an answer
/// led, under the rule for redirects.
fn begin(request: &RequestParts, policy: &RedirectPolicy<'_>) -> Result<Target, SourceError> {
    let Some(home) = request.home.as_ref().filter(|home| home.origin() != request.url.origin())
    else {
        return Ok(Target::home(request.secret_url()));
    };
    let refused = |why: String| {
        let what = match request.shown {
            Some(_) => "the address of the file",
            None => "the link to the next page",
        };
        let message = format!("{what} {why}");
        SourceError::new(SourceErrorKind::BadRedirect, message)
    };
    if request.method != Method::GET {
        return Err(refused(
            "leads to another host, and the body of a request is sent to no other".to_owned(),
        ));
    }
    let link = request.url.as_str();
    policy
        .follow(&Target::home(home.clone()), link)
        .map_err(|error| SourceError { advice: error.advice(), ..refused(error.to_string()) })
}

/// The method by which the next address is asked: only 303 says that it is another one.
///
/// # Errors
/// When the body would be lost or sent to somebody else.
fn redirected(method: &Method, status: StatusCode, next: &Target) -> Result<Method, &'static str> {
    match status.as_u16() {
        _ if method == Method::GET => Ok(Method::GET),
        303 => Ok(Method::GET),
        307 | 308 if next.same_origin => Ok(method.clone()),
        307 | 308 => Err("leads to another host, and the body of a request is sent to no other"),
        _ => Err(
            "leads elsewhere without the body of the request, and so would ask for something else",
        ),
    }
}

fn bad_redirect(shown: &Url, status: StatusCode, why: &str) -> SourceError {
    let message = format!("{shown} answered {status}, which {why}");
    SourceError::new(SourceErrorKind::BadRedirect, message)
        .advise("put the address at the end in `base_url`")
}

/// Where a response redirects to, as it says it.
fn redirect(response: &reqwest::Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// What an error response means, and the beginning of its body.
async fn error_of(
    mut response: reqwest::Response,
    rate: RateState,
    request: &RequestParts,
    params: &RestApiParams,
) -> (SourceError, String) {
    // Before it is cut: the beginning of a secret would not be found.
    let text = tokio::time::timeout(params.timeout, beginning_of(&mut response)).await;
    let text = request.secrets.redact(&text.unwrap_or_default());
    let (url, status) = (request.shown().as_str(), response.status());
    let error = ErrorResponse { url, status, rate, body: &text }
        .classify(Waits::of(params), &request.advice);
    (error, text)
}

/// What can be read of an error response: without its text it still is one.
async fn beginning_of(response: &mut reqwest::Response) -> String {
    let limits = Limits { bytes: ERROR_BYTES, ratio: u32::MAX };
    let Ok(mut decompressor) = Decompressor::new(response.headers(), limits) else {
        return String::new();
    };
    while let Ok(Some(chunk)) = response.chunk().await
        && decompressor.feed(&chunk).is_ok()
    {}
    body_text::readable(&decompressor.beginning(), response.headers())
}

async fn body(
    mut response: reqwest::Response,
    request: &RequestParts,
    params: &RestApiParams,
) -> Result<Vec<u8>, SourceError> {
    let limits = Limits {
        bytes: params.max_response_bytes.get(),
        ratio: params.max_compression_ratio.get(),
    };
    let no_body = |error: DecompressError| {
        let kind = match error {
            DecompressError::Corrupt(..) => SourceErrorKind::BrokenOff,
            DecompressError::TooLarge(_) | DecompressError::TooDense { .. } => {
                SourceErrorKind::TooLarge
            }
            DecompressError::Encoding(_) => SourceErrorKind::InvalidResponse,
        };
        let message = format!("{} {error}", request.url);
        SourceError { advice: error.advice(), ..SourceError::new(kind, message) }
    };
    if response.content_length().is_some_and(|length| length > limits.bytes) {
        return Err(no_body(DecompressError::TooLarge(limits.bytes)));
    }
    let mut decompressor = Decompressor::new(response.headers(), limits).map_err(no_body)?;
    let from = response.url().clone();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| no_answer(&error, &from, request, params))?
    {
        decompressor.feed(&chunk).map_err(no_body)?;
    }
    decompressor.finish().map_err(no_body)
}

/// What it means that a request has no whole answer. reqwest's error is told, not kept: it, or one
/// beneath it, may hold the address with the key in it.
pub(super) fn no_answer(
    error: &reqwest::Error,
    asked: &Url,
    request: &RequestParts,
    params: &RestApiParams,
) -> SourceError {
    let shown = request.shown();
    let cause = innermost(error);
    if let Some(not_public) = beneath::<NotPublic>(error) {
        let message = format!("{shown} redirects: {not_public}");
        return SourceError::new(SourceErrorKind::BadRedirect, message).advise(NotPublic::ADVICE);
    }
    if beneath(error).is_some_and(hyper::Error::is_parse_too_large) {
        let message = format!(
            "{shown} answered with more than 100 headers, or headers of more than 400 KiB: no API \
             needs so many"
        );
        return SourceError::new(SourceErrorKind::TooLarge, message)
            .advise("see what answers there");
    }
    if asked.scheme() == "http" && beneath(error).is_some_and(hyper::Error::is_parse) {
        let message = format!("{shown} answered with something that is no HTTP: {cause}");
        return SourceError::new(SourceErrorKind::BrokenOff, message)
            .advise("the server may speak TLS there: is it `https://` in `base_url`?");
    }
    if error.is_connect() || error.is_dns() {
        let host = match (asked.host_str(), asked.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => shown.to_string(),
        };
        // What a server without TLS sends is no message of it.
        if asked.scheme() == "https" && cause.contains("InvalidContentType") {
            let message = format!("{host} does not speak TLS: {cause}");
            return SourceError::new(SourceErrorKind::Unreachable, message)
                .advise("is it `http://` in `base_url`, or another port?");
        }
        let message = format!("{host} cannot be reached: {cause}");
        let unreachable = SourceError::new(SourceErrorKind::Unreachable, message);
        return match &params.recording {
            Some(_) => unreachable.advise(
                "without a network `kasparro run SOURCE --offline --restart` reads the recording \
                 instead",
            ),
            None => unreachable,
        };
    }
    if error.is_timeout() {
        return too_long(request, params);
    }
    if error.is_builder() {
        let message = format!("{shown} cannot be asked: {cause}");
        return SourceError::new(SourceErrorKind::InvalidConfig, message);
    }
    SourceError::new(SourceErrorKind::BrokenOff, format!("{shown} broke off: {cause}"))
}

pub(super) fn too_long(request: &RequestParts, params: &RestApiParams) -> SourceError {
    let shown = request.shown();
    let timeout = humantime_serde::re::humantime::format_duration(params.timeout);
    let message = format!("{shown} took longer than `rest_api.timeout` = \"{timeout}\"");
    SourceError::new(SourceErrorKind::TimedOut, message)
}

/// The error of that type beneath another.
fn beneath<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The text of the error at the bottom, which names the cause.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
