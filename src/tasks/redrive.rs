//! Owns putting quarantined rows through again, after the job file was fixed: a replay from the run
//! on that set the first of them aside.
//!
//! Not only those rows: a later row of the same key wins over them, and only all rows in
//! their order tell which one is later.

use sqlx::PgConnection;

use super::start_run::{RawRange, RunRequest, Started, start_run};
use crate::db::quarantined_rows;
use crate::domain::reject::Fingerprint;
use crate::domain::run::{Mode, Trigger};
use crate::job_file::Definition;
use crate::sources::Access;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// A replay began, or could not.
    Started(Started),
    /// No such row is set aside.
    NothingSetAside,
}

/// Which rows, and who asks.
#[derive(Debug, Clone, Copy)]
pub struct RedriveRequest<'a> {
    /// Only rows that are bad in this way; `None` is all.
    pub fingerprint: Option<Fingerprint>,
    /// Who asks.
    pub trigger: Trigger,
    /// Equal keys of one source are one run.
    pub idempotency_key: Option<&'a str>,
    /// Only show what would become of them.
    pub dry_run: bool,
}

/// Starts a replay that reaches back to the quarantined rows, in the caller's transaction.
///
/// # Errors
/// Database errors.
pub async fn redrive(
    transaction: &mut PgConnection,
    definition: &Definition,
    request: RedriveRequest<'_>,
) -> Result<Redriven, sqlx::Error> {
    let source = definition.source.as_str();
    let fingerprint = request.fingerprint.map(Fingerprint::to_bytes);
    let fingerprint = fingerprint.as_ref().map(|bytes| &bytes[..]);
    let first = quarantined_rows::first_run(&mut *transaction, source, fingerprint).await?;
    let Some(first) = first else { return Ok(Redriven::NothingSetAside) };
    let replay = RunRequest {
        mode: Mode::Replay,
        trigger: request.trigger,
        access: Access::Offline,
        idempotency_key: request.idempotency_key,
        raw: RawRange { from: Some(first), to: None },
        dry_run: request.dry_run,
        range: None,
    };
    start_run(transaction, definition, &replay).await.map(Redriven::Started)
}
