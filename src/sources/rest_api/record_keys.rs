//! Owns what tells the records of one page from those of another: their keys, whatever else stands in them and in
//! whichever order they come.

use std::borrow::Cow;
use std::collections::BTreeSet;

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
        let value = json::record(record).ok()?;
        let row = self.key.row(&value);
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

    /// Hash of the set of keys that the records of a page have; `None` where one has none, or there are none.
    pub fn of_page(&self, records: &[Cow<'_, str>]) -> Option<ContentHash> {
        let mut keys = BTreeSet::new();
        for record in records {
            let mut key = self.of(record)?;
            let cursor = self.cursor.as_ref().and_then(|cursor| cursor.find(record).ok());
            for found in cursor.into_iter().flatten().take(1) {
                key.push_str(found.as_ref());
            }
            keys.insert(ContentHash::of(key.as_bytes()));
        }
        let mut hasher = ContentHasher::default();
        keys.iter().for_each(|key| hasher.update(key.as_bytes()));
        (!keys.is_empty()).then(|| hasher.take())
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
