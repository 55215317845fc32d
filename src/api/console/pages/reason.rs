//! Owns the page of rows that fail alike: what is wrong, the rule of the job file, the rows as they came, and what would pass
//! now.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use chrono::{DateTime, Utc};
use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;
use sqlx::PgConnection;

use super::quarantine::{bars, group, status_of, todo};
use super::reason_dry::{DryRow, dry};
use super::reason_rules::{Rule, rules};
use super::reason_values::{SeenMost, seen_most};
use crate::api::console::html::{Html, Tone, ago, badge, bytes, number, part};
use crate::api::console::marked::{SHOWN, marked, value};
use crate::api::console::shell::{Shell, page};
use crate::api::http::problem::Problem;
use crate::api::resources::catalog::Catalog;
use crate::api::resources::quarantine::{RowStatus, cursor_behind, place_of};
use crate::api::state::ApiState;
use crate::db::quarantine_pages::{self, AfterAlike, Alike, RowBeginning};
use crate::db::quarantined_rows::QuarantinedRow;
use crate::db::source_files::{self, Location};
use crate::db::{clock, raw_api_data};
use crate::domain::raw::RawRef;
use crate::domain::text;
use crate::domain::token::Scope;
use crate::sources::{self, ReadableRow, Source};

/// Rows of a page.
const ROWS: usize = 25;
/// Rows whose values are counted, …
const LOOKED_AT: i64 = 1_000;
/// … and the bytes of each that are looked at.
const LOOKED_AT_BYTES: i32 = SHOWN as i32;
/// The most bytes of a value beside its row.
const VALUE: usize = 200;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReasonQuery {
    status: String,
    cursor: String,
    /// A dry run whose outcome is shown.
    dry: Option<i64>,
}

#[derive(Template)]
#[template(path = "reason.html")]
struct ReasonPage {
    shell: Shell,
    fingerprint: String,
    source: String,
    field: String,
    reason: String,
    message: String,
    todo: Option<Html>,
    is_there: bool,
    redrive_word: String,
    rows_word: String,
    found: String,
    first_run: i64,
    last_run: i64,
    last_rows: String,
    first_seen: Html,
    last_seen: Html,
    bars: Html,
    rules: Vec<Rule>,
    no_rule: &'static str,
    dry: Option<DryRow>,
    seen_most: Option<SeenMost>,
    statuses: Vec<(&'static str, bool)>,
    status: String,
    rows: Vec<RowView>,
    next: Option<String>,
}

struct RowView {
    place: String,
    line: Option<String>,
    row: String,
    span: Option<String>,
    run: i64,
    status: Html,
    set_aside: Html,
    message: String,
    found: Option<String>,
    raw: Html,
    /// What there is to say of how it is shown.
    note: Option<String>,
}

/// `GET /ui/quarantine/{fingerprint}`
#[handler]
pub(crate) async fn show(
    shell: Shell,
    state: Data<&ApiState>,
    Path(fingerprint): Path<String>,
    Query(query): Query<ReasonQuery>,
) -> poem::Result<Response> {
    let status = status_of(&query.status)?;
    let after = match query.cursor.as_str() {
        "" => AfterAlike::default(),
        cursor => place_of(cursor)?,
    };
    let catalog = Catalog::load(&state.jobs).await?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let (hash, group) = group(&mut connection, &fingerprint).await?;
    let definition = catalog.require(&group.source).ok();
    let read = async {
        let of_status = status.map(RowStatus::as_str);
        let alike =
            Alike { source: &group.source, fingerprint: &group.fingerprint, status: of_status };
        let rows = quarantine_pages::list(&mut *connection, alike, &after, ROWS as i64 + 1).await?;
        let beginnings = match group.field.is_empty() {
            true => Vec::new(),
            false => {
                let (source, fingerprint) = (alike.source, alike.fingerprint);
                let (rows, bytes) = (LOOKED_AT, LOOKED_AT_BYTES);
                quarantine_pages::beginnings(&mut *connection, source, fingerprint, rows, bytes)
                    .await?
            }
        };
        let dry = match query.dry {
            Some(run) => dry(&mut connection, &group, run).await?,
            None => None,
        };
        let refs = rows.iter().map(|row| &row.raw_ref);
        let refs = refs.chain(beginnings.iter().map(|row| &row.raw_ref));
        let refs = refs.chain(dry.iter().flat_map(DryRow::raw_refs));
        let payloads = Payloads::of(&mut connection, &group.source, refs).await?;
        let now = clock::now(&mut *connection).await?;
        let bars = bars(&mut connection, std::slice::from_ref(&group), now).await?;
        Ok::<_, sqlx::Error>((rows, beginnings, dry, payloads, now, bars))
    };
    let (mut rows, beginnings, dry, payloads, now, bars) = read.await.map_err(Problem::from)?;
    drop(connection);
    let next = rows.get(ROWS).and_then(|_| rows.get(ROWS - 1)).map(|last| {
        let (status, cursor) = (part(&query.status), cursor_behind(last));
        let dry = query.dry.map(|run| format!("&dry={run}")).unwrap_or_default();
        format!("/ui/quarantine/{hash}?status={status}&cursor={cursor}{dry}")
    });
    rows.truncate(ROWS);
    let dry = dry.map(|dry| dry.named(|raw_ref| payloads.name(raw_ref)));
    let (definition_now, roots) = (definition.cloned(), state.allowed_roots.clone());
    let field = group.field.clone();
    let read = move || {
        let source = definition_now.and_then(|definition| sources::open(&definition, &roots).ok());
        let reader = Reader { source, payloads, field };
        let views: Vec<_> = rows.into_iter().map(|row| reader.view(row, now)).collect();
        (views, seen_most(&beginnings, |row| reader.value(row)))
    };
    // A thousand rows are read, and none may keep other requests waiting.
    let (rows, seen_most) = tokio::task::spawn_blocking(read).await.map_err(|error| {
        tracing::error!(error = %error, "reading quarantined rows panicked");
        Problem::internal()
    })?;
    let rules = definition.map(|definition| rules(definition, &group)).unwrap_or_default();
    let bars = bars.into_iter().next().unwrap_or_else(crate::api::console::html::nothing);
    let words = RowStatus::ALL.iter().map(|word| (word.as_str(), Some(*word) == status));
    Ok(page(&ReasonPage {
        shell: shell.following("quarantine,runs"),
        fingerprint: hash.to_string(),
        todo: todo(&group),
        is_there: group.rows > 0,
        redrive_word: format!("Redrive {}", number(group.rows)),
        rows_word: number(group.rows),
        found: number(group.stored),
        first_run: group.first_run_id,
        last_run: group.last_run_id,
        last_rows: number(group.last_run_rows),
        first_seen: ago(group.first_seen_at, now),
        last_seen: ago(group.last_seen_at, now),
        bars,
        rules,
        no_rule: match definition {
            Some(_) => "The job file says nothing of its own about this.",
            None => "There is no job file of this source that can be used.",
        },
        dry,
        seen_most: seen_most.filter(|_| !group.field.is_empty()),
        statuses: words.collect(),
        status: query.status,
        rows,
        next,
        source: group.source,
        field: group.field,
        reason: group.reason,
        message: group.example,
    }))
}

/// What payloads are called, and how files are read.
struct Payloads {
    files: HashMap<i64, Location>,
    pages: HashMap<String, String>,
}

impl Payloads {
    async fn of<'r>(
        connection: &mut PgConnection,
        source: &str,
        refs: impl Iterator<Item = &'r String>,
    ) -> Result<Self, sqlx::Error> {
        let (mut ids, mut hashes) = (Vec::new(), Vec::new());
        for raw_ref in refs {
            match raw_ref.parse() {
                Ok(RawRef::File(id)) => ids.push(id),
                Ok(RawRef::Page(hash)) => hashes.push(hash),
                Err(_) => {}
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let files = match ids.is_empty() {
            true => HashMap::new(),
            false => source_files::locations(&mut *connection, &ids).await?,
        };
        let pages = match hashes.is_empty() {
            true => Vec::new(),
            false => raw_api_data::addresses(&mut *connection, source, &hashes).await?,
        };
        let page = |(hash, url)| (RawRef::Page(hash).to_string(), url);
        Ok(Self { files, pages: pages.into_iter().map(page).collect() })
    }

    fn file(&self, raw_ref: &str) -> Option<&Location> {
        match raw_ref.parse() {
            Ok(RawRef::File(id)) => self.files.get(&id),
            _ => None,
        }
    }

    fn name(&self, raw_ref: &str) -> String {
        match (self.file(raw_ref), self.pages.get(raw_ref)) {
            (Some(Location { url, member: Some(member), .. }), _) => format!("{url} » {member}"),
            (Some(Location { url, .. }), _) | (None, Some(url)) => url.clone(),
            (None, None) => raw_ref.to_owned(),
        }
    }
}

/// Reads rows for people.
struct Reader {
    source: Option<Arc<dyn Source>>,
    payloads: Payloads,
    field: String,
}

impl Reader {
    fn read<'r>(&self, raw_ref: &str, raw: &'r [u8]) -> ReadableRow<'r> {
        let layout = match raw_ref.parse() {
            Ok(RawRef::Page(_)) => None,
            _ => match self.payloads.file(raw_ref) {
                Some(file) => Some(&file.layout),
                // Nobody knows any more how it was read.
                None => return ReadableRow::unmarked(raw),
            },
        };
        match &self.source {
            Some(source) if !self.field.is_empty() => {
                source.row_for_people(raw, layout, &self.field)
            }
            _ => ReadableRow::unmarked(raw),
        }
    }

    /// The value of a row; `None` when it has none, or nobody can tell.
    fn value(&self, row: &RowBeginning) -> Option<String> {
        let raw = whole_characters(&row.raw, row.raw_bytes);
        value(raw, &self.read(&row.raw_ref, raw))
    }

    fn view(&self, row: QuarantinedRow, now: DateTime<Utc>) -> RowView {
        let raw = whole_characters(&row.raw, row.raw_bytes);
        let readable = self.read(&row.raw_ref, raw);
        let mut notes = Vec::new();
        if readable.text.is_none() {
            notes.push("no text: its bytes are shown".to_owned());
        }
        if let Some(encoding) = readable.encoding.filter(|_| readable.text.is_some()) {
            notes.push(format!("read as {encoding}"));
        }
        if row.raw_bytes as usize > SHOWN {
            let whole = bytes(i64::from(row.raw_bytes));
            notes.push(format!("{} of {whole} are shown", bytes(SHOWN as i64)));
        }
        let tone = match row.status.as_str() {
            "open" | "redriven" => Tone::Warn,
            "resolved" => Tone::Good,
            _ => Tone::Calm,
        };
        RowView {
            place: self.payloads.name(&row.raw_ref),
            line: row.line.map(number),
            row: number(row.raw_row),
            span: row
                .byte_start
                .zip(row.byte_end)
                .map(|(start, end)| format!("{} to {}", number(start), number(end))),
            run: row.run_id,
            status: badge(tone, &row.status),
            set_aside: ago(row.created_at, now),
            found: value(raw, &readable).map(|value| text::cut(&value, VALUE).into_owned()),
            raw: marked(raw, &readable),
            note: (!notes.is_empty()).then(|| notes.join(", ")),
            message: row.message,
        }
    }
}

/// A row that was cut, without the character that was cut through.
fn whole_characters(raw: &[u8], length: i32) -> &[u8] {
    match std::str::from_utf8(raw) {
        Err(error) if raw.len() < length as usize && error.error_len().is_none() => {
            &raw[..error.valid_up_to()]
        }
        _ => raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_was_cut_through_is_left_out() {
        assert_eq!(whole_characters(&[b'a', 0xc3], 9), b"a");
        assert_eq!(whole_characters(&[b'a', 0xc3], 2), [b'a', 0xc3]);
        assert_eq!(whole_characters(&[0xff, b'a', 0xc3], 9), [0xff, b'a', 0xc3]);
    }
}
