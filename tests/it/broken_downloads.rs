//! Files of a web server whose connections break off: what came is not asked for again, within an attempt of a task and
//! from one to the next, and nothing of another file gets behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Success};
use kasparro::sources::Access;
use kasparro::tasks::start_run::{RunRequest, Started};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::app::{TestApp, request};
use crate::file_formats::{archive, gzip};
use crate::raw_api::{Asked, RawApi, Reply};
use crate::shuffle::Shuffle;

/// Enough for some of them to be stored while half of them is still to come.
const ROWS: usize = 40_000;
/// So many bytes come of each connection.
const MOST: usize = 300_000;
const RECORDS: &str = "select concat_ws(' ', external_id, name, raw_row) from unified_records order by length(external_id), external_id";
const FILES: &str =
    "select concat_ws(' ', size, encode(content_hash, 'hex'), committed_rows) from source_files";

/// Rows that no packing makes much smaller.
fn csv(seed: u64) -> Vec<u8> {
    let mut dice = StdRng::seed_from_u64(seed);
    let rows = (1..=ROWS).map(|id| {
        let name: String = (0..4).map(|_| format!("{:016x}", dice.next_u64())).collect();
        format!("{id},{name}\n")
    });
    format!("id,name\n{}", rows.collect::<String>()).into_bytes()
}

/// An answer that is a file, or what is behind an offset of it, and breaks off after `most` bytes.
fn sent(asked: &Asked, file: &[u8], etag: &str, most: usize) -> Reply {
    let from = from(asked).unwrap_or(0);
    let length = file.len() - from;
    let (status, range) = match from {
        0 => ("200 OK", String::new()),
        _ => {
            let range =
                format!("Content-Range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len());
            ("206 Partial Content", range)
        }
    };
    let etag = if etag.is_empty() { String::new() } else { format!("ETag: {etag}\r\n") };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{etag}{range}Content-Length: {length}\r\n\r\n"
    );
    Reply::Whole([head.as_bytes(), &file[from..from + length.min(most)]].concat())
}

/// Where what is asked for begins, if a part is.
fn from(asked: &Asked) -> Option<usize> {
    asked.header("range").strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn online() -> RunRequest<'static> {
    RunRequest { access: Access::Network, ..request(Mode::Incremental) }
}

async fn app(api: &RawApi, file: &str) -> TestApp {
    let app = TestApp::empty().await;
    let job = format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"http://{}/{file}\"]\n\
         http = {{ timeout = \"20s\" }}\n[csv]\nchunk_size = 100000\n[fields]\nname = {{}}\n",
        api.address
    );
    app.write("lines.toml", job);
    app
}

/// What a link leaves that does not break off.
async fn undisturbed(file: &'static str, bytes: Vec<u8>) -> [Vec<String>; 2] {
    let api = RawApi::serve(move |asked| sent(asked, &bytes, "\"1\"", usize::MAX)).await;
    let app = app(&api, file).await;
    assert_eq!(app.run_online("lines").await.status, Success);
    let left = [app.texts(RECORDS).await, app.texts(FILES).await];
    assert_eq!((left[0].len(), api.asked().len()), (ROWS, 1));
    app.database.close().await;
    left
}

fn as_files() -> [(&'static str, Vec<u8>); 3] {
    let text = csv(1);
    [("a.csv", text.clone()), ("a.csv.gz", gzip(&text)), ("a.zip", archive(&[("a.csv", &text)]))]
}

#[tokio::test]
async fn a_link_that_always_breaks_off_brings_a_whole_file_and_each_byte_of_it_once() {
    for (file, bytes) in as_files() {
        let left = undisturbed(file, bytes.clone()).await;
        let size = bytes.len();
        assert!(size > 3 * MOST, "{size}");
        let api = RawApi::serve(move |asked| sent(asked, &bytes, "\"1\"", MOST)).await;
        let app = app(&api, file).await;
        let run = app.run_online("lines").await;
        assert_eq!((run.status, run.counters.rows_read), (Success, ROWS as i64), "{run:?}");
        assert_eq!([app.texts(RECORDS).await, app.texts(FILES).await], left);
        let asked: Vec<_> = api.asked().iter().map(|asked| from(asked).unwrap_or(0)).collect();
        let expected: Vec<_> = (0..size).step_by(MOST).collect();
        assert_eq!(asked, expected, "{file}");
        app.database.close().await;
    }
}

/// The server sends half of it, and then nothing until the worker is dead.
#[tokio::test]
async fn another_worker_asks_for_what_is_behind_the_rows_that_a_dead_one_stored() {
    for (file, bytes) in as_files() {
        let left = undisturbed(file, bytes.clone()).await;
        for etag in ["\"1\"", "W/\"1\""] {
            let (is_dead, sent_bytes) = (Arc::new(AtomicBool::new(false)), bytes.len() / 2);
            let (dead, held) = (Arc::clone(&is_dead), bytes.clone());
            let api = RawApi::serve(move |asked| match dead.load(Ordering::SeqCst) {
                true => sent(asked, &held, etag, usize::MAX),
                false => match sent(asked, &held, etag, sent_bytes) {
                    Reply::Whole(bytes) => Reply::Stalls(bytes),
                    other => other,
                },
            })
            .await;
            let app = app(&api, file).await;
            let Started::New(run) = app.start_as("lines", &online()).await else { panic!("busy") };
            let shuffle = Shuffle::new(&app, 1).await;
            shuffle.one().await;
            let chunks = "select count(*) from run_tasks where kind = 'parse_csv_chunk'";
            let stored = if file == "a.zip" { 0 } else { 3 };
            let is_so = async || !api.asked().is_empty() && app.number(chunks).await >= stored;
            shuffle.one_killed_when(is_so).await;
            is_dead.store(true, Ordering::SeqCst);
            let before = api.asked().len();
            shuffle.all(&mut StdRng::seed_from_u64(1)).await;
            let run = app.get(run).await;
            assert!(run.status.is_success(), "{file} {etag} {run:?}");
            assert_eq!([app.texts(RECORDS).await, app.texts(FILES).await], left, "{file} {etag}");
            // What is packed is read from its start, and so is what nobody can tell from another file.
            let after = api.asked()[before..].iter().map(from).collect::<Vec<_>>();
            let is_right = |from: &Option<usize>| match (file, etag, from) {
                ("a.csv", "\"1\"", Some(from)) => (3 * 100_000..=sent_bytes).contains(from),
                ("a.csv", "\"1\"", None) => false,
                (_, _, from) => from.is_none(),
            };
            assert!(!after.is_empty() && after.iter().all(is_right), "{file} {etag} {after:?}");
            app.database.close().await;
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_while_its_link_is_broken_is_read_as_what_it_is_by_the_next_run() {
    let (one, other) = (csv(1), csv(2));
    let left = undisturbed("a.csv", other.clone()).await;
    // It sends the other one whatever was asked for, or says that it is no more what it was.
    for heeds in [true, false] {
        let (one, other, asked_before) = (one.clone(), other.clone(), AtomicUsize::new(0));
        let api = RawApi::serve(move |asked| match asked_before.fetch_add(1, Ordering::SeqCst) {
            0 => sent(asked, &one, "\"1\"", one.len() / 2),
            _ if heeds && asked.header("if-match") == "\"1\"" => Reply::Bytes(412, "", Vec::new()),
            _ => sent(asked, &other, "\"2\"", usize::MAX),
        })
        .await;
        let app = app(&api, "a.csv").await;
        let run = app.run_online("lines").await;
        assert_eq!(run.status, Degraded, "{run:?}");
        let note = run.stop_reason.unwrap_or_default();
        assert!(note.contains("changed while it was being read"), "{note}");
        let run = app.run_online("lines").await;
        assert_eq!(
            (run.status.is_success(), run.counters.rows_read),
            (true, ROWS as i64),
            "{run:?}"
        );
        assert_eq!(app.texts(RECORDS).await, left[0]);
        app.database.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_its_first_lines_made_believe_is_asked_for_once() {
    // A quote that closes nowhere, behind what the guess has seen, within the first chunk.
    let row = |id: usize| format!("{id}\tx{id:050}\n");
    let rows = |ids: std::ops::Range<usize>| ids.map(row).collect::<String>();
    let text = format!("id\tname\n{}-2\t\"3 pipe\n{}", rows(0..20_000), rows(20_001..ROWS));
    let plain = text.into_bytes();
    let sound: Vec<u8> = b"id\tname\n-1\ta\n".to_vec();
    let both = archive(&[("a.csv", &sound), ("b.csv", &plain)]);
    for (file, bytes, more) in [
        ("a.csv", plain.clone(), 0),
        ("a.csv.gz", gzip(&plain), 0),
        ("a.zip", archive(&[("a.csv", &plain)]), 0),
        ("both.zip", both, 1),
    ] {
        let api = RawApi::serve(move |asked| sent(asked, &bytes, "\"1\"", usize::MAX)).await;
        let app = app(&api, file).await;
        let job = app.read("lines.toml").replace("chunk_size = 100000\n", "");
        app.write("lines.toml", job);
        let run = app.run_online("lines").await;
        assert_eq!(run.counters.inserted, ROWS as i64 + more, "{file}: {run:?}");
        assert_eq!(api.asked().len(), 1, "{file}");
        app.database.close().await;
    }
}
