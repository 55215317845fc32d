//! Owns what an answer means before anybody looks for records in it: by the rules of the job file, by its status,
//! and by what it says of itself.
//!
//! Must not know how the answer was had, nor where the next page is.

use std::time::{Duration, SystemTime};

use super::body_path::BodyPath;
use super::complaint;
use super::data_selector::DataSelector;
use super::error_words;
use super::http::error_response::{Waits, speaks_of_a_rate_limit, wait};
use super::http::rates;
use super::http::response::Response;
use super::http::said::{self, Said};
use super::params::RestApiParams;
use super::responses::{ResponseAction, Responses, Verdict};
use crate::domain::text;
use crate::sources::{RateState, SourceError, SourceErrorKind};

/// The longest body that is parsed to find words of an error in it.
const MAX_SMALL: usize = 64 * 1024;
/// The first wait for what a server prepares, when it does not say how long that takes.
const PREPARING: Duration = Duration::from_secs(5);

/// What decides what answers mean.
#[derive(Debug)]
pub(super) struct Answers {
    rules: Responses,
    waits: Waits,
    /// Whether to heed what an answer says is wrong with it.
    heeds_errors: bool,
    /// Whether an error fails the answer also beside records: one of GraphQL lacks what the error is about.
    is_graphql: bool,
    /// `rate_limit.remaining_path` and `rate_limit.reset_path`.
    remaining: Option<BodyPath>,
    reset: Option<BodyPath>,
}

impl Answers {
    /// What decides for a job file.
    ///
    /// # Errors
    /// When a rule or a path cannot be used.
    pub fn new(params: &RestApiParams) -> Result<Self, SourceError> {
        let limit = params.rate_limit.as_ref();
        let path =
            |key, path: Option<&String>| path.map(|path| BodyPath::parse(key, path)).transpose();
        Ok(Self {
            rules: Responses::new(&params.responses)?,
            waits: Waits::of(params),
            heeds_errors: !params.ignore_errors,
            is_graphql: params.graphql.is_some(),
            remaining: path(
                "remaining_path",
                limit.and_then(|limit| limit.remaining_path.as_ref()),
            )?,
            reset: path("reset_path", limit.and_then(|limit| limit.reset_path.as_ref()))?,
        })
    }

    /// The answer as what it means: a page, an end, or something that is left out.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn judge(&self, mut response: Response) -> Result<Response, SourceError> {
        self.read_rate(&mut response)?;
        let text = || String::from_utf8_lossy(&response.body);
        let verdict = match self.rules.is_empty() {
            true => None,
            false => self.rules.verdict(response.status, &response.headers, &text())?,
        };
        if let Some(verdict) = verdict {
            let meant = self.meant(verdict, &response);
            let said = meant.map_err(|error| error.with_rate(response.rate))?;
            return Ok(Response { said, refused: None, ..response });
        }
        let status = response.status;
        match response.refused {
            Some(_) if status == 202 => Err(self.preparing(response.rate)),
            Some(refused) if !said::may_be_the_end(status) && !(200..300).contains(&status) => {
                Err(refused.into())
            }
            _ => Ok(response),
        }
    }

    /// What a rule says of an answer.
    fn meant(&self, verdict: &Verdict, response: &Response) -> Result<Said, SourceError> {
        let kind = match verdict.action {
            // What came with it counts.
            ResponseAction::End if (200..300).contains(&response.status) => return Ok(Said::Last),
            ResponseAction::End => return Ok(Said::End),
            ResponseAction::Ignore => return Ok(Said::Ignored),
            ResponseAction::SkipParent => return Ok(Said::ParentGone),
            ResponseAction::Fail => SourceErrorKind::Rejected,
            ResponseAction::Retry => SourceErrorKind::ServerError,
            ResponseAction::Renew => SourceErrorKind::Unauthorized,
            ResponseAction::Wait => {
                let asked = response.rate.wait().max(verdict.wait);
                return Err(wait(told(verdict, response), asked, self.waits));
            }
        };
        Err(SourceError::new(kind, told(verdict, response)))
    }

    /// Adds what the body says of rates.
    fn read_rate(&self, response: &mut Response) -> Result<(), SourceError> {
        if self.remaining.is_none() && self.reset.is_none() {
            return Ok(());
        }
        let Ok(body) = std::str::from_utf8(&response.body) else { return Ok(()) };
        // What is no JSON has no such values; what else it is others say.
        let found = |path: &Option<BodyPath>| match path {
            Some(path) => match path.find(body) {
                Err(error) if error.kind == SourceErrorKind::TooLarge => Err(error),
                found => Ok(found.unwrap_or_default()),
            },
            None => Ok(None),
        };
        let (remaining, reset) = (found(&self.remaining)?, found(&self.reset)?);
        let of_body = rates::of_body(
            remaining.as_ref(),
            reset.as_ref(),
            &response.headers,
            SystemTime::now(),
        );
        response.rate = response.rate.and(of_body);
        Ok(())
    }

    /// What an answer says is wrong with it beside its records.
    ///
    /// # Errors
    /// When it says so in place of records, or says that there were too many requests.
    pub fn complaint(
        &self,
        body: &str,
        selector: &DataSelector,
        is_empty: bool,
        rate: RateState,
    ) -> Result<Option<String>, SourceError> {
        let complaint = match self.heeds_errors {
            true => complaint::complaint(body, &selector.place),
            false => None,
        };
        match complaint {
            Some(complaint)
                if (is_empty || self.is_graphql) && speaks_of_a_rate_limit(&complaint) =>
            {
                let said = format!("the answer says {complaint}");
                Err(wait(said, rate.wait(), self.waits))
            }
            Some(complaint) if is_empty && selector.finds_null(body) => {
                let message =
                    format!("the answer has null in place of records, and says {complaint}");
                Err(SourceError::new(SourceErrorKind::InvalidResponse, message))
            }
            Some(complaint) if self.is_graphql && complaint.starts_with("`errors`") => {
                let message = format!("the answer to the GraphQL query says {complaint}");
                Err(SourceError::new(SourceErrorKind::InvalidResponse, message).advise(
                    "if what is there beside them is all you want, write `ignore_errors = true`",
                ))
            }
            complaint => Ok(complaint),
        }
    }

    /// What it means that an answer holds no page: that the server still prepares it, that there were too many
    /// requests, or what is wrong with it.
    pub fn no_page(
        &self,
        status: u16,
        rate: RateState,
        body: &str,
        error: SourceError,
    ) -> SourceError {
        let is_of_body =
            matches!(error.kind, SourceErrorKind::InvalidResponse | SourceErrorKind::BrokenOff);
        if !is_of_body {
            return error;
        }
        if status == 202 {
            return self.preparing(rate);
        }
        let words = words_of(body.as_bytes()).filter(|_| self.heeds_errors);
        match words.is_some_and(|words| speaks_of_a_rate_limit(&words)) {
            true => wait(error.message, rate.wait(), self.waits),
            false => error,
        }
    }

    /// The error of a server that accepted the request and has no answer yet.
    pub fn preparing(&self, rate: RateState) -> SourceError {
        let said = "answered 202 Accepted, and has nothing yet".to_owned();
        let waits = Waits { usual: PREPARING, ..self.waits };
        let error = wait(said, rate.wait(), waits);
        let kind = match error.kind {
            SourceErrorKind::RateLimited(wait) => SourceErrorKind::Preparing(wait),
            kind => kind,
        };
        SourceError { kind, ..error }.with_rate(rate)
    }
}

/// What a rule says, or the API itself.
fn told(verdict: &Verdict, response: &Response) -> String {
    let (status, place) = (response.status, verdict.place);
    let words = verdict.message.clone().or_else(|| words_of(&response.body));
    let words = words.unwrap_or_else(|| text::beginning(&String::from_utf8_lossy(&response.body)));
    let words = match words.as_str() {
        "" => format!("answered {status}"),
        words => format!("answered {status}: {words}"),
    };
    format!("{words} (by `rest_api.responses[{place}]`)")
}

/// The API's own words in a short body.
fn words_of(body: &[u8]) -> Option<String> {
    if body.len() > MAX_SMALL {
        return None;
    }
    let json = serde_json::from_slice(body).ok()?;
    error_words::error_in(&json).map(|words| text::beginning(&words))
}
