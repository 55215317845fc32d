//! Rows that look like a header, and may be data: none is passed over.

use proptest::prelude::*;

use super::*;

fn named(names: &[&str]) -> Header {
    Header::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

/// The rows as they stand there, and what is said: what degrades a run, and the rest.
fn read(given: CsvParams, text: &str, columns: &[&str]) -> (Vec<String>, String, String) {
    let bench = Bench::wanting(given, text, columns);
    let scan = bench.whole();
    let layout = CsvLayout::load(&scan.layout).unwrap();
    let loaded = bench.load_scan(&scan);
    assert!(loaded.rejects.is_empty(), "{text}");
    let rows = cells(&loaded).iter().map(|row| row.join(",")).collect();
    (rows, layout.warnings.join("; "), layout.notes.join("; "))
}

/// What a job file passes over may be data: a row of units, of samples, of places.
#[test]
fn a_row_of_data_is_no_header_since_it_equals_a_line_that_is_passed_over() {
    let numbered = || Header::Present(false);
    for (header, skipped, row, told) in [
        (numbered(), "0,0", "1,5", false),
        (numbered(), "7,kg", "1,5", false),
        (named(&["id", "weight"]), "-,kg", "1,5", false),
        (numbered(), "Anna,Bonn", "Otto,Kiel", true),
        (named(&["name", "city"]), "Anna,Bonn", "Otto,Kiel", true),
        // Keys with letters and without.
        (numbered(), "AB,kg", "12,kg\nC3,g", true),
    ] {
        let below = CsvParams { header: header.clone(), skip_lines: 1, ..params() };
        let text = format!("{skipped}\n{row}\n{skipped}\n{row}\n");
        let (rows, warned, _) = read(below.clone(), &text, &[]);
        let all: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(rows, all, "{skipped}");
        assert_eq!(warned.contains("1 row looks like the header"), told, "{skipped}: {warned}");
        // It comes later, or a line is passed over as a row.
        let grown = Bench::new(below, format!("{skipped}\n{row}\n"));
        let before = grown.whole();
        grown.write(&text);
        let FilePlan::Appended(scan) = grown.plan(Some(&known(&before))) else { panic!() };
        assert_eq!(cells(&grown.load_scan(&scan))[0].join(","), skipped);
        let below = CsvParams { header, skip_rows: 1, ..params() };
        assert_eq!(read(below, &text, &[]).0, all, "{skipped}");
    }
    // A header above numbers is none of them, nor is one with the given names.
    for (header, skipped, row) in
        [(numbered(), "Nr,Name", "1,Anna"), (named(&["nr", "name"]), "Nr,Name", "A1,Anna")]
    {
        let below = CsvParams { header, skip_lines: 1, ..params() };
        let (rows, warned, notes) =
            read(below, &format!("{skipped}\n{row}\n{skipped}\n{row}\n"), &[]);
        assert!(rows == [row, row] && warned.is_empty(), "{rows:?} {warned}");
        assert!(notes.contains("the header is repeated once"), "{notes}");
    }
}

#[test]
fn names_without_letters_are_those_of_rows_of_numbers_as_well() {
    for (given, text, columns, rows) in [
        (params(), "0,1\n0,1\n1,0\n0,1\n", &["0"][..], 3),
        (params(), "# made by x\n0,1\n0,1\n1,0\n0,1\n", &["0"], 3),
        (CsvParams { header_rows: 2, ..params() }, "0,1\n2,3\n0,1\n2,3\n5,6\n", &["0 2"], 3),
        (CsvParams { header: named(&["0", "1"]), ..params() }, "5,6\n0,1\n7,8\n", &["0"], 3),
        (CsvParams { header: named(&["0", "1"]), ..params() }, "0,1\n0,1\n7,8\n", &["0"], 3),
        // Two names that nobody wrote into the file.
        (CsvParams { header: named(&["en", "de"]), ..params() }, "a,b\nen,de\n7,8\n", &["en"], 3),
    ] {
        let (found, warned, notes) = read(given, text, columns);
        assert_eq!(found.len(), rows, "{text}");
        assert!(warned.contains("like the header"), "{text}: {warned}");
        assert!(!notes.contains("no record"), "{text}: {notes}");
    }
}

#[test]
fn what_may_be_data_and_looks_like_the_header_is_read_and_told() {
    for (text, columns, told) in [
        ("key,1\nx,2\nKEY,1\ny,3\n", &["key"][..], true),
        ("key,1\nKEY,1\nx,2\ny,3\n", &["key"], true),
        ("from,to\nx,2\nFrom,To\ny,3\n", &["from"], true),
        ("key,1\nx,2\nkey,1\ny,3\n", &["key"], false),
        ("from,to\nx,2\n\"from\",\"to\"\ny,3\n", &["from"], false),
        ("from,to,on\nx,2,1\nFrom,To,On\ny,3,1\n", &["from"], false),
    ] {
        let (rows, warned, notes) = read(params(), text, columns);
        assert_eq!(rows.len(), if told { 3 } else { 2 }, "{text}");
        assert_eq!(notes.contains("no record"), !told, "{text}: {notes}");
        assert_eq!(warned.contains("1 row looks like the header"), told, "{text}: {warned}");
        if told {
            // What the warning says holds.
            assert!(warned.contains("csv.header = false with csv.skip_lines = 1"), "{warned}");
            let all = CsvParams { header: Header::Present(false), skip_lines: 1, ..params() };
            let (rows, warned, _) = read(all, text, &["column_1"]);
            assert!(rows.len() == 3 && warned.is_empty(), "{text}: {warned}");
        } else {
            assert!(warned.is_empty(), "{text}: {warned}");
        }
    }
}

/// Pairs of currencies, redirects, translations.
#[test]
fn a_row_that_has_both_names_of_a_header_is_read_and_told() {
    let drop = CsvParams { extra_fields: Some(ExtraFields::Drop), ..params() };
    for (given, header, row) in [
        (params(), "from,to", "to,from"),
        (params(), "from,to", "To, FROM"),
        (drop, "from,to", "to,from,x"),
        (params(), "from,to,rate", "to,from,1.5"),
    ] {
        let rate = if header.ends_with("rate") { ",1" } else { "" };
        let text = format!("{header}\na,b{rate}\n{row}\nto,from{rate}\nc,d{rate}\n");
        let (rows, warned, _) = read(given, &text, &["from", "to"]);
        assert_eq!(rows.len(), 4, "{row}");
        for said in ["2 rows look like", "csv.header = false with csv.skip_lines = 1"] {
            assert!(warned.contains(said), "{row}: {warned}");
        }
    }
}

#[test]
fn what_is_advised_for_data_that_looks_like_another_header_reads_all_of_it() {
    let text = "sku,Unit Price,brand\n1,5,A\nbrand,sku,Unit price\nbrand,sku,color\n2,6,B\n";
    let numbered =
        |skip_lines| CsvParams { header: Header::Present(false), skip_lines, ..params() };
    let error = Bench::wanting(params(), text, &["sku"]).plan_error();
    assert!(error.contains("csv.header = false with csv.skip_lines = 1"), "{error}");
    assert_eq!(Bench::new(numbered(1), text).load().rows.len(), 4);
    // Without a header in the file there is no line to pass over.
    let named = CsvParams { header: named(&["sku", "Unit Price", "brand"]), ..params() };
    let (_, text) = text.split_once('\n').unwrap();
    let error = Bench::wanting(named, text, &["sku"]).plan_error();
    assert!(
        error.contains("csv.header = false takes no row") && !error.contains("skip"),
        "{error}"
    );
    assert_eq!(Bench::new(numbered(0), text).load().rows.len(), 4);
}

fn letters(cells: &[&str]) -> usize {
    cells.iter().filter(|cell| cell.contains(char::is_alphabetic)).count()
}

/// How many rows the notes say to be none.
fn told(notes: &[String]) -> usize {
    let of = |note: &String| {
        let before = |end: &str| note.split_once(end)?.0.rsplit(' ').next()?.parse().ok();
        let several = before(" rows below the header repeat").or_else(|| before(" times between"));
        let several = several.or_else(|| before(" rows repeat the columns' names"));
        several.or_else(|| note.contains("and is no record").then_some(1))
    };
    notes.iter().filter_map(of).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is passed over is told, and is by all that can be seen a header.
    #[test]
    fn no_row_that_may_be_data_is_passed_over_and_what_is_passed_over_is_told(
        (header, rows) in (2..4usize).prop_flat_map(|width| {
            let cell = prop::sample::select(vec!["from", "to", "FROM", "rate", "0", "1", "x"]);
            let row = prop::collection::vec(cell, width);
            (row.clone(), prop::collection::vec(prop_oneof![3 => row, 1 => Just(vec![])], 0..8))
        }),
        mode in 0..4usize,
        given_first in any::<bool>(),
    ) {
        // An empty one is the header again.
        let rows: Vec<_> =
            rows.into_iter().map(|row| if row.is_empty() { header.clone() } else { row }).collect();
        let lines: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
        let head = header.join(",");
        let names = match given_first {
            true => named(&["from", "to", "rate"][..header.len()]),
            false => named(&["0", "1", "2"][..header.len()]),
        };
        let given = match mode {
            0 => params(),
            1 => CsvParams { header: Header::Present(false), skip_lines: 1, ..params() },
            2 => CsvParams { header: names.clone(), skip_rows: 1, ..params() },
            _ => CsvParams { header: names.clone(), ..params() },
        };
        let given = CsvParams { delimiter: ",".into(), ..given };
        let text = match mode {
            3 => lines.join("\n") + "\n",
            _ => format!("{head}\n{}\n", lines.join("\n")),
        };
        let bench = Bench::new(given, &text);
        let Ok(FilePlan::Whole(scan)) = bench.source.plan(&bench.path(), None, &mut |_| {}) else {
            // Of two names another order is none.
            prop_assert!(header.len() > 2, "{text}");
            return Ok(());
        };
        let loaded = bench.load_scan(&scan);
        let layout = CsvLayout::load(&scan.layout).unwrap();
        let kept: Vec<String> = cells(&loaded).iter().map(|row| row.join(",")).collect();
        prop_assert_eq!(kept.len() + told(&layout.notes), rows.len(), "{:?} {:?}", text, layout.notes);
        let many = header.len() > 2;
        let sorted = |row: &[&str]| {
            let mut row: Vec<_> = row.iter().map(|cell| cell.to_lowercase()).collect();
            row.sort_unstable();
            row
        };
        let apart = |at: usize| {
            let is_other =
                |row: &&Vec<&str>| **row != header && !(many && sorted(row) == sorted(&header));
            let others = rows.iter().filter(is_other);
            letters(&[header[at]]) > 0 && others.clone().all(|row| letters(&[row[at]]) == 0)
        };
        let known: Vec<String> = match &names {
            Header::Names(names) => names.iter().map(|name| name.to_lowercase()).collect(),
            _ => Vec::new(),
        };
        let is_known = |row: &[&str]| {
            let alike = known.iter().zip(row).filter(|(name, cell)| **name == cell.to_lowercase());
            letters(row) > 0 && alike.count() > 1
        };
        for (row, line) in rows.iter().zip(&lines) {
            let count = |all: &[String]| all.iter().filter(|one| *one == line).count();
            if count(&kept) == count(&lines) {
                continue;
            }
            let alike = line.to_lowercase() == head.to_lowercase();
            let is_header = match mode {
                0 => letters(&header) > 0 && (line == &head || many && alike),
                1 => line == &head && letters(row) > 1 && (0..header.len()).any(apart),
                2 => is_known(row) || (line == &head || many && alike) && letters(row) > 1,
                _ => is_known(row) && (many || is_known(&rows[0])),
            };
            prop_assert!(is_header, "{:?} lost {}, {:?}", text, line, layout.notes);
        }
    }
}
