//! Behaviour of kasparro on a real PostgreSQL, every test in a database of its own.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::print_stdout,
    reason = "a test says by panicking what is wrong"
)]

#[allow(dead_code, reason = "each test program uses another part of it")]
#[path = "../support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "each test program uses another part of it")]
#[path = "../support/fake_api.rs"]
mod fake_api;
#[path = "../support/raw_api.rs"]
mod raw_api;
#[cfg(feature = "sftp")]
#[path = "../support/sftp_server.rs"]
mod sftp_server;
#[path = "../support/shipped.rs"]
mod shipped;

mod absent_fields;
mod after;
mod answers;
mod api;
mod api_source;
mod app;
mod asked_again;
mod attempts;
mod backfill;
mod broken_downloads;
mod broken_off;
mod bucket;
mod canary;
mod cancel;
mod command_line;
mod conditional;
mod console;
mod console_quarantine;
mod console_records;
mod csv_input;
mod database_rights;
mod database_url;
mod deletions;
mod dirty_file;
mod dry_run;
mod examples;
mod exported;
mod exports;
mod faults;
mod file_formats;
mod files_at_hand;
mod guarded_news;
mod honest_runs;
mod hostile;
mod incremental;
mod incremental_chains;
mod janitor;
mod jsonl;
mod killed_chains;
mod killed_kinds;
mod landing;
mod lineage;
mod locks;
mod logins;
mod lost_tokens;
mod lost_values;
mod odd_values;
mod offset;
mod order;
mod page_places;
mod paging;
mod parents;
mod parquet;
mod parrot;
mod pause;
mod pipeline;
mod previews;
mod private_database;
mod process;
mod quarantine_totals;
mod queue_awake;
mod queue_contract;
mod rate_limits;
mod record_columns;
mod redrives;
mod repeated_keys;
mod replay;
mod retry;
mod row_by_row;
mod row_keys;
mod run_events;
mod run_progress;
mod scheduling;
mod schema_drift;
mod scripted;
mod secrets;
mod security;
mod shuffle;
mod side_by_side;
mod signed_logins;
mod slices;
mod slow_clients;
mod small_files;
mod stalled;
mod terminal;
mod unchanged_pages;
mod unique_values;
mod upgrade;
mod uploads;
mod uploads_to_buckets;
mod watching;
mod windows;
