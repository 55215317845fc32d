//! What is typed and what comes of it: exit codes, messages, and documents for programs.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use kasparro::domain::run::Mode;
use kasparro::tasks::start_run::RunRequest;

use crate::app::{TestApp, request};
use crate::process::{Process, call, free_address, kasparro, until};

const CSV_JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n\n[csv]\npaths = [\"data/a.csv\"]\n";

/// Fails whatever the network does: its key is not there.
pub const SECRET_JOB: &str = r#"
kind = "rest_api"
primary_key = ["id"]

[rest_api]
base_url = "http://127.0.0.1:9/"
path = "things"
auth = { type = "bearer", token = { env = "KASPARRO_TEST_NO_SUCH_KEY" } }

[fields]
name = {}
"#;

#[tokio::test]
async fn up_loads_every_source_answers_and_ends_well_on_ctrl_c() {
    let app = TestApp::shipped().await;
    let address = free_address();
    let mut up = Process::start(kasparro(&app, &["up", "--offline", "--listen", &address]));
    // The addresses come first: runs may take long.
    up.says("Press Ctrl-C to stop.").await;
    up.says("started (UTC)").await;
    let records =
        "select source || ' ' || count(*) from unified_records group by source order by 1";
    let expected = ["coingecko_api 1200", "products_csv 3", "vendors_csv 2"];
    assert_eq!(app.texts(records).await, expected);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::get(format!("http://{address}/health")).await.unwrap();
    assert_eq!(answer.status(), 200);
    call(&app, &["healthcheck", "--listen", &address]).await.code(0);
    up.signal(Signal::SIGINT);
    let ended = up.ended().await;
    ended.code(0).prints(&[&format!("http://{address}/docs"), "coingecko_api", "1200"]);
    let held = "select count(*) from apalis.jobs where status in ('Queued', 'Running')";
    assert_eq!(app.number(held).await, 0);
    call(&app, &["healthcheck", "--listen", &address]).await.code(1).complains(&[&address]);
    app.database.close().await;
}

#[tokio::test]
async fn an_address_in_use_is_named_together_with_the_flag_that_helps() {
    let app = TestApp::empty().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["up", "serve"] {
        let ended = call(&app, &[command, "--listen", &address]).await;
        ended.code(1).complains(&[&address, "in use", "--listen"]);
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_database_that_is_down_is_waited_for_and_then_named_as_the_reason() {
    let app = TestApp::empty().await;
    let url = format!("postgresql://someone:hidden-word@{}/things", free_address());
    let listen = free_address();
    for command in ["up", "worker", "migrate", "serve"] {
        let arguments = [command, "--database-wait", "1", "--listen", &listen];
        let mut down = kasparro(&app, &arguments);
        down.env("DATABASE_URL", &url);
        let ended = Process::start(down).ended().await;
        ended.code(1).complains(&[
            "waiting up to 1 s for the database",
            "error: the database did not answer within 1 s; check DATABASE_URL",
        ]);
        assert!(!ended.stderr.contains("hidden-word"), "{}", ended.stderr);
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_database_of_a_newer_kasparro_is_refused_and_left_alone() {
    let app = TestApp::shipped().await;
    let newer = "insert into _sqlx_migrations
            (version, description, success, checksum, execution_time)
         select max(version) + 1, 'later', true, '\\x00', 0 from _sqlx_migrations";
    sqlx::query(newer).execute(&app.pool).await.unwrap();
    let listen = free_address();
    for command in [
        &["serve", "--listen", &listen] as &[&str],
        &["worker"],
        &["scheduler"],
        &["run", "products_csv"],
        &["up", "--listen", &listen],
        &["migrate"],
        &["runs"],
    ] {
        let ended = call(&app, command).await;
        ended.code(1).complains(&["newer than this kasparro knows", "start the newer version"]);
    }
    assert_eq!(app.number("select count(*) from etl_runs").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_database_without_tables_is_sent_to_migrate_which_makes_them() {
    let app = TestApp::shipped().await;
    let bare = "drop schema apalis cascade; drop schema public cascade; create schema public";
    sqlx::raw_sql(bare).execute(&app.pool).await.unwrap();
    let listen = free_address();
    for command in [&["serve", "--listen", &listen] as &[&str], &["worker"], &["runs"]] {
        call(&app, command).await.code(1).complains(&["run `kasparro migrate`"]);
    }
    call(&app, &["migrate"]).await.code(0).prints(&["up to date"]);
    call(&app, &["migrate"]).await.code(0).prints(&["up to date"]);
    call(&app, &["run", "products_csv"]).await.code(0);
    app.database.close().await;
}

#[tokio::test]
async fn run_exits_0_when_all_went_well_and_1_when_a_source_failed() {
    let app = TestApp::shipped().await;
    app.write("with_secret.toml", SECRET_JOB);
    let ended = call(&app, &["run", "products_csv", "vendors_csv", "--offline"]).await;
    ended.code(0).prints(&["products_csv", "vendors_csv", "success"]);
    call(&app, &["run", "with_secret"]).await.code(1).prints(&["with_secret", "failed"]);
    let ended = call(&app, &["run", "products_csv", "--full", "--json"]).await;
    let document = ended.code(0).json();
    assert_eq!(document["runs"][0]["source"], "products_csv");
    assert_eq!(document["runs"][0]["counters"]["unchanged"], 3);
    app.database.close().await;
}

#[tokio::test]
async fn a_source_that_fails_leaves_the_others_of_the_same_command_alone() {
    let app = TestApp::shipped().await;
    app.write("with_secret.toml", SECRET_JOB);
    let document = call(&app, &["run", "with_secret", "products_csv", "--json"]).await;
    let document = document.code(1).json();
    let statuses: Vec<_> =
        document["runs"].as_array().unwrap().iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["failed", "success"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_missing_secret_fails_its_run_by_name_and_not_the_process() {
    let app = TestApp::shipped().await;
    app.write("with_secret.toml", SECRET_JOB);
    let mut worker = Process::start(kasparro(&app, &["worker"]));
    worker.says("worker started").await;
    call(&app, &["run", "with_secret", "--detach"]).await.code(0);
    let status =
        "select status from etl_runs where source = 'with_secret' and finished_at is not null";
    until("the run ends", async || app.texts(status).await == ["failed"]).await;
    let error = app.texts("select error from etl_runs").await.remove(0);
    for part in ["KASPARRO_TEST_NO_SUCH_KEY", "auth"] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    call(&app, &["run", "products_csv", "--detach"]).await.code(0);
    let loaded = "select count(*) from unified_records";
    until("the same worker goes on", async || app.number(loaded).await == 3).await;
    worker.signal(Signal::SIGTERM);
    worker.ended().await.code(0);
    app.database.close().await;
}

/// Else what a load has freed stays with the process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn a_worker_gives_freed_buffers_back_to_the_system() {
    let app = TestApp::empty().await;
    for (given, expected) in [(None, "1048576"), (Some("65536"), "65536")] {
        let mut command = kasparro(&app, &["worker"]);
        if let Some(threshold) = given {
            command.env("MALLOC_MMAP_THRESHOLD_", threshold);
        }
        let mut worker = Process::start(command);
        worker.says("worker started").await;
        let environment = std::fs::read(format!("/proc/{}/environ", worker.id())).unwrap();
        let expected = format!("MALLOC_MMAP_THRESHOLD_={expected}");
        assert!(
            environment.split(|byte| *byte == 0).any(|variable| variable == expected.as_bytes())
        );
        worker.signal(Signal::SIGTERM);
        worker.ended().await.code(0);
    }
    app.database.close().await;
}

#[tokio::test]
async fn run_of_an_unknown_source_names_the_known_ones() {
    let app = TestApp::shipped().await;
    let ended = call(&app, &["run", "product_csv"]).await;
    let known = "\"product_csv\"; did you mean \"products_csv\"? known are coingecko_api, \
                 products_csv, vendors_csv";
    ended.code(1).complains(&[known]);
    let ended = call(&app, &["runs", "--source", "vendor_csv"]).await;
    ended.code(1).complains(&["did you mean \"vendors_csv\"?"]);
    let ended = call(&app, &["runs", "--status", "sucess"]).await;
    ended.code(64).complains(&["success", "success_with_duplicates", "tip: "]);
    let ended = call(&app, &["token", "create", "--scope", "amdin"]).await;
    ended.code(64).complains(&["tip: a similar value exists: 'admin'"]);
    app.database.close().await;
}

#[tokio::test]
async fn run_detach_enqueues_and_leaves_the_work_to_workers() {
    let app = TestApp::shipped().await;
    let ended = call(&app, &["run", "--all", "--offline", "--detach", "--json"]).await;
    assert_eq!(ended.code(0).json()["runs"].as_array().unwrap().len(), 3);
    let statuses = "select distinct status from etl_runs";
    assert_eq!(app.texts(statuses).await, ["queued"]);
    let _worker = Process::start(kasparro(&app, &["worker"]));
    until("the runs end", async || app.texts(statuses).await == ["success"]).await;
    assert_eq!(app.number("select count(*) from unified_records").await, 1205);
    app.database.close().await;
}

#[tokio::test]
async fn check_names_everything_that_is_wrong_with_job_files() {
    let app = TestApp::empty().await;
    app.write("good.toml", CSV_JOB);
    app.write("misspelt.toml", CSV_JOB.replace("paths =", "pathz ="));
    app.write("untimely.toml", format!("schedule = \"61 * * * *\"\n{CSV_JOB}"));
    let literal = SECRET_JOB.replace("{ env = \"KASPARRO_TEST_NO_SUCH_KEY\" }", "\"hunter-two\"");
    app.write("talkative.toml", literal);
    app.write("local.toml", SECRET_JOB.replace("http://127.0.0.1:9/", "file:///etc/passwd"));
    app.write("lost.toml", SECRET_JOB.replace("path =", "allowed_hosts = [\"*\"]\npath ="));
    app.write("unkind.toml", CSV_JOB.replace("\"csv\"", "\"cvs\""));
    app.write("a.toml", CSV_JOB);
    app.write("A.toml", CSV_JOB);
    let ended = call(&app, &["check"]).await;
    ended.code(1).prints(&[
        "good.toml",
        "misspelt.toml:5: csv.pathz: unknown key; did you mean `paths`?",
        "untimely.toml:1: schedule: ",
        "61 * * * *",
        "talkative.toml:8",
        "env",
        "local.toml:6: rest_api.base_url: begins with `file:`",
        "lost.toml:7: rest_api.allowed_hosts: `*` is no host",
        "unkind.toml:1: kind: unknown kind `cvs`",
        "/a.toml",
        "/A.toml",
        "of one name",
    ]);
    assert!(!ended.stdout.contains("hunter-two"), "{}", ended.stdout);
    let document = call(&app, &["check", "--json"]).await.code(1).json();
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len(), 8, "{files:#?}");
    assert_eq!(files.iter().filter(|file| file["ok"] == true).count(), 1);
    let problem = |name: &str| {
        let of = |file: &&serde_json::Value| file["file"].as_str().unwrap().ends_with(name);
        files.iter().find(of).unwrap()["problems"][0].clone()
    };
    let found = problem("misspelt.toml");
    assert_eq!((&found["line"], &found["key"]), (&5.into(), &"csv.pathz".into()), "{found}");
    // Those that are named, and no other.
    let one = call(&app, &["check", "good", "jobs/untimely.toml"]).await;
    one.code(1).prints(&["good.toml", "untimely.toml:1"]);
    assert!(!one.stdout.contains("misspelt"), "{}", one.stdout);
    call(&app, &["check", "good"]).await.code(0);
    let unknown = call(&app, &["check", "good", "god"]).await;
    unknown.code(1).complains(&["there is no source \"god\"", "did you mean \"good\"?"]);
    app.database.close().await;
}

#[tokio::test]
async fn check_warns_of_what_is_not_there_and_says_what_to_do_in_an_empty_folder() {
    let app = TestApp::empty().await;
    let empty = call(&app, &["check"]).await;
    empty.code(1).prints(&["no job file in", "kind = \"csv\"", "job-schema"]);
    let missing = call(&app, &["check", "--jobs-dir", "no-such-folder"]).await;
    missing.code(1).complains(&["no-such-folder", "create it", "--jobs-dir"]);
    app.write("keyless.toml", SECRET_JOB);
    app.write("notes.yaml", "kind: csv\n");
    let warned = call(&app, &["check"]).await;
    warned.code(0).prints(&[
        "ok ",
        "keyless.toml:8: rest_api.auth.token: the environment variable KASPARRO_TEST_NO_SUCH_KEY",
        "notes.yaml: is not read",
    ]);
    call(&app, &["check", "--strict"]).await.code(1).prints(&["warning  "]);
    let document = call(&app, &["check", "--json"]).await.code(0).json();
    assert_eq!(document["files"][0]["warnings"][0]["key"], "rest_api.auth.token");
    app.database.close().await;
}

#[tokio::test]
async fn the_shipped_job_files_pass_the_check() {
    let app = TestApp::shipped().await;
    let ended = call(&app, &["check"]).await;
    assert_eq!(ended.code(0).stdout.lines().filter(|line| line.starts_with("ok ")).count(), 3);
    app.database.close().await;
}

#[tokio::test]
async fn documents_are_printed_without_a_database() {
    let app = TestApp::empty().await;
    let script = call(&app, &["completions", "bash"]).await;
    script.code(0).prints(&["_kasparro", "COMPLETE", "complete "]);
    let document = call(&app, &["openapi"]).await.code(0).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/runs"].is_object());
    let schema = call(&app, &["job-schema"]).await.code(0).json();
    let schema = schema.to_string();
    assert!(schema.contains("rest_api") && schema.contains("primary_key"));
    app.database.close().await;
}

#[tokio::test]
async fn exec_hands_the_database_on_and_the_exit_code_back() {
    let app = TestApp::empty().await;
    let ended = call(&app, &["exec", "--", "sh", "-c", "echo $DATABASE_URL"]).await;
    assert_eq!(ended.code(0).stdout.trim_end(), app.database.url());
    call(&app, &["exec", "--", "sh", "-c", "exit 7"]).await.code(7);
    call(&app, &["exec", "--", "sh", "-c", "kill -TERM $$"]).await.code(128 + 15);
    let ended = call(&app, &["exec", "no-such-program-anywhere"]).await;
    ended.code(1).complains(&["no-such-program-anywhere"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_source_may_be_named_by_its_job_file() {
    let app = TestApp::shipped().await;
    call(&app, &["run", "products_csv.toml"]).await.code(0).prints(&["products_csv"]);
    let path = app.path("vendors_csv.toml");
    call(&app, &["run", path.to_str().unwrap()]).await.code(0).prints(&["vendors_csv"]);
    app.database.close().await;
}

/// `kasparro … | head -1`
#[tokio::test]
async fn a_reader_that_has_seen_enough_stops_neither_the_answer_nor_the_work() {
    let app = TestApp::shipped().await;
    app.run("vendors_csv").await;
    for (arguments, stderr) in [
        (&["runs"] as &[&str], ""),
        (&["runs", "--json"], ""),
        (&["sources"], ""),
        (&["check"], ""),
        (&["openapi"], ""),
        (&["completions", "bash"], ""),
        (&["token", "list"], ""),
        (&["run", "products_csv"], ""),
        (&["run", "products_csv", "--full", "--json"], ""),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = kasparro(&app, arguments);
        command.stdout(writer);
        let ended = Process::start_with_output(command).ended().await;
        assert_eq!(ended.code(0).stderr, stderr, "{arguments:?}");
    }
    let runs = "select count(*) from etl_runs where finished_at is not null";
    assert_eq!(app.number(runs).await, 3, "the runs went to their end");
    app.database.close().await;
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_an_error_but_the_run_ends() {
    let app = TestApp::shipped().await;
    let mut command = kasparro(&app, &["run", "products_csv"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ended = Process::start_with_output(command).ended().await;
    ended.code(1).complains(&["standard output cannot be written"]);
    assert_eq!(app.texts("select status from etl_runs").await, ["success"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_goes_on_when_nobody_reads_its_log() {
    let app = TestApp::shipped().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = kasparro(&app, &["worker"]);
    command.stderr(writer);
    let mut worker = Process::start_with_errors(command);
    drop(reader);
    call(&app, &["run", "products_csv", "--detach"]).await.code(0);
    let ended = "select count(*) from etl_runs where status = 'success'";
    until("the run ends", async || app.number(ended).await == 1).await;
    assert!(!worker.has_ended());
    worker.signal(Signal::SIGTERM);
    worker.ended().await.code(0);
    app.database.close().await;
}

#[tokio::test]
async fn signals_to_exec_reach_its_program_which_is_waited_for() {
    let app = TestApp::empty().await;
    let script = "trap 'sleep 0.2; echo told; exit 9' TERM INT HUP; echo ready; \
                  for i in $(seq 1000); do sleep 0.05; done";
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut exec = Process::start(kasparro(&app, &["exec", "--", "sh", "-c", script]));
        exec.says("ready").await;
        exec.signal(signal);
        exec.ended().await.code(9).prints(&["told"]);
    }
    // One that knows nothing of signals.
    let mut exec =
        Process::start(kasparro(&app, &["exec", "sh", "-c", "echo $$; exec sleep 1000"]));
    exec.says("\n").await;
    exec.signal(Signal::SIGTERM);
    exec.ended().await.code(128 + 15);
    app.database.close().await;
}

#[tokio::test]
async fn the_end_of_its_terminal_stops_a_process_unless_it_was_told_to_stay() {
    let app = TestApp::empty().await;
    let mut worker = Process::start(kasparro(&app, &["worker"]));
    worker.says("worker started").await;
    worker.signal(Signal::SIGHUP);
    worker.ended().await.code(0);
    let program = kasparro(&app, &["worker"]);
    let mut nohup = std::process::Command::new("nohup");
    nohup.args([env!("CARGO_BIN_EXE_kasparro"), "worker"]);
    nohup.current_dir(program.get_current_dir().unwrap());
    nohup.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut worker = Process::start(nohup);
    worker.says("worker started").await;
    worker.signal(Signal::SIGHUP);
    call(&app, &["runs"]).await.code(0);
    assert!(!worker.has_ended());
    worker.signal(Signal::SIGTERM);
    worker.ended().await.code(0);
    app.database.close().await;
}

#[tokio::test]
async fn colours_are_as_the_flag_says() {
    let app = TestApp::shipped().await;
    app.write("with_secret.toml", SECRET_JOB);
    let run = ["run", "with_secret", "--color", "always"];
    call(&app, &run).await.code(1).prints(&["\u{1b}[31mfailed\u{1b}[0m"]);
    let plain = call(&app, &["runs"]).await;
    assert!(!plain.code(0).stdout.contains('\u{1b}'), "{}", plain.stdout);
    app.database.close().await;
}

#[tokio::test]
async fn ctrl_c_under_exec_is_for_the_program_alone() {
    let app = TestApp::empty().await;
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; \
                  for i in $(seq 1000); do sleep 0.05; done";
    let mut exec = Process::start(kasparro(&app, &["exec", "--", "sh", "-c", script]));
    exec.says("ready").await;
    exec.signal_group(Signal::SIGINT);
    exec.ended().await.code(5).prints(&["interrupted"]);
    app.database.close().await;
}

#[tokio::test]
async fn an_empty_variable_says_nothing_and_no_workers_are_refused() {
    let app = TestApp::shipped().await;
    let variables = [
        "KASPARRO_WORKERS",
        "KASPARRO_LISTEN",
        "KASPARRO_DATABASE_WAIT",
        "KASPARRO_GRACE",
        "KASPARRO_LOG",
        "KASPARRO_LOG_FORMAT",
        "KASPARRO_OFFLINE",
        "KASPARRO_CONFIG",
        "KASPARRO_DATA_DIR",
    ];
    let mut command = kasparro(&app, &["run", "products_csv"]);
    for variable in variables {
        command.env(variable, "");
    }
    Process::start(command).ended().await.code(0);
    let ended = call(&app, &["run", "products_csv", "--workers", "0"]).await;
    ended.code(1).complains(&["workers must be at least 1"]);
    let mut command = kasparro(&app, &["worker"]);
    command.env("KASPARRO_WORKERS", "0");
    Process::start(command).ended().await.code(1).complains(&["workers must be at least 1"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_settings_file_with_an_unknown_key_is_refused_with_file_and_line() {
    let app = TestApp::shipped().await;
    app.write("working-folder/kasparro.toml", "# ours\nwrokers = 2\n");
    let ended = call(&app, &["check"]).await;
    ended.code(1).complains(&["kasparro.toml:2: ", "wrokers", "workers"]);
    let ended = call(&app, &["check", "--config", "elsewhere.toml"]).await;
    ended.code(1).complains(&["elsewhere.toml"]);
    app.database.close().await;
}

#[tokio::test]
async fn lists_are_documents_for_programs() {
    let app = TestApp::shipped().await;
    app.run("products_csv").await;
    app.run("vendors_csv").await;
    let runs = call(&app, &["runs", "--json"]).await.code(0).json();
    let sources: Vec<_> =
        runs["runs"].as_array().unwrap().iter().map(|run| &run["source"]).collect();
    assert_eq!(sources, ["vendors_csv", "products_csv"], "newest first");
    let one = call(&app, &["runs", "--json", "--source", "products_csv", "--limit", "1"]).await;
    assert_eq!(one.code(0).json()["runs"][0]["counters"]["inserted"], 3);
    let sources = call(&app, &["sources", "--json"]).await.code(0).json();
    let sources = sources["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 3);
    assert_eq!(sources[0]["source"], "coingecko_api");
    assert!(sources[0]["last_run"].is_null());
    assert_eq!(sources[1]["last_run"]["status"], "success");
    call(&app, &["runs"]).await.code(0).prints(&["products_csv", "success"]);
    app.database.close().await;
}

/// Each field of `expected` stands in `document` as well, with the same value.
fn same(expected: &serde_json::Value, document: &serde_json::Value, what: &str) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&document[key], value, "{what}: {key}");
    }
}

/// One view of each object: what is learnt of one side holds for the other.
#[tokio::test]
async fn what_programs_read_is_what_the_api_answers_and_the_events_of_a_run_tell() {
    let app = TestApp::shipped().await;
    app.run("products_csv").await;
    app.run("vendors_csv").await;
    // A new column is drift, another price a sample.
    let wider = app.read("data/products.csv").replace("updated_at", "updated_at,colour");
    let wider = wider.replace("Z\n", "Z,red\n").replace("129.90", "130.90");
    app.write("data/products.csv", &wider);
    let dry = RunRequest { dry_run: true, ..request(Mode::Full) };
    let dry = app.run_as("products_csv", &dry).await.id;
    app.run_as("products_csv", &request(Mode::Full)).await;
    app.write("data/products.csv", wider.replace("130.90", "131.90"));
    let address = free_address();
    let mut serve = Process::start(kasparro(&app, &["serve", "--listen", &address]));
    serve.says("API listening").await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let samples = format!("/runs/{dry}/samples");
    let dry = dry.to_string();
    for (path, command) in [
        ("/runs?limit=2", &["runs", "--limit", "2"] as &[&str]),
        (
            "/runs?status=success&source=vendors_csv",
            &["runs", "--status", "success", "--source", "vendors_csv"],
        ),
        ("/runs/1/tasks", &["runs", "tasks", "1"]),
        (&samples, &["runs", "samples", &dry]),
        ("/sources", &["sources"]),
        (
            "/records?source=products_csv&limit=1",
            &["records", "--source", "products_csv", "--limit", "1"],
        ),
        ("/records/vendors_csv/A1", &["records", "find", "vendors_csv", "A1"]),
        ("/quarantine", &["quarantine", "--rows"]),
        ("/quarantine?source=vendors_csv&group_by=fingerprint", &["quarantine", "vendors_csv"]),
        ("/schemas/products_csv", &["schemas", "products_csv"]),
        ("/drift", &["drift"]),
        ("/stats", &["stats"]),
    ] {
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        let expected: serde_json::Value = answer.json().await.unwrap();
        let document = call(&app, &[command, &["--json"]].concat()).await.code(0).json();
        if let Some(items) = expected["items"].as_array() {
            assert!(!items.is_empty(), "{path} compares nothing");
        }
        same(&expected, &document, path);
    }
    let get = async |path: &str| -> serde_json::Value {
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        answer.json().await.unwrap()
    };
    let run = get("/runs/1").await;
    for command in [&["runs", "show", "1"], &["runs", "follow", "1"]] {
        let document = call(&app, &[command as &[&str], &["--json"]].concat()).await.code(0).json();
        same(&run, &document, &command.join(" "));
    }
    let source = get("/sources").await["items"][1].clone();
    let document = call(&app, &["sources", "show", "products_csv", "--json"]).await.code(0).json();
    same(&source, &document, "sources show");
    let command = ["run", "products_csv", "--full", "--dry-run", "--json"];
    let document = call(&app, &command).await.code(0).json()["runs"][0].clone();
    let id = document["id"].as_i64().unwrap();
    same(&get(&format!("/runs/{id}")).await, &document, "run --json");
    let samples = get(&format!("/runs/{id}/samples")).await["items"].clone();
    assert_eq!(document["samples"], samples);
    assert!(!samples.as_array().unwrap().is_empty());
    let events = reqwest::Client::new().get(format!("http://{address}/runs/1/events"));
    let events = events.header("Last-Event-ID", 0).send().await.unwrap().text().await.unwrap();
    let told = |name: &str| -> Vec<serde_json::Value> {
        let of_name =
            events.split("\n\n").filter(|event| event.contains(&format!("event: {name}\n")));
        let data =
            |event: &str| event.lines().find_map(|l| l.strip_prefix("data: ").map(str::to_owned));
        of_name.map(|event| serde_json::from_str(&data(event).unwrap()).unwrap()).collect()
    };
    assert_eq!(told("run").last(), Some(&run));
    let tasks = get("/runs/1/tasks").await;
    for task in told("task") {
        assert!(tasks["items"].as_array().unwrap().contains(&task), "{task}");
    }
    assert!(!told("task").is_empty());
    app.database.close().await;
}

#[tokio::test]
async fn what_went_wrong_is_shown_with_what_was_read() {
    let app = TestApp::shipped().await;
    app.write("with_secret.toml", SECRET_JOB);
    call(&app, &["run", "products_csv", "with_secret"]).await.code(1);
    let groups = call(&app, &["quarantine", "products_csv"]).await;
    groups.code(0).prints(&["invalid_decimal", "line 4", "price", "call us"]);
    call(&app, &["quarantine", "product_csv"]).await.code(1).complains(&["did you mean"]);
    let show = call(&app, &["runs", "show", "2"]).await;
    show.code(0).prints(&["run 2 of with_secret: failed", "KASPARRO_TEST_NO_SUCH_KEY", "failed"]);
    call(&app, &["runs", "show", "77"]).await.code(1).complains(&["kasparro runs"]);
    let show = call(&app, &["sources", "show", "products_csv"]).await;
    show.code(0).prints(&["job file", "products.csv", "success", "records     3"]);
    let show = call(&app, &["sources", "show", "coingecko_api"]).await;
    show.code(0).prints(&["*/10 * * * *", "next (UTC)"]);
    let record = call(&app, &["records", "show", "products_csv", "1"]).await;
    record.code(0).prints(&["external_id", "attributes.brand", "raw_ref"]);
    call(&app, &["records", "show", "products_csv", "x"]).await.code(1).complains(&["no record"]);
    call(&app, &["runs", "follow", "1"]).await.code(0).prints(&["success"]);
    call(&app, &["runs", "follow", "2"]).await.code(1).prints(&["failed"]);
    app.database.close().await;
}

/// Its run stays behind, and the same command would go on with it as it was started.
#[tokio::test]
async fn a_run_that_goes_on_otherwise_than_asked_for_is_named_with_the_way_out() {
    let app = TestApp::shipped().await;
    let online = ["run", "coingecko_api", "--detach"];
    let detached = call(&app, &online).await;
    detached.code(0).complains(&["no worker is running", "kasparro worker"]);
    let ended = call(&app, &["run", "coingecko_api", "--offline"]).await;
    ended.code(1).complains(&["run 1 is under way", "from the network", "--restart"]);
    let address = free_address();
    let up = ["up", "--offline", "--listen", &address];
    let mut process = Process::start(kasparro(&app, &up));
    process.says("going on with run 1, started at").await;
    process.says("`kasparro runs cancel 1`").await;
    process.kill();
    let up = ["up", "--offline", "--restart", "--listen", &address];
    let mut process = Process::start(kasparro(&app, &up));
    process.says("run 1 is cancelled").await;
    let status = "select status from etl_runs where source = 'coingecko_api' order by id";
    until("the run ends", async || app.texts(status).await == ["cancelled", "success"]).await;
    process.signal(Signal::SIGTERM);
    process.ended().await.code(0);
    app.database.close().await;
}

#[tokio::test]
async fn shells_complete_the_names_of_sources_without_a_database() {
    let app = TestApp::shipped().await;
    for words in [&["run", "pro"] as &[&str], &["sources", "pause", "pro"], &["quarantine", "pro"]]
    {
        let mut command = kasparro(&app, &["--", "kasparro"]);
        command
            .args(words)
            .env("COMPLETE", "fish")
            .env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/no");
        let ended = Process::start(command).ended().await;
        assert_eq!(ended.code(0).stdout.trim(), "products_csv", "{words:?}");
    }
    app.database.close().await;
}
