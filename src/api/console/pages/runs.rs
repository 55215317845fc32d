//! Owns the list of runs and its filters. Every filter is in the address.

use askama::Template;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;

use crate::api::console::html::part;
use crate::api::console::query::{given, word};
use crate::api::console::run_rows::RunRow;
use crate::api::console::shell::{Shell, page};
use crate::api::http::problem::Problem;
use crate::api::state::ApiState;
use crate::db::clock;
use crate::db::runs::{self, RunFilter};
use crate::domain::run::{Mode, RunId, RunStatus, Trigger};

/// Runs of a page.
const RUNS: usize = 50;

/// What the address says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunsQuery {
    source: String,
    not_source: String,
    status: String,
    mode: String,
    trigger: String,
    /// The last run of the page before.
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct Runs {
    shell: Shell,
    source: String,
    not_source: String,
    names: Vec<String>,
    statuses: Vec<(&'static str, bool)>,
    modes: Vec<(&'static str, bool)>,
    triggers: Vec<(&'static str, bool)>,
    runs: Vec<RunRow>,
    is_filtered: bool,
    next: Option<String>,
    /// The same question to the API, where that knows all of the filters.
    json: Option<String>,
}

/// `GET /ui/runs`
#[handler]
pub(crate) async fn list(
    shell: Shell,
    state: Data<&ApiState>,
    Query(query): Query<RunsQuery>,
) -> poem::Result<Response> {
    let filter = query.filter()?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let mut found =
        runs::list(&mut *connection, &filter, RUNS as i64 + 1).await.map_err(Problem::from)?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let more = found.len() > RUNS;
    found.truncate(RUNS);
    let next = found.last().filter(|_| more).map(|last| query.address(Some(last.id.0)));
    let mut json: Vec<String> = Vec::new();
    for (name, value) in [("source", &query.source), ("status", &query.status)] {
        if !value.is_empty() {
            json.push(format!("{name}={}", part(value)));
        }
    }
    let is_known = [&query.not_source, &query.mode, &query.trigger].iter().all(|of| of.is_empty());
    let json = is_known.then(|| match json.is_empty() {
        true => String::new(),
        false => format!("?{}", json.join("&")),
    });
    Ok(page(&Runs {
        shell: shell.following("runs"),
        names: state.jobs.names().unwrap_or_default(),
        statuses: choices(RunStatus::ALL.iter().map(|status| status.as_str()), &query.status),
        modes: choices(Mode::ALL.iter().map(|mode| mode.as_str()), &query.mode),
        triggers: choices(Trigger::ALL.iter().map(|trigger| trigger.as_str()), &query.trigger),
        is_filtered: query.is_filtered(),
        runs: found.iter().map(|run| RunRow::of(run, now)).collect(),
        source: query.source,
        not_source: query.not_source,
        next,
        json,
    }))
}

fn choices(words: impl Iterator<Item = &'static str>, chosen: &str) -> Vec<(&'static str, bool)> {
    words.map(|word| (word, word == chosen)).collect()
}

impl RunsQuery {
    /// Which runs that are.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub(crate) fn filter(&self) -> Result<RunFilter, Problem> {
        Ok(RunFilter {
            source: given("source", &self.source)?.map(str::to_owned),
            not_source: given("not_source", &self.not_source)?.map(str::to_owned),
            status: word("status", &self.status)?,
            mode: word("mode", &self.mode)?,
            trigger: word("trigger", &self.trigger)?,
            before: self.before.map(RunId),
        })
    }

    fn is_filtered(&self) -> bool {
        [&self.source, &self.not_source, &self.status, &self.mode, &self.trigger]
            .iter()
            .any(|value| !value.is_empty())
    }

    /// The address of the page behind a run.
    fn address(&self, before: Option<i64>) -> String {
        let values = [
            ("source", &self.source),
            ("not_source", &self.not_source),
            ("status", &self.status),
            ("mode", &self.mode),
            ("trigger", &self.trigger),
        ];
        let given = values.iter().filter(|(_, value)| !value.is_empty());
        let mut pairs: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", part(value))).collect();
        pairs.extend(before.map(|before| format!("before={before}")));
        format!("/ui/runs?{}", pairs.join("&"))
    }
}
