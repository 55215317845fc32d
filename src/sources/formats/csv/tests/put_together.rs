//! Files that were put together: whatever header comes again, no row is read under the wrong columns, and none is lost.

use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::sources::files::landing::{Coming, Damage, Lands};
use crate::sources::files::unpack::Unpacked;

const NAMES: [&str; 3] = ["sku", "Unit Price", "brand"];
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A file that others follow.
#[derive(Debug, Clone)]
struct Part {
    order: [usize; 3],
    written: usize,
    rows: usize,
}

impl Part {
    /// A name as people write it.
    fn name(&self, name: &str) -> String {
        match self.written {
            0 => name.to_owned(),
            1 => name.to_uppercase(),
            2 => format!(" {} ", name.to_lowercase()),
            3 => format!("\"{}\"", name.replace(' ', "_")),
            _ => format!("{}#", name.replace(' ', "")),
        }
    }

    fn header(&self) -> String {
        let mark = if self.written == 4 { "\u{feff}" } else { "" };
        format!("{mark}{}\n", self.order.map(|at| self.name(NAMES[at])).join(","))
    }

    /// Its rows, in the order of the first header.
    fn values(&self, number: usize) -> Vec<[String; 3]> {
        let value = |row: usize| ["s", "p", "b"].map(|column| format!("{column}{number}-{row}"));
        (0..self.rows).map(value).collect()
    }

    fn text(&self, number: usize) -> String {
        let row = |values: [String; 3]| self.order.map(|at| values[at].as_str()).join(",") + "\n";
        self.header() + &self.values(number).into_iter().map(row).collect::<String>()
    }
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let order = prop_oneof![3 => Just(0), 1 => 0..6usize];
    let part = (order, 0..5usize, 0..4usize).prop_map(|(order, written, rows)| Part {
        order: ORDERS[order],
        written,
        rows,
    });
    prop::collection::vec(part, 1..5)
}

fn bench(given: CsvParams, text: &str) -> Bench {
    let wanted = NAMES.iter().enumerate().map(|(at, name)| Wanted {
        locator: Locator::Column(vec![(*name).to_owned()]),
        needed: at == 0,
        key: at == 0,
    });
    let folder = TempDir::new().unwrap();
    let source = open(given, folder.path(), &["*.csv"], wanted.collect()).unwrap();
    let bench = Bench { folder, source };
    bench.write(text);
    bench
}

/// What a stream of these bytes leaves, and how it ends.
fn landed(given: &CsvParams, text: &str) -> (Loaded, Result<(), String>) {
    let Bench { folder: _folder, source } = bench(given.clone(), text);
    let source = Arc::new(source);
    let bytes =
        Unpacked { bytes: Box::new(Cursor::new(text.to_owned().into_bytes())), packed: true };
    let coming =
        Coming { end_is_told: true, charset: None, damage: Damage::Stays, doubts: Doubts(0) };
    let mut file = Arc::clone(&source).land("file.csv".into(), Ok(bytes), coming).unwrap();
    let reader = source.reader("file.csv", file.layout()).unwrap();
    let mut loaded = Loaded::default();
    loop {
        match file.next() {
            Ok(chunk) => {
                chunk.parsed.blocks.iter().for_each(|block| collect(&reader, block, &mut loaded));
                if chunk.end.is_some() {
                    return (loaded, Ok(()));
                }
            }
            Err(error) => return (loaded, Err(error.text())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_of_files_that_were_put_together_stand_under_their_own_columns_or_nowhere(
        mut parts in parts(),
        chunk_size in 1..80u64,
        first in 1..4usize,
    ) {
        parts[0].order = ORDERS[0];
        let given = CsvParams { chunk_size, ..params() };
        let texts: Vec<String> =
            parts.iter().enumerate().map(|(number, part)| part.text(number)).collect();
        let text = texts.concat();
        let right = parts.iter().take_while(|part| part.order == ORDERS[0]).count();
        let all: Vec<[String; 3]> = parts[..right]
            .iter()
            .enumerate()
            .flat_map(|(number, part)| part.values(number))
            .collect();
        let is_right = right == parts.len();
        let line = texts[..right].concat().matches('\n').count() + 1;
        let refused = |error: &str| {
            error.contains(&format!("line {line} has the header's names in another order"))
        };
        let whole = bench(given.clone(), &text);
        match whole.source.plan(&whole.path(), None, &mut |_| {}) {
            Ok(FilePlan::Whole(scan)) => {
                let loaded = whole.load_scan(&scan);
                prop_assert!(is_right);
                prop_assert_eq!(cells(&loaded), all.clone());
                prop_assert!(loaded.rejects.is_empty());
                prop_assert_eq!(scan.end.rows as usize, all.len());
            }
            Ok(plan) => prop_assert!(false, "{plan:?}"),
            Err(error) => prop_assert!(!is_right && refused(&error.text()), "{}", error.text()),
        }
        let (loaded, end) = landed(&given, &text);
        let rows = cells(&loaded);
        prop_assert!(rows.len() <= all.len() && rows[..] == all[..rows.len()], "{rows:?}");
        match end {
            Ok(()) => prop_assert!(is_right && rows.len() == all.len()),
            Err(error) => prop_assert!(!is_right && refused(&error), "{error}"),
        }
        // The others are appended later.
        let first = first.min(right).min(parts.len() - 1);
        if first == 0 {
            return Ok(());
        }
        let grown = bench(given, &texts[..first].concat());
        let scan = grown.whole();
        let before = known(&scan);
        let mut loaded = grown.load_scan(&scan);
        grown.write(&text);
        match grown.source.plan(&grown.path(), Some(&before), &mut |_| {}) {
            Ok(FilePlan::Appended(scan)) => {
                let more = grown.load_scan(&scan);
                loaded.rows.extend(more.rows);
                prop_assert!(is_right);
                prop_assert_eq!(cells(&loaded), all);
            }
            Ok(FilePlan::Whole(scan)) => {
                prop_assert!(is_right);
                let again = grown.load_scan(&scan);
                prop_assert_eq!(cells(&again), all);
            }
            Ok(plan) => prop_assert!(false, "{plan:?}"),
            Err(error) => prop_assert!(!is_right && refused(&error.text()), "{}", error.text()),
        }
    }
}

/// Two versions of a file: those of another width are set aside; else the rows behind would be shifted.
#[test]
fn a_header_of_other_columns_between_rows_ends_what_can_be_read() {
    let pad = CsvParams { ragged_rows: RaggedRows::Pad, ..params() };
    let drop = CsvParams { extra_fields: Some(ExtraFields::Drop), ..params() };
    for (given, again, row) in [
        (params(), "sku,brand,color", "2,B,red"),
        (params(), "color,sku,Unit price", "red,2,5"),
        (params(), "SKU,Unit Price,Country", "2,5,DE"),
        (pad, "sku,brand", "2,B"),
        (drop, "sku,color,unit price,brand", "2,red,5,B"),
    ] {
        let text = format!("sku,Unit Price,brand\n1,5,A\n{again}\n{row}\n");
        let error = bench(given, &text).plan_error();
        let said = "line 3 looks like a header of other columns (\"";
        assert!(error.contains(said) && error.contains("make two files of it"), "{error}");
    }
    let text = "sku,Unit Price,brand\n1,5,A\nsku,color,Unit Price,brand\n2,red,5,B\n";
    let loaded = bench(params(), text).load();
    assert_eq!(cells(&loaded), [["1", "5", "A"]]);
    let wide = |number| (number, vec![ReasonCode::WrongFieldCount]);
    assert_eq!(reasons(&loaded), [wide(2), wide(3)]);
}

#[test]
fn what_is_not_exactly_the_header_is_no_header() {
    for row in ["sku,sku,sku", "sku,5,brand new", "sku,-,-", "Unit Price,brand,none", ",,x"] {
        let text = format!("sku,Unit Price,brand\n1,5,A\n{row}\n2,6,B\n");
        assert_eq!(bench(params(), &text).load().rows.len(), 3, "{row}");
    }
    // Numbers are no names by themselves, and those that differ in a sign are not the same.
    let text = "id,2023,2024\n1,5,6\n2,2023,2024\nID,2023,2024\n3,-2023,2024\n";
    let loaded = Bench::wanting(params(), text, &["id", "2023"]).load();
    let ids: Vec<_> = cells(&loaded).iter().map(|row| row[0]).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    // A second row of names belongs to the same columns.
    let text = "sku,Unit Price,brand\nSKU,Unit price,Maker\n1,5,A\n";
    let bench = bench(params(), text);
    let scan = bench.whole();
    assert_eq!(bench.load_scan(&scan).rows.len(), 2);
    let warnings = CsvLayout::load(&scan.layout).unwrap().warnings.join("; ");
    assert!(warnings.contains("looks like another header"), "{warnings}");
}

#[test]
fn the_names_that_the_job_file_gives_are_known_again_in_another_order() {
    let header = Header::Names(NAMES.map(str::to_owned).to_vec());
    let named = CsvParams { header, ..params() };
    let text = "SKU,unit price,Brand\n1,5,A\n sku , unit-price , brand\n2,6,B\n";
    assert_eq!(cells(&bench(named.clone(), text).load()), [["1", "5", "A"], ["2", "6", "B"]]);
    let text = "1,5,A\nBrand,SKU,Unit price\nB,2,6\n";
    let error = bench(named.clone(), text).plan_error();
    assert!(error.contains("line 2 has the header's names in another order"), "{error}");
    let below = CsvParams { skip_lines: 1, ..named };
    let text = "Nr,Preis,Marke\n1,5,A\nnr,preis,marke\n2,6,B\n";
    assert_eq!(bench(below.clone(), text).load().rows.len(), 2);
    let error = bench(below, &format!("{text}Marke,Nr,Preis\nC,3,7\n")).plan_error();
    assert!(error.contains("line 5 has the header's names in another order"), "{error}");
}

#[test]
fn the_rows_of_a_header_of_several_rows_are_known_again_in_another_order() {
    let text = "id,2024,,2025,\n,qty,price,qty,price\n1,2,3,4,5\n";
    let load = |more: &str| {
        let columns = ["id", "2024 price", "2025 qty"];
        Bench::wanting(params(), format!("{text}{more}"), &columns)
    };
    let again = load("ID,2024,,2025\n,Qty,Price,Qty,Price\n2,3,4,5,6\n");
    assert_eq!(cells(&again.load()).len(), 2);
    let error = load("id,2025,,2024,\n,qty,price,qty,price\n2,3,4,5,6\n").plan_error();
    assert!(error.contains("line 4 has the header's names in another order"), "{error}");
    let error = load("id,2024,,2025,\n,price,qty,price,qty\n2,3,4,5,6\n").plan_error();
    assert!(error.contains("in another order"), "{error}");
}
