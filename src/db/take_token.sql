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
        least(
            $2::double precision,
            tokens + extract(epoch from clock_timestamp() - refilled_at)::double precision
            * $3::double precision
        ) as available
    from rate_limits
    where key = $1
    for update
),
taken as (
    update rate_limits set
        tokens = locked.available - 1,
        refilled_at = clock_timestamp()
    from locked
    where rate_limits.key = locked.key
      and locked.available >= 1
      and coalesce(locked.blocked_until <= clock_timestamp(), true)
    returning 1
)
select case
    when exists (select from created) or exists (select from taken) then 0
    else coalesce((
        select greatest(
            extract(epoch from blocked_until - clock_timestamp())::double precision,
            (1 - available) / $3::double precision,
            0.01
        )
        from locked
    ), 0.01)
end as "wait!"
