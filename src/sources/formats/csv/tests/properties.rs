//! Whatever a file holds and wherever it is cut, the same rows come out. Checked against a
//! grammar written a second time, byte by byte, and against `csv-core`.

use proptest::prelude::*;

use super::super::dialect::{Dialect, LineEnd};
use super::super::grammar::{Blank, Field, FieldKind, Grammar, Headers};
use super::super::header_names::HeaderNames;
use super::super::reference_grammar::{row_end, spans};
use super::*;

/// Small files of everything that has ever confused a CSV reader.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("a"), 2 => Just("bc"), 4 => Just(","), 3 => Just("\""), 3 => Just("\n"),
        1 => Just("\r\n"), 1 => Just("\r"), 1 => Just("\"\""), 1 => Just("\\"), 1 => Just("|"),
        1 => Just("||"), 1 => Just(" "), 1 => Just("ä"), 1 => Just(",\""), 1 => Just("\","),
        1 => Just("\"\n\""), 1 => Just("a,\"x\"\n"), 1 => Just("\u{feff}"), 1 => Just("\r\r\n"),
        1 => Just(", \""), 1 => Just(",,\n"), 1 => Just("a,bc\n"), 1 => Just("\n\"a\",bc\r\n"),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn dialect() -> impl Strategy<Value = Dialect> {
    let delimiters = prop::sample::select(vec![",", "|", "||", ", ", ",,", "ä"]);
    let quote = prop::sample::select(vec![Some('"'), Some('"'), Some('\\'), None]);
    let escape = prop::sample::select(vec![Some('"'), Some('"'), Some('\\'), None]);
    let line_end = prop::sample::select(vec![LineEnd::Lf, LineEnd::Lf, LineEnd::Any]);
    let stray =
        prop::sample::select(vec![StrayQuotes::Auto, StrayQuotes::Quarantine, StrayQuotes::Keep]);
    (delimiters, quote, escape, line_end, stray, any::<bool>()).prop_map(
        |(delimiter, quote, escape, line_end, stray_quotes, spaces_before_quotes)| Dialect {
            delimiter: delimiter.to_owned(),
            quote,
            escape,
            line_end,
            stray_quotes,
            spaces_before_quotes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rows_end_where_the_grammar_says_however_the_bytes_arrive(
        text in text(),
        dialect in dialect(),
        columns in 0..2usize,
        max_row in prop_oneof![Just(1000u64), 1..30u64],
        steps in prop::collection::vec(1..20usize, 1..8),
    ) {
        let grammar = Grammar::new(&dialect, Blank::of(columns), max_row);
        let text = text.as_bytes();
        let found = spans(&grammar, text, &steps);
        let mut at = 0;
        for (row, next) in &found {
            prop_assert_eq!(*row, at + row_end(&text[at..], &dialect, max_row as usize).0);
            at = *next;
        }
        prop_assert_eq!(&found, &spans(&grammar, text, &[text.len()]));
        prop_assert_eq!(at, text.len());
    }

    /// Repeated headers and lines of delimiters are between rows, wherever the bytes end.
    #[test]
    fn what_is_between_rows_is_no_part_of_them(
        text in text(),
        dialect in dialect(),
        headers in prop::collection::vec(prop::sample::select(vec![
            &["a,bc"][..], &["a"], &["a", "a,bc"], &[",", "a,bc"], &["a,", "bc,", "a,,"], &["a,,"],
        ]), 0..3),
        names in prop::collection::vec(prop::sample::select(vec![
            "A,BC", "a;A,Bc", "A,x", "a\nbc,a",
        ]), 0..3),
        max_row in prop_oneof![Just(1000u64), 1..30u64],
        steps in prop::collection::vec(1..20usize, 1..8),
    ) {
        let row = |row: &str| row.split(',').map(str::to_owned).collect();
        let names: Vec<_> = names.into_iter().map(|rows| rows.split(';').map(row).collect()).collect();
        let names = HeaderNames::new(&names, encoding_rs::UTF_8);
        let lines = |way: &[&str]| way.iter().map(|line| line.as_bytes().to_owned()).collect();
        let headers = Headers::new(headers.into_iter().map(lines));
        let blank = Blank { empty_is_row: false, delimiters: true, headers, names, ..Blank::default() };
        let grammar = Grammar::new(&dialect, blank, max_row);
        let text = text.as_bytes();
        let found = spans(&grammar, text, &steps);
        prop_assert_eq!(&found, &spans(&grammar, text, &[text.len()]));
        let mut at = 0;
        for (row, next) in found {
            let content = grammar.content(&text[at..next]);
            prop_assert_eq!(content, grammar.content(&text[at..row]));
            prop_assert!(row <= next);
            at = next;
        }
        prop_assert_eq!(at, text.len());
    }

    /// What the splitter ended because a quote did not close, the field reader must see as such.
    #[test]
    fn exactly_the_rows_cut_within_quotes_are_seen_as_unclosed(
        text in text(),
        dialect in dialect(),
        max_row in prop_oneof![Just(1000u64), 1..30u64],
    ) {
        let grammar = Grammar::new(&dialect, Blank::of(0), max_row);
        let text = text.as_bytes();
        let (mut at, mut fields) = (0, Vec::new());
        for (_, next) in spans(&grammar, text, &[text.len()]) {
            let content = grammar.content(&text[at..next]);
            grammar.fields(content, &mut fields);
            let unclosed = fields.iter().any(|field: &Field| field.kind == FieldKind::Unclosed);
            let (_, expected) = row_end(&text[at..], &dialect, max_row as usize);
            if content.len() <= max_row as usize {
                prop_assert_eq!(unclosed, expected, "{:?}", std::str::from_utf8(content));
            }
            at = next;
        }
    }

    #[test]
    fn good_fields_are_those_of_csv_core(text in text(), backslash in any::<bool>()) {
        let escape = Some(if backslash { '\\' } else { '"' });
        let dialect = Dialect { escape, ..Dialect::default() };
        let grammar = Grammar::new(&dialect, Blank::of(0), 1000);
        let mut builder = csv_core::ReaderBuilder::new();
        builder.terminator(csv_core::Terminator::Any(b'\n'));
        if backslash {
            builder.double_quote(false).escape(Some(b'\\'));
        }
        let (mut at, mut fields) = (0, Vec::new());
        for (_, next) in spans(&grammar, text.as_bytes(), &[text.len()]) {
            let row = std::str::from_utf8(grammar.content(&text.as_bytes()[at..next])).unwrap();
            at = next;
            grammar.fields(row.as_bytes(), &mut fields);
            let odd = |f: &Field| matches!(f.kind, FieldKind::Stray | FieldKind::Unclosed);
            // csv-core drops a backslash in front of anything; here it is text.
            let lone_backslash = backslash && row.replace("\\\"", "").replace("\\\\", "").contains('\\');
            // csv-core passes over one at the start of a file, and sees no field behind it.
            let marked = row.starts_with('\u{feff}');
            if row.is_empty() || marked || fields.iter().any(odd) || lone_backslash {
                continue;
            }
            let ours: Vec<String> = fields.iter().map(|field| {
                let text = &row[field.start as usize..field.end as usize];
                let mut out = String::new();
                match field.kind {
                    FieldKind::Escaped => grammar.unescape(text, &mut out),
                    _ => out.push_str(text),
                }
                out
            }).collect();
            prop_assert_eq!(ours, csv_core_fields(&mut builder.build(), row));
        }
    }
}

fn csv_core_fields(reader: &mut csv_core::Reader, row: &str) -> Vec<String> {
    let (mut out, mut ends) = (vec![0; row.len() + 1], vec![0; row.len() + 2]);
    let mut input = row.to_owned();
    input.push('\n');
    let (_, _, _, count) = reader.read_record(input.as_bytes(), &mut out, &mut ends);
    let mut start = 0;
    let mut fields = Vec::new();
    for end in &ends[..count] {
        fields.push(String::from_utf8(out[start..*end].to_vec()).unwrap());
        start = *end;
    }
    fields
}

fn parameters() -> impl Strategy<Value = CsvParams> {
    let keep = prop::sample::select(vec![StrayQuotes::Quarantine, StrayQuotes::Keep]);
    let ragged = prop::sample::select(vec![RaggedRows::Quarantine, RaggedRows::Pad]);
    let width = 1..4usize;
    let longest = prop_oneof![Just(1 << 20u64), 1..40u64];
    (keep, ragged, width, longest).prop_map(|(stray_quotes, ragged_rows, width, max_row_bytes)| {
        let names = ["x", "y", "z"][..width].iter().map(|name| (*name).to_owned()).collect();
        let header = Header::Names(names);
        CsvParams {
            delimiter: ",".into(),
            quote: "\"".into(),
            escape: "\"".into(),
            stray_quotes,
            ragged_rows,
            header,
            max_row_bytes,
            ..params()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_chunk_size_gives_the_same_rows(
        text in text(),
        given in parameters(),
        chunk_size in 1..40u64,
    ) {
        let whole = Bench::new(given.clone(), &text).load();
        let bench = Bench::new(CsvParams { chunk_size, ..given }, &text);
        let scan = bench.whole();
        let cut = bench.load_scan(&scan);
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(scan.end.rows, whole.total);
        prop_assert_eq!(whole.total as usize, whole.rows.len() + whole.rejects.len());
        let breaks = bench.reader(&scan).grammar.line_breaks();
        let lines = |bytes: &[u8]| breaks.count(bytes);
        for reject in &whole.rejects {
            let start = reject.byte_range.unwrap().0 as usize;
            prop_assert_eq!(reject.line, Some(lines(&text.as_bytes()[..start]) + 1));
            prop_assert!(text.as_bytes()[start..].starts_with(&reject.raw));
            prop_assert!(!reject.defects.is_empty());
        }
        for chunk in &scan.chunks {
            let before = &text.as_bytes()[..chunk.start as usize];
            prop_assert_eq!(chunk.first_line, lines(before) + 1);
        }
    }

    #[test]
    fn an_appended_file_gives_the_rows_of_the_whole(
        first in text(),
        more in text(),
        given in parameters(),
        chunk_size in 1..40u64,
    ) {
        let bench = Bench::new(CsvParams { chunk_size, ..given }, &first);
        let before = bench.whole();
        let mut loaded = bench.load();
        bench.write(first + &more);
        let fresh = bench.whole();
        let whole = bench.load_scan(&fresh);
        if let FilePlan::Appended(scan) = bench.plan(Some(&known(&before))) {
            // What was doubtful when the file was read first stays so, whatever the rest would say of it today.
            prop_assume!(Csv::doubts(&scan.layout) == Csv::doubts(&fresh.layout));
            let new = bench.load_scan(&scan);
            loaded.rows.extend(new.rows);
            loaded.rejects.extend(new.rejects);
            prop_assert_eq!(loaded.rows, whole.rows);
            prop_assert_eq!(loaded.rejects, whole.rejects);
            prop_assert_eq!(scan.end.rows, whole.total);
            prop_assert!(scan.chunks.first().is_none_or(|c| c.index == before.end.chunks));
            let whole_end = fresh.end;
            prop_assert_eq!(Progress { chunks: 0, ..scan.end }, Progress { chunks: 0, ..whole_end });
        }
    }
}
