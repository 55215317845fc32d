//! Owns the first task of a replay: which kept rows to normalize again, and taking them over as if
//! this run had read them. From there on a replay is a run like any other.

use sqlx::PgConnection;

use super::{Effects, TaskContext, TaskError};
use crate::db::replay;
use crate::domain::run::RunRange;
use crate::sources::SourceError;

/// The range, once it is certain that its rows are still kept.
pub(super) async fn find(context: &TaskContext) -> Result<RunRange, TaskError> {
    let source = &context.source_name;
    let range = replay::range(&context.pool, context.run).await?;
    match replay::missing_raw(&context.pool, source, range).await? {
        None => Ok(range),
        Some(missing) => Err(TaskError::Source(SourceError::permanent(format!(
            "{} of run {} is not kept any more (`retention.raw` of the job file): replay later runs, \
             or read the source again with mode = full",
            missing.raw_ref, missing.run
        )))),
    }
}

/// Takes the slices of the range over.
pub(super) async fn store(
    context: &TaskContext,
    transaction: &mut PgConnection,
    range: RunRange,
) -> Result<Effects, TaskError> {
    let source = &context.source_name;
    let taken = replay::take_over(transaction, source, context.run, range).await?;
    Ok(Effects { counters: taken.counters, read_already: taken.slices, ..Effects::default() })
}
