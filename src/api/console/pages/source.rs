//! Owns the page of a source: its runs, its schema, what was read of its input, its job file.

use std::collections::BTreeMap;

use askama::Template;
use chrono::{DateTime, Utc};
use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;
use similar::{ChangeTag, TextDiff};
use sqlx::PgConnection;

use crate::api::console::charts::run_bars;
use crate::api::console::html::{self, Html, Tone, ago, badge, bytes, duration, nothing, number};
use crate::api::console::run_rows::RunRow;
use crate::api::console::shell::{Shell, page};
use crate::api::console::source_rows::SourceRow;
use crate::api::http::pagination::MAX_BYTES;
use crate::api::http::problem::Problem;
use crate::api::resources::catalog::Catalog;
use crate::api::state::ApiState;
use crate::db::runs::{self, RunFilter};
use crate::db::schemas::{self, SchemaVersion};
use crate::db::source_files::{self, ListedFile};
use crate::db::source_health::{self, RunBar};
use crate::db::{checkpoints, clock, definitions};
use crate::domain::token::Scope;

const TABS: [(&str, &str); 4] =
    [("runs", "Runs"), ("schema", "Schema"), ("input", "Input"), ("job", "Job file")];
const BARS: i64 = 60;
const RUNS: i64 = 20;
const FILES: i64 = 200;
const VERSIONS: i64 = 100;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SourceQuery {
    tab: String,
    from: Option<i32>,
    to: Option<i32>,
}

#[derive(Template)]
#[template(path = "source.html")]
struct SourcePage {
    shell: Shell,
    source: SourceRow,
    freshness: String,
    tabs: &'static [(&'static str, &'static str)],
    chosen: &'static str,
    content: Tab,
    runs: Vec<RunRow>,
    is_filtered: bool,
}

enum Tab {
    Runs(Html, Vec<BarRow>),
    Schema(Vec<VersionRow>, SchemaDiff),
    Input(Vec<FileRow>, Option<String>),
    Job(Option<Vec<(&'static str, String)>>, Option<String>, String),
}

struct BarRow {
    id: i64,
    status: Html,
    rows: String,
    quarantined: String,
    seconds: String,
}

struct VersionRow {
    number: i32,
    seen: Html,
    run: i64,
    fields: usize,
    is_from: bool,
    is_to: bool,
}

#[derive(Default)]
struct SchemaDiff {
    from: i32,
    to: i32,
    fields: Vec<FieldRow>,
}

struct FieldRow {
    name: String,
    before: String,
    after: String,
    change: Html,
}

struct FileRow {
    name: String,
    gone: Option<Html>,
    size: String,
    bytes: i64,
    read: i64,
    rows: String,
    run: Option<i64>,
    seen: Html,
}

/// `GET /ui/sources/{name}`
#[handler]
pub(crate) async fn show(
    shell: Shell,
    state: Data<&ApiState>,
    Path(name): Path<String>,
    Query(query): Query<SourceQuery>,
) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let rows = SourceRow::all(&mut connection, &catalog, now).await.map_err(Problem::from)?;
    let source = rows.into_iter().find(|row| row.name == name);
    let source = source.ok_or_else(|| catalog.unknown(&name))?;
    let chosen = TABS.iter().map(|(tab, _)| *tab).find(|tab| *tab == query.tab).unwrap_or("runs");
    let mut found = Vec::new();
    let content = match chosen {
        "schema" => schema(&mut connection, &name, &query, now).await,
        "input" => input(&mut connection, &name, now).await,
        "job" => job(&mut connection, &catalog, &name).await,
        _ => {
            let filter = RunFilter { source: Some(name.clone()), ..RunFilter::default() };
            found = runs::list(&mut *connection, &filter, RUNS).await.map_err(Problem::from)?;
            let names = std::slice::from_ref(&name);
            source_health::history(&mut *connection, names, BARS).await.map(|bars| of_runs(&bars))
        }
    };
    let definition = catalog.require(&name).ok();
    Ok(page(&SourcePage {
        shell: shell.following("runs,sources,quarantine,drift"),
        freshness: definition.map_or_else(String::new, |definition| {
            match definition.freshness.error_after {
                Some(limit) => format!("stale after {}", duration(limit)),
                None => "no limit of freshness".to_owned(),
            }
        }),
        source,
        tabs: &TABS,
        chosen,
        content: content.map_err(Problem::from)?,
        runs: found.iter().map(|run| RunRow::of(run, now)).collect(),
        is_filtered: false,
    }))
}

fn of_runs(bars: &[RunBar]) -> Tab {
    let row = |bar: &RunBar| BarRow {
        id: bar.id,
        status: html::status(bar.status),
        rows: number(bar.rows_read),
        quarantined: number(bar.quarantined),
        seconds: bar.seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default(),
    };
    Tab::Runs(run_bars(bars, BARS as usize, true), bars.iter().rev().map(row).collect())
}

async fn schema(
    connection: &mut PgConnection,
    source: &str,
    query: &SourceQuery,
    now: DateTime<Utc>,
) -> Result<Tab, sqlx::Error> {
    let versions = schemas::versions(connection, source, VERSIONS, MAX_BYTES).await?;
    let known =
        |asked: Option<i32>| asked.filter(|asked| versions.iter().any(|v| v.version == *asked));
    let newest = versions.first().map_or(0, |version| version.version);
    let to = known(query.to).unwrap_or(newest);
    let before = versions.iter().map(|version| version.version).find(|version| *version < to);
    let from = known(query.from).or(before).unwrap_or(to);
    let fields = |number: i32| {
        let version = versions.iter().find(|version| version.version == number);
        version.map(signature).unwrap_or_default()
    };
    let diff = SchemaDiff { from, to, fields: changes(&fields(from), &fields(to)) };
    let row = |version: &SchemaVersion| VersionRow {
        number: version.version,
        seen: ago(version.first_seen_at, now),
        run: version.run_id,
        fields: version.schema_signature.as_object().map_or(0, serde_json::Map::len),
        is_from: version.version == from,
        is_to: version.version == to,
    };
    Ok(Tab::Schema(versions.iter().map(row).collect(), diff))
}

fn signature(version: &SchemaVersion) -> BTreeMap<String, String> {
    let fields = version.schema_signature.as_object().into_iter().flatten();
    fields
        .map(|(name, kind)| (name.clone(), kind.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// What changed first, what did not behind it.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<FieldRow> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut rows: Vec<(u8, FieldRow)> = names
        .into_iter()
        .map(|name| {
            let (old, new) = (before.get(name), after.get(name));
            let (order, change) = match (old, new) {
                (None, Some(_)) => (0, badge(Tone::Good, "added")),
                (Some(_), None) => (0, badge(Tone::Bad, "removed")),
                (Some(old), Some(new)) if old != new => (0, badge(Tone::Warn, "type changed")),
                _ => (1, nothing()),
            };
            let text = |kind: Option<&String>| kind.cloned().unwrap_or_else(|| "–".to_owned());
            (order, FieldRow { name: name.clone(), before: text(old), after: text(new), change })
        })
        .collect();
    rows.sort_by_key(|(order, _)| *order);
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn input(
    connection: &mut PgConnection,
    source: &str,
    now: DateTime<Utc>,
) -> Result<Tab, sqlx::Error> {
    let files = source_files::list(&mut *connection, source, FILES).await?;
    let marker = checkpoints::marker(&mut *connection, source).await?;
    let row = |file: ListedFile| FileRow {
        name: match &file.member {
            Some(member) => format!("{} » {member}", file.url),
            None => file.url.clone(),
        },
        gone: file.is_gone.then(|| badge(Tone::Calm, "not there any more")),
        size: bytes(file.size),
        bytes: file.size.max(1),
        read: file.read.min(file.size),
        rows: number(file.rows),
        run: file.run,
        seen: ago(file.updated_at, now),
    };
    Ok(Tab::Input(files.into_iter().map(row).collect(), marker))
}

async fn job(
    connection: &mut PgConnection,
    catalog: &Catalog,
    source: &str,
) -> Result<Tab, sqlx::Error> {
    let filter = RunFilter { source: Some(source.to_owned()), ..RunFilter::default() };
    let last = runs::list(&mut *connection, &filter, 1).await?.into_iter().next();
    let ran = match &last {
        Some(run) => Some(definitions::load(&mut *connection, run.config_hash).await?.toml),
        None => None,
    };
    let on_disk = catalog.require(source).ok().map(|definition| definition.text.clone());
    Ok(match (last, ran, on_disk) {
        (Some(run), Some(ran), Some(on_disk)) if ran != on_disk => {
            let note = format!(
                "Run {} had another job file than the one on disk: − is what it had, + what is there now.",
                run.id
            );
            Tab::Job(Some(diff(&ran, &on_disk)), None, note)
        }
        (Some(run), Some(ran), Some(_)) => {
            Tab::Job(None, Some(ran), format!("As run {} had it, and as it is on disk.", run.id))
        }
        (Some(run), Some(ran), None) => {
            let note = format!("As run {} had it. The one on disk cannot be used.", run.id);
            Tab::Job(None, Some(ran), note)
        }
        (_, _, on_disk) => {
            Tab::Job(None, on_disk, "As it is on disk; no run has had it.".to_owned())
        }
    })
}

/// The lines of two texts, each with the class of its kind.
fn diff(before: &str, after: &str) -> Vec<(&'static str, String)> {
    TextDiff::from_lines(before, after)
        .iter_all_changes()
        .map(|change| {
            let (class, mark) = match change.tag() {
                ChangeTag::Insert => ("add", '+'),
                ChangeTag::Delete => ("del", '−'),
                ChangeTag::Equal => ("same", ' '),
            };
            let line = change.value().trim_end_matches('\n');
            (class, format!("{mark} {line}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_of_a_schema_stands_first() {
        let of = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
        };
        let rows = changes(
            &of(&[("a", "text"), ("b", "integer"), ("c", "text")]),
            &of(&[("a", "text"), ("b", "number"), ("d", "text")]),
        );
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "d", "a"]);
        assert!(rows[2].change.to_string().contains("added"));
    }

    #[test]
    fn a_difference_of_job_files_shows_both_lines() {
        let lines = diff("a\nb\n", "a\nc\n");
        let texts: String = lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(texts, "  a\n− b\n+ c\n");
    }
}
