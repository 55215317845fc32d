//! Owns finding records by their keys, or by how these begin.

use askama::Template;
use chrono::{DateTime, Utc};
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;

use crate::api::console::html::{Html, Tone, ago, badge, part};
use crate::api::console::shell::{Shell, page};
use crate::api::http::pagination::Limit;
use crate::api::http::problem::{Kind, Problem};
use crate::api::resources::records::{Record, read_page};
use crate::api::state::ApiState;
use crate::db::clock;
use crate::db::unified_records::{After, Which};
use crate::domain::text;

/// The longest value in a table, in bytes.
const VALUE: usize = 200;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RecordsQuery {
    source: String,
    key: String,
    deleted: bool,
    /// The last record of the page before: its source, and its key.
    after_source: String,
    after: String,
}

#[derive(Template)]
#[template(path = "records.html")]
struct Records {
    shell: Shell,
    source: String,
    key: String,
    deleted: bool,
    names: Vec<String>,
    records: Vec<RecordRow>,
    is_filtered: bool,
    next: Option<String>,
    json: Option<String>,
}

struct RecordRow {
    source: String,
    key: String,
    address: String,
    name: String,
    category: String,
    price: String,
    run: i64,
    changed: Html,
    deleted: Option<Html>,
}

/// `GET /ui/records`
#[handler]
pub(crate) async fn list(
    shell: Shell,
    state: Data<&ApiState>,
    Query(query): Query<RecordsQuery>,
) -> poem::Result<Response> {
    let source = query.source.trim().to_owned();
    if source.is_empty() && !query.key.is_empty() {
        let detail = "parameter `source`: choose one, keys are those of a source";
        return Err(Problem::new(Kind::InvalidParameter, detail).into());
    }
    // PostgreSQL's text cannot hold U+0000, so nothing is called so.
    let is_nothing = [&source, &query.key, &query.after, &query.after_source]
        .iter()
        .any(|text| text.contains('\0'));
    let which = Which {
        source: Some(source.as_str()).filter(|source| !source.is_empty()),
        prefix: Some(query.key.as_str()).filter(|key| !key.is_empty()),
        deleted: query.deleted,
    };
    let after = After { source: query.after_source.clone(), external_id: query.after.clone() };
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let now = clock::now(&mut *connection).await.map_err(Problem::from)?;
    let (records, more) = match is_nothing {
        true => (Vec::new(), false),
        false => {
            let found = read_page(&mut connection, which, &after, Limit::default()).await;
            let found = found.map_err(Problem::from)?;
            (found.items, found.next_cursor.is_some())
        }
    };
    let next = records.last().filter(|_| more).map(|last| {
        let rest = format!("after_source={}&after={}", part(&last.source), part(&last.external_id));
        format!("/ui/records?{}&{rest}", query.pairs())
    });
    let json = (!source.is_empty()).then(|| {
        let prefix = match query.key.as_str() {
            "" => String::new(),
            key => format!("&prefix={}", part(key)),
        };
        format!("/records?source={}{prefix}", part(&source))
    });
    Ok(page(&Records {
        shell,
        names: state.jobs.names().unwrap_or_default(),
        is_filtered: !source.is_empty() || !query.key.is_empty(),
        records: records.iter().map(|record| RecordRow::of(record, now)).collect(),
        source,
        key: query.key,
        deleted: query.deleted,
        next,
        json,
    }))
}

impl RecordsQuery {
    fn pairs(&self) -> String {
        let deleted = if self.deleted { "&deleted=true" } else { "" };
        format!("source={}&key={}{deleted}", part(self.source.trim()), part(&self.key))
    }
}

impl RecordRow {
    fn of(record: &Record, now: DateTime<Utc>) -> Self {
        let short = |value: &Option<String>| {
            value.as_deref().map(|value| text::cut(value, VALUE).into_owned()).unwrap_or_default()
        };
        let price = [short(&record.price), short(&record.currency)];
        Self {
            source: record.source.clone(),
            key: record.external_id.clone(),
            address: record_address(&record.source, &record.external_id),
            name: short(&record.name),
            category: short(&record.category),
            price: price.join(" ").trim().to_owned(),
            run: record.last_run_id,
            changed: ago(record.updated_at, now),
            deleted: record.deleted_at.map(|_| badge(Tone::Calm, "deleted")),
        }
    }
}

/// The page of a record.
fn record_address(source: &str, key: &str) -> String {
    format!("/ui/records/{}/{}", part(source), part(key))
}
