//! Owns the list of sources, and what is done to all of them that fit.

use askama::Template;
use poem::web::{Data, Form, Query};
use poem::{Response, handler};
use serde::Deserialize;

use crate::api::console::actions::{PAUSED_BY_LIST, start};
use crate::api::console::done::Done;
use crate::api::console::html::{Html, Tone, badge};
use crate::api::console::shell::{Shell, page, see};
use crate::api::console::source_rows::SourceRow;
use crate::api::http::problem::Problem;
use crate::api::resources::catalog::Catalog;
use crate::api::state::ApiState;
use crate::db::clock;
use crate::domain::actor::Actor;
use crate::domain::pause::PauseReason;
use crate::domain::run::{Mode, RunStatus};
use crate::domain::token::Scope;
use crate::tasks::pause_source::{pause_source, resume_source};
use crate::tasks::start_run::Started;

/// States besides those of runs.
const STATES: [&str; 5] = ["paused", "broken", "stale", "quarantined", "never run"];

/// Which sources.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SourcesQuery {
    name: String,
    state: String,
}

#[derive(Template)]
#[template(path = "sources.html")]
struct Sources {
    shell: Shell,
    sources: Vec<String>,
    shown: Vec<SourceRow>,
    name: String,
    chosen: String,
    states: Vec<(&'static str, bool)>,
    broken: Html,
    run_word: String,
    pause_word: String,
    resume_word: String,
}

async fn fitting(
    state: &ApiState,
    catalog: &Catalog,
    query: &SourcesQuery,
) -> Result<(Vec<String>, Vec<SourceRow>), Problem> {
    let mut connection = state.connection().await?;
    let now = clock::now(&mut *connection).await?;
    let rows = SourceRow::all(&mut connection, catalog, now).await?;
    let names = rows.iter().map(|row| row.name.clone()).collect();
    let fits = |row: &SourceRow| row.name.contains(query.name.trim()) && row.is_in(&query.state);
    Ok((names, rows.into_iter().filter(fits).collect()))
}

/// `GET /ui/sources`
#[handler]
pub(crate) async fn list(
    shell: Shell,
    state: Data<&ApiState>,
    Query(query): Query<SourcesQuery>,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let (sources, shown) = fitting(&state, &catalog, &query).await?;
    let words = RunStatus::ALL.iter().map(|status| status.as_str()).chain(STATES);
    let states = words.map(|word| (word, word == query.state)).collect();
    let of = match shown.len() {
        1 => "this source".to_owned(),
        count => format!("these {count} sources"),
    };
    Ok(page(&Sources {
        shell: shell.following("runs,sources,quarantine"),
        broken: badge(Tone::Bad, "broken"),
        run_word: format!("Run {of}"),
        pause_word: format!("Pause {of}"),
        resume_word: format!("Resume {of}"),
        sources,
        shown,
        name: query.name,
        chosen: query.state,
        states,
    }))
}

/// `POST /ui/sources/run`
#[handler]
pub(crate) async fn run_all(
    state: Data<&ApiState>,
    Form(query): Form<SourcesQuery>,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let (_, shown) = fitting(&state, &catalog, &query).await?;
    let mut started = 0;
    for source in shown.iter().filter(|source| source.problem.is_none()) {
        let begun = start(&state, &catalog, &source.name, Mode::Incremental, false).await?;
        started += i64::from(matches!(begun, Started::New(_)));
    }
    Ok(see(&Done::StartedSeveral(started).at("/ui/sources")))
}

/// `POST /ui/sources/pause`
#[handler]
pub(crate) async fn pause_all(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Form(query): Form<SourcesQuery>,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let (_, shown) = fitting(&state, &catalog, &query).await?;
    let reason: PauseReason = PAUSED_BY_LIST.parse().map_err(|_| Problem::internal())?;
    let mut paused = 0;
    for source in shown.iter().filter(|source| source.pause.is_none()) {
        let mut transaction = state.begin().await.map_err(Problem::from)?;
        let done = pause_source(&mut transaction, &source.name, &actor, &reason).await;
        done.map_err(Problem::from)?;
        transaction.commit().await.map_err(Problem::from)?;
        paused += 1;
    }
    Ok(see(&Done::Paused(paused).at("/ui/sources")))
}

/// `POST /ui/sources/resume`
#[handler]
pub(crate) async fn resume_all(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Form(query): Form<SourcesQuery>,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let (_, shown) = fitting(&state, &catalog, &query).await?;
    let mut resumed = 0;
    for source in shown.iter().filter(|source| source.pause.is_some()) {
        let mut transaction = state.begin().await.map_err(Problem::from)?;
        let done = resume_source(&mut transaction, &source.name, &actor, None).await;
        resumed += i64::from(done.map_err(Problem::from)?.is_some());
        transaction.commit().await.map_err(Problem::from)?;
    }
    Ok(see(&Done::Resumed(resumed).at("/ui/sources")))
}
