//! The lower floors of kasparro, where all that is fuzzed is, and what the targets share: what must
//! hold of everything that a mapping gave.
//!
//! The floors are built from their sources instead of depending on kasparro as a whole, whose database
//! client and HTTP server are as many crates again, and CI builds them all for a run of a minute.
//! Imports run downwards only, so the floors do not miss the rest.

#![forbid(unsafe_code)]

#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/files.rs"]
pub mod files;
#[path = "../../src/job_file/mod.rs"]
pub mod job_file;
#[path = "../../src/mapping/mod.rs"]
pub mod mapping;
pub mod rows;
#[path = "../../src/sources/mod.rs"]
pub mod sources;
#[path = "../../src/values/mod.rs"]
pub mod values;

use domain::record::{Column, ColumnType, RecordView};
use domain::reject::Reject;
use mapping::Mapped;
use serde_json::{Map, Value};

/// Checks what mapping `rows` rows gave.
///
/// # Panics
/// When a row is missing, or a record or reject is none that the database takes.
pub fn check_mapped(rows: usize, mapped: &Mapped) {
    assert_eq!(rows, mapped.records.len() + mapped.rejects.len(), "rows were lost or made up");
    for record in mapped.records.iter() {
        check_record(record);
    }
    for (_, reject) in mapped.rejects.iter() {
        check_reject(&reject);
    }
}

fn check_record(record: RecordView<'_>) {
    let id = record.external_id();
    assert!(!id.is_empty() && id.len() <= 2_000, "no key: {id:?}");
    assert!(!id.contains('\0'), "a key with U+0000: {id:?}");
    for column in Column::ALL {
        let Some(text) = record.column(column) else { continue };
        assert!(!text.contains('\0'), "{column:?} has U+0000: {text:?}");
        match column.spec().kind {
            ColumnType::Numeric => check_digits(text),
            ColumnType::Json => check_attributes(text),
            ColumnType::Text | ColumnType::Timestamp => {}
        }
    }
}

/// Canonical digits: a sign at most, a point at most, and digits on both sides of it.
fn check_digits(text: &str) {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    assert!(digits(whole) && digits(fraction), "no canonical number: {text:?}");
}

/// An object in the one form that equal content has.
fn check_attributes(text: &str) {
    let object: Map<String, Value> =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?} is no object: {error}"));
    assert!(object.keys().is_sorted(), "keys out of order: {text:?}");
    // Control characters have two spellings.
    if !text.contains("\\u00") {
        let again = serde_json::to_string(&object).expect("JSON is written");
        assert_eq!(again, text, "white space, or a key twice");
    }
}

fn check_reject(reject: &Reject) {
    assert!(!reject.defects.is_empty(), "row {} is set aside for nothing", reject.raw_row);
    assert!(reject.raw.len() <= Reject::MAX_RAW);
    for defect in &reject.defects {
        assert!(!defect.message.is_empty(), "{:?} without a word", defect.reason);
    }
}

/// Gives bytes in pieces of at most that size.
pub struct Pieces(pub std::io::Cursor<Vec<u8>>, pub usize);

impl std::io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}
