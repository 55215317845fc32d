-- What kasparro 0.1.0 left at migration 11 after one run of each of two sources, from
-- `pg_dump --data-only --column-inserts`.

INSERT INTO source_definitions (hash, source, path, toml, first_seen_at) VALUES
	('\x2cdd1eaae7fb8da55eb460e48eadb981', 'items', '/srv/jobs/items.toml', 'kind = "csv"
primary_key = ["id"]
[csv]
paths = ["items.csv"]
[fields]
name = { column = "name", required = true }
price = { column = "price", type = "decimal" }
colour = { column = "colour" }
', '2026-11-27 11:46:22.834627+00'),
	('\xcc8c95f06d92c074f08166d5ec06b713', 'pages', '/srv/jobs/pages.toml', 'kind = "rest_api"
primary_key = ["id"]
[rest_api]
base_url = "https://api.example.com/"
path = "things"
data_selector = "$[*]"
paginator = { type = "page_number", param = "page", size = 2 }
recording = "recordings/pages"
[fields]
name = { from = "$.name", required = true }
price = { from = "$.price", type = "decimal" }
', '2026-11-27 11:46:22.859083+00');

INSERT INTO etl_runs (id, source, status, mode, trigger, access, idempotency_key, config_hash, schema_version, from_empty, key_order, created_at, started_at, finished_at, open_tasks, dead_tasks, slices, bytes, rows_read, inserted, updated, unchanged, quarantined, error, stop_reason, replay_from, replay_to, dry_run, moves, moved_at, tasks) OVERRIDING SYSTEM VALUE VALUES
	(2, 'pages', 'success', 'incremental', 'cli', 'offline', NULL, '\xcc8c95f06d92c074f08166d5ec06b713', NULL, false, 'ordered', '2026-11-27 11:46:22.859083+00', '2026-11-27 11:46:22.966169+00', '2026-11-27 11:46:23.206274+00', 0, 0, 2, 120, 3, 2, 0, 0, 1, NULL, NULL, NULL, NULL, false, 6, '2026-11-27 11:46:23.191058+00', 6),
	(1, 'items', 'success', 'incremental', 'cli', 'offline', NULL, '\x2cdd1eaae7fb8da55eb460e48eadb981', NULL, true, 'distinct', '2026-11-27 11:46:22.834627+00', '2026-11-27 11:46:22.917456+00', '2026-11-27 11:46:23.212263+00', 0, 0, 1, 61, 4, 3, 0, 0, 1, NULL, NULL, NULL, NULL, false, 4, '2026-11-27 11:46:23.199321+00', 4);

INSERT INTO ingestion_checkpoints (source, last_processed_marker, records, state, run_id, updated_at) VALUES
	('pages', '1,2', 2, '{"files": []}', 2, '2026-11-27 11:46:23.160758+00'),
	('items', '1,2,4', 3, '{"files": [1]}', 1, '2026-11-27 11:46:23.131434+00');

INSERT INTO quarantined_rows (source, raw_ref, raw_row, field, reason, run_id, line, byte_start, byte_end, message, raw, fingerprint, status, created_at) VALUES
	('pages', 'page/752b337c72e5b26608c303e02be1c697', 1, '$.price', 'invalid_decimal', 2, NULL, NULL, NULL, '$.price: "x" is not a decimal number (expected digits with "." as decimal separator)', '\x7b226964223a20332c20226e616d65223a2022506f74222c20227072696365223a202278227d', '\x5ea9179b9b363f12248a538ae59fbb05', 'open', '2026-11-27 11:46:23.160758+00'),
	('items', 'file/1', 3, 'price', 'invalid_decimal', 1, 4, 50, 64, 'price: "x" is not a decimal number (expected digits with "." as decimal separator)', '\x332c547261792c782c7768697465', '\x94de148ea66b00313e0130fec4f3ae85', 'open', '2026-11-27 11:46:23.131434+00');

INSERT INTO raw_api_data (source, body_hash, run_id, slice, url, status, records, fetched_at, body) VALUES
	('pages', '\x9080a2b42c0f707a3f68a04f2146d757', 2, 0, 'recordings/pages/page-0001.json', 200, 2, '2026-11-27 11:46:23.034275+00', '[{"id": 1, "name": "Tea", "price": 2.5}, {"id": 2, "name": "Cup", "price": 7}]
'),
	('pages', '\x752b337c72e5b26608c303e02be1c697', 2, 1, 'recordings/pages/page-0002.json', 200, 1, '2026-11-27 11:46:23.083463+00', '[{"id": 3, "name": "Pot", "price": "x"}]
');

INSERT INTO raw_csv_blocks (file_id, chunk, block, first_row, first_line, start_offset, run_id, source, row_lengths, payload) VALUES
	(1, 0, 0, 1, 2, 21, 1, 'items', '{17,12,15,17}', '\x312c5465612c322e35302c677265656e0a322c4375702c372e30302c0a332c547261792c782c77686974650a342c506f742c31322e30302c626c75650a');

INSERT INTO run_tasks (run_id, task_key, kind, state, first_slice, last_slice, payload, attempt, worker, created_at, next_attempt_at, done_at, error, result, slices, bytes, rows_read, inserted, updated, unchanged, quarantined, opened_at, last_move) VALUES
	(2, 'plan_run', 'plan_run', 'done', NULL, NULL, '{"kind": "plan_run"}', 1, 'host-1/plan_run/01M8ED7XGQG8HQ8KA2JNS1RBY3', '2026-11-27 11:46:22.859083+00', NULL, '2026-11-27 11:46:22.972889+00', NULL, NULL, 0, 0, 0, 0, 0, 0, 0, '2026-11-27 11:46:22.859083+00', 1),
	(1, 'plan_run', 'plan_run', 'done', NULL, NULL, '{"kind": "plan_run"}', 1, 'host-1/plan_run/01M8ED7XGQG8HQ8KA2JNS1RBY3', '2026-11-27 11:46:22.834627+00', NULL, '2026-11-27 11:46:22.962417+00', NULL, '{"files": [{"end": {"rows": 4, "bytes": 82, "lines": 5, "chunks": 1}, "hash": "7cccb486bfc5be3aa26f4fd6c228f056", "read": true, "size": 82, "layout": {"columns": ["id", "name", "price", "colour"], "dialect": {"quote": "\"", "escape": "\"", "line_end": "lf", "delimiter": ",", "stray_quotes": "quarantine"}, "declared": "c0be960fe381cc73", "encoding": "UTF-8", "chunk_size": 4194304, "ragged_rows": "quarantine", "max_row_bytes": 67108864}, "file_id": 1, "appended": false, "modified_ns": 1793527200000000000}]}', 0, 0, 0, 0, 0, 0, 0, '2026-11-27 11:46:22.834627+00', 1),
	(2, 'fetch_page:0', 'fetch_page', 'done', 0, 0, '{"kind": "fetch_page", "slice": 0, "position": {"page": 1}}', 1, 'host-1/fetch_page/01M8ED7XGQBBVH579B0FJW7042', '2026-11-27 11:46:22.972889+00', NULL, '2026-11-27 11:46:23.034275+00', NULL, '{"raw": "page/9080a2b42c0f707a3f68a04f2146d757", "shape": {"rows": 2, "fields": {"id": {"nulls": 0, "types": {"integer": {"count": 2, "first": {"row": 1, "raw_ref": "page/9080a2b42c0f707a3f68a04f2146d757"}}}, "present": 2}, "name": {"nulls": 0, "types": {"string": {"count": 2, "first": {"row": 1, "raw_ref": "page/9080a2b42c0f707a3f68a04f2146d757"}}}, "present": 2}, "price": {"nulls": 0, "types": {"number": {"count": 1, "first": {"row": 1, "raw_ref": "page/9080a2b42c0f707a3f68a04f2146d757"}}, "integer": {"count": 1, "first": {"row": 2, "raw_ref": "page/9080a2b42c0f707a3f68a04f2146d757"}}}, "present": 2}}, "lexical": false}}', 1, 79, 2, 0, 0, 0, 0, '2026-11-27 11:46:22.972889+00', 2),
	(2, 'fetch_page:1', 'fetch_page', 'done', 1, 1, '{"kind": "fetch_page", "slice": 1, "position": {"page": 2, "previous": "9080a2b42c0f707a3f68a04f2146d757"}}', 1, 'host-1/fetch_page/01M8ED7XGQBBVH579B0FJW7042', '2026-11-27 11:46:23.034275+00', NULL, '2026-11-27 11:46:23.083463+00', NULL, '{"raw": "page/752b337c72e5b26608c303e02be1c697", "shape": {"rows": 1, "fields": {"id": {"nulls": 0, "types": {"integer": {"count": 1, "first": {"row": 1, "raw_ref": "page/752b337c72e5b26608c303e02be1c697"}}}, "present": 1}, "name": {"nulls": 0, "types": {"string": {"count": 1, "first": {"row": 1, "raw_ref": "page/752b337c72e5b26608c303e02be1c697"}}}, "present": 1}, "price": {"nulls": 0, "types": {"string": {"count": 1, "first": {"row": 1, "raw_ref": "page/752b337c72e5b26608c303e02be1c697"}}}, "present": 1}}, "lexical": false}}', 1, 41, 1, 0, 0, 0, 0, '2026-11-27 11:46:23.034275+00', 3),
	(1, 'parse_csv_chunk:0', 'parse_csv_chunk', 'done', 0, 0, '{"kind": "parse_csv_chunk", "chunk": {"end": 82, "hash": 6966833868819383284, "index": 0, "start": 21, "first_row": 1, "first_line": 2}, "slice": 0, "stamp": {"size": 82, "modified": {"secs_since_epoch": 1793527200, "nanos_since_epoch": 0}}, "file_id": 1}', 1, 'host-1/parse_csv_chunk/01M8ED7XGQ5F4XY23S0WMSGDA7', '2026-11-27 11:46:22.962417+00', NULL, '2026-11-27 11:46:23.057694+00', NULL, '{"raw": "file/1", "shape": {"rows": 4, "fields": {"id": {"nulls": 0, "types": {"integer": {"count": 4, "first": {"row": 1, "raw_ref": "file/1"}}}, "present": 4}, "name": {"nulls": 0, "types": {"string": {"count": 4, "first": {"row": 1, "raw_ref": "file/1"}}}, "present": 4}, "price": {"nulls": 0, "types": {"number": {"count": 3, "first": {"row": 1, "raw_ref": "file/1"}}, "string": {"count": 1, "first": {"row": 3, "raw_ref": "file/1"}}}, "present": 4}, "colour": {"nulls": 1, "types": {"string": {"count": 3, "first": {"row": 1, "raw_ref": "file/1"}}}, "present": 4}}, "lexical": true}}', 1, 61, 4, 0, 0, 0, 0, '2026-11-27 11:46:22.962417+00', 2),
	(2, 'normalize_batch:0', 'normalize_batch', 'done', 0, 0, '{"kind": "normalize_batch", "rows": "all", "last_slice": 0, "first_slice": 0}', 1, 'host-1/normalize_batch/01M8ED7XGQ5TFQE0P2R5QBY9XE', '2026-11-27 11:46:23.034275+00', NULL, '2026-11-27 11:46:23.091536+00', NULL, NULL, 0, 0, 0, 2, 0, 0, 0, '2026-11-27 11:46:23.034275+00', 4),
	(1, 'snapshot_schema', 'snapshot_schema', 'done', NULL, NULL, '{"kind": "snapshot_schema"}', 1, 'host-1/snapshot_schema/01M8ED7XGQ28CTHX75B9SHHMQS', '2026-11-27 11:46:23.057694+00', NULL, '2026-11-27 11:46:23.146215+00', NULL, NULL, 0, 0, 0, 0, 0, 0, 0, '2026-11-27 11:46:23.057694+00', 3),
	(2, 'snapshot_schema', 'snapshot_schema', 'done', NULL, NULL, '{"kind": "snapshot_schema"}', 1, 'host-1/snapshot_schema/01M8ED7XGQ28CTHX75B9SHHMQS', '2026-11-27 11:46:23.083463+00', NULL, '2026-11-27 11:46:23.159454+00', NULL, NULL, 0, 0, 0, 0, 0, 0, 0, '2026-11-27 11:46:23.083463+00', 5),
	(2, 'normalize_batch:1', 'normalize_batch', 'done', 1, 1, '{"kind": "normalize_batch", "rows": "all", "last_slice": 1, "first_slice": 1}', 1, 'host-1/normalize_batch/01M8ED7XGQ5TFQE0P2R5QBY9XE', '2026-11-27 11:46:23.091536+00', NULL, '2026-11-27 11:46:23.160758+00', NULL, NULL, 0, 0, 0, 0, 0, 0, 1, '2026-11-27 11:46:23.091536+00', 6),
	(1, 'normalize_batch:0', 'normalize_batch', 'done', 0, 0, '{"kind": "normalize_batch", "rows": "all", "last_slice": 0, "first_slice": 0}', 1, 'host-1/normalize_batch/01M8ED7XGQ5TFQE0P2R5QBY9XE', '2026-11-27 11:46:23.057694+00', NULL, '2026-11-27 11:46:23.131434+00', NULL, NULL, 0, 0, 0, 3, 0, 0, 1, '2026-11-27 11:46:23.057694+00', 4);

INSERT INTO run_totals (source, status, runs) VALUES
	('pages', 'success', 1),
	('items', 'success', 1);

INSERT INTO schema_snapshots (source, version, schema_signature, accepted, fingerprint, run_id, first_seen_at) VALUES
	('items', 1, '{"id": "integer", "name": "string", "price": "number", "colour": "string?"}', '{"id": "integer", "name": "string", "price": "number", "colour": "string?"}', '\x9ba7b093fbd23ed89567266acc12ebfd', 1, '2026-11-27 11:46:23.146215+00'),
	('pages', 1, '{"id": "integer", "name": "string", "price": "number|string"}', '{"id": "integer", "name": "string", "price": "number|string"}', '\xb8d9eafdf425fca8eab652fa60cb43c8', 2, '2026-11-27 11:46:23.159454+00');

INSERT INTO settled_pages (source, body_hash, mapping_hash, run_id, records, quarantined, keys) VALUES
	('pages', '\x9080a2b42c0f707a3f68a04f2146d757', '\x259c0a3f393d8ae59800a10c44ae1856', 2, 2, 0, '\x58f1988f0225cd6514a35d2f32a795fb'),
	('pages', '\x752b337c72e5b26608c303e02be1c697', '\x259c0a3f393d8ae59800a10c44ae1856', 2, 0, 1, '\x');

INSERT INTO source_files (id, source, url, etag, size, modified_ns, content_hash, layout, appended, committed_bytes, committed_rows, committed_lines, committed_chunks, committed_run_id, definition_hash, first_run_id, updated_at) OVERRIDING SYSTEM VALUE VALUES
	(1, 'items', 'items.csv', NULL, 82, 1793527200000000000, '\x7cccb486bfc5be3aa26f4fd6c228f056', '{"columns": ["id", "name", "price", "colour"], "dialect": {"quote": "\"", "escape": "\"", "line_end": "lf", "delimiter": ",", "stray_quotes": "quarantine"}, "declared": "c0be960fe381cc73", "encoding": "UTF-8", "chunk_size": 4194304, "ragged_rows": "quarantine", "max_row_bytes": 67108864}', false, 82, 4, 5, 1, 1, '\x0f89cbe4584205329b1ae79cd1eb041a', 1, '2026-11-27 11:46:23.131434+00');

INSERT INTO source_totals (source, records, slices, bytes, rows_read, inserted, updated, unchanged, quarantined) VALUES
	('pages', 2, 2, 120, 3, 2, 0, 0, 1),
	('items', 3, 1, 61, 4, 3, 0, 0, 1);

INSERT INTO unified_records (raw_row, first_run_id, last_run_id, created_at, updated_at, source_updated_at, deleted_at, source, external_id, content_hash, raw_ref, name, description, category, price, currency, quantity, url, attributes) VALUES
	(1, 2, 2, '2026-11-27 11:46:23.091536+00', '2026-11-27 11:46:23.091536+00', NULL, NULL, 'pages', '1', '\x9d546cae55013a84a7b80fc4ac2b5526', 'page/9080a2b42c0f707a3f68a04f2146d757', 'Tea', NULL, NULL, 2.5, NULL, NULL, NULL, NULL),
	(2, 2, 2, '2026-11-27 11:46:23.091536+00', '2026-11-27 11:46:23.091536+00', NULL, NULL, 'pages', '2', '\xdbbef35c36b0f5f40f974e05ae050b73', 'page/9080a2b42c0f707a3f68a04f2146d757', 'Cup', NULL, NULL, 7, NULL, NULL, NULL, NULL),
	(1, 1, 1, '2026-11-27 11:46:23.131434+00', '2026-11-27 11:46:23.131434+00', NULL, NULL, 'items', '1', '\xf7667ccfd555d6d1a4e2a5eeb026a029', 'file/1', 'Tea', NULL, NULL, 2.50, NULL, NULL, NULL, '{"colour": "green"}'),
	(2, 1, 1, '2026-11-27 11:46:23.131434+00', '2026-11-27 11:46:23.131434+00', NULL, NULL, 'items', '2', '\x8d2df1f8a6a707b9eb3fb52871d1e42f', 'file/1', 'Cup', NULL, NULL, 7.00, NULL, NULL, NULL, NULL),
	(4, 1, 1, '2026-11-27 11:46:23.131434+00', '2026-11-27 11:46:23.131434+00', NULL, NULL, 'items', '4', '\x4940670ebcd77956fd9a2302284ea2a7', 'file/1', 'Pot', NULL, NULL, 12.00, NULL, NULL, NULL, '{"colour": "blue"}');

SELECT setval('etl_runs_id_seq', 2, true);

SELECT setval('source_files_id_seq', 1, true);
