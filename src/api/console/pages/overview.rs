//! Owns the first page: is anything wrong, and where do I go?

use std::collections::HashMap;

use askama::Template;
use askama::filters::Safe;
use chrono::{DateTime, Utc};
use poem::web::Data;
use poem::{Response, handler};

use crate::api::console::charts::run_bars;
use crate::api::console::html::{self, Html, Tone, ago, badge, icon, nothing, number, part};
use crate::api::console::run_rows::RunRow;
use crate::api::console::shell::{Shell, page};
use crate::api::http::problem::Problem;
use crate::api::resources::attention::{Attention, Need};
use crate::api::resources::catalog::Catalog;
use crate::api::resources::sources::Source;
use crate::api::state::ApiState;
use crate::db::clock;
use crate::db::runs::{self, Run, RunFilter};
use crate::db::source_health::{self, RunBar, SourceHealth};
use crate::domain::token::Scope;

/// Runs a bar each.
const BARS: i64 = 30;
/// Runs that are listed.
const RECENT: i64 = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    jobs: String,
    all_well: Html,
    needs: Vec<NeedRow>,
    sources: Vec<SourceRow>,
    active: Vec<ActiveRow>,
    runs: Vec<RunRow>,
    is_filtered: bool,
}

struct NeedRow {
    tone: &'static str,
    badge: Html,
    link: String,
    summary: String,
    detail: Option<String>,
    since: Option<Html>,
    /// The run whose failed tasks can be tried again.
    retry: Option<i64>,
}

struct SourceRow {
    name: String,
    pause: Option<Html>,
    run: Option<i64>,
    status: Html,
    loaded: Html,
    next: Option<Html>,
    records: String,
    bars: Html,
}

struct ActiveRow {
    id: i64,
    source: String,
    status: Html,
    completed: i32,
    tasks: i32,
    rows: String,
}

/// `GET /ui/`
#[handler]
pub(crate) async fn overview(shell: Shell, state: Data<&ApiState>) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let read = async {
        let sources = Source::all(&mut connection, &catalog).await?;
        let names: Vec<String> = sources.iter().map(|source| source.source.clone()).collect();
        let health = source_health::of(&mut *connection, &names).await?;
        let history = source_health::history(&mut *connection, &names, BARS).await?;
        let needs = Attention::all(&mut connection, &catalog, &sources, &health).await?;
        let active = runs::under_way(&mut *connection).await?;
        let recent = runs::list(&mut *connection, &RunFilter::default(), RECENT).await?;
        let now = clock::now(&mut *connection).await?;
        Ok::<_, sqlx::Error>((sources, health, history, needs, active, recent, now))
    };
    let (sources, health, history, needs, active, recent, now) =
        read.await.map_err(Problem::from)?;
    let health: HashMap<_, _> =
        health.into_iter().map(|health| (health.source.clone(), health)).collect();
    let mut bars: HashMap<String, Vec<RunBar>> = HashMap::new();
    for bar in history {
        bars.entry(bar.source.clone()).or_default().push(bar);
    }
    let row = |source: &Source| {
        let definition = catalog.require(&source.source).ok();
        let tick = definition.and_then(|definition| definition.schedule.as_ref()?.next_after(now));
        let bars = bars.get(&source.source).map(Vec::as_slice).unwrap_or_default();
        SourceRow::of(source, health.get(&source.source), tick, bars, now)
    };
    Ok(page(&Overview {
        shell: shell.following("runs,sources,quarantine,drift"),
        jobs: state.jobs.path().display().to_string(),
        all_well: Safe(format!("<span class=\"badge good\">{}</span>", icon(Tone::Good))),
        needs: needs.into_iter().map(|need| NeedRow::of(need, now)).collect(),
        sources: sources.iter().map(row).collect(),
        active: active.iter().map(ActiveRow::of).collect(),
        runs: recent.iter().map(|run| RunRow::of(run, now)).collect(),
        is_filtered: false,
    }))
}

impl NeedRow {
    fn of(need: Attention, now: DateTime<Utc>) -> Self {
        let (tone, word) = match need.need {
            Need::NoWorker => (Tone::Bad, "no worker"),
            Need::Failed => (Tone::Bad, "failed"),
            Need::BrokenJobFile => (Tone::Bad, "broken"),
            Need::Stalled => (Tone::Bad, "stalled"),
            Need::Stale => (Tone::Warn, "stale"),
            Need::Degraded => (Tone::Warn, "degraded"),
            Need::NewReason => (Tone::Warn, "new reason"),
            Need::Drift => (Tone::Warn, "schema"),
        };
        let source = need.source.as_deref().map(part).unwrap_or_default();
        let link = match (need.need, &need.fingerprint, need.run_id) {
            (Need::NewReason, Some(fingerprint), _) => format!("/ui/quarantine/{fingerprint}"),
            (Need::Drift, ..) => format!("/ui/drift?source={source}"),
            (Need::NoWorker, ..) => "/ui/system".to_owned(),
            (Need::BrokenJobFile | Need::Stale, ..) => format!("/ui/sources/{source}"),
            (_, _, Some(run)) => format!("/ui/runs/{run}"),
            _ => format!("/ui/sources/{source}"),
        };
        Self {
            tone: tone.class(),
            badge: badge(tone, word),
            link,
            summary: need.summary,
            detail: need.detail,
            since: need.since.map(|since| ago(since, now)),
            retry: need.run_id.filter(|_| need.need == Need::Failed),
        }
    }
}

impl SourceRow {
    fn of(
        source: &Source,
        health: Option<&SourceHealth>,
        tick: Option<DateTime<Utc>>,
        bars: &[RunBar],
        now: DateTime<Utc>,
    ) -> Self {
        let run = source.last_run.as_ref();
        let loaded = health.and_then(|health| health.loaded_at);
        Self {
            name: source.source.clone(),
            pause: source.pause.as_ref().map(|pause| {
                badge(Tone::Calm, &format!("paused by {}: {}", pause.paused_by, pause.reason))
            }),
            run: run.map(|run| run.id),
            status: run.map_or_else(nothing, |run| html::status(run.status)),
            loaded: loaded.map_or_else(nothing, |at| ago(at, now)),
            next: tick.map(|tick| ago(tick, now)),
            records: number(source.records),
            bars: run_bars(bars, BARS as usize, false),
        }
    }
}

impl ActiveRow {
    fn of(run: &Run) -> Self {
        Self {
            id: run.id.0,
            source: run.source.clone(),
            status: html::status(run.status),
            completed: run.completed_tasks(),
            tasks: run.tasks,
            rows: number(run.counters.rows_read),
        }
    }
}
