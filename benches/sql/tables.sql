-- The tables that `load.sql` fills.
create table records (
    source text not null,
    external_id text not null,
    name text,
    description text,
    category text,
    price numeric,
    currency text,
    quantity numeric,
    source_updated_at timestamptz,
    attributes jsonb,
    raw_row bigint not null,
    first_run bigint not null,
    last_run bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (source, external_id)
);

create table raw_rows (
    run bigint not null,
    first_row bigint not null,
    payload text not null,
    primary key (run, first_row)
);

do $$
begin
    alter table raw_rows alter column payload set compression lz4;
exception when feature_not_supported then
    null;
end
$$;
