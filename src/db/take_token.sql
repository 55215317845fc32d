-- $1 key, $2 capacity, $3 tokens a second; answers the seconds to wait, 0 when a token was taken
with
created as (
    insert into rate_limits (key, tokens, refilled_at)
    values ($1, $2::double precision - 1, clock_timestamp())
    on conflict (key) do nothing
    returning 1
),
-- Whoever holds the row decides; the others wait here and see what is left.
locked as (
    select
        key,
        blocked_until,
        tokens,
        clock_timestamp() - refilled_at as since
    from rate_limits
    where key = $1
    for update
),
-- A bucket refilled at a time to come was so by a clock that was ahead, which also set the block: both
-- are pulled back.
bucket as (
    select
        key,
        since < interval '0' as early,
        blocked_until + least(since, interval '0') as blocked_until,
        least(
            $2::double precision,
            tokens + extract(epoch from greatest(since, interval '0'))::double precision
            * $3::double precision
        ) as available
    from locked
),
decided as (
    select
        *,
        available >= 1 and coalesce(blocked_until <= clock_timestamp(), true) as free
    from bucket
),
taken as (
    update rate_limits set
        tokens = decided.available - case when decided.free then 1 else 0 end,
        refilled_at = clock_timestamp(),
        blocked_until = decided.blocked_until
    from decided
    where rate_limits.key = decided.key and (decided.free or decided.early)
    returning decided.free
)
select case
    when exists (select 1 from created) or exists (select 1 from taken where free) then 0
    else coalesce((
        select greatest(
            extract(epoch from blocked_until - clock_timestamp())::double precision,
            (1 - available) / $3::double precision,
            0.01
        )
        from bucket
    ), 0.01)
end as "wait!"
