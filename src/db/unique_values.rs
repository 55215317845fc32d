//! Owns `unique_values`: which record of a source has a value that no other may have.

use sqlx::{PgConnection, PgExecutor};

/// A value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The field.
    pub field: String,
    /// The hash of the value.
    pub hash: Vec<u8>,
    /// The record.
    pub external_id: String,
}

/// The values that records of these keys have, and the records that have values of these hashes, as far as they are
/// there and not deleted.
///
/// # Errors
/// Database errors.
pub async fn known(
    executor: impl PgExecutor<'_>,
    source: &str,
    keys: &[String],
    hashes: &[Vec<u8>],
    fields: &[String],
) -> Result<Vec<Owned>, sqlx::Error> {
    sqlx::query_as!(
        Owned,
        r#"select v.field as "field!", v.value_hash as "hash!", v.external_id as "external_id!" from (
            select field, value_hash, external_id from unique_values
            where source = $1 and external_id = any($2)
            union
            select field, value_hash, external_id from unique_values
            where source = $1 and field = any($4) and value_hash = any($3)
         ) as v
         inner join unified_records as r on r.source = $1 and r.external_id = v.external_id
         where r.deleted_at is null"#,
        source,
        keys,
        hashes,
        fields,
    )
    .fetch_all(executor)
    .await
}

/// Nothing is known of the values of a source any more.
///
/// # Errors
/// Database errors.
pub async fn forget(executor: impl PgExecutor<'_>, source: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from unique_values where source = $1", source).execute(executor).await?;
    Ok(())
}

/// Records of these keys have these values now, and no others.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    source: &str,
    keys: &[String],
    values: &[Owned],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from unique_values where source = $1 and external_id = any($2)",
        source,
        keys,
    )
    .execute(&mut *connection)
    .await?;
    let fields: Vec<String> = values.iter().map(|value| value.field.clone()).collect();
    let hashes: Vec<Vec<u8>> = values.iter().map(|value| value.hash.clone()).collect();
    let owners: Vec<String> = values.iter().map(|value| value.external_id.clone()).collect();
    // Whoever had it is deleted, or has another one now.
    sqlx::query!(
        "insert into unique_values (source, field, value_hash, external_id)
         select $1, v.* from unnest($2::text[], $3::bytea[], $4::text[]) as v
         on conflict (source, field, value_hash) do update set external_id = excluded.external_id",
        source,
        &fields,
        &hashes,
        &owners,
    )
    .execute(connection)
    .await?;
    Ok(())
}
