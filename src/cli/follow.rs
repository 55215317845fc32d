//! Owns watching runs to their end.

use std::time::{Duration, Instant};

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

/// Shows runs until all have ended, or only waits when there is no progress to show; returns how
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
