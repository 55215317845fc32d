//! Owns `field_presence`: what earlier runs of a source had of the fields of its job file.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor};

use crate::domain::presence::Presence;
use crate::domain::run::RunId;

/// What is known of a source, by the job file's names of its fields; nothing before the first run that
/// has read records.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<BTreeMap<String, Presence>, sqlx::Error> {
    let fields = sqlx::query_scalar!("select fields from field_presence where source = $1", source)
        .fetch_optional(executor)
        .await?;
    let fields = fields.map(serde_json::from_value).transpose();
    Ok(fields.map_err(|error| sqlx::Error::Decode(error.into()))?.unwrap_or_default())
}

/// Puts what is known now in its place.
///
/// # Errors
/// Database errors.
pub async fn put(
    connection: &mut PgConnection,
    source: &str,
    fields: &BTreeMap<String, Presence>,
    run: RunId,
) -> Result<(), sqlx::Error> {
    let fields = serde_json::to_value(fields).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        "insert into field_presence (source, fields, run_id) values ($1, $2, $3)
         on conflict (source) do update set fields = excluded.fields, run_id = excluded.run_id",
        source,
        fields,
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}
