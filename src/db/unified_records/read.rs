//! Owns reading records back, for people.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use super::statements::STATEMENTS;
use crate::domain::record::record_columns;

/// The type of a column's values.
macro_rules! read_as {
    (Text) => { String };
    (Numeric) => { String };
    (Timestamp) => { DateTime<Utc> };
    (Json) => { Value };
}

/// The text of a column's value, for people.
macro_rules! shown {
    (Text, $value:expr) => {
        Value::from($value)
    };
    (Numeric, $value:expr) => {
        Value::from($value)
    };
    (Timestamp, $value:expr) => {
        Value::from($value.to_rfc3339())
    };
    (Json, $value:expr) => {
        $value
    };
}

macro_rules! record {
    ($($(#[$doc:meta])* $column:ident $name:ident: $kind:ident $hashed:ident;)*) => {
        /// A record, for people. Numbers are their digits.
        #[derive(Debug, Clone)]
        pub struct Record {
            /// Name of the source.
            pub source: String,
            /// Its key within the source.
            pub external_id: String,
            $($(#[$doc])* pub $name: Option<read_as!($kind)>,)*
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
            /// When it was marked as deleted: the source does not show it any more, or says so.
            pub deleted_at: Option<DateTime<Utc>>,
            /// The columns whose values are left out here, since the record is too large: there they are
            /// null.
            pub left_out: Vec<String>,
        }

        impl FromRow<'_, PgRow> for Record {
            fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
                Ok(Self {
                    source: row.try_get("source")?,
                    external_id: row.try_get("external_id")?,
                    $($name: row.try_get(stringify!($name))?,)*
                    raw_ref: row.try_get("raw_ref")?,
                    raw_row: row.try_get("raw_row")?,
                    first_run_id: row.try_get("first_run_id")?,
                    last_run_id: row.try_get("last_run_id")?,
                    created_at: row.try_get("created_at")?,
                    updated_at: row.try_get("updated_at")?,
                    deleted_at: row.try_get("deleted_at")?,
                    left_out: row.try_get("left_out")?,
                })
            }
        }

        impl Record {
            /// The mapped columns that have a value, as JSON.
            pub fn into_values(self) -> impl Iterator<Item = (&'static str, Value)> {
                let values = [
                    $((stringify!($name), self.$name.map(|value| shown!($kind, value))),)*
                ];
                values.into_iter().filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}
record_columns!(record);

/// See [`fitting`].
#[derive(Debug, Clone, Copy, FromRow)]
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

/// Which records a page is of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// Only of this source.
    pub source: Option<&'a str>,
    /// With a source: only those whose keys begin so.
    pub prefix: Option<&'a str>,
    /// Also those that are marked as deleted.
    pub deleted: bool,
}

impl<'a> Which<'a> {
    /// The source, the beginning of the keys, and what is behind all keys that begin so.
    fn of_prefix(&self) -> Option<(&'a str, &'a str, String)> {
        let (source, prefix) = (self.source?, self.prefix.filter(|prefix| !prefix.is_empty())?);
        Some((source, prefix, behind_all(prefix)))
    }
}

/// In the order of bytes, what is behind all keys that begin so: the beginning with its last character that has a next
/// one made that.
fn behind_all(prefix: &str) -> String {
    /// More bytes than a key has.
    const LONGER: usize = 4_000;
    let mut rest = prefix;
    while let Some(last) = rest.chars().next_back() {
        rest = &rest[..rest.len() - last.len_utf8()];
        // No character stands for a surrogate.
        let next = (u32::from(last) + 1..=0x0010_FFFF).find_map(char::from_u32);
        if let Some(next) = next {
            return format!("{rest}{next}");
        }
    }
    char::MAX.to_string().repeat(LONGER / 4)
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
    which: Which<'_>,
    after: &After,
    limit: i64,
    bytes: i64,
) -> Result<Fitting, sqlx::Error> {
    let of_prefix = which.of_prefix();
    let statement = match of_prefix {
        Some(_) => &STATEMENTS.fitting_of_prefix,
        None => &STATEMENTS.fitting,
    };
    let query = sqlx::query_as(statement.as_str())
        .bind(which.source)
        .bind(&after.source)
        .bind(&after.external_id)
        .bind(limit)
        .bind(bytes)
        .bind(which.deleted);
    match of_prefix {
        Some((_, prefix, behind)) => query.bind(prefix).bind(behind).fetch_one(executor).await,
        None => query.fetch_one(executor).await,
    }
}

/// A record that has more than this is answered without its largest values, see [`LARGE_VALUE`]. It is
/// less than the 16 MiB that are promised by what is not measured: keys, numbers, short texts' escapes.
const LARGE_RECORD: i32 = (16 << 20) - (700 << 10);
/// A large record's values that are left out have more than this, so that what remains is small.
const LARGE_VALUE: i32 = 2 << 20;

/// Records in key order, behind `after`.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    which: Which<'_>,
    after: &After,
    limit: i64,
) -> Result<Vec<Record>, sqlx::Error> {
    let of_prefix = which.of_prefix();
    let statement = match (&of_prefix, which.source) {
        (Some(_), _) => &STATEMENTS.list_of_prefix,
        (None, Some(_)) => &STATEMENTS.list_of_source,
        (None, None) => &STATEMENTS.list,
    };
    let query = sqlx::query_as(statement.as_str())
        .bind(LARGE_RECORD)
        .bind(LARGE_VALUE)
        .bind(which.source.unwrap_or(&after.source))
        .bind(&after.external_id)
        .bind(limit)
        .bind(which.deleted);
    match of_prefix {
        Some((_, prefix, behind)) => query.bind(prefix).bind(behind).fetch_all(executor).await,
        None => query.fetch_all(executor).await,
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
    sqlx::query_as(STATEMENTS.get.as_str())
        .bind(LARGE_RECORD)
        .bind(LARGE_VALUE)
        .bind(source)
        .bind(external_id)
        .fetch_optional(executor)
        .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_behind_a_beginning_is_behind_all_that_begins_so_and_in_front_of_all_else(
            prefix in "[a\u{7f}\u{80}\u{d7ff}\u{e000}\u{10ffff}]{1,4}",
            rest in "\\PC{0,8}",
            other in "[a\u{7f}\u{80}\u{d7ff}\u{e000}\u{10ffff}b]{1,5}",
        ) {
            let behind = behind_all(&prefix);
            let within = format!("{prefix}{rest}");
            prop_assert!(within < behind);
            let is_within = other.as_str() >= prefix.as_str() && other < behind;
            prop_assert_eq!(is_within, other.starts_with(&prefix));
        }
    }
}
