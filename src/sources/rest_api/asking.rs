//! Owns how the parts of a request come out of the job file: its address, parameters and body, with the
//! values of their templates.
//!
//! Must not know paginators, and nothing secret.

use std::path::Path;

use super::params::RestApiParams;
use super::position::PagePosition;
use super::request::{RequestParts, address};
use super::template::{self, Names, RUN_DATE, RUN_ID, Supplied, Unfilled};
use crate::sources::SourceError;

/// What the names of templates stand for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Called<'a> {
    /// What this position says: the request is sent.
    Sent(&'a PagePosition),
    /// What this position says, and themselves where it says nothing: nobody sends the request.
    Unsent(&'a PagePosition),
    /// Themselves.
    Nothing,
}

impl Names for Called<'_> {
    fn supply(&self, name: &str) -> Option<Supplied> {
        match self {
            Self::Sent(position) => supplied(position, name),
            Self::Unsent(position) => supplied(position, name).or(Some(Supplied::Itself)),
            Self::Nothing => Unfilled.supply(name),
        }
    }
}

fn supplied(position: &PagePosition, name: &str) -> Option<Supplied> {
    let run = position.run?;
    match name {
        RUN_ID => Some(Supplied::Value(run.id.0.into())),
        RUN_DATE => {
            let midnight = run.date.and_time(chrono::NaiveTime::MIN).and_utc();
            Some(Supplied::Time(midnight, chrono_tz::UTC, run.date.to_string().into()))
        }
        _ => None,
    }
}

/// A job file that is about to be asked for a page.
pub(super) struct Asking<'a> {
    pub params: &'a RestApiParams,
    pub base_dir: &'a Path,
    pub names: Called<'a>,
}

impl Asking<'_> {
    /// The parts of the request that every page has.
    ///
    /// # Errors
    /// When a name has no value, or the address cannot be had and the request is to be sent.
    pub fn parts(&self) -> Result<RequestParts, SourceError> {
        let Self { params, base_dir, names } = self;
        let path = template::parsed(&params.path)?.path(names)?;
        let mut request = match (address(&params.base_url, &path), names) {
            (Ok(url), _) => RequestParts::new(url),
            (Err(error), Called::Sent(_)) => return Err(error),
            (Err(_), Called::Unsent(_) | Called::Nothing) => RequestParts::without_address(&path),
        };
        request.method = params.body().method();
        for (name, value) in &params.params {
            for text in value.filled(names)? {
                request.add_query(name, &text);
            }
        }
        request.body = params.body().body(names, base_dir)?;
        Ok(request)
    }
}
