//! Owns what of an API is new: where a run begins to read, what its pages say of the cursor, and how far the
//! watermark may move at the end of the run.
//!
//! The watermark is the highest cursor of which everything lower has been read. Nothing moves it but a run
//! whose chains all ended complete, and never beyond the API's own clock.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::incremental_params::{Incremental, Sorted};
use super::mark::{Clockwork, Mark, delta};
use super::params::RestApiParams;
use super::position::{PagePosition, Window};
use super::state::State;
use super::template::{END, START, Supplied};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::remark::Remark;
use crate::domain::run::Mode;
use crate::sources::rows::path::Path;
use crate::sources::{PlanRequest, SourceError, SourceErrorKind};

/// The key of how many records of a page were left out, in what it leaves for the end of its run.
pub(super) const FILTERED: &str = "filtered";

/// `incremental` of a job file, compiled.
#[derive(Debug)]
pub(super) struct Tracker {
    params: Incremental,
    clockwork: Clockwork,
    cursor: Option<Path>,
    /// Whether the request says up to where to read.
    ends: bool,
}

/// What the records of a page say of the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursors {
    /// The lowest and the highest.
    span: Option<(Mark, Mark)>,
    /// Records without a readable one.
    missing: u64,
    /// All records.
    records: u64,
}

/// What a page leaves for the end of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trace {
    window: Window,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<String>,
    records: u64,
    #[serde(default)]
    missing: u64,
    /// Records that a filter of the job file left out.
    #[serde(default)]
    filtered: u64,
    /// The API's clock, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<DateTime<Utc>>,
    /// How the chain ended, if this was its last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<ChainEnd>,
}

impl Tracker {
    /// Compiles it; `None` where the job file has no `incremental`.
    ///
    /// # Errors
    /// When it has something that `check` refuses.
    pub fn new(params: &RestApiParams) -> Result<Option<Self>, SourceError> {
        let invalid = |key: &str, why: &str| {
            let message = format!("`rest_api.incremental.{key}` {why}");
            SourceError::new(SourceErrorKind::InvalidConfig, message)
        };
        let Some(incremental) = params.incremental.clone() else { return Ok(None) };
        let clockwork = incremental.clockwork().map_err(|(key, why)| invalid(key, &why))?;
        let cursor = incremental.cursor_path.as_deref().map(Path::parse).transpose();
        let cursor = cursor.map_err(|why| invalid("cursor_path", &why))?;
        let ends = incremental.end_param.is_some() || params.names_any(END);
        Ok(Some(Self { params: incremental, clockwork, cursor, ends }))
    }

    /// What a run asks for: a window, or the first of several; none when there is nothing to ask for yet.
    pub fn plan(
        &self,
        before: &State,
        now_asked: Option<&State>,
        request: &PlanRequest,
    ) -> (Vec<Window>, Vec<Remark>) {
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
        if let (Some(Mark::Time(_)), Some(max_age)) = (&known, self.params.max_age) {
            let oldest = Mark::of_time(request.now - delta(max_age));
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
        let end = self.ends.then(|| {
            let behind = request.now - delta(self.params.lag.unwrap_or_default());
            Mark::of_time(DateTime::from_timestamp(behind.timestamp(), 0).unwrap_or(behind))
        });
        if let (Some(start), Some(end)) = (&start, &end)
            && end <= start
        {
            return (Vec::new(), remarks);
        }
        let stored = |mark: Option<Mark>| mark.map(|mark| self.clockwork.stored(&mark));
        let (start, end) = (stored(start), stored(end));
        let whole = Window { start, end, planned: request.now, fresh, until: None };
        (self.windows(whole), remarks)
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
        std::iter::successors(first, more).take(self.params.concurrency.get() as usize).collect()
    }

    /// The window that begins so much later; `None` behind the last.
    fn cut(&self, window: Window, later: Duration, step: Duration) -> Option<Window> {
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let (start, until) = (mark(&window.start)?.later(later), mark(&window.until)?);
        let end = start.clone().later(step).min(until.clone());
        let stored = |mark: Mark| Some(self.clockwork.stored(&mark));
        (start < until).then(|| Window { start: stored(start), end: stored(end), ..window })
    }

    /// The window that is opened when the chain of this one has ended, and how many lanes further on it is.
    pub fn behind(&self, window: &Window) -> Option<(Window, u32)> {
        let step = self.params.step?;
        let lanes = self.params.concurrency.get();
        window.until.as_ref()?;
        let behind = self.cut(window.clone(), step.saturating_mul(lanes), step)?;
        Some((behind, lanes))
    }

    /// Up to where all windows are complete, from the first on.
    fn gapless(&self, traces: &[Trace]) -> Option<Mark> {
        let complete =
            traces.iter().filter(|trace| trace.end.as_ref().is_some_and(|end| end.complete));
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let windows = complete.filter_map(|trace| {
            trace.window.until.as_ref()?;
            Some((mark(&trace.window.start)?, mark(&trace.window.end)?))
        });
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

    /// The value of a name.
    pub fn supply(&self, window: &Window, name: &str) -> Option<Supplied> {
        match name {
            START => {
                let start = self.clockwork.of_stored(window.start.as_deref()?)?;
                Some(self.clockwork.supplied(&match self.params.inclusive {
                    true => start,
                    false => self.clockwork.unit_less(&start),
                }))
            }
            END => {
                let end = self.clockwork.of_stored(window.end.as_deref()?)?;
                Some(self.clockwork.supplied(&self.clockwork.rounded_up(&end)))
            }
            _ => None,
        }
    }

    /// The query parameters that take the bounds, with the names of their values.
    pub fn bounds(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let Incremental { start_param, end_param, .. } = &self.params;
        [(start_param, START), (end_param, END)]
            .into_iter()
            .filter_map(|(param, name)| Some((param.as_deref()?, name)))
    }

    /// What the records of a page say.
    pub fn cursors(&self, records: &[Cow<'_, str>]) -> Cursors {
        let mut cursors = Cursors { records: records.len() as u64, ..Cursors::default() };
        let Some(path) = &self.cursor else { return cursors };
        for record in records {
            let found = path.find(record).ok().and_then(|found| found.into_iter().next());
            match found.and_then(|cursor| self.clockwork.of_json(&cursor)) {
                None => cursors.missing += 1,
                Some(mark) => cursors.add(mark),
            }
        }
        cursors
    }

    /// What a page leaves for the end of its run.
    pub fn trace(
        &self,
        position: &PagePosition,
        cursors: Option<Cursors>,
        date: Option<DateTime<Utc>>,
        end: Option<ChainEnd>,
    ) -> Option<Trace> {
        let window = position.window.clone()?;
        let Cursors { span, missing, records } = cursors.unwrap_or_default();
        let (min, max) = match &span {
            Some((min, max)) => {
                (Some(self.clockwork.stored(min)), Some(self.clockwork.stored(max)))
            }
            None => (None, None),
        };
        let end = end.map(|end| ChainEnd { note: None, ..end });
        Some(Trace { window, min, max, records, missing, filtered: 0, date, end })
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
            (true, None) => self.highest(&traces),
            (false, _) => {
                let in_order = || self.highest(&traces).filter(|_| self.read_in_order(&traces));
                Some(self.gapless(&traces).or_else(in_order)?)
            }
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

    /// What there is to say of the cursors of a run.
    pub fn remarks(&self, traces: &[Value]) -> Vec<Remark> {
        let traces: Vec<Trace> = read(traces);
        let (missing, records) = traces
            .iter()
            .fold((0, 0), |(missing, records), t| (missing + t.missing, records + t.records));
        let (Some(path), true) = (&self.params.cursor_path, missing > 0) else { return Vec::new() };
        vec![match missing == records {
            true => Remark::degrading(format!(
                "none of {records} records has a readable cursor (`incremental.cursor_path` = `{path}`): they \
                 are loaded, and the next run asks for the same again; see `cursor_path`, `type` and `format`"
            )),
            false => Remark::note(format!(
                "{missing} of {records} records have no readable cursor (`{path}`): they are loaded, and do not \
                 move the watermark"
            )),
        }]
    }

    /// The latest that the watermark may be: the API's clock when it first answered, less how far
    /// searches lag behind. What was written afterwards may be missing on pages that were read before.
    fn ceiling(&self, traces: &[Trace]) -> DateTime<Utc> {
        let dates = traces.iter().filter_map(|trace| trace.date);
        let planned = traces.iter().map(|trace| trace.window.planned);
        let first = dates.min().or_else(|| planned.min()).unwrap_or_default();
        first - delta(self.params.lag.unwrap_or_default())
    }

    fn highest(&self, traces: &[Trace]) -> Option<Mark> {
        let highest = traces.iter().filter_map(|trace| trace.max.as_deref());
        highest.filter_map(|text| self.clockwork.of_stored(text)).max()
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
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let ascends =
            traces.windows(2).all(|pair| match (mark(&pair[0].max), mark(&pair[1].min)) {
                (Some(before), Some(behind)) => before <= behind,
                _ => true,
            });
        let ended = traces.iter().any(|trace| trace.end.is_some());
        self.params.sorted == Some(Sorted::Asc) && ended && ascends && traces.iter().all(cut)
    }
}

impl Trace {
    /// The same, of a page of which so many records were left out.
    pub fn filtered(self, filtered: u64) -> Self {
        Self { filtered, ..self }
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

/// What pages left, as far as it can be read: an earlier version of kasparro may have left other things.
fn read(traces: &[Value]) -> Vec<Trace> {
    traces.iter().filter_map(|trace| Trace::deserialize(trace).ok()).collect()
}
