-- Parameters: $1 source or null, $2 and $3 the key that the page starts behind, $4 the most records,
-- $5 the most bytes of their texts.
with
-- The keys of the page and what their records take. Sizes of texts are known without reading them;
-- numbers and attributes have to be written out: a numeric of a few bytes may have 131,072 digits.
page as (
    select
        source, external_id,
        200 + octet_length(external_id)
        + coalesce(octet_length(name), 0) + coalesce(octet_length(description), 0)
        + coalesce(octet_length(category), 0) + coalesce(octet_length(currency), 0)
        + coalesce(octet_length(url), 0) + coalesce(octet_length(price::text), 0)
        + coalesce(octet_length(quantity::text), 0)
        + coalesce(octet_length(attributes::text), 0)::bigint as bytes
    from unified_records
    where ($1::text is null or source = $1) and (source, external_id) > (coalesce($1, $2), $3)
    order by source, external_id
    limit $4
),

-- What each takes together with those before it.
running as (
    select
        bytes, row_number() over in_order as place, (sum(bytes) over in_order)::bigint as so_far
    from page
    window in_order as (order by source, external_id)
)

select
    count(*) filter (where place = 1 or so_far <= $5::bigint) as "rows!",
    count(*) > count(*) filter (where place = 1 or so_far <= $5::bigint) as "cut!"
from running
