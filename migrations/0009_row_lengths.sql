-- Raw blocks name the length of each row instead of the offset behind it: lengths compress, offsets
-- do not. And the view unpacks a block once, not once for each of its rows.
drop view raw_csv_data;

create function row_lengths_of(row_ends integer[]) returns integer[]
language sql immutable
return (
    select coalesce(array_agg(r.row_end - coalesce(row_ends[r.n - 1], 0) order by r.n), '{}')
    from unnest(row_ends) with ordinality as r (row_end, n)
);

alter table raw_csv_blocks
    alter column row_ends type integer[] using row_lengths_of(row_ends);
alter table raw_csv_blocks rename column row_ends to row_lengths;

drop function row_lengths_of;

do $$
begin
    alter table raw_csv_blocks alter column row_lengths set compression lz4;
exception when feature_not_supported then
    raise notice 'this server was built without lz4; raw blocks use pglz';
end
$$;

create view raw_csv_data as
select
    b.source,
    b.run_id,
    f.url as file,
    b.file_id,
    b.first_row + r.n - 1 as row_number,
    b.start_offset + r.row_end - r.length as byte_offset,
    r.payload
from raw_csv_blocks as b
inner join source_files as f on f.id = b.file_id
-- The empty bytes make the server unpack the block, and offset keeps the planner from moving that
-- to each row, or a whole block into what it sorts.
cross join lateral (
    select
        l.n, l.length, l.row_end,
        substring(
            unpacked.payload from (l.row_end - l.length + 1)::integer for l.length
        ) as payload
    from (select b.payload || ''::bytea as payload offset 0) as unpacked
    cross join (
        select length, n, sum(length) over (order by n) as row_end
        from unnest(b.row_lengths) with ordinality as u (length, n)
    ) as l
    offset 0
) as r;

-- One row of a file, byte for byte, line end included, or null: the view would unpack the whole file
-- for it.
create function raw_csv_row(file_id bigint, row_number bigint) returns bytea
language sql stable
return (
    select
        substring(
            b.payload
            from coalesce(
                (select sum(l) from unnest(b.row_lengths[:raw_csv_row.row_number - b.first_row]) as l),
                0
            )::integer + 1
            for b.row_lengths[raw_csv_row.row_number - b.first_row + 1]
        )
    from raw_csv_blocks as b
    where b.file_id = raw_csv_row.file_id
        and raw_csv_row.row_number
        between b.first_row and b.first_row + cardinality(b.row_lengths) - 1
);
