//! Owns the look-up of a batch's keys: which of them the table does not hold as they are.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::groups::groups;
use super::still_deleted::StillDeleted;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::record::{RecordBatch, RecordView};
use crate::domain::repeated_keys::Place;
use crate::domain::run::RunId;

/// What the table holds of the keys of a batch.
#[derive(Debug, Default)]
pub(super) struct Probed {
    /// The hash of what each group's key has, in group order.
    pub stored: Vec<Option<ContentHash>>,
    /// The groups whose keys got another content from an earlier row of the same run, and that row; if asked for, the same one
    /// as well.
    pub of_run: HashMap<usize, Place>,
    /// The groups whose keys the same run has changed before, and what that was.
    pub changed: HashMap<usize, Changed>,
}

/// What earlier rows of a run have done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    /// What the key had before the run, if it was there.
    pub from: Option<ContentHash>,
    /// How many rows were counted as updates.
    pub updates: i64,
}

/// Looks the keys of a batch up. `also_equal` says that those are wanted, too, that have their content from the same run. What
/// records that are still deleted have is what they had before they were marked.
pub(super) async fn probe(
    connection: &mut PgConnection,
    (source, run): (&str, RunId),
    batch: &RecordBatch,
    order: &[usize],
    also_equal: bool,
    still_deleted: &StillDeleted,
) -> Result<Probed, sqlx::Error> {
    let lasts = || groups(batch, order).filter_map(|g| g.last()).map(|row| batch.get(*row));
    let keys: Vec<&str> = lasts().map(RecordView::external_id).collect();
    let hashes: Vec<_> = lasts().map(RecordView::content_hash).collect();
    // Of keys whose rows differ it is asked what the run has done to them, whatever the last row says.
    let differ = |group: &[usize]| {
        group
            .windows(2)
            .any(|two| batch.get(two[0]).content_hash() != batch.get(two[1]).content_hash())
    };
    let sent = groups(batch, order).zip(&hashes);
    let sent: Vec<&[u8]> =
        sent.map(|(group, hash)| if differ(group) { &[][..] } else { hash.as_bytes() }).collect();
    let dense = is_dense(&mut *connection, source, &keys).await?;
    // A plan made while the table was small reads all of it for every key.
    sqlx::query!(
        "select set_config('enable_seqscan', 'off', true) as seqscan,
                set_config('enable_nestloop', $1, true) as nestloop",
        if dense { "off" } else { "on" },
    )
    .fetch_one(&mut *connection)
    .await?;
    let different = match dense {
        true => {
            different_in_range(&mut *connection, (source, run), &keys, &sent, also_equal).await?
        }
        false => different(&mut *connection, (source, run), &keys, &sent, also_equal).await?,
    };
    sqlx::query!(
        "select set_config('enable_seqscan', 'on', true) as seqscan,
                set_config('enable_nestloop', 'on', true) as nestloop"
    )
    .fetch_one(connection)
    .await?;
    let groups: Vec<_> = groups(batch, order).collect();
    let mut stored: Vec<_> = hashes.into_iter().map(Some).collect();
    let mut scratch = Vec::new();
    let (mut of_run, mut changed) = (HashMap::new(), HashMap::new());
    for Different { position, content_hash, raw_ref, raw_row, hash_before_run, updates_in_run } in
        different
    {
        let at = position as usize - 1;
        let last = stored[at];
        stored[at] = content_hash.map(|hash| {
            let is_deleted = groups[at].iter().any(|row| still_deleted.rows.contains(row));
            let was = is_deleted.then(|| before_deletion(batch, groups[at], &hash));
            was.flatten().unwrap_or_else(|| known(batch, groups[at], &hash, &mut scratch))
        });
        if let Some((raw, row)) = raw_ref.zip(raw_row) {
            let from = hash_before_run.map(|hash| known(batch, groups[at], &hash, &mut scratch));
            let updates = updates_in_run.unwrap_or_default().into();
            changed.insert(at, Changed { from, updates });
            if also_equal || stored[at] != last {
                of_run.insert(at, Place { raw, row });
            }
        }
    }
    Ok(Probed { stored, of_run, changed })
}

/// The content hash of what is stored. An old kind of hash tells whether a row of the group says the
/// same; what none of them says has a hash that none of them has.
fn known(batch: &RecordBatch, group: &[usize], hash: &[u8], scratch: &mut Vec<u8>) -> ContentHash {
    let rows = || group.iter().map(|row| batch.get(*row));
    match StoredHash::from_bytes(hash) {
        Some(StoredHash::Blake3(hash)) => hash,
        Some(old) => rows()
            .find(|row| row.is_content_of(old, scratch))
            .map_or_else(|| ContentHash::of(hash), RecordView::content_hash),
        None => ContentHash::of(hash),
    }
}

/// The content hash that one of the rows has whose record was marked as deleted with this one.
fn before_deletion(batch: &RecordBatch, group: &[usize], hash: &[u8]) -> Option<ContentHash> {
    let mut rows = group.iter().map(|row| batch.get(*row).content_hash());
    // As `missing_records::mark_deleted` makes it.
    let marked = |of: &ContentHash| {
        Sha256::new().chain_update(of.as_bytes()).chain_update("deleted").finalize()
    };
    rows.find(|of| marked(of)[..] == *hash)
}

/// A key that is new, or whose content is another than the one that was sent, or is asked for. Most keys of a file that is read again are
/// unchanged; those are not returned.
struct Different {
    /// Its place among the keys, from 1.
    position: i64,
    /// The stored hash.
    content_hash: Option<Vec<u8>>,
    /// The row that its content came from, when that was in the same run.
    raw_ref: Option<String>,
    raw_row: Option<i64>,
    /// What the run has done to it, if it has.
    hash_before_run: Option<Vec<u8>>,
    updates_in_run: Option<i32>,
}

/// Whether the table holds few other keys between the first and the last of these: then reading
/// that range of the index costs a fraction of looking each key up. The keys are sorted.
async fn is_dense(
    connection: &mut PgConnection,
    source: &str,
    keys: &[&str],
) -> Result<bool, sqlx::Error> {
    let [first, .., last] = keys else { return Ok(false) };
    let most = 2 * keys.len() as i64;
    let within = sqlx::query_scalar!(
        r#"select count(*) as "within!" from (
            select 1 from unified_records
            where source = $1 and external_id between $2 and $3
            limit $4
         ) as r"#,
        source,
        first,
        last,
        most,
    )
    .fetch_one(connection)
    .await?;
    Ok(within < most)
}

async fn different_in_range(
    connection: &mut PgConnection,
    (source, run): (&str, RunId),
    keys: &[&str],
    hashes: &[&[u8]],
    also_equal: bool,
) -> Result<Vec<Different>, sqlx::Error> {
    sqlx::query_as!(
        Different,
        r#"select p.position as "position!", r.content_hash as "content_hash?",
            case when r.last_run_id = $6 then r.raw_ref end as raw_ref,
            case when r.last_run_id = $6 then r.raw_row end as raw_row,
            case when r.last_run_id = $6 then r.hash_before_run end as hash_before_run,
            case when r.last_run_id = $6 then r.updates_in_run end as updates_in_run
         from unnest($2::text[], $3::bytea[]) with ordinality
            as p (external_id, content_hash, position)
         left join (
            select external_id, content_hash, last_run_id, raw_ref, raw_row, hash_before_run, updates_in_run
            from unified_records
            where source = $1 and external_id between $4 and $5
         ) as r on r.external_id = p.external_id
         where r.content_hash is distinct from p.content_hash or $7 and r.last_run_id = $6"#,
        source,
        keys as &[&str],
        hashes as &[&[u8]],
        keys.first().copied(),
        keys.last().copied(),
        run.0,
        also_equal,
    )
    .fetch_all(connection)
    .await
}

async fn different(
    connection: &mut PgConnection,
    (source, run): (&str, RunId),
    keys: &[&str],
    hashes: &[&[u8]],
    also_equal: bool,
) -> Result<Vec<Different>, sqlx::Error> {
    sqlx::query_as!(
        Different,
        r#"select p.position as "position!", r.content_hash as "content_hash?",
            case when r.last_run_id = $4 then r.raw_ref end as raw_ref,
            case when r.last_run_id = $4 then r.raw_row end as raw_row,
            case when r.last_run_id = $4 then r.hash_before_run end as hash_before_run,
            case when r.last_run_id = $4 then r.updates_in_run end as updates_in_run
         from unnest($2::text[], $3::bytea[]) with ordinality
            as p (external_id, content_hash, position)
         left join lateral (
            select content_hash, last_run_id, raw_ref, raw_row, hash_before_run, updates_in_run
            from unified_records
            where source = $1 and external_id = p.external_id
            limit 1
         ) as r on true
         where r.content_hash is distinct from p.content_hash or $5 and r.last_run_id = $4"#,
        source,
        keys as &[&str],
        hashes as &[&[u8]],
        run.0,
        also_equal,
    )
    .fetch_all(connection)
    .await
}
