//! Owns the keys that all paginators have in common, of how a full sync ends, and what they find in a page.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::page_view::PageView;
use crate::sources::rest_api::body_path::BodyPath;
use crate::sources::rest_api::side_by_side;
use crate::sources::{SourceError, SourceErrorKind};

/// The most pages of a full sync, unless the job file says otherwise: a guard, and no end.
pub(super) const MAX_PAGES: u64 = 100_000;

/// Where a value of an answer is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a JSONPath such as \"$.meta.total\", or { header = \"x-total\" }"
)]
pub enum Place {
    /// At this JSONPath of the body, such as `$.meta.total`.
    Path(String),
    /// In a header.
    Header(HeaderPlace),
}

/// A header of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderPlace {
    /// Its name, such as `x-total-count`.
    pub header: String,
}

/// What the job file says of how a full sync ends.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::sources::rest_api) struct EndKeys<'a> {
    pub total: Option<&'a Place>,
    pub total_pages: Option<&'a Place>,
    pub total_tolerance: u64,
    pub has_more: Option<&'a str>,
    pub end: Option<&'a str>,
    pub max_pages: Option<u32>,
    pub max_records: Option<u64>,
    pub first_pages_only: bool,
    pub concurrency: Option<u32>,
}

/// Adds the keys that say how a full sync ends to a paginator's own.
macro_rules! with_end_keys {
    ($(#[$doc:meta])* pub struct $Kind:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $Kind {
            $($own)*
            /// Where an answer says how many records there are on all pages: a JSONPath such as
            /// `$.meta.total`, or `{ header = "x-total-count" }`.
            #[serde(alias = "total")]
            total_path: Option<$crate::sources::rest_api::paginator::Place>,
            /// Where an answer says how many pages there are: a JSONPath, or
            /// `{ header = "x-total-pages" }`.
            total_pages: Option<$crate::sources::rest_api::paginator::Place>,
            /// By how many records the total may differ from what came.
            #[serde(default)]
            total_tolerance: u64,
            /// JSONPath of what says whether there are more pages, such as `$.has_more`. A page without it
            /// fails.
            has_more_path: Option<String>,
            /// JSONPath of what is true on the last page, such as `$.end_of_stream`.
            end_path: Option<String>,
            /// The most pages of a full sync, 100000 unless it is set. A full sync that reaches it may
            /// lack something: its run is degraded.
            #[schemars(range(min = 1))]
            max_pages: Option<u32>,
            /// Whether the pages up to `max_pages` are all that is wanted: then its run is a success.
            #[serde(default)]
            first_pages_only: bool,
            /// The most records of a full sync, such as those that the API gives for one query. A full
            /// sync that reaches it may lack something: its run is degraded.
            #[schemars(range(min = 1))]
            max_records: Option<u64>,
        }

        impl $Kind {
            fn keys(&self) -> $crate::sources::rest_api::paginator::end_keys::EndKeys<'_> {
                $crate::sources::rest_api::paginator::end_keys::EndKeys {
                    total: self.total_path.as_ref(),
                    total_pages: self.total_pages.as_ref(),
                    total_tolerance: self.total_tolerance,
                    has_more: self.has_more_path.as_deref(),
                    end: self.end_path.as_deref(),
                    max_pages: self.max_pages,
                    max_records: self.max_records,
                    first_pages_only: self.first_pages_only,
                    concurrency: None,
                }
            }
        }
    };
}
pub(super) use with_end_keys;

impl Place {
    fn problem(&self, key: &'static str) -> Option<String> {
        match self {
            Self::Path(path) => path_problem(key, path),
            Self::Header(place) => {
                let bad = place.header.parse::<reqwest::header::HeaderName>().is_err();
                bad.then(|| format!("names the header `{}`, which cannot be one", place.header))
            }
        }
    }

    /// As the job file has it.
    pub fn shown(&self) -> String {
        match self {
            Self::Path(path) => format!("`{path}`"),
            Self::Header(place) => format!("the header `{}`", place.header),
        }
    }

    /// The value that is there.
    ///
    /// # Errors
    /// When the body cannot be looked into.
    pub fn find(
        &self,
        key: &'static str,
        page: &PageView<'_>,
    ) -> Result<Option<Value>, SourceError> {
        match self {
            Self::Path(path) => BodyPath::parse(key, path)?.find(page.body),
            Self::Header(place) => {
                let value = page.headers.get(&place.header);
                Ok(value.and_then(|value| value.to_str().ok()).map(Value::from))
            }
        }
    }
}

/// What is wrong with a path.
pub(super) fn path_problem(key: &'static str, path: &str) -> Option<String> {
    let error = BodyPath::parse(key, path).err()?;
    let text = error.text();
    Some(text.trim_start_matches(&format!("`{key}` = ")).to_owned())
}

impl EndKeys<'_> {
    /// What is wrong with them.
    pub fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let places = [("total_path", self.total), ("total_pages", self.total_pages)];
        let places =
            places.into_iter().filter_map(|(key, place)| Some((key, place?.problem(key)?)));
        let paths = [("has_more_path", self.has_more), ("end_path", self.end)];
        let paths =
            paths.into_iter().filter_map(|(key, path)| Some((key, path_problem(key, path?)?)));
        let none = "expected a whole number from 1 on, found 0".to_owned();
        let pages = (self.max_pages == Some(0)).then(|| ("max_pages", none.clone()));
        let records = (self.max_records == Some(0)).then_some(("max_records", none));
        let all = places.chain(paths).chain(pages).chain(records);
        let mut problems: Vec<_> = all.map(|(key, problem)| (Some(key), problem)).collect();
        if self.concurrency == Some(0) {
            let problem = "expected a whole number from 1 on, found 0".to_owned();
            problems.push((Some("concurrency"), problem));
        }
        if let Some(problem) = self.concurrency.and_then(side_by_side::problem) {
            problems.push((Some("concurrency"), problem));
        }
        if self.concurrency.is_some() && self.total.is_none() && self.total_pages.is_none() {
            let problem = "needs `total_path` or `total_pages`: without them nobody knows which pages there are";
            problems.push((Some("concurrency"), problem.to_owned()));
        }
        if self.first_pages_only && self.max_pages.is_none() {
            let problem = "says that no more pages than `max_pages` are wanted, which is not set";
            problems.push((Some("first_pages_only"), problem.to_owned()));
        }
        if self.total_tolerance > 0 && self.total.is_none() {
            let problem = "says by how much a total may differ, and no `total_path` names one";
            problems.push((Some("total_tolerance"), problem.to_owned()));
        }
        problems
    }

    /// The most pages of a full sync.
    pub fn most_pages(&self) -> u64 {
        self.max_pages.map_or(MAX_PAGES, u64::from)
    }

    /// How many records there are by the page's own count.
    ///
    /// # Errors
    /// When there is no number where a page with records should have one.
    pub fn total_of(&self, page: &PageView<'_>) -> Result<Option<u64>, SourceError> {
        number_at("total_path", self.total, page)
    }

    /// How many pages there are by the page's own count.
    ///
    /// # Errors
    /// When there is no number where a page with records should have one.
    pub fn pages_of(&self, page: &PageView<'_>) -> Result<Option<u64>, SourceError> {
        number_at("total_pages", self.total_pages, page)
    }

    /// Whether the page says that there are more; `None` when no key asks for it.
    ///
    /// # Errors
    /// When it says nothing where it should.
    pub fn has_more_of(&self, page: &PageView<'_>) -> Result<Option<bool>, SourceError> {
        let Some(path) = self.has_more else { return Ok(None) };
        let found = BodyPath::parse("has_more_path", path)?.find(page.body)?;
        match found.as_ref().and_then(truth) {
            None if page.came == 0 && found.is_none() => Ok(None),
            // Nothing is said: a next page is asked for where there is one.
            None if found == Some(Value::Null) => Ok(None),
            None => {
                let what = match &found {
                    None => "leads nowhere in the answer".to_owned(),
                    Some(value) => format!("is neither true nor false: {value}"),
                };
                let message = format!("`paginator.has_more_path` = `{path}` {what}");
                Err(SourceError::new(SourceErrorKind::InvalidResponse, message).advise(
                    "without it nobody knows whether there are more pages: correct it, or remove it",
                ))
            }
            said => Ok(said),
        }
    }

    /// Whether the page says that it is the last.
    ///
    /// # Errors
    /// When the body cannot be looked into.
    pub fn is_last(&self, page: &PageView<'_>) -> Result<bool, SourceError> {
        let Some(path) = self.end else { return Ok(false) };
        let found = BodyPath::parse("end_path", path)?.find(page.body)?;
        Ok(found.as_ref().and_then(truth).unwrap_or(false))
    }
}

fn number_at(
    key: &'static str,
    place: Option<&Place>,
    page: &PageView<'_>,
) -> Result<Option<u64>, SourceError> {
    let Some(place) = place else { return Ok(None) };
    match place.find(key, page)?.as_ref().and_then(whole) {
        None if page.came > 0 => {
            let shown = place.shown();
            let message =
                format!("`paginator.{key}` = {shown} leads to no number of records in the answer");
            let message = match key {
                "total_pages" => message.replace("number of records", "number of pages"),
                _ => message,
            };
            let advice = "correct it, or remove it, and the full sync ends with the first page \
                          without records";
            Err(SourceError::new(SourceErrorKind::InvalidResponse, message).advise(advice))
        }
        number => Ok(number),
    }
}

/// A whole number, however it is written; some write 95.0.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_u64().or_else(|| {
            number.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64)
        }),
    }
}

/// Yes or no, however it is written.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(said) => Some(*said),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "1" => Some(true),
            "false" | "no" | "n" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
