-- What somebody would write by hand to get what kasparro leaves: typed records, one per key, the
-- last row of a key winning, nothing rewritten that is the same, and the raw rows kept in compressed
-- blocks. It has no quarantine: one bad row ends it.
set timezone = 'UTC';
set client_min_messages = warning;
set work_mem = '256MB';

begin;

create temporary table incoming (
    id text, name text, description text, category text, brand text, price text, currency text,
    stock text, updated_at text, attributes text :extra_columns
) on commit drop;

\copy incoming from pstdin (format csv, header)

-- A temporary table is read in the order in which it was written.
create temporary view numbered as select row_number() over () as row_number, i.* from incoming as i;

insert into raw_rows (run, first_row, payload)
select :run, min(row_number), string_agg(n::text, E'\n' order by row_number)
from numbered as n
group by row_number / 256;

analyze incoming (id);

insert into records as r (
    source, external_id, name, description, category, price, currency, quantity, source_updated_at,
    attributes, raw_row, first_run, last_run
)
select
    'products', s.id, s.name, s.description, s.category, s.price, s.currency, s.quantity,
    s.source_updated_at, s.attributes, s.row_number, :run, :run
from (
    select distinct on (id)
        id, row_number, name, description, category, currency, price::numeric,
        stock::numeric as quantity, updated_at::timestamptz as source_updated_at,
        attributes::jsonb || jsonb_build_object('brand', brand :extra_members) as attributes
    from numbered
    order by id, row_number desc
) as s
left join records as k on k.source = 'products' and k.external_id = s.id
where
    k.external_id is null
    or (
        k.name, k.description, k.category, k.price, k.currency, k.quantity, k.source_updated_at,
        k.attributes
    ) is distinct from (
        s.name, s.description, s.category, s.price, s.currency, s.quantity, s.source_updated_at,
        s.attributes
    )
on conflict (source, external_id) do update set
    name = excluded.name, description = excluded.description, category = excluded.category,
    price = excluded.price, currency = excluded.currency, quantity = excluded.quantity,
    source_updated_at = excluded.source_updated_at, attributes = excluded.attributes,
    raw_row = excluded.raw_row, last_run = excluded.last_run, updated_at = now();

drop view numbered;

commit;
