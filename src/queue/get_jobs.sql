-- apalis's own function, with a memory: a session begins to look where it last found an item.
--
-- What was taken from the queue stays at the head of its index until no transaction can see it any
-- more. While somebody holds an old snapshot, each look from the beginning passes over all that was
-- taken since then.
--
-- Every few seconds, and whenever nothing is found, it looks from the beginning all the same: items
-- that were put back, and those of transactions that took long, have earlier times.
--
-- The settings: with a backlog the planner turns to a sequential scan, 52 ms a fetch instead of 0.2.
create or replace function apalis.get_jobs(
    worker_id text, v_job_type text, v_job_count integer default 5
)
returns setof apalis.jobs
language plpgsql
volatile
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $function$
#variable_conflict use_column
declare
    memory constant text := 'kasparro.queue_' || md5(v_job_type);
    remembered constant text[] := string_to_array(current_setting(memory, true), '|');
    looked timestamptz := coalesce(nullif(remembered[1], ''), '-infinity');
    found_at timestamptz := coalesce(remembered[2], '-infinity');
    item apalis.jobs;
begin
    -- A time to come is that of a clock which was ahead.
    if looked between clock_timestamp() - interval '5 seconds' and clock_timestamp()
        and isfinite(found_at)
    then
        -- Of the one priority that there is: so the index can begin at the time.
        for item in
            with chosen as (
                select id from apalis.jobs
                where (status = 'Pending' or (status = 'Failed' and attempts < max_attempts))
                    and job_type = v_job_type and priority = 0
                    and run_at >= found_at and run_at < now()
                order by run_at
                limit v_job_count
                for update skip locked
            )
            update apalis.jobs as j
            set status = 'Queued', lock_by = worker_id, lock_at = now()
            from chosen
            where j.id = chosen.id
            returning j.*
        loop
            found_at := greatest(found_at, item.run_at);
            return next item;
        end loop;
        if found then
            perform set_config(memory, looked || '|' || found_at, false);
            return;
        end if;
    end if;
    found_at := '-infinity';
    for item in
        with chosen as (
            select id from apalis.jobs
            where (status = 'Pending' or (status = 'Failed' and attempts < max_attempts))
                and job_type = v_job_type and run_at < now()
            order by priority desc, run_at
            limit v_job_count
            for update skip locked
        )
        update apalis.jobs as j
        set status = 'Queued', lock_by = worker_id, lock_at = now()
        from chosen
        where j.id = chosen.id
        returning j.*
    loop
        found_at := greatest(found_at, item.run_at);
        return next item;
    end loop;
    perform set_config(memory, clock_timestamp() || '|' || found_at, false);
end
$function$
