//! Databases of earlier versions keep what they hold.

mod hashes;
mod under_way;

use kasparro::db::{
    self,
    runs::{
        self,
        progress::{self, RunProgress},
    },
};
use kasparro::domain::counters::Counters;
use kasparro::domain::run::RunId;
use sqlx::{AssertSqlSafe, PgPool};

use crate::app::TestApp;

const ROWS: &str = "select concat_ws('|', row_number, byte_offset, encode(payload, 'escape'))
                    from raw_csv_data order by row_number";

/// What the migrations from `first` to `last` say.
async fn migrate(pool: &PgPool, first: i64, last: i64) {
    let chosen = db::MIGRATIONS.iter().filter(|m| (first..=last).contains(&m.version));
    for migration in chosen {
        sqlx::raw_sql(AssertSqlSafe(migration.sql.as_str().to_owned()))
            .execute(pool)
            .await
            .unwrap();
    }
}

/// A database as the migrations up to this one left it.
async fn app_of(migration: i64) -> TestApp {
    let app = TestApp::empty().await;
    let nothing = "drop schema public cascade; create schema public";
    sqlx::raw_sql(nothing).execute(&app.pool).await.unwrap();
    migrate(&app.pool, 1, migration).await;
    app
}

/// A run of the source `s`, and its definition.
const RUN: &str = "insert into source_definitions (hash, source, path, toml)
                   values (decode(repeat('00', 16), 'hex'), 's', 'p', '');
                   insert into etl_runs (source, mode, trigger, access, config_hash)
                   select source, 'full', 'cli', 'offline', hash from source_definitions;";

async fn rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(ROWS).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn raw_rows_that_were_kept_by_the_offsets_of_their_ends_stay_as_they_are() {
    let app = app_of(8).await;
    let pool = &app.pool;
    sqlx::raw_sql(RUN).execute(pool).await.unwrap();
    sqlx::raw_sql(
        "insert into source_files (source, url, size, modified_ns, content_hash, layout, first_run_id)
         select r.source, 'file:///a.csv', 14, 0, r.config_hash, '{}', r.id from etl_runs as r;
         insert into raw_csv_blocks (file_id, chunk, block, first_row, first_line, start_offset,
            run_id, source, row_ends, payload)
         select f.id, 0, b.block, b.first_row, 2, b.start, f.first_run_id, f.source, b.ends, b.payload
         from source_files as f
         cross join (values
            (0, 1, 5, '{4,5}'::integer[], 'a,1\n\n'::bytea),
            (1, 3, 10, '{4}', 'b,2\n')
         ) as b (block, first_row, start, ends, payload)",
    )
    .execute(pool)
    .await
    .unwrap();
    let before = rows(pool).await;
    assert_eq!(before, ["1|5|a,1\n", "2|9|\n", "3|10|b,2\n"]);
    migrate(pool, 9, i64::MAX).await;
    assert_eq!(rows(pool).await, before);
}

#[tokio::test]
async fn a_run_that_was_under_way_goes_on_with_its_figures() {
    let app = app_of(10).await;
    let pool = &app.pool;
    sqlx::raw_sql(RUN).execute(pool).await.unwrap();
    let figures = "update etl_runs set status = 'running', moves = 12, tasks = 20, open_tasks = 8,
        open_reading_tasks = 5, dead_tasks = 1, slices = 10, bytes = 900, rows_read = 70,
        inserted = 30, updated = 20, unchanged = 10, quarantined = 4, inserted_before = 3";
    sqlx::query(figures).execute(pool).await.unwrap();
    migrate(pool, 11, i64::MAX).await;
    let mut connection = pool.acquire().await.unwrap();
    let progress = RunProgress {
        sequence: 12,
        tasks: 20,
        open: 8,
        open_reading: 5,
        failed: 1,
        counters: Counters {
            slices: 10,
            bytes: 900,
            rows_read: 70,
            inserted: 30,
            updated: 20,
            unchanged: 10,
            quarantined: 4,
        },
        inserted_before: 3,
    };
    assert_eq!(progress::latest(&mut connection, RunId(1)).await.unwrap(), progress);
}

#[tokio::test]
async fn texts_of_errors_that_were_kept_whole_are_cut_where_they_are_and_where_they_are_shown() {
    let app = app_of(15).await;
    let pool = &app.pool;
    sqlx::raw_sql(RUN).execute(pool).await.unwrap();
    let fill = "update etl_runs set error = 'begin' || repeat('ü', 2000000) || 'end',
            stop_reason = repeat('s', 9000);
        insert into run_tasks (run_id, task_key, kind, payload, error)
        select id, 'plan_run', 'plan_run', '{}', error from etl_runs;
        insert into quarantined_rows (source, raw_ref, raw_row, field, reason, run_id, message, raw,
            fingerprint)
        select source, 'file/1', 1, 'f', 'invalid_decimal', id, error, '', '\\x00' from etl_runs";
    sqlx::raw_sql(fill).execute(pool).await.unwrap();
    migrate(pool, 16, 16).await;
    let all = "select error from etl_runs union all select error from run_tasks
        union all select message from quarantined_rows";
    for text in app.texts(all).await {
        assert!(text.len() < 8 << 10, "{}", text.len());
        assert!(text.starts_with("beginü") && text.ends_with("üend"), "{text}");
        assert!(text.contains(" bytes cut) …"), "{text}");
    }
    assert_eq!(app.number("select octet_length(stop_reason)::bigint from etl_runs").await, 9000);
    // A process of an earlier version goes on for a while.
    sqlx::raw_sql(fill.split(';').next().unwrap()).execute(pool).await.unwrap();
    migrate(pool, 17, i64::MAX).await;
    let run = runs::get(pool, RunId(1)).await.unwrap().unwrap();
    assert!(run.error.unwrap().len() < 8 << 10);
}

#[tokio::test]
async fn a_run_that_loaded_nothing_keeps_the_status_that_an_earlier_version_gave_it() {
    let app = app_of(11).await;
    let pool = &app.pool;
    sqlx::raw_sql(RUN).execute(pool).await.unwrap();
    let green = "update etl_runs set status = 'success', finished_at = now(), open_tasks = 0,
        rows_read = 7, quarantined = 7";
    sqlx::query(green).execute(pool).await.unwrap();
    migrate(pool, 12, i64::MAX).await;
    assert_eq!(app.texts("select status from etl_runs").await, ["success"]);
    assert!(sqlx::query("update etl_runs set quarantined = 8").execute(pool).await.is_err());
}

#[tokio::test]
async fn what_is_large_is_compressed_by_lz4_where_the_server_has_it() {
    let app = TestApp::empty().await;
    let has = "select count(*) from pg_settings
        where name = 'default_toast_compression' and 'lz4' = any (enumvals)";
    let columns = "select attrelid::regclass || '.' || attname from pg_attribute
        where attcompression = 'l' and attrelid::regclass::text not like 'pg_%' order by 1";
    let expected = [
        "raw_api_data.body",
        "raw_csv_blocks.payload",
        "raw_csv_blocks.row_lengths",
        "unified_records.attributes",
    ];
    let expected = if app.number(has).await > 0 { &expected[..] } else { &[] };
    assert_eq!(app.texts(columns).await, expected);
    app.database.close().await;
}
