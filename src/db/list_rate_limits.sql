-- $1 the only key, $2 the key behind which to begin, $3 how many
with
chosen as (
    select
        *,
        override_requests is not null
        and coalesce(override_until > clock_timestamp(), true) as is_overridden
    from rate_limits
    where ($1::text is null or key = $1) and ($2::text is null or key > $2)
    order by key
    limit $3
),
-- What was taken within the period, as requests are let through by.
buckets as (
    select
        chosen.*,
        coalesce((
            select sum(met.taken)
            from
                unnest(chosen.window_slots, chosen.window_taken) as met (slot, taken),
                lateral (
                    select case when is_overridden then override_per_seconds else per_seconds end as period
                ) as of,
                lateral (
                    select
                        floor(
                            extract(epoch from clock_timestamp())::double precision * 50 / of.period
                        )::bigint as slot
                ) as present
            where chosen.window_seconds = of.period
                and met.slot between present.slot - 50 and present.slot + 1
        ), 0)::double precision as total
    from chosen
)
select
    key,
    requests,
    per_seconds,
    case when is_overridden then override_requests end as override_requests,
    case when is_overridden then override_per_seconds end as override_per_seconds,
    case when is_overridden then override_until end as override_until,
    case when is_overridden then override_by end as override_by,
    case when is_overridden then override_at end as override_at,
    case
        when is_overridden then least(
            greatest(override_requests - total, 0),
            tokens + greatest(extract(epoch from clock_timestamp() - refilled_at)::double precision, 0)
            * override_requests / override_per_seconds
        )
        else least(
            greatest(requests - total, 0),
            tokens + greatest(extract(epoch from clock_timestamp() - refilled_at)::double precision, 0)
            * requests / per_seconds
        )
    end as tokens,
    case when blocked_until > clock_timestamp() then blocked_until end as blocked_until,
    remaining,
    reset_at,
    told_at
from buckets
order by key
