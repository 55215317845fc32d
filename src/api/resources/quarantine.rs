//! Owns reading quarantined rows, one by one or grouped by what they share.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::{Base64, Example};
use poem_openapi::{Object, OpenApi, Union};

use crate::api::http::pagination::{self, Limit, Page};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::quarantine_totals::{self, GroupFilter, QuarantineGroup};
use crate::db::quarantined_rows::{self, After};
use crate::domain::reject::ReasonCode;
use crate::domain::source_name::SourceName;
use crate::domain::string_enum::string_enum;

/// One thing wrong with one row.
#[derive(Debug, Object)]
#[oai(example)]
pub(crate) struct QuarantinedRow {
    /// Name of the source.
    pub(crate) source: String,
    /// The run that set it aside.
    pub(crate) run_id: i64,
    /// The raw payload the row is in: `file/ID` or `page/HASH`.
    pub(crate) raw_ref: String,
    /// The row within it, from 1.
    pub(crate) raw_row: i64,
    /// The source's own name of the field; null when the row as a whole is bad.
    #[oai(nullable)]
    pub(crate) field: Option<String>,
    /// Stable code of what is wrong.
    pub(crate) reason: String,
    /// What was found, and what was expected.
    pub(crate) message: String,
    /// Line in the file, from 1; null for API records.
    #[oai(nullable)]
    pub(crate) line: Option<i64>,
    /// First byte in the file.
    #[oai(nullable)]
    pub(crate) byte_start: Option<i64>,
    /// Byte behind the last in the file.
    #[oai(nullable)]
    pub(crate) byte_end: Option<i64>,
    /// The row as it came, when it is UTF-8.
    #[oai(nullable)]
    pub(crate) raw_text: Option<String>,
    /// The row as it came, when it is not.
    #[oai(nullable)]
    pub(crate) raw_base64: Option<Base64<Vec<u8>>>,
    /// The row is longer than what is shown here; all of it is in the raw tables.
    pub(crate) raw_cut: bool,
    /// Equal for rows that fail alike.
    pub(crate) fingerprint: String,
    /// `open`, `redriven` or `resolved`.
    pub(crate) status: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// Rows that fail alike.
#[derive(Debug, Object)]
pub(crate) struct Group {
    /// Name of the source.
    pub(crate) source: String,
    /// What the rows share.
    pub(crate) fingerprint: String,
    /// The source's own name of the field; null when the rows as a whole are bad.
    #[oai(nullable)]
    pub(crate) field: Option<String>,
    /// Stable code of what is wrong.
    pub(crate) reason: String,
    /// How many are there still: open or redriven.
    pub(crate) rows: i64,
    /// How many were found in all, those resolved since included.
    pub(crate) found: i64,
    /// The first run that found one.
    pub(crate) first_run: i64,
    /// The last run that found some that were not known before.
    pub(crate) last_run: i64,
    /// How many it found.
    pub(crate) last_run_rows: i64,
    /// When the first was found.
    pub(crate) first_seen_at: DateTime<Utc>,
    /// When the last was found.
    pub(crate) last_seen_at: DateTime<Utc>,
    /// The message of one of them.
    pub(crate) example: String,
}

/// Open quarantined rows by what they share.
#[derive(Debug, Object)]
pub(crate) struct Groups {
    /// The most frequent first.
    pub(crate) items: Vec<Group>,
}

string_enum! {
    /// What rows can be grouped by.
    GroupBy ("grouping") {
        /// By what is wrong: source, field and reason.
        Fingerprint = "fingerprint",
    }
}
string_enums! { GroupBy = "GroupBy": "What rows can be grouped by." }

/// Rows, or groups of them with `group_by`.
#[derive(Debug, Union)]
enum Quarantine {
    Rows(Page<QuarantinedRow>),
    Groups(Groups),
}

/// `GET /quarantine`
struct ListQuarantine;
impl Declares for ListQuarantine {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter];
}

/// The operations on quarantined rows.
pub(crate) struct QuarantineApi;

#[OpenApi(tag = "Tag::Quarantine")]
impl QuarantineApi {
    /// List quarantined rows
    ///
    /// In the order of source and place, or grouped by what is wrong.
    #[oai(path = "/quarantine", method = "get", operation_id = "list_quarantine")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        /// Only rows of this source.
        source: Query<Option<SourceName>>,
        /// Only rows with this reason code.
        reason: Query<Option<ReasonCode>>,
        /// Groups of open rows that fail alike instead of single rows; takes no cursor.
        group_by: Query<Option<GroupBy>>,
        /// The most rows or groups to answer.
        #[oai(default)]
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Quarantine>, Refusal<ListQuarantine>> {
        let after = cursor.0.map(|cursor| after(&cursor)).transpose()?.unwrap_or_default();
        let source = source.0.as_ref().map(SourceName::as_str);
        let reason = reason.0.map(ReasonCode::as_str);
        let mut connection = state.connection().await?;
        if let Some(GroupBy::Fingerprint) = group_by.0 {
            let filter = GroupFilter { source, reason, field: None };
            let groups = quarantine_totals::groups(&mut *connection, filter, limit.items()).await?;
            let items = groups.into_iter().map(Into::into).collect();
            return Ok(Json(Quarantine::Groups(Groups { items })));
        }
        let rows =
            quarantined_rows::list(&mut *connection, source, reason, &after, limit.rows()).await?;
        Ok(Json(Quarantine::Rows(Page::new(rows, limit.0, "quarantine", key))))
    }
}

pub(crate) fn key(row: &quarantined_rows::QuarantinedRow) -> [String; 5] {
    [
        row.source.clone(),
        row.raw_ref.clone(),
        row.raw_row.to_string(),
        row.field.clone(),
        row.reason.clone(),
    ]
}

pub(crate) fn after(cursor: &str) -> Result<After, Problem> {
    let [source, raw_ref, raw_row, field, reason] = pagination::decode("quarantine", cursor)?;
    let raw_row = pagination::number(&raw_row)?;
    Ok(After { source, raw_ref, raw_row, field, reason })
}

/// Bytes as text when they are UTF-8, as they are else. A character that was cut through at the
/// end does not make text binary.
fn shown(mut raw: Vec<u8>, cut: bool) -> (Option<String>, Option<Base64<Vec<u8>>>) {
    if let Err(error) = std::str::from_utf8(&raw)
        && cut
        && error.error_len().is_none()
    {
        raw.truncate(error.valid_up_to());
    }
    match String::from_utf8(raw) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(Base64(error.into_bytes()))),
    }
}

fn non_empty(field: String) -> Option<String> {
    Some(field).filter(|field| !field.is_empty())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<quarantined_rows::QuarantinedRow> for QuarantinedRow {
    fn from(row: quarantined_rows::QuarantinedRow) -> Self {
        let raw_cut = row.raw.len() < row.raw_bytes as usize;
        let (raw_text, raw_base64) = shown(row.raw, raw_cut);
        Self {
            source: row.source,
            run_id: row.run_id,
            raw_ref: row.raw_ref,
            raw_row: row.raw_row,
            field: non_empty(row.field),
            reason: row.reason,
            message: row.message,
            line: row.line,
            byte_start: row.byte_start,
            byte_end: row.byte_end,
            raw_text,
            raw_base64,
            raw_cut,
            fingerprint: hex(&row.fingerprint),
            status: row.status,
            created_at: row.created_at,
        }
    }
}

impl From<QuarantineGroup> for Group {
    fn from(group: QuarantineGroup) -> Self {
        Self {
            source: group.source,
            fingerprint: hex(&group.fingerprint),
            field: non_empty(group.field),
            reason: group.reason,
            rows: group.rows,
            found: group.stored,
            first_run: group.first_run_id,
            last_run: group.last_run_id,
            last_run_rows: group.last_run_rows,
            first_seen_at: group.first_seen_at,
            last_seen_at: group.last_seen_at,
            example: group.example,
        }
    }
}

impl Example for QuarantinedRow {
    fn example() -> Self {
        Self {
            source: "products_csv".to_owned(),
            run_id: 42,
            raw_ref: "file/12".to_owned(),
            raw_row: 3,
            field: Some("price".to_owned()),
            reason: "invalid_decimal".to_owned(),
            message: "\"abc\" is not a decimal number".to_owned(),
            line: Some(4),
            byte_start: Some(61),
            byte_end: Some(75),
            raw_text: Some("3,Gadget,abc\n".to_owned()),
            raw_base64: None,
            raw_cut: false,
            fingerprint: "5f1d7a84db00d2fce00b31a7fc73224f".to_owned(),
            status: "open".to_owned(),
            created_at: DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_are_text_when_they_can_be() {
        assert_eq!(shown("ä".into(), false).0.as_deref(), Some("ä"));
        let (text, base64) = shown(vec![b'a', 0xff], false);
        assert_eq!((text, base64.map(|raw| raw.0)), (None, Some(vec![b'a', 0xff])));
    }

    #[test]
    fn a_character_cut_through_does_not_make_text_binary() {
        assert_eq!(shown(vec![b'a', 0xc3], true).0.as_deref(), Some("a"));
        assert!(shown(vec![b'a', 0xc3], false).1.is_some());
    }
}
