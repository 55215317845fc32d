//! Owns reading records. Numbers leave as text: JSON readers would round their digits.

use std::io;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::api::http::pagination::{self, Limit, MAX_BYTES, Page};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::unified_records::{self, After, Which};
use crate::domain::source_name::SourceName;

/// A canonical record.
#[derive(Debug, Object)]
#[oai(example)]
pub(crate) struct Record {
    /// Name of the source.
    pub(crate) source: String,
    /// Its key within the source.
    pub(crate) external_id: String,
    #[oai(nullable)]
    pub(crate) name: Option<String>,
    #[oai(nullable)]
    pub(crate) description: Option<String>,
    #[oai(nullable)]
    pub(crate) category: Option<String>,
    /// A decimal number with every digit of the source.
    #[oai(nullable)]
    pub(crate) price: Option<String>,
    #[oai(nullable)]
    pub(crate) currency: Option<String>,
    /// A decimal number with every digit of the source.
    #[oai(nullable)]
    pub(crate) quantity: Option<String>,
    #[oai(nullable)]
    pub(crate) url: Option<String>,
    /// When the source says it changed.
    #[oai(nullable)]
    pub(crate) source_updated_at: Option<DateTime<Utc>>,
    /// The mapped fields that have no column of their own.
    #[oai(nullable)]
    pub(crate) attributes: Option<Value>,
    /// The raw payload it came from: `file/ID` or `page/HASH`.
    pub(crate) raw_ref: String,
    /// The row within it, from 1.
    pub(crate) raw_row: i64,
    /// The run that inserted it.
    pub(crate) first_run_id: i64,
    /// The run that changed it last.
    pub(crate) last_run_id: i64,
    /// When it was inserted.
    pub(crate) created_at: DateTime<Utc>,
    /// When it was changed last.
    pub(crate) updated_at: DateTime<Utc>,
    /// When it was marked as deleted: the source does not show it any more.
    #[oai(nullable)]
    pub(crate) deleted_at: Option<DateTime<Utc>>,
    /// Of a record with more than 16 MiB, the fields whose values have more than 2 MiB: they are null
    /// here, and whole in the table `unified_records`.
    pub(crate) left_out: Vec<String>,
}

/// `GET /records`
struct ListRecords;
impl Declares for ListRecords {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter];
}

/// `GET /records/{source}/{external_id}`
struct GetRecord;
impl Declares for GetRecord {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownRecord];
}

/// Reads a page of records that is bounded in bytes as well as in number.
///
/// # Errors
/// Database errors.
pub(crate) async fn read_page(
    connection: &mut PgConnection,
    which: Which<'_>,
    after: &After,
    limit: Limit,
) -> Result<Page<Record>, sqlx::Error> {
    let most = limit.rows();
    let fitting = unified_records::fitting(&mut *connection, which, after, most, MAX_BYTES).await?;
    let mut rows = unified_records::list(&mut *connection, which, after, fitting.rows).await?;
    let fits = fitting_as_sent(&rows);
    let cut = fitting.cut || fits < rows.len();
    rows.truncate(fits);
    Ok(match cut {
        true => Page::cut(rows, "records", record_key),
        false => Page::new(rows, limit, "records", record_key),
    })
}

fn record_key(row: &unified_records::Record) -> [String; 2] {
    [row.source.clone(), row.external_id.clone()]
}

/// How many of the first records an answer has room for as JSON, one at least: the database does not
/// count what escapes take.
fn fitting_as_sent(rows: &[unified_records::Record]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|row| {
        bytes += sent_bytes(row);
        bytes <= MAX_BYTES as u64
    });
    fits.count().max(1).min(rows.len())
}

/// The length of a record as JSON.
fn sent_bytes(row: &unified_records::Record) -> u64 {
    /// More than names, numbers and times take.
    const REST: u64 = 500;
    let texts = (&row.name, &row.description, &row.category, &row.currency, &row.url);
    let others = (&row.source, &row.external_id, &row.price, &row.quantity, &row.raw_ref);
    let mut counted = Counted(REST);
    let parts = (texts, others, &row.attributes, &row.left_out);
    // Neither writing nor these types can fail.
    let _ = serde_json::to_writer(&mut counted, &parts);
    counted.0
}

/// Counts what is written to it.
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The operations on records.
pub(crate) struct RecordsApi;

#[OpenApi(tag = "Tag::Records")]
impl RecordsApi {
    /// List records
    ///
    /// In the order of source and key. A page ends before its limit when its records are large: go on
    /// with its `next_cursor`.
    #[oai(path = "/records", method = "get", operation_id = "list_records")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        /// Only records of this source.
        source: Query<Option<SourceName>>,
        /// With `source`: only records whose keys begin so.
        prefix: Query<Option<String>>,
        /// Also records that are marked as deleted.
        #[oai(default)]
        deleted: Query<bool>,
        /// The most records to answer.
        #[oai(default)]
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Record>>, Refusal<ListRecords>> {
        let after = match cursor.0 {
            Some(cursor) => pagination::decode("records", &cursor)
                .map(|[source, external_id]| After { source, external_id })?,
            None => After::default(),
        };
        let source = source.0.as_ref().map(SourceName::as_str);
        let which = Which { source, prefix: prefix.0.as_deref(), deleted: deleted.0 };
        if which.prefix.is_some() && source.is_none() {
            let detail = "parameter `prefix` goes with `source`: keys are those of one";
            return Err(Problem::new(Kind::InvalidParameter, detail).into());
        }
        if which.prefix.is_some_and(|prefix| prefix.contains('\0')) {
            // PostgreSQL's text cannot hold it, so no key begins so.
            return Ok(Json(Page::new(Vec::new(), limit.0, "records", record_key)));
        }
        let mut connection = state.connection().await?;
        Ok(Json(read_page(&mut connection, which, &after, limit.0).await?))
    }

    /// Show a record
    #[oai(path = "/records/:source/:external_id", method = "get", operation_id = "get_record")]
    async fn get(
        &self,
        state: Data<&ApiState>,
        /// Name of the source.
        source: Path<SourceName>,
        /// The record's key, percent-encoded: `a/b` is `a%2Fb`.
        external_id: Path<String>,
    ) -> Result<Json<Record>, Refusal<GetRecord>> {
        let unknown = || {
            let detail = format!("source {:?} has no record {:?}", source.as_str(), *external_id);
            Problem::new(Kind::UnknownRecord, detail)
        };
        // PostgreSQL's text cannot hold U+0000, and would not even compare with it.
        if external_id.contains('\0') {
            return Err(unknown().into());
        }
        let mut connection = state.connection().await?;
        let row = unified_records::get(&mut *connection, source.as_str(), &external_id).await?;
        Ok(Json(row.ok_or_else(unknown)?.into()))
    }
}

impl From<unified_records::Record> for Record {
    fn from(row: unified_records::Record) -> Self {
        Self {
            source: row.source,
            external_id: row.external_id,
            name: row.name,
            description: row.description,
            category: row.category,
            price: row.price,
            currency: row.currency,
            quantity: row.quantity,
            url: row.url,
            source_updated_at: row.source_updated_at,
            attributes: row.attributes,
            raw_ref: row.raw_ref,
            raw_row: row.raw_row,
            first_run_id: row.first_run_id,
            last_run_id: row.last_run_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
            deleted_at: row.deleted_at,
            left_out: row.left_out,
        }
    }
}

impl Example for Record {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default();
        Self {
            source: "coingecko_api".to_owned(),
            external_id: "bitcoin".to_owned(),
            name: Some("Bitcoin".to_owned()),
            description: None,
            category: None,
            price: Some("87650.123456789012345678901234567890".to_owned()),
            currency: Some("usd".to_owned()),
            quantity: None,
            url: None,
            source_updated_at: Some(at),
            attributes: Some(json!({ "market_cap_rank": 1 })),
            raw_ref: "page/5f1d7a84db00d2fce00b31a7fc73224f".to_owned(),
            raw_row: 1,
            first_run_id: 41,
            last_run_id: 42,
            created_at: at,
            updated_at: at,
            deleted_at: None,
            left_out: Vec::new(),
        }
    }
}
