//! Owns how sources stand in tables and above their own page.

use std::collections::HashMap;

use askama::filters::Safe;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::html::{self, Html, Tone, ago, badge, duration, nothing, number, part};
use crate::api::resources::catalog::Catalog;
use crate::api::resources::sources::Source;
use crate::db::quarantine_totals;
use crate::db::source_health::{self, SourceHealth};
use crate::domain::run::RunStatus;

/// A source as a row.
pub(crate) struct SourceRow {
    pub(crate) name: String,
    /// The name as a part of an address.
    pub(crate) address: String,
    pub(crate) description: Option<String>,
    pub(crate) kind: String,
    pub(crate) schedule: String,
    pub(crate) next: Option<Html>,
    pub(crate) problem: Option<String>,
    pub(crate) pause: Option<Html>,
    pub(crate) run: Option<i64>,
    pub(crate) last: Option<RunStatus>,
    pub(crate) status: Html,
    pub(crate) loaded: Html,
    pub(crate) is_stale: bool,
    pub(crate) stale: Option<Html>,
    pub(crate) records: String,
    /// Defects that are there still.
    pub(crate) open: i64,
    pub(crate) open_text: String,
}

impl SourceRow {
    /// All sources that have a job file.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn all(
        connection: &mut PgConnection,
        catalog: &Catalog,
        now: DateTime<Utc>,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let sources = Source::all(&mut *connection, catalog).await?;
        let names: Vec<String> = sources.iter().map(|source| source.source.clone()).collect();
        let health = source_health::of(&mut *connection, &names).await?;
        let health: HashMap<_, _> =
            health.into_iter().map(|health| (health.source.clone(), health)).collect();
        let open = quarantine_totals::unresolved_by_source(&mut *connection).await?;
        let open: HashMap<_, _> = open.into_iter().collect();
        let row = |source: Source| {
            let open = open.get(&source.source).copied().unwrap_or(0);
            let health = health.get(&source.source);
            Self::of(catalog, source, health, open, now)
        };
        Ok(sources.into_iter().map(row).collect())
    }

    fn of(
        catalog: &Catalog,
        source: Source,
        health: Option<&SourceHealth>,
        open: i64,
        now: DateTime<Utc>,
    ) -> Self {
        let definition = catalog.require(&source.source).ok();
        let tick = definition.and_then(|definition| definition.schedule.as_ref()?.next_after(now));
        let loaded = health.and_then(|health| health.loaded_at);
        let age = loaded.map(|at| (now - at).to_std().unwrap_or_default());
        let over = |limit: Option<std::time::Duration>| {
            age.zip(limit).is_some_and(|(age, limit)| age > limit)
        };
        let limits = definition.map(|definition| definition.freshness).unwrap_or_default();
        let stale = match (over(limits.error_after), over(limits.warn_after)) {
            (true, _) => limits.error_after.map(|limit| (Tone::Bad, "stale", limit)),
            (false, true) => limits.warn_after.map(|limit| (Tone::Warn, "late", limit)),
            (false, false) => None,
        };
        let stale = stale.filter(|_| source.pause.is_none());
        let run = source.last_run.as_ref();
        let schedule = match (&source.schedule, source.after.as_slice()) {
            (Some(schedule), []) => schedule.clone(),
            (Some(schedule), after) => format!("{schedule}, after {}", after.join(", ")),
            (None, []) => "on demand".to_owned(),
            (None, after) => format!("after {}", after.join(", ")),
        };
        Self {
            address: part(&source.source),
            kind: source.kind.clone().unwrap_or_default(),
            schedule,
            next: tick.map(|tick| ago(tick, now)),
            problem: source.problem.clone(),
            pause: source.pause.as_ref().map(|pause| {
                badge(Tone::Calm, &format!("paused by {}: {}", pause.paused_by, pause.reason))
            }),
            run: run.map(|run| run.id),
            last: run.map(|run| run.status),
            status: run.map_or_else(nothing, |run| html::status(run.status)),
            loaded: loaded.map_or_else(|| Safe("never".to_owned()), |at| ago(at, now)),
            is_stale: stale.is_some(),
            stale: stale.map(|(tone, word, limit)| {
                badge(tone, &format!("{word}, limit {}", duration(limit)))
            }),
            records: number(source.records),
            open,
            open_text: number(open),
            description: source.description,
            name: source.source,
        }
    }

    /// Whether it is in that state, in the words of the filter.
    pub(crate) fn is_in(&self, state: &str) -> bool {
        match state {
            "" => true,
            "paused" => self.pause.is_some(),
            "broken" => self.problem.is_some(),
            "stale" => self.is_stale,
            "quarantined" => self.open > 0,
            "never run" => self.run.is_none(),
            status => self.last.is_some_and(|last| last.as_str() == status),
        }
    }
}
