//! Owns where a page is, as it is stored in a task's payload: the paginator's own position, and what
//! the chain that it belongs to is bound by. What has no bounds is stored as the paginator's position
//! alone, as it always was.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::run::RunId;
use crate::sources::{SourceError, SourceErrorKind};

/// The key of the paginator's position where there is more; no paginator has such a key.
const AT: &str = "at";

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PagePosition {
    /// The paginator's own.
    pub at: Value,
    /// What an incremental run asks for; `None` where the job file has no `incremental`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The parents that the chain asks for; `None` where the job file has no `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parents: Option<ParentsAt>,
    /// The run, where a template names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The export job that the request is about, as the API names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Value>,
}

/// The parents that a chain asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ParentsAt {
    /// What is known of each; nothing where a chain begins, before they were looked up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<Map<String, Value>>,
    /// How many chains directly before this one, which each came in place of the other, have failed.
    #[serde(skip_serializing_if = "is_none_of_them")]
    pub failed_before: u32,
}

fn is_none_of_them(number: &u32) -> bool {
    *number == 0
}

/// What templates may name of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// Its number.
    pub id: RunId,
    /// The day on which it was planned, in UTC.
    pub date: NaiveDate,
}

/// The bounds of an incremental run, or of a window of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// From where on, in the words of the watermark; `None` from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Up to where earlier runs have read, if this one builds upon them and what is no higher only comes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_to: Option<String>,
    /// Up to where; `None` without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// When the run was planned, by the database's clock.
    pub planned: DateTime<Utc>,
    /// Whether the run reads everything: then its watermark is not that of the runs before.
    #[serde(default)]
    pub fresh: bool,
    /// Up to where the run reads, if this is a window of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The cursor from which the chain goes on within these bounds, where one before it came to the most
    /// records that the API gives for one query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How far the chain has come, where the job file says that records come in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    /// Whether the chain begins at the cursor at which that of the run before ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Whether somebody asked for these bounds: no other run goes on from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
}

/// How far a chain has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reached {
    /// The highest cursor, in the words of the watermark.
    pub highest: String,
    /// Whether every record came behind those with lower cursors.
    pub in_order: bool,
}

impl Window {
    /// Bounds, and nothing that is known of a chain.
    pub fn new(
        start: Option<String>,
        end: Option<String>,
        planned: DateTime<Utc>,
        fresh: bool,
    ) -> Self {
        let (until, from, reached, read_to) = (None, None, None, None);
        let (resumed, backfill) = (false, false);
        Self { start, read_to, end, planned, fresh, until, from, reached, resumed, backfill }
    }
}

impl PagePosition {
    /// A position of a chain that nothing binds.
    pub fn of(at: Value) -> Self {
        Self { at, window: None, parents: None, run: None, job: None }
    }

    /// Reads a stored position, of this version or an earlier one.
    ///
    /// # Errors
    /// When it has keys that it should not have.
    pub fn from_json(json: &Value) -> Result<Self, SourceError> {
        match json.get(AT) {
            None => Ok(Self::of(json.clone())),
            Some(_) => Self::deserialize(json).map_err(|error| {
                let message = format!("{json} is no position of an API: {error}");
                SourceError::new(SourceErrorKind::InvalidState, message)
            }),
        }
    }

    /// The form to be stored.
    #[expect(clippy::expect_used, reason = "serde_json writes every number, text and object")]
    pub fn to_json(&self) -> Value {
        let Self { at, window: None, parents: None, run: None, job: None } = self else {
            return serde_json::to_value(self).expect("numbers and texts");
        };
        at.clone()
    }

    /// The position of the next page of the same chain.
    pub fn next(&self, at: Value) -> Self {
        Self { at, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_position_without_bounds_is_the_paginators_own_and_those_of_earlier_versions_are_read() {
        for own in [json!({ "page": 3, "previous": "ab" }), json!({ "offset": 7, "page": 1 })] {
            let position = PagePosition::from_json(&own).unwrap();
            assert_eq!(position, PagePosition::of(own.clone()));
            assert_eq!(position.to_json(), own);
        }
    }

    #[test]
    fn bounds_and_parent_survive_their_stored_form_and_stay_along_the_chain() {
        let window = |start: Option<&str>, end: Option<&str>| {
            let (fresh, planned) = (start.is_none(), Utc::now());
            let (start, end) = (start.map(str::to_owned), end.map(str::to_owned));
            Some(Window::new(start, end, planned, fresh))
        };
        for window in
            [None, window(None, None), window(Some("a"), None), window(Some("a"), Some("b"))]
        {
            let fields = json!({ "number": 7 }).as_object().unwrap().clone();
            for parents in [None, Some(ParentsAt { of: vec![fields], failed_before: 2 })] {
                let at = json!({ "page": 1 });
                let run = parents.is_some().then_some(Run { id: RunId(3), date: NaiveDate::MAX });
                let job = parents.is_some().then(|| json!(7));
                let position = PagePosition { at, window: window.clone(), parents, run, job };
                assert_eq!(PagePosition::from_json(&position.to_json()).unwrap(), position);
                let next = position.next(json!({ "page": 2 }));
                assert_eq!((next.window, next.parents), (position.window, position.parents));
            }
        }
        let odd = json!({ "at": { "page": 1 }, "windw": {} });
        let error = PagePosition::from_json(&odd).unwrap_err();
        assert!(error.text().contains("unknown field `windw`"), "{error}");
    }
}
