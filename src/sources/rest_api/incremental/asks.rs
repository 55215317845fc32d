//! Owns what a run asks for: from where on, up to where, and in which windows.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::tracker::Tracker;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, ReadRange, RunId};
use crate::sources::rest_api::mark::{Mark, MarkKind, delta, earlier};
use crate::sources::rest_api::position::Window;
use crate::sources::rest_api::side_by_side;
use crate::sources::rest_api::state::State;
use crate::sources::{Access, AskedRange, PlanRequest};

/// How many windows are read side by side, unless the job file says otherwise.
const WINDOWS: u32 = 4;

/// What a run asks for.
#[derive(Debug, Default)]
pub(in crate::sources::rest_api) struct Asks {
    /// A window, or the first of several; none when there is nothing to ask for yet.
    pub windows: Vec<Window>,
    /// What there is to say.
    pub remarks: Vec<Remark>,
    /// Whether a record of the table that does not come is one that the API has no more.
    pub everything: bool,
    /// The cursor at which the run before ended, if it may be asked for.
    pub cursor: Option<Value>,
}

impl Tracker {
    /// What a run asks for.
    pub fn plan(&self, before: &State, now_asked: Option<&State>, request: &PlanRequest) -> Asks {
        let mut remarks = Vec::new();
        let watermark = before.watermark.as_deref();
        let watermark = watermark.and_then(|text| self.clockwork.of_stored(text));
        let run = request.state_of.map_or_else(String::new, |run| format!(" {run}"));
        let mut known = watermark.filter(|_| request.mode != Mode::Full);
        if known.is_some() && now_asked.is_none_or(|now| now.request != before.request) {
            known = None;
            remarks.push(Remark::note(format!(
                "the job file asks the API for something else than run{run} did, so everything is read again"
            )));
        }
        if let (true, Some(again)) = (known.is_some(), restarted(before, request)) {
            known = None;
            remarks.push(Remark::note(format!(
                "run {again} began to read everything again, and was broken off after it had changed records: older values \
                 may stand where newer ones were, so everything is read again"
            )));
        }
        if known.is_some() && request.access == Access::Record {
            known = None;
            remarks.push(Remark::note(
                "a recording has everything in it, so everything is read again",
            ));
        }
        if let (Some(Mark::Time(_)), Some(max_age)) = (&known, self.params.max_age) {
            let oldest = Mark::of_time(earlier(request.now, delta(max_age)));
            if known.as_ref().is_some_and(|known| *known < oldest) {
                known = None;
                remarks.push(Remark::note(
                    "the watermark is older than `incremental.max_age`, so everything is read again",
                ));
            }
        }
        let initial = self.params.initial_value.as_ref();
        let initial = initial.and_then(|initial| self.clockwork.read(&initial.text()));
        let fresh = known.is_none();
        // What is read behind an end, or was read before the present beginning, is not asked for.
        let reaches_all = request.mode == Mode::Full && self.reaches_all(before, initial.as_ref());
        if request.mode == Mode::Full && !reaches_all && !self.ends && request.state_of.is_some() {
            remarks.push(Remark::note(
                "runs of before read what is older than `incremental.initial_value`, or may have: this one does \
                 not ask for it, so no record counts as missing",
            ));
        }
        // Who looks back expects what came late, and a day may not be over: both are no sign of what was read before.
        let tells = self.params.lookback.is_none() && self.params.kind != MarkKind::Date;
        let read_to = known.as_ref().filter(|_| tells).map(|known| self.clockwork.stored(known));
        let start = match known {
            None => initial,
            Some(known) => {
                let known = match self.params.lookback {
                    Some(lookback) => known.less(lookback),
                    None => known,
                };
                Some(initial.map_or(known.clone(), |initial| known.max(initial)))
            }
        };
        let end = self.now(request);
        if let (Some(start), Some(end)) = (&start, &end)
            && end <= start
        {
            return Asks { remarks, ..Asks::default() };
        }
        let stored = |mark: Option<Mark>| mark.map(|mark| self.clockwork.stored(&mark));
        let whole = Window::new(stored(start), stored(end), request.now, fresh);
        let whole = Window { read_to, ..whole };
        let cursor = before.cursor.clone().filter(|_| !fresh);
        let everything = reaches_all && !self.ends;
        Asks { windows: self.windows(whole), remarks, everything, cursor }
    }

    /// Up to where a run can ask.
    fn now(&self, request: &PlanRequest) -> Option<Mark> {
        self.ends.then(|| {
            let behind = earlier(request.now, self.lag());
            Mark::of_time(DateTime::from_timestamp(behind.timestamp(), 0).unwrap_or(behind))
        })
    }

    /// What a backfill asks for; `before` is what the last one of this range left.
    pub fn plan_range(
        &self,
        before: &State,
        now_asked: Option<&State>,
        request: &PlanRequest,
        range: &ReadRange,
    ) -> Asks {
        let mark = |text: &str| self.clockwork.of_stored(text);
        let start = mark(&range.from);
        let end = match (range.to.as_deref().and_then(mark), self.now(request)) {
            (Some(to), Some(now)) => Some(to.min(now)),
            (to, now) => to.or(now),
        };
        let is_same = now_asked.is_some_and(|now| now.request == before.request);
        let known = before.watermark.as_deref().filter(|_| is_same).and_then(mark);
        // One that has all of it is read again, since somebody asks for it.
        let known = known.filter(|known| {
            Some(known) > start.as_ref() && end.as_ref().is_none_or(|end| known < end)
        });
        let stored = |mark: Mark| self.clockwork.stored(&mark);
        let (fresh, mut remarks) = (known.is_none(), Vec::new());
        if let (Some(known), Some(run)) = (&known, request.state_of) {
            let from = stored(known.clone());
            remarks.push(Remark::note(format!(
                "run {run} has read the range up to {from}, and this one goes on there"
            )));
        }
        let start = known.or(start);
        if let (Some(start), Some(end)) = (&start, &end)
            && end <= start
        {
            return Asks { remarks, ..Asks::default() };
        }
        let whole = Window::new(start.map(stored), end.map(stored), request.now, fresh);
        let whole = Window { backfill: true, ..whole };
        Asks { windows: self.windows(whole), remarks, ..Asks::default() }
    }

    /// The range that a backfill is asked to read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn range(&self, asked: AskedRange<'_>, now: DateTime<Utc>) -> Result<ReadRange, String> {
        let read = |name: &str, text: &str| {
            self.clockwork.read_range_bound(text, name == "to").ok_or_else(|| {
                if let Some(doubt) = self.clockwork.doubt(text) {
                    return format!("`{name}` = `{text}` {doubt}");
                }
                let expected = match self.params.kind {
                    MarkKind::Integer => "a whole number",
                    MarkKind::Text => "a text",
                    _ => "a time such as `2026-01-01` or `2026-01-01T12:00:00Z`",
                };
                format!("`{name}` = `{text}` cannot be read: expected {expected}")
            })
        };
        let from = read("from", asked.from)?;
        let to = asked.to.map(|to| read("to", to)).transpose()?;
        if to.is_some() && !self.ends {
            return Err("`to` cannot be asked for, since the job file names no end of the request: set \
                        `incremental.end_param`, write `${incremental.end}` where the request takes one, or leave \
                        `to` out and read up to now"
                .to_owned());
        }
        if self.params.kind.is_time() && from >= Mark::of_time(now) {
            return Err(format!("`from` = `{}` is in the future", asked.from));
        }
        if let (Some(end), Some(text)) = (&to, asked.to)
            && *end <= from
        {
            return Err(format!("`from` = `{}` is not before `to` = `{text}`", asked.from));
        }
        let stored = |mark: &Mark| self.clockwork.stored(mark);
        Ok(ReadRange { from: stored(&from), to: to.as_ref().map(stored) })
    }

    /// The lowest start from which runs have read, now that one reads from there on. `first` says that there was none
    /// before.
    pub fn widened(&self, before: &State, first: bool, range: &ReadRange) -> Option<String> {
        let mark = |text: &str| self.clockwork.of_stored(text);
        let (since, from) = (before.since.as_deref().and_then(mark), mark(&range.from));
        let since = match (first, since) {
            (true, _) => from,
            (false, None) => None,
            (false, since) => since.min(from),
        };
        since.map(|since| self.clockwork.stored(&since))
    }

    /// Whether a run that begins there asks for all that runs have ever read.
    fn reaches_all(&self, before: &State, initial: Option<&Mark>) -> bool {
        let Some(initial) = initial else { return true };
        let since = before.since.as_deref().and_then(|since| self.clockwork.of_stored(since));
        since.is_some_and(|since| since >= *initial)
    }

    /// The windows that a run opens: itself, unless it is cut into several.
    fn windows(&self, whole: Window) -> Vec<Window> {
        let Some(step) = self.params.step.filter(|_| whole.start.is_some() && whole.end.is_some())
        else {
            return vec![whole];
        };
        let until = whole.end.clone();
        let first = self.cut(Window { until, ..whole }, Duration::ZERO, step);
        let more = |window: &Window| self.cut(window.clone(), step, step);
        std::iter::successors(first, more).take(self.side_by_side() as usize).collect()
    }

    /// How many windows are read side by side.
    fn side_by_side(&self) -> u32 {
        self.params.concurrency.map_or(WINDOWS, NonZeroU32::get).min(side_by_side::MOST)
    }

    /// The window that begins so much later; `None` behind the last.
    pub(super) fn cut(&self, window: Window, later: Duration, step: Duration) -> Option<Window> {
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let (start, until) = (mark(&window.start)?.later(later), mark(&window.until)?);
        let end = start.clone().later(step).min(until.clone());
        let stored = |mark: Mark| Some(self.clockwork.stored(&mark));
        let Window { planned, fresh, backfill, read_to, until: last, .. } = window;
        let cut = Window {
            until: last,
            backfill,
            read_to,
            ..Window::new(stored(start.clone()), stored(end), planned, fresh)
        };
        (start < until).then_some(cut)
    }

    /// The window that is opened when the chain of this one has ended, and how many lanes further on it is.
    pub fn behind(&self, window: &Window) -> Option<(Window, u32)> {
        let step = self.params.step?;
        let lanes = self.side_by_side();
        window.until.as_ref()?;
        let behind = self.cut(window.clone(), step.saturating_mul(lanes), step)?;
        Some((behind, lanes))
    }
}

/// The run that began to read everything again, if it was broken off after it, or a later one, had changed records.
fn restarted(before: &State, request: &PlanRequest) -> Option<RunId> {
    let again = RunId(before.again?);
    request.broken_off.is_some_and(|broken_off| broken_off >= again).then_some(again)
}
