//! Owns the first task of a replay: which kept rows to normalize again, and taking them over as if
//! this run had read them. From there on a replay is a run like any other.

use sqlx::PgConnection;

use super::planned::Planned;
use super::read_slice::SliceResult;
use super::snapshot_schema::{LeadingNowhere, absent_fields};
use super::{Effects, TaskContext, TaskError, position};
use crate::db::{field_presence, replay, schemas};
use crate::domain::presence::Reads;
use crate::domain::remark::Remark;
use crate::domain::run::RunRange;
use crate::domain::shape::Shape;
use crate::sources::{SourceError, SourceErrorKind};

/// The range, once it is certain that its rows are still kept.
pub(super) async fn find(context: &TaskContext) -> Result<RunRange, TaskError> {
    let source = &context.source_name;
    let range = replay::range(&context.pool, context.run).await?;
    match replay::missing_raw(&context.pool, source, range).await? {
        None => Ok(range),
        Some(missing) => Err(TaskError::Source(
            SourceError::new(
                SourceErrorKind::RawGone,
                format!(
                    "{} of run {} is not kept any more (`retention.raw` of the job file)",
                    missing.raw_ref, missing.run
                ),
            )
            .advise("replay later runs, or read the source again with mode = full"),
        )),
    }
}

/// What there is to say about fields of the job file that none of the rows has.
pub(super) async fn remarks(
    context: &TaskContext,
    range: RunRange,
) -> Result<Vec<Remark>, TaskError> {
    let (source, definition) = (&context.source_name, &context.source.definition);
    // The shape is that of the rows that were found then.
    if context.source.source.profile().rows_by_job_file
        && replay::read_otherwise(&context.pool, source, range, context.run).await?
    {
        return Ok(Vec::new());
    }
    let mut shape = Shape::default();
    let mut leading_nowhere = LeadingNowhere::default();
    for slice in replay::slices(&context.pool, &context.source_name, range).await? {
        let read = SliceResult::from_value(slice.result)?;
        shape.merge(&read.shape);
        leading_nowhere.add(&read.shape, read.leading_nowhere, read.meant);
    }
    let known = schemas::current(&context.pool, &context.source_name).await?;
    let reads = context.source.source.profile().reads;
    let known = known.map(|known| known.accepted).filter(|_| reads == Reads::News);
    let had = field_presence::get(&context.pool, &context.source_name).await?;
    let absent = absent_fields(definition, &shape, &leading_nowhere, known.as_ref(), &had, reads);
    Ok(absent.into_iter().collect())
}

/// Takes the slices of the range over.
pub(super) async fn store(
    context: &TaskContext,
    transaction: &mut PgConnection,
    range: RunRange,
    remarks: Vec<Remark>,
) -> Result<Effects, TaskError> {
    let source = &context.source_name;
    position::note_restart(context, transaction).await?;
    // By another job file other rows may have the same key.
    let in_order = context.source.definition.has_unique()
        || replay::read_otherwise(&mut *transaction, source, range, context.run).await?;
    let taken = replay::take_over(transaction, source, context.run, range, in_order).await?;
    let result = Planned { remarks, ..Planned::default() }.to_value()?;
    let mut counters = taken.counters;
    if context.source.source.profile().rows_by_job_file {
        // Another job file may find other rows: normalizing counts them.
        counters.rows_read = 0;
    }
    Ok(Effects { counters, result: Some(result), read_already: taken.slices, ..Effects::default() })
}
