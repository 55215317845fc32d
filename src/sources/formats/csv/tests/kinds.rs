//! Kinds of files that people have and that no two readers read alike: each case is the smallest of its kind, and
//! stands for it.

use super::*;

/// Rows and rejects of a file whose mapping wants these columns, the first of them being the key.
fn load_wanting(given: CsvParams, text: impl AsRef<[u8]>, columns: &[&str]) -> Loaded {
    bench_wanting(given, text, columns).load()
}

fn bench_wanting(given: CsvParams, text: impl AsRef<[u8]>, columns: &[&str]) -> Bench {
    let wanted = |(at, name): (usize, &&str)| Wanted {
        locator: Locator::Column(vec![(*name).to_owned()]),
        needed: at == 0,
        key: at == 0,
    };
    let folder = TempDir::new().unwrap();
    let wanted = columns.iter().enumerate().map(wanted).collect();
    let source = open(given, folder.path(), &["*.csv"], wanted).unwrap();
    let bench = Bench { folder, source };
    bench.write(text);
    bench
}

fn names(scan: &FileScan) -> Vec<String> {
    CsvLayout::load(&scan.layout).unwrap().columns
}

fn notes(scan: &FileScan) -> String {
    CsvLayout::load(&scan.layout).unwrap().notes.join("; ")
}

fn warnings(scan: &FileScan) -> String {
    CsvLayout::load(&scan.layout).unwrap().warnings.join("; ")
}

#[test]
fn a_row_is_known_by_all_that_it_holds_whether_all_of_it_is_read_or_its_key() {
    let content = |text: &str| {
        let all = Locator::Whole(RowPart::Content);
        let wanted = vec![Wanted { locator: all, needed: true, key: true }];
        let folder = TempDir::new().unwrap();
        let source = open(params(), folder.path(), &["*.csv"], wanted).unwrap();
        let bench = Bench { folder, source };
        bench.write(text);
        let mut planned = Vec::new();
        let mut see = |row: &dyn Row| planned.push(row.content());
        let plan = bench.source.plan(&bench.path(), None, &mut see).unwrap();
        let FilePlan::Whole(scan) = plan else { panic!("{plan:?}") };
        let reader = bench.reader(&scan);
        let mut buffer = Default::default();
        let rows = text.lines().skip(1).filter(|line| !line.trim_matches(',').is_empty());
        let read = rows.map(|row| reader.read(row.as_bytes(), &mut buffer).unwrap().content());
        assert_eq!(read.collect::<Vec<_>>(), planned, "{text}");
        planned
    };
    let rows = content("b,a\n1,\"x\"\n,,\n\u{feff}1\u{a0},x\n1,X\n,1\n,\n");
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0], rows[1]);
    assert!(rows[0] != rows[2] && rows[2] != rows[3]);
    assert_eq!(content("a,c,b\nx,,1\n"), rows[..1]);
}

#[test]
fn lines_end_in_whatever_ends_them() {
    let three = [["M1", "7.50"], ["M2", "31.00"], ["M3", "12.00"]];
    for text in [
        "sku,price\rM1,7.50\rM2,31.00\rM3,12.00\n",
        "sku,price\rM1,7.50\rM2,31.00\rM3,12.00\r\n",
        "sku,price\rM1,7.50\rM2,31.00\rM3,12.00\r",
        "sku,price\rM1,7.50\rM2,31.00\nM3,12.00\r\n",
        "sku,price\r\nM1,7.50\rM2,31.00\rM3,12.00\n",
        "sku,price\r\r\nM1,7.50\r\r\nM2,31.00\r\r\nM3,12.00\r\r\n",
        "sku,price\r\r\nM1,7.50\r\nM2,31.00\nM3,12.00",
        "sku,price\nM1,7.50\nM2,31.00\nM3,12.00\r",
    ] {
        let bench = Bench::new(params(), text);
        let scan = bench.whole();
        assert_eq!(names(&scan), ["sku", "price"], "{text:?}");
        assert_eq!(cells(&bench.load_scan(&scan)), three, "{text:?}");
    }
}

#[test]
fn a_line_feed_within_quotes_is_text_where_lines_end_in_cr() {
    let text = "sku,note\rM1,\"two\nlines\"\rM2,\"a\r\nb\"\rM3,c\r";
    assert_eq!(
        cells(&Bench::new(params(), text).load()),
        [["M1", "two\nlines"], ["M2", "a\r\nb"], ["M3", "c"],]
    );
}

#[test]
fn a_lone_cr_within_a_cell_of_a_file_of_lf_is_text() {
    let text = "sku,note,n\n1,a\rb,2\n2,c,3\n";
    assert_eq!(cells(&Bench::new(params(), text).load()), [["1", "a\rb", "2"], ["2", "c", "3"]]);
}

#[test]
fn a_cr_that_ends_lines_only_far_behind_the_start_is_seen_while_the_file_is_read() {
    let mut text = String::from("id,name\n");
    let rows: Vec<String> = (0..20_000).map(|n| format!("{n},name {n}")).collect();
    text.push_str(&rows[..10_000].join("\n"));
    text.push('\n');
    text.push_str(&rows[10_000..].join("\r"));
    let loaded = Bench::new(params(), &text).load();
    assert_eq!((loaded.rows.len(), loaded.rejects.len()), (20_000, 0));
}

#[test]
fn lines_are_counted_by_what_ends_them() {
    let text = "a,b\r1,x\r\n\r2,\"y\nz\"\r3\r4,z\n";
    let loaded = Bench::new(params(), text).load();
    assert_eq!(reasons(&loaded), [(3, vec![ReasonCode::WrongFieldCount])]);
    assert_eq!(loaded.rejects[0].line, Some(6));
}

#[test]
fn one_title_in_apostrophes_makes_no_quote_of_them() {
    let mut text = String::from("sku,name,price\n");
    for n in 0..5_000 {
        let name = if n == 3 { "'Heroes'".to_owned() } else { format!("Song {n}") };
        text.push_str(&format!("T{n},{name},1.00\n"));
    }
    text.push_str("T5000,\"Say, Bens. Co.\",2.10\n");
    let loaded = Bench::new(params(), &text).load();
    assert_eq!((loaded.rows.len(), loaded.rejects.len()), (5_001, 0));
    assert_eq!(loaded.rows[3].1[1].as_deref(), Some("'Heroes'"));
    assert_eq!(loaded.rows[5_000].1[1].as_deref(), Some("Say, Bens. Co."));
}

#[test]
fn values_that_all_stand_in_apostrophes_stand_in_quotes_however_few_they_are() {
    for header in ["'id','name','val'", "id,name,val"] {
        for rows in 1..6 {
            let lines: String = (0..rows).map(|n| format!("'k{n}','foo','ba\"r'\n")).collect();
            let loaded = Bench::wanting(params(), format!("{header}\n{lines}"), &["id"]).load();
            assert_eq!(loaded.rows.len(), rows, "{header}");
            assert_eq!(cells(&loaded)[0], ["k0", "foo", "ba\"r"], "{header} {rows}");
        }
    }
    let loaded = Bench::wanting(params(), "'id','name'\n'k0','\"q\"'\n", &["id"]).load();
    assert_eq!(cells(&loaded), [["k0", "\"q\""]]);
    let loaded = Bench::wanting(params(), "'id'\n'k0'\n", &["id"]).load();
    assert_eq!(cells(&loaded), [["k0"]]);
    // Where only a column does, few are told and many are quotes.
    let bench = Bench::wanting(params(), "id,name\n1,'foo'\n2,'bar'\n", &["id", "name"]);
    let scan = bench.whole();
    assert_eq!(cells(&bench.load_scan(&scan))[0], ["1", "'foo'"]);
    assert!(notes(&scan).contains("all stand in apostrophes"), "{}", notes(&scan));
    let title = Bench::wanting(params(), "name\n'Heroes'\nLow\n", &["name"]);
    let scan = title.whole();
    assert_eq!(cells(&title.load_scan(&scan))[0], ["'Heroes'"]);
    assert_eq!(notes(&scan), "");
}

#[test]
fn apostrophes_that_hold_values_together_are_quotes_until_a_row_shows_otherwise() {
    let start = "a,b\n'x, y',2\n'z',3\n";
    let bench = Bench::new(params(), start);
    let scan = bench.whole();
    assert_eq!(cells(&bench.load_scan(&scan)), [["x, y", "2"], ["z", "3"]]);
    assert!(notes(&scan).contains("csv.quote"), "{}", notes(&scan));
    // Far behind the sample the real quotes come.
    let text = format!("{start}{}\"p, q\",4\n", "'y',1\n".repeat(20_000));
    let loaded = Bench::new(params(), &text).load();
    assert_eq!(loaded.rows.last().unwrap().1[0].as_deref(), Some("p, q"));
    assert_eq!(loaded.rows[0].1[0].as_deref(), Some("'z'"));
}

#[test]
fn the_delimiter_is_the_one_that_shows_the_mapped_columns() {
    let text = "id;name, first;note, long\n1;a, b;c, d\n2;e, f;g\n3;x;y, z\n";
    assert_eq!(
        cells(&load_wanting(params(), text, &["id", "note, long"]))[0],
        ["1", "a, b", "c, d"]
    );
    let text = "id:name\n1:a\n2:b\n";
    let bench = bench_wanting(params(), text, &["id", "name"]);
    assert_eq!(cells(&bench.load()), [["1", "a"], ["2", "b"]]);
    assert!(notes(&bench.whole()).contains("csv.delimiter"));
}

#[test]
fn fields_between_tabs_that_never_are_quoted_lose_no_rows_into_one_field() {
    let text = "id\ttitle\tn\n1\t\"Heroes\t5\n2\tLow\t6\n3\tLodger\"\t7\n4\tx\t8\n";
    let loaded = Bench::new(params(), text).load();
    assert_eq!(loaded.rows.len(), 4);
    assert_eq!(loaded.rows[0].1[1].as_deref(), Some("\"Heroes"));
    // The same far behind the start.
    let rows = "9\tplain\t1\n".repeat(20_000);
    let body = "1\t\"Heroes\t5\n2\tLow\t6\n3\tx\t\"\n";
    let loaded = Bench::new(params(), format!("id\ttitle\tn\n{rows}{body}")).load();
    assert_eq!(loaded.rows.len() + loaded.rejects.len(), 20_003);
    // One value that is held together does not let the others swallow rows.
    let few = "id\tname\n1\tx\n9001\t\"Alien\n9002\tBob\"\n9003\t\"a\tb\"\n";
    let rows = |rows: usize| (0..rows).map(|n| format!("{n}\tplain\n")).collect::<String>();
    let many = format!("{few}{}", rows(20_000));
    let far =
        format!("id\tname\n{}{}", rows(20_000), few.strip_prefix("id\tname\n1\tx\n").unwrap());
    for (text, all) in [(few.to_owned(), 4), (many, 20_004), (far, 20_003)] {
        let loaded = Bench::new(params(), &text).load();
        assert_eq!(loaded.rows.len() + loaded.rejects.len(), all, "{}", &text[..40]);
    }
    // And quotes that are some stay.
    let quoted = "id\ttitle\n1\t\"a\tb\"\n2\t\"two\nlines\"\n";
    assert_eq!(cells(&Bench::new(params(), quoted).load()), [["1", "a\tb"], ["2", "two\nlines"]]);
}

#[test]
fn files_that_were_put_together_have_no_marks_in_keys_and_no_headers_as_records() {
    let text =
        "\u{feff}id,name\nK1,one\n\u{feff}id,name\nK3,three\nid,\"name\"\r\n\u{feff}\"K4\",four\n";
    let bench = bench_wanting(params(), text, &["id", "name"]);
    let scan = bench.whole();
    assert_eq!(cells(&bench.load_scan(&scan)), [["K1", "one"], ["K3", "three"], ["K4", "four"]]);
    assert!(notes(&scan).contains("repeated 2 times"), "{}", notes(&scan));
    let header = Header::Names(vec!["id".into(), "name".into()]);
    let named = CsvParams { header, ..params() };
    assert_eq!(cells(&load_wanting(named, text, &["id"])).len(), 3);
}

#[test]
fn what_cannot_be_seen_is_no_part_of_names_and_keys() {
    use crate::values::row::{Cell, Row};
    let text = "\u{feff}\u{feff}id\u{a0},\u{200b}name\nK1\u{a0},x\u{a0}\n";
    let bench = bench_wanting(params(), text, &["id", "name"]);
    let scan = bench.whole();
    assert_eq!(names(&scan), ["id", "name"]);
    assert!(notes(&scan).starts_with("1 key has something at its ends"), "{}", notes(&scan));
    let reader = bench.reader(&scan);
    let mut buffer = row::RowBuffer::default();
    let row = reader.read("K1\u{a0},x\u{a0}".as_bytes(), &mut buffer).unwrap();
    assert!(matches!(row.cell(0), Cell::Text("K1")));
    assert!(matches!(row.cell(1), Cell::Text("x\u{a0}")), "values stay what they are");
}

#[test]
fn two_columns_of_one_name_are_read_unless_they_are_mapped() {
    let text = "key,Labels,Labels,n\n1,red,,3\n2,red,blue,5\n";
    let bench = bench_wanting(params(), text, &["key", "n"]);
    let scan = bench.whole();
    let loaded = bench.load_scan(&scan);
    assert_eq!(cells(&loaded)[1], ["2", "red", "blue", "5"]);
    assert!(loaded.shape.fields.contains_key("Labels (2)"));
    assert!(notes(&scan).contains("columns 2 and 3 are both called \"Labels\""));
    let error = bench_wanting(params(), text, &["key", "Labels"]).plan_error();
    assert!(
        error.contains("columns 2 and 3 are both called \"Labels\", and it is mapped"),
        "{error}"
    );
}

#[test]
fn a_first_line_that_names_the_delimiter_is_no_row() {
    for text in [
        "sep=;\nid;name\n1;a,b\n",
        "\u{feff}SEP=;\r\nid;name\r\n1;a,b\r\n",
        "\"sep=;\"\nid;name\n1;a,b\n",
    ] {
        let bench = bench_wanting(params(), text, &["id"]);
        assert_eq!(cells(&bench.load()), [["1", "a,b"]], "{text:?}");
        assert!(notes(&bench.whole()).contains("first line says"));
    }
    assert_eq!(cells(&Bench::new(params(), "sep=\tx\n1\t2\n").load()), [["1", "2"]]);
}

#[test]
fn lines_above_a_header_that_has_the_mapped_columns_are_passed_over_and_told() {
    for text in [
        "# made by x\nid,name\n1,a\n",
        "Report of today\n\n,,\nid,name\n1,a\n",
        "PREAMBLE,,,\nid,name\n1,a\n",
        "\"a \"\"title\"\", of\ntwo lines\"\nid,name\n1,a\n",
    ] {
        let bench = bench_wanting(params(), text, &["id", "name"]);
        let scan = bench.whole();
        assert_eq!(cells(&bench.load_scan(&scan)), [["1", "a"]], "{text:?}");
        assert!(notes(&scan).contains("csv.skip_lines ="), "{}", notes(&scan));
    }
    let strict = CsvParams { header: Header::Present(true), ..params() };
    let error = bench_wanting(strict, "# made by x\nid,name\n1,a\n", &["id"]).plan_error();
    assert!(error.contains("no column \"id\""), "{error}");
}

#[test]
fn a_header_of_several_rows_is_found_by_the_columns_that_are_mapped_and_told() {
    let columns = &["id", "2024 price", "2025 qty"];
    let rows = "1,2,3.5,4,5.5\n2,6,7.5,8,9.5\n";
    for (head, said) in [
        (",2024,,2025,\nid,qty,price,qty,price\n", "header_rows = 2"),
        ("id,2024,,2025,\n,qty,price,qty,price\n", "header_rows = 2"),
        ("# made by x\r\n,2024,,2025,\r\nid,qty,price,qty,price\r\n", "header_rows = 2"),
        ("Report\n\n,2024,,2025,\n,qty,price,qty,price\nid,,,,\n", "header_rows = 3"),
    ] {
        let bench = bench_wanting(params(), format!("{head}{rows}"), columns);
        let scan = bench.whole();
        let found = bench.reader(&scan).located().to_vec();
        assert_eq!(found, [Some(0), Some(2), Some(3)], "{head:?}");
        assert_eq!(bench.load_scan(&scan).rows.len(), 2, "{head:?}");
        assert!(notes(&scan).contains(said), "{head:?}: {}", notes(&scan));
        let lines_above = notes(&scan).contains("csv.skip_lines");
        assert_eq!(lines_above, head.starts_with(['#', 'R']), "{head:?}: {}", notes(&scan));
    }
    // Its last row may come again.
    let again =
        format!(",2024,,2025,\nid,qty,price,qty,price\n{rows}id,qty,price,qty,price\n{rows}");
    assert_eq!(load_wanting(params(), again, columns).rows.len(), 4);
    let strict = CsvParams { header: Header::Present(true), ..params() };
    let text = format!("id,2024,,2025,\n,qty,price,qty,price\n{rows}");
    assert_eq!(bench_wanting(strict, text, columns).load().rows.len(), 3);
}

/// A table put together of two files, wherever it is cut, gives the rows of both.
#[test]
fn a_header_of_several_rows_that_comes_again_is_no_record_wherever_it_is() {
    let columns = &["id", "2024 price", "2025 qty"];
    for head in [
        ",2024,,2025,\nid,qty,price,qty,price\n",
        "id,2024,,2025,\n,qty,price,qty,price\n",
        "\u{feff}id,\"2024\",,2025,\r\n,qty,price,qty,price\r\n",
        "# made by x\n\n,2024,,2025,\nid,qty,price,qty,price\n",
        ",2024,,2025,\n,qty,price,qty,price\nid,,,,\n",
    ] {
        let (one, two) = ("1,2,3.5,4,5.5\n2,6,7.5,8,9.5\n", "3,2,3.5,4,5.5\n4,6,7.5,8,9.5\n");
        let text = format!("{head}{one}{head}{head}{two}{head}");
        let whole = bench_wanting(params(), &text, columns);
        let scan = whole.whole();
        let loaded = whole.load_scan(&scan);
        let ids: Vec<_> = cells(&loaded).iter().map(|row| row[0]).collect();
        assert_eq!(ids, ["1", "2", "3", "4"], "{head:?}");
        assert!(loaded.rejects.is_empty(), "{:?}", loaded.rejects);
        assert!(notes(&scan).contains("repeated 3 times"), "{head:?}: {}", notes(&scan));
        for chunk_size in 1..40 {
            let cut = bench_wanting(CsvParams { chunk_size, ..params() }, &text, columns);
            assert_eq!(cut.load(), loaded, "{head:?} {chunk_size}");
        }
        // The second file comes later.
        let grown = bench_wanting(params(), format!("{head}{one}"), columns);
        let before = known(&grown.whole());
        grown.write(&text);
        let FilePlan::Appended(scan) = grown.plan(Some(&before)) else { panic!("{head:?}") };
        assert_eq!(grown.load_scan(&scan).rows.len(), 2, "{head:?}");
    }
    // Rows of the header without the others: one that names the key's column is none, another may be.
    let lone = |line: &str| {
        let text = format!("id,2024,,2025,\n,qty,price,qty,price\n1,2,3,4,5\n{line}\n2,6,7,8,9\n");
        let bench = bench_wanting(params(), text, columns);
        let scan = bench.whole();
        (bench.load_scan(&scan).rows.len(), warnings(&scan))
    };
    let (rows, warned) = lone("id,2024,,2025,");
    assert!(rows == 2 && warned.is_empty(), "{rows} {warned}");
    let (rows, warned) = lone(",qty,price,qty,price");
    assert!(rows == 3 && warned.contains("1 row is the same as a line"), "{rows} {warned}");
}

#[test]
fn a_header_comes_again_with_line_breaks_in_it_and_with_the_lines_above_it() {
    let wide: Vec<_> = (0..1_000).map(|n| format!("column {n}")).collect();
    for head in [
        "id,\"unit\nprice\",\"a\r\n\r\nb\"\n".to_owned(),
        "\"Report\nof today\"\nid,b,c\n".to_owned(),
        format!("id,{}\n", wide.join(",")),
    ] {
        let row = |id: usize| format!("{id}{}\n", ",x".repeat(head.matches(',').count()));
        let text = format!("{head}{}{head}{}", row(1), row(2));
        let loaded = load_wanting(params(), text, &["id"]);
        assert_eq!((loaded.rows.len(), loaded.rejects.len()), (2, 0), "{head:.40}");
    }
    // Where the job file names the columns, the header is above the table.
    for header in [Header::Names(vec!["id".into(), "name".into()]), Header::Present(false)] {
        let named = CsvParams { header, skip_lines: 1, ..params() };
        let text = "Nr,Bezeichnung\n1,a\nNr,Bezeichnung\n2,b\n";
        assert_eq!(cells(&Bench::new(named, text).load()), [["1", "a"], ["2", "b"]]);
    }
}

#[test]
fn the_header_of_a_table_without_a_key_is_the_row_that_has_a_mapped_column() {
    let load = |text: &str| {
        let whole = Locator::Whole(RowPart::Number);
        let key = Wanted { locator: whole, needed: true, key: true };
        let name = Locator::Named("name".to_owned());
        let wanted = vec![Wanted { locator: name, needed: false, key: false }, key];
        let folder = TempDir::new().unwrap();
        let source = open(params(), folder.path(), &["*.csv"], wanted).unwrap();
        let bench = Bench { folder, source };
        bench.write(text);
        match bench.source.plan(&bench.path(), None, &mut |_| {}) {
            Ok(FilePlan::Whole(scan)) => Ok(bench.load_scan(&scan).rows.len()),
            Ok(plan) => panic!("{plan:?}"),
            Err(error) => Err(error.text()),
        }
    };
    assert_eq!(load("# made by x\nid;name\n1;a\n;\n2;b\n"), Ok(2));
    assert_eq!(load("name\na\nb\n"), Ok(2));
    let error = load("title,price\na,1\n").unwrap_err();
    assert!(error.contains("no column \"name\""), "{error}");
}

#[test]
fn a_title_above_a_header_of_several_rows_is_passed_over_whatever_the_key_is() {
    let load = |columns: &[&str], key: Option<&str>, text: &str| {
        let key = match key {
            Some(name) => Locator::Column(vec![name.to_owned()]),
            None => Locator::Whole(RowPart::Number),
        };
        let named = columns.iter().map(|name| Locator::Named((*name).to_owned()));
        let wanted = named.map(|locator| Wanted { locator, needed: false, key: false });
        let key = Wanted { locator: key, needed: true, key: true };
        let folder = TempDir::new().unwrap();
        let source =
            open(params(), folder.path(), &["*.csv"], wanted.chain([key]).collect()).unwrap();
        let bench = Bench { folder, source };
        bench.write(text);
        let scan = bench.whole();
        let located = bench.reader(&scan).located().to_vec();
        (bench.load_scan(&scan).rows.len(), located[..columns.len()].to_vec(), notes(&scan))
    };
    let rows = "x,1,2.5,3,4.5\ny,1,2.5,3,4.5\n";
    for (columns, header) in [
        (&["name", "2024 price"][..], ",2024,,2025,\nname,qty,price,qty,price\n"),
        (&["2025 qty", "2024 price"], ",2024,,2025,\nname,qty,price,qty,price\n"),
        (&["2025 net qty"], ",2024,,2025,\n,net,,net,\nname,qty,price,qty,price\n"),
    ] {
        for title in ["Report\n", "# made by x, 2024\n\n", "Sales,,,,\nof shop 7,,,,\n"] {
            let (loaded, located, notes) = load(columns, None, &format!("{title}{header}{rows}"));
            assert_eq!(loaded, 2, "{title:?} {header:?}");
            assert!(located.iter().all(Option::is_some), "{title:?} {header:?} {located:?}");
            for said in ["csv.header_rows = ", "csv.skip_lines = "] {
                assert!(notes.contains(said), "{title:?} {header:?}: {notes}");
            }
        }
    }
    // The key's name takes two rows.
    let header = "product,,2024,,\nid,name,qty,price,more\n";
    let text = format!("Report\n{header}{rows}");
    assert_eq!(load(&["2024 qty"], Some("product id"), &text).0, 2);
}

#[test]
fn a_file_of_json_is_said_to_be_one_and_which_kind_reads_it() {
    for (text, kind) in [
        (
            "{\"id\":1,\"name\":\"a\"}\n{\"id\":2}\n",
            "kind = \"jsonl\", and rename the table [csv] to [jsonl]",
        ),
        ("[{\"id\":1}]", "kind = \"json\", and rename the table [csv] to [json]"),
    ] {
        let error = bench_wanting(params(), text, &["id"]).plan_error();
        assert!(error.contains(kind) && error.contains("no CSV"), "{error}");
    }
}

/// Where no header is looked for, or it has the columns, JSON is what stands in the cells.
#[test]
fn json_in_the_cells_of_a_file_without_a_header_is_no_json_file() {
    let absent = CsvParams { header: Header::Present(false), ..params() };
    let two = CsvParams { header: Header::Names(vec!["doc".into(), "n".into()]), ..params() };
    let one = CsvParams { header: Header::Names(vec!["doc".into()]), ..params() };
    let tab = |given: CsvParams| CsvParams { delimiter: "\t".into(), ..given };
    for (given, text) in [
        (tab(absent), "{\"a\":1}\t5\n{\"a\":2}\t6\n"),
        (tab(two), "{\"a\":1}\t5\n{\"a\":2}\t6\n"),
        (tab(one), "{\"a\":1}\n{\"a\":2}\n"),
    ] {
        let column = if given.header == Header::Present(false) { "column_1" } else { "doc" };
        let loaded = bench_wanting(given.clone(), text, &[column]).load();
        assert_eq!(loaded.rows.len(), 2, "{given:?}");
    }
    // Not even a header that was found is JSON because it looks so.
    let loaded = bench_wanting(params(), "{\"id\":1},name\n1,a\n", &["name"]).load();
    assert_eq!(loaded.rows.len(), 1);
}

#[test]
fn a_good_row_with_a_lone_return_in_it_is_never_cut() {
    let text = "id,name\n1,a\r2,b\n3,c\rd\n4,e\n";
    let loaded = Bench::new(params(), text).load();
    assert_eq!(cells(&loaded), [["3", "c\rd"], ["4", "e"]]);
    assert_eq!(reasons(&loaded), [(1, vec![ReasonCode::WrongFieldCount])]);
    // So where it comes far behind the start.
    let text = format!("id,name\n{}1,a\r2,b\n5,c\rd\n", "3,x\n".repeat(30_000));
    let loaded = Bench::new(params(), text).load();
    assert_eq!(loaded.rows.last().map(|(_, row)| row[1].clone()), Some(Some("c\rd".to_owned())));
}

#[test]
fn a_mark_between_files_of_single_bytes_that_were_put_together_is_no_text() {
    let given = CsvParams { encoding: "windows-1252".into(), ..params() };
    let text = b"id,name\nK1,M\xfcller\n\xef\xbb\xbfK2,K\xf6hler\n\xef\xbb\xbf\"K3\",x\n";
    let bench = bench_wanting(given, text, &["id"]);
    assert_eq!(cells(&bench.load()), [["K1", "Müller"], ["K2", "Köhler"], ["K3", "x"]]);
}

#[test]
fn rows_above_the_header_are_counted_as_rows() {
    let text = "\"a title, of\ntwo lines\",\nid,name\n1,a\n";
    let given = CsvParams { skip_rows: 1, header: Header::Present(true), ..params() };
    assert_eq!(cells(&load_wanting(given, text, &["id"])), [["1", "a"]]);
}

#[test]
fn rows_that_agree_to_be_wider_than_the_header_are_read() {
    let empty = bench_wanting(params(), "id,name\n1,a,\n2,b,\n", &["id"]);
    assert_eq!(cells(&empty.load()), [["1", "a"], ["2", "b"]]);
    assert!(notes(&empty.whole()).contains("csv.extra_fields"));
    let wide = bench_wanting(params(), "id,name\n1,a,x\n2,b,y\n", &["id", "column_3"]);
    let scan = wide.whole();
    let warnings = CsvLayout::load(&scan.layout).unwrap().warnings;
    assert!(warnings[0].contains("csv.extra_fields = \"keep\""), "{warnings:?}");
    let said = CsvParams { extra_fields: Some(ExtraFields::Keep), ..params() };
    let said = bench_wanting(said, "id,name\n1,a,x\n2,b,y\n", &["id", "column_3"]).whole();
    assert_eq!(CsvLayout::load(&said.layout).unwrap().warnings, [""; 0]);
    assert_eq!(names(&scan), ["id", "name", "column_3"]);
    assert_eq!(cells(&wide.load_scan(&scan)), [["1", "a", "x"], ["2", "b", "y"]]);
    // One row that is wider is broken.
    let text = "id,name\n1,a\n2,b,y\n3,c\n";
    let wrong = [(2, vec![ReasonCode::WrongFieldCount])];
    assert_eq!(reasons(&Bench::new(params(), text).load()), wrong);
    let given = |extra| CsvParams { extra_fields: Some(extra), ..params() };
    let kept = Bench::new(given(ExtraFields::Keep), text).load();
    assert_eq!(kept.rows[1].1.len(), 3);
    assert_eq!((kept.rows.len(), kept.rejects.len()), (3, 0));
    let dropped = Bench::new(given(ExtraFields::Drop), text).load();
    assert_eq!(cells(&dropped)[1], ["2", "b"]);
    let agreeing = "id,name\n1,a,\n2,b,\n";
    assert_eq!(Bench::new(given(ExtraFields::Quarantine), agreeing).load().rejects.len(), 2);
}

#[test]
fn a_quote_within_an_unquoted_field_is_text() {
    let text = "id,name,n\n1,5\" screen,2\n2,\"x\" y,3\n3,z,4\n";
    let loaded = Bench::new(params(), text).load();
    assert_eq!(cells(&loaded), [["1", "5\" screen", "2"], ["3", "z", "4"]]);
    assert_eq!(reasons(&loaded), [(2, vec![ReasonCode::StrayQuote])]);
}

#[test]
fn a_stray_quote_that_is_kept_swallows_no_neighbour() {
    let given = CsvParams {
        stray_quotes: StrayQuotes::Keep,
        quote: "\"".into(),
        escape: "none".into(),
        ..params()
    };
    let loaded = Bench::new(given, "id,name\n1,\"a\" b\n2,\"c\"\n3,\"d\" e\"\n").load();
    assert_eq!(cells(&loaded), [["2", "c"], ["3", "d\" e"]]);
    assert_eq!(reasons(&loaded), [(1, vec![ReasonCode::UnclosedQuote])]);
}

#[test]
fn rows_of_nothing_but_delimiters_are_blank_where_there_is_a_key() {
    let text = "id,name,n\n,,\n1,a,\n,,\n,,\r\n2,,\n,,";
    let loaded = load_wanting(params(), text, &["id"]);
    assert_eq!(cells(&loaded), [["1", "a", ""], ["2", "", ""]]);
    assert_eq!(Bench::new(params(), text).load().rows.len(), 6);
}

#[test]
fn escapes_without_quotes_are_read_as_databases_write_them() {
    let given = CsvParams {
        delimiter: "tab".into(),
        quote: "none".into(),
        escape: "\\".into(),
        header: Header::Names(vec!["id".into(), "name".into(), "price".into()]),
        null_values: vec!["\\N".into()],
        ..params()
    };
    let text = "1\tTab\\\tinside\t4.50\n2\tline\\\nbreak\\\\\t5.00\n3\t\\N\t6.25\n4\t\\ta\\\r\\\n\t1\n5\tend\t\\\n";
    let loaded = Bench::new(given, text).load();
    assert_eq!(
        cells(&loaded),
        [
            ["1", "Tab\tinside", "4.50"],
            ["2", "line\nbreak\\", "5.00"],
            ["3", "\\N", "6.25"],
            ["4", "\ta\r\n", "1"],
            ["5", "end", "\n"],
        ]
    );
}

#[test]
fn a_space_in_front_of_a_quote_is_passed_over_where_the_file_makes_sense_so() {
    let text = "id, name\n1, \"a, b\"\n2, c\n3,d\n4,  \"e\"\n";
    let bench = Bench::new(params(), text);
    let loaded = bench.load();
    assert_eq!(cells(&loaded), [["1", "a, b"], ["2", " c"], ["3", "d"], ["4", "e"]]);
    assert!(notes(&bench.whole()).contains("csv.skip_initial_space"));
    let off = CsvParams { skip_initial_space: Some(false), ..params() };
    assert!(Bench::new(off, text).load().rows.len() < 4);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_what_was_planned() {
    let bench = Bench::new(params(), "n,v\n1,1\n2,2\n");
    let scan = bench.whole();
    let mut more = fs::File::options().append(true).open(bench.path()).unwrap();
    std::io::Write::write_all(&mut more, b"3,3\n").unwrap();
    let loaded = bench.load_scan(&scan);
    assert_eq!(cells(&loaded), [["1", "1"], ["2", "2"]]);
    let FilePlan::Appended(scan) = bench.plan(Some(&known(&scan))) else { panic!() };
    assert_eq!(cells(&bench.load_scan(&scan)), [["3", "3"]]);
}

#[test]
fn a_file_that_is_replaced_with_its_size_and_time_is_noticed() {
    let bench = Bench::new(params(), "n,v\n1,1\n");
    let before = known(&bench.whole());
    let modified = fs::metadata(bench.path()).unwrap().modified().unwrap();
    let other = bench.folder.path().join("other");
    fs::write(&other, "n,v\n1,2\n").unwrap();
    fs::File::options().append(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(&other, bench.path()).unwrap();
    let FilePlan::Whole(scan) = bench.plan(Some(&before)) else { panic!() };
    assert_eq!(cells(&bench.load_scan(&scan)), [["1", "2"]]);
    let of_an_earlier_version = KnownFile { etag: None, ..before };
    let plan = bench.plan(Some(&of_an_earlier_version));
    assert!(matches!(plan, FilePlan::Unchanged { hash: None, etag: Some(_), .. }), "{plan:?}");
}

#[test]
fn a_file_of_an_earlier_layout_is_read_again_only_if_it_means_something_else_today() {
    for (text, same) in [
        ("id,name\n1,a\n2,\"b\nc\"\n\n", true),
        ("id,name\r\n1,a\r\n", true),
        ("id,name\n1,5\" pipe\n", false),
        ("id,name\r\r\n1,a\r\r\n", false),
        ("id,name\n1,a\n,\n2,b\n", false),
        ("id,name\n1,a\nid,name\n2,b\n", false),
    ] {
        let bench = bench_wanting(params(), text, &["id"]);
        let mut before = known(&bench.whole());
        let layout = before.layout.value_mut().as_object_mut().unwrap();
        for key in [
            "revision",
            "extra",
            "skip_empty_rows",
            "repeated_header",
            "header_names",
            "doubtful_names",
            "notes",
        ] {
            layout.remove(key);
        }
        layout["dialect"].as_object_mut().unwrap().remove("spaces_before_quotes");
        layout["dialect"]["stray_quotes"] = "quarantine".into();
        // As if it had been touched: what did not change is not looked at.
        before.modified -= std::time::Duration::from_secs(1);
        match bench.plan(Some(&before)) {
            FilePlan::Unchanged { layout: Some(layout), .. } => {
                assert!(same, "{text:?}");
                let modified = fs::metadata(bench.path()).unwrap().modified().unwrap();
                let again = KnownFile { layout, modified, ..before };
                let plan = bench.plan(Some(&again));
                assert!(matches!(plan, FilePlan::Unchanged { hash: None, .. }), "{plan:?}");
            }
            FilePlan::Whole(_) => assert!(!same, "{text:?}"),
            other => panic!("{text:?} {other:?}"),
        }
    }
}

#[test]
fn a_file_that_was_read_before_names_were_known_again_is_read_again_only_if_there_are_such() {
    for (again, same) in [("", true), ("ID,Name,On\n", false)] {
        let text = format!("id,name,on\n1,a,x\n{again}2,b,y\n");
        let bench = bench_wanting(params(), &text, &["id"]);
        let mut before = known(&bench.whole());
        before.layout.value_mut().as_object_mut().unwrap().remove("header_names").unwrap();
        if !same {
            // It was a record.
            before.end.rows += 1;
        }
        before.modified -= std::time::Duration::from_secs(1);
        let plan = bench.plan(Some(&before));
        assert_eq!(matches!(plan, FilePlan::Unchanged { .. }), same, "{plan:?}");
        assert_eq!(matches!(plan, FilePlan::Whole(_)), !same, "{plan:?}");
        bench.write(format!("{text}3,c,z\n"));
        let plan = bench.plan(Some(&before));
        assert_eq!(matches!(plan, FilePlan::Appended(_)), same, "{plan:?}");
    }
}

#[test]
fn a_title_as_wide_as_the_table_is_a_comment_or_the_error_says_how_to_pass_over_it() {
    let rows = "id,n,v\n1,a,2\n2,b,3\n";
    for title in ["# comment, with, commas\n", "Report 2024\n# comment, with, commas\n\n"] {
        let loaded = load_wanting(params(), format!("{title}{rows}"), &["id", "n"]);
        assert_eq!(cells(&loaded), [["1", "a", "2"], ["2", "b", "3"]], "{title:?}");
    }
    let error = bench_wanting(params(), format!("a,b,c\n{rows}"), &["id", "n"]).plan_error();
    assert!(error.contains("no column \"id\"") && error.contains("csv.skip_lines = 1"), "{error}");
    let given = CsvParams { skip_lines: 1, ..params() };
    assert_eq!(load_wanting(given, format!("a,b,c\n{rows}"), &["id", "n"]).rows.len(), 2);
}

#[test]
fn a_title_stands_above_a_header_of_two_rows_also_with_the_delimiter_named() {
    for text in [
        "Report\nGrp,,Other,\nid,n,q,r\n1,\"a;b\",2,3\n",
        "Report\n\nGrp,,Other,\nid,n,q,r\n1,\"a;b\",2,3\n",
        "sep=;\nGrp;;Other;\nid;n;q;r\n1;\"a;b\";2;3\n",
        "\u{feff}sep=;\r\nReport\r\n\r\nGrp;;Other;\r\nid;n;q;r\r\n1;\"a;b\";2;3\r\n",
    ] {
        let loaded = load_wanting(params(), text, &["Grp id", "Grp n"]);
        assert_eq!(cells(&loaded), [["1", "a;b", "2", "3"]], "{text:?}");
    }
}

#[test]
fn rows_of_data_are_no_lines_above_a_header() {
    for text in [
        "order_id,name,state\n1,a,CA\n2,b,ID\n3,c,NY\n",
        "ident,name\n1,\"see\nid,name\nbelow\"\n2,b\n",
    ] {
        let error = bench_wanting(params(), text, &["id"]).plan_error();
        assert!(error.contains("no column \"id\""), "{text:?}: {error}");
    }
}

#[test]
fn what_is_wrong_in_a_field_that_is_dropped_sets_its_row_aside_with_a_reason() {
    let given = CsvParams { extra_fields: Some(ExtraFields::Drop), ..params() };
    let text = "id,name\n1,a,\u{0}\n2,b,x\n";
    let wrong = [(1, vec![ReasonCode::NulCharacter])];
    assert_eq!(reasons(&Bench::new(given, text).load()), wrong);
}

#[test]
fn a_null_of_mysql_is_one_only_as_it_is_written() {
    let given = CsvParams {
        delimiter: "\t".into(),
        quote: "none".into(),
        escape: "\\".into(),
        header: Header::Names(vec!["id".into(), "name".into()]),
        ..params()
    };
    let loaded = Bench::new(given, "1\t\\N\n2\t\\\\N\n").load();
    let names = &loaded.shape.fields["name"];
    assert_eq!((names.present, names.nulls), (2, 1));
    assert_eq!(cells(&loaded)[1][1], "\\N");
}

#[test]
fn rows_above_the_header_are_whole_whichever_delimiter_stands_in_front_of_their_quotes() {
    let given = CsvParams {
        skip_rows: 1,
        header: Header::Names(vec!["id".into(), "name".into()]),
        ..params()
    };
    let text = "id;\"na;\nme;x\"\n1;a\n2;b\n";
    assert_eq!(cells(&load_wanting(given, text, &["id"])), [["1", "a"], ["2", "b"]]);
}

#[test]
fn a_title_that_names_the_columns_is_no_header() {
    for title in ["# columns: id name", "Report id: 77"] {
        let text = format!("{title}\nid,name\n1,a\n2,b\n");
        assert_eq!(
            cells(&load_wanting(params(), &text, &["id"])),
            [["1", "a"], ["2", "b"]],
            "{title}"
        );
    }
}

#[test]
fn one_quote_that_does_not_close_makes_no_text_of_those_that_do() {
    let mut text = "id\tname\n".to_owned();
    for id in 0..9_000 {
        let name = if id % 3 == 0 { "\"quoted\"" } else { "plain" };
        text.push_str(&format!("{id}\t{name}\n"));
    }
    text.push_str("9000\t\"un closed\n");
    let loaded = load_wanting(params(), &text, &["id"]);
    assert_eq!(cells(&loaded)[0], ["0", "quoted"]);
    assert_eq!((loaded.rows.len(), loaded.rejects.len()), (9_000, 1));
}

#[test]
fn a_backslash_that_is_taken_for_the_escape_is_told() {
    let bench = bench_wanting(params(), "id,name\n1,\"5\\\" screen\"\n", &["id"]);
    assert!(notes(&bench.whole()).contains("csv.escape"), "{}", notes(&bench.whole()));
}
