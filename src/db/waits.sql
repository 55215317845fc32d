with recursive
-- Who waits for a lock, and who is in the way: also by standing before them in the queue.
blocked as materialized (
    select waiting.pid, unnest(pg_blocking_pids(waiting.pid)) as by
    from (select distinct pid from pg_locks where not granted) waiting
),
-- From each of ours on to those who wait for nobody themselves.
way as (
    select blocked.pid as ours, blocked.pid as before, blocked.by
    from blocked
    join pg_stat_activity a using (pid)
    where a.datname = current_database() and a.application_name like 'kasparro%'
    union
    select way.ours, blocked.pid, blocked.by
    from way
    join blocked on blocked.pid = way.by
),
ends as (
    select way.by, way.before, max(extract(epoch from clock_timestamp() - own.waitstart))::float8 as seconds
    from way
    join pg_locks own on own.pid = way.ours and not own.granted
    where not exists (select 1 from blocked where blocked.pid = way.by)
    group by way.by, way.before
)
-- Of each holder what has been waited for longest.
select distinct on (ends.by)
    ends.by as pid,
    coalesce(nullif(holder.application_name, ''), nullif(holder.backend_type, 'client backend')) as program,
    holder.usename::text as "user",
    holder.xact_start as since,
    coalesce(holder.state like 'idle in transaction%', false) as idle,
    -- Who waits for a row waits for a transaction, and has the row itself at hand.
    coalesce(lock.relation, held.relation)::regclass::text as relation,
    lock.locktype as kind,
    ends.seconds
from ends
left join pg_stat_activity holder on holder.pid = ends.by
left join lateral (
    select l.locktype, l.relation from pg_locks l where l.pid = ends.before and not l.granted limit 1
) lock on true
left join lateral (
    select l.relation from pg_locks l where l.pid = ends.before and l.granted and l.locktype = 'tuple' limit 1
) held on true
where ends.seconds >= $1
order by ends.by, ends.seconds desc
