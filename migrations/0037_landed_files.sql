-- A file that stands in a listing and is read as a stream is found again by later runs: as its place showed it when it
-- was read, in the words of the place, and which member of an archive it is. It is known once it was read to its end.
alter table source_files
    add column listed jsonb,
    add column member text,
    add constraint source_files_read_to_their_ends
        check (listed is null or committed_run_id is null or committed_chunks > 0);
