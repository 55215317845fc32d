-- $1 run, $2 most slices at once, $3 fewest slices as long as more are being read, $4 most bytes of
-- several slices
with
-- One batch at a time, so that rows count in file order whatever order the slices were read in: the
-- one handed out last. Batches of single keys follow no order.
last_batch as (
    select state, last_slice from run_tasks
    where run_id = $1 and role = 'normalize' and payload ->> 'rows' <> 'single'
    order by first_slice desc
    limit 1
),
-- What was read behind it or is being read; slices whose reading task failed are skipped.
ahead as (
    select first_slice as slice, state, bytes from run_tasks
    where run_id = $1 and role = 'read'
      and first_slice > coalesce((select last_slice from last_batch), -1)
      and (state = 'open' or (state = 'done' and result is not null))
    order by first_slice
    limit $2
),
-- The first slice that is still being read stops the batch.
unread as (
    select min(slice) as slice from ahead where state = 'open'
),
ready as (
    select
        ahead.slice, row_number() over in_order as place,
        (sum(ahead.bytes) over in_order)::bigint as so_far
    from ahead, unread
    where unread.slice is null or ahead.slice < unread.slice
    window in_order as (order by ahead.slice)
)
select min(slice) as first_slice, max(slice) as last_slice
from ready
where
    (place = 1 or so_far <= $4::bigint)
    and not exists (select 1 from last_batch where state = 'open')
    and ((select slice from unread) is null or (select count(*) from ready) >= $3)
