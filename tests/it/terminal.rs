//! What a person sees in a terminal.

use kasparro::domain::run::Mode;
use kasparro::tasks::start_run::RunRequest;

use crate::app::{TestApp, request};
use crate::command_line::SECRET_JOB;
use crate::process::{Process, call, kasparro};

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

/// What a hostile source may have got into the database: it clears the screen, forges a line, and turns the
/// direction of writing.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31mx\r\nFORGED: all is well\u{202e}\u{feff}";

/// What somebody types may be on several lines.
const TYPED: &str = "\u{1b}[2J\u{9b}31mx\r\u{202e}\u{feff}";

#[tokio::test]
async fn no_command_obeys_what_a_source_says() {
    let app = TestApp::shipped().await;
    let dry = RunRequest { dry_run: true, ..request(Mode::Full) };
    app.run_as("products_csv", &dry).await;
    app.run("products_csv").await;
    app.run("vendors_csv").await;
    let text = |column: &str| format!("{column} = $1");
    for (table, columns) in [
        ("etl_runs", &["error", "stop_reason"][..]),
        ("run_tasks", &["error"]),
        ("quarantined_rows", &["field", "message"]),
        ("unified_records", &["name", "currency", "category", "url"]),
        ("schema_drift", &["field"]),
    ] {
        let set = columns.iter().map(|column| text(column)).collect::<Vec<_>>().join(", ");
        let statement = format!("update {table} set {set}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(HOSTILE).execute(&app.pool).await.unwrap();
    }
    for (statement, why) in [
        ("update quarantined_rows set raw = convert_to($1, 'UTF8')", "raw"),
        ("update unified_records set external_id = $1 where external_id = 'A1'", "key"),
        (
            "update unified_records set attributes = jsonb_build_object($1::text, $1::text)",
            "attributes",
        ),
        (
            "update run_tasks set result = jsonb_set(jsonb_set(jsonb_set(result,
                 '{samples,0,external_id}', to_jsonb($1::text)),
                 '{samples,0,after,name}', to_jsonb($1::text)),
                 '{samples,0,payload}', to_jsonb($1::text))
             where result is not null and result ? 'samples'",
            "samples",
        ),
        (
            "insert into source_pauses (source, paused_at, paused_by, reason)
             values ('vendors_csv', now(), $1, $1)",
            "pause",
        ),
    ] {
        let done = sqlx::query(statement).bind(HOSTILE).execute(&app.pool).await;
        done.unwrap_or_else(|error| panic!("{why}: {error}"));
    }
    app.write(&format!("{HOSTILE}.toml"), "kind = \"csv\"");
    app.write(&format!("{HOSTILE}.yaml"), "");
    app.write("odd.toml", format!("kind = \"csv\"\n\"{}\" = 1", HOSTILE.escape_unicode()));
    for arguments in [
        &["runs"] as &[&str],
        &["runs", TYPED],
        &["runs", "--cursor", TYPED],
        &["runs", "show", "1"],
        &["runs", "show", "2"],
        &["runs", "tasks", "2"],
        &["runs", "samples", "1"],
        &["runs", "follow", "2"],
        &["runs", "cancel", "2"],
        &["runs", "retry", "2"],
        &["sources"],
        &["sources", "show", "vendors_csv"],
        &["sources", "pause", "vendors_csv", "--reason", "again"],
        &["quarantine"],
        &["quarantine", "--rows"],
        &["records"],
        &["records", "show", "vendors_csv", HOSTILE],
        &["records", "show", "products_csv", "1"],
        &["schemas", "products_csv"],
        &["drift"],
        &["stats"],
        &["token", "list"],
        &["token", "create", "--scope", TYPED],
        &["check"],
        &["run", "vendors_csv"],
        &["run", HOSTILE],
        &["run", "products_csv", "--full"],
        &["run", "--all", "--dry-run", "--offline"],
        &["exec", TYPED],
        &[TYPED],
    ] {
        for json in [false, true] {
            let arguments =
                if json { [arguments, &["--json"]].concat() } else { arguments.to_vec() };
            let ended = call(&app, &arguments).await;
            for said in [&ended.stdout, &ended.stderr] {
                let bad = said
                    .chars()
                    .find(|c| *c != '\n' && c.is_control() || "\u{202e}\u{feff}".contains(*c));
                assert_eq!(bad, None, "{arguments:?} says\n{said:?}");
                // Lines of an error's own stand further in.
                let forged = said.lines().any(|line| {
                    line.trim_start_matches("  ").starts_with("FORGED")
                        && !line.starts_with("      ")
                });
                assert!(!forged, "{arguments:?} says\n{said}");
            }
        }
    }
    app.database.close().await;
}

#[tokio::test]
async fn lists_mark_dry_runs_and_say_where_pages_come_from_only_of_sources_that_have_some() {
    let app = TestApp::shipped().await;
    let dry = RunRequest { dry_run: true, ..request(Mode::Full) };
    app.run_as("products_csv", &dry).await;
    app.run("coingecko_api").await;
    call(&app, &["runs"]).await.code(0).prints(&["success, dry run"]);
    call(&app, &["sources"]).await.code(0).prints(&["success, dry run"]);
    let show = call(&app, &["runs", "show", "1"]).await;
    assert!(!show.code(0).stdout.contains("pages from"), "{}", show.stdout);
    call(&app, &["runs", "show", "2"]).await.code(0).prints(&["pages from: offline"]);
    let refused = call(&app, &["run", "products_csv", "--record"]).await;
    refused.code(1).complains(&["--record keeps the pages of an API", "products_csv"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_source_may_stand_behind_runs_and_records_and_slips_are_recognised() {
    let app = TestApp::shipped().await;
    app.run("products_csv").await;
    app.run("vendors_csv").await;
    for source in ["vendors_csv", "vendors_csv.toml"] {
        for command in ["runs", "records"] {
            let listed = call(&app, &[command, source]).await;
            listed.code(0).prints(&["vendors_csv"]);
            assert!(!listed.stdout.contains("products_csv"), "{}", listed.stdout);
        }
    }
    call(&app, &["runs", "vendor_csv"]).await.code(1).complains(&["did you mean \"vendors_csv\"?"]);
    call(&app, &["runs", "shwo"]).await.code(1).complains(&["did you mean `kasparro runs show`?"]);
    call(&app, &["runs", "2"]).await.code(64).complains(&["kasparro runs show 2"]);
    let rows = call(&app, &["quarantine", "products_csv"]).await;
    rows.code(0).prints(&["products.csv line 4 (row 3): "]);
    let pause = ["sources", "pause", "products_csv", "--reason", "first"];
    call(&app, &pause).await.code(0);
    call(&app, &pause).await.code(0).complains(&["was paused already"]);
    let bare = call(&app, &[]).await;
    bare.code(64).prints(&["kasparro run SOURCE", "kasparro help"]);
    app.database.close().await;
}
