//! What becomes of a refresh token that a login server gave and that is not stored yet: it takes the one before no
//! more.

use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use kasparro::db::totals;
use kasparro::domain::run::RunStatus;
use kasparro::tasks::start_run::Started;
use sqlx::PgPool;

use crate::app::TestApp;
use crate::canary::{assert_tables_are_clean, assert_text_is_clean};
use crate::logins::{Api, KEY, REFRESH, api, app_of, canaries, online, with_input};
use crate::process::{Process, kasparro, until};

fn with_key(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = kasparro(app, arguments);
    command.env("KASPARRO_SECRET_KEY", KEY);
    command
}

async fn token_is_taken(api: &Api) {
    until("the refresh token is taken", async || api.state.lock().unwrap().renewals == 1).await;
}

async fn ended(pool: &PgPool) {
    until("the run ends", async || totals::open_tasks(pool).await.unwrap() == 0).await;
}

#[tokio::test]
async fn a_refresh_token_that_is_lost_with_its_worker_is_told_of_and_stored_anew_by_hand() {
    let api = api().await;
    let app = app_of(&api, 1).await;
    api.state.lock().unwrap().answers_after = Duration::from_secs(600);
    let Started::New(id) = app.start_as("items_0", &online()).await else { panic!("a run begins") };
    let worker = Process::start(with_key(&app, &["worker"]));
    token_is_taken(&api).await;
    worker.kill();
    api.state.lock().unwrap().answers_after = Duration::ZERO;
    let second = Process::start(with_key(&app, &["worker"]));
    ended(&app.pool).await;
    let run = app.get(id).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let error = run.error.unwrap_or_default();
    for part in ["invalid_grant", "killed", "`kasparro auth set SOURCE`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_text_is_clean(&canaries(), "the error", &error);
    assert_eq!(api.state.lock().unwrap().invalid, 1, "asked once, and not again and again");
    // The worker goes on with the one that is stored by hand.
    api.state.lock().unwrap().refresh = format!("{REFRESH}-by-hand");
    let set = with_key(&app, &["auth", "set", "items_0"]);
    with_input(set, &format!("{REFRESH}-by-hand\n")).await.code(0);
    let Started::New(id) = app.start_as("items_0", &online()).await else { panic!("a run begins") };
    ended(&app.pool).await;
    let run = app.get(id).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!(api.state.lock().unwrap().invalid, 1);
    let said = second.said();
    assert_text_is_clean(&canaries(), "the worker", &said);
    drop(second);
    assert_tables_are_clean(&app, &canaries()).await;
    app.database.close().await;
}

#[tokio::test]
async fn a_refresh_token_that_comes_while_the_connection_is_lost_is_stored_over_another() {
    const CUT: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction' and query like '%oauth_tokens%'";
    const LEFT: &str = "select count(*) from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction' and query like '%oauth_tokens%'";
    let api = api().await;
    let app = app_of(&api, 1).await;
    let gate = Arc::new(Barrier::new(2));
    api.state.lock().unwrap().gate = Some(Arc::clone(&gate));
    let Started::New(id) = app.start_as("items_0", &online()).await else { panic!("a run begins") };
    let worker = Process::start(with_key(&app, &["worker"]));
    token_is_taken(&api).await;
    assert_eq!(app.number(CUT).await, 1);
    until("the connection is gone", async || app.number(LEFT).await == 0).await;
    tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
    ended(&app.pool).await;
    let run = app.get(id).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}\n{}", worker.said());
    assert_eq!(api.state.lock().unwrap().invalid, 0);
    let kept = app.number("select generation from oauth_tokens").await;
    assert_eq!(kept, api.state.lock().unwrap().renewals as i64);
    assert_text_is_clean(&canaries(), "the worker", &worker.said());
    drop(worker);
    assert_tables_are_clean(&app, &canaries()).await;
    app.database.close().await;
}

#[tokio::test]
async fn a_token_is_set_only_where_one_is_kept_and_nobody_wonders_which() {
    let app = TestApp::empty().await;
    let job = |auth: &str| {
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"https://api.example.com\"\n\
             auth = {auth}\n[fields]\nname = {{ from = \"$.name\" }}\n"
        )
    };
    let oauth = |more: &str| {
        format!(
            "{{ type = \"oauth2\", grant = \"refresh_token\", token_url = \"https://login.example.com/token\", {more} }}"
        )
    };
    app.write("bearer.toml", job("{ type = \"bearer\", token = { file = \"token\" } }"));
    app.write(
        "same.toml",
        job(&oauth("rotating = false, client_id = \"me\", refresh_token = { file = \"token\" }")),
    );
    let second = oauth("client_id = \"b\", send = { in = \"header\", name = \"x-second\" }");
    app.write("two.toml", job(&format!("[{}, {second}]", oauth("client_id = \"a\""))));
    for (source, says) in [
        ("bearer", &["bearer keeps no token", "Put a new secret where `auth`"][..]),
        ("same", &["same keeps no token", "`rotating`"]),
        ("two", &["two keeps 2 tokens", "`rest_api.auth[0]`", "`rest_api.auth[1]`"]),
    ] {
        let set = with_key(&app, &["auth", "set", source]);
        with_input(set, "a-new-refresh-token\n").await.code(1).complains(says);
    }
    assert_eq!(app.number("select count(*) from oauth_tokens").await, 0);
    app.database.close().await;
}
