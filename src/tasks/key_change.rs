//! Owns noticing that the job file makes its keys of other fields than before: the records that earlier
//! runs have loaded stay, and the same things are there twice, under their old and new keys.

use std::path::Path;

use sqlx::PgConnection;

use super::{SourceInUse, TaskError};
use crate::db::runs::Run;
use crate::db::{definitions, runs, totals};
use crate::domain::counters::Counters;
use crate::domain::number::grouped;
use crate::domain::remark::Remark;
use crate::domain::text::{cut, printable};
use crate::job_file::Definition;
use crate::sources;
use crate::values::field::{ExternalId, Locator};

/// The most bytes of a key that is shown.
const SHOWN: usize = 200;

/// What there is to say when records were read under keys of another make than those of the last run
/// that read anything: also where an earlier one had those of now, and nothing is new.
pub(super) async fn remark(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
) -> Result<Option<Remark>, TaskError> {
    let Counters { inserted, updated, unchanged, .. } = run.counters;
    if inserted + updated + unchanged == 0 {
        return Ok(None);
    }
    let last = runs::last_reading(&mut *transaction, &run.source, run.id).await?;
    let Some(last) = last.filter(|last| last.config_hash != run.config_hash) else {
        return Ok(None);
    };
    let stored = match definitions::load(&mut *transaction, last.config_hash).await {
        Ok(stored) => stored,
        Err(sqlx::Error::RowNotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (name, path) = (source.definition.source.clone(), Path::new(&stored.path));
    // One that an earlier version took and this one does not says nothing of the keys.
    let Ok(before) =
        Definition::parse(name, path, stored.toml, &sources::kind_names(sources::KINDS))
    else {
        return Ok(None);
    };
    let (then, now) = (&before.external_id, &source.definition.external_id);
    let records = totals::records(&mut *transaction, &run.source).await?;
    // A column that is only called otherwise gives the same keys: then there are no others.
    let any_beside = inserted > 0 || records > updated + unchanged;
    if then == now || records == 0 || !any_beside {
        return Ok(None);
    }
    let beside = match inserted {
        0 => "the records under the earlier keys stay beside them".to_owned(),
        new => format!(
            "the {} earlier records stay beside the {} new ones",
            grouped(records.unsigned_abs()),
            grouped(new.unsigned_abs())
        ),
    };
    Ok(Some(Remark::degrading(format!(
        "records are identified by {}, and were by {} in run {}: {beside}. Once these are right: `delete from unified_records where source = '{}' and \
         last_run_id < {}`, then `kasparro run {} --full`",
        shown(now),
        shown(then),
        last.id,
        run.source,
        run.id,
        run.source,
    ))))
}

fn shown(key: &ExternalId) -> String {
    if key.is_row_number() {
        return "their row's number in its file".to_owned();
    }
    if key.is_content() {
        return "all that their row holds".to_owned();
    }
    let parts = key.parts.iter().filter_map(Locator::label);
    let parts =
        parts.map(|part| format!("`{}`", printable(part))).collect::<Vec<_>>().join(" and ");
    cut(&parts, SHOWN).into_owned()
}
