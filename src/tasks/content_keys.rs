//! Owns noticing that rows have other columns than before, where keys are made of all that a row holds: then rows that were
//! loaded before have other keys, and are there twice.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::TaskError;
use crate::db::runs::Run;
use crate::db::schemas::CurrentSchema;
use crate::db::totals;
use crate::domain::counters::Counters;
use crate::domain::number::grouped;
use crate::domain::remark::{Remark, few};
use crate::domain::run::{Mode, RunId};
use crate::domain::shape::Shape;
use crate::domain::text::{cut, visible};
use crate::job_file::Definition;
use crate::values::field::plain_header;

/// The most bytes of a name that are shown.
const SHOWN: usize = 100;
/// The most names that are kept of each kind.
const MAX_NAMES: usize = 20;
/// Fewer rows without a header may lack what all others had by accident.
const FEW_ROWS: u64 = 5;

/// The columns that are others than before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OtherColumns {
    /// Those with values that no earlier run had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    new: Vec<String>,
    /// Those that every earlier row had, and no row has now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

impl OtherColumns {
    /// Of what a run saw, where keys are made of that. `current` is what earlier runs saw.
    pub fn of(definition: &Definition, current: Option<&CurrentSchema>, shape: &Shape) -> Self {
        let Some(current) = current.filter(|_| definition.external_id.is_content()) else {
            return Self::default();
        };
        let (known, rows) = (&current.observed, shape.rows);
        // What there is no room to remember is not known.
        if rows == 0 || shape.cut || known.is_full() {
            return Self::default();
        }
        // Headers are compared as keys are made of them.
        let plain = |name: &str| match plain_header(name) {
            plain if shape.types_inferred && !plain.is_empty() => plain,
            _ => name.to_owned(),
        };
        let had = known.fields.iter().filter(|(_, field)| !field.types.is_empty());
        let had: BTreeSet<String> = had.map(|(name, _)| plain(name)).collect();
        let have: BTreeSet<String> = shape.fields.keys().map(|name| plain(name)).collect();
        let with_values = shape.fields.iter().filter(|(_, field)| !field.types.is_empty());
        let new = with_values.map(|(name, _)| name).filter(|name| !had.contains(&plain(name)));
        let always = known.fields.iter().filter(|(_, field)| !field.optional);
        let gone = always.map(|(name, _)| name).filter(|name| !have.contains(&plain(name)));
        let few_rows = !shape.types_inferred && rows < FEW_ROWS;
        Self {
            new: new.take(MAX_NAMES).cloned().collect(),
            gone: gone.take(if few_rows { 0 } else { MAX_NAMES }).cloned().collect(),
        }
    }

    /// Whether they are those of before.
    pub fn is_none(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }

    /// What there is to say when rows of such columns became so many records beside the earlier ones.
    pub fn remark(&self, source: &str, run: RunId, met: &Counters, records: i64) -> Option<Remark> {
        let Counters { inserted, updated, unchanged, .. } = *met;
        if self.is_none() || inserted == 0 || records == 0 {
            return None;
        }
        let names = |names: &[String], are: &str| {
            let names = names.iter().map(|name| format!("`{}`", visible(&cut(name, SHOWN))));
            let names: Vec<_> = names.collect();
            (!names.is_empty()).then(|| format!("{are}: {}", few(names)))
        };
        let others: Vec<_> =
            names(&self.new, "new").into_iter().chain(names(&self.gone, "gone")).collect();
        let text = format!(
            "keys are made of all that rows hold, and the columns are others than before ({}): a row that was loaded \
             before has another key now, and is there twice. {} earlier and {} new records stand beside each other. If they \
             are the same rows: `delete from unified_records where source = '{source}' and last_run_id < {run}`, then \
             `kasparro run {source} --full`",
            others.join("; "),
            grouped(records.unsigned_abs()),
            grouped(inserted.unsigned_abs()),
        );
        // A column that only some rows have changes their keys only.
        Some(match inserted > updated + unchanged {
            true => Remark::degrading(text),
            false => Remark::note(text),
        })
    }
}

/// The same of a run that was no dry one.
pub(super) async fn remark(
    transaction: &mut PgConnection,
    run: &Run,
    others: &OtherColumns,
) -> Result<Option<Remark>, TaskError> {
    if others.is_none() || run.mode == Mode::Replay || run.dry_run {
        return Ok(None);
    }
    let records = totals::records(&mut *transaction, &run.source).await?;
    Ok(others.remark(&run.source, run.id, &run.counters, records))
}
