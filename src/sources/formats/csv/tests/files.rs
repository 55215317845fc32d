//! Files as they are found: missing, empty, without a header, unchanged, longer than before.

use crate::domain::failure::FailureClass;
use crate::domain::hash::{ChunkHash, ContentHash};
use crate::sources::SourceError;
use std::time::{Duration, SystemTime};

use super::*;

fn touch(bench: &Bench) {
    let later = SystemTime::now() + Duration::from_secs(10);
    fs::File::options().append(true).open(bench.path()).unwrap().set_modified(later).unwrap();
}

#[test]
fn a_missing_file_and_a_directory_are_refused_by_name() {
    let bench = Bench::new(params(), "a\n");
    let missing =
        bench.source.plan(&bench.folder.path().join("no.csv"), None, &mut |_| {}).unwrap_err();
    assert_eq!(missing.class(), FailureClass::Permanent);
    assert!(missing.text().contains("no.csv does not exist"), "{missing}");
    let folder = bench.source.plan(bench.folder.path(), None, &mut |_| {}).unwrap_err();
    assert_eq!(folder.class(), FailureClass::Permanent);
    assert!(folder.text().contains("is a directory") && folder.text().contains("*.csv"));
}

#[test]
fn a_pipe_a_socket_and_a_device_are_refused_by_name_and_not_waited_for() {
    let bench = Bench::new(params(), "a\n");
    let path = |name: &str| bench.folder.path().join(name);
    nix::unistd::mkfifo(&path("pipe.csv"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(path("socket.csv")).unwrap();
    for (name, kind) in [("pipe.csv", "a named pipe"), ("socket.csv", "a socket")] {
        let error = bench.source.plan(&path(name), None, &mut |_| {}).unwrap_err();
        assert_eq!(error.class(), FailureClass::Permanent);
        let said = crate::domain::failure::chain(&error);
        assert!(said.ends_with(&format!("{name} is not read: it is {kind}, not a file")), "{said}");
        let source = open(params(), bench.folder.path(), &[name], Vec::new()).unwrap();
        assert!(source.check_named().is_err(), "{name}");
    }
    let error = bench.source.plan(Path::new("/dev/zero"), None, &mut |_| {}).unwrap_err();
    assert!(crate::domain::failure::chain(&error).contains("a device"), "{error}");
}

#[test]
fn paths_are_patterns_in_order_without_repeats() {
    let bench = Bench::new(params(), "a\n");
    for name in ["b.csv", "a.csv", "z[1].csv", "note.txt"] {
        fs::write(bench.folder.path().join(name), "a\n").unwrap();
    }
    let files = |paths: &[&str]| {
        let source = open(params(), bench.folder.path(), paths, Vec::new())?;
        let files = source.files(&source.location().entries, &AtomicBool::new(false))?.files;
        let name = |f: &PathBuf| f.file_name().unwrap().to_string_lossy().into_owned();
        Ok::<_, SourceError>(files.iter().map(name).collect::<Vec<_>>())
    };
    let brackets = bench.folder.path().join("[x]");
    fs::create_dir(&brackets).unwrap();
    fs::write(brackets.join("in.csv"), "a\n").unwrap();
    let inside = open(params(), &brackets, &["*.csv"], Vec::new()).unwrap();
    assert_eq!(
        inside.files(&inside.location().entries, &AtomicBool::new(false)).unwrap().files,
        [brackets.join("in.csv")]
    );
    let all = ["b.csv", "a.csv", "file.csv", "z[1].csv"];
    assert_eq!(files(&["b.csv", "*.csv"]).unwrap(), all);
    assert_eq!(files(&["z[1].csv"]).unwrap(), ["z[1].csv"]);
    for bad in ["none*.csv", "gone.csv", "https://example.com/a.csv", "[.csv"] {
        assert!(files(&[bad]).is_err(), "{bad}");
    }
}

#[test]
fn an_empty_file_and_a_lone_header_have_no_chunks() {
    for text in ["", "\u{feff}", "\n\r\n \n", "a,b", "a,b\n", "a,b\r\n\r\n"] {
        let scan = Bench::wanting(params(), text, &[]).whole();
        assert_eq!((scan.chunks.len(), scan.end.rows), (0, 0), "{text:?}");
        assert_eq!(scan.end.bytes, text.len() as u64);
    }
}

#[test]
fn a_header_without_a_needed_column_is_refused() {
    let error = Bench::wanting(params(), "id,prise\n1,2\n", &["id", "price"]).plan_error();
    assert!(error.contains("file.csv") && error.contains("Did you mean \"prise\""), "{error}");
    let error = Bench::wanting(params(), "a,b,a\n", &["a"]).plan_error();
    assert!(error.contains("both called \"a\""), "{error}");
    let error = Bench::new(params(), "a,\"b\n1,2\n").plan_error();
    assert!(error.contains("cannot be the header") && error.contains("never closes"), "{error}");
}

#[test]
fn headers_may_be_absent_named_or_of_several_rows_behind_a_preamble() {
    let columns = |given: CsvParams, text: &str| {
        let scan = Bench::new(given, text).whole();
        (CsvLayout::load(&scan.layout).unwrap().columns, scan.end.rows)
    };
    let absent = CsvParams { header: Header::Present(false), ..params() };
    assert_eq!(columns(absent, "1,2\n3,4\n"), (vec!["column_1".into(), "column_2".into()], 2));
    let named = CsvParams { header: Header::Names(vec!["x".into(), "y".into()]), ..params() };
    assert_eq!(columns(named, "1,2\n3,4\n"), (vec!["x".into(), "y".into()], 2));
    let deep = CsvParams { header_rows: 2, skip_lines: 2, ..params() };
    let text = "Report\n\"of, today\nnet,\nprice,id\n1,2\n";
    assert_eq!(columns(deep, text), (vec!["net price".into(), "id".into()], 1));
}

#[test]
fn what_is_no_table_is_refused_in_one_sentence() {
    for (file, says) in [
        (&b"\n<!doctype html>\n<html>"[..], "is an HTML page"),
        (b"%PDF-1.7\n", "is a PDF document"),
    ] {
        let error = Bench::new(params(), file).plan_error();
        assert!(error.contains("file.csv") && error.contains(says), "{error}");
        assert!(error.len() < 300, "{error}");
    }
    for good in ["a,b\n", "a,b\r", "a,\"b\r\nc\"\r\n", "a,b\rc\nd,e\n"] {
        Bench::new(params(), good).whole();
    }
}

#[test]
fn what_has_to_be_unpacked_or_transcoded_is_read_as_a_stream() {
    let japanese = CsvParams { encoding: "shift_jis".into(), ..params() };
    let bar = CsvParams { encoding: "latin1".into(), delimiter: "¦".into(), ..params() };
    for (given, file) in [
        (params(), &b"PK\x03\x04\x14\0"[..]),
        (params(), b"\xfd7zXZ\0"),
        (params(), b"\xff\xfea\0"),
        (params(), b"i\0d\0\n\0"),
        (japanese, b"id\n"),
        (bar, b"id\n"),
    ] {
        assert!(matches!(Bench::new(given, file).plan(None), FilePlan::Landed), "{file:?}");
    }
}

#[test]
fn a_file_in_another_encoding_of_single_bytes_is_guessed_and_the_run_degraded_until_it_is_declared()
{
    let text = "id;Straße\n1;Grüße aus Köln\n2;Über Österreich nach Zürich, schön\n";
    let file = encoding_rs::WINDOWS_1252.encode(text).0;
    let loaded = Bench::new(params(), &*file).load();
    assert_eq!(cells(&loaded)[0], ["1", "Grüße aus Köln"]);
    let warnings = |given: CsvParams| {
        let scan = Bench::new(given, &*file).whole();
        Csv::notes(&scan.layout).into_iter().map(|remark| remark.text).collect::<Vec<_>>()
    };
    let told = warnings(params());
    assert!(
        told[0].contains("taken for windows-1252") && told[0].contains("csv.encoding"),
        "{told:?}"
    );
    assert_eq!(warnings(CsvParams { encoding: "cp1252".into(), ..params() }), [""; 0]);
}

#[test]
fn utf32_and_a_foreign_byte_order_mark_are_refused() {
    let error = Bench::new(params(), b"\xff\xfe\0\0a\0\0\0").plan_error();
    assert!(error.contains("UTF-32") && error.contains("iconv"), "{error}");
    let given = CsvParams { encoding: "latin1".into(), ..params() };
    let error = Bench::new(given, "\u{feff}a\n").plan_error();
    assert!(error.contains("latin1"), "{error}");
}

#[test]
fn unusable_parameters_are_refused_by_key() {
    let bad = [
        ("csv.delimiter", CsvParams { delimiter: String::new(), ..params() }),
        ("csv.quote", CsvParams { quote: "<<".into(), ..params() }),
        ("csv.escape", CsvParams { escape: "ä".into(), ..params() }),
        ("csv.encoding", CsvParams { encoding: "utf-32".into(), ..params() }),
        ("csv.encoding", CsvParams { encoding: "klingon".into(), ..params() }),
        ("csv.chunk_size", CsvParams { chunk_size: 0, ..params() }),
        ("csv.max_row_bytes", CsvParams { max_row_bytes: 0, ..params() }),
        ("csv.header_rows", CsvParams { header_rows: 0, ..params() }),
        ("csv.quote", CsvParams { delimiter: "'".into(), quote: "'".into(), ..params() }),
    ];
    for (key, given) in bad {
        let error = Csv::new(given, Vec::new()).unwrap_err();
        assert!(error.text().contains(key), "{error}");
    }
    let error = open(params(), Path::new(""), &[], Vec::new()).unwrap_err();
    assert!(error.text().contains("csv.paths"), "{error}");
    let unknown = serde_json::json!({ "paths": ["a"], "delimeter": ";" });
    assert!(serde_json::from_value::<CsvParams>(unknown).is_err());
    let word = serde_json::json!({ "paths": ["a"], "header": "auto" });
    assert_eq!(serde_json::from_value::<CsvParams>(word).unwrap().header, Header::default());
}

#[test]
fn every_key_is_explained_in_the_json_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(CsvParams)).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    assert_eq!(keys.len(), 16);
    for (key, value) in keys {
        assert!(value["description"].is_string(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn an_unchanged_file_is_not_read_and_a_touched_one_only_hashed() {
    let bench = Bench::new(params(), "a,b\n1,2\n");
    let before = known(&bench.whole());
    assert!(matches!(bench.plan(Some(&before)), FilePlan::Unchanged { .. }));
    touch(&bench);
    assert!(matches!(bench.plan(Some(&before)), FilePlan::Unchanged { .. }));
}

#[test]
fn a_file_read_under_other_parameters_is_read_again() {
    let bench = Bench::new(CsvParams { ragged_rows: RaggedRows::Pad, ..params() }, "a,b\n1,2\n");
    let other = open(params(), bench.folder.path(), &["*.csv"], Vec::new()).unwrap();
    let plan = other.plan(&bench.path(), Some(&known(&bench.whole())), &mut |_| {}).unwrap();
    assert!(matches!(plan, FilePlan::Whole(_)));
}

#[test]
fn only_the_rows_behind_the_known_end_are_read() {
    let bench = Bench::new(params(), "a,b\n1,2\n\n");
    let before = known(&bench.whole());
    bench.write("a,b\n1,2\n\n3,4\n5,\"x\ny\"\n");
    let FilePlan::Appended(scan) = bench.plan(Some(&before)) else { panic!() };
    let hash = Some(ChunkHash::Blake3(ContentHash::of(b"3,4\n5,\"x\ny\"\n")));
    let first = Chunk { index: 1, start: 9, end: 21, first_row: 2, first_line: 4, hash };
    assert_eq!(scan.chunks, [first]);
    assert_eq!(scan.end, Progress { bytes: 21, rows: 3, lines: 6, chunks: 2 });
    assert_eq!(cells(&bench.load_scan(&scan)), [["3", "4"], ["5", "x\ny"]]);
    let blank = known(&scan);
    bench.write("a,b\n1,2\n\n3,4\n5,\"x\ny\"\n\n");
    let FilePlan::Appended(scan) = bench.plan(Some(&blank)) else { panic!() };
    assert_eq!((scan.chunks.len(), scan.end.lines), (0, 7));
}

#[test]
fn a_lone_header_grows_by_appending() {
    let bench = Bench::new(params(), "a,b\n");
    let before = known(&bench.whole());
    bench.write("a,b\n1,2\n");
    let FilePlan::Appended(scan) = bench.plan(Some(&before)) else { panic!() };
    assert_eq!((scan.chunks[0].index, scan.chunks[0].first_row), (0, 1));
}

#[test]
fn a_file_is_read_whole_when_its_past_changed() {
    for (before, now) in [
        ("a,b\n1,2", "a,b\n1,2\n3,4\n"),
        ("a,b\n1,2\n", "a,b\n1,9\n3,4\n"),
        ("a,b\n1,2\n", "a,b\n"),
        ("a,b\n1,2\n", "a;b\n1;2\n3;4\n"),
        ("a,b\n1,\"x\n2,y\n", "a,b\n1,\"x\n2,y\n3,z\"\n"),
        ("a,b\r\n1,2\r", "a,b\r\n1,2\r\n3,4\r\n"),
    ] {
        let bench = Bench::new(params(), before);
        let scan = bench.whole();
        bench.write(now);
        let plan = bench.plan(Some(&known(&scan)));
        assert!(matches!(plan, FilePlan::Whole(_)), "{before:?} {now:?} {plan:?}");
    }
}

#[test]
fn a_chunk_of_another_file_is_not_read() {
    let bench = Bench::new(params(), "a,b\n1,2\n");
    let scan = bench.whole();
    let planned = FileStamp { size: scan.size, modified: scan.modified };
    touch(&bench);
    let read = bench.source.read(&bench.path(), &planned, &scan.layout, &scan.chunks[0], 1, None);
    let error = read.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("changed while it was being read"), "{error}");
}

#[test]
fn a_file_of_many_buffers_is_cut_between_rows() {
    let mut text = String::from("id,name,note\n");
    for n in 0..60_000 {
        let note = if n % 7 == 0 { "\"two\nlines, \"\"quoted\"\"\"" } else { "plain" };
        text.push_str(&format!("{n},product number {n},{note}{n}\n").replace("\"7", "\"\n7"));
    }
    text.push_str("x,\"never closed,1\n");
    text.push_str(&"y,plain,2\n".repeat(300_000));
    let given = CsvParams { chunk_size: 100_000, ..params() };
    let cut = Bench::new(given, &text);
    let scan = cut.whole();
    assert!(scan.chunks.len() > 40);
    let cut = cut.load_scan(&scan);
    let whole = Bench::new(CsvParams { chunk_size: 1 << 30, ..params() }, &text).load();
    assert_eq!((cut.rows.len(), cut.rejects.len()), (whole.rows.len(), whole.rejects.len()));
    assert!(cut.rows == whole.rows && cut.rejects == whole.rejects && cut.bytes == whole.bytes);
    assert!(cut.rows.len() > 340_000);
}

#[test]
fn rows_that_never_close_do_not_make_reading_slow() {
    let given = CsvParams { stray_quotes: StrayQuotes::Keep, ..params() };
    let text = format!("a,b\n{}", "\"x,y\n".repeat(400_000));
    let started = std::time::Instant::now();
    let loaded = Bench::new(CsvParams { quote: "\"".into(), ..given }, text).load();
    assert_eq!(loaded.rejects.len(), 400_000);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
