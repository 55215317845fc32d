//! Owns the list of sources, and what is done to all of them that fit.

use askama::Template;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use url::form_urlencoded;

use crate::api::console::actions::{PAUSED_BY_LIST, start};
use crate::api::console::done::Done;
use crate::api::console::html::{Html, Tone, badge};
use crate::api::console::shell::{Shell, page, see};
use crate::api::console::source_rows::SourceRow;
use crate::api::http::problem::{Kind, Problem};
use crate::api::resources::catalog::Catalog;
use crate::api::resources::pauses::{paused, reason, resumed};
use crate::api::resources::start_runs::begun;
use crate::api::state::ApiState;
use crate::db::clock;
use crate::domain::actor::Actor;
use crate::domain::run::{Mode, RunStatus};
use crate::domain::token::Scope;

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
    is_any: bool,
    shown: Vec<SourceRow>,
    name: String,
    states: Vec<(&'static str, bool)>,
    broken: Html,
    run_word: String,
    pause_word: String,
    resume_word: String,
}

/// `GET /ui/sources`
#[handler]
pub(crate) async fn list(
    shell: Shell,
    state: Data<&ApiState>,
    Query(query): Query<SourcesQuery>,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let mut shown = SourceRow::all(&mut connection, &catalog, now).await.map_err(Problem::from)?;
    let is_any = !shown.is_empty();
    shown.retain(|row| row.name.contains(query.name.trim()) && row.is_in(&query.state));
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
        is_any,
        shown,
        name: query.name,
        states,
    }))
}

/// The sources that a form names: those that its page showed, whatever the filter finds by now.
///
/// # Errors
/// A problem when it names none.
fn named(form: &str) -> Result<Vec<String>, Problem> {
    let pairs = form_urlencoded::parse(form.as_bytes());
    let names = pairs.filter(|(name, _)| name == "source").map(|(_, value)| value.into_owned());
    let names: Vec<String> = names.collect();
    match names.is_empty() {
        true => Err(Problem::new(Kind::InvalidRequest, "the form names no `source`")),
        false => Ok(names),
    }
}

/// What became of doing something to several sources. What is in the way of some keeps it from no other, but is said if
/// it was done to none.
#[derive(Default)]
struct Several {
    done: i64,
    in_the_way: Option<Problem>,
}

impl Several {
    /// Counts one.
    ///
    /// # Errors
    /// A problem that is not this source's, but everybody's.
    fn count<T>(&mut self, result: Result<T, Problem>) -> Result<(), Problem> {
        match result {
            Ok(_) => self.done += 1,
            Err(problem) if problem.status().is_client_error() => {
                self.in_the_way.get_or_insert(problem);
            }
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    /// To how many it was done.
    ///
    /// # Errors
    /// What was in the way of the first, if it was done to none.
    fn done(self) -> Result<i64, Problem> {
        match self.in_the_way {
            Some(problem) if self.done == 0 => Err(problem),
            _ => Ok(self.done),
        }
    }
}

/// `POST /ui/sources/run`
#[handler]
pub(crate) async fn run_all(state: Data<&ApiState>, form: String) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let mut several = Several::default();
    for name in named(&form)? {
        let started = start(&state, &catalog, &name, Mode::Incremental, false).await;
        several.count(started.and_then(|started| begun(&name, started)))?;
    }
    Ok(see(&Done::StartedSeveral(several.done()?).at("/ui/sources")))
}

/// `POST /ui/sources/pause`
#[handler]
pub(crate) async fn pause_all(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    form: String,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let reason = reason(PAUSED_BY_LIST)?;
    let mut several = Several::default();
    for name in named(&form)? {
        several.count(paused(&state, &catalog, &name, &actor, &reason).await)?;
    }
    Ok(see(&Done::Paused(several.done()?).at("/ui/sources")))
}

/// `POST /ui/sources/resume`
#[handler]
pub(crate) async fn resume_all(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    form: String,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let mut several = Several::default();
    for name in named(&form)? {
        let resumed = match catalog.has(&name) {
            true => resumed(&state, &name, &actor, None).await,
            false => Err(catalog.unknown(&name)),
        };
        several.count(resumed)?;
    }
    Ok(see(&Done::Resumed(several.done()?).at("/ui/sources")))
}
