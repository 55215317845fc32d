//! Owns `unchanged_pages`: the API pages that would change nothing if they were normalized once more.
//!
//! A row says that each record of the page is in `unified_records` exactly as the page has it. It
//! stays true because code that changes records of the source also reports their keys here.

use futures::TryStreamExt;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::stored_hash;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::presence::Gaps;
use crate::domain::reason_tally::ReasonTally;
use crate::domain::run::RunId;

/// The most records of a source whose pages are kept: each change looks through all their keys.
const MOST_RECORDS: i64 = 1_000_000;

/// A page that would change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnchangedPage {
    /// The hash that it is kept under.
    pub hash: StoredHash,
    /// The hash of the key of each row that is a record.
    pub keys: Vec<u64>,
    /// Rows of it that were set aside.
    pub quarantined: i64,
    /// Why they were.
    pub reasons: ReasonTally,
    /// What its records lack.
    pub gaps: Gaps,
}

/// Those of these pages that say nothing new under a mapping.
///
/// # Errors
/// Database errors.
pub async fn among(
    executor: impl PgExecutor<'_>,
    source: &str,
    mapping: ContentHash,
    pages: &[StoredHash],
) -> Result<Vec<UnchangedPage>, sqlx::Error> {
    let rows = sqlx::query!(
        // Nobody knows reasons and gaps of pages that an earlier version stored: they are normalized
        // once more.
        r#"select page_hash, keys, quarantined, reasons, gaps as "gaps!" from unchanged_pages
         where source = $1 and mapping_hash = $2 and page_hash = any($3)
           and (quarantined = 0 or reasons is not null) and gaps is not null"#,
        source,
        mapping.as_bytes(),
        &bytes_of(pages),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(UnchangedPage {
                hash: stored_hash(&row.page_hash)?,
                keys: keys_of(&row.keys).collect(),
                quarantined: row.quarantined,
                reasons: row
                    .reasons
                    .map(serde_json::from_value)
                    .transpose()
                    .map_err(|error| sqlx::Error::Decode(error.into()))?
                    .unwrap_or_default(),
                gaps: serde_json::from_value(row.gaps)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            })
        })
        .collect()
}

/// The records with these keys, given by their sorted hashes, are not what they were: pages that
/// hold one of them may say something new.
///
/// # Errors
/// Database errors.
pub async fn remove_changed(
    connection: &mut PgConnection,
    source: &str,
    changed: &[u64],
) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut pages = Vec::new();
    let mut stored =
        sqlx::query!("select page_hash, keys from unchanged_pages where source = $1", source)
            .fetch(&mut *connection);
    while let Some(page) = stored.try_next().await? {
        if keys_of(&page.keys).any(|key| changed.binary_search(&key).is_ok()) {
            pages.push(stored_hash(&page.page_hash)?);
        }
    }
    drop(stored);
    if !pages.is_empty() {
        sqlx::query!(
            "delete from unchanged_pages where source = $1 and page_hash = any($2)",
            source,
            &bytes_of(&pages),
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Stores different pages that were normalized and whose records are in the table as they are.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    source: &str,
    mapping: ContentHash,
    run: RunId,
    pages: &[&UnchangedPage],
) -> Result<(), sqlx::Error> {
    if pages.is_empty() {
        return Ok(());
    }
    let hashes: Vec<_> = pages.iter().map(|page| page.hash).collect();
    let records: Vec<_> = pages.iter().map(|page| page.keys.len() as i64).collect();
    let quarantined: Vec<_> = pages.iter().map(|page| page.quarantined).collect();
    let reasons = pages
        .iter()
        .map(|page| Some(&page.reasons).filter(|reasons| !reasons.is_empty()))
        .map(|reasons| reasons.map(serde_json::to_value).transpose())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let gaps = pages
        .iter()
        .map(|page| serde_json::to_value(&page.gaps))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let keys: Vec<Vec<u8>> = pages
        .iter()
        .map(|page| page.keys.iter().flat_map(|key| key.to_le_bytes()).collect())
        .collect();
    sqlx::query!(
        "insert into unchanged_pages (source, mapping_hash, run_id, page_hash, records, quarantined,
                                    keys, reasons, gaps)
         select $1, $2, $3, p.*
         from unnest($4::bytea[], $5::bigint[], $6::bigint[], $7::bytea[], $9::jsonb[],
                     $10::jsonb[]) as p
         where (select coalesce(sum(records), 0)::bigint from unchanged_pages where source = $1)
               < $8
         on conflict (source, page_hash) do update set
            mapping_hash = excluded.mapping_hash,
            run_id = excluded.run_id,
            records = excluded.records,
            quarantined = excluded.quarantined,
            keys = excluded.keys,
            reasons = excluded.reasons,
            gaps = excluded.gaps",
        source,
        mapping.as_bytes(),
        run.0,
        &bytes_of(&hashes),
        &records,
        &quarantined,
        &keys,
        MOST_RECORDS,
        &reasons as &[Option<Value>],
        &gaps,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the pages of a source that a run did not read: they may never come again.
///
/// # Errors
/// Database errors.
pub async fn forget_unread(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from unchanged_pages
         where source = $1 and 'page/' || encode(page_hash, 'hex') not in (
            select result ->> 'raw' from run_tasks
            where run_id = $2 and role = 'read' and result ->> 'raw' is not null
         )",
        source,
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of the pages of a source that are unchanged under one mapping that they are so under another, which
/// makes the same of their rows; those left out of which rows were set aside.
///
/// # Errors
/// Database errors.
pub async fn carry_over(
    connection: &mut PgConnection,
    source: &str,
    from: ContentHash,
    to: ContentHash,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update unchanged_pages set mapping_hash = $3
         where source = $1 and mapping_hash = $2 and quarantined = 0",
        source,
        from.as_bytes(),
        to.as_bytes(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all pages of a source: its records are about to be changed by code that does not update this table.
///
/// # Errors
/// Database errors.
pub async fn forget(connection: &mut PgConnection, source: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from unchanged_pages where source = $1", source)
        .execute(connection)
        .await?;
    Ok(())
}

fn bytes_of(hashes: &[StoredHash]) -> Vec<Vec<u8>> {
    hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect()
}

fn keys_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|key| u64::from_le_bytes(*key))
}
