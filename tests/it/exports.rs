//! Exports: a job is created once, looked at without holding a worker, and its files are read chunk by chunk, each
//! once, whatever happens on the way.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::sources::{Access, kinds};
use kasparro::tasks::SourcesInUse;
use kasparro::tasks::start_run::{RunRequest, Started};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::app::{TestApp, request};
use crate::process::{Process, call, kasparro, until};
use crate::raw_api::{Asked, RawApi, Reply};
use crate::shuffle::Shuffle;

const TABLE: &str =
    "select external_id || ' ' || name from unified_records order by external_id::int";
const TOKEN: &str = "s3cr3t-t0k3n";

/// Rows `from` to `to` of a CSV file.
fn csv(from: usize, to: usize) -> Vec<u8> {
    let mut text = "id,name\n".to_owned();
    (from..=to).for_each(|id| text.push_str(&format!("{id},n{id}\n")));
    text.into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn plain(bytes: Vec<u8>) -> Reply {
    Reply::Bytes(200, "", bytes)
}

/// An API that creates jobs by number, and says what `poll` makes of the number of a job and of how often it was
/// looked at before.
async fn api(
    poll: impl Fn(usize, usize) -> Reply + Send + Sync + 'static,
    file: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> RawApi {
    let (created, looks) = (AtomicUsize::new(0), Mutex::new(Vec::<usize>::new()));
    RawApi::serve(move |asked| match asked.path() {
        "/v2/reports" if asked.method == "POST" => {
            Reply::Json(201, json!({ "id": created.fetch_add(1, Ordering::SeqCst) + 1 }))
        }
        path => match path.strip_prefix("/v2/reports/") {
            Some(job) => {
                let job: usize = job.parse().unwrap();
                let mut looks = looks.lock().unwrap();
                let before = looks.iter().filter(|look| **look == job).count();
                looks.push(job);
                poll(job, before)
            }
            None => file(asked),
        },
    })
    .await
}

fn done(urls: &[&str]) -> Reply {
    Reply::Json(200, json!({ "status": "DONE", "urls": urls }))
}

fn status(status: &str) -> Reply {
    Reply::Json(200, json!({ "status": status }))
}

/// A job file; `more` comes behind it, and each of `instead` replaces a text.
fn job(api: &RawApi, instead: &[(&str, &str)]) -> String {
    let text = format!(
        "kind = 'csv'\nprimary_key = ['id']\n\n[export]\nbase_url = 'http://{}/v2/'\n\
         auth = {{ type = 'bearer', token = {{ file = 'secrets/TOKEN' }} }}\n\
         create = {{ path = 'reports', json = {{ level = 'campaign' }}, id = '$.id' }}\n\
         poll = {{ path = 'reports/${{job.id}}', every = '20ms', timeout = '30s', status = '$.status', \
         done = ['DONE'], failed = ['FAILED'] }}\n\
         download = {{ url = '$.urls[*]' }}\n\
         timeout = '5s'\n\n[csv]\nchunk_size = 60\n\n[fields]\nname = {{ column = 'name' }}\n",
        api.address
    );
    instead.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

async fn app(api: &RawApi, instead: &[(&str, &str)]) -> TestApp {
    let app = TestApp::empty().await;
    app.write("secrets/TOKEN", TOKEN);
    app.write("report.toml", job(api, instead));
    app
}

fn online(mode: Mode) -> RunRequest<'static> {
    RunRequest { access: Access::Network, ..request(mode) }
}

#[tokio::test]
async fn a_job_is_created_once_and_looked_at_until_it_is_done_without_losing_an_attempt() {
    let api = api(
        |_, before| if before < 2 { status("PENDING") } else { done(&["/files/1.csv"]) },
        |_| plain(csv(1, 30)),
    )
    .await;
    let app = app(&api, &[]).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (30, 30));
    assert!(run.counters.slices >= 3, "it is cut into chunks: {run:?}");
    assert_eq!(app.texts(TABLE).await.len(), 30);
    assert_eq!((api.count("/v2/reports/1"), api.count("/files/1.csv")), (3, 1));
    assert_eq!(api.asked().iter().filter(|asked| asked.method == "POST").count(), 1);
    assert_eq!(api.asked()[0].json(), json!({ "level": "campaign" }));
    assert!(
        api.asked().iter().all(|asked| asked.header("authorization") == format!("Bearer {TOKEN}"))
    );
    let attempts = "select max(attempt)::bigint from run_tasks where role = 'read'";
    assert_eq!(app.number(attempts).await, 1);
    let ends = "select stop_reason || ' ' || complete from run_chains";
    assert_eq!(app.texts(ends).await, ["total true"]);
    let files = "select url || ' ' || committed_rows || ' ' || (committed_run_id is not null) from source_files";
    let name = format!("http://{}/files/1.csv 30 true", api.address);
    assert_eq!(app.texts(files).await, [name]);
    app.database.close().await;
}

#[tokio::test]
async fn all_files_of_a_job_are_read_packed_or_not_and_the_same_rows_again_are_unchanged() {
    let files = |asked: &Asked| match asked.path() {
        "/files/1" => plain(gzip(&csv(1, 20))),
        "/files/2" => plain(csv(21, 30)),
        // Two members, and zeros behind them.
        "/files/3" => plain([gzip(&csv(31, 40)), gzip(b"41,n41\n"), vec![0; 9]].concat()),
        // The transport packs what is packed already.
        "/files/4" => Reply::Bytes(200, "Content-Encoding: gzip\r\n", gzip(&gzip(&csv(42, 43)))),
        other => panic!("{other}"),
    };
    let urls = ["/files/1?key=a", "/files/2", "/files/3", "/files/4"];
    let api = api(move |_, _| done(&urls), files).await;
    let app = app(&api, &[]).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (43, 43));
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (43, 43));
    let names = app.texts("select distinct url from source_files order by url").await;
    let expected = [1, 2, 3, 4].map(|n| format!("http://{}/files/{n}#{n}", api.address));
    assert_eq!(names, expected);
    // What is stored is normalized again without asking anybody.
    let asked = api.asked().len();
    let replay = RunRequest { access: Access::Offline, ..request(Mode::Replay) };
    let run = app.run_as("report", &replay).await;
    assert_eq!(
        (run.status, run.counters.unchanged),
        (RunStatus::SuccessWithDuplicates, 86),
        "{run:?}"
    );
    assert_eq!(api.asked().len(), asked);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_is_in_the_charset_that_its_answer_says_where_it_is_no_utf_8() {
    let text =
        |name: &str| encoding_rs::KOI8_R.encode(&format!("id,name\n1,{name}\n")).0.into_owned();
    let (plain, utf_8) = (text("привет"), "id,name\n2,привет\n".as_bytes().to_vec());
    let api = api(
        |_, _| done(&["/files/1.csv", "/files/2.csv"]),
        move |asked| {
            let body = if asked.path() == "/files/1.csv" { &plain } else { &utf_8 };
            Reply::Bytes(200, "Content-Type: text/csv; charset=koi8-r\r\n", body.clone())
        },
    )
    .await;
    let app = app(&api, &[]).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let names = "select name from unified_records order by external_id";
    assert_eq!(app.texts(names).await, ["привет", "привет"]);
    app.database.close().await;
}

#[tokio::test]
async fn json_lines_are_read_as_well_and_a_job_without_files_is_a_run_without_rows() {
    let lines = b"{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":\"b\"}\n".to_vec();
    let api = api(
        |job, _| if job == 1 { done(&["/lines"]) } else { done(&[]) },
        move |_| plain(gzip(&lines)),
    )
    .await;
    let app =
        app(&api, &[("'csv'", "'jsonl'"), ("[csv]", "[jsonl]"), ("{ column = 'name' }", "{}")])
            .await;
    let run = app.run_online("report").await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 2), "{run:?}");
    let run = app.run_online("report").await;
    assert_eq!((run.status, run.counters.rows_read), (RunStatus::Degraded, 0), "{run:?}");
    let note = run.stop_reason.unwrap_or_default();
    assert!(note.starts_with("no rows read, and run 1 read 2; if that is meant"), "{note}");
    assert_eq!(app.texts(TABLE).await, ["1 a", "2 b"]);
    let ends = "select stop_reason from run_chains where run_id = 2";
    assert_eq!(app.texts(ends).await, ["empty"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_job_that_failed_fails_the_run_in_the_words_of_the_api() {
    let failed = json!({ "status": "FAILED", "error": { "message": "no such campaign" } });
    let api = api(move |_, _| Reply::Json(200, failed.clone()), |_| plain(csv(1, 1))).await;
    let app = app(&api, &[]).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap_or_default();
    assert!(error.contains("the export job 1 ended as `FAILED`: no such campaign"), "{error}");
    assert_eq!(app.number("select count(*) from ingestion_checkpoints").await, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_job_that_is_never_done_is_given_up_with_how_long_and_its_last_status() {
    let api = api(
        |_, before| status(if before == 0 { "QUEUED" } else { "RUNNING" }),
        |_| plain(csv(1, 1)),
    )
    .await;
    let app = app(&api, &[("timeout = '30s'", "timeout = '1s'")]).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap_or_default();
    for part in [
        "export job 1 is not done",
        "status is `RUNNING`",
        "`export.poll.timeout` = \"1s\"",
        "given up after 1s",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn what_ends_early_is_an_error_and_never_a_short_file() {
    let whole = csv(1, 30);
    let packed = gzip(&whole);
    let cut = packed[..packed.len() - 5].to_vec();
    for (reply, says) in [
        (Reply::Short(whole.clone(), whole.len() - 7), "broke off"),
        (Reply::Bytes(200, "", cut), "breaks off, or is damaged"),
        (Reply::Bytes(206, "", whole.clone()), "no whole file"),
        (Reply::Bytes(200, "Content-Encoding: br\r\n", whole.clone()), "in the encoding br"),
    ] {
        let api = api(|_, _| done(&["/file"]), move |_| reply.clone()).await;
        let app = app(&api, &[]).await;
        let run = app.run_online("report").await;
        assert_eq!(run.status, RunStatus::Failed, "{says}");
        let error = run.error.unwrap_or_default();
        assert!(error.contains(says), "{says}: {error}");
        assert_eq!(app.number("select count(*) from ingestion_checkpoints").await, 0);
        app.database.close().await;
    }
}

/// A body that ends with the connection, whose length nobody tells.
fn untold(body: impl AsRef<[u8]>) -> Reply {
    Reply::Whole([b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n", body.as_ref()].concat())
}

#[tokio::test]
async fn a_file_whose_length_nobody_tells_is_refused_where_it_may_be_cut() {
    let many = csv(1, 30);
    let within_row = &many[..many.len() - 2];
    for body in [
        &b""[..],
        b"id,na",
        b"id,name\n1,a\n2,bc",
        b"id,name\n1,a\n2,b\r",
        b"id,name\n1,a\n2,\"b\nc",
        b"id,name\n1,a\n2,\"b\n",
        b"id,name\n1,a\n2,\"b\nc\n",
        within_row,
        &[gzip(b"id,name\n1,a\n"), gzip(b"2,b\n")].concat(),
    ] {
        let sent = body.to_vec();
        let api = api(|_, _| done(&["/file"]), move |_| untold(&sent)).await;
        let app = app(
            &api,
            &[
                ("timeout = '5s'\n", "timeout = '5s'\nretry = { max_attempts = 2 }\n"),
                ("[fields]", "[checks]\nmax_quarantine_ratio = 1.0\n[fields]"),
            ],
        )
        .await;
        let run = app.run_online("report").await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(run.status, RunStatus::Failed, "{shown}: {run:?}");
        let error = run.error.unwrap_or_default();
        let what = match body {
            [] => "is empty",
            [0x1f, ..] => "ends behind one of them",
            _ => "ends in the middle of a line",
        };
        let says = format!("{what}, and the server did not say how long it is: it may be cut");
        assert!(error.contains(&says), "{shown}: {error}");
        assert_eq!(api.count("/file"), 2, "it is tried again");
        assert_eq!(app.number("select count(*) from unified_records").await, 0);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_file_that_ends_in_a_line_end_or_whose_end_is_told_is_whole() {
    let rows = b"id,name\n1,a\n2,b";
    let chunked = [
        &b"HTTP/1.1 200 x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n"[..],
        &rows[..8],
        b"\r\n7\r\n",
        &rows[8..],
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    for reply in [
        untold([&rows[..], b"\n"].concat()),
        untold([&rows[..], b"\r\n\r\n"].concat()),
        untold(b"id,name\r1,a\r2,b\r"),
        untold(b"id,name\n1,a\n2,\"b\"\n"),
        untold(gzip(rows)),
        plain(rows.to_vec()),
        Reply::Whole(chunked),
    ] {
        let sent = reply.clone();
        let api = api(|_, _| done(&["/file"]), move |_| sent.clone()).await;
        let app = app(&api, &[]).await;
        let run = app.run_online("report").await;
        assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 2), "{run:?}");
        assert_eq!(app.texts(TABLE).await, ["1 a", "2 b"], "{reply:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn files_that_lost_all_their_rows_delete_nothing() {
    for (first, second, says) in [
        ("", "", "no bytes, not even a header"),
        ("id,name\n", "id,name\n", "no rows read, and run 1 read 20"),
        ("", "id,name\n20,n20\n", "no bytes, not even a header"),
    ] {
        let api = api(
            |job, _| {
                let urls = [format!("/{job}/a"), format!("/{job}/b")];
                done(&[&urls[0], &urls[1]])
            },
            move |asked| match asked.path() {
                "/1/a" => plain(csv(1, 10)),
                "/1/b" => plain(csv(11, 20)),
                "/2/a" => plain(first.into()),
                _ => plain(second.into()),
            },
        )
        .await;
        let missing = "[missing]\naction = 'tombstone'\nmax_ratio = 1.0\n[fields]";
        let app = app(&api, &[("[fields]", missing)]).await;
        assert_eq!(app.run_online("report").await.status, RunStatus::Success);
        let run = app.run_online("report").await;
        assert_eq!(run.status, RunStatus::Degraded, "{run:?}");
        let note = run.stop_reason.clone().unwrap_or_default();
        assert!(note.contains(says), "{run:?}");
        let there = "select count(*) from unified_records where deleted_at is null";
        assert_eq!(app.number(there).await, 20);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_job_whose_id_is_no_small_number_is_looked_at_by_its_exact_digits() {
    for id in ["123456789012345678901234567890", "1.50e3"] {
        let api = RawApi::serve(move |asked| match asked.path() {
            "/v2/reports" => Reply::Bytes(
                201,
                "Content-Type: application/json\r\n",
                format!("{{\"id\":{id}}}").into(),
            ),
            "/file" => plain(csv(1, 2)),
            path => {
                assert_eq!(path.strip_prefix("/v2/reports/"), Some(id));
                done(&["/file"])
            }
        })
        .await;
        let app = app(&api, &[]).await;
        let run = app.run_online("report").await;
        assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 2), "{run:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_file_on_another_host_is_had_without_keys_and_only_where_that_is_allowed() {
    let files = Arc::new(RawApi::serve(|_| plain(csv(1, 3))).await);
    let link = format!("http://{}/bucket/1.csv?X-Signature=0123456789abcdef", files.address);
    let host = files.address.to_string();
    // Also behind a redirect of the API's own host.
    for redirected in [false, true] {
        let (url, to) = (link.clone(), link.clone());
        let url = if redirected { "/file".to_owned() } else { url };
        let location: &'static str = format!("Location: {to}\r\n").leak();
        let api =
            api(move |_, _| done(&[&url]), move |_| Reply::Bytes(302, location, Vec::new())).await;
        let app = app(&api, &[]).await;
        let run = app.run_online("report").await;
        assert_eq!(run.status, RunStatus::Failed);
        let error = run.error.unwrap_or_default();
        assert!(error.contains(&format!("allowed_hosts = [\"{host}\"]")), "{error}");
        assert!(
            error.contains("`download` of [export]") && !error.contains("0123456789abcdef"),
            "{error}"
        );
        let allowed = format!("'$.urls[*]', allowed_hosts = ['{host}']");
        app.write("report.toml", job(&api, &[("'$.urls[*]'", &allowed)]));
        let run = app.run_online("report").await;
        assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 3), "{run:?}");
        let named = app.texts("select url from source_files").await;
        assert!(named.iter().all(|url| !url.contains("Signature")), "{named:?}");
        app.database.close().await;
    }
    let asked = files.asked();
    assert_eq!(asked.len(), 2);
    for request in asked {
        assert!(
            !request.head.contains(TOKEN) && request.header("authorization").is_empty(),
            "{request:?}"
        );
        assert!(request.target.contains("X-Signature=0123456789abcdef"));
    }
}

#[tokio::test]
async fn an_address_that_is_no_good_any_more_is_asked_for_anew_as_long_as_there_is_another_one() {
    for (good_from, asked, says) in [
        (1, 2, None),
        (3, 4, None),
        (9, 4, Some("4 addresses of it were refused, one after the other")),
    ] {
        let api = api(
            |_, before| {
                done(&[&format!("/file?try={before}&X-Signature=secret-signature-{before}")])
            },
            move |asked| {
                let good = asked.target.contains(&format!("try={good_from}"));
                match good {
                    true => plain(csv(1, 3)),
                    false => Reply::Bytes(
                        403,
                        "",
                        b"<Error><Message>Request has expired</Message>secret-signature-1</Error>"
                            .to_vec(),
                    ),
                }
            },
        )
        .await;
        let app = app(&api, &[]).await;
        let run = app.run_online("report").await;
        assert_eq!(run.status == RunStatus::Success, says.is_none(), "{run:?}");
        assert_eq!((api.count("/file"), api.count("/v2/reports/1")), (asked, asked));
        if let Some(says) = says {
            let error = run.error.unwrap_or_default();
            assert!(error.contains("403") && error.contains("Request has expired"), "{error}");
            assert!(error.contains(says) && !error.contains("secret-signature"), "{error}");
        }
        app.database.close().await;
    }
    // Where the API has no other one, its age is not at fault.
    let api = api(|_, _| done(&["/file"]), |_| Reply::Bytes(403, "", b"no".to_vec())).await;
    let app = app(&api, &[]).await;
    let run = app.run_online("report").await;
    let error = run.error.unwrap_or_default();
    assert!(error.contains("gives the same address when it is asked again"), "{error}");
    assert_eq!((api.count("/file"), api.count("/v2/reports/1")), (2, 2));
    app.database.close().await;
}

#[tokio::test]
async fn each_file_of_a_job_may_have_an_address_that_is_too_old() {
    // Each address is good for the first request behind the look that gave it.
    let looked = Arc::new(AtomicUsize::new(0));
    let (looks, used) = (Arc::clone(&looked), Arc::new(AtomicUsize::new(usize::MAX)));
    let api = api(
        move |_, before| {
            looks.store(before, Ordering::SeqCst);
            done(
                &[0, 1, 2]
                    .map(|file| format!("/file/{file}?look={before}"))
                    .each_ref()
                    .map(|url| &**url),
            )
        },
        move |asked| {
            let look = looked.load(Ordering::SeqCst);
            match used.swap(look, Ordering::SeqCst) == look {
                true => Reply::Bytes(403, "", b"Request has expired".to_vec()),
                false => {
                    let file: usize = asked.path()[6..7].parse().unwrap();
                    plain(csv(file * 3 + 1, file * 3 + 3))
                }
            }
        },
    )
    .await;
    let app = app(&api, &[]).await;
    let run = app.run_online("report").await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 9), "{run:?}");
    assert_eq!(api.count("/v2/reports/1"), 3);
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_is_none_of_rows_is_named_for_what_it_is() {
    for (body, says) in [
        (&b"7z\xbc\xaf\x27\x1cpacked"[..], "it is a 7z archive: let it be a file of rows"),
        (b"%PDF-1.7 of rows", "it is a PDF document"),
        (b"<!DOCTYPE html>\n<html>log in</html>\n", "it is an HTML page"),
        (b"<?xml version=\"1.0\"?>\n<rows/>\n", "it is XML"),
    ] {
        let api = api(|_, _| done(&["/file"]), move |_| plain(body.to_vec())).await;
        let app = app(&api, &[]).await;
        let run = app.run_online("report").await;
        let error = run.error.unwrap_or_default();
        assert!(run.status == RunStatus::Failed && error.contains(says), "{error}");
        assert_eq!(api.count("/file"), 1, "it is the same whenever it is asked for");
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_row_that_is_no_record_is_set_aside_with_its_file_and_line() {
    let mut file = csv(1, 12);
    file.extend(b"13,n13,more\n14,n14\n");
    let api = api(|_, _| done(&["/files/1.csv"]), move |_| plain(gzip(&file))).await;
    let app = app(&api, &[("[fields]", "[checks]\nmax_quarantine_ratio = 0.5\n[fields]")]).await;
    let run = app.run_online("report").await;
    assert_eq!((run.counters.rows_read, run.counters.quarantined), (14, 1), "{run:?}");
    assert!(run.status.is_success(), "{run:?}");
    let place =
        "select raw_ref || ' ' || raw_row || ' ' || line || ' ' || convert_from(raw, 'utf8')
                 from quarantined_rows";
    let id = app.number("select id from source_files").await;
    assert_eq!(app.texts(place).await, [format!("file/{id} 13 14 13,n13,more")]);
    let listed = call(&app, &["quarantine", "list", "report"]).await;
    listed.code(0).prints(&["1.csv line 14 (row 13)"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_second_run_asks_for_what_is_new_and_a_window_is_a_job_of_its_own() {
    let api = api(
        |job, _| done(&[&format!("/files/{job}")]),
        |asked| {
            let job: usize = asked.path().trim_start_matches("/files/").parse().unwrap();
            plain(csv(job * 10, job * 10 + 1))
        },
    )
    .await;
    let today = chrono::Utc::now();
    let begin = (today - chrono::TimeDelta::days(3)).format("%Y-%m-%d").to_string();
    let instead = |more: &str| {
        format!(
            "incremental = {{ type = 'date', initial_value = '{begin}', lookback = '2d', settle = '1h'{more} }}\n\
             timeout = '5s'"
        )
    };
    let json = "json = { level = 'x', since = '${incremental.start:%Y-%m-%d}', until = '${incremental.end:%Y-%m-%d}' }";
    let whole = [("timeout = '5s'", &*instead("")), ("json = { level = 'campaign' }", json)];
    let app = app(&api, &whole).await;
    let bounds = |asked: &[Asked]| -> Vec<(String, String)> {
        let text = |json: &Value, key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let asked = asked.iter().filter(|asked| asked.method == "POST").map(Asked::json);
        asked.map(|json| (text(&json, "since"), text(&json, "until"))).collect()
    };
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let asked = bounds(&api.asked());
    assert_eq!((asked.len(), &asked[0].0), (2, &begin), "{asked:?}");
    let (end, next): (chrono::NaiveDate, chrono::NaiveDate) =
        (asked[0].1.parse().unwrap(), asked[1].0.parse().unwrap());
    let back = (end - next).num_days();
    assert!((1..=3).contains(&back), "{asked:?}");

    let before = api.asked().len();
    let windows = [
        ("timeout = '5s'", &*instead(", step = '1d', concurrency = 2")),
        ("json = { level = 'campaign' }", json),
    ];
    app.write("report.toml", job(&api, &windows));
    let run = app.run_as("report", &online(Mode::Full)).await;
    assert!(run.status.is_success(), "{run:?}");
    let mut asked = bounds(&api.asked()[before..]);
    asked.sort();
    assert!(asked.len() >= 3, "{asked:?}");
    assert_eq!(asked[0].0, begin);
    assert!(asked.windows(2).all(|pair| pair[0].1 == pair[1].0), "{asked:?}");
    let chains = format!("{}", asked.len());
    assert_eq!(
        app.texts("select count(*)::text from run_chains where run_id = 3 and complete").await,
        [chains]
    );
    app.database.close().await;
}

#[tokio::test]
async fn behind_a_window_whose_job_fails_the_next_run_goes_on_there() {
    // The job of the third window fails, until somebody has mended the API.
    let (is_mended, created) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (mended, jobs) = (Arc::clone(&is_mended), Arc::clone(&created));
    let begin = (chrono::Utc::now() - chrono::TimeDelta::days(6)).date_naive();
    let day = move |text: &str| {
        let day: chrono::NaiveDate = text.parse().unwrap();
        usize::try_from((day - begin).num_days()).unwrap()
    };
    let api = RawApi::serve(move |asked| {
        let mut jobs = jobs.lock().unwrap();
        match asked.path() {
            "/v2/reports" => {
                jobs.push(day(asked.json()["since"].as_str().unwrap()));
                Reply::Json(201, json!({ "id": jobs.len() }))
            }
            path => {
                let job: usize = path.rsplit('/').next().unwrap().parse().unwrap();
                match (path.starts_with("/files/"), jobs[job - 1]) {
                    (true, day) => plain(csv(day * 10, day * 10 + 1)),
                    (false, 2) if !mended.load(Ordering::SeqCst) => status("FAILED"),
                    (false, _) => done(&[&format!("/files/{job}")]),
                }
            }
        }
    })
    .await;
    let incremental = format!(
        "incremental = {{ type = 'date', initial_value = '{begin}', step = '1d', concurrency = 9 }}\ntimeout = '5s'"
    );
    let json =
        "json = { since = '${incremental.start:%Y-%m-%d}', until = '${incremental.end:%Y-%m-%d}' }";
    let instead = [("timeout = '5s'", &*incremental), ("json = { level = 'campaign' }", json)];
    let app = app(&api, &instead).await;
    let failed = app.run_online("report").await;
    assert_eq!(failed.status, RunStatus::Failed, "{failed:?}");
    let note = failed.stop_reason.unwrap_or_default();
    let third = begin + chrono::TimeDelta::days(2);
    assert!(note.contains(&format!("the next run goes on at {third}")), "{note}");
    let asked = || {
        let mut asked = std::mem::take(&mut *created.lock().unwrap());
        asked.sort_unstable();
        asked
    };
    assert_eq!(asked()[..3], [0, 1, 2]);
    // Of those in front of it the files are read, and no run reads them again.
    let committed = "select count(*) from source_files where committed_run_id is not null";
    assert_eq!(app.number(committed).await, 2);
    is_mended.store(true, Ordering::SeqCst);
    let run = app.run_online("report").await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(asked()[..4], [2, 3, 4, 5]);
    let rows = (0..6).flat_map(|day| [day * 10, day * 10 + 1]).map(|id| format!("{id} n{id}"));
    assert_eq!(app.texts(TABLE).await[..12], rows.collect::<Vec<_>>());
    app.database.close().await;
}

#[tokio::test]
async fn a_file_that_lost_a_column_which_the_last_ones_had_is_not_loaded() {
    let api = api(
        |job, _| done(&[if job == 1 { "/with" } else { "/without" }]),
        |asked| match asked.path() {
            "/with" => plain(b"id,name,price\n1,a,2\n".to_vec()),
            _ => plain(b"id,name\n1,b\n".to_vec()),
        },
    )
    .await;
    let app =
        app(&api, &[("name = { column = 'name' }", "name = { column = 'name' }\nprice = {}")])
            .await;
    assert_eq!(app.run_online("report").await.status, RunStatus::Success);
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap_or_default();
    assert!(error.contains("no column `price`, which the last run's files had"), "{error}");
    let kept = "select name || ' ' || price from unified_records";
    assert_eq!(app.texts(kept).await, ["a 2"]);
    app.database.close().await;
}

/// So many lines of JSON, of which those `with` have a price.
fn lines(of: usize, with: impl Fn(usize) -> bool) -> Vec<u8> {
    let line = |id| match with(id) {
        true => format!("{{\"id\":{id},\"name\":\"n{id}\",\"price\":{id}}}\n"),
        false => format!("{{\"id\":{id},\"name\":\"other\"}}\n"),
    };
    (1..=of).map(line).collect::<String>().into_bytes()
}

#[tokio::test]
async fn nothing_is_kept_of_lines_before_they_have_shown_the_fields_that_the_last_ones_had() {
    let files = ["/good", "/lost", "/late", "/last", "/large"];
    let api = api(
        move |job, _| done(&[files[job - 1]]),
        |asked| match asked.path() {
            "/good" => plain(lines(30, |_| true)),
            "/lost" => plain(lines(30, |_| false)),
            "/late" => plain(lines(30, |id| id >= 20)),
            "/last" => plain(gzip(&lines(300, |id| id > 100))),
            _ => plain(lines(300, |id| id > 100)),
        },
    )
    .await;
    let fields = ("{ column = 'name' }", "{}\nprice = {}");
    let app = app(&api, &[("'csv'", "'jsonl'"), ("[csv]", "[jsonl]"), fields]).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert!(run.counters.slices > 3, "{run:?}");
    let blocks = "select count(*) from raw_csv_blocks";
    let before = app.number(blocks).await;
    let run = app.run_online("report").await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let error = run.error.unwrap_or_default();
    assert!(error.contains("no column `price`, which the last run's files had"), "{error}");
    assert_eq!(app.number(blocks).await, before);
    let kept = "select count(*) from unified_records where price is not null and name <> 'other'";
    assert_eq!(app.number(kept).await, 30);
    // One that has it is enough to be loaded, wherever it is; that so many have lost it is said.
    let run = app.run_online("report").await;
    assert_eq!((run.status, run.counters.updated), (RunStatus::Degraded, 19), "{run:?}");
    assert_eq!((api.count("/good"), api.count("/late")), (1, 1));
    // A large one is looked through in parts, each of which is committed, and is asked for once all the same.
    let run = app.run_online("report").await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!((run.counters.rows_read, run.failed_tasks), (300, 0), "{run:?}");
    assert_eq!(api.count("/last"), 1);
    // Where there is no room for it, that is said.
    let small = "[files]\nmax_spool = 1000\n\n[jsonl]";
    let jsonl = [("'csv'", "'jsonl'"), ("[csv]", small), fields];
    app.write("report.toml", job(&api, &jsonl));
    let run = app.run_online("report").await;
    assert!(run.status.is_success(), "{run:?}");
    let note = run.stop_reason.unwrap_or_default();
    assert!(note.contains("/large was downloaded twice") && note.contains("max_spool"), "{note}");
    assert_eq!((api.count("/large"), run.counters.unchanged), (2, 300));
    assert_eq!(app.number("select count(*) from unified_records where price is null").await, 100);
    app.database.close().await;
}

/// A worker is killed when its task is there, and another one goes on. Answers what an undisturbed run leaves.
async fn killed_at(api: &RawApi, app: &TestApp, tasks_before: usize, at: impl AsyncFn() -> bool) {
    let Started::New(run) = app.start_as("report", &online(Mode::Incremental)).await else {
        panic!("busy")
    };
    let sources = SourcesInUse::default().with_jobs(Some(app.jobs()));
    let shuffle = Shuffle::with_sources(app, 1, sources).await;
    for _ in 0..tasks_before {
        shuffle.one().await;
    }
    shuffle.one_killed_when(at).await;
    shuffle.all(&mut StdRng::seed_from_u64(3)).await;
    let run = app.get(run).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?} {:?}", api.asked());
    assert_eq!((run.counters.rows_read, run.counters.inserted), (30, 30));
    let expected: Vec<_> = (1..=30).map(|id| format!("{id} n{id}")).collect();
    assert_eq!(app.texts(TABLE).await, expected);
    let twice = "select count(*) from (select file_id, chunk, block from raw_csv_blocks
                 group by 1, 2, 3 having count(*) > 1) as twice";
    assert_eq!(app.number(twice).await, 0);
    assert_eq!(app.number("select count(*) from source_files").await, 1);
}

#[tokio::test]
async fn a_worker_that_is_killed_before_the_jobs_id_is_committed_leaves_one_job_or_none_behind() {
    for keyed in [false, true] {
        let (created, first) = (Mutex::new(Vec::<String>::new()), AtomicBool::new(true));
        let api = RawApi::serve(move |asked| match asked.path() {
            "/v2/reports" => {
                let key = asked.header("idempotency-key").to_owned();
                let mut created = created.lock().unwrap();
                let known = created.iter().position(|known| !key.is_empty() && *known == key);
                let job = known.unwrap_or_else(|| {
                    created.push(key);
                    created.len() - 1
                });
                // The job is there, and the answer never arrives.
                match first.swap(false, Ordering::SeqCst) {
                    true => Reply::Hangs(b"{}".to_vec(), 0),
                    false => Reply::Json(201, json!({ "id": job })),
                }
            }
            "/v2/reports/0" | "/v2/reports/1" => done(&["/file"]),
            _ => plain(csv(1, 30)),
        })
        .await;
        let instead = [("id = '$.id'", "id = '$.id', idempotency_key = true")];
        let app = app(&api, if keyed { &instead } else { &[] }).await;
        killed_at(&api, &app, 1, async || api.count("/v2/reports") == 1).await;
        let job = if keyed { "/v2/reports/0" } else { "/v2/reports/1" };
        assert_eq!((api.count(job), api.count("/file")), (1, 1), "{:?}", api.asked());
        let keys: Vec<_> =
            api.asked().iter().map(|asked| asked.header("idempotency-key").to_owned()).collect();
        assert_eq!(keys[0], keys[1]);
        assert_eq!(keys[0].starts_with("kasparro-1-"), keyed);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_while_it_looks_at_a_job_creates_no_other() {
    let api = api(
        |_, before| if before == 0 { Reply::Hangs(b"{}".to_vec(), 0) } else { done(&["/file"]) },
        |_| plain(csv(1, 30)),
    )
    .await;
    let app = app(&api, &[]).await;
    killed_at(&api, &app, 2, async || api.count("/v2/reports/1") == 1).await;
    assert_eq!(api.asked().iter().filter(|asked| asked.method == "POST").count(), 1);
    app.database.close().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_within_a_file_goes_on_behind_what_is_stored() {
    for packed in [false, true] {
        let first = AtomicBool::new(true);
        let whole = csv(1, 30);
        let api = api(
            |_, _| done(&["/file"]),
            move |_| match first.swap(false, Ordering::SeqCst) {
                true if packed => {
                    Reply::Hangs([gzip(&whole[..150]), gzip(&whole[150..])].concat(), 60)
                }
                true => Reply::Hangs(whole.clone(), 190),
                false if packed => plain(gzip(&whole)),
                false => plain(whole.clone()),
            },
        )
        .await;
        let app = app(&api, &[]).await;
        killed_at(&api, &app, 2, async || api.count("/file") == 1).await;
        assert_eq!(api.count("/file"), 2);
        app.database.close().await;
    }
}

/// Several MiB, so that chunks are stored before all of the file has come.
fn large(name: char) -> Vec<u8> {
    let mut text = "id,name\n".to_owned();
    let padding: String = std::iter::repeat_n(name, 1000).collect();
    (1..=3000).for_each(|id| text.push_str(&format!("{id},{padding}\n")));
    text.into_bytes()
}

#[tokio::test]
async fn a_file_that_is_another_when_it_is_read_again_is_refused_and_one_that_is_the_same_goes_on()
{
    for changed in [false, true] {
        let first = AtomicBool::new(true);
        let api = api(
            |_, _| done(&["/file"]),
            move |_| match first.swap(false, Ordering::SeqCst) {
                true => Reply::Short(large('a'), 2_200_000),
                false if changed => plain(large('b')),
                false => plain(gzip(&large('a'))),
            },
        )
        .await;
        let app = app(&api, &[("chunk_size = 60", "chunk_size = 400000")]).await;
        let run = app.run_online("report").await;
        assert_eq!(api.count("/file"), 2);
        if changed {
            assert_eq!(run.status, RunStatus::Failed, "{run:?}");
            let error = run.error.unwrap_or_default();
            assert!(error.contains("is not what it was when its first"), "{error}");
            let other = "select count(*) from unified_records where name like 'b%'";
            assert_eq!(app.number(other).await, 0);
        } else {
            assert_eq!(run.status, RunStatus::Success, "{run:?}");
            assert_eq!((run.counters.rows_read, run.counters.inserted), (3000, 3000));
        }
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_process_that_is_killed_within_a_file_leaves_what_an_undisturbed_one_leaves() {
    let first = AtomicBool::new(true);
    let api = api(
        |_, _| done(&["/file"]),
        move |_| match first.swap(false, Ordering::SeqCst) {
            true => Reply::Hangs(large('a'), 2_200_000),
            false => plain(large('a')),
        },
    )
    .await;
    let app = app(
        &api,
        &[("chunk_size = 60", "chunk_size = 400000"), ("timeout = '5s'", "timeout = '60s'")],
    )
    .await;
    call(&app, &["run", "report", "--detach"]).await.code(0);
    let worker = Process::start(kasparro(&app, &["worker"]));
    let stored = "select count(*) from run_tasks where kind = 'parse_csv_chunk' and state = 'done'";
    until("chunks are stored", async || app.number(stored).await >= 2).await;
    worker.kill();
    let _second = Process::start(kasparro(&app, &["worker"]));
    let open = "select count(*) from etl_runs where finished_at is null";
    until("the run has ended", async || app.number(open).await == 0).await;
    let run = app.get(kasparro::domain::run::RunId(1)).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (3000, 3000));
    assert_eq!(api.asked().iter().filter(|asked| asked.method == "POST").count(), 1);
    assert_eq!(api.count("/file"), 2);
    app.database.close().await;
}

#[tokio::test]
async fn what_only_a_run_can_read_is_refused_by_name() {
    let api = api(|_, _| done(&["/file"]), |_| plain(csv(1, 1))).await;
    let app = app(&api, &[]).await;
    call(&app, &["preview", "report"]).await.code(1).complains(&["[export] are made by the API"]);
    call(&app, &["run", "report", "--record"]).await.code(1).complains(&["--record"]);
    let says = ["[export] are made by the API", "without `--dry-run`"];
    call(&app, &["run", "report", "--dry-run"]).await.code(1).complains(&says);
    let says = ["a range cannot be read of an export"];
    call(&app, &["run", "report", "--from", "2024-01-01"]).await.code(1).complains(&says);
    assert_eq!(app.number("select count(*) from etl_runs").await, 0);
    let run = app.run("report").await;
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap_or_default();
    assert!(error.contains("without a network"), "{error}");
    assert_eq!(api.asked().len(), 0);
    app.database.close().await;
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_key() {
    let problems = |from: &str, to: &str| {
        let text = "kind = 'csv'\nprimary_key = ['id']\n[export]\nbase_url = 'https://ads.example.com/v2/'\n\
            create = { path = 'reports', json = { since = 1 }, id = '$.id' }\n\
            poll = { path = 'reports/${job.id}', every = '15s', timeout = '2h', status = '$.status', done = ['DONE'], failed = ['FAILED'] }\n\
            download = { url = '$.urls[*]' }\n[csv]\n[fields]\nname = {}\n";
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let parsed = kasparro::job_file::Definition::parse(
            "report".parse().unwrap(),
            "report.toml".as_ref(),
            text,
            kinds(),
        );
        parsed.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(problems("name", "name"), "");
    for (from, to, says) in [
        ("[csv]\n", "[csv]\npaths = ['a.csv']\n", "csv.paths: stands beside [export]"),
        ("[csv]\n", "[files]\npaths = ['a.csv']\n", "files.paths: stands beside [export]"),
        (
            "[csv]\n",
            "[files]\nwhen_gone = 'tombstone'\n",
            "files.when_gone: is for files that are looked for",
        ),
        (
            "kind = 'csv'",
            "kind = 'rest_api'",
            "export: unknown key; kind = \"rest_api\" reads no files",
        ),
        (
            "since = 1",
            "since = '${job.id}'",
            "export.create.json.since: names `${job.id}`, which has no value",
        ),
        ("${job.id}", "${job.ids}", "did you mean `job.id`?"),
        ("reports/${job.id}", "reports", "export.poll.path: names no `${job.id}`"),
        ("timeout = '2h'", "timeout = '10s'", "export.poll.timeout: is less than `every`"),
        ("timeout = '2h'", "timeout = '25h'", "export.poll.timeout: is more than 24 hours"),
        ("every = '15s'", "every = '0s'", "export.poll.every: is no time at all"),
        ("done = ['DONE']", "done = []", "export.poll.done: is empty"),
        ("['FAILED']", "['DONE']", "export.poll.failed: has `DONE`"),
        ("'$.id'", "'id'", "export.create.id: `id` is no JSONPath: write `$.id`"),
        ("'$.urls[*]'", "'urls[*]'", "export.download.url: `urls` is no JSONPath"),
        ("status = '$.status', ", "", "export.poll.status: missing"),
        ("'https://ads.example.com/v2/'", "'ads.example.com'", "export.base_url"),
        (
            "[csv]\n",
            "headers = { authorization = 'Bearer x' }\n[csv]\n",
            "export.headers.authorization: a secret is never",
        ),
        (
            "[csv]\n",
            "incremental = { cursor_path = '$.at', initial_value = '2026-01-01' }\n[csv]\n",
            "export.incremental.cursor_path: is a path within a record",
        ),
        (
            "[csv]\n",
            "incremental = { initial_value = '2026-01-01' }\n[csv]\n",
            "export.incremental: needs an end",
        ),
        (
            "url = '$.urls[*]'",
            "url = '$.urls[*]', hosts = []",
            "export.download.hosts: unknown key",
        ),
    ] {
        let said = problems(from, to);
        assert!(said.contains(says), "{to}: {said}");
    }
}
