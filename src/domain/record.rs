//! Owns canonical records in bulk: one arena of text per batch, so that a million records cost a
//! few large allocations instead of ten small ones each.
//!
//! Must not know how PostgreSQL encodes them.

use super::hash::{ContentHash, StoredHash};
use super::raw::RawRef;

/// The columns of `unified_records` that a mapping can fill, in the order that the content hash
/// takes them. A field of any other name becomes a key of `attributes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// `name text`
    Name,
    /// `description text`
    Description,
    /// `category text`
    Category,
    /// `price numeric`, canonical digits (see [`super::decimal`])
    Price,
    /// `currency text`
    Currency,
    /// `quantity numeric`, canonical digits
    Quantity,
    /// `url text`
    Url,
    /// `attributes jsonb`, JSON text
    Attributes,
}

impl Column {
    /// Every column held as text in the arena.
    pub const ALL: [Self; 8] = [
        Self::Name,
        Self::Description,
        Self::Category,
        Self::Price,
        Self::Currency,
        Self::Quantity,
        Self::Url,
        Self::Attributes,
    ];
}

/// A piece of the batch's arena, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// No value: a batch is never as long as that.
    const NONE: Self = Self { start: u32::MAX, end: u32::MAX };
}

/// One record: spans into the arena, no allocation of its own.
#[derive(Debug, Clone)]
struct Entry {
    external_id: Span,
    columns: [Span; Column::ALL.len()],
    source_updated_at: Option<i64>,
    content_hash: ContentHash,
    raw: u32,
    raw_row: i64,
}

impl Entry {
    const EMPTY: Self = Self {
        external_id: Span { start: 0, end: 0 },
        columns: [Span::NONE; Column::ALL.len()],
        source_updated_at: None,
        content_hash: ContentHash::UNSET,
        raw: 0,
        raw_row: 0,
    };
}

/// Canonical records of one batch in the order in which their rows came.
#[derive(Debug)]
pub struct RecordBatch {
    most_bytes: usize,
    arena: String,
    entries: Vec<Entry>,
    raws: Vec<RawRef>,
    open: Option<Entry>,
    open_at: usize,
    /// What is hashed of a record: only memory.
    hashed: Vec<u8>,
}

impl Default for RecordBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// A record of a batch, read only.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    batch: &'a RecordBatch,
    entry: &'a Entry,
}

impl RecordBatch {
    /// The most text one batch may hold, unless its first record alone has more. A record that is open
    /// may go beyond it by what its own bounds allow, 3 GB; spans are 32-bit.
    pub const MAX_BYTES: usize = 1 << 30;

    /// An empty batch.
    pub fn new() -> Self {
        Self::of_at_most(Self::MAX_BYTES)
    }

    fn of_at_most(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            arena: String::new(),
            entries: Vec::new(),
            raws: Vec::new(),
            open: None,
            open_at: 0,
            hashed: Vec::new(),
        }
    }

    /// The same for tests, which do not fill a GiB.
    #[cfg(test)]
    pub fn small(most_bytes: usize) -> Self {
        Self::of_at_most(most_bytes)
    }

    /// Whether the open record as it is now still belongs into the batch.
    pub fn has_room(&self) -> bool {
        self.open_at == 0 || self.arena.len() <= self.most_bytes
    }

    /// Makes room for more records, with this many bytes of text.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.entries.reserve(records);
        self.arena.reserve(bytes);
    }

    /// Says which raw payload the following records come from.
    pub fn enter_raw(&mut self, raw: RawRef) {
        if self.raws.last() != Some(&raw) {
            self.raws.push(raw);
        }
    }

    /// Starts a record. It joins the batch with [`RecordBatch::commit`] and leaves no trace with
    /// [`RecordBatch::abandon`].
    pub fn begin(&mut self) {
        self.open_at = self.arena.len();
        self.open = Some(Entry::EMPTY);
    }

    /// The arena, for a value that is built in place; close it with [`RecordBatch::close_id`] or
    /// [`RecordBatch::close_column`], giving the length the arena had before.
    pub fn arena(&mut self) -> &mut String {
        &mut self.arena
    }

    fn span_from(&self, start: usize) -> Span {
        debug_assert!(u32::try_from(self.arena.len()).is_ok());
        Span { start: start as u32, end: self.arena.len() as u32 }
    }

    /// Makes the arena's text from `start` on the open record's `external_id`.
    pub fn close_id(&mut self, start: usize) {
        let span = self.span_from(start);
        if let Some(open) = &mut self.open {
            open.external_id = span;
        }
    }

    /// Makes the arena's text from `start` on the open record's value of `column`.
    pub fn close_column(&mut self, column: Column, start: usize) {
        let span = self.span_from(start);
        if let Some(open) = &mut self.open {
            open.columns[column as usize] = span;
        }
    }

    /// Sets a text column of the open record.
    pub fn set(&mut self, column: Column, text: &str) {
        let start = self.arena.len();
        self.arena.push_str(text);
        self.close_column(column, start);
    }

    /// Sets `source_updated_at` of the open record, in microseconds since 1970-01-01 UTC.
    pub fn set_source_updated_at(&mut self, micros: i64) {
        if let Some(open) = &mut self.open {
            open.source_updated_at = Some(micros);
        }
    }

    /// Adds the open record to the batch as row `raw_row` (from 1) of the raw payload last entered.
    ///
    /// # Panics
    /// When no raw payload was entered: a record without lineage is a programming error.
    pub fn commit(&mut self, raw_row: i64) {
        let Some(mut entry) = self.open.take() else {
            return;
        };
        assert!(!self.raws.is_empty(), "enter_raw comes before the first record");
        entry.raw = (self.raws.len() - 1) as u32;
        entry.raw_row = raw_row;
        entry.content_hash = self.hash(&entry);
        self.entries.push(entry);
    }

    /// Drops the open record and its text.
    pub fn abandon(&mut self) {
        self.open = None;
        self.arena.truncate(self.open_at);
    }

    /// Each value goes in with its length, so that no two different records hash the same text.
    fn hash(&mut self, entry: &Entry) -> ContentHash {
        let mut hashed = std::mem::take(&mut self.hashed);
        self.write_hashed(entry, &mut hashed);
        self.hashed = hashed;
        ContentHash::of(&self.hashed)
    }

    fn write_hashed(&self, entry: &Entry, hashed: &mut Vec<u8>) {
        hashed.clear();
        for span in entry.columns {
            if span == Span::NONE {
                hashed.extend_from_slice(&u32::MAX.to_le_bytes());
            } else {
                hashed.extend_from_slice(&(span.end - span.start).to_le_bytes());
                hashed.extend_from_slice(self.text(span).as_bytes());
            }
        }
        hashed.extend_from_slice(&entry.source_updated_at.unwrap_or(i64::MIN).to_le_bytes());
    }

    fn text(&self, span: Span) -> &str {
        &self.arena[span.start as usize..span.end as usize]
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of text held.
    pub fn text_len(&self) -> usize {
        self.arena.len()
    }

    /// The record at `index`.
    pub fn get(&self, index: usize) -> RecordView<'_> {
        RecordView { batch: self, entry: &self.entries[index] }
    }

    /// The records in row order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordView<'_>> {
        self.entries.iter().map(|entry| RecordView { batch: self, entry })
    }
}

impl<'a> RecordView<'a> {
    /// The key within the source.
    pub fn external_id(self) -> &'a str {
        self.batch.text(self.entry.external_id)
    }

    /// The value of a column; `None` is SQL's null.
    pub fn column(self, column: Column) -> Option<&'a str> {
        let span = self.entry.columns[column as usize];
        (span != Span::NONE).then(|| self.batch.text(span))
    }

    /// Microseconds since 1970-01-01 UTC.
    pub fn source_updated_at(self) -> Option<i64> {
        self.entry.source_updated_at
    }

    /// Hash of everything but the key and the lineage.
    pub fn content_hash(self) -> ContentHash {
        self.entry.content_hash
    }

    /// Whether a stored hash is of everything but the key and the lineage. `scratch` is only memory.
    pub fn is_content_of(self, stored: StoredHash, scratch: &mut Vec<u8>) -> bool {
        match stored {
            StoredHash::Blake3(hash) => hash == self.content_hash(),
            StoredHash::Xxh3(_) => {
                self.batch.write_hashed(self.entry, scratch);
                stored.is_of(scratch)
            }
        }
    }

    /// The raw payload the record came from.
    pub fn raw(self) -> RawRef {
        self.batch.raws[self.entry.raw as usize]
    }

    /// The row within the raw payload, from 1.
    pub fn raw_row(self) -> i64 {
        self.entry.raw_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(values: &[(&str, &str)]) -> RecordBatch {
        let mut batch = RecordBatch::new();
        batch.enter_raw(RawRef::File(1));
        for (i, (id, name)) in values.iter().enumerate() {
            batch.begin();
            let start = batch.arena().len();
            batch.arena().push_str(id);
            batch.close_id(start);
            batch.set(Column::Name, name);
            batch.commit(i as i64 + 1);
        }
        batch
    }

    #[test]
    fn the_hash_covers_content_and_not_the_key() {
        let batch = batch_of(&[("1", "a"), ("2", "a"), ("3", "b")]);
        let hashes: Vec<_> = batch.iter().map(RecordView::content_hash).collect();
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
    }

    #[test]
    fn an_abandoned_record_leaves_no_trace() {
        let mut batch = batch_of(&[("1", "a")]);
        let before = batch.text_len();
        batch.begin();
        batch.set(Column::Url, "https://example.com");
        batch.abandon();
        assert_eq!((batch.len(), batch.text_len()), (1, before));
        assert_eq!(batch.get(0).external_id(), "1");
        assert_eq!(batch.get(0).column(Column::Url), None);
    }
}
