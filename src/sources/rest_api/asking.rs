//! Owns how the parts of a request come out of the job file: its address, parameters and body, with the
//! values of their templates.
//!
//! Must not know how pages are walked, and nothing secret.

use std::path::Path;

use serde_json::Value;

use super::bound::Side;
use super::incremental::Tracker;
use super::paginator::PagePath;
use super::params::RestApiParams;
use super::position::PagePosition;
use super::request::{RequestParts, address};
use super::template::{self, JOB_ID, Moment, Names, PARENT, RUN_DATE, RUN_ID, Supplied, Unfilled};
use crate::job_file::setting::Setting;
use crate::sources::SourceError;

/// Who the names of templates are asked of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Called<'a> {
    /// A position: the request is sent.
    Sent(&'a PagePosition),
    /// A position; a name that it has no value for stands for itself, since nobody sends the request.
    Unsent(&'a PagePosition),
    /// Nobody: every name stands for itself.
    Nothing,
}

/// A job file that is about to be asked for a page.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub params: &'a RestApiParams,
    pub base_dir: &'a Path,
    pub tracker: Option<&'a Tracker>,
    pub called: Called<'a>,
    /// The address in place of one whose variable is not set: that of the recording.
    pub recorded_base: Option<&'a str>,
}

impl Names for Asking<'_> {
    fn supply(&self, name: &str) -> Option<Supplied> {
        match self.called {
            Called::Sent(position) => self.of_position(position, name),
            Called::Unsent(position) => self.of_position(position, name).or(Some(Supplied::Itself)),
            Called::Nothing => Unfilled.supply(name),
        }
    }
}

/// The names of a path that is a page's own.
struct OnPage<'a> {
    asking: &'a Asking<'a>,
    path: PagePath<'a>,
}

impl Names for OnPage<'_> {
    fn supply(&self, name: &str) -> Option<Supplied> {
        match name == self.path.name {
            true => Some(Supplied::Value(self.path.value.clone())),
            false => self.asking.supply(name),
        }
    }
}

impl Asking<'_> {
    fn of_position(&self, position: &PagePosition, name: &str) -> Option<Supplied> {
        if name == JOB_ID {
            return position.job.clone().map(Supplied::Value);
        }
        match (name, position.run) {
            (RUN_ID, Some(run)) => Some(Supplied::Value(run.id.0.into())),
            (RUN_DATE, Some(run)) => {
                let midnight = run.date.and_time(chrono::NaiveTime::MIN).and_utc();
                let moment = Moment { time: midnight, zone: chrono_tz::UTC, side: Side::Neither };
                Some(Supplied::Time(moment, run.date.to_string().into()))
            }
            _ if let Some(field) = name.strip_prefix(PARENT) => {
                let parents = &position.parents.as_ref()?.of;
                let is_list = self.params.for_each.as_ref()?.batch() > 1;
                let values: Vec<_> = parents
                    .iter()
                    .map(|fields| fields.get(field).cloned())
                    .collect::<Option<_>>()?;
                match (is_list, values) {
                    (true, values) if !values.is_empty() => Some(Supplied::Value(values.into())),
                    (false, values) => values.into_iter().next().map(Supplied::Value),
                    (true, _) => None,
                }
            }
            _ => self.tracker?.supply(position.window.as_ref()?, name),
        }
    }

    /// Adds the query parameters that take the bounds of an incremental run.
    fn add_bounds(&self, request: &mut RequestParts) {
        let (Some(tracker), Called::Sent(position) | Called::Unsent(position)) =
            (self.tracker, self.called)
        else {
            return;
        };
        let by_cursor = self.params.paginator.asks_by_cursor(&position.at);
        for (param, name) in tracker.bounds().filter(|_| !by_cursor) {
            if let Some(Supplied::Value(value) | Supplied::Time(_, value)) =
                self.of_position(position, name)
            {
                request.add_query(param, &template::text_of(&value));
            }
        }
    }

    /// The path of the page at the paginator's position.
    fn path(&self, at: &Value) -> Result<String, SourceError> {
        match self.params.paginator.path_of(at)? {
            None => template::parsed(&self.params.path)?.path(self),
            Some(path) => template::parsed(path.template)?.path(&OnPage { asking: self, path }),
        }
    }

    /// The parts of the request that every page has, with the path of the page at the paginator's position.
    ///
    /// # Errors
    /// When a name has no value, or the address cannot be had and the request is to be sent.
    pub fn parts(&self, at: &Value) -> Result<RequestParts, SourceError> {
        let Self { params, base_dir, called, .. } = self;
        let path = self.path(at)?;
        let recorded = || {
            let base = Setting::Literal(self.recorded_base?.to_owned());
            address(&base, &path).ok().map(RequestParts::new)
        };
        let mut request = match (address(&params.base_url, &path), called) {
            (Ok(url), _) => RequestParts::new(url),
            (Err(error), Called::Sent(_)) => return Err(error),
            (Err(_), Called::Unsent(_) | Called::Nothing) => {
                recorded().unwrap_or_else(|| RequestParts::without_address(&path))
            }
        };
        request.method = params.body().method();
        for (name, value) in &params.params {
            for text in value.filled(self)? {
                request.add_query(name, &text);
            }
        }
        self.add_bounds(&mut request);
        request.body = params.body().body(self, base_dir)?;
        Ok(request)
    }
}
