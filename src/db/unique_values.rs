//! Owns `unique_values` and `unique_fields`: which records of a source have which values of fields that should have
//! one record only, and of which fields that is known.

use sqlx::{PgConnection, PgExecutor};

/// A value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueOwner {
    /// The field.
    pub field: String,
    /// The hash of the value.
    pub hash: Vec<u8>,
    /// The record.
    pub external_id: String,
}

/// A field of which records have the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicatedValues {
    /// The field.
    pub field: String,
    /// How many records share their value with another one.
    pub records: i64,
}

/// The values that records of these keys have; and of each of these values, given by fields and hashes, the oldest record
/// that has it and is none of these nor of the `left_out`. Only records that are there and not deleted; the oldest first. To be called
/// in a transaction of its own.
///
/// # Errors
/// Database errors.
pub async fn owners(
    connection: &mut PgConnection,
    source: &str,
    keys: &[&str],
    (fields, hashes): (&[&str], &[&[u8]]),
    left_out: &[&str],
) -> Result<Vec<ValueOwner>, sqlx::Error> {
    // A plan made while the table was small reads all of it for every value.
    sqlx::query!("select set_config('enable_seqscan', 'off', true) as seqscan")
        .fetch_one(&mut *connection)
        .await?;
    // The keys are a hashed set: among those that share a value may be all of the batch.
    sqlx::query_as!(
        ValueOwner,
        r#"select field as "field!", value_hash as "hash!", external_id as "external_id!" from (
            select u.field, u.value_hash, u.external_id, u.created_at, u.raw_row
            from unnest($2::text[]) as k (external_id)
            inner join unique_values as u on u.source = $1 and u.external_id = k.external_id
            inner join unified_records as r on r.source = $1 and r.external_id = k.external_id
            where r.deleted_at is null
            union all
            select v.field, v.value_hash, oldest.external_id, oldest.created_at, oldest.raw_row
            from unnest($3::text[], $4::bytea[]) as v (field, value_hash)
            cross join lateral (
                select u.external_id, u.created_at, u.raw_row from unique_values as u
                where u.source = $1 and u.field = v.field and u.value_hash = v.value_hash
                  and u.external_id not in (select unnest($2::text[] || $5::text[]))
                  and exists (
                    select 1 from unified_records as r
                    where r.source = $1 and r.external_id = u.external_id and r.deleted_at is null
                  )
                order by u.created_at, u.raw_row, u.external_id
                limit 1
            ) as oldest
         ) as known
         order by created_at, raw_row, external_id"#,
        source,
        keys as &[&str],
        fields as &[&str],
        hashes as &[&[u8]],
        left_out as &[&str],
    )
    .fetch_all(connection)
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
        "insert into unique_values (source, field, value_hash, external_id, created_at, raw_row)
         select r.source, f.field, substring(sha256(convert_to(v.value, 'UTF8')) from 1 for 16), r.external_id,
            r.created_at, r.raw_row
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
pub async fn duplicated(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Vec<DuplicatedValues>, sqlx::Error> {
    sqlx::query_as!(
        DuplicatedValues,
        r#"select field, sum(records)::bigint as "records!" from (
            select field, count(*) as records from unique_values
            where source = $1 group by field, value_hash having count(*) > 1
         ) as v group by field order by field"#,
        source,
    )
    .fetch_all(executor)
    .await
}

/// Records of these keys, all of which are there, have these values now, each field one at most, and no others. Writes
/// only what differs.
///
/// # Errors
/// Database errors.
pub async fn store(
    connection: &mut PgConnection,
    source: &str,
    keys: &[&str],
    (fields, hashes, owners): (&[&str], &[&[u8]], &[&str]),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from unique_values as u
         where u.source = $1 and u.external_id = any($2)
           and (u.field, u.value_hash, u.external_id) not in
               (select v.* from unnest($3::text[], $4::bytea[], $5::text[]) as v)",
        source,
        keys as &[&str],
        fields as &[&str],
        hashes as &[&[u8]],
        owners as &[&str],
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into unique_values (source, field, value_hash, external_id, created_at, raw_row)
         select $1, v.field, v.value_hash, v.external_id, r.created_at, r.raw_row
         from unnest($2::text[], $3::bytea[], $4::text[]) as v (field, value_hash, external_id)
         inner join unified_records as r on r.source = $1 and r.external_id = v.external_id
         on conflict do nothing",
        source,
        fields as &[&str],
        hashes as &[&[u8]],
        owners as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}
