//! Owns canonical records in bulk: one arena of text per batch, so that a million records cost a
//! few large allocations instead of ten small ones each.
//!
//! Must not know how PostgreSQL encodes them.

use super::hash::{ContentHash, ContentHasher, StoredHash};
use super::raw::RawRef;

/// How the values of a column are held, hashed and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `text`
    Text,
    /// `numeric`, held as canonical digits (see [`super::decimal`])
    Numeric,
    /// `timestamptz`, held as microseconds since 1970-01-01 UTC
    Timestamp,
    /// `jsonb`, held as JSON text
    Json,
}

/// What the content hash of a record takes of a column without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// That there is none. So it is with the first columns, and only with these.
    EvenEmpty,
    /// Nothing: the hashes of records that were stored before there was such a column stay as they are.
    IfPresent,
}

/// A column of `unified_records` that a mapping can fill, by what there is to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name in the table and in job files.
    pub name: &'static str,
    /// Of which type it is.
    pub kind: ColumnType,
    /// How it goes into the content hash.
    pub hashed: Hashed,
}

/// Calls a macro with the columns of `unified_records` that a mapping can fill: the one list that a further
/// column is added to, besides its migration. From it follow how records are held, hashed, encoded, written,
/// read and shown. A further one is `IfPresent`; where it stands in the list does not matter.
macro_rules! record_columns {
    ($then:ident) => {
        $then! {
            /// See the mapping.
            Name name: Text EvenEmpty;
            /// See the mapping.
            Description description: Text EvenEmpty;
            /// See the mapping.
            Category category: Text EvenEmpty;
            /// A decimal number with every digit of the source.
            Price price: Numeric EvenEmpty;
            /// See the mapping.
            Currency currency: Text EvenEmpty;
            /// A decimal number with every digit of the source.
            Quantity quantity: Numeric EvenEmpty;
            /// See the mapping.
            Url url: Text EvenEmpty;
            /// When the source says it changed.
            SourceUpdatedAt source_updated_at: Timestamp EvenEmpty;
            /// The mapped fields that have no column of their own.
            Attributes attributes: Json EvenEmpty;
        }
    };
}
#[allow(unused_imports, reason = "the fuzz targets are built without the floors that use it")]
pub(crate) use record_columns;

macro_rules! columns {
    ($($(#[$doc:meta])* $column:ident $name:ident: $kind:ident $hashed:ident;)*) => {
        /// The columns of `unified_records` that a mapping can fill. A field of any other name becomes a key
        /// of `attributes`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Column {
            $($(#[$doc])* $column,)*
        }

        impl Column {
            /// Every column.
            pub const ALL: [Self; Self::SPECS.len()] = [$(Self::$column,)*];

            /// What there is to know of each, in the same order.
            pub const SPECS: &'static [ColumnSpec] = &[$(ColumnSpec {
                name: stringify!($name),
                kind: ColumnType::$kind,
                hashed: Hashed::$hashed,
            },)*];
        }
    };
}
record_columns!(columns);

impl Column {
    /// What there is to know of it.
    pub const fn spec(self) -> ColumnSpec {
        Self::SPECS[self as usize]
    }

    /// The column of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.spec().name == name)
    }
}

/// The value of a column, as it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text, canonical digits or JSON.
    Text(&'a str),
    /// Microseconds since 1970-01-01 UTC.
    Time(i64),
}

/// A piece of the batch's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// The value of a column in eight bytes: where in the arena its text is, or the time itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell(u64);

impl Cell {
    /// No value: no span is so far behind, and no time so long ago.
    const NONE: Self = Self(u64::MAX);
    /// Makes `NONE` of the time that no clock shows, `i64::MIN`.
    const TIMES: u64 = u64::MAX >> 1;

    fn of_span(span: Span) -> Self {
        Self(u64::from(span.start) << 32 | u64::from(span.end))
    }

    fn of_time(micros: i64) -> Self {
        Self(micros.cast_unsigned() ^ Self::TIMES)
    }

    fn span(self) -> Span {
        Span { start: (self.0 >> 32) as u32, end: self.0 as u32 }
    }

    fn time(self) -> i64 {
        (self.0 ^ Self::TIMES).cast_signed()
    }
}

/// One record: spans into the arena, no allocation of its own.
#[derive(Debug, Clone)]
struct Entry {
    external_id: Span,
    columns: [Cell; Column::ALL.len()],
    content_hash: ContentHash,
    raw: u32,
    raw_row: i64,
    /// Whether it says of itself that it is deleted.
    deleted: bool,
}

impl Entry {
    const EMPTY: Self = Self {
        external_id: Span { start: 0, end: 0 },
        columns: [Cell::NONE; Column::ALL.len()],
        content_hash: ContentHash::UNSET,
        raw: 0,
        raw_row: 0,
        deleted: false,
    };
}

/// A record with more text is hashed piece by piece: no copy of it is made.
const LARGE: usize = 256 << 10;

/// Canonical records of one batch in the order in which their rows came.
#[derive(Debug)]
pub struct RecordBatch {
    most_bytes: usize,
    arena: String,
    entries: Vec<Entry>,
    raws: Vec<RawRef>,
    open: Option<Entry>,
    open_at: usize,
    next_is_deleted: bool,
    any_deleted: bool,
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
            next_is_deleted: false,
            any_deleted: false,
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
        let deleted = std::mem::take(&mut self.next_is_deleted);
        self.open = Some(Entry { deleted, ..Entry::EMPTY });
    }

    /// Says of the record that begins next that it is deleted.
    pub fn next_is_deleted(&mut self) {
        self.next_is_deleted = true;
    }

    /// Whether the record that is open says that it is deleted.
    pub fn is_open_deleted(&self) -> bool {
        self.open.as_ref().is_some_and(|entry| entry.deleted)
    }

    /// Whether any record says that it is deleted.
    pub fn any_deleted(&self) -> bool {
        self.any_deleted
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
            open.columns[column as usize] = Cell::of_span(span);
        }
    }

    /// Sets a text column of the open record.
    pub fn set(&mut self, column: Column, text: &str) {
        let start = self.arena.len();
        self.arena.push_str(text);
        self.close_column(column, start);
    }

    /// Sets a column of times of the open record, in microseconds since 1970-01-01 UTC.
    pub fn set_time(&mut self, column: Column, micros: i64) {
        if let Some(open) = &mut self.open {
            open.columns[column as usize] = Cell::of_time(micros);
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
        self.any_deleted |= entry.deleted;
        self.entries.push(entry);
    }

    /// Drops the open record and its text.
    pub fn abandon(&mut self) {
        self.open = None;
        self.arena.truncate(self.open_at);
    }

    fn hash(&mut self, entry: &Entry) -> ContentHash {
        if self.arena.len() - self.open_at > LARGE {
            let mut hasher = ContentHasher::default();
            write_hashed(self.values(entry), &mut hasher);
            write_deleted(entry.deleted, &mut hasher);
            return hasher.take();
        }
        let mut hashed = std::mem::take(&mut self.hashed);
        hashed.clear();
        write_hashed(self.values(entry), &mut hashed);
        write_deleted(entry.deleted, &mut hashed);
        self.hashed = hashed;
        ContentHash::of(&self.hashed)
    }

    fn values(
        &self,
        entry: &Entry,
    ) -> impl ExactSizeIterator<Item = (&'static ColumnSpec, Option<Value<'_>>)> + Clone {
        Column::SPECS.iter().zip(entry.columns).map(|(spec, cell)| {
            let value = (cell != Cell::NONE).then(|| match spec.kind {
                ColumnType::Timestamp => Value::Time(cell.time()),
                _ => Value::Text(self.text(cell.span())),
            });
            (spec, value)
        })
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

    /// The value of a column of text, numbers or JSON; `None` is SQL's null.
    pub fn column(self, column: Column) -> Option<&'a str> {
        match self.value(column)? {
            Value::Text(text) => Some(text),
            Value::Time(_) => None,
        }
    }

    /// The value of a column of times, in microseconds since 1970-01-01 UTC.
    pub fn time(self, column: Column) -> Option<i64> {
        match self.value(column)? {
            Value::Time(micros) => Some(micros),
            Value::Text(_) => None,
        }
    }

    fn value(self, column: Column) -> Option<Value<'a>> {
        self.values().nth(column as usize)?.1
    }

    /// All columns with their values.
    pub fn values(
        self,
    ) -> impl ExactSizeIterator<Item = (&'static ColumnSpec, Option<Value<'a>>)> + Clone {
        self.batch.values(self.entry)
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
                scratch.clear();
                write_hashed(self.values(), scratch);
                write_deleted(self.is_deleted(), scratch);
                stored.is_of(scratch)
            }
        }
    }

    /// The raw payload the record came from.
    pub fn raw(self) -> RawRef {
        self.batch.raws[self.entry.raw as usize]
    }

    /// Whether it says of itself that it is deleted.
    pub fn is_deleted(self) -> bool {
        self.entry.deleted
    }

    /// The row within the raw payload, from 1.
    pub fn raw_row(self) -> i64 {
        self.entry.raw_row
    }
}

/// Writes what is hashed of a record. Each value goes in with its length, so that no two different records
/// hash the same text. What is hashed even if empty comes first, texts before times; the other columns add
/// their names as well, in the order of these, and only if they have a value.
fn write_hashed<'a>(
    values: impl Iterator<Item = (&'static ColumnSpec, Option<Value<'a>>)> + Clone,
    hashed: &mut impl Hashing,
) {
    for times in [false, true] {
        for (spec, value) in values.clone() {
            let is_time = spec.kind == ColumnType::Timestamp;
            if spec.hashed == Hashed::EvenEmpty && is_time == times {
                write_value(spec.kind, value, hashed);
            }
        }
    }
    let further =
        values.filter(|(spec, value)| spec.hashed == Hashed::IfPresent && value.is_some());
    let mut further: Vec<_> = further.collect();
    further.sort_by_key(|(spec, _)| spec.name);
    for (spec, value) in further {
        write_text(spec.name, hashed);
        write_value(spec.kind, value, hashed);
    }
}

/// What is hashed of records that are deleted besides.
fn write_deleted(deleted: bool, hashed: &mut impl Hashing) {
    if deleted {
        write_text("deleted", hashed);
    }
}

fn write_value(kind: ColumnType, value: Option<Value<'_>>, hashed: &mut impl Hashing) {
    match value {
        Some(Value::Text(text)) => write_text(text, hashed),
        Some(Value::Time(micros)) => hashed.add(&micros.to_le_bytes()),
        None if kind == ColumnType::Timestamp => hashed.add(&i64::MIN.to_le_bytes()),
        None => hashed.add(&u32::MAX.to_le_bytes()),
    }
}

fn write_text(text: &str, hashed: &mut impl Hashing) {
    hashed.add(&(text.len() as u32).to_le_bytes());
    hashed.add(text.as_bytes());
}

/// Takes what is hashed of a record: memory, hashed at once, or a hasher, which holds nothing.
trait Hashing {
    fn add(&mut self, bytes: &[u8]);
}

impl Hashing for Vec<u8> {
    fn add(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Hashing for ContentHasher {
    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
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
    fn a_large_record_has_the_hash_of_all_its_text() {
        let long = "x".repeat(LARGE + 1);
        let batch = batch_of(&[("1", &long), ("2", &long), ("3", &long[1..])]);
        let mut hashed = Vec::new();
        for record in batch.iter() {
            hashed.clear();
            write_hashed(record.values(), &mut hashed);
            assert_eq!(record.content_hash(), ContentHash::of(&hashed));
        }
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

    /// Of nothing, of everything, and of a time just before 1970, as they were before columns became a list.
    const EXPECTED_HASHES: [&str; 3] = [
        "d6d714f367f931afcdc7e7e16b6f2af829a86d6d092096f13b08b123739b1cc9",
        "294249f2b27b27a7a87b78e928961bb601ffd936697f72f05ccecc08f7ecf563",
        "ad7699aaad495ca4d28be434af1d703f1fa00da795b3add448adaf8cd1dbdfac",
    ];

    #[test]
    fn records_have_the_hashes_that_are_stored_of_them() {
        let mut batch = RecordBatch::new();
        batch.enter_raw(RawRef::File(1));
        batch.begin();
        batch.commit(1);
        batch.begin();
        batch.set(Column::Name, "Tea");
        batch.set(Column::Description, "");
        batch.set(Column::Category, "Getränke");
        batch.set(Column::Price, "2.50");
        batch.set(Column::Currency, "EUR");
        batch.set(Column::Quantity, "-7");
        batch.set(Column::Url, "https://example.com/tea");
        batch.set(Column::Attributes, r#"{"colour":"green"}"#);
        batch.set_time(Column::SourceUpdatedAt, 1_735_783_445_500_000);
        batch.commit(2);
        batch.begin();
        batch.set(Column::Url, "u");
        batch.set_time(Column::SourceUpdatedAt, -1);
        batch.commit(3);
        let hex = |hash: ContentHash| {
            hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let hashes: Vec<_> = batch.iter().map(|record| hex(record.content_hash())).collect();
        assert_eq!(hashes, EXPECTED_HASHES);
        assert_eq!(batch.get(2).time(Column::SourceUpdatedAt), Some(-1));
        assert_eq!(batch.get(0).time(Column::SourceUpdatedAt), None);
    }

    const BRAND: ColumnSpec =
        ColumnSpec { name: "brand", kind: ColumnType::Text, hashed: Hashed::IfPresent };
    const SEEN: ColumnSpec =
        ColumnSpec { name: "seen_at", kind: ColumnType::Timestamp, hashed: Hashed::IfPresent };

    fn hashed(
        values: impl Iterator<Item = (&'static ColumnSpec, Option<Value<'static>>)> + Clone,
    ) -> Vec<u8> {
        let mut hashed = Vec::new();
        write_hashed(values, &mut hashed);
        hashed
    }

    /// A further column changes the hash of no record that has nothing there, wherever it stands.
    #[test]
    fn a_further_column_counts_only_where_it_has_a_value() {
        let columns = Column::SPECS.iter().map(|spec| match spec.kind {
            ColumnType::Timestamp => (spec, Some(Value::Time(5))),
            _ => (spec, Some(Value::Text("x"))),
        });
        let now = hashed(columns.clone());
        let one = |spec: &'static ColumnSpec, value| std::iter::once((spec, value));
        assert_eq!(hashed(columns.clone().chain(one(&BRAND, None)).chain(one(&SEEN, None))), now);
        assert_eq!(hashed(one(&BRAND, None).chain(columns.clone())), now);
        let mut known = vec![now];
        for (brand, seen) in
            [(Some(""), None), (Some("a"), None), (Some("a"), Some(0)), (None, Some(0))]
        {
            let (brand, seen) = (brand.map(Value::Text), seen.map(Value::Time));
            let before = one(&BRAND, brand).chain(columns.clone()).chain(one(&SEEN, seen));
            let behind = columns.clone().chain(one(&SEEN, seen)).chain(one(&BRAND, brand));
            assert_eq!(hashed(before), hashed(behind.clone()), "the place in the list");
            assert!(!known.contains(&hashed(behind.clone())));
            known.push(hashed(behind));
        }
    }
}
