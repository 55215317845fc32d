//! Owns what there is to say at the end of a run of what its pages left.

use serde_json::Value;

use super::moved::Moved;
use super::trace::{Trace, read};
use super::tracker::Tracker;
use crate::domain::number::grouped;
use crate::domain::remark::Remark;

impl Tracker {
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
        remarks.extend(self.moved(&traces).map(|moved| self.of_moved(&moved, &traces)));
        remarks.extend(self.ignores_start(&traces, records));
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

    /// A run that reads everything has not; one that reads what is new leaves it to the next one.
    fn of_moved(&self, moved: &Moved, traces: &[Trace]) -> Remark {
        let was = match moved.records {
            1 => "1 record was changed".to_owned(),
            records => format!("{} records were changed", grouped(records as u64)),
        };
        let may = "while the pages were read, which moves others to pages that were read already";
        match &moved.up_to {
            Some(mark) => {
                let from = self.clockwork.stored(mark);
                let next = match traces.iter().any(|trace| trace.window.backfill) {
                    true => format!("the same command goes on at {from}"),
                    false => format!("the next run asks again for what is new since {from}"),
                };
                let degrades = traces.iter().any(|trace| trace.window.fresh);
                Remark { text: format!("{was} {may}: {next}"), degrades }
            }
            None => Remark::degrading(format!(
                "{was} {may}: some may be missing, and the next run asks for the same again. Ask the API for its \
                 records in the order of `{}`, the lowest first, if it can; a paginator that goes on from a cursor \
                 misses none",
                self.params.cursor_path.as_deref().unwrap_or("incremental.cursor_path")
            )),
        }
    }

    /// An API that gives what is older than it was asked for reads everything in each run.
    fn ignores_start(&self, traces: &[Trace], records: u64) -> Option<Remark> {
        let older: u64 = traces.iter().map(|trace| trace.older).sum();
        let start = match &self.params.start_param {
            Some(param) => format!("`{param}`"),
            None => "`${incremental.start}`".to_owned(),
        };
        (older > records / 2).then(|| {
            Remark::note(format!(
                "{} of {} records are older than what was asked for: the API seems to ignore {start}, so that every \
                 run reads all it has",
                grouped(older),
                grouped(records)
            ))
        })
    }
}
