//! Owns how runs stand in tables: on the overview, on the list of runs, on the page of a source.

use chrono::{DateTime, Utc};

use super::html::{self, Html, ago, length, number};
use crate::db::runs::Run;
use crate::domain::run::Mode;
use crate::domain::text;

/// The longest note in a table, in bytes.
const NOTE: usize = 200;

/// A run as a row.
pub(crate) struct RunRow {
    pub(crate) id: i64,
    pub(crate) source: String,
    pub(crate) status: Html,
    /// What is not usual about it.
    pub(crate) how: Option<String>,
    pub(crate) begun: Html,
    pub(crate) took: String,
    pub(crate) read: String,
    pub(crate) inserted: String,
    pub(crate) updated: String,
    pub(crate) unchanged: String,
    pub(crate) quarantined: String,
    pub(crate) is_set_aside: bool,
    pub(crate) note: Option<String>,
}

impl RunRow {
    /// The run, as it is at that time.
    pub(crate) fn of(run: &Run, now: DateTime<Utc>) -> Self {
        let counters = &run.counters;
        let begun = run.started_at.unwrap_or(run.created_at);
        let note = run.error.as_deref().or(run.stop_reason.as_deref());
        Self {
            id: run.id.0,
            source: run.source.clone(),
            status: html::status(run.status),
            how: how(run),
            begun: ago(begun, now),
            took: run
                .started_at
                .map(|at| length(run.finished_at.unwrap_or(now) - at))
                .unwrap_or_default(),
            read: number(counters.rows_read),
            inserted: number(counters.inserted),
            updated: number(counters.updated),
            unchanged: number(counters.unchanged),
            quarantined: number(counters.quarantined),
            is_set_aside: counters.quarantined > 0,
            note: note.map(|note| text::cut(note, NOTE).into_owned()),
        }
    }
}

/// What is not usual about a run: another mode, a dry one, one that makes no progress.
pub(crate) fn how(run: &Run) -> Option<String> {
    let mut words = Vec::new();
    if run.mode != Mode::Incremental {
        words.push(run.mode.as_str());
    }
    if run.range.is_some() {
        words.push("backfill");
    }
    if run.dry_run {
        words.push("dry run");
    }
    if run.stalled {
        words.push("no progress");
    }
    (!words.is_empty()).then(|| words.join(", "))
}
