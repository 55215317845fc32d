//! Fault 3: the database goes away in the middle, or cuts its connections.

use std::time::Duration;

use rand::Rng;
use sqlx::AssertSqlSafe;

use super::own_server::{FORGETFUL, OwnServer};
use super::trial::{Figures, Trial, dice, rounds, seconds};
use super::{
    app_with_open_runs, are_done, assert_as_if_undisturbed, start_runs, with_sources, worker,
};
use crate::app::TestApp;

/// Crashes the server at a random moment, and answers how long the runs took from when it was back.
async fn crash(name: &str, round: usize, away: Duration) -> Duration {
    let mut dice = dice(name, round);
    let mut server = OwnServer::start(&FORGETFUL).await;
    let app = with_sources(TestApp::shipped_on(server.url()).await);
    start_runs(&app).await;
    let _workers = [worker(&app, "2"), worker(&app, "2")];
    are_done(&app, dice.random_range(1..80)).await;
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..30))).await;
    server.crash().await;
    // That is the fault.
    tokio::time::sleep(away).await;
    server.bring_up().await;
    let back = tokio::time::Instant::now();
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
    back.elapsed()
}

#[tokio::test]
async fn a_server_that_crashes_and_is_away_for_three_seconds() {
    let (all, mut longest) = (rounds(10, 2), Duration::ZERO);
    for round in 0..all {
        let name = "the server away for 3 s";
        longest = longest.max(crash(name, round, Duration::from_secs(3)).await);
    }
    let observed = format!("all equal; finished within {} of its return", seconds(longest));
    Trial {
        number: "3a",
        fault: "PostgreSQL stopped immediately (no checkpoint, no goodbye), 3 s away",
        promised: "workers stay up and go on; the tables equal those of an undisturbed run",
    }
    .held(&Figures { rounds: all, observed });
}

#[tokio::test]
async fn a_server_that_crashes_and_is_away_for_longer_than_workers_count_as_dead() {
    let (all, mut longest) = (rounds(3, 1), Duration::ZERO);
    for round in 0..all {
        let name = "the server away for 40 s";
        longest = longest.max(crash(name, round, Duration::from_secs(40)).await);
    }
    let observed = format!("all equal; finished within {} of its return", seconds(longest));
    Trial { number: "3b", fault: "the same, 40 s away", promised: "the same" }
        .held(&Figures { rounds: all, observed });
}

/// Connections of the workers, the one that listens first.
const CONNECTIONS: &str = "select pid from pg_stat_activity
    where datname = current_database() and application_name like 'kasparro%'
    order by query not ilike 'listen%', pid";

/// Cuts connections one by one, and answers how many.
async fn cut(round: usize) -> usize {
    let mut dice = dice("connections cut", round);
    let app = app_with_open_runs().await;
    let _workers = [worker(&app, "2"), worker(&app, "2")];
    are_done(&app, 1).await;
    let mut cut = 0;
    while cut < 40 && super::open_runs(&app).await > 0 {
        let connections: Vec<i32> =
            sqlx::query_scalar(CONNECTIONS).fetch_all(&app.pool).await.unwrap();
        if !connections.is_empty() {
            // The ones that listen are two of many, and matter most.
            let listening = dice.random_bool(0.2);
            let at = if listening { 0 } else { dice.random_range(0..connections.len()) };
            let statement = format!("select pg_terminate_backend({})", connections[at]);
            sqlx::query(AssertSqlSafe(statement)).execute(&app.pool).await.unwrap();
            cut += 1;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(5..80))).await;
    }
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
    cut
}

#[tokio::test]
async fn connections_cut_one_by_one_the_listening_one_included() {
    let (all, mut connections) = (rounds(10, 2), 0);
    for round in 0..all {
        connections += cut(round).await;
    }
    let observed = format!("all equal after {connections} cut connections");
    Trial {
        number: "3c",
        fault: "connections cut one by one (`pg_terminate_backend`), also the one that listens",
        promised: "the tables equal those of an undisturbed run",
    }
    .held(&Figures { rounds: all, observed });
}
