//! Owns `parent_progress` and `run_parents`: up to where the children of each parent have been read, and which
//! parents a run asks for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, PgPool};

use crate::domain::parent::{Parent, ParentRecords, PlannedParents, WhichParents};
use crate::domain::record::Column;
use crate::domain::run::RunId;
use crate::domain::slice::SliceId;

/// Parents that are looked at together.
const AT_ONCE: i64 = 1_000;
/// How many slices a lane may have.
const SLICES: i64 = 1 << 32;

/// The parents that a run asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// How many these are.
    pub due: i64,
    /// How many there are in all.
    pub all: i64,
    /// How many of those that are due lack a field without which nothing can be asked for them, by that field. Their
    /// children count as read: there are none until it has a value.
    pub lacking: BTreeMap<String, i64>,
}

/// A parent as its record is.
struct Due {
    key: String,
    hash: Vec<u8>,
    fields: Value,
}

/// In how many runs in a row the children of parents could not be read: from and to.
type Attempts = (i32, i32);

/// The groups of parents that are asked for one after the other: first those whose children could be read, then the
/// others, and what failed most often last. A few that always fail, and end the run by that, would else keep it for
/// ever from those behind them. Within a group they come by their keys; each is twice as wide as the one before.
async fn groups(executor: impl PgExecutor<'_>, source: &str) -> Result<Vec<Attempts>, sqlx::Error> {
    let failed = sqlx::query_scalar!(
        "select distinct attempts from parent_progress where source = $1 and attempts > 0 order by attempts",
        source,
    )
    .fetch_all(executor)
    .await?;
    let mut groups = vec![(0, 0)];
    for attempts in failed {
        if groups.last().is_some_and(|(_, to)| *to < attempts) {
            let from: i32 = 1 << attempts.ilog2();
            groups.push((from, from.saturating_mul(2).saturating_sub(1)));
        }
    }
    Ok(groups)
}

/// Those of a group behind a key that are due, by their keys.
async fn due(
    executor: impl PgExecutor<'_>,
    source: &str,
    (records, asked): (&ParentRecords, &str),
    (group, behind): (Attempts, &str),
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    let columns = Column::SPECS.iter().map(|spec| spec.name.to_owned());
    let columns: Vec<String> = columns.chain(["external_id".to_owned()]).collect();
    sqlx::query_file_as!(
        Due,
        "src/db/due_parents.sql",
        source,
        records.source,
        &records.fields,
        records.all,
        asked,
        records.refresh.map(|refresh| refresh.as_secs_f64()),
        behind,
        most,
        &columns,
        group.0,
        group.1,
    )
    .fetch_all(executor)
    .await
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The first parents that are due, for who only looks.
///
/// # Errors
/// Database errors.
pub async fn first_due(
    pool: &PgPool,
    source: &str,
    planned: &PlannedParents,
    most: i64,
) -> Result<Vec<Parent>, sqlx::Error> {
    match &planned.which {
        WhichParents::Records(records) => {
            let mut first = Vec::new();
            for group in groups(pool, source).await? {
                let (of, left) = ((records, planned.asked.as_str()), most - first.len() as i64);
                let due = due(pool, source, of, (group, ""), left).await?;
                first.extend(
                    due.into_iter().map(|due| Parent { key: due.key, fields: fields(due.fields) }),
                );
            }
            Ok(first)
        }
        WhichParents::These(parents) => Ok(parents.clone()),
    }
}

/// Keeps the parents that a run asks for, as they are now.
///
/// # Errors
/// Database errors.
pub async fn snapshot(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    planned: &PlannedParents,
) -> Result<Snapshot, sqlx::Error> {
    let per_lane = i64::from(planned.per_lane.max(1));
    let mut place = 0;
    let mut lacking = BTreeMap::new();
    match &planned.which {
        WhichParents::These(parents) => {
            let all = parents.len() as i64;
            let mut asked_for = Vec::with_capacity(parents.len());
            for parent in parents {
                match planned.needed.lacking(&parent.fields) {
                    Some(field) => *lacking.entry(field.to_owned()).or_default() += 1,
                    None => asked_for.push(parent),
                }
            }
            for parents in asked_for.chunks(AT_ONCE as usize) {
                let keys: Vec<_> = parents.iter().map(|parent| parent.key.clone()).collect();
                let fields = parents.iter().map(|parent| Value::Object(parent.fields.clone()));
                let kept = Kept { hashes: vec![None; keys.len()], fields: fields.collect(), keys };
                keep(connection, run, (place, per_lane), &kept).await?;
                place += kept.keys.len() as i64;
            }
            Ok(Snapshot { due: place, all, lacking })
        }
        WhichParents::Records(records) => {
            for group in groups(&mut *connection, source).await? {
                let mut behind = String::new();
                loop {
                    let of = (records, planned.asked.as_str());
                    let due = due(&mut *connection, source, of, (group, &behind), AT_ONCE).await?;
                    let Some(last) = due.last() else { break };
                    behind.clone_from(&last.key);
                    let (mut kept, mut left_out) = (Kept::default(), Kept::default());
                    for Due { key, hash, fields } in due {
                        let known = self::fields(fields);
                        let to = match planned.needed.lacking(&known) {
                            Some(field) => {
                                *lacking.entry(field.to_owned()).or_default() += 1;
                                &mut left_out
                            }
                            None => &mut kept,
                        };
                        to.keys.push(key);
                        to.hashes.push(Some(hash));
                        to.fields.push(Value::Object(known));
                    }
                    keep(connection, run, (place, per_lane), &kept).await?;
                    leave_out(connection, source, run, &planned.asked, &left_out).await?;
                    place += kept.keys.len() as i64;
                }
            }
            let all = sqlx::query_scalar!(
                r#"select count(external_id) as "all!" from unified_records
                 where source = $1 and deleted_at is null"#,
                records.source,
            )
            .fetch_one(connection)
            .await?;
            Ok(Snapshot { due: place, all, lacking })
        }
    }
}

/// Notes of parents that they have no children, as they are now.
async fn leave_out(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    asked: &str,
    Kept { keys, hashes, .. }: &Kept,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into parent_progress (source, parent_key, parent_hash, asked, done_run, done_at)
         select $1, key, hash, $3, $2, now() from unnest($4::text[], $5::bytea[]) as left_out (key, hash)
         on conflict (source, parent_key) do update set
            parent_hash = excluded.parent_hash, asked = excluded.asked, done_run = excluded.done_run,
            done_at = excluded.done_at, attempts = 0, failed_run = null, error = null",
        source,
        run.0,
        asked,
        keys,
        hashes as &[Option<Vec<u8>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Parents that are kept together, a list for each column.
#[derive(Default)]
struct Kept {
    keys: Vec<String>,
    hashes: Vec<Option<Vec<u8>>>,
    fields: Vec<Value>,
}

async fn keep(
    connection: &mut PgConnection,
    run: RunId,
    (place, per_lane): (i64, i64),
    kept: &Kept,
) -> Result<(), sqlx::Error> {
    let Kept { keys, hashes, fields } = kept;
    sqlx::query!(
        "insert into run_parents (run_id, lane, place, parent_key, parent_hash, fields)
         select $1, ($2 + nth - 1) / $3, $2 + nth - 1, key, hash, fields
         from unnest($4::text[], $5::bytea[], $6::jsonb[]) with ordinality as due (key, hash, fields, nth)",
        run.0,
        place,
        per_lane,
        keys,
        hashes as &[Option<Vec<u8>>],
        fields,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The parents of a lane of a run, in their order.
///
/// # Errors
/// Database errors.
pub async fn of_lane(
    executor: impl PgExecutor<'_>,
    run: RunId,
    lane: u32,
) -> Result<Vec<Parent>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select parent_key, fields as "fields: Json<Map<String, Value>>" from run_parents
         where run_id = $1 and lane = $2 order by place"#,
        run.0,
        i64::from(lane),
    )
    .fetch_all(executor)
    .await?;
    let parent = |(key, Json(fields))| Parent { key, fields };
    Ok(rows.into_iter().map(|row| parent((row.parent_key, row.fields))).collect())
}

/// The last lane of a run that has parents; `None` when none has.
///
/// # Errors
/// Database errors.
pub async fn last_lane(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Option<u32>, sqlx::Error> {
    let lane = sqlx::query_scalar!("select max(lane) from run_parents where run_id = $1", run.0)
        .fetch_one(executor)
        .await?;
    Ok(lane.and_then(|lane| u32::try_from(lane).ok()))
}

/// Notes that the children of the parents are in the table whose lanes end within a batch, and have everything: they
/// ended, none of their chains, nor a page that was read on its own, lacks anything, and nothing is read or normalized
/// behind the batch. Those of which one lacks something are not done, whatever was known of them before.
///
/// # Errors
/// Database errors.
pub async fn note_done(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    (first_slice, last_slice): (i64, i64),
    asked: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with lacking_batches as (
            select first_slice, last_slice from run_tasks
            where run_id = $2 and role = 'normalize'
              and first_slice <= $4 and last_slice >= $3::bigint / $6::bigint * $6
              and (state = 'failed' or state = 'done' and result ? 'kept_out')
         ),
         done as (
         insert into parent_progress as known
            (source, parent_key, parent_hash, asked, done_run, done_at)
         select $1, p.parent_key, p.parent_hash, $5, $2, now()
         from run_parents as p
         join (
            select slice / $6 as lane, bool_and(complete) as complete from run_chains
            where run_id = $2 and slice between $3::bigint / $6 * $6 and $4::bigint / $6 * $6 + $6 - 1
            group by 1
         ) as c on c.lane = p.lane
         where p.run_id = $2 and p.lane between $3::bigint / $6 and $4::bigint / $6 and c.complete
           and not exists (
                select 1 from run_tasks as t
                where t.run_id = $2 and t.role = 'read'
                  and (t.state in ('open', 'failed') or t.first_slice > $4 and t.result is not null)
                  and t.first_slice between p.lane * $6 and p.lane * $6 + $6 - 1
           )
           and not exists (
                select 1 from lacking_batches as b
                where b.first_slice < (p.lane + 1) * $6 and b.last_slice >= p.lane * $6
           )
         order by p.parent_key
         on conflict (source, parent_key) do update set
            parent_hash = excluded.parent_hash, asked = excluded.asked, done_run = excluded.done_run,
            done_at = excluded.done_at, attempts = 0, failed_run = null, error = null
         returning parent_key
         ),
         undone as (
            update parent_progress as known set parent_hash = null
            from run_chains as c
            join run_parents as p on p.run_id = c.run_id and p.lane = c.slice / $6
            where c.run_id = $2 and c.slice between $3 and $4 and not c.complete
              and known.source = $1 and known.parent_key = p.parent_key
         ),
         of_several_pages as (
            select done.parent_key from done
            join run_parents as p on p.run_id = $2 and p.parent_key = done.parent_key
            where (
                select count(*) from run_tasks as t
                where t.run_id = $2 and t.role = 'read' and t.state = 'done'
                  and t.first_slice between p.lane * $6 and p.lane * $6 + $6 - 1
            ) > 1
         ),
         forgotten as (
            delete from parent_keys as k using of_several_pages as p
            where k.source = $1 and k.parent_key = p.parent_key and k.run_id <> $2
         )
         update parent_keys as k set stale = true
         from done
         where k.source = $1 and k.parent_key = done.parent_key and k.run_id <> $2 and not k.stale
           and not exists (select 1 from of_several_pages as p where p.parent_key = done.parent_key)",
        source,
        run.0,
        first_slice,
        last_slice,
        asked,
        SLICES,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the children of the parents of a slice's lane could not be read; `alone` says that those of others can.
///
/// # Errors
/// Database errors.
pub async fn note_failed(
    connection: &mut PgConnection,
    (source, run): (&str, RunId),
    slice: SliceId,
    error: &str,
    alone: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with failed as (
            update run_parents set failed = $5 where run_id = $2 and lane = $3
            returning parent_key
         )
         insert into parent_progress as known (source, parent_key, attempts, failed_run, error)
         select $1, parent_key, 1, $2, $4 from failed order by parent_key
         on conflict (source, parent_key) do update set
            parent_hash = null, error = excluded.error, failed_run = excluded.failed_run,
            attempts = known.attempts
                + case when known.failed_run is distinct from excluded.failed_run then 1 else 0 end",
        source,
        run.0,
        i64::from(slice.lane()),
        error,
        alone,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts the failed tasks of a run whose parents failed alone, and notes the number with the run: the database
/// refuses to call it degraded if others failed.
///
/// # Errors
/// Database errors.
pub async fn count_failed_alone(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "update etl_runs set failed_alone = (
            select count(*) from run_tasks as t
            where t.run_id = $1 and t.role = 'read' and t.state = 'failed' and exists (
                select 1 from run_parents as p
                where p.run_id = $1 and p.lane = t.first_slice / $2 and p.failed
            )
         )
         where id = $1 returning failed_alone",
        run.0,
        SLICES,
    )
    .fetch_one(connection)
    .await
}

/// The parents of a run whose children could not be read.
#[derive(Debug, Default)]
pub struct FailedParents {
    /// How many.
    pub count: i64,
    /// The keys of the first few.
    pub keys: Vec<String>,
    /// Why the first one failed.
    pub error: Option<String>,
}

/// Those of a run: a lane with a failed task. Where none failed alone, parents are not what is at fault.
///
/// # Errors
/// Database errors.
pub async fn failed(
    connection: &mut PgConnection,
    run: RunId,
    most: i64,
) -> Result<FailedParents, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select p.parent_key, t.error, count(*) over () as "count!"
         from (
            select distinct on (first_slice / $3) first_slice / $3 as lane, error from run_tasks
            where run_id = $1 and role = 'read' and state = 'failed'
            order by first_slice / $3, first_slice
         ) as t
         join run_parents as p on p.run_id = $1 and p.lane = t.lane
         where exists (select 1 from run_parents where run_id = $1 and failed)
         order by p.place limit $2"#,
        run.0,
        most,
        SLICES,
    )
    .fetch_all(connection)
    .await?;
    Ok(FailedParents {
        count: rows.first().map_or(0, |row| row.count),
        error: rows.first().and_then(|row| row.error.clone()),
        keys: rows.into_iter().map(|row| row.parent_key).collect(),
    })
}

/// Removes the parents of a run that has ended, unless it `may_go_on`, and of the runs of its source before it.
///
/// # Errors
/// Database errors.
pub async fn remove(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
    may_go_on: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from run_parents where run_id in (
            select id from etl_runs
            where source = $1 and id <= $2 and not ($3 and id = $2)
            order by id desc limit 20
         )",
        source,
        run.0,
        may_go_on,
    )
    .execute(connection)
    .await?;
    Ok(())
}
