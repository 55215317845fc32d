-- With which credentials the page was asked for: another account may be given another page under the same `ETag`. A slow
-- hash of them; null where the request had none, or an earlier version asked.
alter table page_validators
    add column credentials_hash bytea check (octet_length(credentials_hash) = 32);

-- What kind of failure `error` is, for programs: `unauthorized`, `timed_out`, `database` …
alter table run_tasks add column error_kind text;
