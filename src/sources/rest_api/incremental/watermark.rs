//! Owns what the next run begins with: how far the watermark may move at the end of a run.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::moved::LATE;
use super::trace::{Trace, read};
use super::tracker::Tracker;
use super::windows::is_whole;
use crate::domain::chain_end::StopReason;
use crate::sources::rest_api::incremental_params::Sorted;
use crate::sources::rest_api::mark::{Mark, delta, earlier};
use crate::sources::rest_api::state::State;

impl Tracker {
    /// The lowest start from which runs have read, now that one has left these traces. `first` says that there
    /// was none before.
    pub fn since(&self, before: &State, first: bool, traces: &[Value]) -> Option<String> {
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let starts = read(traces).into_iter().map(|trace| mark(&trace.window.start));
        // `None` is lower than any mark, as it is meant here.
        let lowest = starts.min();
        let since = match (first, lowest) {
            (true, lowest) => lowest.flatten(),
            (false, None) => mark(&before.since),
            (false, Some(lowest)) => lowest.min(mark(&before.since)),
        };
        since.map(|since| self.clockwork.stored(&since))
    }

    /// The cursor at which the next run can go on.
    pub fn cursor(&self, before: &State, traces: &[Value], complete: bool) -> Option<Value> {
        let traces = read(traces);
        let fresh = traces.iter().any(|trace| trace.window.fresh || trace.refused.is_some());
        match complete {
            true => traces.into_iter().rev().find_map(|trace| trace.cursor),
            false => before.cursor.clone().filter(|_| !fresh),
        }
    }

    /// The watermark at the end of a run whose tasks have all completed; `None` when it stays what it is.
    /// `complete` says that every chain has everything.
    pub fn advance(
        &self,
        before: &State,
        traces: &[Value],
        complete: bool,
    ) -> Option<Option<String>> {
        let traces: Vec<Trace> = read(traces);
        let window = &traces.first()?.window;
        let end = traces.iter().filter_map(|trace| trace.window.end.as_deref());
        let end = end.filter_map(|end| self.clockwork.of_stored(end)).max();
        let read_up_to = match (complete, end) {
            (true, Some(end)) => Some(end),
            (true, None) => self.highest(&traces).or_else(|| self.before_those_ahead(&traces)),
            (false, _) => {
                let in_order = || self.highest(&traces).filter(|_| self.read_in_order(&traces));
                Some(self.gapless(&traces).or_else(in_order)?)
            }
        };
        let read_up_to = match self.moved(&traces) {
            None => {
                let changed = self.changed_by_late_clocks(&traces);
                read_up_to.map(|mark| changed.map_or(mark.clone(), |changed| mark.min(changed)))
            }
            Some(moved) => Some(moved.up_to?.min(read_up_to?)),
        };
        let read_up_to = read_up_to.map(|mark| mark.min_time(self.ceiling(&traces)));
        let old = before.watermark.as_deref().and_then(|text| self.clockwork.of_stored(text));
        let new = match window.fresh {
            true => read_up_to,
            // Nothing is read behind it that was not read before.
            false => read_up_to.max(old),
        };
        Some(new.map(|mark| self.clockwork.stored(&mark)))
    }

    /// Up to where all windows are complete, from the first on.
    fn gapless(&self, traces: &[Trace]) -> Option<Mark> {
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let mut pages: BTreeMap<_, Vec<&Trace>> = BTreeMap::new();
        for trace in traces.iter().filter(|trace| trace.window.until.is_some()) {
            pages.entry((&trace.window.start, &trace.window.end)).or_default().push(trace);
        }
        let whole = pages.into_iter().filter(|(_, pages)| is_whole(pages));
        let windows = whole.filter_map(|((start, end), _)| Some((mark(start)?, mark(end)?)));
        let mut windows: Vec<_> = windows.collect();
        windows.sort();
        let mut at = traces.iter().filter_map(|trace| mark(&trace.window.start)).min()?;
        let begin = at.clone();
        for (start, end) in windows {
            if start > at {
                break;
            }
            at = at.max(end);
        }
        (at > begin).then_some(at)
    }

    /// The latest that the watermark may be: the API's clock when it first answered, less how far
    /// searches lag behind. What was written afterwards may be missing on pages that were read before.
    pub(super) fn ceiling(&self, traces: &[Trace]) -> DateTime<Utc> {
        let dates = traces.iter().filter_map(|trace| trace.date);
        let planned = traces.iter().map(|trace| trace.window.planned);
        let first = dates.min().or_else(|| planned.min()).unwrap_or_default();
        self.whole(earlier(first, self.lag()), traces)
    }

    /// A time, cut as cursors are: what was changed behind it may have a cursor in front of it, where cursors are
    /// whole minutes or days.
    pub(super) fn whole(&self, first: DateTime<Utc>, traces: &[Trace]) -> DateTime<Utc> {
        let stamped = traces.iter().filter(|trace| self.highest_of(trace).is_some());
        let grains = stamped.map(|trace| trace.grain);
        let grain = grains.min().and_then(|grain| i64::try_from(grain).ok()).unwrap_or(0).max(1);
        let over = TimeDelta::seconds(first.timestamp().rem_euclid(grain));
        if grain > 1 {
            DateTime::from_timestamp(first.timestamp(), 0).map_or(first, |at| earlier(at, over))
        } else {
            first
        }
    }

    /// How far searches lag behind.
    pub(super) fn lag(&self) -> TimeDelta {
        delta(self.params.lag.unwrap_or_default())
    }

    /// The highest cursor, but for those that no clock stamped: they do not say that what is changed next has a higher
    /// one.
    fn highest(&self, traces: &[Trace]) -> Option<Mark> {
        traces.iter().filter_map(|trace| self.highest_of(trace)).max()
    }

    /// From where the next run reads if all cursors are later than the answers: a clock may be late.
    fn before_those_ahead(&self, traces: &[Trace]) -> Option<Mark> {
        let is_ahead = traces.iter().any(|trace| trace.ahead);
        is_ahead.then(|| Mark::of_time(earlier(self.ceiling(traces), LATE)))
    }

    /// Whether all that was read is lower than all that was not: the job file says that records come in
    /// order, they did, and what cut the chain short was its limit.
    fn read_in_order(&self, traces: &[Trace]) -> bool {
        let cut = |trace: &Trace| match &trace.end {
            Some(end) if !end.complete => {
                matches!(end.reason, StopReason::MaxPages | StopReason::MaxRecords)
            }
            Some(_) | None => true,
        };
        let ended = traces.iter().any(|trace| trace.end.is_some());
        // Of several windows each lacks something of its own.
        let is_one = traces.windows(2).all(|two| two[0].window.start == two[1].window.start);
        self.params.sorted == Some(Sorted::Asc)
            && ended
            && is_one
            && self.ascend(traces)
            && traces.iter().all(cut)
    }

    /// Whether every record of these pages came behind those with lower cursors. Those from the future are the last
    /// wherever a list ends.
    pub(super) fn ascend<'t>(&self, traces: impl IntoIterator<Item = &'t Trace>) -> bool {
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let mut highest: Option<Mark> = None;
        traces.into_iter().all(|trace| {
            let max = self.highest_of(trace);
            let min = mark(&trace.min).filter(|_| max.is_some());
            let behind = highest.is_none() || min.is_none() || highest <= min;
            highest = max.or(highest.take());
            behind && !trace.descends
        })
    }
}
