-- The records of a source that are parents of another's children and are due, in the order of their keys.
--
-- $1 the source of the children, $2 that of the parents, $3 the fields that are wanted, $4 whether all are due,
-- $5 what is asked for them, $6 after how many seconds one is due again, $7 the key behind which to begin,
-- $8 the most, $9 the columns of records, $10 and $11 in how many runs its children could not be read, from and to
select
    u.external_id as "key!", u.content_hash as "hash!",
    (
        select coalesce(jsonb_object_agg(
            wanted.name,
            case
                -- As any session says it.
                when wanted.name = 'source_updated_at' then to_jsonb(
                    to_char(u.source_updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                )
                when wanted.name = any($9::text[]) then to_jsonb(u) -> wanted.name
                else u.attributes -> wanted.name
            end
        ), '{}')
        from unnest($3::text[]) as wanted (name)
    ) as "fields!"
from unified_records as u
left join parent_progress as p on p.source = $1 and p.parent_key = u.external_id
where
    u.source = $2 and u.deleted_at is null and u.external_id > $7
    and coalesce(p.attempts, 0) between $10 and $11
    and (
        $4
        or p.parent_hash is distinct from u.content_hash
        or p.asked is distinct from $5
        or p.done_at < now() - make_interval(secs => $6)
    )
order by u.external_id
limit $8
