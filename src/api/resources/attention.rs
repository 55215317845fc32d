//! Owns what needs somebody: runs that fail, sources that are stale or paused or broken, new reasons of quarantine,
//! changes of schemas that nobody has looked at, work that nobody does.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use sqlx::PgConnection;

use super::catalog::Catalog;
use super::sources::Source;
use crate::api::http::problem::{Declares, Kind, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::quarantine_totals;
use crate::db::source_health::{self, SourceHealth};
use crate::db::{clock, runs, schemas, totals};
use crate::domain::string_enum::string_enum;
use crate::queue;

/// The most new reasons of quarantine that are named.
const LOOKED_AT: i64 = 200;
/// A reason is new for so long.
const NEW_FOR: chrono::TimeDelta = chrono::TimeDelta::hours(24);

string_enum! {
    /// What kind of thing needs somebody.
    Need ("need") {
        /// Tasks wait and no worker lives.
        NoWorker = "no_worker",
        /// The last run of a source failed.
        Failed = "failed",
        /// A job file cannot be used.
        BrokenJobFile = "broken_job_file",
        /// A run makes no progress though it could.
        Stalled = "stalled",
        /// Nothing was loaded for longer than the job file allows.
        Stale = "stale",
        /// The last run of a source is degraded.
        Degraded = "degraded",
        /// Rows fail in a way that was not seen before.
        NewReason = "new_reason",
        /// Changes of a schema that nobody has acknowledged.
        Drift = "drift",
    }
}
string_enums! { Need = "Need": "What kind of thing needs somebody." }

/// Something that needs somebody.
#[derive(Debug, Object)]
pub(crate) struct Attention {
    pub(crate) need: Need,
    /// Name of the source, if it is about one.
    #[oai(nullable)]
    pub(crate) source: Option<String>,
    /// The run that shows it.
    #[oai(nullable)]
    pub(crate) run_id: Option<i64>,
    /// For `new_reason`: the fingerprint.
    #[oai(nullable)]
    pub(crate) fingerprint: Option<String>,
    /// What it is, in short.
    pub(crate) summary: String,
    /// Why, as far as it is known.
    #[oai(nullable)]
    pub(crate) detail: Option<String>,
    /// Since when, as far as it is known.
    #[oai(nullable)]
    pub(crate) since: Option<DateTime<Utc>>,
}

/// What needs somebody.
#[derive(Debug, Object)]
pub(crate) struct Attentions {
    /// The worst first; empty when all is well.
    pub(crate) items: Vec<Attention>,
}

/// `GET /attention`
struct GetAttention;
impl Declares for GetAttention {
    const KINDS: &'static [Kind] = &[];
}

/// The operation that says what needs somebody.
pub(crate) struct AttentionApi;

#[OpenApi(tag = "Tag::Operations")]
impl AttentionApi {
    /// What needs attention
    ///
    /// Failed and degraded sources, stale ones, broken job files, stalled runs, new reasons of quarantine, changes of
    /// schemas that nobody has acknowledged, and work that nobody does. The worst first.
    #[oai(path = "/attention", method = "get", operation_id = "attention")]
    async fn attention(
        &self,
        state: Data<&ApiState>,
    ) -> Result<Json<Attentions>, Refusal<GetAttention>> {
        let catalog = Catalog::load(&state.jobs).await?;
        let mut connection = state.connection().await?;
        let items = Attention::now(&mut connection, &catalog).await?;
        Ok(Json(Attentions { items }))
    }
}

impl Attention {
    /// All that needs somebody now, the worst first.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn now(
        connection: &mut PgConnection,
        catalog: &Catalog,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let sources = Source::all(&mut *connection, catalog).await?;
        let names: Vec<String> = sources.iter().map(|source| source.source.clone()).collect();
        let health = source_health::of(&mut *connection, &names).await?;
        Self::all(connection, catalog, &sources, &health).await
    }

    /// All that needs somebody, the worst first.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn all(
        connection: &mut PgConnection,
        catalog: &Catalog,
        sources: &[Source],
        health: &[SourceHealth],
    ) -> Result<Vec<Self>, sqlx::Error> {
        let now = clock::now(&mut *connection).await?;
        let health: HashMap<&str, &SourceHealth> =
            health.iter().map(|health| (health.source.as_str(), health)).collect();
        let mut items = Vec::new();
        for source in sources {
            items.extend(Self::of_source(source, health.get(source.source.as_str()).copied()));
            let definition = catalog.require(&source.source).ok();
            let limit = definition.and_then(|definition| definition.freshness.error_after);
            items.extend(Self::stale(
                source,
                health.get(source.source.as_str()).copied(),
                limit,
                now,
            ));
        }
        items.extend(Self::stalled(&mut *connection).await?);
        items.extend(Self::new_reasons(&mut *connection, now).await?);
        items.extend(Self::drift(&mut *connection).await?);
        let open = totals::open_tasks(&mut *connection).await?;
        if open > 0 && !queue::anybody_works(&mut *connection).await? {
            items.push(Self {
                detail: Some("start `kasparro worker`, or `kasparro up`".to_owned()),
                ..Self::new(Need::NoWorker, format!("{open} tasks wait and no worker lives"))
            });
        }
        // Stable: within a kind, in the order of sources.
        items.sort_by_key(|item| Need::ALL.iter().position(|need| *need == item.need));
        Ok(items)
    }

    fn new(need: Need, summary: String) -> Self {
        Self {
            need,
            source: None,
            run_id: None,
            fingerprint: None,
            summary,
            detail: None,
            since: None,
        }
    }

    fn of_source(source: &Source, health: Option<&SourceHealth>) -> Option<Self> {
        let about = |need, summary: String, detail| {
            let source = Some(source.source.clone());
            Some(Self { source, detail, ..Self::new(need, summary) })
        };
        let name = &source.source;
        if let Some(problem) = &source.problem {
            let summary = format!("{name}: the job file cannot be used");
            return about(Need::BrokenJobFile, summary, Some(problem.clone()));
        }
        let health = health?;
        let (need, summary, since) = match health.last_status.as_deref()? {
            "failed" => {
                let summary = match health.failures_in_a_row {
                    ..=1 => format!("{name} failed"),
                    100.. => format!("{name} failed 100 times in a row, or more"),
                    times => format!("{name} failed {times} times in a row"),
                };
                (Need::Failed, summary, health.failing_since)
            }
            "degraded" => (Need::Degraded, format!("{name} is degraded"), health.last_ended_at),
            _ => return None,
        };
        let found = about(need, summary, health.last_note.clone());
        found.map(|found| Self { run_id: health.last_id, since, ..found })
    }

    fn stale(
        source: &Source,
        health: Option<&SourceHealth>,
        limit: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let (loaded_at, limit) = (health?.loaded_at?, limit?);
        let age = (now - loaded_at).to_std().unwrap_or_default();
        let name = &source.source;
        (age > limit && source.pause.is_none()).then(|| Self {
            source: Some(name.clone()),
            detail: Some(format!("the limit is {}", humantime(limit))),
            since: Some(loaded_at),
            ..Self::new(Need::Stale, format!("{name} has loaded nothing for {}", humantime(age)))
        })
    }

    async fn stalled(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        let stalled = runs::stalled(connection).await?;
        Ok(stalled
            .into_iter()
            .map(|run| Self {
                source: Some(run.source.clone()),
                run_id: Some(run.id.0),
                since: Some(run.last_progress_at),
                ..Self::new(
                    Need::Stalled,
                    format!("run {} of {} makes no progress", run.id, run.source),
                )
            })
            .collect())
    }

    async fn new_reasons(
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let since = now - NEW_FOR;
        let groups = quarantine_totals::first_seen_since(connection, since, LOOKED_AT).await?;
        Ok(groups
            .into_iter()
            .map(|group| {
                let place = if group.field.is_empty() { "rows" } else { group.field.as_str() };
                let rows = if group.rows == 1 { "row" } else { "rows" };
                Self {
                    source: Some(group.source.clone()),
                    run_id: Some(group.first_run_id),
                    fingerprint: Some(super::quarantine::hex(&group.fingerprint)),
                    detail: Some(format!("{} {rows} set aside: {}", group.rows, group.example)),
                    since: Some(group.first_seen_at),
                    ..Self::new(
                        Need::NewReason,
                        format!("{}: new reason {} in {place}", group.source, group.reason),
                    )
                }
            })
            .collect())
    }

    async fn drift(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        let open = schemas::open_drift(connection).await?;
        Ok(open
            .into_iter()
            .map(|open| {
                let changes = if open.changes == 1 { "change" } else { "changes" };
                Self {
                    source: Some(open.source.clone()),
                    detail: Some(open.fields),
                    since: Some(open.since),
                    ..Self::new(
                        Need::Drift,
                        format!("{}: {} {changes} of the schema", open.source, open.changes),
                    )
                }
            })
            .collect())
    }
}

/// In the two largest units.
fn humantime(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
