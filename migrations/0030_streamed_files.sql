-- A file that is read as a stream was seen by no plan: it is known by the run and the slice with which it begins.
-- Nobody finds it again: it is neither unchanged, nor gone, nor grown.
alter table source_files add column streamed_from bigint;
create unique index source_files_streamed on source_files (first_run_id, streamed_from)
where streamed_from is not null;
