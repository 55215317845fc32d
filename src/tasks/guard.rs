//! Owns the guard over mapped fields that every record had: which of them no record of a run has, and that nothing is
//! normalized as long as one may still come. What has lost such a field stays out, and is read again by the next run.
//! How many records of a run must lack it is said by [`Presence::fewest_missed`](crate::domain::presence::Presence).
//!
//! Slices that are read side by side know nothing of each other: what is gone is gone from all of them.

use sqlx::{PgConnection, PgExecutor};

use super::{SourceInUse, TaskContext, TaskError, emptied};
use crate::db::{field_presence, run_tasks, schemas};
use crate::domain::number::grouped;
use crate::domain::presence::Reads;
use crate::domain::remark::Remark;
use crate::domain::run::RunId;
use crate::domain::shape::Shape;
use crate::mapping::Mapping;
use crate::mapping::contract::{Gone, Guarded};

/// The fields that every record had; none where the guard is kept by others or by nobody.
pub(super) async fn guarded(context: &TaskContext) -> Result<Guarded, TaskError> {
    if !context.source.is_guarded {
        return Ok(Guarded::default());
    }
    let schema = schemas::accepted_for(&context.pool, context.run).await?;
    let known = field_presence::get(&context.pool, &context.source_name).await?;
    let reads = context.source.source.profile().reads;
    let mut guarded = Mapping::guarded(&context.source.definition, schema.as_ref(), &known, reads);
    if emptied::reads(&*context.source.source, context.mode) == Reads::Again {
        guarded.fewest.clear();
    }
    Ok(guarded)
}

/// What was looked at of a slice.
pub(super) struct Looked<'c> {
    /// All of its records.
    pub all: LookedAt<'c>,
    /// Those that no run before has read, where some have been.
    pub news: Option<LookedAt<'c>>,
}

/// Records that were looked at.
pub(super) struct LookedAt<'c> {
    /// What they look like.
    pub shape: &'c Shape,
    /// The paths that led nowhere in any of them.
    pub nowhere: Vec<String>,
    /// How many there are, those left out that say that they are deleted.
    pub records: u64,
}

impl LookedAt<'_> {
    /// What none of them has of these fields. What a shape had no room for may well be there.
    fn lack(&self, mut fields: Gone) -> Gone {
        let Self { shape, nowhere, .. } = self;
        fields.fields.retain(|field| !shape.cut && !shape.fields.contains_key(field));
        fields.paths.retain(|path| nowhere.contains(path));
        fields
    }
}

/// The fields that every record had and that neither this slice has nor those in front of it that were read before.
pub(super) async fn missing_so_far<'c>(
    context: &TaskContext,
    slice: i64,
    looked: impl FnOnce() -> Looked<'c>,
) -> Result<Guarded, TaskError> {
    if !context.source.is_guarded {
        return Ok(Guarded::default());
    }
    let before = match run_tasks::missing_before(&context.pool, context.run, slice).await? {
        Some(missing) => of_ledger(missing)?,
        None => guarded(context).await?,
    };
    let now = still_missing(Guarded { records: 0, ..before }, &looked());
    Ok(if now.missing.is_empty() { Guarded::default() } else { now })
}

/// Those of these fields that the records of a slice do not have either. A slice without objects says nothing of what
/// those behind it have, and nor do records that were read before and are as they were: only those that have lost a field
/// since say something.
pub(super) fn still_missing(before: Guarded, looked: &Looked<'_>) -> Guarded {
    let Looked { all, news } = looked;
    let new = news.as_ref().unwrap_or(all);
    let missing = new.lack(before.missing);
    let has_lost = !all.lack(missing.clone()).is_empty();
    let counted = if has_lost { all } else { new };
    let mut fewest = before.fewest;
    fewest.retain(|name, _| missing.fields.contains(name) || missing.paths.contains(name));
    Guarded { missing, fewest, records: before.records + counted.records }
}

/// The guarded fields that no record of the run has, and that so many lack that it is no accident. Either some slice
/// that is read has them all, and then it stays so, or nothing is normalized before everything is read.
pub(super) async fn gone(context: &TaskContext) -> Result<Gone, TaskError> {
    Ok(missing(context).await?.gone())
}

/// Whether fields are missing from the run by what may be an accident: that they are gone from the source nobody
/// knows before more of it was read.
pub(super) async fn may_be_accidents(context: &TaskContext) -> Result<bool, TaskError> {
    let missing = missing(context).await?;
    Ok(missing.missing != missing.clone().gone())
}

/// The guarded fields that no record of the run has.
async fn missing(context: &TaskContext) -> Result<Guarded, TaskError> {
    if !context.source.is_guarded || !run_tasks::is_any_missing(&context.pool, context.run).await? {
        return Ok(Guarded::default());
    }
    let mut all: Option<Guarded> = None;
    for missing in run_tasks::missing_in_slices(&context.pool, context.run).await? {
        let missing = of_ledger(missing)?;
        match &mut all {
            Some(all) => all.merge(&missing),
            none => *none = Some(missing),
        }
    }
    Ok(all.unwrap_or_default())
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

fn of_ledger(missing: serde_json::Value) -> Result<Guarded, TaskError> {
    serde_json::from_value(missing).map_err(|error| TaskError::Inconsistent(error.to_string()))
}
