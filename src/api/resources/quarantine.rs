//! Owns reading quarantined rows, one by one or grouped by what they share.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::{Base64, Example};
use poem_openapi::{Object, OpenApi, Union};
use sqlx::PgConnection;

use crate::api::http::pagination::{self, Limit, Page};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::quarantine_pages::{self, AfterAlike, Alike};
use crate::db::quarantine_totals::{self, GroupFilter, QuarantineGroup};
use crate::db::quarantined_rows::{self, After, RowFilter};
use crate::domain::reject::{Fingerprint, ReasonCode};
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
    /// `open`, `redriven`, `resolved` or `superseded`.
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
string_enum! {
    /// What became of a row that was set aside. They are read in this order, which is also that of their words.
    RowStatus ("status of a row") {
        /// It is there still.
        Open = "open",
        /// It was evaluated again and is there still.
        Redriven = "redriven",
        /// It was evaluated again and is good.
        Resolved = "resolved",
        /// Its file was read in a later version.
        Superseded = "superseded",
    }
}
string_enums! {
    GroupBy = "GroupBy": "What rows can be grouped by.",
    RowStatus = "RowStatus": "What became of a row that was set aside.",
}

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

#[allow(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
#[OpenApi(tag = "Tag::Quarantine")]
impl QuarantineApi {
    /// List quarantined rows
    ///
    /// In the order of source and place, or grouped by what is wrong. Rows of one fingerprint are those that are there still
    /// first: in the order of status and place.
    #[oai(path = "/quarantine", method = "get", operation_id = "list_quarantine")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        /// Only rows of this source.
        source: Query<Option<SourceName>>,
        /// Only rows with this reason code.
        reason: Query<Option<ReasonCode>>,
        /// Only rows that fail alike: 32 hexadecimal digits.
        fingerprint: Query<Option<String>>,
        /// Only rows with this status; not together with `group_by`.
        status: Query<Option<RowStatus>>,
        /// Groups of open rows that fail alike instead of single rows; takes no cursor.
        group_by: Query<Option<GroupBy>>,
        /// The most rows or groups to answer.
        #[oai(default)]
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Quarantine>, Refusal<ListQuarantine>> {
        let filter = RowFilter {
            source: source.0.as_ref().map(SourceName::as_str),
            reason: reason.0.map(ReasonCode::as_str),
            status: status.0.map(RowStatus::as_str),
        };
        let fingerprint = fingerprint.0.as_deref().map(self::fingerprint).transpose()?;
        let mut connection = state.connection().await?;
        if let Some(GroupBy::Fingerprint) = group_by.0 {
            if status.0.is_some() {
                let detail = "parameter `status`: groups are of rows that are open or redriven; leave it out";
                return Err(Problem::new(Kind::InvalidParameter, detail).into());
            }
            let groups = groups(&mut connection, filter, fingerprint, limit.0).await?;
            let items = groups.into_iter().map(Into::into).collect();
            return Ok(Json(Quarantine::Groups(Groups { items })));
        }
        let cursor = cursor.0.as_deref();
        let page = page(&mut connection, filter, fingerprint, cursor, limit.0).await?;
        Ok(Json(Quarantine::Rows(page)))
    }
}

/// Groups of rows that are there still; of a fingerprint also those of which none is.
///
/// # Errors
/// Database errors.
pub(crate) async fn groups(
    connection: &mut PgConnection,
    filter: RowFilter<'_>,
    fingerprint: Option<Fingerprint>,
    limit: Limit,
) -> Result<Vec<QuarantineGroup>, sqlx::Error> {
    match fingerprint {
        Some(fingerprint) => alike(connection, fingerprint, filter).await,
        None => {
            let RowFilter { source, reason, .. } = filter;
            let filter = GroupFilter { source, reason, field: None };
            quarantine_totals::groups(connection, filter, limit.items()).await
        }
    }
}

/// A page of rows, of one fingerprint or of all.
///
/// # Errors
/// A problem when the cursor is none of such a list, and database errors.
pub(crate) async fn page(
    connection: &mut PgConnection,
    filter: RowFilter<'_>,
    fingerprint: Option<Fingerprint>,
    cursor: Option<&str>,
    limit: Limit,
) -> Result<Page<QuarantinedRow>, Problem> {
    let Some(fingerprint) = fingerprint else {
        let after = cursor.map(after).transpose()?.unwrap_or_default();
        let rows = quarantined_rows::list(connection, filter, &after, limit.rows()).await?;
        return Ok(Page::new(rows, limit, "quarantine", key));
    };
    let cursor = cursor.map(after_alike).transpose()?;
    let rows = rows_alike(connection, fingerprint, filter, cursor, limit.rows()).await?;
    Ok(Page::new(rows, limit, ALIKE, key_alike))
}

/// What cursors of rows of one fingerprint are of.
const ALIKE: &str = "quarantine-alike";

/// A fingerprint that a parameter or an address has.
///
/// # Errors
/// A problem when it is none.
pub(crate) fn fingerprint(text: &str) -> Result<Fingerprint, Problem> {
    let hash = Some(text).filter(|text| text.len() == 32).and_then(|text| text.parse().ok());
    hash.ok_or_else(|| {
        let detail =
            format!("parameter `fingerprint`: {text:?} is none; it has 32 hexadecimal digits");
        Problem::new(Kind::InvalidParameter, detail)
    })
}

/// The groups of a fingerprint that the filter lets through, also those of which no row is there still.
async fn alike(
    connection: &mut PgConnection,
    fingerprint: Fingerprint,
    filter: RowFilter<'_>,
) -> Result<Vec<QuarantineGroup>, sqlx::Error> {
    let groups = quarantine_totals::of_fingerprint(connection, &fingerprint.to_bytes()).await?;
    let fits = |group: &QuarantineGroup| {
        filter.source.is_none_or(|source| source == group.source)
            && filter.reason.is_none_or(|reason| reason == group.reason)
    };
    Ok(groups.into_iter().filter(fits).collect())
}

/// The rows of a fingerprint behind that one of a source.
async fn rows_alike(
    connection: &mut PgConnection,
    fingerprint: Fingerprint,
    filter: RowFilter<'_>,
    cursor: Option<(String, AfterAlike)>,
    limit: i64,
) -> Result<Vec<quarantined_rows::QuarantinedRow>, sqlx::Error> {
    let mut rows = Vec::new();
    // One, unless two sources have the fingerprint by chance.
    for group in alike(&mut *connection, fingerprint, filter).await? {
        let after = match &cursor {
            Some((source, _)) if group.source < *source => continue,
            Some((source, after)) if group.source == *source => after.clone(),
            _ => AfterAlike::default(),
        };
        let (bytes, room) = (fingerprint.to_bytes(), limit - rows.len() as i64);
        let of_source = Alike { source: &group.source, fingerprint: &bytes, status: filter.status };
        rows.extend(quarantine_pages::list(&mut *connection, of_source, &after, room).await?);
    }
    Ok(rows)
}

fn key_alike(row: &quarantined_rows::QuarantinedRow) -> [String; 6] {
    let [source, raw_ref, raw_row, field, reason] = key(row);
    [source, row.status.clone(), raw_ref, raw_row, field, reason]
}

fn after_alike(cursor: &str) -> Result<(String, AfterAlike), Problem> {
    let [source, status, raw_ref, raw_row, field, reason] = pagination::decode(ALIKE, cursor)?;
    let raw_row = pagination::number(&raw_row)?;
    Ok((source, AfterAlike { status, raw_ref, raw_row, field, reason }))
}

/// Where the page of rows that fail alike goes on behind this one.
pub(crate) fn cursor_behind(row: &quarantined_rows::QuarantinedRow) -> String {
    pagination::encode(ALIKE, &key_alike(row))
}

/// What such a cursor says.
///
/// # Errors
/// A problem when it is none of these rows.
pub(crate) fn place_of(cursor: &str) -> Result<AfterAlike, Problem> {
    after_alike(cursor).map(|(_, after)| after)
}

fn key(row: &quarantined_rows::QuarantinedRow) -> [String; 5] {
    [
        row.source.clone(),
        row.raw_ref.clone(),
        row.raw_row.to_string(),
        row.field.clone(),
        row.reason.clone(),
    ]
}

fn after(cursor: &str) -> Result<After, Problem> {
    let [source, raw_ref, raw_row, field, reason] = pagination::decode("quarantine", cursor)?;
    let raw_row = pagination::number(&raw_row)?;
    Ok(After { source, raw_ref, raw_row, field, reason })
}

/// Bytes as text when they are UTF-8, as they are else. A character that was cut through at the
/// end does not make text binary.
pub(crate) fn shown(mut raw: Vec<u8>, cut: bool) -> (Option<String>, Option<Base64<Vec<u8>>>) {
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
