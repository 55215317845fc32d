//! Owns what is kept of a run of which a window could not be read: the watermark moves up to the first window that
//! lacks something, and everything behind it is asked for again. What was read behind it is not remembered: where keys
//! come again, the missing window would be read after newer values, and leave older ones over them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::trace::Trace;
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
                *lane == lanes && !read.broken.contains(lane) && is_whole(pages)
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

/// Whether these pages of a window are all of it, and all is there.
fn is_whole(pages: &[(u32, Option<Trace>)]) -> bool {
    let traces: Option<Vec<&Trace>> = pages.iter().map(|(_, trace)| trace.as_ref()).collect();
    traces.is_some_and(|traces| {
        let mut ends = traces.iter().filter_map(|trace| trace.end.as_ref()).peekable();
        ends.peek().is_some() && ends.all(|end| end.complete)
    })
}
