//! Which rows are good, and what is wrong with the others.

use super::*;

fn load(given: CsvParams, text: impl AsRef<[u8]>) -> Loaded {
    Bench::new(given, text).load()
}

/// Parameters under which every stray quote sets its row aside.
fn strict() -> CsvParams {
    CsvParams { stray_quotes: StrayQuotes::Quarantine, ..params() }
}

#[test]
fn quotes_line_ends_and_blank_lines_are_read_as_written() {
    let text = "\u{feff}a,b\r\n1,\"x\r\ny\"\r\n\r\n\"say \"\"hi\"\"\", 2 \r\n007,\"\"";
    let loaded = load(params(), text);
    assert_eq!(cells(&loaded), [["1", "x\r\ny"], ["say \"hi\"", " 2 "], ["007", ""]]);
    assert_eq!(loaded.rejects, []);
}

#[test]
fn a_lone_return_ends_lines_where_there_is_no_newline() {
    let loaded = load(params(), "a,b\r1,\"x\"\r2,y\r");
    assert_eq!(cells(&loaded), [["1", "x"], ["2", "y"]]);
}

#[test]
fn a_blank_line_is_an_empty_cell_in_a_table_of_one_column() {
    assert_eq!(cells(&load(params(), "a\n\nx\n")), [[""], ["x"]]);
    assert_eq!(cells(&load(params(), "a,b\n\n1,x\n\n\n")), [["1", "x"]]);
    let one = CsvParams { header: Header::Names(vec!["a".into()]), ..params() };
    assert_eq!(cells(&load(one, "\n\n")), [[""], [""]]);
}

#[test]
fn ragged_rows_are_set_aside_or_padded() {
    let text = "a,b,c\n1,2\n1,2,3,4\n1,2,3\n";
    let strict = load(params(), text);
    assert_eq!(cells(&strict), [["1", "2", "3"]]);
    let wrong = vec![ReasonCode::WrongFieldCount];
    assert_eq!(reasons(&strict), [(1, wrong.clone()), (2, wrong.clone())]);
    assert!(strict.rejects[0].defects[0].message.contains("\"c\""));
    let padded = load(CsvParams { ragged_rows: RaggedRows::Pad, ..params() }, text);
    assert_eq!(padded.rows.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(reasons(&padded), [(2, wrong)]);
}

#[test]
fn an_unclosed_quote_costs_its_own_row_only() {
    let loaded = load(params(), "a,b\n1,\"oops\n2,y\n3,z\n");
    assert_eq!(cells(&loaded), [["2", "y"], ["3", "z"]]);
    assert_eq!(reasons(&loaded), [(1, vec![ReasonCode::UnclosedQuote])]);
    let reject = &loaded.rejects[0];
    assert_eq!((reject.line, reject.byte_range), (Some(2), Some((4, 11))));
    assert_eq!(reject.raw, b"1,\"oops");
    assert_eq!(reject.defects[0].field.as_deref(), Some("b"));
}

#[test]
fn a_quote_that_does_not_close_within_the_limit_is_unclosed() {
    let short = CsvParams { max_row_bytes: 20, ..params() };
    let text = "a,b\n1,\"oops\n2,y\n3,z\n4,xxxxxxxxxx\n5,\"end\"\n";
    let loaded = load(short, text);
    assert_eq!(loaded.rows.len(), 4);
    assert_eq!(reasons(&loaded), [(1, vec![ReasonCode::UnclosedQuote])]);
}

#[test]
fn stray_quotes_are_set_aside_or_kept() {
    let text = "a,b\n1,5\" pipe\n2,\"8\" pipe\"\n3,\"x\" y\n4,z\n";
    let given = CsvParams { escape: "none".into(), quote: "\"".into(), ..strict() };
    let strict = load(given.clone(), text);
    assert_eq!(cells(&strict), [["4", "z"]]);
    let stray = vec![ReasonCode::StrayQuote];
    assert_eq!(reasons(&strict), [(1, stray.clone()), (2, stray.clone()), (3, stray)]);
    let kept = load(CsvParams { stray_quotes: StrayQuotes::Keep, ..given }, text);
    // `"x" y` never closes in front of a delimiter.
    assert_eq!(cells(&kept), [["1", "5\" pipe"], ["2", "8\" pipe"], ["4", "z"]]);
    assert_eq!(reasons(&kept), [(3, vec![ReasonCode::UnclosedQuote])]);
}

#[test]
fn behind_a_quoted_field_that_text_follows_nothing_is_said_of_where_fields_are() {
    let unterminated = vec![ReasonCode::StrayQuote];
    for row in [
        "1,\"6\" pipe, black\",x",
        "1,\"6\" pipe\",x,y,z",
        "\"1\" ,x",
        "1,\"5\" x \",\"y",
        "1,\"the \"good\", \"bad\" and \"ugly\"\",x",
    ] {
        let loaded = load(strict(), format!("a,b,c\n{row}\n2,y,z\n"));
        assert_eq!(reasons(&loaded), [(1, unterminated.clone())], "{row}");
        let field = if row.starts_with('"') { "a" } else { "b" };
        assert_eq!(loaded.rejects[0].defects[0].field.as_deref(), Some(field), "{row}");
        assert_eq!(cells(&loaded), [["2", "y", "z"]], "{row}");
    }
    let told =
        |row: &[u8]| reasons(&load(strict(), [b"a,b,c\n", row, b"\n"].concat()))[0].1.clone();
    let stray = ReasonCode::StrayQuote;
    assert_eq!(told(b"5\" x,6\" y"), [ReasonCode::WrongFieldCount, stray, stray]);
    assert_eq!(told(b"5\" x,\"6\" y, z\",w"), [stray, stray]);
    // Bytes are no text wherever the fields are.
    assert_eq!(told(b"\"6\" y, z\",\xff,w"), [stray, ReasonCode::InvalidEncoding]);
}

#[test]
fn a_backslash_escapes_quotes_and_itself_only() {
    let given = CsvParams { escape: "\\".into(), ..params() };
    let loaded = load(given, "a,b\n1,\"8\\'9\\\" c:\\\\x\"\n");
    assert_eq!(cells(&loaded), [["1", "8\\'9\" c:\\x"]]);
}

#[test]
fn delimiters_of_several_characters_are_read() {
    for (delimiter, text) in [(", ", "a, b\n1,2, \"x, y\"\n"), ("||", "a||b\n1,2||\"x, y\"\n")] {
        let loaded = load(CsvParams { delimiter: delimiter.into(), ..params() }, text);
        assert_eq!(cells(&loaded), [["1,2", "x, y"]], "{delimiter}");
    }
}

#[test]
fn text_that_is_no_utf8_is_set_aside_by_column() {
    let loaded = load(params(), b"a,b\n1,caf\xe9\n2,ok\n\x003,\xff\n");
    assert_eq!(cells(&loaded), [["2", "ok"]]);
    let both = vec![ReasonCode::NulCharacter, ReasonCode::InvalidEncoding];
    assert_eq!(reasons(&loaded), [(1, vec![ReasonCode::InvalidEncoding]), (3, both)]);
    let message = &loaded.rejects[0].defects[0].message;
    for part in ["\"b\"", "UTF-8", "byte 4", "0xE9", "windows-1252"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn single_byte_encodings_are_decoded() {
    let given = CsvParams { encoding: "windows-1252".into(), ..params() };
    let loaded = load(given, b"n\xe4me;\x80\n\"M\xfcll\"\"er\";1,5\n");
    assert_eq!(cells(&loaded), [["Müll\"er", "1,5"]]);
    assert!(loaded.shape.fields.contains_key("näme") && loaded.shape.fields.contains_key("€"));
    // windows-1253 has no character at 0xAA.
    let greek = CsvParams { encoding: "windows-1253".into(), ..params() };
    assert_eq!(reasons(&load(greek, b"a,b\n1,\xaa\n"))[0].1, [ReasonCode::InvalidEncoding]);
}

#[test]
fn a_long_row_is_set_aside_and_stored_whole() {
    let long = "x".repeat(50 << 20);
    let text = format!("a,b\n1,{long}\n2,y\n");
    let given = CsvParams { max_row_bytes: 1 << 20, ..params() };
    let loaded = load(given, &text);
    assert_eq!(cells(&loaded), [["2", "y"]]);
    assert_eq!(reasons(&loaded), [(1, vec![ReasonCode::RowTooLong])]);
    assert_eq!(loaded.rejects[0].raw.len(), Reject::MAX_RAW);
    assert_eq!(loaded.rejects[0].byte_range, Some((4, (6 + long.len()) as i64)));
    assert_eq!(loaded.bytes.len(), text.len() - 4);
}

#[test]
fn the_shape_counts_types_and_nulls_of_good_rows() {
    let null_values = vec![String::new(), "n/a".into()];
    let given = CsvParams { null_values, ..params() };
    let loaded = load(given, "id,price\n1,2.5\n2,n/a\n3\n4,\n");
    let shape = &loaded.shape;
    assert!(shape.types_inferred);
    assert_eq!(shape.rows, 3);
    let price = &shape.fields["price"];
    assert_eq!((price.present, price.nulls), (3, 2));
    let seen = &price.types[&crate::domain::shape::FieldType::Number];
    assert_eq!((seen.count, seen.first.to_string().as_str()), (1, "file/7#1"));
}

#[test]
fn a_mapping_sees_cells_nulls_and_missing_fields_by_locator() {
    use crate::values::row::{Cell, Row};
    let given = CsvParams { ragged_rows: RaggedRows::Pad, ..params() };
    let bench = Bench::wanting(given, "Item #,Qty\nx,\ny\n", &["qty", "item"]);
    let scan = bench.whole();
    let stamp = FileStamp { size: scan.size, modified: scan.modified };
    let chunk = &scan.chunks[0];
    let parsed = bench.source.read(&bench.path(), &stamp, &scan.layout, chunk, 1, None).unwrap();
    let reader = bench.reader(&scan);
    let mut seen = Vec::new();
    blocks::rows(reader.as_ref(), &parsed.blocks[0], &ChosenRows::All, |mut found, row| {
        let row = row.unwrap();
        seen.push(match (row.cell(0), row.cell(1)) {
            (Cell::Null, Cell::Text(item)) => format!("null {item}"),
            (Cell::Missing, Cell::Text(item)) => format!("missing {item}"),
            other => panic!("{other:?}"),
        });
        let reject = found.reject(Vec::new());
        assert_eq!((reject.raw_row, reject.line), (found.number, Some(found.number + 1)));
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_eq!(seen, ["null x", "missing y"]);
}

#[test]
fn all_defects_of_a_row_are_told_and_a_hopeless_row_is_not_told_at_length() {
    let loaded = load(strict(), b"a,b\n1\"2,\xff,\0\n");
    let all = [
        ReasonCode::WrongFieldCount,
        ReasonCode::StrayQuote,
        ReasonCode::InvalidEncoding,
        ReasonCode::NulCharacter,
    ];
    assert_eq!(reasons(&loaded), [(1, all.to_vec())]);
    let hopeless = format!("a,b\n{}\n1,2\n", "x\"y,".repeat(100_000));
    let loaded = load(strict(), hopeless);
    assert_eq!(loaded.rejects[0].defects.len(), 100);
    assert_eq!(cells(&loaded), [["1", "2"]]);
}

#[test]
fn rows_that_are_picked_out_are_copied_only_while_they_are_few() {
    for (rows, copied) in [(1_000, 1_000), (100_000, 0)] {
        let bench = Bench::new(params(), format!("id,n\n{}", "k,1\n".repeat(rows)));
        let scan = bench.whole();
        let stamp = FileStamp { size: scan.size, modified: scan.modified };
        let (path, chunk) = (bench.path(), &scan.chunks[0]);
        let mut all = |_: &dyn crate::values::row::Row| true;
        let read = bench.source.read(&path, &stamp, &scan.layout, chunk, 1, Some(&mut all));
        let parsed = read.unwrap();
        assert_eq!(parsed.picked, (1..=rows as i64).collect::<Vec<_>>());
        assert_eq!(parsed.watched.len(), copied);
    }
}
