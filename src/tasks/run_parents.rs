//! Owns the parents of a run, for whose children a source asks: what the source is told of them, which of its slices
//! have some, and what the run says of those that failed.

use std::collections::BTreeMap;
use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};

use super::{SourceInUse, TaskContext, TaskError};
use crate::db::parents::{self, FailedParents, Snapshot};
use crate::db::{failure_class, parent_keys};
use crate::domain::number::grouped;
use crate::domain::parent::{Parent, PlannedParents, WhichParents};
use crate::domain::remark::{Remark, few};
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;
use crate::domain::text;
use crate::job_file::policy::MissingAction;
use crate::sources::{NextSlice, Parents, Plan, SourceError, SourceErrorKind};

/// The most failed parents that are named one by one.
const NAMED: i64 = 5;

/// The parents of a run, where they are kept.
pub(super) struct KeptParents {
    pool: PgPool,
    run: RunId,
}

impl fmt::Debug for KeptParents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptParents({})", self.run)
    }
}

impl KeptParents {
    pub fn of(context: &TaskContext) -> Self {
        Self { pool: context.pool.clone(), run: context.run }
    }
}

impl Parents for KeptParents {
    fn of_lane(&self, lane: u32) -> BoxFuture<'_, Result<Vec<Parent>, SourceError>> {
        async move { parents::of_lane(&self.pool, self.run, lane).await.map_err(unread) }.boxed()
    }
}

/// The slice is read when the database answers.
fn unread(error: sqlx::Error) -> SourceError {
    let kind = SourceErrorKind::Engine(failure_class(&error));
    SourceError::new(kind, "the parents of the run cannot be read").caused_by(error)
}

/// Parents that nobody keeps, for who only looks.
#[derive(Debug)]
pub(super) struct ParentsInMemory {
    parents: Vec<Parent>,
    per_lane: usize,
    /// What there is to say of those that were left out.
    pub left_out: Option<Remark>,
}

impl ParentsInMemory {
    /// Those of them for which anything can be asked.
    pub fn of(mut parents: Vec<Parent>, planned: &PlannedParents) -> Self {
        let mut lacking = BTreeMap::new();
        parents.retain(|parent| match planned.needed.lacking(&parent.fields) {
            Some(field) => {
                *lacking.entry(field.to_owned()).or_default() += 1;
                false
            }
            None => true,
        });
        let left_out = lacking_remark(&lacking);
        Self { parents, per_lane: planned.per_lane.max(1) as usize, left_out }
    }

    /// The lanes that have parents.
    pub fn lanes(&self) -> usize {
        self.parents.len().div_ceil(self.per_lane)
    }
}

impl Parents for ParentsInMemory {
    fn of_lane(&self, lane: u32) -> BoxFuture<'_, Result<Vec<Parent>, SourceError>> {
        let of_lane = self.parents.chunks(self.per_lane).nth(lane as usize);
        let of_lane = of_lane.map(<[Parent]>::to_vec).unwrap_or_default();
        std::future::ready(Ok(of_lane)).boxed()
    }
}

/// Keeps the parents of a plan, and leaves out of it the slices that have none.
pub(super) async fn keep(
    context: &TaskContext,
    transaction: &mut PgConnection,
    plan: &mut Plan,
) -> Result<(), TaskError> {
    let Some(planned) = &plan.parents else { return Ok(()) };
    let source = &context.source_name;
    let Snapshot { due, all, lacking } =
        parents::snapshot(transaction, source, context.run, planned).await?;
    let lanes = due.unsigned_abs().div_ceil(planned.per_lane.max(1).into());
    if lanes > u64::from(SliceId::MAX_LANE) {
        let text = format!("{lanes} requests for parents are more than a run can make");
        return Err(TaskError::Inconsistent(text));
    }
    plan.slices.retain(|next| u64::from(next.slice.lane()) < lanes);
    // What a parent has that cannot be asked for is not known, and not gone.
    plan.everything &= due == all;
    plan.remarks.extend(none_yet(planned, all));
    plan.remarks.extend(lacking_remark(&lacking));
    Ok(())
}

/// What there is to say where there is no parent at all.
pub(super) fn none_yet(planned: &PlannedParents, all: i64) -> Option<Remark> {
    match &planned.which {
        WhichParents::Records(records) if all == 0 => Some(Remark::note(format!(
            "{} has no records yet, for which this source would ask",
            records.source
        ))),
        WhichParents::Records(_) | WhichParents::These(_) => None,
    }
}

/// What there is to say of parents that lack a field without which nothing can be asked for them.
fn lacking_remark(lacking: &BTreeMap<String, i64>) -> Option<Remark> {
    let of_field = lacking.iter().map(|(field, count)| {
        let what = if *count == 1 { "parent has" } else { "parents have" };
        format!("{} {what} no `{field}`", grouped(count.unsigned_abs()))
    });
    (!lacking.is_empty()).then(|| {
        Remark::note(format!(
            "{}, without which nothing can be asked for: they are left out until they have a value",
            few(of_field.collect())
        ))
    })
}

/// The slices whose lanes have parents, of those that a source names.
pub(super) async fn with_parents(
    context: &TaskContext,
    transaction: &mut PgConnection,
    mut next: Vec<NextSlice>,
) -> Result<Vec<NextSlice>, TaskError> {
    if context.source.source.profile().parents.is_some() && !next.is_empty() {
        let last = parents::last_lane(transaction, context.run).await?;
        next.retain(|next| last.is_some_and(|last| next.slice.lane() <= last));
    }
    Ok(next)
}

/// Notes for which parents the table has all children now that a batch is in it.
pub(super) async fn note_done(
    context: &TaskContext,
    transaction: &mut PgConnection,
    slices: (i64, i64),
) -> Result<(), TaskError> {
    if let Some(profile) = context.source.source.profile().parents {
        let (source, run) = (&context.source_name, context.run);
        parents::note_done(transaction, source, run, slices, &profile.asked).await?;
    }
    Ok(())
}

/// Notes which keys a batch has seen of each parent, where it is to be known which of them are gone.
pub(super) async fn note_keys(
    context: &TaskContext,
    transaction: &mut PgConnection,
    first_slice: i64,
    seen: impl FnOnce() -> Vec<(u32, Vec<u64>)>,
) -> Result<(), TaskError> {
    let is_wanted = context.source.definition.missing.action == MissingAction::Tombstone;
    let parents = context.source.source.profile().parents.filter(|_| is_wanted);
    if parents.is_some_and(|parents| parents.one_each && parents.records.is_some()) {
        let (source, run) = (&context.source_name, context.run);
        parent_keys::note(transaction, source, run, first_slice, &seen()).await?;
    }
    Ok(())
}

/// How a run has failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Whether a task failed that is not of a parent alone.
    pub any: bool,
    /// What there is to say of the parents that failed alone.
    pub remark: Option<Remark>,
}

/// Tells the failed tasks of parents, which failed alone, from the others.
pub(super) async fn failures(
    transaction: &mut PgConnection,
    run: RunId,
    failed_tasks: i32,
    source: Option<&SourceInUse>,
) -> Result<Failures, TaskError> {
    let has_parents = source.is_some_and(|source| source.source.profile().parents.is_some());
    if failed_tasks == 0 || !has_parents {
        return Ok(Failures { any: failed_tasks > 0, remark: None });
    }
    let alone = parents::count_failed_alone(transaction, run).await?;
    let failed = parents::failed(transaction, run, NAMED).await?;
    Ok(Failures { any: failed_tasks > alone, remark: told(&failed) })
}

fn told(failed: &FailedParents) -> Option<Remark> {
    let FailedParents { count, keys, error } = failed;
    let named: Vec<_> = keys.iter().map(|key| text::beginning(key)).collect();
    let more = match count - keys.len() as i64 {
        0 => String::new(),
        more => format!(" and {} more", grouped(more.unsigned_abs())),
    };
    let what = if *count == 1 { "parent" } else { "parents" };
    (*count > 0).then(|| {
        Remark::degrading(format!(
            "the children of {} {what} could not be read, and the next run asks for them again: {}{more}; the first: \
             {}",
            grouped(count.unsigned_abs()),
            named.join(", "),
            error.as_deref().unwrap_or("it failed"),
        ))
    })
}
