//! Owns what pages say of the cursor, and what each leaves for the end of its run.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tracker::Tracker;
use crate::domain::chain_end::ChainEnd;
use crate::sources::rest_api::mark::{Lookback, Mark, MarkKind};
use crate::sources::rest_api::position::{PagePosition, Window};

/// The key of how many records of a page were left out, in what it leaves for the end of its run.
pub(in crate::sources::rest_api) const FILTERED: &str = "filtered";
/// The same of in how many places a secret of the request stood.
pub(in crate::sources::rest_api) const REDACTED: &str = "redacted";

/// How much older than the start of a request a record may be, where the API filters by the day in a zone of its own.
const DAYS: Duration = Duration::from_secs(2 * 86_400);

/// What the records of a page say of the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sources::rest_api) struct Cursors {
    /// The lowest and the highest.
    pub(super) span: Option<(Mark, Mark)>,
    /// Records without a readable one.
    missing: u64,
    /// All records.
    records: u64,
    /// Whether one came behind a higher one.
    pub(super) descends: bool,
    /// That of each record, if it can be read.
    marks: Vec<Option<Mark>>,
    /// What tells the records from those of other pages.
    pub(in crate::sources::rest_api) met: String,
    /// Whether nothing up to this page has shown that pages are places in a list.
    pub(in crate::sources::rest_api) by_reference: bool,
}

/// What a page leaves for the end of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sources::rest_api) struct Trace {
    pub(super) window: Window,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<String>,
    /// Whether a cursor is later than the answer, as the API's clock dates it: no clock stamped that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ahead: bool,
    /// The highest of the others, if there are both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) present: Option<String>,
    pub(super) records: u64,
    #[serde(default)]
    pub(super) missing: u64,
    /// The seconds of which all cursors are multiples: 60 where they are whole minutes.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) grain: u64,
    /// Records that are much older than what was asked for.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) older: u64,
    /// Records that a filter of the job file left out.
    #[serde(default)]
    filtered: u64,
    /// Places in which a secret of the request stood.
    #[serde(default)]
    redacted: u64,
    /// Whether a record came behind a higher one.
    #[serde(default)]
    pub(super) descends: bool,
    /// The API's clock, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) date: Option<DateTime<Utc>>,
    /// The cursor at which a later run can go on, if this was the last page of a chain that has everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<Value>,
    /// What the API said, if it refused the cursor of the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
    /// How the chain ended, if this was its last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<ChainEnd>,
    /// What tells the records from those of other pages, where they are asked for by number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) met: String,
    /// Whether nothing up to this page has shown that pages are places in a list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) by_reference: bool,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Trace {
    /// Whether the page is known to be a place in a list.
    pub(super) fn is_place(&self) -> bool {
        !self.met.is_empty() && !self.by_reference
    }
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Tracker {
    /// What the records of a page say.
    pub fn cursors(&self, records: &[Cow<'_, str>]) -> Cursors {
        let mut cursors = Cursors { records: records.len() as u64, ..Cursors::default() };
        let Some(path) = &self.cursor else { return cursors };
        let mut before = None;
        for record in records {
            let found = path.find(record).ok().and_then(|found| found.into_iter().next());
            let mark = found.and_then(|cursor| self.clockwork.of_json(&cursor));
            match &mark {
                None => cursors.missing += 1,
                Some(mark) => {
                    cursors.descends |= before.as_ref().is_some_and(|before| before > mark);
                    before = Some(mark.clone());
                    cursors.add(mark.clone());
                }
            }
            cursors.marks.push(mark);
        }
        cursors
    }

    /// Which of the records of a page earlier runs may have read: those whose cursors are no higher than what they had.
    /// `None` if none of them is.
    pub fn came_before(&self, window: &Window, cursors: &Cursors) -> Option<Vec<bool>> {
        let read_to = self.clockwork.of_stored(window.read_to.as_deref()?)?;
        let (lowest, _) = cursors.span.as_ref()?;
        let is_known = |mark: &Option<Mark>| mark.as_ref().is_some_and(|mark| *mark <= read_to);
        (*lowest <= read_to).then(|| cursors.marks.iter().map(is_known).collect())
    }

    /// What tells these records from those of other pages.
    pub fn met(&self, records: &[Cow<'_, str>]) -> String {
        self.identities.as_ref().map(|known| known.of(records, &self.clockwork)).unwrap_or_default()
    }

    /// How many of these cursors are so far before the start of a request that the API cannot have heeded it.
    fn older(&self, window: &Window, marks: &[Mark]) -> u64 {
        let start = window.from.as_deref().or(window.start.as_deref());
        let Some(start) = start.filter(|_| !window.resumed) else { return 0 };
        let Some(start) = self.clockwork.of_stored(start) else { return 0 };
        // Some filter by the day.
        let start = start.less(Lookback::Time(DAYS));
        marks.iter().filter(|mark| **mark < start).count() as u64
    }

    /// The first cursor that is later than an answer of this date, which is cut to seconds. A day has no time, and may
    /// have begun elsewhere.
    fn behind_the_answer(&self, date: DateTime<Utc>) -> Option<Mark> {
        let is_time = self.params.kind.is_time() && self.params.kind != MarkKind::Date;
        let behind = date.checked_add_signed(TimeDelta::seconds(1)).filter(|_| is_time)?;
        Some(Mark::of_time(behind))
    }

    /// The highest cursor of a page, but for those that are later than its answer.
    pub(super) fn highest_of(&self, trace: &Trace) -> Option<Mark> {
        let highest = if trace.ahead { &trace.present } else { &trace.max };
        self.clockwork.of_stored(highest.as_deref()?)
    }

    /// What a page leaves for the end of its run.
    pub fn trace(
        &self,
        position: &PagePosition,
        cursors: Option<Cursors>,
        date: Option<DateTime<Utc>>,
        end: Option<ChainEnd>,
    ) -> Option<Trace> {
        let window = Window { reached: None, ..position.window.clone()? };
        let Cursors { span, missing, records, descends, marks, met, by_reference } =
            cursors.unwrap_or_default();
        let marks: Vec<Mark> = marks.into_iter().flatten().collect();
        let older = self.older(&window, &marks);
        let now = date.and_then(|date| self.behind_the_answer(date));
        let is_stamped = |mark: &Mark| now.as_ref().is_none_or(|now| mark < now);
        let stamped: Vec<Mark> = marks.into_iter().filter(is_stamped).collect();
        let grain = grain_of(&stamped);
        let ahead = span.as_ref().is_some_and(|(_, max)| !is_stamped(max));
        let present = stamped.iter().max().filter(|_| ahead);
        let present = present.map(|mark| self.clockwork.stored(mark));
        let (min, max) = match &span {
            Some((min, max)) => {
                (Some(self.clockwork.stored(min)), Some(self.clockwork.stored(max)))
            }
            None => (None, None),
        };
        let end = end.map(|end| ChainEnd { note: None, ..end });
        let (cursor, refused) = (None, None);
        let (filtered, redacted) = (0, 0);
        let trace = Trace {
            window,
            min,
            max,
            ahead,
            present,
            records,
            missing,
            grain,
            older,
            filtered,
            redacted,
            descends,
            date,
            end,
            cursor,
            refused,
            met,
            by_reference,
        };
        Some(trace)
    }
}

impl Trace {
    /// The same, of a page of which so many records were left out.
    pub fn filtered(self, filtered: u64) -> Self {
        Self { filtered, ..self }
    }

    /// The same, of a page that repeated a secret in so many places.
    pub fn redacted(self, redacted: u64) -> Self {
        Self { redacted, ..self }
    }

    /// The same, of the last page of a chain behind which a later run can go on at this cursor.
    pub fn ending_at(self, cursor: Option<Value>) -> Self {
        Self { cursor, ..self }
    }

    /// The same, of an answer that refused the cursor of the run before.
    pub fn refused(self, said: String) -> Self {
        Self { refused: Some(said), ..self }
    }

    /// As it is kept.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Cursors {
    fn add(&mut self, mark: Mark) {
        self.span = Some(match self.span.take() {
            None => (mark.clone(), mark),
            Some((min, max)) => (min.min(mark.clone()), max.max(mark)),
        });
    }
}

/// The seconds of which all these marks are multiples, a minute, an hour or a day; 0 where that says nothing.
fn grain_of(marks: &[Mark]) -> u64 {
    const GRAINS: [i64; 3] = [86_400, 3_600, 60];
    let fits = |grain: &i64| {
        marks.iter().all(|mark| match mark {
            Mark::Time(micros) => micros.rem_euclid(grain * 1_000_000) == 0,
            Mark::Integer(_) | Mark::Text(_) => false,
        })
    };
    // One or two may be whole hours by chance.
    let says = |grain: &i64| if *grain == 60 { !marks.is_empty() } else { marks.len() > 2 };
    let grain = GRAINS.into_iter().filter(says).find(fits);
    grain.and_then(|grain| u64::try_from(grain).ok()).unwrap_or(0)
}

/// What pages left, as far as it can be read: an earlier version of kasparro may have left other things.
pub(super) fn read(traces: &[Value]) -> Vec<Trace> {
    traces.iter().filter_map(|trace| Trace::deserialize(trace).ok()).collect()
}
