//! Owns what of an API is new: where a run begins to read, what its pages say of the cursor, and how far the
//! watermark may move at the end of the run.
//!
//! The watermark is the highest cursor of which everything lower has been read. Nothing moves it but a run
//! whose chains all ended complete, and never beyond the API's own clock.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::incremental_params::{Incremental, Sorted};
use super::mark::{Clockwork, Mark, delta};
use super::params::RestApiParams;
use super::position::{PagePosition, Reached, Window};
use super::state::State;
use super::template::{END, START, Supplied, text_of};
use crate::domain::chain_end::{ChainEnd, StopReason};
use crate::domain::remark::Remark;
use crate::domain::run::Mode;
use crate::sources::rows::path::Path;
use crate::sources::{PlanRequest, SourceError, SourceErrorKind};

/// How many windows are read side by side, unless the job file says otherwise.
const WINDOWS: u32 = 4;
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
    /// Whether one came behind a higher one.
    descends: bool,
}

/// What a run asks for.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// A window, or the first of several; none when there is nothing to ask for yet.
    pub windows: Vec<Window>,
    /// What there is to say.
    pub remarks: Vec<Remark>,
    /// Whether a record of the table that does not come is one that the API has no more.
    pub everything: bool,
    /// The cursor at which the run before ended, if it may be asked for.
    pub cursor: Option<Value>,
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
    /// Whether a record came behind a higher one.
    #[serde(default)]
    descends: bool,
    /// The API's clock, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<DateTime<Utc>>,
    /// The cursor at which a later run can go on, if this was the last page of a chain that has everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<Value>,
    /// What the API said, if it refused the cursor of the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
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
        // What is read behind an end, or was read before the present beginning, is not asked for.
        let reaches_all = request.mode == Mode::Full && self.reaches_all(before, initial.as_ref());
        if request.mode == Mode::Full && !reaches_all && !self.ends && request.state_of.is_some() {
            remarks.push(Remark::note(
                "runs of before read what is older than `incremental.initial_value`, or may have: this one does \
                 not ask for it, so no record counts as missing",
            ));
        }
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
            return Asks { remarks, ..Asks::default() };
        }
        let stored = |mark: Option<Mark>| mark.map(|mark| self.clockwork.stored(&mark));
        let whole = Window::new(stored(start), stored(end), request.now, fresh);
        let cursor = before.cursor.clone().filter(|_| !fresh);
        let everything = reaches_all && !self.ends;
        Asks { windows: self.windows(whole), remarks, everything, cursor }
    }

    /// Whether a run that begins there asks for all that runs have ever read.
    fn reaches_all(&self, before: &State, initial: Option<&Mark>) -> bool {
        let Some(initial) = initial else { return true };
        let since = before.since.as_deref().and_then(|since| self.clockwork.of_stored(since));
        since.is_some_and(|since| since >= *initial)
    }

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

    /// The window of a page, of which this is known when it has been read.
    pub fn reached(&self, window: &Window, cursors: Option<&Cursors>) -> Window {
        if self.params.sorted != Some(Sorted::Asc) {
            return window.clone();
        }
        let Some((cursors, (min, max))) = cursors.and_then(|c| Some((c, c.span.as_ref()?))) else {
            return window.clone();
        };
        let before = window.reached.as_ref();
        let highest = before.and_then(|before| self.clockwork.of_stored(&before.highest));
        let in_order = before.is_none_or(|before| before.in_order)
            && !cursors.descends
            && highest.as_ref().is_none_or(|highest| highest <= min);
        let highest = highest.map_or(max.clone(), |highest| highest.max(max.clone()));
        let reached = Reached { highest: self.clockwork.stored(&highest), in_order };
        Window { reached: Some(reached), ..window.clone() }
    }

    /// Whether the job file says that the lowest records come first.
    pub fn is_sorted(&self) -> bool {
        self.params.sorted == Some(Sorted::Asc)
    }

    /// The window of a new chain that goes on at the highest cursor of one that came to the most records of one
    /// query.
    ///
    /// # Errors
    /// Why nobody can go on there.
    pub fn beyond(&self, window: &Window) -> Result<Window, String> {
        const SEARCH: &str = "a search that goes on from the last record";
        let reached = match &window.reached {
            _ if self.params.sorted != Some(Sorted::Asc) => {
                return Err(format!("{SEARCH} needs records in order: see `incremental.sorted`"));
            }
            Some(reached) if reached.in_order => reached,
            Some(_) => {
                return Err(format!("{SEARCH} needs records in order, and they did not come so"));
            }
            None => return Err(format!("{SEARCH} needs its cursor, and none can be read")),
        };
        let from = Some(reached.highest.clone());
        let next = Window { from, reached: None, resumed: false, ..window.clone() };
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let asked = |window: &Window| match self.supply(window, START) {
            Some(Supplied::Value(value) | Supplied::Time(_, _, value)) => Some(text_of(&value)),
            Some(Supplied::Itself) | None => None,
        };
        match mark(&next.from) > mark(&window.from) && asked(&next) != asked(window) {
            true => Ok(next),
            false => Err(format!(
                "{SEARCH} would ask for the same again, since they all have the cursor `{}` or nearly so",
                reached.highest
            )),
        }
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
        self.params.concurrency.map_or(WINDOWS, NonZeroU32::get)
    }

    /// The window that begins so much later; `None` behind the last.
    fn cut(&self, window: Window, later: Duration, step: Duration) -> Option<Window> {
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let (start, until) = (mark(&window.start)?.later(later), mark(&window.until)?);
        let end = start.clone().later(step).min(until.clone());
        let stored = |mark: Mark| Some(self.clockwork.stored(&mark));
        let Window { planned, fresh, until: last, .. } = window;
        let cut = Window {
            until: last,
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
                let start = window.from.as_deref().or(window.start.as_deref());
                let start = self.clockwork.of_stored(start?)?;
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
        let mut before = None;
        for record in records {
            let found = path.find(record).ok().and_then(|found| found.into_iter().next());
            match found.and_then(|cursor| self.clockwork.of_json(&cursor)) {
                None => cursors.missing += 1,
                Some(mark) => {
                    cursors.descends |= before.as_ref().is_some_and(|before| *before > mark);
                    before = Some(mark.clone());
                    cursors.add(mark);
                }
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
        let window = Window { reached: None, ..position.window.clone()? };
        let Cursors { span, missing, records, descends } = cursors.unwrap_or_default();
        let (min, max) = match &span {
            Some((min, max)) => {
                (Some(self.clockwork.stored(min)), Some(self.clockwork.stored(max)))
            }
            None => (None, None),
        };
        let end = end.map(|end| ChainEnd { note: None, ..end });
        let (cursor, refused) = (None, None);
        let filtered = 0;
        let trace = Trace {
            window,
            min,
            max,
            records,
            missing,
            filtered,
            descends,
            date,
            end,
            cursor,
            refused,
        };
        Some(trace)
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
        let refused =
            traces.iter().filter_map(|trace| trace.refused.as_ref().map(|said| (trace, said)));
        let mut remarks: Vec<_> = refused
            .map(|(trace, said)| {
                let start = trace.window.start.as_deref().unwrap_or("the beginning");
                Remark::note(format!(
                    "the API refused the cursor at which an earlier run ended ({said}), so this one read from \
                     {start} on"
                ))
            })
            .collect();
        let (Some(path), true) = (&self.params.cursor_path, missing > 0) else { return remarks };
        remarks.push(match missing == records {
            true => Remark::degrading(format!(
                "none of {records} records has a readable cursor (`incremental.cursor_path` = `{path}`): they \
                 are loaded, and the next run asks for the same again; see `cursor_path`, `type` and `format`"
            )),
            false => Remark::note(format!(
                "{missing} of {records} records have no readable cursor (`{path}`): they are loaded, and do not \
                 move the watermark"
            )),
        });
        remarks
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
        let ascends = traces.iter().all(|trace| !trace.descends)
            && traces.windows(2).all(|pair| match (mark(&pair[0].max), mark(&pair[1].min)) {
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

/// What pages left, as far as it can be read: an earlier version of kasparro may have left other things.
fn read(traces: &[Value]) -> Vec<Trace> {
    traces.iter().filter_map(|trace| Trace::deserialize(trace).ok()).collect()
}
