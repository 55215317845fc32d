//! Owns `unique_values` and `unique_fields`: which records of a source have which values of fields that should have
//! one record only, and of which fields that is known.

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

/// A field of which records have the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The field.
    pub field: String,
    /// How many records share their value with another one.
    pub records: i64,
}

/// The values that records of these keys have, and the records that have values of these hashes, as far as they are
/// there and not deleted: the oldest record first.
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
         where r.deleted_at is null
         order by r.first_run_id, r.created_at, r.raw_row, r.external_id"#,
        source,
        keys,
        hashes,
        fields,
    )
    .fetch_all(executor)
    .await
}

/// Notes that these are the fields whose values are known. Says whether they were others before, or not known.
///
/// # Errors
/// Database errors.
pub async fn note_fields(
    executor: impl PgExecutor<'_>,
    source: &str,
    fields: &[String],
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into unique_fields (source, fields) values ($1, $2)
         on conflict (source) do update set fields = excluded.fields
         where unique_fields.fields <> excluded.fields",
        source,
        fields,
    )
    .execute(executor)
    .await?;
    Ok(written.rows_affected() > 0)
}

/// Nothing is known of the values of a source any more.
///
/// # Errors
/// Database errors.
pub async fn forget(executor: impl PgExecutor<'_>, source: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with noted as (delete from unique_fields where source = $1 returning source)
         delete from unique_values where source in (select source from noted)",
        source,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Takes the values of these fields from the records as they are kept, in place of what was known. The hash is the one
/// that mapping makes ([`crate::mapping::UniqueValue`]).
///
/// # Errors
/// Database errors.
pub async fn refill(
    connection: &mut PgConnection,
    source: &str,
    fields: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from unique_values where source = $1", source)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into unique_values (source, field, value_hash, external_id)
         select r.source, f.field, substring(sha256(convert_to(v.value, 'UTF8')) from 1 for 16), r.external_id
         from unified_records as r
         cross join unnest($2::text[]) as f (field)
         cross join lateral (select case f.field
            when 'name' then r.name
            when 'description' then r.description
            when 'category' then r.category
            when 'price' then r.price::text
            when 'currency' then r.currency
            when 'quantity' then r.quantity::text
            when 'url' then r.url
            when 'source_updated_at' then
                (extract(epoch from r.source_updated_at) * 1000000)::bigint::text
            else r.attributes ->> f.field
         end) as v (value)
         where r.source = $1 and r.deleted_at is null and v.value is not null",
        source,
        fields,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fields of which records have the same values, right after [`refill`].
///
/// # Errors
/// Database errors.
pub async fn shared(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Vec<Shared>, sqlx::Error> {
    sqlx::query_as!(
        Shared,
        r#"select field, sum(records)::bigint as "records!" from (
            select field, count(*) as records from unique_values
            where source = $1 group by field, value_hash having count(*) > 1
         ) as v group by field order by field"#,
        source,
    )
    .fetch_all(executor)
    .await
}

/// Records of these keys have these values now, and no others. Writes only what differs.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    source: &str,
    keys: &[String],
    values: &[Owned],
) -> Result<(), sqlx::Error> {
    let fields: Vec<String> = values.iter().map(|value| value.field.clone()).collect();
    let hashes: Vec<Vec<u8>> = values.iter().map(|value| value.hash.clone()).collect();
    let owners: Vec<String> = values.iter().map(|value| value.external_id.clone()).collect();
    sqlx::query!(
        "delete from unique_values as u
         where u.source = $1 and u.external_id = any($2)
           and (u.field, u.value_hash, u.external_id) not in
               (select v.* from unnest($3::text[], $4::bytea[], $5::text[]) as v)",
        source,
        keys,
        &fields,
        &hashes,
        &owners,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into unique_values (source, field, value_hash, external_id)
         select $1, v.* from unnest($2::text[], $3::bytea[], $4::text[]) as v
         on conflict do nothing",
        source,
        &fields,
        &hashes,
        &owners,
    )
    .execute(connection)
    .await?;
    Ok(())
}
