//! Owns what came: a body, and what stands around it.

use reqwest::header::HeaderMap;

use super::said::{Refused, Said};
use crate::sources::RateState;

/// A response that is no error.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Where it came from, without secrets: an address, or the file of a recorded page.
    pub from: String,
    /// HTTP status, 200 for a recorded page.
    pub status: u16,
    /// Its headers, without secrets; none for a recorded page.
    pub headers: HeaderMap,
    /// The body, in whole.
    pub body: Vec<u8>,
    /// In how many places of the body a secret of the request stood.
    pub redacted: u64,
    /// What it says besides.
    pub said: Said,
    /// What it says of rates.
    pub rate: RateState,
    /// What a response that says [`Said::Nothing`] is where it is no end.
    pub refused: Option<Refused>,
}
