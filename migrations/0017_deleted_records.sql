-- kasparro deletes no records; people do, after a change of the key for example. What /stats says of
-- the number of records stays right: counted by the statement that deletes them.
create function count_deleted_records() returns trigger language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        update source_totals set records = 0;
    else
        update source_totals as t set records = t.records - d.records
        from (select source, count(*) as records from deleted group by source) as d
        where d.source = t.source;
    end if;
    return null;
end $$;

create trigger deleted_records
    after delete on unified_records referencing old table as deleted
    for each statement execute function count_deleted_records();

create trigger truncated_records
    after truncate on unified_records
    for each statement execute function count_deleted_records();
