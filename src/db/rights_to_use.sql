-- The statements, one a row, that give this user the rights to read and write that it lacks.
-- $1: the queue's schema, $2: names of our tables, views and functions.
with me as (
    select quote_ident(current_user) as role, quote_ident(current_database()) as database,
        -- Without the right to use it a schema is no current one.
        coalesce(current_schema(), (
            select n.nspname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
            where c.relname = 'etl_runs' limit 1
        ))::text as schema
),
schemas as (
    select n.oid, n.nspname from me, pg_namespace as n where n.nspname in ($1, me.schema)
)
select format('grant usage on schema %I to %s;', nspname, role)
from me, schemas where not has_schema_privilege(oid, 'usage')
union all
select format('grant select, insert, update, delete on all tables in schema %I to %s;', nspname, role)
from me, schemas as n
where exists (
    select 1 from pg_class as c
    where c.relnamespace = n.oid and (n.nspname = $1 or c.relname = any($2))
      and case
        when c.relkind in ('r', 'p') then not (
            has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
            and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))
        when c.relkind = 'v' then not has_table_privilege(c.oid, 'select')
        else false
        end
)
union all
select format('grant execute on all functions in schema %I to %s;', nspname, role)
from me, schemas as n
where exists (
    select 1 from pg_proc as p
    where p.pronamespace = n.oid and (n.nspname = $1 or p.proname = any($2))
      and not has_function_privilege(p.oid, 'execute')
)
union all
select format('grant temporary on database %s to %s;', database, role)
from me where not has_database_privilege(current_database(), 'temporary')
