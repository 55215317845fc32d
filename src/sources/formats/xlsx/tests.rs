//! Workbooks as programs write them, and the rows that come of them.

use std::io::{Cursor, Read, Write};

use super::*;
use crate::domain::reject::ReasonCode;
use crate::sources::files::format::RowReader;
use crate::values::field::Locator;
use crate::values::row::{Cell, Row};

/// A workbook: its sheets with their attributes and XML, the texts that they share, and whether it counts from 1904.
#[derive(Default)]
struct Workbook {
    sheets: Vec<(&'static str, &'static str, String)>,
    strings: Vec<&'static str>,
    since_1904: bool,
}

impl Workbook {
    fn of(cells: &str) -> Self {
        Self::default().sheet("Prices", "", cells)
    }

    fn sheet(mut self, name: &'static str, attributes: &'static str, cells: &str) -> Self {
        let (data, behind) = cells.split_once("</sheetData>").unwrap_or((cells, ""));
        let xml = format!(
            "<?xml version=\"1.0\"?><worksheet xmlns=\"x\"><dimension ref=\"A1\"/><sheetData>{data}</sheetData>{behind}</worksheet>"
        );
        self.sheets.push((name, attributes, xml));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |name: &str, text: &str| {
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::DEFLATE);
            zip.start_file(name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        };
        let of = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        let relations = |all: &[(String, &str, String)]| {
            let all: String = all
                .iter()
                .map(|(id, kind, target)| {
                    format!("<Relationship Id=\"{id}\" Type=\"{of}/{kind}\" Target=\"{target}\"/>")
                })
                .collect();
            format!("<Relationships>{all}</Relationships>")
        };
        add("docProps/app.xml", "<x/>");
        add("_rels/.rels", &relations(&[("r".into(), "officeDocument", "xl/workbook.xml".into())]));
        let mut all: Vec<_> = (0..self.sheets.len())
            .map(|at| (format!("s{at}"), "worksheet", format!("worksheets/sheet{at}.xml")))
            .collect();
        all.push(("t".into(), "sharedStrings", "/xl/sharedStrings.xml".into()));
        all.push(("y".into(), "styles", "styles.xml".into()));
        add("xl/_rels/workbook.xml.rels", &relations(&all));
        let sheets: String = self
            .sheets
            .iter()
            .enumerate()
            .map(|(at, (name, attributes, _))| {
                format!("<sheet name=\"{name}\" {attributes} r:id=\"s{at}\"/>")
            })
            .collect();
        let since = if self.since_1904 { "<workbookPr date1904=\"1\"/>" } else { "" };
        add(
            "xl/workbook.xml",
            &format!("<workbook xmlns:r=\"r\">{since}<sheets>{sheets}</sheets></workbook>"),
        );
        let strings: String = self.strings.iter().map(|text| format!("<si>{text}</si>")).collect();
        add("xl/sharedStrings.xml", &format!("<sst>{strings}</sst>"));
        add(
            "xl/styles.xml",
            "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"yyyy\\-mm\\-dd\\ hh:mm\"/></numFmts>\
             <cellStyleXfs><xf numFmtId=\"22\"/></cellStyleXfs>\
             <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/><xf numFmtId=\"164\"/></cellXfs></styleSheet>",
        );
        for (at, (_, _, xml)) in self.sheets.iter().enumerate() {
            add(&format!("xl/worksheets/sheet{at}.xml"), xml);
        }
        zip.finish().unwrap().into_inner()
    }
}

fn lines_of(params: XlsxParams, file: Vec<u8>) -> Result<Vec<String>, String> {
    let format = Xlsx::new(params, Vec::new()).unwrap();
    let content = format.content("f.xlsx", Box::new(Cursor::new(file)), 1 << 30);
    let mut text = String::new();
    content
        .and_then(|mut rows| rows.read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn lines(params: XlsxParams, book: &Workbook) -> Vec<String> {
    lines_of(params, book.bytes()).unwrap()
}

const HEADER: &str =
    "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>sku</v></c><c r=\"B1\" t=\"str\"><v>Net</v></c></row>";

#[test]
fn a_row_has_its_cells_as_they_are_written_and_where_it_was() {
    let book = Workbook {
        strings: vec![
            "<t>sku</t>",
            "<r><t>Ne</t></r><r><rPr/><t xml:space=\"preserve\">t &amp; </t></r><r><t>gross</t></r><rPh><t>no</t></rPh>",
            "<t>a_x000D_\"b\" &lt;c&gt; &#228;</t>",
        ],
        ..Workbook::of(
            "<row r=\"2\" spans=\"1:2\"><c r=\"B2\" t=\"s\"><v>0</v></c><c r=\"C2\" t=\"s\"><v>1</v></c>\
             <c r=\"D2\" t=\"inlineStr\"><is><t>From</t></is></c></row>\
             <row r=\"3\"><c r=\"B3\" t=\"s\"><v>2</v></c><c r=\"C3\"><v>1E-2</v></c><c r=\"D3\" s=\"1\"><v>46354</v></c></row>\
             <row r=\"4\"><c r=\"B4\" s=\"1\"/></row>\
             <row r=\"7\"><c r=\"B7\" t=\"b\"><v>1</v></c><c r=\"C7\"><f>1+2</f><v>3</v></c>\
             <c r=\"D7\" s=\"2\"><v>46354.75</v></c><c r=\"F7\"><v>0.1</v></c></row>\
             <row><c><v>7</v></c><c/><c><v>8.50</v></c></row>",
        )
    };
    assert_eq!(
        lines(XlsxParams::default(), &book),
        [
            "{\"columns\":[\"sku\",\"Net & gross\",\"From\",\"_sheet\",\"_row\"],\"notes\":[]}",
            "{\"sku\":\"a\\r\\\"b\\\" <c> ä\",\"Net & gross\":1E-2,\"From\":\"2026-11-28\",\"_sheet\":\"Prices\",\"_row\":3}",
            "{\"sku\":true,\"Net & gross\":3,\"From\":\"2026-11-28T18:00:00\",\"column_F\":0.1,\"_sheet\":\"Prices\",\"_row\":7}",
            "{\"column_A\":7,\"sku\":null,\"Net & gross\":8.50,\"From\":null,\"_sheet\":\"Prices\",\"_row\":8}",
        ]
    );
    let since = Workbook {
        since_1904: true,
        ..Workbook::of(
            "<row r=\"1\"><c r=\"A1\"><v>1</v></c></row><row r=\"2\"><c r=\"A2\" s=\"1\"><v>0</v></c></row>",
        )
    };
    assert!(lines(XlsxParams::default(), &since)[1].starts_with("{\"1\":\"1904-01-01\""));
}

#[test]
fn the_job_file_says_where_the_table_is_and_merged_names_count_for_all_their_columns() {
    let book = Workbook::of(
        "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>Report of today</v></c></row>\
         <row r=\"3\"><c r=\"A3\" t=\"str\"><v>note</v></c><c r=\"B3\" t=\"str\"><v>sku</v></c><c r=\"C3\" t=\"str\"><v>Price</v></c></row>\
         <row r=\"4\"><c r=\"C4\" t=\"str\"><v>net</v></c><c r=\"D4\" t=\"str\"><v>gross</v></c></row>\
         <row r=\"5\"><c r=\"A5\" t=\"str\"><v>x</v></c><c r=\"B5\"><v>1</v></c><c r=\"D5\"><v>2</v></c></row>\
         <row r=\"6\"><c r=\"A6\" t=\"str\"><v>only beside the table</v></c></row>\
         </sheetData><mergeCells><mergeCell ref=\"A1:D1\"/><mergeCell ref=\"B3:B4\"/><mergeCell ref=\"C3:D3\"/></mergeCells>",
    );
    let params = XlsxParams {
        header_row: Some(3),
        header_rows: 2,
        columns: Some("B:D".to_owned()),
        ..XlsxParams::default()
    };
    assert_eq!(
        lines(params, &book),
        [
            "{\"columns\":[\"sku\",\"Price net\",\"Price gross\",\"_sheet\",\"_row\"],\"notes\":[]}",
            "{\"sku\":1,\"Price net\":null,\"Price gross\":2,\"_sheet\":\"Prices\",\"_row\":5}",
        ]
    );
    let nowhere = XlsxParams { header_row: Some(9), ..XlsxParams::default() };
    let error = lines_of(nowhere, book.bytes()).unwrap_err();
    assert!(error.contains("\"Prices\" has nothing in row 9"), "{error}");
}

#[test]
fn sheets_are_chosen_by_name_and_never_by_chance() {
    let row =
        |name: &str| format!("{HEADER}<row r=\"2\"><c r=\"A2\" t=\"str\"><v>{name}</v></c></row>");
    let two = Workbook::of(&row("a")).sheet("Prices old", "", &row("b")).sheet(
        "Lists",
        "state=\"hidden\"",
        &row("c"),
    );
    let error = lines_of(XlsxParams::default(), two.bytes()).unwrap_err();
    assert!(
        error.contains("xlsx.sheets") && error.contains("\"Prices old\", \"Lists\" (hidden)"),
        "{error}"
    );
    let rows = |sheets: &[&str]| {
        let sheets = sheets.iter().map(|sheet| (*sheet).to_owned()).collect();
        lines_of(XlsxParams { sheets, ..XlsxParams::default() }, two.bytes())
    };
    assert_eq!(rows(&["prices*"]).unwrap().len(), 3);
    assert_eq!(rows(&["*"]).unwrap().len(), 3);
    assert_eq!(
        rows(&["Lists", "Prices"]).unwrap()[2],
        "{\"sku\":\"c\",\"Net\":null,\"_sheet\":\"Lists\",\"_row\":2}"
    );
    let error = rows(&["Prices", "Q4"]).unwrap_err();
    assert!(error.contains("there is no sheet \"Q4\" of xlsx.sheets"), "{error}");
    let hidden = Workbook::of(&row("a")).sheet("Lists", "state=\"veryHidden\"", "");
    assert!(
        lines(XlsxParams::default(), &hidden)[0]
            .contains("hidden sheets are not read: \\\"Lists\\\"")
    );
    // Columns of all sheets; an empty one has none.
    let other = "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>sku</v></c><c r=\"B1\" t=\"str\"><v>sku</v></c><c r=\"C1\" t=\"str\"><v>EAN</v></c></row>";
    let all = Workbook::of(HEADER).sheet("b", "", other).sheet("c", "", "");
    let params = XlsxParams { sheets: vec!["*".to_owned()], ..XlsxParams::default() };
    assert!(
        lines(params, &all)[0]
            .starts_with("{\"columns\":[\"sku\",\"Net\",\"sku\",\"EAN\",\"_sheet\"")
    );
}

fn wanted(column: &str) -> Wanted {
    Wanted { locator: Locator::Column(vec![column.to_owned()]), needed: true, key: false }
}

#[test]
fn errors_and_formulas_without_a_result_set_their_row_aside_if_they_are_mapped() {
    let book = Workbook::of(&format!(
        "{HEADER}<row r=\"2\"><c r=\"A2\" t=\"str\"><v>a</v></c><c r=\"B2\" t=\"e\"><v>#DIV/0!</v></c></row>\
         <row r=\"3\"><c r=\"A3\" t=\"str\"><v>b</v></c><c r=\"B3\"><f>A1*2</f></c></row>\
         <row r=\"4\"><c r=\"A4\" t=\"e\"><v>#N/A</v></c><c r=\"B4\"><v>2</v></c></row>\
         <row r=\"5\"><c r=\"A5\" t=\"e\"><v>#REF!</v></c><c r=\"B5\"><v>3</v></c></row>"
    ));
    let params = XlsxParams { null_values: vec!["#N/A".to_owned()], ..XlsxParams::default() };
    let lines = lines(params.clone(), &book);
    let format = Xlsx::new(params, vec![wanted("net")]).unwrap();
    let text = lines.join("\n") + "\n";
    let head = format.head("f.xlsx", text.as_bytes(), true, Doubts::default()).unwrap().unwrap();
    let reader = format.reader("f.xlsx", &head.layout).unwrap();
    let mut found = Vec::new();
    for line in &lines[1..] {
        let mut buffer = Default::default();
        found.push(match reader.read(line.as_bytes(), &mut buffer) {
            Ok(row) => match row.cell(0) {
                Cell::Json(value) => value.to_string(),
                other => format!("{other:?}"),
            },
            Err(defects) => {
                assert_eq!((defects.len(), defects[0].reason), (1, ReasonCode::ErrorCell));
                assert_eq!(defects[0].field.as_deref(), Some("Net"));
                defects[0].message.clone()
            }
        });
    }
    assert!(
        found[0].contains("the error #DIV/0!") && found[0].contains("xlsx.null_values"),
        "{found:?}"
    );
    assert!(found[1].contains("the formula `=A1*2` without a result"), "{found:?}");
    assert_eq!(found[2..], ["2", "3"]);
    assert!(lines[3].starts_with("{\"sku\":null"), "{lines:?}");
    // Columns are found as those of CSV are.
    let absent = Xlsx::new(XlsxParams::default(), vec![wanted("Nett")]).unwrap();
    let error = absent.reader("f.xlsx", &head.layout).unwrap_err().to_string();
    assert!(error.contains("no column \"Nett\". Did you mean \"Net\"?"), "{error}");
}

#[test]
fn what_is_no_workbook_or_a_damaged_one_is_an_error() {
    let error = |file: &[u8]| lines_of(XlsxParams::default(), file.to_vec()).unwrap_err();
    assert!(error(b"sku;net\n").contains("write kind = \"csv\""));
    assert!(error(b"<html><table>").contains("it is an HTML page"));
    assert!(error(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and no more").contains("is damaged"));
    let good = Workbook::of(HEADER).bytes();
    assert!(error(&good[..good.len() / 2]).contains("is damaged"));
    for cells in [
        "<row r=\"2\"/><row r=\"1\"><c r=\"A1\"><v>1</v></c></row>",
        "<row r=\"1\"><c r=\"B1\"><v>1</v></c><c r=\"A1\"><v>1</v></c></row>",
        "<row r=\"1\"><c r=\"A1\" t=\"s\"><v>5</v></c></row>",
        "<row r=\"1\"><c r=\"A1\"><v>1</v></row>",
        "<row r=\"1\"><c r=\"A1\"><v>&nope;</v></c></row>",
    ] {
        lines_of(XlsxParams::default(), Workbook::of(cells).bytes()).unwrap_err();
    }
    // A number in the place of its letters is no cell.
    let mut cut = Workbook::of(HEADER);
    cut.sheets[0].2.truncate(120);
    assert!(lines_of(XlsxParams::default(), cut.bytes()).is_err());
}

#[test]
fn a_large_sheet_is_read_piece_by_piece() {
    let row = |number: usize| {
        format!(
            "<row r=\"{number}\"><c r=\"A{number}\" t=\"s\"><v>0</v></c><c r=\"B{number}\"><v>{number}.5</v></c></row>"
        )
    };
    let cells: String = std::iter::once(HEADER.to_owned()).chain((2..20_002).map(row)).collect();
    let book = Workbook { strings: vec!["<t>shared</t>"], ..Workbook::of(&cells) };
    let lines = lines(XlsxParams::default(), &book);
    assert_eq!(lines.len(), 20_001);
    assert_eq!(
        lines[20_000],
        "{\"sku\":\"shared\",\"Net\":20001.5,\"_sheet\":\"Prices\",\"_row\":20001}"
    );
}

#[test]
fn unusable_parameters_are_refused_by_key() {
    for (key, params) in [
        ("header_row", XlsxParams { header_row: Some(0), ..XlsxParams::default() }),
        ("header_rows", XlsxParams { header_rows: 0, ..XlsxParams::default() }),
        ("columns", XlsxParams { columns: Some("H:B".into()), ..XlsxParams::default() }),
        ("columns", XlsxParams { columns: Some("2:3".into()), ..XlsxParams::default() }),
        ("sheets", XlsxParams { sheets: vec!["[".into()], ..XlsxParams::default() }),
        ("max_row_bytes", XlsxParams { max_row_bytes: 0, ..XlsxParams::default() }),
    ] {
        let problems = Xlsx::problems(&params);
        assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), [key]);
    }
}
