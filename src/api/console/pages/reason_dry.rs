//! Owns what a dry run of a redrive has found of the rows that fail alike: how many would pass now.

use sqlx::PgConnection;

use crate::api::console::html::{self, Html, number};
use crate::db::quarantine_totals::QuarantineGroup;
use crate::db::runs::{self, Run};
use crate::domain::forecast::{ForecastKind, ForecastRow};
use crate::domain::run::{Mode, RunId};
use crate::domain::sample::Sample;
use crate::domain::text;
use crate::tasks::dry_run;

/// The most bytes of a record that is shown.
const RECORD: usize = 1_000;

/// A dry run of a redrive.
pub(crate) struct DryRow {
    pub(crate) run: i64,
    pub(crate) status: Html,
    pub(crate) is_active: bool,
    pub(crate) error: Option<String>,
    pub(crate) outcome: Option<Outcome>,
}

/// What it has found of these rows.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) looked_at: String,
    pub(crate) passed: String,
    pub(crate) failed: String,
    pub(crate) none_passes: bool,
    pub(crate) passing: Vec<Shown>,
    pub(crate) failing: Vec<Shown>,
}

/// A row, and what would become of it.
pub(crate) struct Shown {
    raw_ref: String,
    /// The payload that it is in.
    pub(crate) place: String,
    pub(crate) row: String,
    /// The record that it would be, or what is wrong with it.
    pub(crate) what: Option<String>,
}

/// The dry run of that number, if it is a redrive of the group's source; `None` when it is something else.
///
/// # Errors
/// Database errors.
pub(crate) async fn dry(
    connection: &mut PgConnection,
    group: &QuarantineGroup,
    run: i64,
) -> Result<Option<DryRow>, sqlx::Error> {
    let is_it = |run: &Run| run.source == group.source && run.dry_run && run.mode == Mode::Replay;
    let run = runs::get(&mut *connection, RunId(run)).await?.filter(is_it);
    let Some(run) = run else { return Ok(None) };
    let found = match run.status.is_active() {
        true => None,
        false => dry_run::forecast(&mut *connection, run.id).await?,
    };
    let outcome = found.map(|(forecast, samples)| {
        let kind = forecast.kind(&group.field, &group.reason);
        kind.map(|kind| Outcome::of(kind, &samples)).unwrap_or_default()
    });
    Ok(Some(DryRow {
        run: run.id.0,
        status: html::status(run.status),
        is_active: run.status.is_active(),
        error: run.error,
        outcome,
    }))
}

impl DryRow {
    /// The payloads of the rows that are shown.
    pub(crate) fn raw_refs(&self) -> impl Iterator<Item = &String> {
        let rows = self.outcome.iter().flat_map(|found| found.passing.iter().chain(&found.failing));
        rows.map(|row| &row.raw_ref)
    }

    /// With the names of payloads.
    pub(crate) fn named(mut self, name: impl Fn(&str) -> String) -> Self {
        if let Some(outcome) = &mut self.outcome {
            for row in outcome.passing.iter_mut().chain(&mut outcome.failing) {
                row.place = name(&row.raw_ref);
            }
        }
        self
    }
}

impl Outcome {
    fn of(kind: &ForecastKind, samples: &[Sample]) -> Self {
        let record = |row: &ForecastRow| {
            let is_it = |sample: &&Sample| sample.payload == row.raw_ref && sample.row == row.row;
            let sample = samples.iter().find(is_it)?;
            let (key, after) = (sample.external_id.as_deref()?, sample.after.as_ref()?);
            Some(text::cut(&format!("{key}: {after}"), RECORD).into_owned())
        };
        let shown = |row: &ForecastRow| Shown {
            raw_ref: row.raw_ref.clone(),
            place: row.raw_ref.clone(),
            row: number(row.row),
            what: row.message.clone().or_else(|| record(row)),
        };
        let count = |rows: u64| number(i64::try_from(rows).unwrap_or(i64::MAX));
        Self {
            looked_at: count(kind.passed + kind.failed),
            passed: count(kind.passed),
            failed: count(kind.failed),
            none_passes: kind.passed == 0,
            passing: kind.passing.iter().map(shown).collect(),
            failing: kind.failing.iter().map(shown).collect(),
        }
    }
}
