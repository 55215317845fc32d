-- $1 key, $2 requests and $3 the seconds of their period, or null where the job file declares no limit; answers
-- the seconds to wait, 0 when a request may be made, and whether that is because the bucket is blocked. A period is
-- looked at in 50 slots; one that it ends in counts as a whole, so there are never more requests in it
with
created as (
    insert into rate_limits (
        key, tokens, refilled_at, requests, per_seconds, window_seconds, window_slots, window_taken
    )
    select
        $1,
        $2::integer - 1,
        clock_timestamp(),
        $2,
        $3::double precision,
        $3::double precision,
        array[floor(extract(epoch from clock_timestamp())::double precision * 50 / $3::double precision)::bigint],
        array[1]
    where $2 is not null
    on conflict (key) do nothing
    returning 1
),
-- Whoever holds the row decides; the others wait here and see what is left.
locked as (
    select
        key,
        blocked_until,
        tokens,
        clock_timestamp() - refilled_at as since,
        override_requests is not null
        and coalesce(override_until > clock_timestamp(), true) as is_overridden,
        override_requests,
        override_per_seconds,
        window_seconds,
        window_slots,
        window_taken
    from rate_limits
    where key = $1
    for update
),
-- The limit that counts now; null where there is none.
limited as (
    select
        *,
        case when is_overridden then override_requests else $2 end::double precision as capacity,
        case when is_overridden then override_per_seconds else $3::double precision end as period,
        case
            when is_overridden then override_requests / override_per_seconds
            else $2 / $3::double precision
        end as per_second
    from locked
),
-- A bucket refilled at a time to come was so by a clock that was ahead, which also set the block: both
-- are pulled back.
bucket as (
    select
        key,
        per_second,
        capacity,
        period,
        floor(extract(epoch from clock_timestamp())::double precision * 50 / period)::bigint as slot,
        window_seconds,
        window_slots,
        window_taken,
        since < interval '0' as early,
        blocked_until + least(since, interval '0') as blocked_until,
        case when capacity is not null then least(
            capacity,
            tokens + extract(epoch from greatest(since, interval '0'))::double precision
            * per_second
        ) end as available
    from limited
),
-- What was taken within the period, each slot once; of another period, or of a clock that was ahead, nothing.
counted as (
    select
        bucket.*,
        coalesce(within.slots, '{}') as slots,
        coalesce(within.taken, '{}') as taken,
        coalesce(within.total, 0) as total,
        (within.oldest + 51) * bucket.period / 50 as fewer_at
    from bucket
    cross join lateral (
        select
            array_agg(met.slot order by met.slot) as slots,
            array_agg(met.taken order by met.slot) as taken,
            sum(met.taken) as total,
            min(met.slot) as oldest
        from unnest(bucket.window_slots, bucket.window_taken) as met (slot, taken)
        where bucket.window_seconds = bucket.period
            and met.slot between bucket.slot - 50 and bucket.slot + 1
    ) as within
),
decided as (
    select
        *,
        coalesce(available >= 1 and total < capacity, true)
        and coalesce(blocked_until <= clock_timestamp(), true) as free
    from counted
),
taken as (
    update rate_limits set
        tokens = coalesce(
            decided.available - case when decided.free then 1 else 0 end, rate_limits.tokens
        ),
        refilled_at = clock_timestamp(),
        blocked_until = decided.blocked_until,
        requests = $2,
        per_seconds = $3,
        window_seconds = decided.period,
        window_slots = case
            when not decided.free or decided.period is null
                or decided.slots[cardinality(decided.slots)] >= decided.slot then decided.slots
            else decided.slots || decided.slot
        end,
        window_taken = case
            when not decided.free or decided.period is null then decided.taken
            when decided.slots[cardinality(decided.slots)] >= decided.slot
                then decided.taken[:cardinality(decided.taken) - 1]
                || (decided.taken[cardinality(decided.taken)] + 1)
            else decided.taken || 1
        end
    from decided
    where rate_limits.key = decided.key
        and (
            decided.early
            or (decided.free and decided.available is not null)
            or rate_limits.requests is distinct from $2
        )
    returning decided.free
)
select
    case
        when exists (select 1 from created) or coalesce((select free from decided), $2 is null) then 0
        else coalesce((
            select greatest(
                extract(epoch from blocked_until - clock_timestamp())::double precision,
                (1 - available) / per_second,
                case
                    when total >= capacity
                        then fewer_at - extract(epoch from clock_timestamp())::double precision
                end,
                0.01
            )
            from counted
        ), 0.01)
    end as "wait!",
    coalesce((select blocked_until > clock_timestamp() from bucket), false) as "blocked!"
