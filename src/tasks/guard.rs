//! Owns the guard over mapped fields that every record had: which of them no record of a run has, and that nothing is
//! normalized as long as one may still come. What has lost such a field stays out, and is read again by the next run.
//!
//! Slices that are read side by side know nothing of each other: what is gone is gone from all of them.

use sqlx::{PgConnection, PgExecutor};

use super::{SourceInUse, TaskContext, TaskError};
use crate::db::{field_presence, run_tasks, schemas};
use crate::domain::number::grouped;
use crate::domain::presence::Reads;
use crate::domain::remark::Remark;
use crate::domain::run::RunId;
use crate::domain::shape::Shape;
use crate::mapping::Mapping;
use crate::mapping::contract::Gone;

/// The fields that every record had; none where the guard is kept by others or by nobody.
pub(super) async fn guarded(context: &TaskContext) -> Result<Gone, TaskError> {
    if !context.source.is_guarded {
        return Ok(Gone::default());
    }
    let schema = schemas::accepted_for(&context.pool, context.run).await?;
    let known = field_presence::get(&context.pool, &context.source_name).await?;
    let reads = context.source.source.profile().reads;
    Ok(Mapping::guarded(&context.source.definition, schema.as_ref(), &known, reads))
}

/// The fields that every record had and that neither this slice has nor those in front of it that were read before.
/// `nowhere` is the paths that led nowhere in any of its records.
pub(super) async fn gone_so_far(
    context: &TaskContext,
    slice: i64,
    (shape, nowhere): (&Shape, &[String]),
) -> Result<Gone, TaskError> {
    if !context.source.is_guarded {
        return Ok(Gone::default());
    }
    let gone = match run_tasks::missing_before(&context.pool, context.run, slice).await? {
        Some(missing) => of_ledger(missing)?,
        None => guarded(context).await?,
    };
    Ok(still_gone(gone, shape, nowhere))
}

/// Those of these fields that the records of a slice do not have either. `nowhere` is the paths that
/// led nowhere in any of them. A slice without objects says nothing of what those behind it have.
pub(super) fn still_gone(mut gone: Gone, shape: &Shape, nowhere: &[String]) -> Gone {
    // What a shape had no room for may well be there.
    gone.fields.retain(|field| !shape.cut && !shape.fields.contains_key(field));
    gone.paths.retain(|path| nowhere.contains(path));
    gone
}

/// The guarded fields that no record of the run has. Either some slice that is read has them all, and
/// then it stays so, or nothing is normalized before everything is read.
pub(super) async fn gone(context: &TaskContext) -> Result<Gone, TaskError> {
    let nothing = Ok(Gone::default());
    if !context.source.is_guarded || !run_tasks::is_any_missing(&context.pool, context.run).await? {
        return nothing;
    }
    let mut gone: Option<Gone> = None;
    for missing in run_tasks::missing_in_slices(&context.pool, context.run).await? {
        let missing = of_ledger(missing)?;
        match &mut gone {
            Some(gone) => gone.retain_those_of(&missing),
            none => *none = Some(missing),
        }
    }
    Ok(gone.unwrap_or_default())
}

/// Whether nothing may be normalized as long as more of the run is read.
pub(super) async fn waits(
    executor: impl PgExecutor<'_>,
    run: RunId,
    source: &SourceInUse,
) -> Result<bool, sqlx::Error> {
    Ok(source.is_guarded && run_tasks::is_any_missing(executor, run).await?)
}

/// How many rows of a run were kept out.
pub(super) async fn kept_out(
    connection: &mut PgConnection,
    run: RunId,
    source: Option<&SourceInUse>,
    quarantined: i64,
) -> Result<u64, sqlx::Error> {
    match source {
        Some(source) if quarantined > 0 && source.is_guarded => {
            run_tasks::kept_out(connection, run).await
        }
        _ => Ok(0),
    }
}

/// What there is to say of rows that were kept out, where nobody else does: of all that an API has it is said why
/// none was loaded.
pub(super) fn remark(rows: u64, reads: Reads) -> Option<Remark> {
    let what = match rows {
        1 => "a record lacks a field that every record".to_owned(),
        rows => format!("{} records lack a field that every record", grouped(rows)),
    };
    (rows > 0 && reads == Reads::News).then(|| {
        Remark::degrading(format!(
            "{what} had so far: nothing of them was loaded, and the next run asks for them again; if that is meant, \
             write missing_field = \"evolve\" under [contract]"
        ))
    })
}

fn of_ledger(missing: serde_json::Value) -> Result<Gone, TaskError> {
    serde_json::from_value(missing).map_err(|error| TaskError::Inconsistent(error.to_string()))
}
