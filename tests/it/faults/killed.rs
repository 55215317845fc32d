//! Fault 1: `kill -9` of workers. Whoever survives, or comes next, takes over and finishes.

use std::time::Duration;

use futures::StreamExt;
use rand::Rng;

use super::trial::{Figures, Trial, dice, rounds, seconds};
use super::{
    DONE, Gate, OPEN, app_with_open_runs, are_done, assert_as_if_undisturbed, runs_have_ended,
    worker,
};
use crate::app::TestApp;
use crate::process::until;

#[tokio::test]
async fn after_kill_9_of_the_only_worker_another_one_finishes_as_if_nothing_had_happened() {
    let app = app_with_open_runs().await;
    let gate = Gate::close(&app, 3).await;
    let first = worker(&app, "2");
    gate.holds(&app, 2).await;
    assert_eq!(app.number(DONE).await, 6);
    assert!(app.number(OPEN).await > 40);
    first.kill();
    gate.open().await;
    let _second = worker(&app, "2");
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
}

#[tokio::test]
async fn two_worker_processes_share_the_chunks_of_one_run() {
    let app = app_with_open_runs().await;
    // Nobody is late: both are there before the chunks are handed out.
    let gate = Gate::close(&app, 0).await;
    let mut both = [worker(&app, "1"), worker(&app, "1")];
    for worker in &mut both {
        worker.says("worker started").await;
    }
    let registered = "select count(*) from apalis.workers where worker_type = 'parse_csv_chunk'";
    until("both have registered", async || app.number(registered).await == 2).await;
    gate.open().await;
    runs_have_ended(&app).await;
    let processes = "select split_part(worker, '/', 1) from run_tasks t
                     join etl_runs r on r.id = t.run_id
                     where r.source = 'ledger_lines' and t.kind = 'parse_csv_chunk'
                     group by 1 order by 1";
    let processes = app.texts(processes).await;
    assert_eq!(processes.len(), 2, "{processes:?}");
    for worker in &both {
        let id = format!("-{}", worker.id());
        assert!(processes.iter().any(|process| process.ends_with(&id)), "{processes:?} {id}");
    }
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
}

/// Items that a process has and has not ended.
pub(super) async fn held_by(app: &TestApp, process: u32) -> i64 {
    let query = "select count(*) from apalis.jobs
        where status in ('Queued', 'Running') and lock_by like '%-' || $1 || '/%'";
    sqlx::query_scalar(query).bind(process.to_string()).fetch_one(&app.pool).await.unwrap()
}

/// Kills a worker at a random moment. Another one is there, or comes after the blow. Answers how
/// long what the dead one held stayed with it, if it held anything.
async fn kill_at_random(name: &str, round: usize, survivor: bool) -> Option<Duration> {
    let mut dice = dice(name, round);
    let app = app_with_open_runs().await;
    let victim = worker(&app, "2");
    let mut other = survivor.then(|| worker(&app, "2"));
    are_done(&app, dice.random_range(0..80)).await;
    // Not at the beat of our own looking.
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..30))).await;
    let process = victim.id();
    victim.kill();
    let killed = tokio::time::Instant::now();
    other.get_or_insert_with(|| worker(&app, "2"));
    let held = held_by(&app, process).await > 0;
    until("others have taken over", async || held_by(&app, process).await == 0).await;
    let taken_over = held.then(|| killed.elapsed());
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
    taken_over
}

async fn kill_many(name: &'static str, survivor: bool) -> Figures {
    let all = rounds(50, 4);
    let blows = futures::stream::iter(0..all)
        .map(|round| kill_at_random(name, round, survivor))
        .buffer_unordered(4);
    let taken_over: Vec<_> = blows.filter_map(|blow| async move { blow }).collect().await;
    let longest = taken_over.iter().max().copied().unwrap_or_default();
    let observed = format!(
        "all equal; {} of the killed held tasks, which were taken over within {}",
        taken_over.len(),
        seconds(longest),
    );
    Figures { rounds: all, observed }
}

#[tokio::test]
async fn kill_9_at_random_moments_beside_a_worker_that_survives() {
    let figures = kill_many("killed, another survives", true).await;
    Trial {
        number: "1a",
        fault: "`kill -9` of one of two workers at a random moment",
        promised: "the tables equal those of an undisturbed run; tasks are taken over within 20 s",
    }
    .held(&figures);
}

#[tokio::test]
async fn kill_9_of_the_only_worker_at_random_moments() {
    let figures = kill_many("the only one killed", false).await;
    Trial {
        number: "1b",
        fault: "`kill -9` of the only worker at a random moment, another started afterwards",
        promised: "the same",
    }
    .held(&figures);
}
