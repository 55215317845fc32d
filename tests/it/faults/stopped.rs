//! Fault 2: SIGTERM in the middle of the work.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;

use super::trial::{Figures, Trial, dice, rounds, seconds};
use super::{DONE, Gate, OPEN, app_with_open_runs, are_done, assert_as_if_undisturbed, worker};

/// Items that a worker has: whoever has stopped must not have any.
const HELD: &str = "select count(*) from apalis.jobs where status in ('Queued', 'Running')";
const MOST_TRIES: &str = "select max(attempt)::bigint from run_tasks";

#[tokio::test]
async fn a_worker_told_to_stop_lets_go_of_everything_and_another_one_goes_on_at_once() {
    let app = app_with_open_runs().await;
    let gate = Gate::close(&app, 3).await;
    let first = worker(&app, "2");
    gate.holds(&app, 2).await;
    first.signal(Signal::SIGTERM);
    gate.open().await;
    let ended = first.ended().await;
    ended.code(0).complains(&["worker stopped"]);
    assert!(app.number(DONE).await >= 8, "what was under way was finished");
    assert!(app.number(OPEN).await > 0, "the rest was left");
    assert_eq!(app.number(HELD).await, 0, "nothing waits for a take-over");
    let _second = worker(&app, "2");
    assert_as_if_undisturbed(&app).await;
    assert_eq!(app.number(MOST_TRIES).await, 1);
    app.database.close().await;
}

/// Answers how long the worker took to end.
async fn stop_at_random(round: usize) -> Duration {
    let mut dice = dice("stopped", round);
    let app = app_with_open_runs().await;
    let mut first = worker(&app, "2");
    // Before that it does not know the signal.
    first.says("worker started").await;
    are_done(&app, dice.random_range(0..80)).await;
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..30))).await;
    first.signal(Signal::SIGTERM);
    let told = tokio::time::Instant::now();
    first.ended().await.code(0);
    let took = told.elapsed();
    assert_eq!(app.number(HELD).await, 0, "nothing waits for a take-over");
    let _second = worker(&app, "2");
    assert_as_if_undisturbed(&app).await;
    assert_eq!(app.number(MOST_TRIES).await, 1, "nothing was begun twice");
    app.database.close().await;
    took
}

#[tokio::test]
async fn sigterm_at_random_moments_leaves_nothing_to_take_over() {
    let all = rounds(25, 3);
    let mut longest = Duration::ZERO;
    for round in 0..all {
        longest = longest.max(stop_at_random(round).await);
    }
    let observed = format!("all equal, every task begun once; ended within {}", seconds(longest));
    Trial {
        number: "2",
        fault: "SIGTERM at a random moment, another worker started afterwards",
        promised: "it ends within its grace time of 30 s, and no task waits for a take-over",
    }
    .held(&Figures { rounds: all, observed });
}
