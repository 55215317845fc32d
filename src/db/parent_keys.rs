//! Owns `parent_keys`: the keys of the children of each parent, by which it is known which of them are gone.

use std::collections::HashSet;

use futures::TryStreamExt;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::run::RunId;

/// Notes which keys a batch has seen of the parents of each lane; sorted hashes.
///
/// # Errors
/// Database errors.
pub async fn note(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    first_slice: i64,
    seen: &[(u32, Vec<u64>)],
) -> Result<(), sqlx::Error> {
    let lanes: Vec<_> = seen.iter().map(|(lane, _)| i64::from(*lane)).collect();
    let bytes = |keys: &Vec<u64>| keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let keys: Vec<Vec<u8>> = seen.iter().map(|(_, keys)| bytes(keys)).collect();
    sqlx::query!(
        "insert into parent_keys (source, parent_key, run_id, first_slice, keys)
         select $1, p.parent_key, $2, $3, seen.keys
         from unnest($4::bigint[], $5::bytea[]) as seen (lane, keys)
         join run_parents as p on p.run_id = $2 and p.lane = seen.lane
         order by p.parent_key
         on conflict (source, parent_key, run_id, first_slice) do update set
            keys = excluded.keys, stale = false",
        source,
        run.0,
        first_slice,
        &lanes,
        &keys,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What parents have lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Whether some are marked as deleted, and had children.
    pub parents: bool,
    /// Whether some were read again since, and may lack children that they had.
    pub children: bool,
}

/// Whether parents, the records of another source, have lost anything.
///
/// # Errors
/// Database errors.
pub async fn losses(
    executor: impl PgExecutor<'_>,
    source: &str,
    of: &str,
) -> Result<Losses, sqlx::Error> {
    sqlx::query_as!(
        Losses,
        r#"select
            exists (
                select 1 from unified_records as u
                join parent_progress as p on p.source = $1 and p.parent_key = u.external_id
                where u.source = $2 and u.deleted_at is not null
            ) as "parents!",
            exists (select 1 from parent_keys where source = $1 and stale) as "children!""#,
        source,
        of,
    )
    .fetch_one(executor)
    .await
}

/// The keys of the children of parents that are deleted, and those that the others had and have no more, where
/// `children` are wanted as well. A key that any other parent has is none of them.
///
/// # Errors
/// Database errors.
pub async fn lost(
    connection: &mut PgConnection,
    (source, of): (&str, &str),
    children: bool,
) -> Result<HashSet<u64>, sqlx::Error> {
    let mut lost = HashSet::new();
    for is_lost in [true, false] {
        let mut rows = sqlx::query_scalar!(
            "select k.keys from parent_keys as k
             left join unified_records as u on u.source = $2 and u.external_id = k.parent_key
                and u.deleted_at is not null
             where k.source = $1 and case when u.external_id is null then k.stale else true end = $3
               and (u.external_id is not null or not k.stale or $4)",
            source,
            of,
            is_lost,
            children,
        )
        .fetch(&mut *connection);
        while let Some(keys) = rows.try_next().await? {
            let keys = keys.as_chunks().0.iter().map(|key| u64::from_le_bytes(*key));
            match is_lost {
                true => lost.extend(keys),
                false => keys.for_each(|key| {
                    lost.remove(&key);
                }),
            }
        }
        if lost.is_empty() {
            break;
        }
    }
    Ok(lost)
}

/// Forgets what parents have lost.
///
/// # Errors
/// Database errors.
pub async fn forget_lost(
    connection: &mut PgConnection,
    source: &str,
    of: &str,
) -> Result<(), sqlx::Error> {
    forget_stale(connection, source).await?;
    sqlx::query!(
        "with gone as (
            delete from parent_progress as p using unified_records as u
            where p.source = $1 and u.source = $2 and u.external_id = p.parent_key
              and u.deleted_at is not null
            returning p.parent_key
         )
         delete from parent_keys as k using gone
         where k.source = $1 and k.parent_key = gone.parent_key",
        source,
        of,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets which children parents had that were read again since.
///
/// # Errors
/// Database errors.
pub async fn forget_stale(connection: &mut PgConnection, source: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from parent_keys where source = $1 and stale", source)
        .execute(connection)
        .await?;
    Ok(())
}
