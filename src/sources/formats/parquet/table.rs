//! Owns making lines of JSON of a file: a batch of rows after the other, each page of a column when its rows are read.

use std::io::{self, Read};
use std::iter;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowGroups, RowSelection,
    RowSelector,
};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::budget::Budget;
use super::columns::Columns;
use super::layout::{damaged, refuse_implausible, refuse_others};
use super::pages::Group;
use super::row::Row;
use super::stored::{Stored, catch_panic, file_error};
use super::values;
use crate::sources::files::spool::Spool;
use crate::sources::files::unpack::Bytes;

/// Bytes of lines that are made at once, about.
const AT_ONCE: usize = 64 << 10;
/// Of the rows that are read at once, the part that is tried when they take too much memory.
const FEWER: usize = 8;

/// The lines of a file: the first says which fields the rows have. A row of more than so many bytes refuses it. Blocking.
pub(super) fn lines(mut bytes: Bytes, max_spool: u64, longest_row: u64) -> io::Result<Bytes> {
    let spool = Spool::of(&mut bytes, max_spool)?;
    Ok(Box::new(Lines::of(spool, longest_row)?))
}

/// Rows as lines.
pub(super) struct Lines {
    stored: Stored,
    metadata: Arc<ParquetMetaData>,
    columns: Columns,
    /// The types of all columns.
    first: FieldLevels,
    /// Those of the columns that are read a second time.
    second: Option<FieldLevels>,
    budget: Arc<Budget>,
    place: Place,
    readers: Option<Readers>,
    batch: Option<Batch>,
    longest_row: usize,
    /// What is made and not yet taken.
    made: Vec<u8>,
    taken: usize,
    /// What was wrong: nothing comes behind it.
    failed: Option<(io::ErrorKind, String)>,
}

/// Up to where a file is read.
#[derive(Default)]
struct Place {
    /// The group of rows.
    group: usize,
    /// Rows of it that came.
    rows: usize,
    /// Rows of it that are read at once.
    at_once: Option<usize>,
}

/// Reads a group of rows.
struct Readers {
    first: ParquetRecordBatchReader,
    second: Option<ParquetRecordBatchReader>,
}

/// Rows that were read at once.
struct Batch {
    first: RecordBatch,
    second: Option<RecordBatch>,
    /// The next one.
    at: usize,
}

impl Lines {
    /// Those of a file that is put aside.
    pub fn of(spool: Spool, longest_row: u64) -> io::Result<Self> {
        let described = refuse_others(&spool)?;
        let stored = Stored::of(spool);
        stored.or_read_error(catch_panic(|| Self::begin(&stored, described, longest_row)))
    }

    fn begin(stored: &Stored, described: u64, longest_row: u64) -> io::Result<Self> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(stored).map_err(file_error)?;
        let metadata = Arc::new(metadata);
        refuse_implausible(&stored.spool, &metadata)?;
        let types = types(&metadata)?;
        let columns = Columns::of(types.schema(), types.parquet_schema())?;
        let first = levels(&metadata, &columns.schema, ProjectionMask::all())?;
        let second = columns.second.as_ref();
        let second = second.map(|(schema, which)| levels(&metadata, schema, which.clone()));
        let leaves = types.parquet_schema().num_columns();
        let mut made = serde_json::to_vec(&columns.described)?;
        made.push(b'\n');
        Ok(Self {
            stored: stored.clone(),
            metadata,
            columns,
            first,
            second: second.transpose()?,
            budget: Arc::new(Budget::of(2 * leaves, described)),
            place: Place::default(),
            readers: None,
            batch: None,
            longest_row: usize::try_from(longest_row).unwrap_or(usize::MAX),
            made,
            taken: 0,
            failed: None,
        })
    }

    /// Bytes of the rows that were read at once.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        let batches =
            self.batch.iter().flat_map(|batch| [Some(&batch.first), batch.second.as_ref()]);
        batches.flatten().map(RecordBatch::get_array_memory_size).sum()
    }

    /// Makes the next lines; none behind the last row.
    fn make(&mut self) -> io::Result<()> {
        self.made.clear();
        self.taken = 0;
        while self.made.len() < AT_ONCE {
            let Some(batch) = &mut self.batch else {
                match self.next_batch()? {
                    Some(batch) => self.batch = Some(batch),
                    None => return Ok(()),
                }
                continue;
            };
            if batch.at == batch.first.num_rows() {
                self.batch = None;
                continue;
            }
            let mut second = batch.second.iter().flat_map(RecordBatch::columns);
            let columns = self.columns.all.iter();
            let columns = columns.zip(batch.first.columns()).zip(&self.columns.read_twice);
            let columns = columns.map(|((column, array), twice)| {
                let second = if *twice { second.next() } else { None };
                (column, array.as_ref(), second.map(|array| array.as_ref() as &dyn Array))
            });
            values::object(columns, batch.at, &mut Row::in_text(&mut self.made, self.longest_row))?;
            self.made.push(b'\n');
            batch.at += 1;
        }
        Ok(())
    }

    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        while let Some(group) = self.metadata.row_groups().get(self.place.group) {
            let rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
            let part = iter::once((group.num_rows(), group.total_byte_size()));
            let at_once = self.place.at_once.unwrap_or_else(|| self.columns.rows_at_once(part));
            match self.batch_of_group(at_once) {
                Ok(Some(batch)) => {
                    self.place.rows += batch.first.num_rows();
                    if self.place.rows > rows {
                        return Err(other_rows(rows));
                    }
                    return Ok(Some(batch));
                }
                Ok(None) if self.place.rows == rows => {
                    self.place = Place { group: self.place.group + 1, ..Place::default() };
                    self.readers = None;
                }
                Ok(None) => return Err(other_rows(rows)),
                Err(error) => match self.budget.exceeded() {
                    Some(_) if at_once > 1 => {
                        self.place.at_once = Some((at_once / FEWER).max(1));
                        self.readers = None;
                    }
                    Some(exceeded) => return Err(exceeded),
                    None => return Err(error),
                },
            }
        }
        Ok(None)
    }

    /// The next rows of the group, so many at once; none behind the last.
    fn batch_of_group(&mut self, at_once: usize) -> io::Result<Option<Batch>> {
        let readers = match &mut self.readers {
            Some(readers) => readers,
            None => {
                self.budget.clear();
                self.budget.next_rows(self.place.rows as u64);
                let second = self.second.as_ref();
                let second = second.map(|levels| self.reader(levels, 1, at_once)).transpose()?;
                let first = self.reader(&self.first, 0, at_once)?;
                self.readers.insert(Readers { first, second })
            }
        };
        self.budget.next_rows(self.place.rows as u64);
        let next = |reader: &mut ParquetRecordBatchReader| {
            reader.next().transpose().map_err(|error| file_error(error.into()))
        };
        let first = next(&mut readers.first)?;
        let second = readers.second.as_mut().map(next).transpose()?.flatten();
        let rows = |batch: &Option<RecordBatch>| batch.as_ref().map_or(0, RecordBatch::num_rows);
        if readers.second.is_some() && rows(&first) != rows(&second) {
            return Err(damaged("its columns do not have a value for each row"));
        }
        Ok(first.map(|first| Batch { first, second, at: 0 }))
    }

    /// Reads the rest of the group, for the first or the second time.
    fn reader(
        &self,
        levels: &FieldLevels,
        time: usize,
        at_once: usize,
    ) -> io::Result<ParquetRecordBatchReader> {
        let group = Group {
            stored: self.stored.clone(),
            metadata: Arc::clone(&self.metadata),
            index: self.place.group,
            budget: Arc::clone(&self.budget),
            first_column: time * self.metadata.file_metadata().schema_descr().num_columns(),
            at_once,
        };
        let rest = match self.place.rows {
            0 => None,
            came => {
                let rest = RowGroups::num_rows(&group).saturating_sub(came);
                Some(RowSelection::from(vec![RowSelector::skip(came), RowSelector::select(rest)]))
            }
        };
        ParquetRecordBatchReader::try_new_with_row_groups(levels, &group, at_once, rest)
            .map_err(file_error)
    }
}

fn other_rows(said: usize) -> io::Error {
    damaged(&format!(
        "it says that a part of it has {said} rows, and it has another number of them"
    ))
}

/// How columns are read as the types of a schema.
fn levels(
    metadata: &Arc<ParquetMetaData>,
    schema: &SchemaRef,
    which: ProjectionMask,
) -> io::Result<FieldLevels> {
    // Says whether they can be.
    let options = ArrowReaderOptions::new().with_schema(Arc::clone(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata), options).map_err(file_error)?;
    let columns = metadata.file_metadata().schema_descr();
    parquet_to_arrow_field_levels(columns, which, Some(schema.fields())).map_err(file_error)
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        if self.taken == self.made.len() {
            let made = catch_panic(|| self.make());
            self.stored.or_read_error(made).inspect_err(|error| {
                self.failed = Some((error.kind(), error.to_string()));
            })?;
        }
        let rest = &self.made[self.taken..];
        let given = rest.len().min(buffer.len());
        buffer[..given].copy_from_slice(&rest[..given]);
        self.taken += given;
        Ok(given)
    }
}

/// The types that the file says its columns have. What whoever wrote it says besides may be of another time.
fn types(metadata: &Arc<ParquetMetaData>) -> io::Result<ArrowReaderMetadata> {
    let of = |options| ArrowReaderMetadata::try_new(Arc::clone(metadata), options);
    of(ArrowReaderOptions::new())
        .or_else(|_| of(ArrowReaderOptions::new().with_skip_arrow_metadata(true)))
        .map_err(file_error)
}
