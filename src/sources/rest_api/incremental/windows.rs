//! Owns what is kept of a run of which a window could not be read: the watermark moves up to the first window that
//! lacks something, and everything behind it is asked for again. What was read behind it is not remembered: where keys
//! come again, the missing window would be read after newer values, and leave older ones over them.
//!
//! Here it is also decided, for all who ask, whether a window was read whole.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::identities::kept;
use super::trace::{Trace, read};
use super::tracker::Tracker;
use crate::sources::ReadLanes;
use crate::sources::rest_api::position::Window;

/// The windows that were read whole, from the first on.
#[derive(Debug)]
pub(in crate::sources::rest_api) struct Whole {
    /// What their pages left.
    pub traces: Vec<Value>,
    /// How many they are.
    pub lanes: u32,
    /// The first that lacks something, from where and up to where; `None` where nobody knows.
    pub missing: Option<(String, String)>,
    /// Whether the run reads what was read before, too.
    pub fresh: bool,
    pub backfill: bool,
}

impl Tracker {
    /// The windows of a run that failed which were read whole; `None` where it was not cut into any.
    pub fn whole_windows(&self, read: &ReadLanes) -> Option<Whole> {
        let step = self.params.step?;
        let traces: Vec<(u32, Option<Trace>)> = read
            .slices
            .iter()
            .map(|(lane, trace)| (*lane, Trace::deserialize(trace).ok()))
            .collect();
        let any = traces.iter().find_map(|(_, trace)| trace.as_ref());
        let any = &any.filter(|trace| trace.window.until.is_some())?.window;
        let (fresh, backfill) = (any.fresh, any.backfill);
        let (mut lanes, mut count) = (0, 0);
        let mut last: Option<&Window> = None;
        for pages in traces.chunk_by(|(one, _), (other, _)| one == other) {
            let whole = pages.first().is_some_and(|(lane, _)| {
                let all: Option<Vec<&Trace>> =
                    pages.iter().map(|(_, trace)| trace.as_ref()).collect();
                *lane == lanes
                    && !read.broken.contains(lane)
                    && all.is_some_and(|traces| is_whole(&traces))
            });
            if !whole {
                break;
            }
            (lanes, count) = (lanes + 1, count + pages.len());
            last = pages.last().and_then(|(_, trace)| Some(&trace.as_ref()?.window));
        }
        let missing = match last {
            Some(window) => self.cut(window.clone(), step, step),
            // A later page of the first window could not be had.
            None => {
                let first = traces.iter().find(|(lane, _)| *lane == 0);
                let first = first.and_then(|(_, trace)| Some(trace.as_ref()?.window.clone()));
                first.and_then(|window| self.cut(window, Duration::ZERO, step))
            }
        };
        let missing = missing.and_then(|window| window.start.zip(window.end));
        let traces = read.slices[..count].iter().map(|(_, trace)| trace.clone()).collect();
        Some(Whole { traces, lanes, missing, fresh, backfill })
    }
}

/// Whether these pages of a window are all of it, and all is there: its chain has ended, neither that nor a page which
/// was read on its own says that something may be missing, and no records came in place of others.
pub(super) fn is_whole(pages: &[&Trace]) -> bool {
    let mut ends = pages.iter().filter_map(|trace| trace.end.as_ref()).peekable();
    ends.peek().is_some() && ends.all(|end| end.complete) && in_place_of_others(pages) == 0
}

/// How many records of these pages came twice as they are, if by the total of the API as many others did not come at
/// all: the list moved while it was read. A record that was changed meanwhile, as in a log of changes, is another.
fn in_place_of_others(pages: &[&Trace]) -> u64 {
    let spare = pages.iter().filter_map(|trace| trace.end.as_ref()).find_map(|end| end.spare);
    let Some(spare) = spare else { return 0 };
    let mut met = HashSet::new();
    let twice = pages.iter().flat_map(|page| kept(&page.met)).filter(|record| !met.insert(*record));
    let twice = twice.count() as u64;
    if twice > spare { twice } else { 0 }
}

/// The lanes in which records came twice in place of others, and how many.
pub(in crate::sources::rest_api) fn lanes_with_others_missing(
    slices: &[(u32, Value)],
) -> Vec<(u32, u64)> {
    let of_lane = |slices: &[(u32, Value)]| {
        let traces: Vec<Value> = slices.iter().map(|(_, trace)| trace.clone()).collect();
        let traces = read(&traces);
        let twice = in_place_of_others(&traces.iter().collect::<Vec<_>>());
        slices.first().map(|(lane, _)| (*lane, twice)).filter(|(_, twice)| *twice > 0)
    };
    slices.chunk_by(|(one, _), (other, _)| one == other).filter_map(of_lane).collect()
}
