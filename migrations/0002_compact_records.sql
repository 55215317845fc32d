-- Rewrites unified_records with its columns of fixed width first, which saves the padding between
-- them in every row, and with keys compared byte by byte: the same order everywhere, at the price of
-- memcmp. Takes as long as copying the table.

create table unified_records_compact (
    raw_row bigint not null,
    first_run_id bigint not null,
    last_run_id bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    source_updated_at timestamptz,
    deleted_at timestamptz,
    source text collate "C" not null,
    external_id text collate "C" not null,
    content_hash bytea not null,
    raw_ref text not null,
    name text,
    description text,
    category text,
    price numeric,
    currency text,
    quantity numeric,
    url text,
    attributes jsonb
);

insert into unified_records_compact (
    raw_row, first_run_id, last_run_id, created_at, updated_at, source_updated_at, deleted_at,
    source, external_id, content_hash, raw_ref, name, description, category, price, currency,
    quantity, url, attributes
)
select
    raw_row, first_run_id, last_run_id, created_at, updated_at, source_updated_at, deleted_at,
    source, external_id, content_hash, raw_ref, name, description, category, price, currency,
    quantity, url, attributes
from unified_records
order by source collate "C", external_id collate "C";

drop table unified_records;
alter table unified_records_compact rename to unified_records;
alter table unified_records add primary key (source, external_id);
