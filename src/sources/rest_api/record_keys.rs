//! Owns what tells the records of one page from those of another: their keys, whatever else stands in them and in
//! whichever order they come.

use std::collections::BTreeSet;

use serde_json::Value;

use super::params::RestApiParams;
use crate::domain::hash::{ContentHash, ContentHasher};
use crate::sources::SourceError;
use crate::sources::rows::json::{self, JsonRowReader};
use crate::sources::rows::path::Path;
use crate::values::field::Locator;
use crate::values::row::{Cell, Row};

/// Finds the keys of records.
#[derive(Debug)]
pub(super) struct RecordKeys {
    key: JsonRowReader,
    parts: usize,
    /// The cursor of an incremental source: with another one it is another version of the record.
    cursor: Option<Path>,
}

impl RecordKeys {
    /// For records with this key; `None` where they have none.
    ///
    /// # Errors
    /// When a part of the key is no JSONPath.
    pub fn new(params: &RestApiParams, key: &[Locator]) -> Result<Option<Self>, SourceError> {
        if key.is_empty() {
            return Ok(None);
        }
        let (parts, key, cursor) = (key.len(), JsonRowReader::new(key)?, cursor_of(params));
        Ok(Some(Self { key, parts, cursor }))
    }

    /// The key of a record; `None` where a part of it is not there.
    pub fn of(&self, record: &str) -> Option<String> {
        self.key_of(&json::record(record).ok()?)
    }

    fn key_of(&self, record: &Value) -> Option<String> {
        let row = self.key.row(record);
        let mut key = String::new();
        for part in 0..self.parts {
            match row.cell(part) {
                Cell::Missing | Cell::Null | Cell::Text("") => return None,
                Cell::Text(text) => key.push_str(text),
                Cell::Json(value) => key.push_str(&value.to_string()),
            }
            key.push('\0');
        }
        Some(key)
    }

    /// Those of a page, of whose records none was seen yet.
    pub fn page(&self) -> PageKeys<'_> {
        PageKeys { of: self, keys: BTreeSet::new(), with_key: 0 }
    }
}

/// The keys of the records of a page. They are taken while its records are looked at, and not parsed once more for them.
#[derive(Debug)]
pub(super) struct PageKeys<'k> {
    of: &'k RecordKeys,
    keys: BTreeSet<ContentHash>,
    with_key: usize,
}

impl PageKeys<'_> {
    /// Takes that of a record, which is also given as its text.
    pub fn take(&mut self, text: &str, record: &Value) {
        let Some(mut key) = self.of.key_of(record) else { return };
        let cursor = self.of.cursor.as_ref().and_then(|cursor| cursor.find(text).ok());
        for found in cursor.into_iter().flatten().take(1) {
            key.push_str(found.as_ref());
        }
        self.keys.insert(ContentHash::of(key.as_bytes()));
        self.with_key += 1;
    }

    /// Hash of the set of them, where the page has so many records; `None` where one has no key, or there are none.
    pub fn hash(self, records: usize) -> Option<ContentHash> {
        let mut hasher = ContentHasher::default();
        self.keys.iter().for_each(|key| hasher.update(key.as_bytes()));
        (records > 0 && self.with_key == records).then(|| hasher.take())
    }
}

/// Where records have their cursor; what is within a record has that of the whole.
pub(super) fn cursor_of(params: &RestApiParams) -> Option<Path> {
    let cursor = params.incremental.as_ref()?.cursor_path.as_deref()?;
    match &params.explode {
        Some(_) => Path::parse(&format!("$._parent{}", cursor.trim_start_matches('$'))).ok(),
        None => Path::parse(cursor).ok(),
    }
}
