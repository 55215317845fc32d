//! Owns what a run says of records that came twice because the list moved while it was read by number: where one
//! comes twice, another may not have come at all.

use sqlx::PgConnection;

use super::TaskError;
use crate::db::runs::Run;
use crate::db::{missing_records, run_chains, run_tasks};
use crate::domain::number::grouped;
use crate::domain::presence::Reads;
use crate::domain::remark::Remark;
use crate::domain::run::Mode;
use crate::sources::{Profile, Source};

/// Whether a run of this source notes its keys for that.
pub(super) fn is_looked_for(profile: &Profile, mode: Mode) -> bool {
    // What is new only is compared by the source itself, which knows from where on it is read.
    let reads_all = profile.reads == Reads::Again || mode == Mode::Full;
    profile.may_shift && reads_all && mode != Mode::Replay
}

/// What there is to say of the keys that a run has met twice. If by the total of the source others are missing, its
/// chain is not complete from now on, and says so itself.
pub(super) async fn look(
    transaction: &mut PgConnection,
    run: &Run,
    source: &dyn Source,
) -> Result<Option<Remark>, TaskError> {
    let profile = source.profile();
    if run.dry_run || run.failed_tasks > 0 || run.mode == Mode::Replay {
        return Ok(None);
    }
    // A child may come with two parents, and what is known of these is noted already.
    let has_parents = profile.parents.is_some();
    if profile.reads == Reads::News && !has_parents {
        doubt_lanes(transaction, run, source).await?;
    }
    if !is_looked_for(&profile, run.mode) {
        return Ok(None);
    }
    let repeats = missing_records::count_repeats(transaction, &run.source, run.id).await?;
    if repeats == 0 {
        return Ok(None);
    }
    let came = came(repeats.unsigned_abs());
    let doubted = !has_parents
        && run_chains::doubt_if_short_of(transaction, run.id, repeats, &missing(&came)).await?;
    Ok((!doubted).then(|| Remark::note(format!("{came}; {ADVICE}"))))
}

/// The same of what is new only, lane by lane: the source itself knows its records.
async fn doubt_lanes(
    transaction: &mut PgConnection,
    run: &Run,
    source: &dyn Source,
) -> Result<(), TaskError> {
    let marks = run_tasks::lane_marks(&mut *transaction, run.id).await?;
    let slices = marks.into_iter().map(|mark| Ok((lane_of(mark.lane)?, mark.watermark)));
    let slices: Vec<_> = slices.collect::<Result<_, TaskError>>()?;
    for (lane, repeats) in source.others_missing(&slices) {
        run_chains::doubt_lane(transaction, run.id, lane, &missing(&came(repeats))).await?;
    }
    Ok(())
}

fn lane_of(lane: i64) -> Result<u32, TaskError> {
    u32::try_from(lane).map_err(|_| TaskError::Inconsistent(format!("{lane} is no lane")))
}

const ADVICE: &str = "sort the list by something that does not change, in `rest_api.params`";

fn came(repeats: u64) -> String {
    format!(
        "{} of the records came twice: either the list moved while it was read, or `primary_key` does not tell the \
         records apart",
        grouped(repeats)
    )
}

fn missing(came: &str) -> String {
    format!("{came}. By the total of the API others did not come at all: {ADVICE}")
}
