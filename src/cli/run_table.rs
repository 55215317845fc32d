//! Owns how runs are shown in a table, and in it where one stands.

use super::table::{Cell, Table, Tone};
use super::times;
use crate::api::resources::run::Run;
use crate::domain::run::RunStatus;

/// Runs as a table.
pub(super) fn table(runs: &[Run]) -> Table {
    let mut table = Table::new("no runs")
        .id("run")
        .name("source")
        .word("status")
        .word("started (UTC)")
        .word("took")
        .count("read")
        .count("inserted")
        .count("updated")
        .count("unchanged")
        .count("quarantined");
    let mut notes: Vec<(Vec<String>, &str, Cell)> = Vec::new();
    for run in runs {
        let counters = &run.counters;
        table.row([
            Cell::from(run.id),
            Cell::from(&run.source),
            status(run),
            Cell::from(run.started_at.map(times::minute).unwrap_or_default()),
            Cell::from(took(run).unwrap_or_default()),
            Cell::from(counters.rows_read),
            Cell::from(counters.inserted),
            Cell::from(counters.updated),
            Cell::from(counters.unchanged),
            quarantined(counters.quarantined),
        ]);
        let Some(note) = note(run) else { continue };
        // A source that fails every ten minutes mostly says the same.
        match notes.iter_mut().find(|(_, source, known)| *source == run.source && *known == note) {
            Some((ids, _, _)) => ids.push(run.id.to_string()),
            None => notes.push((vec![run.id.to_string()], &run.source, note)),
        }
    }
    for (ids, source, note) in notes {
        let word = if ids.len() == 1 { "run" } else { "runs" };
        table.note(format!("{word} {} ({source})", ids.join(", ")), note);
    }
    table
}

/// Where a run stands.
pub(super) fn status(run: &Run) -> Cell {
    let tone = match run.status {
        RunStatus::Failed => Tone::Bad,
        RunStatus::Degraded => Tone::Warning,
        _ if run.stalled => Tone::Warning,
        _ => Tone::Plain,
    };
    let stalled = if run.stalled { ", stalled" } else { "" };
    // It looks like a run that wrote something.
    let dry = if run.dry_run { ", dry run" } else { "" };
    Cell::new(format!("{}{stalled}{dry}", run.status), tone)
}

/// Rows set aside.
pub(super) fn quarantined(rows: i64) -> Cell {
    Cell::new(rows, if rows > 0 { Tone::Warning } else { Tone::Plain })
}

/// How long a run took that has ended.
pub(super) fn took(run: &Run) -> Option<String> {
    Some(times::span(run.finished_at? - run.started_at?))
}

fn note(run: &Run) -> Option<Cell> {
    let stalled = run
        .stalled
        .then(|| format!("stalled: no progress since {} UTC", times::second(run.last_progress_at)));
    // Else its counters look like those of a run that wrote something.
    let dry = run.dry_run.then(|| "dry run: nothing was written".to_owned());
    let parts = [dry, stalled, run.error.clone(), run.stop_reason.clone()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let tone = match run.status {
        RunStatus::Failed => Tone::Bad,
        RunStatus::Degraded => Tone::Warning,
        _ => Tone::Plain,
    };
    (!text.is_empty()).then(|| Cell::new(text, tone))
}
