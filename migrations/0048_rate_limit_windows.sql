-- How many requests were made lately, so that there are never more than the limit in any period: a full bucket that also
-- refills lets through nearly twice as many in the first one. The period is cut into 50 slots, numbered since 1970.
alter table rate_limits
add column window_seconds double precision check (window_seconds > 0),
add column window_slots bigint[] not null default '{}',
add column window_taken integer[] not null default '{}',
add constraint rate_limits_window_check check (
    cardinality(window_slots) = cardinality(window_taken) and cardinality(window_slots) <= 52
);
