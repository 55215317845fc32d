//! Owns what a run says of records that came twice because the list moved while it was read by number: where one
//! comes twice, another may not have come at all.

use sqlx::PgConnection;

use super::TaskError;
use crate::db::runs::Run;
use crate::db::{missing_records, run_chains};
use crate::domain::number::grouped;
use crate::domain::presence::Reads;
use crate::domain::remark::Remark;
use crate::domain::run::Mode;
use crate::sources::Profile;

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
    profile: &Profile,
) -> Result<Option<Remark>, TaskError> {
    if run.dry_run || run.failed_tasks > 0 || !is_looked_for(profile, run.mode) {
        return Ok(None);
    }
    let repeats = missing_records::count_repeats(transaction, &run.source, run.id).await?;
    if repeats == 0 {
        return Ok(None);
    }
    let came = format!(
        "{} of the records came twice: either the list moved while it was read, or `primary_key` does not tell the \
         records apart",
        grouped(repeats.unsigned_abs())
    );
    let advice = "sort the list by something that does not change, in `rest_api.params`";
    let missing = format!("{came}. By the total of the API others did not come at all: {advice}");
    // A child may come with two parents, and what is known of these is noted already.
    let doubted = profile.parents.is_none()
        && run_chains::doubt_if_short_of(transaction, run.id, repeats, &missing).await?;
    Ok((!doubted).then(|| Remark::note(format!("{came}; {advice}"))))
}
