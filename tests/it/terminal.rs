//! What a person sees in a terminal.

use crate::app::TestApp;
use crate::process::{Process, call, kasparro};

/// Fails whatever the network does: its key is not there.
const SECRET_JOB: &str = r#"
kind = "rest_api"
primary_key = ["id"]

[rest_api]
base_url = "http://127.0.0.1:9/"
path = "things"
auth = { type = "bearer", token = { env = "KASPARRO_TEST_NO_SUCH_KEY" } }
"#;

/// What stands on the screen in the end: without what was drawn over, colours and the like.
fn screen(said: &str) -> Vec<String> {
    let plain = console::strip_ansi_codes(said);
    plain.lines().map(|line| line.rsplit('\r').next().unwrap_or_default().to_owned()).collect()
}

async fn in_terminal(app: &TestApp, columns: u16, arguments: &[&str]) -> Vec<String> {
    let process = Process::start_on_terminal(kasparro(app, arguments), columns);
    screen(&process.ended().await.stdout.replace("\r\n", "\n"))
}

#[tokio::test]
async fn errors_and_hints_fit_the_terminal_and_a_pipe_has_them_whole() {
    let app = TestApp::shipped().await;
    let long = format!("{}.toml", "a_source_with_a_very_long_name_".repeat(2));
    app.write(
        &long,
        "kind = \"csv\"\nprimary_key = [\"id\"]\ncolour = 400000\n[csv]\npathz = []\n",
    );
    for arguments in [
        &["runs", "show", "400000"] as &[&str],
        &["run", "no_such_source"],
        &["check"],
        &["sources"],
        &["run", "--fulll", "products_csv"],
        &[
            "run",
            "products_csv",
            "--database-url",
            "postgresql://nobody@127.0.0.1:1/things",
            "--database-wait",
            "0",
        ],
    ] {
        for columns in [20, 43, 80] {
            let lines = in_terminal(&app, columns, arguments).await;
            for line in &lines {
                let fits = console::measure_text_width(line) <= columns.into();
                assert!(fits, "{line:?} has more than {columns} columns: {lines:#?}");
            }
        }
    }
    let piped = call(&app, &["runs", "show", "400000"]).await;
    assert_eq!(piped.code(1).stderr.lines().count(), 1, "{}", piped.stderr);
    app.database.close().await;
}

#[tokio::test]
async fn an_error_of_a_run_is_said_once_in_a_terminal_and_logged_in_a_pipe() {
    let app = TestApp::shipped().await;
    app.write("with_secret.toml", SECRET_JOB);
    let times = |text: &str| text.matches("KASPARRO_TEST_NO_SUCH_KEY").count();
    let lines = in_terminal(&app, 200, &["run", "with_secret"]).await;
    assert_eq!(times(&lines.join("\n")), 1, "{lines:#?}");
    let lines = in_terminal(&app, 200, &["run", "with_secret", "--log-format", "json"]).await;
    assert_eq!(times(&lines.join("\n")), 2, "{lines:#?}");
    let piped = call(&app, &["run", "with_secret"]).await;
    assert_eq!((times(&piped.stdout), times(&piped.stderr)), (1, 1), "{piped:#?}");
    app.database.close().await;
}
