//! Fault 4, second half: a worker that is frozen until others have taken its tasks over, and thaws.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::trial::{Figures, Trial, dice, rounds};
use super::{app_with_open_runs, are_done, assert_as_if_undisturbed, open_runs, worker};
use crate::app::TestApp;
use crate::process::{Process, until};

const SLOW: &str = r#"
kind = "rest_api"
primary_key = ["id"]

[rest_api]
path = "coins"
timeout = "60s"
"#;

/// The worker is frozen between its request and its transaction: when it thaws it has an answer,
/// and the task has been done by another.
#[tokio::test]
async fn a_worker_that_thaws_after_its_task_was_taken_over_writes_nothing() {
    let server = MockServer::start().await;
    let answer = |name: &str| {
        ResponseTemplate::new(200).set_body_json(serde_json::json!([{ "id": 1, "name": name }]))
    };
    let slow = answer("too late").set_delay(Duration::from_secs(2));
    Mock::given(method("GET")).respond_with(slow).up_to_n_times(1).mount(&server).await;
    Mock::given(method("GET")).respond_with(answer("in time")).mount(&server).await;
    let app = TestApp::empty().await;
    let fields = "[fields]\nname = { from = \"$.name\" }\n";
    app.write("coins.toml", format!("{SLOW}base_url = \"{}\"\n{fields}", server.uri()));
    let start = crate::process::call(&app, &["run", "coins", "--detach"]).await;
    start.code(0);

    let requests = async || server.received_requests().await.unwrap().len();
    let first = worker(&app, "1");
    until("the request is under way", async || requests().await == 1).await;
    first.signal(Signal::SIGSTOP);
    let _second = worker(&app, "1");
    until("the run has ended", async || open_runs(&app).await == 0).await;
    let names = "select name from unified_records";
    assert_eq!(app.texts(names).await, ["in time"]);
    assert_eq!(requests().await, 2);
    let ledger = "select t::text from run_tasks as t order by task_key";
    let (before, pages) = (app.texts(ledger).await, "select body::text from raw_api_data");
    first.signal(Signal::SIGCONT);
    // It ends what it was at before it goes.
    first.signal(Signal::SIGTERM);
    first.ended().await.code(0);
    assert_eq!(app.texts(names).await, ["in time"]);
    assert_eq!(app.texts(pages).await.len(), 1);
    assert_eq!(app.texts(ledger).await, before);
    app.database.close().await;
}

/// Answers whether the frozen one had anything to lose.
async fn freeze(round: usize) -> bool {
    let mut dice = dice("frozen", round);
    let app = app_with_open_runs().await;
    let frozen = worker(&app, "2");
    let _other = worker(&app, "2");
    are_done(&app, dice.random_range(0..80)).await;
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..30))).await;
    frozen.signal(Signal::SIGSTOP);
    let id = frozen.id();
    let held = super::killed::held_by(&app, id).await > 0;
    // Past the orphan window, and past the time-out of a transaction in which nothing is said.
    tokio::time::sleep(Duration::from_secs(36)).await;
    frozen.signal(Signal::SIGCONT);
    assert_as_if_undisturbed(&app).await;
    // It is alive and well, and ends as it should.
    frozen.signal(Signal::SIGTERM);
    frozen.ended().await.code(0);
    app.database.close().await;
    held
}

#[tokio::test]
async fn workers_frozen_at_random_moments_and_thawed_past_the_orphan_window() {
    use futures::StreamExt;
    let all = rounds(20, 2);
    let frozen = futures::stream::iter(0..all).map(freeze).buffer_unordered(4);
    let held = frozen.filter(|held| std::future::ready(*held)).count().await;
    let observed = format!("all equal; {held} of the frozen held tasks");
    Trial {
        number: "4c",
        fault: "one of two workers frozen (SIGSTOP) for 36 s at a random moment, then thawed",
        promised: "its tasks are taken over, and what it still wants to write is refused",
    }
    .held(&Figures { rounds: all, observed });
}

/// Programs that want every processor all the time, four for each there is.
fn crowd() -> Vec<Process> {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let busy = || {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Process::start(command)
    };
    (0..4 * processors).map(|_| busy()).collect()
}

/// A file whose chunks take all the time that there is.
#[tokio::test]
async fn nobody_takes_a_task_from_a_worker_that_is_only_busy() {
    const ROWS: usize = 60_000;
    let app = TestApp::empty().await;
    app.write(
        "lines.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"lines.csv\"]\n\
         chunk_size = 200000\n[fields]\nname = { column = \"name\" }\n",
    );
    let mut text = String::from("id,name,a,b,c,d\n");
    for row in 0..ROWS * rounds(10, 1) {
        use std::fmt::Write;
        writeln!(text, "{row},name {row},{row}.25,\"a, b\",{row},line {row}").unwrap();
    }
    app.write("lines.csv", text);
    crate::process::call(&app, &["run", "lines", "--detach"]).await.code(0);
    let crowd = crowd();
    // Far more tasks at once than there are processors.
    let _workers = [worker(&app, "16"), worker(&app, "16")];
    until("the run has ended", async || open_runs(&app).await == 0).await;
    drop(crowd);
    let tasks = app.number("select count(*) from run_tasks").await;
    let taken = app.number("select count(*) from apalis.jobs where attempts > 0").await;
    assert_eq!(taken, 0, "every item was delivered once");
    assert_eq!(app.number("select max(attempt)::bigint from run_tasks").await, 1);
    let observed = format!("{tasks} tasks, none of them taken over");
    Trial {
        number: "4d",
        fault: "two workers of 16 tasks at once beside four busy programs per processor",
        promised: "no living worker's task is taken over, however busy the machine",
    }
    .held(&Figures { rounds: 1, observed });
    app.database.close().await;
}
