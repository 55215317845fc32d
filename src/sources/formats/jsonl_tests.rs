//! Files of JSON Lines as they are found, in temporary folders; and whatever a file holds and wherever
//! it is cut, the same rows come out.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::domain::bloom_filter::key_hash;
use crate::domain::file::{ChosenRows, FileStamp, KnownFile, Progress};
use crate::domain::hash::ContentHash;
use crate::domain::raw::RawRef;
use crate::domain::record::Column;
use crate::domain::reject::ReasonCode;
use crate::domain::reject::Reject;
use crate::domain::shape::FieldType;
use crate::domain::shape::Shape;
use crate::job_file::Definition;
use crate::mapping::{Mapped, Mapping};
use crate::sources::files::Files;
use crate::sources::files::Wanted;
use crate::sources::files::format::RowFormat;
use crate::sources::files::location::{Location, Setting};
use crate::sources::{AllowedRoots, BlockRows, FilePlan, FileScan, FileSource};
use crate::values::row::Row;

/// A folder with one file, and a job file for it.
struct Bench {
    folder: TempDir,
    definition: Definition,
    source: Files<Jsonl>,
}

/// Everything that reading a file gave.
#[derive(Default)]
struct Loaded {
    mapped: Mapped,
    bytes: Vec<u8>,
    rows: i64,
    shape: Shape,
}

impl Loaded {
    fn records(&self) -> Vec<(i64, String, ContentHash)> {
        let records = self.mapped.records.iter();
        records.map(|r| (r.raw_row(), r.external_id().to_owned(), r.content_hash())).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.records().into_iter().map(|(_, id, _)| id).collect()
    }

    fn rejects(&self) -> Vec<Reject> {
        self.mapped.rejects.iter().map(|(_, reject)| reject).collect()
    }
}

const FIELDS: &str = "name = { from = '$.n.x' }\nprice = { type = 'decimal' }";

impl Bench {
    fn new(params: JsonlParams, text: impl AsRef<[u8]>) -> Self {
        Self::mapping("'id'", FIELDS, params, text)
    }

    fn mapping(key: &str, fields: &str, params: JsonlParams, text: impl AsRef<[u8]>) -> Self {
        let job = format!(
            "kind = 'jsonl'\nprimary_key = [{key}]\n[files]\npaths = ['*']\n[fields]\n{fields}\n"
        );
        let name = "lines".parse().unwrap();
        let definition = Definition::parse(name, "lines.toml".as_ref(), job, &["jsonl"]).unwrap();
        let format = Jsonl::new(params, Wanted::of(&definition)).unwrap();
        let setting = Setting { table: "files", extension: "jsonl" };
        let location = Location { setting, entries: vec!["*".to_owned()] };
        let folder = TempDir::new().unwrap();
        let base = folder.path().to_owned();
        let source = Files::new(format, location, base, AllowedRoots::default()).unwrap();
        let bench = Self { folder, definition, source };
        bench.write(text);
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.jsonl")
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).unwrap();
    }

    fn plan(&self, known: Option<&KnownFile>) -> Result<FilePlan, String> {
        self.source.plan(&self.path(), known, &mut |_| {}).map_err(|error| error.to_string())
    }

    fn whole(&self) -> FileScan {
        match self.plan(None) {
            Ok(FilePlan::Whole(scan)) => scan,
            other => panic!("{other:?}"),
        }
    }

    fn load(&self) -> Loaded {
        self.load_scan(&self.whole())
    }

    fn load_scan(&self, scan: &FileScan) -> Loaded {
        let planned = FileStamp { size: scan.size, modified: scan.modified };
        let mapping = Mapping::new(&self.definition, None);
        let mut loaded = Loaded::default();
        for chunk in &scan.chunks {
            let read = self.source.read(&self.path(), &planned, &scan.layout, chunk, 7, None);
            let parsed = read.unwrap();
            for block in &parsed.blocks {
                loaded.bytes.extend_from_slice(&block.payload);
                let (all, raw) = (ChosenRows::All, RawRef::File(7));
                let mapped = &mut loaded.mapped;
                let (layout, chosen) = (&scan.layout, &all);
                let rows = BlockRows { file: "file.jsonl", block, layout, chosen };
                self.source.map(rows, raw, &mapping, mapped).unwrap();
            }
            loaded.rows += parsed.rows;
            loaded.shape.merge(&parsed.shape);
        }
        loaded
    }
}

fn known(scan: &FileScan) -> KnownFile {
    KnownFile {
        etag: scan.etag.clone(),
        width: None,
        size: scan.size,
        modified: scan.modified,
        hash: scan.hashes.content.into(),
        layout: scan.layout.clone(),
        end: scan.end,
    }
}

fn absent(bench: &Bench, scan: &FileScan) -> Option<Vec<(String, Option<String>)>> {
    let absent = bench.source.absent(&scan.layout, None)?;
    Some(absent.into_iter().map(|absent| (absent.column, absent.nearest)).collect())
}

#[test]
fn each_line_is_an_object_however_lines_end_and_blank_ones_are_passed_over() {
    let text =
        "\u{feff}\r\n{\"id\":1}\r\n\n \t\r\n  {\"id\": 2 , \"n\":{\"x\":\"ä\"}}  \n\n{\"id\":3}";
    let loaded = Bench::new(JsonlParams::default(), text).load();
    assert_eq!(
        (loaded.ids(), loaded.rejects()),
        (vec!["1".into(), "2".into(), "3".into()], vec![])
    );
    assert_eq!(loaded.mapped.records.iter().nth(1).unwrap().column(Column::Name), Some("ä"));
    for empty in ["", "\u{feff}", "\n\r\n \n"] {
        let scan = Bench::new(JsonlParams::default(), empty).whole();
        assert_eq!((scan.chunks.len(), scan.end.rows), (0, 0), "{empty:?}");
    }
}

#[test]
fn a_line_that_is_no_object_is_set_aside_alone_with_what_is_wrong() {
    let params = JsonlParams { max_row_bytes: 30, ..JsonlParams::default() };
    let text =
        b"{\"id\":1}\n{\"id\":2,\"n\":{\"x\":\"open\n{\"id\":\"\xff\"}\n[1]\n{\"id\":3,\"id\":4}\n\
                 {\"id\":5,\"long\":\"xxxxxxxxxxxxxxx\"}\nnull\n{\"id\":6} x\n{\"id\":7}\n";
    let loaded = Bench::new(params, text).load();
    assert_eq!(loaded.ids(), ["1", "7"]);
    let rejects = loaded.rejects();
    let expected = [
        (2, ReasonCode::InvalidJson, "expected readable JSON: EOF while parsing"),
        (3, ReasonCode::InvalidEncoding, "the line is not UTF-8: byte 8 of it is 0xFF"),
        (4, ReasonCode::NotAnObject, "expected an object, found [1]"),
        (5, ReasonCode::InvalidJson, "found \"id\" twice"),
        (6, ReasonCode::RowTooLong, "the line has 33 bytes, the limit is 30"),
        (7, ReasonCode::NotAnObject, "expected an object, found null"),
        (8, ReasonCode::InvalidJson, "trailing characters"),
    ];
    assert_eq!(rejects.len(), expected.len(), "{rejects:?}");
    for (reject, (line, reason, says)) in rejects.iter().zip(expected) {
        assert_eq!((reject.line, reject.raw_row), (Some(line), line));
        let [defect] = &reject.defects[..] else { panic!("{reject:?}") };
        assert_eq!(defect.reason, reason);
        assert!(defect.message.contains(says), "{}", defect.message);
    }
    assert_eq!(rejects[2].raw, b"[1]");
    assert_eq!(rejects[2].byte_range, Some((43, 46)));
}

#[test]
fn what_is_no_json_lines_is_refused_with_what_it_is() {
    for (file, says) in [
        (&b"[{\"id\":1},{\"id\":2}]"[..], "one JSON document, a list"),
        (b"\n[\n  {\"id\":1}\n]\n", "one JSON document, a list"),
        (b"[1,2]\n[3,4]\n", "a list on each line"),
        (b"{\n  \"id\": 1\n}\n", "one JSON document over several lines"),
        (b"{ \"items\": [\n  {\"id\":1}\n]}\n{}\n", ""),
        (b"{\"id\":1}\r{\"id\":2}\r", "end in CR"),
        (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
        (b"%PDF-1.7", "ask for the table as JSON Lines"),
    ] {
        match Bench::new(JsonlParams::default(), file).plan(None) {
            Err(error) => {
                assert!(!says.is_empty() && error.contains(says), "{error}");
                assert!(error.contains("file.jsonl") && error.len() < 400, "{error}");
            }
            Ok(_) => assert!(says.is_empty(), "{says}"),
        }
    }
    // One broken line is set aside; the others are read.
    let loaded = Bench::new(JsonlParams::default(), "{\"id\":1,\n{\"id\":2}\n").load();
    assert_eq!((loaded.ids(), loaded.rejects().len()), (vec!["2".to_owned()], 1));
    // Broken or not, it is one line.
    Bench::new(JsonlParams::default(), "{\"a\":\"\r\"}\n").whole();
}

#[test]
fn types_are_those_of_json_in_every_row() {
    let mut text = "{\"id\":1,\"a\":\"1\"}\n".repeat(3_000);
    text.push_str("{\"id\":1.5,\"a\":null,\"rare\":[]}\n{\"id\":2,\"id\":3,\"bad\":1}\n");
    let shape = Bench::new(JsonlParams::default(), text).load().shape;
    assert!(!shape.types_inferred);
    assert_eq!(shape.rows, 3_001);
    assert_eq!(shape.fields.keys().collect::<Vec<_>>(), ["a", "id", "rare"]);
    let types = |field: &str| shape.fields[field].types.keys().copied().collect::<Vec<_>>();
    assert_eq!(types("id"), [FieldType::Integer, FieldType::Number]);
    assert_eq!(types("a"), [FieldType::String]);
    assert_eq!(types("rare"), [FieldType::Array]);
    assert_eq!(shape.fields["rare"].types[&FieldType::Array].first.row, 3_001);
}

#[test]
fn a_field_is_absent_when_no_row_has_it() {
    let absent_of = |text: &str| {
        let bench = Bench::new(JsonlParams::default(), text);
        let scan = bench.whole();
        absent(&bench, &scan)
    };
    let text = "{\"id\":1}\n{\"id\":2,\"n\":{\"x\":null}}\n{\"id\":3,\"price\":1}\n";
    assert_eq!(absent_of(text), Some(vec![]));
    let misspelt = "{\"id\":1,\"prise\":2,\"n\":{}}\n";
    let price = ("price".to_owned(), Some("prise".to_owned()));
    assert_eq!(absent_of(misspelt), Some(vec![("$.n.x".to_owned(), None), price]));
    // Of a file without a record nobody can tell.
    assert_eq!(absent_of(""), None);
    assert_eq!(absent_of("{\n"), None);
    // What an earlier job file did not ask for, nobody looked for.
    let before = Bench::mapping("'id'", "name = {}", JsonlParams::default(), text).whole();
    let bench = Bench::new(JsonlParams::default(), text);
    let unknown = ["$.n.x", "price"].map(|name| (name.to_owned(), None));
    assert_eq!(absent(&bench, &before), Some(unknown.to_vec()));
}

#[test]
fn only_the_lines_behind_the_known_end_are_read() {
    let first = "{\"id\":1}\n\n";
    let bench = Bench::new(JsonlParams::default(), first);
    let before = known(&bench.whole());
    assert!(matches!(bench.plan(Some(&before)), Ok(FilePlan::Unchanged { .. })));
    bench.write(format!("{first}{{\"id\":2,\"price\":1}}\n"));
    let Ok(FilePlan::Appended(scan)) = bench.plan(Some(&before)) else { panic!() };
    assert_eq!((scan.chunks[0].first_row, scan.chunks[0].first_line), (2, 3));
    assert_eq!(bench.load_scan(&scan).ids(), ["2"]);
    assert_eq!(absent(&bench, &scan).unwrap(), [("$.n.x".to_owned(), None)]);
    // The last line had no end: whatever follows may belong to it.
    bench.write("{\"id\":1}");
    let open = known(&bench.whole());
    bench.write("{\"id\":1}\n{\"id\":2}\n");
    assert!(matches!(bench.plan(Some(&open)), Ok(FilePlan::Whole(_))));
    let other = JsonlParams { chunk_size: 1, ..JsonlParams::default() };
    let other = Bench::new(other, "{\"id\":1}\n{\"id\":2}\n");
    let plan = other.plan(Some(&known(&bench.whole())));
    assert!(matches!(plan, Ok(FilePlan::Whole(_))), "{plan:?}");
}

#[test]
fn every_key_is_explained_in_the_json_schema_and_bad_values_are_refused_by_key() {
    let schema = serde_json::to_value(schemars::schema_for!(JsonlParams)).unwrap();
    for (key, value) in schema["properties"].as_object().unwrap() {
        assert!(value["description"].is_string(), "{key}");
    }
    for (key, params) in [
        ("jsonl.chunk_size", JsonlParams { chunk_size: 0, ..JsonlParams::default() }),
        ("jsonl.max_row_bytes", JsonlParams { max_row_bytes: 0, ..JsonlParams::default() }),
    ] {
        let error = Jsonl::new(params, Vec::new()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

/// Small files of everything that lines of JSON may hold, and of what breaks them.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => Just("{\"id\":1}\n"), 3 => Just("{\"id\":\"b\",\"n\":{\"x\":2}}\n"),
        3 => Just("{\"id\":3,\"price\":\"4.50\"}\r\n"), 3 => Just("\n"), 1 => Just("\r\n"),
        1 => Just("  "), 1 => Just("{"), 1 => Just("}"), 1 => Just("\"id\":"), 1 => Just("["),
        1 => Just("]"), 1 => Just("{\"id\":[1],\"id\":2}"), 1 => Just("\\ud800"), 1 => Just("ä"),
        1 => Just("{\"n\":{\"x\":{}}}\n"), 1 => Just("{\"\\u0069d\":5}\n"), 1 => Just("\r"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn params() -> impl Strategy<Value = JsonlParams> {
    let longest = prop_oneof![3 => Just(1 << 20u64), 1 => 1..40u64];
    longest.prop_map(|max_row_bytes| JsonlParams { max_row_bytes, ..JsonlParams::default() })
}

fn shown(loaded: &Loaded) -> (i64, Vec<(i64, String, ContentHash)>, Vec<Reject>) {
    (loaded.rows, loaded.records(), loaded.rejects())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_chunk_size_gives_the_same_rows_and_each_is_a_record_or_a_reject(
        text in text(),
        params in params(),
        chunk_size in 1..40u64,
    ) {
        let bench = Bench::new(params.clone(), &text);
        let Ok(FilePlan::Whole(scan)) = bench.plan(None) else { return Ok(()) };
        let whole = bench.load_scan(&scan);
        let small = Bench::new(JsonlParams { chunk_size, ..params }, &text);
        let scan = small.whole();
        let cut = small.load_scan(&scan);
        prop_assert_eq!(shown(&cut), shown(&whole));
        prop_assert_eq!(&cut.shape, &whole.shape);
        prop_assert_eq!(scan.end.rows, whole.rows);
        prop_assert_eq!(whole.rows as usize, whole.records().len() + whole.rejects().len());
        prop_assert!(text.as_bytes().ends_with(&whole.bytes));
        let head = &text.as_bytes()[..text.len() - whole.bytes.len()];
        prop_assert!(head.trim_ascii().is_empty(), "rows are lost in front");
        let solid = text.lines().filter(|line| !line.trim_ascii().is_empty()).count();
        prop_assert_eq!(whole.rows as usize, solid);
        let lines = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count() as i64;
        for reject in whole.rejects() {
            let start = reject.byte_range.unwrap().0 as usize;
            prop_assert_eq!(reject.line, Some(lines(&text.as_bytes()[..start]) + 1));
            prop_assert!(text.as_bytes()[start..].starts_with(&reject.raw));
        }
    }

    #[test]
    fn a_file_that_grew_gives_the_rows_of_the_whole(
        first in text(),
        more in text(),
        params in params(),
        chunk_size in 1..40u64,
    ) {
        let bench = Bench::new(JsonlParams { chunk_size, ..params }, &first);
        let Ok(FilePlan::Whole(before)) = bench.plan(None) else { return Ok(()) };
        let loaded = bench.load_scan(&before);
        bench.write(first + &more);
        let Ok(FilePlan::Appended(scan)) = bench.plan(Some(&known(&before))) else { return Ok(()) };
        let new = bench.load_scan(&scan);
        let whole = bench.whole();
        let all = bench.load_scan(&whole);
        prop_assert_eq!([loaded.records(), new.records()].concat(), all.records());
        prop_assert_eq!([loaded.rejects(), new.rejects()].concat(), all.rejects());
        prop_assert_eq!(scan.layout, whole.layout);
        prop_assert_eq!(Progress { chunks: 0, ..scan.end }, Progress { chunks: 0, ..whole.end });
    }

    /// Planning must see the key of every record: repeated keys are applied in order.
    #[test]
    fn planning_sees_the_key_of_every_record(
        text in text(),
        key in prop::sample::select(vec!["'id'", "'$.n.x'", "'$..x'", "'id', '$.n'", "'$[\"id\"]'"]),
    ) {
        let bench = Bench::mapping(key, FIELDS, JsonlParams::default(), &text);
        let mapping = Mapping::new(&bench.definition, None);
        let (mut seen, mut scratch) = (HashSet::new(), String::new());
        let plan = bench.source.plan(&bench.path(), None, &mut |row: &dyn Row| {
            seen.extend(mapping.key_hash(row, &mut scratch));
        });
        let Ok(FilePlan::Whole(scan)) = plan else { return Ok(()) };
        for id in bench.load_scan(&scan).ids() {
            prop_assert!(seen.contains(&key_hash(&id)), "{id}");
        }
    }
}
