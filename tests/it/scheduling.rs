//! Schedules: every tick once, however many schedulers there are.

use chrono::{DateTime, Utc};
use kasparro::domain::run::Mode;
use kasparro::scheduler;
use kasparro::sources::Access;

use crate::app::TestApp;

const RUNS: &str = "select source || ' ' || trigger || ' ' || coalesce(idempotency_key, '-') \
                    from etl_runs order by id";
const TICKS: &str = "select to_char(tick at time zone 'UTC', 'HH24:MI') || ' ' || outcome \
                     from schedule_ticks order by tick";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

async fn scheduled(schedule: &str) -> TestApp {
    let app = TestApp::empty().await;
    let job =
        format!("kind = \"csv\"\n{schedule}\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n");
    app.write("a_csv.toml", job);
    app.write("a.csv", "id,name\n1,one\n");
    app
}

impl TestApp {
    async fn tick(&self, now: &str) {
        scheduler::tick(&self.pool, &self.jobs(), Access::Offline, at(now)).await;
    }
}

#[tokio::test]
async fn three_schedulers_start_one_run_per_tick() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2026-03-01T12:01:00Z").await;
    assert!(app.texts(RUNS).await.is_empty(), "what was due before the first start was not missed");
    for now in ["2026-03-01T12:10:00Z", "2026-03-01T12:20:01Z"] {
        tokio::join!(app.tick(now), app.tick(now), app.tick(now));
        app.drain().await;
    }
    let expected = [
        "a_csv schedule cron:a_csv:2026-03-01T12:10:00+00:00",
        "a_csv schedule cron:a_csv:2026-03-01T12:20:00+00:00",
    ];
    assert_eq!(app.texts(RUNS).await, expected);
    app.database.close().await;
}

#[tokio::test]
async fn the_last_missed_tick_is_caught_up_after_a_downtime() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2026-03-01T12:00:00Z").await;
    // Down from 12:00 to 14:35: of sixteen missed ticks the last one counts.
    app.tick("2026-03-01T14:35:00Z").await;
    app.drain().await;
    app.tick("2026-03-01T14:35:05Z").await;
    assert_eq!(app.texts(TICKS).await, ["12:00 baseline", "14:30 started"]);
    assert_eq!(app.texts(RUNS).await.len(), 1);
    app.database.close().await;
}

#[tokio::test]
async fn a_broken_job_file_starts_nothing_and_its_last_tick_is_caught_up_when_it_is_mended() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2026-03-01T12:00:00Z").await;
    let good = app.read("a_csv.toml");
    app.write("a_csv.toml", good.replace("paths", "pathz"));
    app.tick("2026-03-01T12:10:00Z").await;
    assert!(app.texts(RUNS).await.is_empty());
    assert_eq!(app.number("select count(*) from source_definitions").await, 0);
    app.write("a_csv.toml", good);
    app.tick("2026-03-01T12:11:00Z").await;
    assert_eq!(app.texts(TICKS).await, ["12:00 baseline", "12:10 started"]);
    assert_eq!(app.texts(RUNS).await.len(), 1);
    app.database.close().await;
}

#[tokio::test]
async fn a_tick_is_skipped_and_recorded_while_a_run_is_under_way() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2026-03-01T12:00:00Z").await;
    app.start("a_csv", Mode::Incremental).await;
    app.tick("2026-03-01T12:10:00Z").await;
    app.drain().await;
    app.tick("2026-03-01T12:11:00Z").await;
    assert_eq!(app.texts(TICKS).await, ["12:00 baseline", "12:10 skipped"]);
    assert_eq!(app.texts(RUNS).await, ["a_csv api -"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_clock_that_jumps_back_starts_nothing_twice() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2026-03-01T12:00:00Z").await;
    for now in ["2026-03-01T12:30:00Z", "2026-03-01T12:12:00Z", "2026-03-01T12:30:30Z"] {
        app.tick(now).await;
        app.drain().await;
    }
    assert_eq!(app.texts(TICKS).await, ["12:00 baseline", "12:30 started"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_clock_that_was_once_far_ahead_silences_no_source() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2026-03-01T12:00:00Z").await;
    app.tick("2026-03-03T12:00:00Z").await;
    app.drain().await;
    app.tick("2026-03-01T12:10:00Z").await;
    app.drain().await;
    assert_eq!(app.texts(TICKS).await, ["12:00 baseline", "12:10 started", "12:00 started"]);
    // When that time has come, its tick is not acted upon once more.
    app.tick("2026-03-03T12:00:00Z").await;
    app.drain().await;
    app.tick("2026-03-03T12:10:00Z").await;
    assert_eq!(app.texts(RUNS).await.len(), 3);
    app.database.close().await;
}

#[tokio::test]
async fn a_source_first_seen_by_a_clock_far_ahead_is_read_all_the_same() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.tick("2027-03-01T12:00:00Z").await;
    app.tick("2026-03-01T12:00:00Z").await;
    assert_eq!(app.texts(RUNS).await.len(), 1);
    app.database.close().await;
}

#[tokio::test]
async fn a_schedule_is_meant_in_its_time_zone() {
    let app = scheduled("schedule = \"30 6 * * *\"\ntime_zone = \"Europe/Berlin\"").await;
    app.tick("2026-07-01T12:00:00Z").await;
    app.tick("2026-07-02T04:29:59Z").await;
    assert_eq!(app.texts(TICKS).await, ["04:30 baseline"]);
    app.tick("2026-07-02T04:30:00Z").await;
    assert_eq!(app.texts(TICKS).await, ["04:30 baseline", "04:30 started"]);
    app.drain().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_broken_job_file_does_not_stop_the_other_schedules() {
    let app = scheduled("schedule = \"*/10 * * * *\"").await;
    app.write("broken.toml", "kind = \"csv\"\nschedule = \"never\"\n");
    app.tick("2026-03-01T12:00:00Z").await;
    app.tick("2026-03-01T12:10:00Z").await;
    app.drain().await;
    assert_eq!(app.texts(RUNS).await.len(), 1);
    app.database.close().await;
}
