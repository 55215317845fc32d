-- Texts of errors have a bound. Earlier versions kept what they were told, up to many megabytes: that is
-- cut, and whatever a process of such a version still writes is cut when it is shown.

-- A text of at most about 8 KiB: of a longer one its beginning and its end, and how much is missing
-- between them. What this version writes is no longer than that, with the note of what was cut.
create function shown_error(whole text) returns text
language sql
immutable
parallel safe
as $$
    select case
        when octet_length(whole) <= 9216 then whole
        -- A character has four bytes at most.
        else left(whole, 1500) || '… ('
            || octet_length(whole) - octet_length(left(whole, 1500)) - octet_length(right(whole, 500))
            || ' bytes cut) …' || right(whole, 500)
    end
$$;

update etl_runs set error = shown_error(error), stop_reason = shown_error(stop_reason)
where octet_length(error) > 9216 or octet_length(stop_reason) > 9216;

update run_tasks set error = shown_error(error) where octet_length(error) > 9216;

update quarantined_rows set message = shown_error(message) where octet_length(message) > 9216;
