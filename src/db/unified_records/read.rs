//! Owns reading records back, for people.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

/// A record, for people. Numbers are their digits.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the source.
    pub source: String,
    /// Its key within the source.
    pub external_id: String,
    /// See the mapping.
    pub name: Option<String>,
    /// See the mapping.
    pub description: Option<String>,
    /// See the mapping.
    pub category: Option<String>,
    /// Digits of a decimal number.
    pub price: Option<String>,
    /// See the mapping.
    pub currency: Option<String>,
    /// Digits of a decimal number.
    pub quantity: Option<String>,
    /// See the mapping.
    pub url: Option<String>,
    /// When the source says it changed.
    pub source_updated_at: Option<DateTime<Utc>>,
    /// The mapped fields without a column of their own.
    pub attributes: Option<Value>,
    /// The raw payload it came from.
    pub raw_ref: String,
    /// The row within it.
    pub raw_row: i64,
    /// The run that inserted it.
    pub first_run_id: i64,
    /// The run that changed it last.
    pub last_run_id: i64,
    /// When it was inserted.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// The columns whose values are left out here, since the record is too large: there they are null.
    pub left_out: Vec<String>,
}

/// See [`fitting`].
#[derive(Debug, Clone, Copy)]
pub struct Fitting {
    /// The records that fit.
    pub rows: i64,
    /// Whether there are more below the limit of records.
    pub cut: bool,
}

/// Where a page of records starts: behind this key.
#[derive(Debug, Clone, Default)]
pub struct After {
    /// Name of the source.
    pub source: String,
    /// Key within it.
    pub external_id: String,
}

/// Whether a source has any record.
///
/// # Errors
/// Database errors.
pub async fn any(executor: impl PgExecutor<'_>, source: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from unified_records where source = $1) as "any!""#,
        source,
    )
    .fetch_one(executor)
    .await
}

/// How many of the records that [`list`] would give fit into a response of `bytes`, one at least, and
/// whether any does not.
///
/// # Errors
/// Database errors.
pub async fn fitting(
    executor: impl PgExecutor<'_>,
    source: Option<&str>,
    after: &After,
    limit: i64,
    bytes: i64,
) -> Result<Fitting, sqlx::Error> {
    sqlx::query_file_as!(
        Fitting,
        "src/db/unified_records/fitting.sql",
        source,
        after.source,
        after.external_id,
        limit,
        bytes,
    )
    .fetch_one(executor)
    .await
}

/// A record that has more than this is answered without its largest values, see [`LARGE_VALUE`]. It is
/// less than the 16 MiB that are promised by what is not measured: keys, numbers, short texts' escapes.
const LARGE_RECORD: i32 = (16 << 20) - (700 << 10);
/// A large record's values that are left out have more than this, so that what remains is small.
const LARGE_VALUE: i32 = 2 << 20;

/// Selects records for people. Sizes are those of JSON: in it a control character has six bytes, and
/// numbers of attributes are written out. Texts that are short, or large however they are written, need
/// not be read for it. `$1` is [`LARGE_RECORD`], `$2` [`LARGE_VALUE`].
macro_rules! select_records {
    ($which:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Record,
            r#"select source, external_id,
                case when name_bytes > most then null else name end as name,
                case when description_bytes > most then null else description end as description,
                case when category_bytes > most then null else category end as category,
                price::text,
                case when currency_bytes > most then null else currency end as currency,
                quantity::text,
                case when url_bytes > most then null else url end as url,
                source_updated_at,
                case when attributes_bytes > most then null else attributes end as attributes,
                raw_ref, raw_row, first_run_id, last_run_id, created_at, updated_at,
                array_remove(array[
                    case when name_bytes > most then 'name' end,
                    case when description_bytes > most then 'description' end,
                    case when category_bytes > most then 'category' end,
                    case when currency_bytes > most then 'currency' end,
                    case when url_bytes > most then 'url' end,
                    case when attributes_bytes > most then 'attributes' end
                ], null) as "left_out!"
             from (
                select *,
                    case
                        when coalesce(name_bytes, 0)::bigint + coalesce(description_bytes, 0)
                            + coalesce(category_bytes, 0) + coalesce(currency_bytes, 0)
                            + coalesce(url_bytes, 0) + attributes_bytes > $1::integer
                        then $2::integer
                    end as most
                from (
                    select *,
                        case when octet_length(name) between 10000 and 16777216
                            then octet_length(to_json(name)::text) else octet_length(name)
                        end as name_bytes,
                        case when octet_length(description) between 10000 and 16777216
                            then octet_length(to_json(description)::text) else octet_length(description)
                        end as description_bytes,
                        case when octet_length(category) between 10000 and 16777216
                            then octet_length(to_json(category)::text) else octet_length(category)
                        end as category_bytes,
                        case when octet_length(currency) between 10000 and 16777216
                            then octet_length(to_json(currency)::text) else octet_length(currency)
                        end as currency_bytes,
                        case when octet_length(url) between 10000 and 16777216
                            then octet_length(to_json(url)::text) else octet_length(url)
                        end as url_bytes,
                        coalesce(octet_length(attributes::text), 0) as attributes_bytes
                    from unified_records "# + $which + r#"
                    offset 0
                ) as sized
             ) as judged
             order by source, external_id"#,
            LARGE_RECORD,
            LARGE_VALUE
            $(, $argument)*
        )
    };
}

/// Records in key order, behind `after`, of one source or of all.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    source: Option<&str>,
    after: &After,
    limit: i64,
) -> Result<Vec<Record>, sqlx::Error> {
    match source {
        Some(source) => {
            select_records!(
                "where source = $3 and external_id > $4 order by external_id limit $5",
                source,
                after.external_id,
                limit
            )
            .fetch_all(executor)
            .await
        }
        None => {
            select_records!(
                "where (source, external_id) > ($3, $4) order by source, external_id limit $5",
                after.source,
                after.external_id,
                limit
            )
            .fetch_all(executor)
            .await
        }
    }
}

/// One record.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    source: &str,
    external_id: &str,
) -> Result<Option<Record>, sqlx::Error> {
    select_records!("where source = $3 and external_id = $4", source, external_id)
        .fetch_optional(executor)
        .await
}
