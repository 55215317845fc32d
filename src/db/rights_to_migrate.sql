-- The statements, one a row, that give this user the rights to migrate that it lacks.
-- $1: the queue's schema, $2: names of our tables, views and functions.
with me as (
    select quote_ident(current_user) as role, quote_ident(current_database()) as database,
        current_schema()::text as schema,
        has_database_privilege(current_database(), 'create') as may_create,
        (select rolsuper from pg_roles where rolname = current_user) as is_super
),
-- Tables and functions that somebody else owns cannot be altered.
foreign_tables as (
    select format('alter table %I.%I owner to %s;', n.nspname, c.relname, me.role) as statement
    from me, pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v') and not me.is_super
      and (n.nspname = $1 or (n.nspname = me.schema and c.relname = any($2)))
      and not pg_has_role(c.relowner, 'usage')
),
foreign_functions as (
    select format('alter function %s owner to %s;', p.oid::regprocedure, me.role) as statement
    from me, pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where not me.is_super
      and (n.nspname = $1 or (n.nspname = me.schema and p.proname = any($2)))
      and not pg_has_role(p.proowner, 'usage')
      and not exists (select 1 from pg_depend as d where d.objid = p.oid and d.deptype = 'e')
),
-- Trusted extensions are created by whoever may create in the database.
extensions as (
    select case
        when a.name is null
        then format('-- the server lacks the extension %s: install PostgreSQL''s contrib package there', e)
        else format('create extension %s;  -- in this database, as a superuser', e)
        end as statement
    from me cross join unnest(array['pgcrypto', 'hstore']) as e
    left join pg_available_extensions as a on a.name = e
    where not exists (select 1 from pg_extension where extname = e)
      and not (a.name is not null and (me.is_super or (me.may_create and exists (
        select 1 from pg_available_extension_versions as v where v.name = e and v.trusted
      ))))
)
select format('create schema %s authorization %s;  -- no schema of the search_path is there', role, role)
from me where schema is null
union all
select format('grant usage, create on schema %I to %s;  -- for the tables', schema, role)
from me
where schema is not null
  and not (has_schema_privilege(schema, 'usage') and has_schema_privilege(schema, 'create'))
union all
select format('grant create on database %s to %s;  -- for the schema %I', database, role, $1)
from me where not exists (select 1 from pg_namespace where nspname = $1) and not may_create
union all
select format('grant usage, create on schema %I to %s;  -- for the queue', nspname, role)
from me, pg_namespace
where nspname = $1
  and not (has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create'))
union all select statement from extensions
union all select statement from foreign_tables
union all select statement from foreign_functions
