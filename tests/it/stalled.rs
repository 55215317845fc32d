//! A run without progress is shown as stalled wherever runs are shown; one that waits with a
//! reason is not.

use kasparro::api::{AuthConfig, WithoutToken};
use kasparro::domain::actor::Actor;
use kasparro::domain::run::{Mode, RunId};
use kasparro::tasks::pause_source::{pause_source, resume_source};
use serde_json::Value;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::api::TestApi;
use crate::app::TestApp;
use crate::process::{call, until};

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n";
const LONG_AGO: &str = "update etl_runs set last_progress_at = last_progress_at - interval '3 minutes';
                        update run_progress set last_progress_at = last_progress_at - interval '3 minutes'";
const RUN: RunId = RunId(1);

async fn execute(app: &TestApp, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&app.pool).await.unwrap();
}

fn write(app: &TestApp) {
    app.write("a_csv.toml", JOB);
    app.write("a.csv", "id,name\n1,one\n");
}

async fn stalled(app: &TestApp) -> bool {
    app.get(RUN).await.stalled
}

#[tokio::test]
async fn a_run_that_nobody_works_on_is_shown_as_stalled_wherever_runs_are_shown() {
    let open = AuthConfig::of(WithoutToken::ThisMachine);
    let api = TestApi::admitting(open).await;
    write(&api.app);
    api.app.start("a_csv", Mode::Incremental).await;
    let answer = async |path: &str| api.get(path).await.json::<Value>().await.unwrap();
    let shown = async || {
        [
            answer("/runs").await["items"][0]["stalled"].clone(),
            answer("/runs/1").await["stalled"].clone(),
            answer("/sources").await["items"][0]["last_run"]["stalled"].clone(),
            Value::Bool(answer("/stats").await["queue"]["stalled_runs"] == 1),
        ]
    };
    assert_eq!(shown().await, [false; 4]);
    execute(&api.app, LONG_AGO).await;
    assert_eq!(shown().await, [true; 4]);
    let list = call(&api.app, &["runs"]).await;
    list.code(0).prints(&["stalled:"]);
    let list = call(&api.app, &["runs", "--json"]).await.code(0).json();
    assert_eq!(list["runs"][0]["stalled"], true);
    call(&api.app, &["sources"]).await.code(0).prints(&["queued, stalled"]);

    api.app.drain().await;
    execute(&api.app, LONG_AGO).await;
    assert_eq!(shown().await, [false; 4], "a run that has ended waits for nothing");
}

#[tokio::test]
async fn a_run_of_a_paused_source_is_not_stalled_nor_at_once_when_it_is_resumed() {
    let app = TestApp::empty().await;
    write(&app);
    app.start("a_csv", Mode::Incremental).await;
    execute(&app, LONG_AGO).await;
    assert!(stalled(&app).await);
    let ann = Actor::command_line("ann");
    let mut connection = app.pool.acquire().await.unwrap();
    pause_source(&mut connection, "a_csv", &ann, &"stocktaking".parse().unwrap()).await.unwrap();
    assert!(!stalled(&app).await);
    resume_source(&mut connection, "a_csv", &ann, None).await.unwrap();
    assert!(!stalled(&app).await);
    execute(&app, LONG_AGO).await;
    assert!(stalled(&app).await);
    drop(connection);
    app.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_makes_progress_when_an_attempt_ends_and_is_not_stalled_while_it_waits_for_a_known_time()
 {
    let server = MockServer::start().await;
    let later = ResponseTemplate::new(429).insert_header("Retry-After", "3000");
    Mock::given(method("GET")).respond_with(later).mount(&server).await;
    let app = TestApp::empty().await;
    let job = format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{}\"\n\
         path = \"coins\"\ndata_selector = \"$[*]\"\n",
        server.uri()
    );
    app.write("coins.toml", job);
    let watching = async {
        let sequence = "select coalesce(max(sequence), 0) from runs_live";
        until("the page is put off", async || app.number(sequence).await == 2).await;
        let run = app.get(RUN).await;
        assert_eq!((run.tasks, run.completed_tasks()), (2, 1));
        execute(&app, LONG_AGO).await;
        assert!(!stalled(&app).await, "it waits for the time that the API named");
        let due = "update run_tasks set next_attempt_at = now() - interval '1 minute'
                   where state = 'open'";
        execute(&app, due).await;
        assert!(!stalled(&app).await, "it is due, but not for long");
        let overdue = "update run_tasks set next_attempt_at = now() - interval '3 minutes'
                       where state = 'open'";
        execute(&app, overdue).await;
        assert!(stalled(&app).await);
        // What waits and what is due: there could be progress.
        let other = "insert into run_tasks (run_id, task_key, kind, role, payload)
                        values (1, 'snapshot_schema', 'snapshot_schema', 'snapshot', '{}');
                     update run_progress set open_tasks = 2;
                     update run_tasks set next_attempt_at = now() + interval '1 hour'
                        where kind = 'fetch_page'";
        execute(&app, other).await;
        assert!(stalled(&app).await);
    };
    tokio::select! {
        _ = app.run_online("coins") => panic!("the page is never answered"),
        () = watching => {}
    }
}
