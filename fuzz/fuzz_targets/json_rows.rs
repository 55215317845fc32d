//! Any text as a JSON document: the rows are those that a parser of the whole finds, and what it refuses is refused here,
//! or is a row that is no JSON.
//!
//! An input is two bytes, digits as they read, and the document.

#![no_main]

use std::io::{Cursor, Read};

use kasparro_fuzz::Pieces;
use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::formats::json::{Json, JsonParams};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Paths, and where a parser of the whole finds the list.
const PATHS: [(&str, &str); 4] =
    [("$[*]", ""), ("$.a[*]", "/a"), ("$.a[1][*]", "/a/1"), ("$.b.a[*]", "/b/a")];

fuzz_target!(|input: &[u8]| {
    let Some((&[path, piece], file)) = input.split_first_chunk() else { return };
    let (selector, pointer) = PATHS[usize::from(path.wrapping_sub(b'0')) % PATHS.len()];
    let read = |piece: usize| -> Option<Vec<u8>> {
        let params = JsonParams { data_selector: selector.to_owned(), ..JsonParams::default() };
        let format = Json::new(params, Vec::new()).expect("a path");
        let bytes = Box::new(Pieces(Cursor::new(file.to_vec()), piece));
        let mut text = Vec::new();
        format.content("f.json", bytes, 0).ok()?.read_to_end(&mut text).ok()?;
        Some(text)
    };
    let found = read(usize::from(piece.wrapping_sub(b'0')) + 1);
    assert_eq!(found, read(1 << 16), "it matters how the bytes come");
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let whole: Option<Value> = serde_json::from_slice(text).ok();
    let Some(found) = found else { return };
    let lines = found.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows: Option<Vec<Value>> = lines.map(|line| serde_json::from_slice(line).ok()).collect();
    match (whole.as_ref().and_then(|whole| whole.pointer(pointer)), rows) {
        (Some(Value::Array(list)), Some(rows)) => assert_eq!(&rows, list),
        (Some(Value::Null), Some(rows)) => assert!(rows.is_empty()),
        (Some(other), Some(_)) => panic!("{other} is no list, and was read"),
        _ => {}
    }
});
