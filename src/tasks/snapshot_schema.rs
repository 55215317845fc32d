//! Owns the task that compares what a run saw with the last schema version.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::content_keys::OtherColumns;
use super::planned::Planned;
use super::read_slice::SliceResult;
use super::{Effects, Task, TaskContext, TaskError, emptied, guard};
use crate::db::field_presence;
use crate::db::run_tasks;
use crate::db::schemas::{self, CurrentSchema, NewDrift};
use crate::db::source_views::{self, Made, Obstacle, SCHEMA};
use crate::domain::number::grouped;
use crate::domain::presence::Reads;
use crate::domain::remark::{Remark, few};
use crate::domain::run::Mode;
use crate::domain::schema::{Change, Drift, FieldSchema, Schema};
use crate::domain::shape::{MAX_FIELDS, Shape};
use crate::domain::task::TaskPayload;
use crate::job_file::Definition;
use crate::job_file::policy::{Contract, Policy};
use crate::mapping::absent::FieldsSeen;
use crate::mapping::contract::mapped_fields;

/// The most changes between two versions that get a row of their own: the versions hold all of them.
const MAX_DRIFT: usize = 1_000;
/// The most of them that get a line of the log.
const MAX_WARNINGS: usize = 20;
/// The most names of new fields that are kept to find one that was renamed.
const MAX_NEW: usize = 100;

pub(super) struct SnapshotSchema;

/// What the run saw, all slices together.
pub(super) struct Seen {
    shape: Shape,
    /// Whether everything the source has was read: only then can a field be missing from it.
    complete: bool,
    /// The paths within top-level fields that led nowhere in any row.
    leading_nowhere: LeadingNowhere,
    complaints: Complaints,
    /// What shows that the source has more than was read.
    more: Option<String>,
}

/// What the task leaves in the ledger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// What there is to say about what was seen.
    #[serde(default)]
    pub remarks: Vec<Remark>,
    /// Names of fields that no earlier run had, the first ones of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub new: BTreeSet<String>,
    /// Where keys are made of all that rows hold: what rows have besides, or have no more.
    #[serde(default, skip_serializing_if = "OtherColumns::is_none")]
    pub other_columns: OtherColumns,
}

impl Task for SnapshotSchema {
    type Gathered = Seen;

    async fn gather(&mut self, context: &TaskContext) -> Result<Seen, TaskError> {
        let mut shape = Shape::default();
        let mut leading_nowhere = LeadingNowhere::default();
        let mut complaints = Complaints::default();
        let mut more = None;
        let mut results = run_tasks::results_of_slices(&context.pool, context.run);
        while let Some(result) = results.try_next().await? {
            let read = SliceResult::from_value(result)?;
            shape.merge(&read.shape);
            leading_nowhere.add(&read.shape, read.leading_nowhere, read.meant);
            // What was wrong with responses of earlier runs was reported then, and the job file may know it.
            if context.mode != Mode::Replay {
                complaints.add(read.complaint);
                more = more.or(read.more);
            }
        }
        drop(results);
        // Whether rows could be normalized says nothing about what was read, and may not be known yet.
        let read_all = !run_tasks::any_unread(&context.pool, context.run).await?;
        let complete =
            read_all && !appended_only(context).await? && !guard::may_be_accidents(context).await?;
        Ok(Seen { shape, complete, leading_nowhere, complaints, more })
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        seen: Seen,
    ) -> Result<Effects, TaskError> {
        let source = &context.source_name;
        let contract = &context.source.definition.contract;
        let current = schemas::current(&mut *transaction, source).await?;
        let known = current.as_ref().map(|current| &current.accepted);
        // Of files, those that changed were read.
        let reads = context.source.source.profile().reads;
        let known = known.filter(|_| !seen.complete || reads == Reads::News);
        let definition = &context.source.definition;
        let had = field_presence::get(&mut *transaction, source).await?;
        let absent =
            absent_fields(definition, &seen.shape, &seen.leading_nowhere, known, &had, reads);
        let new = new_fields(current.as_ref(), &seen.shape);
        let other_columns = OtherColumns::of(definition, current.as_ref(), &seen.shape);
        match current {
            None if seen.complete && seen.shape.rows > 0 => {
                let observed = Schema::of(&seen.shape);
                let first = CurrentSchema { version: 1, accepted: observed.clone(), observed };
                schemas::insert(transaction, source, &first, context.run).await?;
            }
            // What holds no row says nothing of its fields: nothing is gone from it, nothing new in it.
            None => {}
            Some(_) if seen.shape.rows == 0 => {}
            Some(current) => evolve(context, transaction, contract, &current, &seen).await?,
        }
        let too_many = seen.shape.cut.then(|| {
            Remark::note(format!(
                "the source has more than {MAX_FIELDS} names of fields: only the first ones are \
                 compared with earlier runs and evaluated by the contract; all rows are loaded"
            ))
        });
        let more = seen.more.map(Remark::degrading);
        let view = match seen.shape.rows {
            0 => None,
            _ => make_view(context, transaction).await?,
        };
        let remarks = more
            .into_iter()
            .chain(seen.complaints.remark())
            .chain(absent)
            .chain(too_many)
            .chain(view);
        let snapshot = Snapshot { remarks: remarks.collect(), new, other_columns };
        let result = serde_json::to_value(&snapshot)
            .map_err(|error| TaskError::Inconsistent(error.to_string()))?;
        Ok(Effects { result: Some(result), ..Effects::default() })
    }
}

/// Makes the source's view, or renews it, if its columns are others now. What keeps it from that is no fault of the run.
async fn make_view(
    context: &TaskContext,
    transaction: &mut PgConnection,
) -> Result<Option<Remark>, TaskError> {
    let (source, fields) = (&context.source_name, &context.source.definition.fields);
    let made = source_views::make(transaction, source, fields).await?;
    let Made::Not(obstacle) = made else { return Ok(None) };
    let text = format!("the view {SCHEMA}.{source} was not made: {obstacle}");
    // That is how it is set up, mostly, and no news of this run.
    if matches!(obstacle, Obstacle::NoRight(_)) {
        tracing::info!(source, "{text}");
        return Ok(None);
    }
    Ok(Some(Remark::note(format!("{text}; `kasparro views {source}` makes it"))))
}

/// The names of fields that no earlier run had, the first ones of them.
pub(super) fn new_fields(current: Option<&CurrentSchema>, shape: &Shape) -> BTreeSet<String> {
    let Some(current) = current else { return BTreeSet::new() };
    let new = shape.fields.keys().filter(|name| !current.observed.fields.contains_key(*name));
    new.take(MAX_NEW).cloned().collect()
}

/// What the responses of an API say is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    first: Option<String>,
    pages: u64,
}

impl Complaints {
    /// Adds what the next page says.
    pub fn add(&mut self, complaint: Option<String>) {
        self.pages += u64::from(complaint.is_some());
        self.first = self.first.take().or(complaint);
    }

    /// What there is to say.
    pub fn remark(&self) -> Option<Remark> {
        let first = self.first.as_ref()?;
        let pages = match self.pages {
            1 => "the API's answer says".to_owned(),
            pages => format!("{} answers of the API say", grouped(pages)),
        };
        Some(Remark::degrading(format!(
            "{pages} that something is wrong with it ({first}): what it holds was loaded, and records may \
             be missing; if its good answers say so, too, write ignore_errors = true under [rest_api]"
        )))
    }
}

/// The paths that led nowhere in all slices that hold any row.
#[derive(Debug, Default)]
pub(super) struct LeadingNowhere {
    paths: Option<BTreeSet<String>>,
    meant: BTreeMap<String, String>,
}

impl LeadingNowhere {
    /// Adds what a slice says, and what may have been meant there.
    pub fn add(&mut self, shape: &Shape, paths: Vec<String>, meant: BTreeMap<String, String>) {
        if shape.rows > 0 {
            let paths = paths.into_iter().collect();
            self.paths = Some(match self.paths.take() {
                Some(before) => &before & &paths,
                None => paths,
            });
            for (path, other) in meant {
                self.meant.entry(path).or_insert(other);
            }
        }
    }
}

/// What there is to say about mapped fields that no row has. `known` is what earlier runs have seen, when
/// this one has not read everything: of files it may have read those that changed. `had` is what earlier
/// runs had of the fields: one that rows may lack is not missed in a few.
pub(super) fn absent_fields(
    definition: &Definition,
    shape: &Shape,
    leading_nowhere: &LeadingNowhere,
    known: Option<&Schema>,
    had: &emptied::Known,
    reads: Reads,
) -> Option<Remark> {
    // What a shape without room for all names lacks is unknown.
    if shape.rows == 0 || shape.cut {
        return None;
    }
    let before = known.iter().flat_map(|schema| schema.fields.keys());
    let names = shape.fields.keys().chain(before).map(String::as_str).collect();
    let seen = FieldsSeen {
        names,
        headers: shape.types_inferred,
        leading_nowhere: leading_nowhere.paths.clone().unwrap_or_default(),
        meant: leading_nowhere.meant.clone(),
        excused: emptied::missing_by_accident(definition, had, shape.rows, reads),
    };
    let absent = definition.absent_fields(&seen);
    (!absent.is_empty()).then(|| Remark::note(format!("no row has {}", few(absent))))
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
    let changes = drift.len();
    let mapped = mapped_fields(&context.source.definition, &current.accepted);
    let news: Vec<NewDrift> = drift
        .into_iter()
        .take(MAX_DRIFT)
        .enumerate()
        .map(|(index, drift)| {
            let policy = policy_of(contract, &drift, &mapped, &current.accepted);
            if index < MAX_WARNINGS {
                warn(context, &drift, policy);
            }
            let rows_with_value = seen.shape.with_value(&drift.field);
            NewDrift { drift, policy: policy.as_str(), rows_with_value }
        })
        .collect();
    if changes > MAX_WARNINGS {
        tracing::warn!(
            run_id = context.run.0,
            source,
            changes,
            kept = news.len(),
            "the schema of a source changed in many fields; its versions show all of them"
        );
    }
    let seen_by = (context.run, seen.shape.rows);
    schemas::insert_drift(transaction, source, next.version, &news, seen_by).await?;
    Ok(())
}

/// What the contract says of a change. It has no say in what is gone from fields that nothing is read
/// from, or that rows may lack: nothing is set aside or stopped by that.
fn policy_of(
    contract: &Contract,
    drift: &Drift,
    mapped: &BTreeSet<String>,
    accepted: &Schema,
) -> Policy {
    let is_mapped = mapped.contains(&drift.field);
    let is_required = accepted.fields.get(&drift.field).is_some_and(|known| !known.optional);
    match drift.change {
        Change::Added => contract.new_field,
        Change::Removed if is_mapped && is_required => contract.missing_field,
        Change::TypeChanged if is_mapped => contract.type_change,
        Change::Removed | Change::TypeChanged => Policy::Evolve,
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
                if matches!(contract.missing_field, Policy::Evolve | Policy::Guard) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_the_contract_has_no_say_in_is_accepted() {
        let text = "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\n[fields]\nname = {}\n\
                    city = { from = '$.address.city' }\n[contract]\nmissing_field = 'freeze'\n\
                    type_change = 'quarantine_row'\n";
        let source = "s".parse().unwrap();
        let kinds = ["rest_api"];
        let definition =
            Definition::parse(source, "s.toml".as_ref(), text.to_owned(), &kinds).unwrap();
        let field = |optional| FieldSchema { optional, ..FieldSchema::default() };
        let fields = [("id", false), ("name", true), ("address", false), ("size", false)];
        let fields = fields.map(|(name, optional)| (name.to_owned(), field(optional)));
        let accepted = Schema { fields: fields.into() };
        let mapped = mapped_fields(&definition, &accepted);
        let policy = |field: &str, change| {
            let field = field.to_owned();
            let drift = Drift { field, change, old: None, new: None, first: None };
            policy_of(&definition.contract, &drift, &mapped, &accepted)
        };
        use Change::{Added, Removed, TypeChanged};
        for (field, removed, type_changed) in [
            ("id", Policy::Freeze, Policy::QuarantineRow),
            ("address", Policy::Freeze, Policy::QuarantineRow),
            // Rows may lack it.
            ("name", Policy::Evolve, Policy::QuarantineRow),
            // Nothing is read from it.
            ("size", Policy::Evolve, Policy::Evolve),
        ] {
            assert_eq!(
                (policy(field, Removed), policy(field, TypeChanged)),
                (removed, type_changed)
            );
        }
        assert_eq!(policy("more", Added), Policy::Evolve);
    }
}
