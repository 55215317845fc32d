//! Owns what is known of a chain of pages while it is walked. It travels with the paginator's own position, under
//! the key `chain`, and does not grow.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::paginate::Paginate;
use crate::domain::hash::StoredHash;
use crate::sources::{SourceError, SourceErrorKind};

/// The most pages in a row that could not be had, behind which another is asked for because there is one.
pub(super) const MOST_MISSING: usize = 5;
/// The key of it in a position.
const KEY: &str = "chain";
/// The key in it of whether a page is asked for again.
const AGAIN: &str = "again";

/// What the pages before said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Chain {
    /// How many pages were asked for.
    pub pages: u64,
    /// How many records came.
    pub records: u64,
    /// The most records of a page, …
    pub longest: u64,
    /// … how many pages had as many, …
    pub longest_pages: u64,
    /// … and whether one that was not the last had fewer.
    pub uneven: bool,
    /// Whether pages were equally long, and then one was longer.
    pub grew: bool,
    /// Hash of the last page's records, of pages that had some.
    pub last: Option<StoredHash>,
    /// Hash of the whole of that page.
    pub last_body: Option<StoredHash>,
    /// How many pages in a row had the records of the one before them, though the list went on far behind.
    pub repeats: u64,
    /// Whether the page is one far behind one that had the records of the page before it.
    pub probe: Option<Probe>,
    /// How many pages without records follow each other.
    pub empty: u64,
    /// The most records that a page said that there are.
    pub total: Option<u64>,
    /// How many the first page said that there are.
    pub first_total: Option<u64>,
    /// How many records the first page seems to say that there are, though no key of the job file names the place, …
    pub claimed: Option<u64>,
    /// … which is this one.
    pub claimed_at: Option<String>,
    /// Whether as many came before, …
    pub total_reached: bool,
    /// … and more behind them, so that the total is none.
    pub total_false: bool,
    /// The most pages that a page said that there are.
    pub page_count: Option<u64>,
    /// Whether a page said so that was not the last by it.
    pub pages_foretold: bool,
    /// Whether the last page said itself that it is the last.
    pub said_last: bool,
    /// The pages directly before, which could not be had; [`MOST_MISSING`] at most.
    #[serde(deserialize_with = "one_or_several", skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Whether this page is one that could not be had and is asked for again: it leads nowhere, and should
    /// have so many records.
    pub again: Option<u64>,
    /// How the pages are asked for side by side, of which this is one.
    pub aside: Option<Aside>,
    /// Whether the pages before were asked for side by side: then one more is asked for behind the last.
    pub was_aside: bool,
    /// What the first page that said so says is wrong with it: something may be missing there.
    pub complaint: Option<String>,
    /// Whether its pages are places in a list, for what leads from one to the next counts pages or records.
    #[serde(skip_serializing_if = "is_false")]
    pub places: bool,
    /// Whether an earlier version of kasparro began it, which counted nothing.
    pub partial: bool,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Earlier versions kept one, or none.
fn one_or_several<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<Missing>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Several(Vec<Missing>),
        One(Missing),
        None,
    }
    Ok(match Kept::deserialize(json)? {
        Kept::Several(missing) => missing,
        Kept::One(missing) => vec![missing],
        Kept::None => Vec::new(),
    })
}

/// Pages that are asked for side by side: every so many of them follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Aside {
    /// Which page of the full sync this is, from 1.
    pub page: u64,
    /// How many pages on the next one is.
    pub step: u32,
    /// The last page by the first one's count: how the full sync ends is seen there.
    pub last: u64,
    /// How many records each page but the last must have.
    pub records: u64,
}

/// A page far behind one that repeats the page before it: whether that is repeated for ever shows there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    /// Where the repeated page is, in the paginator's own words.
    pub repeated: Value,
    /// Where the full sync goes on if it is not.
    pub back: Value,
}

/// A page that could not be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Missing {
    /// Where it is, in the paginator's own words.
    pub position: Value,
    /// Its status; `None` when its task has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How many records it should have.
    pub records: u64,
}

impl Chain {
    /// Takes a position apart: the paginator's own, and what is known of its chain.
    ///
    /// # Errors
    /// When it is no position.
    pub fn of(kind: &dyn Paginate, at: &Value) -> Result<(Value, Self), SourceError> {
        let mut own = at.clone();
        let Some(fields) = own.as_object_mut() else { return Ok((own, Self::default())) };
        if let Some(mut chain) = fields.remove(KEY) {
            // An earlier version kept here whether the page before was a repeated one.
            chain.as_object_mut().map(|chain| chain.remove("repeated"));
            let chain = Self::deserialize(&chain).map_err(|error| {
                let message = format!("{at} is no position of a paginated API: {error}");
                SourceError::new(SourceErrorKind::InvalidState, message)
            })?;
            return Ok((own, chain));
        }
        let before = ["previous", "total", "total_reached"].map(|key| fields.remove(key));
        let pages = kind.ordinal(&own)?.saturating_sub(1);
        if pages == 0 && before.iter().all(Option::is_none) {
            return Ok((own, Self::default()));
        }
        let [previous, total, total_reached] = before;
        let last = previous.map(|hash| StoredHash::deserialize(&hash)).transpose();
        let last = last.map_err(|error| {
            let message = format!("{at} is no position of a paginated API: {error}");
            SourceError::new(SourceErrorKind::InvalidState, message)
        })?;
        let records = kind.records_before(&own);
        let chain = Self {
            pages,
            records: records.unwrap_or(0),
            // Nothing is known of how long they were.
            uneven: true,
            last,
            total: total.and_then(|total| total.as_u64()),
            total_reached: total_reached == Some(Value::Bool(true)),
            partial: records.is_none(),
            ..Self::default()
        };
        Ok((own, chain))
    }

    /// The position with what is known, for the next task.
    pub fn join(&self, own: Value) -> Value {
        let Value::Object(mut fields) = own else { return own };
        let chain = serde_json::to_value(self).unwrap_or_default();
        let Value::Object(chain) = chain else { return Value::Object(fields) };
        let nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_u64() == Some(0),
            _ => false,
        };
        // That a page is asked for again is said, though none of its records may be missing.
        let is_said = |(key, value): &(String, Value)| match key.as_str() {
            AGAIN => !value.is_null(),
            _ => !nothing(value),
        };
        let said: Map<_, _> = chain.into_iter().filter(is_said).collect();
        fields.insert(KEY.to_owned(), Value::Object(said));
        Value::Object(fields)
    }

    /// Whether the last page had fewer records than those before it or, if it is the first, than were asked for.
    pub fn ends_short(&self, size: u32) -> bool {
        let full = self.longest.saturating_mul(self.longest_pages);
        let is_only = self.longest_pages == 1 && self.records == self.longest;
        let is_short = self.records > full || is_only && self.longest < u64::from(size);
        self.longest > 0 && is_short && !self.uneven && !self.partial
    }

    /// Whether there are pages behind this one, which has not come, by what those before said.
    pub fn more_is_known(&self) -> bool {
        let with_this = self.pages.saturating_add(1);
        self.page_count.is_some_and(|count| with_this < count)
            || (self.total.zip(self.stride()))
                .is_some_and(|(total, stride)| with_this.saturating_mul(stride) < total)
    }

    /// How many records a page has that is like those before it.
    pub fn stride(&self) -> Option<u64> {
        (self.longest > 0 && !self.uneven).then_some(self.longest)
    }
}

/// A position without what is known of its chain.
pub(super) fn own(at: &Value) -> Value {
    let mut own = at.clone();
    if let Some(fields) = own.as_object_mut() {
        fields.remove(KEY);
        for key in ["previous", "total", "total_reached"] {
            fields.remove(key);
        }
    }
    own
}
