//! Fault 9: several schedulers, whose clock jumps and which are started again.

use chrono::{DateTime, Duration, Utc};
use kasparro::scheduler;
use kasparro::sources::Access;
use rand::Rng;

use super::trial::{Figures, Trial, dice, rounds};
use crate::app::TestApp;

const STARTED: &str = "select to_char(tick at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
    from schedule_ticks where outcome = 'started' order by tick";
const RUNS: &str = "select replace(substr(idempotency_key, 12, 16), 'T', ' ') from etl_runs
    order by 1";

/// Three schedulers look at the clock at once, again and again. The clock goes on by minutes, stands
/// still, and jumps forth by hours and back by hours; a scheduler has no memory but the database.
async fn jump(round: usize) -> usize {
    let mut dice = dice("schedulers", round);
    let app = TestApp::empty().await;
    app.write(
        "every.toml",
        "kind = \"csv\"\nschedule = \"*/10 * * * *\"\nprimary_key = [\"id\"]\n[csv]\n\
         paths = [\"a.csv\"]\n",
    );
    app.write("a.csv", "id,name\n1,one\n");
    let jobs = app.jobs();
    let mut now: DateTime<Utc> = "2026-03-28T22:00:00Z".parse().unwrap();
    for _ in 0..40 {
        let tick = |now| scheduler::tick(&app.pool, &jobs, Access::Offline, now);
        let skew = Duration::milliseconds(dice.random_range(0..900));
        tokio::join!(tick(now), tick(now + skew), tick(now));
        app.drain().await;
        now += match dice.random_range(0..10) {
            0 => Duration::hours(dice.random_range(1..30)),
            1 => -Duration::hours(dice.random_range(1..5)),
            2 => Duration::zero(),
            _ => Duration::minutes(dice.random_range(1..15)),
        };
    }
    let started = app.texts(STARTED).await;
    let mut once = started.clone();
    once.dedup();
    assert_eq!(started, once, "each tick once");
    assert_eq!(app.texts(RUNS).await, started, "a run for each, and no other");
    assert!(!started.is_empty());
    app.database.close().await;
    started.len()
}

#[tokio::test]
async fn three_schedulers_start_each_tick_once_while_the_clock_jumps() {
    let (all, mut ticks) = (rounds(20, 2), 0);
    for round in 0..all {
        ticks += jump(round).await;
    }
    let observed = format!("{ticks} ticks, each started once");
    Trial {
        number: "9",
        fault: "three schedulers at once; the clock stands, jumps forth and back",
        promised: "each tick starts one run",
    }
    .held(&Figures { rounds: all, observed });
}
