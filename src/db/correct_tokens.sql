-- $1 key, $2 how many requests are left, $3 the seconds until there are more, if that is known
insert into rate_limits as b (key, tokens, refilled_at, remaining, reset_at, told_at, blocked_until)
values (
    $1, 0, clock_timestamp(), $2::bigint, clock_timestamp() + make_interval(secs => $3::double precision), clock_timestamp(),
    case when $2::bigint = 0 then clock_timestamp() + make_interval(secs => $3::double precision) end
)
on conflict (key) do update set
-- The tokens of now, at the refill of now: fewer than are there, never more.
tokens = case
    when b.override_requests is not null and coalesce(b.override_until > clock_timestamp(), true)
        then least(
            $2::bigint,
            b.override_requests,
            b.tokens + greatest(
                extract(epoch from clock_timestamp() - b.refilled_at)::double precision, 0
            ) * b.override_requests / b.override_per_seconds
        )
    when b.requests is not null
        then least(
            $2::bigint,
            b.requests,
            b.tokens + greatest(
                extract(epoch from clock_timestamp() - b.refilled_at)::double precision, 0
            ) * b.requests / b.per_seconds
        )
    else b.tokens
end,
refilled_at = clock_timestamp(),
remaining = excluded.remaining,
reset_at = excluded.reset_at,
told_at = excluded.told_at,
blocked_until = greatest(b.blocked_until, excluded.blocked_until)
