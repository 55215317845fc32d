//! Owns watching runs to their end and the table printed then.

use std::time::{Duration, Instant};

use chrono::SecondsFormat;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use sqlx::PgPool;

use super::progress::Progress;
use crate::db::runs::{self, Run};
use crate::domain::run::RunId;

/// The first looks come fast, because a run with nothing new ends at once …
const SOONEST_LOOK: Duration = Duration::from_millis(4);
/// … and the later ones slow enough to cost nothing.
const LATEST_LOOK: Duration = Duration::from_millis(100);
/// Lines in a log file come no faster than this.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Shows runs until all have ended, or only waits when there is no progress to show; answers how
/// they ended, in the order of `ids`.
pub(super) async fn follow(
    pool: &PgPool,
    ids: &[RunId],
    progress: Option<&Progress>,
) -> anyhow::Result<Vec<Run>> {
    let mut view = progress.map(Progress::runs);
    let every_look = progress.is_some_and(Progress::draws);
    let begun = Instant::now();
    let mut shown: Option<Instant> = None;
    loop {
        let due = every_look || shown.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if due {
            shown = Some(Instant::now());
        }
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(run) = runs::get(pool, *id).await? else { continue };
            if let Some(view) = &mut view
                && (due || !run.status.is_active())
            {
                view.show(&run);
            }
            all.push(run);
        }
        if all.iter().all(|run| !run.status.is_active()) {
            if let Some(view) = view {
                view.clear();
            }
            return Ok(all);
        }
        tokio::time::sleep((begun.elapsed() / 10).clamp(SOONEST_LOOK, LATEST_LOOK)).await;
    }
}

/// Runs as a table.
pub(super) fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "run",
        "source",
        "status",
        "read",
        "inserted",
        "updated",
        "unchanged",
        "quarantined",
        "seconds",
        "note",
    ]);
    for run in runs {
        let counters = &run.counters;
        table.add_row([
            run.id.to_string(),
            run.source.clone(),
            run.status.to_string(),
            counters.rows_read.to_string(),
            counters.inserted.to_string(),
            counters.updated.to_string(),
            counters.unchanged.to_string(),
            counters.quarantined.to_string(),
            seconds(run),
            note(run),
        ]);
    }
    for column in [0, 3, 4, 5, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn note(run: &Run) -> String {
    let stalled = run.stalled.then(|| {
        let since = run.moved_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("stalled: nothing has moved since {since}")
    });
    // Else its counters look like those of a run that wrote something.
    let dry = run.dry_run.then(|| "dry run: nothing was written".to_owned());
    let parts = [dry, stalled, run.error.clone(), run.stop_reason.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn seconds(run: &Run) -> String {
    match (run.started_at, run.finished_at) {
        (Some(start), Some(end)) => format!("{:.2}", (end - start).as_seconds_f64()),
        _ => String::new(),
    }
}
