//! Whatever a table is packed, encoded and written in, its rows leave the same records.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use kasparro::db::runs::Run;
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};

use crate::app::TestApp;

const RECORDS: &str = "select concat_ws('|', external_id, name, price, raw_row) from unified_records order by external_id";
const SET_ASIDE: &str =
    "select concat_ws('|', raw_row, field, reason) from quarantined_rows order by 1";
const NAMES: &str = "select concat_ws('#', url, member) from source_files order by id";
const KEPT: &str = "select encode(payload, 'escape') from raw_csv_data order by 1";

fn job(kind: &str, files: &str, own: &str) -> String {
    let (name, price) = match kind {
        "json" | "jsonl" => ("from = \"name\"", "from = \"$.net\""),
        _ => ("column = \"Name\"", "column = \"Net\""),
    };
    format!(
        "kind = \"{kind}\"\nprimary_key = [\"id\"]\n[files]\n{files}\n[{kind}]\n{own}\n[fields]\n\
         name = {{ {name} }}\nprice = {{ {price}, type = \"decimal\" }}\n"
    )
}

async fn app(kind: &str, files: &str, own: &str) -> TestApp {
    let app = TestApp::empty().await;
    app.write("table.toml", job(kind, files, own));
    app
}

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::DEFLATE);
        zip.start_file(*name, options).expect("a member");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("an archive").into_inner()
}

#[tokio::test]
async fn a_table_is_the_same_however_it_is_packed_and_encoded() {
    let text = "id,Name,Net\n1,表|示\\能力,19.90\n2,\"ソ\n名前\",0.1\n";
    let utf_16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let sjis = encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let zstd = ruzstd::encoding::compress_to_vec(
        text.as_bytes(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    for (file, own) in [
        (text.as_bytes().to_vec(), ""),
        (utf_16.clone(), ""),
        (gzip(&utf_16), ""),
        (sjis.clone(), "encoding = \"sjis\""),
        (archive(&[("t/a.csv", &sjis)]), "encoding = \"shift_jis\"\ndelimiter = \",\""),
        (zstd, ""),
    ] {
        let app = app("csv", "paths = [\"a.csv\"]", own).await;
        app.write("a.csv", &file);
        let run = app.run("table").await;
        assert_eq!(run.status, Success, "{run:?}");
        assert_eq!(app.texts(RECORDS).await, ["1|表|示\\能力|19.90|1", "2|ソ\n名前|0.1|2"]);
        // It is known again.
        let run = app.run("table").await;
        assert_eq!((run.status, run.counters.rows_read), (Success, 0), "{run:?}");
        app.database.close().await;
    }
}

#[tokio::test]
async fn what_is_no_text_in_its_encoding_sets_its_row_aside_and_no_other() {
    let app = app("csv", "paths = [\"a.csv\"]", "encoding = \"shift_jis\"").await;
    app.write("a.csv", b"id,Name,Net\n1,ok,1\n2,a\x81,2\n3,b\xa0c,3\n4,d,4\n");
    let run = app.run("table").await;
    assert_eq!(run.counters.quarantined, 2, "{run:?}");
    assert_eq!(app.texts(SET_ASIDE).await, ["2|Name|invalid_encoding", "3|Name|invalid_encoding"]);
    assert!(app.texts(KEPT).await.iter().any(|row| row.contains("<A0>")));
    app.database.close().await;
}

#[tokio::test]
async fn a_guessed_encoding_degrades_the_run_until_the_job_file_says_it() {
    let app = app("csv", "paths = [\"a.csv\"]", "").await;
    let text =
        "id,Name,Net\n1,Grüße aus Köln,1\n2,Über Österreich nach Zürich,2\n3,schöne Größe,3\n";
    app.write("a.csv", encoding_rs::WINDOWS_1252.encode(text).0);
    let run = app.run("table").await;
    assert_eq!((run.status, run.counters.inserted), (Degraded, 3), "{run:?}");
    assert!(note(&run).contains("csv.encoding = \"windows-1252\""), "{run:?}");
    app.write("table.toml", job("csv", "paths = [\"a.csv\"]", "encoding = \"windows-1252\""));
    let run = app.run("table").await;
    assert_eq!((run.status, run.counters.unchanged), (SuccessWithDuplicates, 3), "{run:?}");
    assert_eq!(app.texts(RECORDS).await[0], "1|Grüße aus Köln|1|1");
    app.database.close().await;
}

#[tokio::test]
async fn the_members_of_an_archive_are_files_and_a_bad_one_is_left_out() {
    let app = app("csv", "paths = [\"*.zip\"]\nmember = \"*.csv\"", "").await;
    let packed = archive(&[
        ("readme.txt", b"no rows"),
        ("in/a.csv", b"id,Name,Net\n1,a,1\n"),
        ("b.csv", b"<html>an error</html>"),
        ("c.csv", b"id,Name,Net\n3,c,3\n"),
    ]);
    app.write("all.zip", &packed);
    let run = app.run("table").await;
    assert!(!run.status.is_success() && run.counters.inserted == 2, "{run:?}");
    assert!(note(&run).contains("b.csv") && note(&run).contains("an HTML page"), "{run:?}");
    let names = app.texts(NAMES).await;
    assert!(
        names[0].ends_with("all.zip#in/a.csv") && names[1].ends_with("all.zip#c.csv"),
        "{names:?}"
    );
    app.database.close().await;
}

#[tokio::test]
async fn a_damaged_member_beside_others_that_are_unchanged_fails_no_run() {
    let app = app("csv", "paths = [\"*.zip\"]", "").await;
    let rows = |id: &str| format!("id,Name,Net\n{id},x{id},1\n").into_bytes();
    let (a, b) = (rows("1"), rows("2"));
    let whole = archive(&[("a.csv", &a), ("b.csv", &b)]);
    app.write("all.zip", &whole);
    assert_eq!(app.run("table").await.status, Success);
    // A bit of the second member is another one.
    let mut broken = whole.clone();
    let second = broken.windows(5).rposition(|bytes| bytes == b"b.csv").expect("its directory");
    let at = broken[..second].windows(5).rposition(|bytes| bytes == b"b.csv").expect("its data");
    broken[at + 5 + 8] ^= 0xff;
    app.write("all.zip", &broken);
    let run = app.run("table").await;
    assert_eq!((run.status, run.counters.rows_read), (Degraded, 0), "{run:?}");
    assert!(note(&run).contains("all.zip#b.csv"), "{run:?}");
    let run = app.run("table").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    assert!(note(&run).contains("all.zip#b.csv"), "{run:?}");
    // Where none can be read, there is nothing.
    let mut worse = broken.clone();
    let at = worse.windows(5).position(|bytes| bytes == b"a.csv").expect("its data");
    worse[at + 5 + 8] ^= 0xff;
    app.write("all.zip", &worse);
    assert_eq!(app.run("table").await.status, Failed);
    app.write("all.zip", &whole);
    assert!(app.run("table").await.status.is_success());
    app.database.close().await;
}

#[tokio::test]
async fn the_records_of_a_member_that_is_gone_are_missing_like_those_of_a_file_where_that_is_asked_for()
 {
    let files = "paths = [\"*.zip\"]\nwhen_gone = \"tombstone\"";
    let app = app("csv", files, "").await;
    let missing = "\n[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    app.write("table.toml", job("csv", files, "") + missing);
    let rows = |id: &str| format!("id,Name,Net\n{id},x,1\n").into_bytes();
    let (a, b) = (rows("1"), rows("2"));
    let deleted = "select count(*) from unified_records where deleted_at is not null";
    app.write("all.zip", archive(&[("a.csv", &a), ("b.csv", &b)]));
    assert_eq!(app.run("table").await.counters.inserted, 2);
    app.write("all.zip", archive(&[("a.csv", &a)]));
    let run = app.run("table").await;
    assert!(note(&run).contains("the next run reads all files"), "{run:?}");
    assert_eq!(app.number(deleted).await, 0);
    let run = app.run("table").await;
    assert!(run.status.is_success() && app.number(deleted).await == 1, "{run:?}");
    assert!(!note(&run).contains("no more"), "{run:?}");
    // What is gone is gone: nothing is read again.
    assert_eq!(app.run("table").await.counters.rows_read, 0);
    app.write("all.zip", archive(&[("a.csv", &a), ("b.csv", &b)]));
    let run = app.run("table").await;
    assert!(run.status.is_success() && app.number(deleted).await == 0, "{run:?}");
    assert_eq!(app.run("table").await.counters.rows_read, 0);
    app.database.close().await;
}

#[tokio::test]
async fn a_member_that_an_archive_has_no_more_is_told() {
    let app = app("csv", "paths = [\"*.zip\"]", "").await;
    let rows = |id: &str| format!("id,Name,Net\n{id},x,1\n").into_bytes();
    let (a, b) = (rows("1"), rows("2"));
    app.write("all.zip", archive(&[("a.csv", &a), ("b.csv", &b)]));
    assert_eq!(app.run("table").await.counters.inserted, 2);
    app.write("all.zip", archive(&[("a.csv", &a)]));
    let run = app.run("table").await;
    assert!(note(&run).contains("all.zip#b.csv: the archive has it no more"), "{run:?}");
    assert_eq!(app.number("select count(*) from unified_records").await, 2);
    // An archive of which nobody can tell what it holds says nothing of its members.
    app.write("all.zip", &archive(&[("a.csv", &a)])[..60]);
    let run = app.run("table").await;
    assert!(!run.status.is_success() && !note(&run).contains("no more"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_json_document_leaves_what_its_lines_leave() {
    let rows = [
        "{\"id\": 1, \"name\": \"a\", \"net\": 0.10}",
        "{\"id\": 2, \"name\": \"b\", \"net\": \"x\"}",
        "7",
    ];
    let lines = app("jsonl", "paths = [\"a.jsonl\"]", "").await;
    lines.write("a.jsonl", rows.join("\n"));
    let expected = lines.run("table").await;
    for chunk_size in [1, 1 << 20] {
        let own = format!("data_selector = \"$.result.rows[*]\"\nchunk_size = {chunk_size}");
        let document = app("json", "paths = [\"a.json\"]", &own).await;
        document.write(
            "a.json",
            format!("{{\"n\": 3, \"result\": {{\"rows\": [\n{}\n]}}}}\n", rows.join(",\n")),
        );
        let run = document.run("table").await;
        assert_eq!(run.status, expected.status, "{run:?}");
        assert_eq!(run.counters.quarantined, 2, "{run:?}");
        for query in [RECORDS, SET_ASIDE] {
            assert_eq!(document.texts(query).await, lines.texts(query).await);
        }
        document.write("a.json", "{\"result\": {\"rows\": [{\"id\": 1}");
        let run = document.run("table").await;
        assert!(note(&run).contains("ends within its JSON document"), "{run:?}");
        document.database.close().await;
    }
    lines.database.close().await;
}

/// A workbook with a sheet of these rows.
fn workbook(rows: &str) -> Vec<u8> {
    let of = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let sheet = format!("<worksheet><sheetData>{rows}</sheetData></worksheet>");
    let relations = format!(
        "<Relationships><Relationship Id=\"s\" Type=\"{of}/worksheet\" Target=\"s.xml\"/></Relationships>"
    );
    archive(&[
        ("[Content_Types].xml", b"<Types/>"),
        (
            "xl/workbook.xml",
            b"<workbook><sheets><sheet name=\"North\" r:id=\"s\"/></sheets></workbook>",
        ),
        ("xl/_rels/workbook.xml.rels", relations.as_bytes()),
        ("xl/s.xml", sheet.as_bytes()),
    ])
}

#[tokio::test]
async fn the_rows_of_a_workbook_are_records_and_its_errors_are_set_aside() {
    let cell = |at: &str, text: &str| format!("<c r=\"{at}\" t=\"str\"><v>{text}</v></c>");
    let header = format!(
        "<row r=\"2\">{}{}{}</row>",
        cell("B2", "id"),
        cell("C2", "NAME"),
        cell("D2", "Net")
    );
    let row = |number: u32, name: &str, net: &str| {
        format!(
            "<row r=\"{number}\">{}{}{net}</row>",
            cell(&format!("B{number}"), &number.to_string()),
            cell(&format!("C{number}"), name)
        )
    };
    let good = [
        header.clone(),
        row(3, "a", "<c r=\"D3\"><v>0.10</v></c>"),
        row(7, "b", "<c r=\"D7\"><v>1E-2</v></c>"),
    ];
    let bad = row(8, "c", "<c r=\"D8\" t=\"e\"><v>#DIV/0!</v></c>");
    let app = app("xlsx", "paths = [\"in/*.xlsx\"]", "columns = \"B:D\"").await;
    std::fs::create_dir(app.path("in")).expect("a folder");
    app.write("in/a.xlsx", workbook(&[&good[..], &[bad]].concat().concat()));
    let run = app.run("table").await;
    assert_eq!((run.counters.inserted, run.counters.quarantined), (2, 1), "{run:?}");
    assert_eq!(app.texts(RECORDS).await, ["3|a|0.10|1", "7|b|0.01|2"]);
    assert_eq!(app.texts(SET_ASIDE).await, ["3|Net|error_cell"]);
    assert!(app.texts(KEPT).await[0].contains("\"_sheet\":\"North\",\"_row\":3"));
    // Whole workbooks in an archive.
    app.write("table.toml", job("xlsx", "paths = [\"*.zip\"]", ""));
    app.write("all.zip", archive(&[("x/b.xlsx", &workbook(&good.concat()))]));
    let run = app.run("table").await;
    assert_eq!((run.status, run.counters.unchanged), (SuccessWithDuplicates, 2), "{run:?}");
    assert!(!note(&run).contains("no row has"), "{run:?}");
    app.database.close().await;
}

/// Two sheets of so many rows each, whose price columns are called so.
fn two_sheets(price: [&str; 2]) -> Vec<u8> {
    let text = |at: &str, row: usize, text: &str| {
        format!("<c r=\"{at}{row}\" t=\"str\"><v>{text}</v></c>")
    };
    let sheet = |first: usize, price: &str| {
        let header = format!(
            "<row r=\"1\">{}{}{}</row>",
            text("A", 1, "id"),
            text("B", 1, "Name"),
            text("C", 1, price)
        );
        let rows = (2..12).map(|row| {
            let id = (first + row).to_string();
            let cells = [text("A", row, &id), text("B", row, "x")].concat();
            format!("<row r=\"{row}\">{cells}<c r=\"C{row}\"><v>{row}</v></c></row>")
        });
        format!(
            "<worksheet><sheetData>{header}{}</sheetData></worksheet>",
            rows.collect::<String>()
        )
    };
    let of = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relations = format!(
        "<Relationships><Relationship Id=\"a\" Type=\"{of}/worksheet\" Target=\"a.xml\"/>\
         <Relationship Id=\"b\" Type=\"{of}/worksheet\" Target=\"b.xml\"/></Relationships>"
    );
    let root = format!(
        "<Relationships><Relationship Id=\"r\" Type=\"{of}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
    );
    archive(&[
        ("_rels/.rels", root.as_bytes()),
        (
            "xl/workbook.xml",
            b"<workbook><sheets><sheet name=\"North\" r:id=\"a\"/><sheet name=\"South\" r:id=\"b\"/></sheets></workbook>",
        ),
        ("xl/_rels/workbook.xml.rels", relations.as_bytes()),
        ("xl/a.xml", sheet(100, price[0]).as_bytes()),
        ("xl/b.xml", sheet(200, price[1]).as_bytes()),
    ])
}

#[tokio::test]
async fn a_column_that_one_sheet_of_several_has_lost_empties_nothing() {
    let app = app("xlsx", "paths = [\"*.xlsx\"]", "sheets = [\"*\"]").await;
    app.write("a.xlsx", two_sheets(["Net", "Net"]));
    let run = app.run("table").await;
    assert_eq!((run.status, run.counters.inserted), (Success, 20), "{run:?}");
    let empty = "select count(*) from unified_records where price is null";
    for renamed in [["Net", "Cost"], ["Cost", "Net"]] {
        app.write("a.xlsx", two_sheets(renamed));
        let run = app.run("table").await;
        assert_eq!((run.counters.rows_read, app.number(empty).await), (0, 0), "{run:?}");
        assert!(!run.status.is_success(), "{run:?}");
        let sheet = if renamed[0] == "Cost" { "North" } else { "South" };
        let says = format!("no column `Net` in the sheet \"{sheet}\"");
        assert!(note(&run).contains(&says), "{run:?}");
    }
    // One that finds the field under another name would have no value in the rows of the other.
    app.write("a.xlsx", two_sheets(["Net", "NET"]));
    let run = app.run("table").await;
    assert_eq!(app.number(empty).await, 0, "{run:?}");
    assert!(!run.status.is_success() && note(&run).contains("calls a column \"NET\""), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn a_sheet_without_a_column_that_others_have_is_told_the_first_time() {
    let app = app("xlsx", "paths = [\"*.xlsx\"]", "sheets = [\"*\"]").await;
    app.write("a.xlsx", two_sheets(["Net", "Cost"]));
    let run = app.run("table").await;
    assert_eq!((run.status, run.counters.inserted), (Success, 20), "{run:?}");
    assert!(note(&run).contains("the sheet \"South\" has no column \"Net\""), "{run:?}");
    app.database.close().await;
}
