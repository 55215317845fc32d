//! Owns the inbox of changes of schemas: what changed, since when, in how many rows, and what there is to do about it.

use askama::Template;
use chrono::{DateTime, Utc};
use poem::web::{Data, Form, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use crate::api::console::actions::dry_replay;
use crate::api::console::done::Done;
use crate::api::console::html::{Html, Tone, ago, badge, exact, number, part};
use crate::api::console::origin::RawShown;
use crate::api::console::query::{given, word};
use crate::api::console::shell::{Shell, page, see};
use crate::api::http::problem::{Kind, Problem};
use crate::api::resources::catalog::Catalog;
use crate::api::resources::drift::{self, DriftStatus, first_row, unknown};
use crate::api::resources::lineage::payload_permit;
use crate::api::state::ApiState;
use crate::db::clock;
use crate::db::schema_drift::{self, DriftFilter, RecordedDrift};
use crate::domain::actor::Actor;
use crate::domain::token::Scope;
use crate::job_file::Definition;
use crate::sources::{Suggested, field_for};

/// Changes of a page.
const CHANGES: usize = 50;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DriftQuery {
    source: String,
    /// What is open, if it is not said; `any` is all.
    status: String,
    /// The last change of the page before: its run, and its field.
    run: Option<i64>,
    after: String,
}

#[derive(Template)]
#[template(path = "drift.html")]
struct Inbox {
    shell: Shell,
    source: String,
    names: Vec<String>,
    statuses: Vec<(&'static str, bool)>,
    is_filtered: bool,
    items: Vec<Item>,
    next: Option<String>,
    json: String,
}

struct Item {
    id: i64,
    source: String,
    versions: (i32, i32),
    field: String,
    mark: &'static str,
    change: Html,
    types: String,
    policy: String,
    share: Option<String>,
    first: Option<String>,
    run: i64,
    since: Html,
    is_open: bool,
    known: Option<String>,
    note: Option<String>,
}

#[derive(Template)]
#[template(path = "drift_item.html")]
struct Change {
    shell: Shell,
    item: Item,
    at: Html,
    raw: Option<RawShown>,
    is_mapped: bool,
    lines: Option<Suggested>,
    path: String,
}

/// `GET /ui/drift`
#[handler]
pub(crate) async fn list(
    shell: Shell,
    state: Data<&ApiState>,
    Query(query): Query<DriftQuery>,
) -> poem::Result<Response> {
    let status = query.status()?;
    let after = given("after", &query.after)?.unwrap_or_default();
    let filter = DriftFilter {
        source: given("source", &query.source)?,
        status: status.map(DriftStatus::as_str),
        after: query.run.map(|run| (run, after)),
    };
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let found = schema_drift::list(&mut *connection, filter, CHANGES as i64 + 1).await;
    let mut found = found.map_err(Problem::from)?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let more = found.len() > CHANGES;
    found.truncate(CHANGES);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| format!("{}&run={}&after={}", query.address(), last.run_id, part(&last.field)));
    let word = status.map_or("any", DriftStatus::as_str);
    let mut json: Vec<String> =
        filter.source.map(|it| format!("source={}", part(it))).into_iter().collect();
    json.extend(filter.status.map(|status| format!("status={status}")));
    let json = if json.is_empty() { String::new() } else { format!("?{}", json.join("&")) };
    Ok(page(&Inbox {
        shell: shell.following("drift"),
        names: state.jobs.names().unwrap_or_default(),
        statuses: ["open", "acknowledged", "any"].map(|choice| (choice, choice == word)).to_vec(),
        is_filtered: filter.source.is_some() || status != Some(DriftStatus::Open),
        items: found.into_iter().map(|row| Item::of(row, now)).collect(),
        source: filter.source.unwrap_or_default().to_owned(),
        next,
        json,
    }))
}

/// `GET /ui/drift/{id}`
#[handler]
pub(crate) async fn show(
    shell: Shell,
    state: Data<&ApiState>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = drift_id(&id)?;
    let _permit = payload_permit().await?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let row = schema_drift::get(&mut *connection, id).await.map_err(Problem::from)?;
    let row = row.ok_or_else(|| unknown(id))?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let first = first_row(&state, &mut connection, &row).await?;
    let catalog = Catalog::load(&state.jobs).await?;
    let definition = catalog.require(&row.source).ok();
    let lines = definition.and_then(|definition| mapped(definition, &row));
    Ok(page(&Change {
        shell: shell.following("drift"),
        at: exact(row.detected_at),
        raw: first.as_ref().map(RawShown::of),
        is_mapped: lines.as_ref().is_some_and(|lines| lines.is_mapped),
        lines,
        path: definition.map(|it| it.path.display().to_string()).unwrap_or_default(),
        item: Item::of(row, now),
    }))
}

/// What to add to the job file, so that it reads the field.
fn mapped(definition: &Definition, row: &RecordedDrift) -> Option<Suggested> {
    field_for(definition, &row.field, row.new_type.as_deref()?)
}

/// What the form of an acknowledgement sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AcknowledgeForm {
    note: String,
    /// The inbox that it was sent from.
    source: String,
    status: String,
}

/// `POST /ui/drift/{id}/acknowledge`
#[handler]
pub(crate) async fn acknowledge(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(id): Path<String>,
    form: Option<Form<AcknowledgeForm>>,
) -> poem::Result<Response> {
    let id = drift_id(&id)?;
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let note = Some(form.note.as_str()).filter(|note| !note.trim().is_empty());
    let mut transaction = state.begin().await.map_err(Problem::from)?;
    drift::acknowledge(&mut transaction, id, &actor, note).await?;
    transaction.commit().await.map_err(Problem::from)?;
    let query = DriftQuery { source: form.source, status: form.status, ..DriftQuery::default() };
    Ok(see(&Done::Acknowledged(1).at(&query.address())))
}

/// `POST /ui/drift/{id}/replay`
#[handler]
pub(crate) async fn replay(
    state: Data<&ApiState>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = drift_id(&id)?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let row = schema_drift::get(&mut *connection, id).await.map_err(Problem::from)?;
    drop(connection);
    let row = row.ok_or_else(|| unknown(id))?;
    dry_replay(&state, &row.source, row.run_id).await
}

fn drift_id(text: &str) -> Result<i64, Problem> {
    let unknown =
        || Problem::new(Kind::UnknownDrift, format!("there is no change {text} of a schema"));
    text.parse().ok().filter(|id| *id > 0).ok_or_else(unknown)
}

impl DriftQuery {
    /// What is open, if it is not said.
    fn status(&self) -> Result<Option<DriftStatus>, Problem> {
        match self.status.as_str() {
            "" => Ok(Some(DriftStatus::Open)),
            "any" => Ok(None),
            text => word("status", text),
        }
    }

    fn address(&self) -> String {
        let status = if self.status.is_empty() { "open" } else { &self.status };
        format!("/ui/drift?source={}&status={}", part(self.source.trim()), part(status))
    }
}

impl Item {
    fn of(row: RecordedDrift, now: DateTime<Utc>) -> Self {
        let (mark, tone) = match row.change.as_str() {
            "added" => ("+", Tone::Active),
            "removed" => ("−", Tone::Warn),
            _ => ("~", Tone::Warn),
        };
        let types = match (row.old_type, row.new_type) {
            (Some(old), Some(new)) => format!("{old} → {new}"),
            (Some(old), None) => format!("was {old}"),
            (None, Some(new)) => new,
            (None, None) => String::new(),
        };
        let known = row.acknowledged_at.map(|at| {
            let by = row.acknowledged_by.as_deref().unwrap_or_default();
            format!("acknowledged by {by} at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        let first = row.raw_ref.zip(row.raw_row);
        Self {
            id: row.id,
            source: row.source,
            versions: (row.from_version, row.to_version),
            field: row.field,
            mark,
            change: badge(tone, &row.change.replace('_', " ")),
            types,
            policy: row.policy,
            share: row.rows_seen.zip(row.rows_with_value).map(|(all, with)| share(all, with)),
            first: first.map(|(raw_ref, raw_row)| format!("row {raw_row} of {raw_ref}")),
            run: row.run_id,
            since: ago(row.detected_at, now),
            is_open: row.status == DriftStatus::Open.as_str(),
            known,
            note: row.note,
        }
    }
}

/// How many of the rows have a value; neither none nor all is said of what is only nearly so.
fn share(all: i64, with: i64) -> String {
    let percent = if all > 0 { with as f64 * 100.0 / all as f64 } else { 0.0 };
    let percent = match with {
        0 => "0".to_owned(),
        with if with == all => "100".to_owned(),
        _ => format!("{:.1}", percent.clamp(0.1, 99.9)),
    };
    format!("{percent} % of {} rows have a value", number(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_all_or_nothing_only_when_it_is() {
        assert_eq!(share(1_000_000, 0), "0 % of 1,000,000 rows have a value");
        assert_eq!(share(1_000_000, 1), "0.1 % of 1,000,000 rows have a value");
        assert_eq!(share(1_000_000, 999_999), "99.9 % of 1,000,000 rows have a value");
        assert_eq!(share(2, 2), "100 % of 2 rows have a value");
        assert_eq!(share(0, 0), "0 % of 0 rows have a value");
    }
}
