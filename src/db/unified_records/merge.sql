-- $1 source, $2 run; the records in arrays, numbers and JSON as text
insert into unified_records (
    source, external_id, content_hash, name, description, category, price, currency, quantity, url,
    source_updated_at, attributes, raw_ref, raw_row, first_run_id, last_run_id, created_at,
    updated_at
)
select
    $1, external_id, content_hash, name, description, category, price::numeric, currency,
    quantity::numeric, url, source_updated_at, attributes::jsonb, raw_ref, raw_row, $2, $2, now(), now()
from unnest(
    $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::bigint[]
) as record (
    external_id, content_hash, name, description, category, price, currency, quantity, url,
    source_updated_at, attributes, raw_ref, raw_row
)
-- Two transactions that lock rows in the same order cannot deadlock.
order by external_id
on conflict (source, external_id) do update set
    content_hash = excluded.content_hash,
    name = excluded.name,
    description = excluded.description,
    category = excluded.category,
    price = excluded.price,
    currency = excluded.currency,
    quantity = excluded.quantity,
    url = excluded.url,
    source_updated_at = excluded.source_updated_at,
    attributes = excluded.attributes,
    raw_ref = excluded.raw_ref,
    raw_row = excluded.raw_row,
    last_run_id = excluded.last_run_id,
    updated_at = excluded.updated_at,
    deleted_at = null
-- No condition: a key that was set back to the content that is stored comes from another row now.
