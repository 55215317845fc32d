//! Owns single requests that are no pages: those that make an export job and look at it, and the download of what
//! it made.
//!
//! Must not know what is in a file, nor what the job file says of jobs: that is `sources/export`.

use chrono::{DateTime, Utc};
use reqwest::header::DATE;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use std::sync::Arc;

use super::asking::Called;
use super::error_words;
use super::http::body_text;
use super::http::client;
use super::http::redact::Secrets;
use super::http::response::Response;
use super::http::said::Said;
use super::incremental::Trace;
use super::params::RestApiParams;
use super::position::{PagePosition, Run};
use super::request::RequestParts;
use super::source::RestApiSource;
use crate::domain::chain_end::ChainEnd;
use crate::domain::hash::ContentHash;
use crate::domain::text;
use crate::sources::{Plan, PlanRequest, RateState, SourceError, SourceErrorKind, TokenStore};

/// Pieces of a file that wait to be read.
const WAITING: usize = 8;
/// A shorter value in the query of an address is no secret.
const SHORTEST_SECRET: usize = 8;

/// What a request was answered.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Answer {
    /// Where it came from, without secrets.
    pub from: String,
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// The API's clock, when it answered.
    pub date: Option<DateTime<Utc>>,
    /// What it said of rates.
    pub rate: RateState,
}

/// A file that is coming.
pub(in crate::sources) struct Download {
    /// Its address, without the query, which may be as good as a key.
    pub name: String,
    /// Whether the server says where it ends; otherwise the end of the connection is taken for that.
    pub end_is_told: bool,
    /// What the answer says that its text is in.
    pub charset: Option<&'static encoding_rs::Encoding>,
    /// Its bytes, as they come; `None` is its end, and an error ends them.
    pub bytes: tokio::sync::mpsc::Receiver<Result<Option<bytes::Bytes>, SourceError>>,
}

impl Answer {
    /// The API's own words for what is wrong, if it has any.
    pub fn words(&self) -> Option<String> {
        let json: Value = serde_json::from_str(&self.body).ok()?;
        let words = error_words::error_in(&json).map(|words| text::beginning(&words));
        words.filter(|words| !words.is_empty())
    }
}

impl RestApiSource {
    /// What a run asks for first: one position, or one for each window that is read side by side.
    ///
    /// # Errors
    /// When a position cannot be read again.
    pub(in crate::sources) fn plan_jobs(&self, request: &PlanRequest) -> Result<Plan, SourceError> {
        let mut plan = self.planned(request, None);
        for next in &mut plan.slices {
            let at = PagePosition::from_json(&next.position)?;
            let run = Some(Run { id: request.run, date: request.now.date_naive() });
            next.position = PagePosition { run, ..at }.to_json();
        }
        Ok(plan)
    }

    /// The same position, of a job that the API has made.
    ///
    /// # Errors
    /// When it is no position.
    pub(in crate::sources) fn of_job(position: &Value, job: Value) -> Result<Value, SourceError> {
        Ok(PagePosition { job: Some(job), ..PagePosition::from_json(position)? }.to_json())
    }

    /// The same position, of a job that is still to be made.
    ///
    /// # Errors
    /// When it is no position.
    pub(in crate::sources) fn without_job(position: &Value) -> Result<Value, SourceError> {
        Ok(PagePosition { job: None, ..PagePosition::from_json(position)? }.to_json())
    }

    /// The job that a position is of; null when of none.
    ///
    /// # Errors
    /// When it is no position.
    pub(in crate::sources) fn job_of(position: &Value) -> Result<Value, SourceError> {
        Ok(PagePosition::from_json(position)?.job.unwrap_or_default())
    }

    /// A key for the request at a position: the same whenever the same run asks for the same.
    ///
    /// # Errors
    /// When there is no such request.
    pub(in crate::sources) fn idempotency_key(
        &self,
        source: &str,
        position: &Value,
    ) -> Result<String, SourceError> {
        let at = PagePosition::from_json(position)?;
        let asked = self.request(position, Called::Sent(&at))?.asked();
        let run = at.run.map(|run| (run.id.0, run.date));
        let planned = at.window.as_ref().map(|window| window.planned.timestamp_micros());
        let text = format!("{source}\n{run:?}\n{planned:?}\n{}", asked.fingerprint);
        let hash = ContentHash::of(text.as_bytes()).to_string();
        let run = at.run.map_or(0, |run| run.id.0);
        Ok(format!("kasparro-{run}-{}", &hash[..32]))
    }

    /// What a window leaves for the end of its run, when all of it was read.
    ///
    /// # Errors
    /// When it is no position.
    pub(in crate::sources) fn job_trace(
        &self,
        position: &Value,
        date: Option<DateTime<Utc>>,
        end: &ChainEnd,
    ) -> Result<Option<Value>, SourceError> {
        let at = PagePosition::from_json(position)?;
        let tracker = self.reader.tracker.as_ref();
        let trace = tracker.and_then(|tracker| tracker.trace(&at, None, date, Some(end.clone())));
        Ok(trace.as_ref().map(Trace::to_json))
    }

    /// Asks once, with these headers besides.
    ///
    /// # Errors
    /// When there is no answer, or it refuses.
    pub(in crate::sources) async fn call(
        &self,
        position: &Value,
        tokens: &Arc<dyn TokenStore>,
        headers: &[(&str, String)],
    ) -> Result<Answer, SourceError> {
        let at = PagePosition::from_json(position)?;
        let mut refused = Vec::new();
        loop {
            let mut request = self.request(position, Called::Sent(&at))?;
            for (name, value) in headers {
                request.set_header(name, value, name)?;
            }
            let sent = self.authorize(&mut request, &at, tokens, &refused).await?;
            let answered = client::send_for_any(self.clients()?, &request, &self.params).await;
            let answered = answered.map(|response| request.secrets.redact_response(response));
            match answered.and_then(answer) {
                Err(error) if may_renew(&error, &refused, &sent) => refused = sent,
                answer => return answer.map_err(|error| request.secrets.redact_error(error)),
            }
        }
    }

    /// Begins to download the file at the last of these addresses, to which answers at `position` led: the others were
    /// refused. On another host than the API's own it is asked for without any key, and only where the job file allows it.
    ///
    /// # Errors
    /// When nobody goes there, or it is refused there.
    pub(in crate::sources) async fn download(
        &self,
        position: &Value,
        links: &[String],
        tokens: &Arc<dyn TokenStore>,
    ) -> Result<Download, SourceError> {
        let at = PagePosition::from_json(position)?;
        let mut refused = Vec::new();
        loop {
            let mut request = self.request(position, Called::Sent(&at))?;
            let url = |link: &String| request.url.join(link).ok();
            // What was refused may be named by whoever refuses this one.
            let before: Vec<Url> = links.iter().filter_map(url).collect();
            let url = links.last().and_then(url).ok_or_else(|| {
                let message = format!("{} leads to a file at no address", request.url);
                SourceError::new(SourceErrorKind::InvalidResponse, message)
            })?;
            request.follow_presigned(url);
            let sent = self.authorize(&mut request, &at, tokens, &refused).await?;
            let hidden = hidden(before.iter().chain([&request.url]));
            let params = self.params.clone();
            match client::download(self.clients()?, &request, &params).await {
                Err(error) if may_renew(&error, &refused, &sent) => refused = sent,
                Err(error) => return Err(hide(&hidden, request.secrets.redact_error(error))),
                Ok(response) => return Ok(pumped(response, request, params, hidden)),
            }
        }
    }
}

/// Whether tokens of login servers went with a request that was refused, and may be renewed.
pub(super) fn may_renew<T>(error: &SourceError, refused: &[T], sent: &[T]) -> bool {
    error.kind == SourceErrorKind::Unauthorized && refused.is_empty() && !sent.is_empty()
}

/// What a response says, unless it refuses. One that prepares what was asked for need not say anything.
fn answer(response: Response) -> Result<Answer, SourceError> {
    let Response { from, status, headers, body, said, rate, refused, .. } = response;
    let is_preparing = status == StatusCode::ACCEPTED.as_u16();
    if let Some(refused) = refused.filter(|_| !is_preparing || said != Said::Nothing) {
        return Err(refused.into());
    }
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok()).map(Into::into);
    let body = body_text::decode(body, &headers).map_err(|error| error.at(&from))?;
    Ok(Answer { from, status, body, date, rate })
}

/// Reads a file while it comes, as far ahead as `WAITING` says.
pub(super) fn pumped(
    mut response: reqwest::Response,
    request: RequestParts,
    params: Arc<RestApiParams>,
    hidden: Option<Secrets>,
) -> Download {
    let name = request.secrets.redact(request.shown().as_str());
    let end_is_told = client::end_is_told(&response);
    let charset = body_text::declared(response.headers());
    let (sender, bytes) = tokio::sync::mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let next = client::more(&mut response, &request, &params).await;
            let next = next.map_err(|error| hide(&hidden, request.secrets.redact_error(error)));
            let ended = !matches!(next, Ok(Some(_)));
            // Nobody reads it any more.
            if sender.send(next).await.is_err() || ended {
                return;
            }
        }
    });
    Download { name, end_is_told, charset, bytes }
}

/// What the queries of addresses hold that may be as good as a key; `None` where that is too long to be looked for.
pub(super) fn hidden<'u>(urls: impl Iterator<Item = &'u Url>) -> Option<Secrets> {
    let mut secrets = Secrets::default();
    let pairs = urls.flat_map(Url::query_pairs);
    for (name, value) in pairs.filter(|(_, value)| value.len() >= SHORTEST_SECRET) {
        secrets.add(&value, &name).ok()?;
    }
    Some(secrets)
}

pub(super) fn hide(hidden: &Option<Secrets>, error: SourceError) -> SourceError {
    match hidden {
        Some(secrets) => secrets.redact_error(error),
        None => {
            let message = "the file cannot be had, and what was said of it may hold its key";
            SourceError::new(error.kind, message)
        }
    }
}
