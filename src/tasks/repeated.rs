//! Owns the remarks of a run about keys whose rows overwrite each other.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{TaskContext, TaskError};
use crate::db::unified_records::{Repeats, Scope};
use crate::db::{run_tasks, source_files};
use crate::domain::number::grouped;
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::remark::Remark;
use crate::domain::repeated_keys::RepeatedKeys;
use crate::domain::run::{Mode, RunId};
use crate::domain::text::{cut, visible};
use crate::job_file::Definition;

/// The most bytes of a payload's name that are shown.
const SHOWN: usize = 100;

/// Which rows of the run are compared. A replay may normalize pages of several runs, which are several
/// answers.
pub(super) fn compared(context: &TaskContext) -> Repeats {
    let scope = match (context.source.source.profile().reads, context.mode) {
        (Reads::Again, Mode::Incremental | Mode::Full) => Scope::Run,
        (Reads::Again, Mode::Replay) | (Reads::News, _) => Scope::Payload,
    };
    Repeats { scope, counts_equal: context.source.definition.external_id.is_content() }
}

/// What there is to say of the keys that the tasks of a run have met several times.
pub(super) async fn remark(
    transaction: &mut PgConnection,
    run: RunId,
) -> Result<Option<Remark>, TaskError> {
    let keys = run_tasks::repeated_keys(&mut *transaction, run).await?;
    if keys.is_empty() {
        return Ok(None);
    }
    let mut names = HashMap::new();
    for place in keys.example().iter().flat_map(|example| &example.places) {
        if let Ok(RawRef::File(id)) = place.raw.parse() {
            let location = source_files::location(&mut *transaction, id).await?;
            names.insert(place.raw.clone(), location.url);
        }
    }
    let exact = run_tasks::repeats_are_seen(transaction, run).await?;
    Ok(of(&keys, exact, &names))
}

/// What there is to say of rows that are one record since they are equal.
pub(super) async fn equal_remark(
    transaction: &mut PgConnection,
    run: RunId,
    definition: &Definition,
) -> Result<Option<Remark>, TaskError> {
    let equal = match definition.external_id.is_content() {
        true => run_tasks::equal_rows(&mut *transaction, run).await?,
        false => 0,
    };
    let exact = equal == 0 || run_tasks::equal_rows_are_seen(transaction, run).await?;
    Ok(of_equal(definition, equal, exact))
}

/// The same of rows that were counted otherwise.
pub(super) fn of_equal(definition: &Definition, equal: i64, exact: bool) -> Option<Remark> {
    if equal == 0 || !definition.external_id.is_content() {
        return None;
    }
    let at_least = if exact { "" } else { "at least " };
    let (rows, are) = if equal == 1 { ("row", "is") } else { ("rows", "are") };
    Some(Remark::note(format!(
        "{at_least}{} {rows} {are} equal to one in front in the same file, and one record with it, as primary_key = \
         \"content\" says; primary_key = \"row_number\" keeps each",
        grouped(equal.unsigned_abs())
    )))
}

/// The same of keys that were found otherwise; `names` are those of payloads, by what they are called in
/// the table.
pub(super) fn of(
    keys: &RepeatedKeys,
    exact: bool,
    names: &HashMap<String, String>,
) -> Option<Remark> {
    let named = |raw: &str| match names.get(raw) {
        Some(name) => visible(&cut(name, SHOWN)).into_owned(),
        None => raw.to_owned(),
    };
    keys.sentence(exact, named).map(Remark::note)
}
