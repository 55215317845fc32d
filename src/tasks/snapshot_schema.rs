//! Owns the task that compares what a run saw with the last schema version.

use sqlx::PgConnection;

use super::parse_csv_chunk::SliceResult;
use super::plan_run::Planned;
use super::{Effects, Task, TaskContext, TaskError};
use crate::db::run_tasks;
use crate::db::schemas::{self, CurrentSchema};
use crate::definition::policy::{Contract, Policy};
use crate::domain::schema::{Change, Drift, FieldSchema, Schema};
use crate::domain::shape::Shape;
use crate::domain::task::TaskPayload;

pub(super) struct SnapshotSchema;

/// What the run saw, all slices together.
pub(super) struct Seen {
    shape: Shape,
    /// Whether everything the source has was read: only then can a field be missing from it.
    complete: bool,
}

impl Task for SnapshotSchema {
    type Gathered = Seen;

    async fn gather(&self, context: &TaskContext) -> Result<Seen, TaskError> {
        let slices = run_tasks::read_slices(&context.pool, context.run, 0, i64::MAX).await?;
        let mut shape = Shape::default();
        for slice in slices {
            shape.merge(&SliceResult::from_value(slice.result)?.shape);
        }
        // Whether rows could be normalized says nothing about what was read, and may not be known yet.
        let read_all = !run_tasks::any_unread(&context.pool, context.run).await?;
        Ok(Seen { shape, complete: read_all && !appended_only(context).await? })
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        seen: Seen,
    ) -> Result<Effects, TaskError> {
        let source = &context.source_name;
        let contract = &context.source.definition.contract;
        match schemas::current(&mut *transaction, source).await? {
            None if seen.complete && seen.shape.rows > 0 => {
                let observed = Schema::of(&seen.shape);
                let first = CurrentSchema { version: 1, accepted: observed.clone(), observed };
                schemas::insert(transaction, source, &first, context.run).await?;
            }
            None => {}
            Some(current) => evolve(context, transaction, contract, &current, &seen).await?,
        }
        Ok(Effects::default())
    }
}

/// Whether any file was read from its committed end only.
async fn appended_only(context: &TaskContext) -> Result<bool, TaskError> {
    let key = TaskPayload::PlanRun {}.key();
    let Some(result) = run_tasks::result(&context.pool, context.run, &key).await? else {
        return Ok(false);
    };
    let planned: Planned = serde_json::from_value(result).map_err(|error| {
        TaskError::Inconsistent(format!("plan of run {}: {error}", context.run))
    })?;
    Ok(planned.files.iter().any(|file| file.appended))
}

async fn evolve(
    context: &TaskContext,
    transaction: &mut PgConnection,
    contract: &Contract,
    current: &CurrentSchema,
    seen: &Seen,
) -> Result<(), TaskError> {
    let source = &context.source_name;
    let evolved = current.observed.evolve(&seen.shape, seen.complete);
    let (observed, drift) = evolved.unwrap_or_else(|| (current.observed.clone(), Vec::new()));
    let accepted = accept(&current.accepted, &observed, contract);
    if observed == current.observed && accepted == current.accepted {
        return Ok(());
    }
    let next = CurrentSchema { version: current.version + 1, observed, accepted };
    schemas::insert(transaction, source, &next, context.run).await?;
    let with_policy: Vec<(Drift, &'static str)> = drift
        .into_iter()
        .map(|drift| {
            let policy = policy_of(contract, drift.change);
            warn(context, &drift, policy);
            (drift, policy.as_str())
        })
        .collect();
    schemas::insert_drift(transaction, source, next.version, &with_policy, context.run).await?;
    Ok(())
}

fn policy_of(contract: &Contract, change: Change) -> Policy {
    match change {
        Change::Added => contract.new_field,
        Change::Removed => contract.missing_field,
        Change::TypeChanged => contract.type_change,
    }
}

fn warn(context: &TaskContext, drift: &Drift, policy: Policy) {
    let text = |schema: &Option<FieldSchema>| match schema {
        Some(schema) => schema.to_string(),
        None => "nothing".to_owned(),
    };
    tracing::warn!(
        run_id = context.run.0,
        source = context.source_name,
        field = drift.field,
        change = drift.change.as_str(),
        old = text(&drift.old),
        new = text(&drift.new),
        policy = policy.as_str(),
        first = drift.first.as_ref().map(ToString::to_string).unwrap_or_default(),
        "the schema of a source changed"
    );
}

/// What the contract measures the next run's rows by: the changes it does not accept stay out,
/// run after run, until the contract says `evolve`.
fn accept(accepted: &Schema, observed: &Schema, contract: &Contract) -> Schema {
    let mut next = accepted.clone();
    for (name, seen) in &observed.fields {
        match next.fields.get_mut(name) {
            None if contract.new_field == Policy::Evolve => {
                next.fields.insert(name.clone(), seen.clone());
            }
            None => {}
            Some(known) => {
                // Else one odd row would switch the rule off for every later run.
                if contract.missing_field == Policy::Evolve {
                    known.optional |= seen.optional;
                }
                if known.types.is_empty() || contract.type_change == Policy::Evolve {
                    known.types.clone_from(&seen.types);
                }
            }
        }
    }
    if contract.missing_field == Policy::Evolve {
        next.fields.retain(|name, _| observed.fields.contains_key(name));
    }
    next
}
