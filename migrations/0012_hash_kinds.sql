-- Hashes of what sources say are BLAKE3, 32 bytes, where equal has to mean the same. Those that are
-- stored already are xxh3-128, 16 bytes. They stay: the length says the kind.
alter table source_definitions drop constraint source_definitions_hash_check;
alter table source_definitions add constraint source_definitions_hash_check
    check (octet_length(hash) in (16, 32));

alter table source_files drop constraint source_files_content_hash_check;
alter table source_files add constraint source_files_content_hash_check
    check (octet_length(content_hash) in (16, 32));
alter table source_files add constraint source_files_definition_hash_check
    check (octet_length(definition_hash) in (16, 32));

alter table schema_snapshots drop constraint schema_snapshots_fingerprint_check;
alter table schema_snapshots add constraint schema_snapshots_fingerprint_check
    check (octet_length(fingerprint) in (16, 32));

alter table settled_pages drop constraint settled_pages_body_hash_check;
alter table settled_pages add constraint settled_pages_body_hash_check
    check (octet_length(body_hash) in (16, 32));
alter table settled_pages drop constraint settled_pages_mapping_hash_check;
alter table settled_pages add constraint settled_pages_mapping_hash_check
    check (octet_length(mapping_hash) in (16, 32));
