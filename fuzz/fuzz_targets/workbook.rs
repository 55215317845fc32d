//! Any sheet of a workbook, and any bytes as one: rows, or an error; each row is a line of JSON.
//!
//! An input is a digit, and the XML of a sheet, of the texts or of the styles, or the file.

#![no_main]

use std::io::{Cursor, Read, Write};

use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::formats::xlsx::{Xlsx, XlsxParams};
use libfuzzer_sys::fuzz_target;
use zip::write::SimpleFileOptions;

const SHEET: &str = "<worksheet><sheetData><row r=\"1\"><c r=\"A1\" t=\"s\"><v>0</v></c><c r=\"B1\"/></row>\
    <row r=\"2\"><c r=\"A2\" s=\"0\"><v>46354.5</v></c></row></sheetData></worksheet>";
const STRINGS: &str = "<sst><si><t>id</t></si></sst>";
const STYLES: &str = "<styleSheet><cellXfs><xf numFmtId=\"22\"/></cellXfs></styleSheet>";

fuzz_target!(|input: &[u8]| {
    let Some((kind, content)) = input.split_first() else { return };
    let file = match kind {
        b'0' => book(content, STRINGS.as_bytes(), STYLES.as_bytes()),
        b'1' => book(SHEET.as_bytes(), content, STYLES.as_bytes()),
        b'2' => book(SHEET.as_bytes(), STRINGS.as_bytes(), content),
        _ => content.to_vec(),
    };
    let format = Xlsx::new(XlsxParams::default(), Vec::new()).expect("parameters");
    let Ok(mut rows) = format.content("f.xlsx", Box::new(Cursor::new(file)), 1 << 20) else {
        return;
    };
    let mut text = Vec::new();
    if rows.read_to_end(&mut text).is_err() {
        return;
    }
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line)
            .expect("an object");
    }
});

fn book(sheet: &[u8], strings: &[u8], styles: &[u8]) -> Vec<u8> {
    const RELATIONS: &str = "<Relationships><Relationship Id=\"s\" Type=\"/worksheet\" Target=\"s.xml\"/>\
        <Relationship Id=\"t\" Type=\"/sharedStrings\" Target=\"t.xml\"/>\
        <Relationship Id=\"y\" Type=\"/styles\" Target=\"y.xml\"/></Relationships>";
    const BOOK: &str = "<workbook><sheets><sheet name=\"S\" r:id=\"s\"/></sheets></workbook>";
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [
        ("xl/workbook.xml", BOOK.as_bytes()),
        ("xl/_rels/workbook.xml.rels", RELATIONS.as_bytes()),
        ("xl/s.xml", sheet),
        ("xl/t.xml", strings),
        ("xl/y.xml", styles),
    ] {
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
        zip.start_file(name, options).expect("a member");
        zip.write_all(text).expect("memory");
    }
    zip.finish().expect("an archive").into_inner()
}
