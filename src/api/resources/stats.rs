//! Owns the figures of the service: sums that are kept, never counts of big tables.

use std::collections::BTreeMap;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use sqlx::PgConnection;

use crate::api::http::problem::{Declares, Kind, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::totals::{self, SourceTotals};
use crate::domain::run::RunStatus;

/// Figures over all runs, those under way included.
#[derive(Debug, Object)]
pub(crate) struct Stats {
    /// Per source, in the order of names.
    pub(crate) sources: Vec<SourceStats>,
    pub(crate) total: Figures,
    /// Number of runs by status; every status is there.
    pub(crate) runs: BTreeMap<String, i64>,
    pub(crate) queue: Queue,
}

/// The figures of a source.
#[derive(Debug, Object)]
pub(crate) struct SourceStats {
    /// Name of the source.
    pub(crate) source: String,
    pub(crate) figures: Figures,
}

/// What was done, in numbers: rows_read = inserted + updated + unchanged + quarantined.
#[derive(Debug, Clone, Copy, Default, Object)]
pub(crate) struct Figures {
    /// Records in the table.
    pub(crate) records: i64,
    /// Those of them that are marked as deleted.
    pub(crate) deleted: i64,
    /// Rows the sources held, good or bad.
    pub(crate) rows_read: i64,
    /// Rows whose key was new.
    pub(crate) inserted: i64,
    /// Rows whose key was known with other content.
    pub(crate) updated: i64,
    /// Rows whose key was known with the same content.
    pub(crate) unchanged: i64,
    /// The same as `unchanged`, under its earlier name.
    pub(crate) duplicates: i64,
    /// Rows set aside with a reason.
    pub(crate) quarantined: i64,
}

/// How much work is waiting or under way.
#[derive(Debug, Object)]
pub(crate) struct Queue {
    /// Tasks of active runs that have not completed.
    pub(crate) open_tasks: i64,
    /// Active runs without progress though there could be some.
    pub(crate) stalled_runs: i64,
}

/// `GET /stats`
struct GetStats;
impl Declares for GetStats {
    const KINDS: &'static [Kind] = &[];
}

/// The operations on figures.
pub(crate) struct StatsApi;

#[OpenApi(tag = "Tag::Operations")]
impl StatsApi {
    /// Figures
    ///
    /// Records and rows per source and in total, runs by status, and the depth of the queue.
    #[oai(path = "/stats", method = "get", operation_id = "stats")]
    async fn stats(&self, state: Data<&ApiState>) -> Result<Json<Stats>, Refusal<GetStats>> {
        Ok(Json(Stats::now(&mut *state.connection().await?).await?))
    }
}

impl Stats {
    /// The figures of this moment.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn now(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let per_source = totals::per_source(&mut *connection).await?;
        let by_status = totals::runs_by_status(&mut *connection).await?;
        let open_tasks = totals::open_tasks(&mut *connection).await?;
        let stalled_runs = totals::stalled_runs(&mut *connection).await?;
        let mut total = Figures::default();
        per_source.iter().for_each(|source| total.add(source));
        Ok(Self {
            sources: per_source.into_iter().map(SourceStats::from).collect(),
            total,
            runs: every_status(&by_status),
            queue: Queue { open_tasks, stalled_runs },
        })
    }
}

fn every_status(counted: &[(RunStatus, i64)]) -> BTreeMap<String, i64> {
    let runs = |status| counted.iter().filter(|(s, _)| *s == status).map(|(_, n)| n).sum();
    RunStatus::ALL.iter().map(|status| (status.to_string(), runs(*status))).collect()
}

impl Figures {
    fn add(&mut self, source: &SourceTotals) {
        self.records += source.records;
        self.deleted += source.deleted;
        self.rows_read += source.rows_read;
        self.inserted += source.inserted;
        self.updated += source.updated;
        self.unchanged += source.unchanged;
        self.duplicates += source.unchanged;
        self.quarantined += source.quarantined;
    }
}

impl From<SourceTotals> for SourceStats {
    fn from(totals: SourceTotals) -> Self {
        let mut figures = Figures::default();
        figures.add(&totals);
        Self { source: totals.source, figures }
    }
}
