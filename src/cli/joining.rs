//! Owns the message when a source has a run under way already: it goes on as it was started, whatever
//! is asked for now.

use sqlx::PgConnection;

use super::actor::actor;
use super::{out, times};
use crate::db::runs::{self, Run};
use crate::domain::run::Mode;
use crate::job_file::Definition;
use crate::sources::{self, Access};
use crate::tasks::cancel_run::{CancelOutcome, cancel_run};

/// Whether a run is another than the one asked for.
pub(super) fn differs(run: &Run, (mode, access, dry_run): (Mode, Access, bool)) -> bool {
    run.range.is_some()
        || (run.mode, run.access.as_str(), run.dry_run) != (mode, access.as_str(), dry_run)
}

/// What the run was started to do.
fn purpose(run: &Run, definition: &Definition) -> String {
    let what = match (run.mode, &run.range) {
        (_, Some(range)) => format!("to read {range}"),
        (Mode::Incremental, None) => "to read what is new".to_owned(),
        (Mode::Full, None) => "to read everything (--full)".to_owned(),
        (Mode::Replay, None) => "to replay what was read".to_owned(),
    };
    let from = match run.access.as_str() {
        "offline" => " from recorded pages (--offline)",
        "record" => " and record the pages (--record)",
        _ if run.mode == Mode::Replay || !sources::recordable(definition) => "",
        _ => " from the network",
    };
    let dry = if run.dry_run { ", as a dry run" } else { "" };
    format!("{what}{from}{dry}")
}

/// For a command that goes on with the run all the same.
pub(super) fn remark(run: &Run, definition: &Definition) -> String {
    let Run { id, source, .. } = run;
    format!(
        "{source}: going on with run {id}, started at {} UTC {}; to start anew instead, give \
         --restart, or `kasparro runs cancel {id}` first",
        times::second(run.created_at),
        purpose(run, definition)
    )
}

/// For a command that asks for something else.
pub(super) fn refusal(run: &Run, definition: &Definition) -> String {
    let Run { id, source, .. } = run;
    format!(
        "{source}: run {id} is under way, started at {} UTC {}; wait for it, or give --restart to \
         cancel it and start anew",
        times::second(run.created_at),
        purpose(run, definition)
    )
}

/// Cancels the run of a source that is under way, if there is one.
///
/// # Errors
/// Database errors.
pub(super) async fn cancel_active(
    transaction: &mut PgConnection,
    definition: &Definition,
) -> Result<(), sqlx::Error> {
    if let Some(id) = runs::active(&mut *transaction, definition.source.as_str()).await?
        && let CancelOutcome::Cancelled(run) = cancel_run(transaction, id, &actor()).await?
    {
        out::remark(format!("{}: run {id} is cancelled", run.source));
    }
    Ok(())
}
