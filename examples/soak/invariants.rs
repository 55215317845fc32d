//! Owns what must hold whenever nothing is under way, whatever has happened before.
//!
//! Must not know what has happened.

use sqlx::{PgPool, Row};

use crate::world::{Records, World};

/// Each answers a row for everything that must not be.
const NEVER: [(&str, &str); 5] = [
    (
        "a run's rows are inserted, updated, unchanged or set aside",
        "select concat_ws(' ', 'run', id, source, status, rows_read, inserted, updated, unchanged,
            quarantined)
         from etl_runs
         where status in ('success', 'success_with_duplicates', 'degraded')
           and rows_read <> inserted + updated + unchanged + quarantined",
    ),
    (
        "a run that has ended has no open task",
        "select concat_ws(' ', 'run', r.id, r.source, r.status, t.task_key)
         from run_tasks as t join etl_runs as r on r.id = t.run_id
         where t.state = 'open' and r.finished_at is not null",
    ),
    (
        "a record is there once",
        "select concat_ws(' ', source, external_id, count(*))
         from unified_records group by source, external_id having count(*) > 1",
    ),
    (
        "the totals are the sums of the runs",
        "select concat_ws(' ', t.source, t.records, t.rows_read, t.inserted, t.updated,
            t.unchanged, t.quarantined, 'instead of', s.*)
         from source_totals as t
         join (
            select source, sum(rows_read) as rows_read, sum(inserted) as inserted,
                sum(updated) as updated, sum(unchanged) as unchanged,
                sum(quarantined) as quarantined
            from etl_runs where finished_at is not null group by source
         ) as s on s.source = t.source
         where (t.rows_read, t.inserted, t.updated, t.unchanged, t.quarantined)
            <> (s.rows_read, s.inserted, s.updated, s.unchanged, s.quarantined)
           or t.records <> (select count(*) from unified_records as u where u.source = t.source)",
    ),
    (
        "the numbers of runs are right",
        "select concat_ws(' ', coalesce(t.source, r.source), t.status, t.runs, r.status, r.runs)
         from run_totals as t
         full join (
            select source, status, count(*) as runs
            from etl_runs where finished_at is not null group by source, status
         ) as r on (r.source, r.status) = (t.source, t.status)
         where t.runs is distinct from r.runs",
    ),
];

/// Items of the queue that somebody has, or that wait although no run is under way.
pub const LEFT_IN_QUEUE: &str = "select concat_ws(' ', j.id, j.job_type, j.status, j.lock_by,
        j.idempotency_key, j.run_at)
    from apalis.jobs as j where j.status not in ('Done', 'Killed')";

/// What is wrong. `expected` is what the table held when it was last looked at, or put back to; it is
/// brought up to now.
pub async fn broken(
    pool: &PgPool,
    world: &World,
    expected: &mut Records,
) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for (never, query) in NEVER {
        for row in sqlx::query_scalar::<_, String>(query).fetch_all(pool).await? {
            broken.push(format!("{never}: {row}"));
        }
    }
    let query = "select source, external_id, name || ' ' || price::text as content
                 from unified_records";
    let mut found = Records::new();
    for row in sqlx::query(query).fetch_all(pool).await? {
        let content: Option<String> = row.try_get("content")?;
        found.insert((row.try_get(0)?, row.try_get(1)?), content.unwrap_or_default());
    }
    let now = world.records();
    for (key, content) in
        now.iter().chain(expected.iter().filter(|(key, _)| !now.contains_key(*key)))
    {
        match found.get(key) {
            Some(there) if there == content => {}
            // Loaded after the last look, and gone from its source since.
            Some(there) if !now.contains_key(key) && world.has_offered(key, there) => {}
            Some(there) => broken.push(format!("record {key:?} is {there:?}, not {content:?}")),
            None => broken.push(format!("record {key:?} is missing")),
        }
    }
    let known = |key: &(String, String)| now.contains_key(key) || expected.contains_key(key);
    for (key, there) in found.iter().filter(|(key, _)| !known(key)) {
        if !world.has_offered(key, there) {
            broken.push(format!("record {key:?} is in no source"));
        }
    }
    *expected = found;
    Ok(broken)
}
