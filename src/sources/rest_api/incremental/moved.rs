//! Owns what shows that records moved from page to page while they were read: pages that are asked for by number are
//! places in a list, and a record that is changed may leave its place for one further on. Those behind it move up, one
//! of them onto a page that was read already, and nobody meets it.
//!
//! The one that was changed is met twice, and the second time it is newer than the run. A list that only grows, at
//! whichever end, shows none twice like that; nor does a log of changes, in which a key occurs as often as it likes.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::identities::{Met, kept, short};
use super::trace::Trace;
use super::tracker::Tracker;
use crate::sources::rest_api::mark::{Mark, MarkKind, earlier};

/// How late a clock that stamps records may be.
pub(super) const LATE: TimeDelta = TimeDelta::days(1);

/// What follows from records that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    /// How many were met twice.
    pub records: usize,
    /// Up to where everything was read all the same; `None` where nobody can tell.
    pub up_to: Option<Mark>,
}

impl Tracker {
    /// What follows from records that moved while a run read these pages; `None` where none did.
    pub(super) fn moved(&self, traces: &[Trace]) -> Option<Moved> {
        let newer = self.newer_than_the_run(traces);
        let late = self.newer_by_late_clocks(traces);
        let is_newer = |newer: &Mark| {
            let max = |trace: &Trace| self.clockwork.of_stored(trace.max.as_deref()?);
            traces.iter().any(|trace| max(trace).is_some_and(|max| max >= *newer))
        };
        if let Some(newer) = &newer
            && !is_newer(newer)
            && !late.as_ref().is_some_and(is_newer)
        {
            return None;
        }
        let (newer, late) = (newer.as_ref().map(short), late.as_ref().map(short));
        let mut lists: BTreeMap<_, Vec<&Trace>> = BTreeMap::new();
        for trace in traces {
            lists.entry((&trace.window.start, &trace.window.end)).or_default().push(trace);
        }
        // Where cursors lead from page to page, nothing is hidden by what moves.
        lists.retain(|_, pages| pages.iter().any(|page| page.is_place()));
        let moved = lists.values().filter_map(|pages| {
            let by_late_clocks = || self.moved_by_late_clocks(pages, late?, newer?);
            by_late_clocks().or_else(|| self.moved_in(pages, newer))
        });
        moved.reduce(|one, other| Moved {
            records: one.records + other.records,
            up_to: one.up_to.zip(other.up_to).map(|(one, other)| one.min(other)),
        })
    }

    /// From which cursor on a record was changed while the run read, give or take what cursors do not say:
    /// nobody knows where they are no times.
    fn newer_than_the_run(&self, traces: &[Trace]) -> Option<Mark> {
        let ceiling = self.ceiling(traces);
        let newer = ceiling.checked_sub_signed(self.grain()).unwrap_or(ceiling);
        self.params.kind.is_time().then(|| Mark::of_time(newer))
    }

    /// The same, where the clock that stamps records is behind the one that dates answers, or its times are those of
    /// another zone: what was changed since the first answer was stamped at most so long before the highest cursor as
    /// the run took. `None` where that says no more. Days are left to [`Tracker::grain`].
    fn newer_by_late_clocks(&self, traces: &[Trace]) -> Option<Mark> {
        if !self.params.kind.is_time() || self.params.kind == MarkKind::Date {
            return None;
        }
        let dates = || traces.iter().filter_map(|trace| trace.date);
        let took = (dates().max()? - dates().min()?).checked_add(&self.grain())?;
        let Mark::Time(highest) = traces.iter().filter_map(|trace| self.highest_of(trace)).max()?
        else {
            return None;
        };
        let late = DateTime::from_timestamp_micros(highest)?.checked_sub_signed(took)?;
        let ceiling = self.ceiling(traces);
        let earliest = ceiling.checked_sub_signed(LATE)?;
        (late < ceiling - self.grain()).then(|| Mark::of_time(late.max(earliest)))
    }

    /// From which cursor on a record may have been changed since the first answer, on whichever page, and so was not
    /// met, if clocks are late: the highest cursor of a page was stamped before that was answered, which says how late
    /// they are at the most. `None` where the highest of all was answered within the second of the first page, or
    /// where each request says up to where to read.
    pub(super) fn changed_by_late_clocks(&self, traces: &[Trace]) -> Option<Mark> {
        let is_numbered = traces.iter().any(Trace::is_place);
        let is_time = self.params.kind.is_time() && self.params.kind != MarkKind::Date;
        if !is_numbered || !is_time || traces.iter().any(|trace| trace.window.end.is_some()) {
            return None;
        }
        let dates = || traces.iter().filter_map(|trace| trace.date);
        let first = dates().min()?;
        let is_first = dates().filter(|date| *date == first).count() == 1;
        let reached = traces.iter().filter_map(|trace| match self.highest_of(trace)? {
            Mark::Time(highest) => Some((highest, trace.date?)),
            Mark::Integer(_) | Mark::Text(_) => None,
        });
        let reached: Vec<_> = reached.collect();
        let highest = reached.iter().map(|(highest, _)| *highest).max()?;
        if reached.contains(&(highest, first)) {
            return None;
        }
        let changed = reached.into_iter().filter_map(|(highest, date)| {
            let took = match is_first && date == first {
                true => TimeDelta::zero(),
                // However the clocks' seconds are cut.
                false => (date - first).checked_add(&TimeDelta::seconds(1))?,
            };
            DateTime::from_timestamp_micros(highest)?.checked_sub_signed(took)
        });
        let changed = earlier(changed.max()?, self.lag());
        let earliest = earlier(self.ceiling(traces), LATE);
        Some(Mark::of_time(self.whole(changed, traces).max(earliest)))
    }

    /// What moved in a list, if clocks are late and a key that was met twice shows it: what the first page says is
    /// whole then, and no more. Nothing where the list is a log of changes. At the end of one that looks as if it were
    /// none the next runs ask for the same again, for a day.
    fn moved_by_late_clocks(&self, pages: &[&Trace], late: u64, newer: u64) -> Option<Moved> {
        if self.identities.as_ref().is_some_and(|known| known.aside) {
            return None;
        }
        let mut first: HashMap<u64, (usize, u64)> = HashMap::new();
        let mut moved: HashMap<u64, u64> = HashMap::new();
        for (page, met) in pages
            .iter()
            .enumerate()
            .flat_map(|(at, page)| kept(&page.met).into_iter().map(move |met| (at, met)))
        {
            let (at, before) = *first.entry(met.key).or_insert((page, met.cursor));
            if before == met.cursor {
                continue;
            }
            if at == page || before.max(met.cursor) < late {
                return None;
            }
            if met.cursor > before {
                moved.entry(met.key).or_insert(met.cursor);
            }
        }
        let up_to = pages.first().and_then(|page| self.highest_of(page));
        let is_late = moved.values().any(|cursor| *cursor < newer);
        let up_to = up_to.filter(|_| is_late && self.ascend(pages.iter().copied()))?;
        Some(Moved { records: moved.len(), up_to: Some(up_to) })
    }

    /// By how much a cursor may be earlier than the change that it is of.
    fn grain(&self) -> TimeDelta {
        match self.params.kind {
            MarkKind::Date => TimeDelta::days(1),
            _ => TimeDelta::minutes(1),
        }
    }

    /// The same of the pages of one list, in their order.
    fn moved_in(&self, pages: &[&Trace], newer: Option<u64>) -> Option<Moved> {
        let all: Vec<Vec<Met>> = pages.iter().map(|page| kept(&page.met)).collect();
        let aside = self.identities.as_ref().is_some_and(|known| known.aside);
        let is_watched = |met: &Met| aside || newer.is_none_or(|newer| met.cursor >= newer);
        let watched = all.iter().flatten().filter(|met| is_watched(met));
        let watched: HashSet<u64> = watched.map(|met| met.key).collect();
        let mut places: HashMap<u64, Vec<(usize, u64)>> = HashMap::new();
        for (page, met) in all.iter().enumerate() {
            for met in met.iter().filter(|met| watched.contains(&met.key)) {
                places.entry(met.key).or_default().push((page, met.cursor));
            }
        }
        // When each of them left its place at the earliest.
        let left = |places: &Vec<(usize, u64)>| {
            let (first, before) = *places.first()?;
            let later = places.iter().filter(|(page, cursor)| {
                let changed = match newer {
                    Some(newer) => *cursor > before && *cursor >= newer,
                    None => *cursor != before,
                };
                // Of pages that are read side by side, that of its new place may have been read before it came.
                *page > first && (changed || aside)
            });
            later.map(|(_, cursor)| *cursor).min()
        };
        let left: Vec<u64> = places.values().filter_map(left).collect();
        let first = left.iter().min()?;
        let whole = match newer.filter(|_| !aside) {
            // A clock that is ahead does not say when it was.
            Some(newer) if !pages.iter().any(|page| page.ahead) => {
                self.read_before(pages, self.first_left(pages, *first, newer))
            }
            Some(_) | None => 0,
        };
        // The first page is read at once.
        let whole = pages.iter().take(whole.max(1));
        let up_to = whole.filter_map(|page| self.highest_of(page)).max();
        let ascend = self.ascend(pages.iter().copied());
        Some(Moved { records: left.len(), up_to: up_to.filter(|_| ascend) })
    }

    /// When a record can have left its place at the earliest, if the first that was met twice did so then.
    ///
    /// One that left before may itself have been moved onto a page that was read. It had its new place by then, among
    /// the records that are newer than the run, and as far on in the list as that was read.
    fn first_left(&self, pages: &[&Trace], first: u64, newer: u64) -> u64 {
        let highest = |page: &&Trace| self.highest_of(page).as_ref().map(short);
        let mut left = first;
        loop {
            let by_then = pages.iter().filter(|page| {
                let date = page.date.map(|date| earlier(date, self.grain()).timestamp_millis());
                date.is_none_or(|date| u64::try_from(date).is_ok_and(|date| date <= left))
            });
            if by_then.filter_map(highest).max().is_none_or(|reached| reached < newer) {
                return left;
            }
            let surely = pages.iter().take(self.read_before(pages, left));
            let earlier = surely.filter_map(highest).max().unwrap_or(0).max(newer);
            if earlier >= left {
                return left;
            }
            left = earlier;
        }
    }

    /// How many pages, from the first on, were read before this time, however the clocks' seconds are cut.
    fn read_before(&self, pages: &[&Trace], time: u64) -> usize {
        let is_before = |page: &&&Trace| {
            let read = page.date.map(|date| {
                let read = date.checked_add_signed(TimeDelta::seconds(1));
                read.and_then(|read| read.checked_add_signed(self.lag()))
                    .unwrap_or(DateTime::<Utc>::MAX_UTC)
            });
            let read = read.and_then(|read| u64::try_from(read.timestamp_millis()).ok());
            read.is_some_and(|read| read <= time)
        };
        pages.iter().take_while(is_before).count()
    }
}
