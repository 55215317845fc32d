//! Owns making lines of JSON of a file: a batch of rows after the other, each page of a column when its rows are read.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, RecordBatch};
use bytes::Bytes as Piece;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::columns::{Column, Columns};
use super::layout::{damaged, refuse_implausible, refuse_others, refused};
use super::values;
use crate::sources::files::spool::{Part, Spool};
use crate::sources::files::unpack::Bytes;

/// Bytes of lines that are made at once, about.
const AT_ONCE: usize = 64 << 10;
/// Bytes of a file that are read ahead where the length of a piece is not known.
const AHEAD: usize = 4 << 10;

/// The lines of a file: the first says which fields the rows have. Blocking.
pub(super) fn lines(mut bytes: Bytes, max_spool: u64) -> io::Result<Bytes> {
    let spool = Spool::of(&mut bytes, max_spool)?;
    refuse_others(&spool)?;
    Ok(Box::new(Lines::of(spool)?))
}

/// What the reader of such files answers; it may fail in any way on a damaged one.
fn calm<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged("it cannot be understood")))
}

/// What is wrong with a file.
fn told(error: ParquetError) -> io::Error {
    /// Who says so, of others that say it on.
    const SAYING: [&str; 3] = ["Parquet argument error: ", "Parquet error: ", "External: "];
    match error {
        ParquetError::NYI(what) => refused(&format!("has what cannot be read: {what}")),
        ParquetError::General(what) | ParquetError::EOF(what) | ParquetError::ArrowError(what) => {
            let what =
                SAYING.iter().fold(what.as_str(), |what, saying| what.trim_start_matches(*saying));
            damaged(what)
        }
        error => damaged(&error.to_string()),
    }
}

/// A file that is put aside.
#[derive(Clone)]
struct Stored {
    spool: Spool,
    /// That its bytes did not come, which is not the fault of the file.
    failed: Arc<Mutex<Option<io::Error>>>,
}

/// A part of such a file.
struct Watched {
    part: Part,
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.part.read(buffer).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        })
    }
}

impl Stored {
    fn part(&self, start: u64, length: u64) -> Watched {
        Watched { part: self.spool.part(start, length), failed: Arc::clone(&self.failed) }
    }

    /// The same, with what is wrong told as what it is.
    fn told<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        answer.map_err(|error| {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            failed.unwrap_or(error)
        })
    }
}

impl Length for Stored {
    fn len(&self) -> u64 {
        self.spool.len()
    }
}

impl ChunkReader for Stored {
    type T = BufReader<Watched>;

    fn get_read(&self, start: u64) -> Result<BufReader<Watched>, ParquetError> {
        Ok(BufReader::with_capacity(AHEAD, self.part(start, u64::MAX)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Piece, ParquetError> {
        let mut bytes = Vec::new();
        self.part(start, length as u64).read_to_end(&mut bytes)?;
        match bytes.len() == length {
            true => Ok(bytes.into()),
            false => Err(ParquetError::EOF(format!("{length} bytes at {start} are not there"))),
        }
    }
}

/// Rows as lines.
pub(super) struct Lines {
    stored: Stored,
    columns: Vec<Column>,
    /// Whether each column is read a second time.
    read_twice: Vec<bool>,
    reader: ParquetRecordBatchReader,
    second: Option<ParquetRecordBatchReader>,
    batch: Option<Batch>,
    rows: Rows,
    /// What is made and not yet taken.
    made: Vec<u8>,
    taken: usize,
    /// What was wrong: nothing comes behind it.
    failed: Option<(io::ErrorKind, String)>,
}

/// How many rows there are, and how many came.
struct Rows {
    said: i64,
    came: i64,
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
    pub fn of(spool: Spool) -> io::Result<Self> {
        let stored = Stored { spool, failed: Arc::default() };
        stored.told(calm(|| Self::begin(&stored)))
    }

    fn begin(stored: &Stored) -> io::Result<Self> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(stored).map_err(told)?;
        let metadata = Arc::new(metadata);
        refuse_implausible(&stored.spool, &metadata)?;
        let said = metadata.file_metadata().num_rows();
        let types = types(&metadata)?;
        let columns = Columns::of(types.schema(), types.parquet_schema())?;
        let groups = metadata.row_groups().iter();
        let at_once =
            columns.rows_at_once(groups.map(|group| (group.num_rows(), group.total_byte_size())));
        let reader = |schema| {
            let options = ArrowReaderOptions::new().with_schema(schema);
            let types =
                ArrowReaderMetadata::try_new(Arc::clone(&metadata), options).map_err(told)?;
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(stored.clone(), types);
            io::Result::Ok(reader.with_batch_size(at_once))
        };
        let second = match columns.second {
            Some((schema, which)) => {
                Some(reader(schema)?.with_projection(which).build().map_err(told)?)
            }
            None => None,
        };
        let mut made = serde_json::to_vec(&columns.described)?;
        made.push(b'\n');
        Ok(Self {
            reader: reader(columns.schema)?.build().map_err(told)?,
            stored: stored.clone(),
            columns: columns.all,
            read_twice: columns.read_twice,
            second,
            batch: None,
            rows: Rows { said, came: 0 },
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
            let columns = self.columns.iter().zip(batch.first.columns()).zip(&self.read_twice);
            let columns = columns.map(|((column, array), twice)| {
                let second = if *twice { second.next() } else { None };
                (column, array.as_ref(), second.map(|array| array.as_ref() as &dyn Array))
            });
            values::object(columns, batch.at, &mut self.made)?;
            self.made.push(b'\n');
            batch.at += 1;
        }
        Ok(())
    }

    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let next = |reader: &mut ParquetRecordBatchReader| {
            reader.next().transpose().map_err(|error| told(error.into()))
        };
        let first = next(&mut self.reader)?;
        let second = self.second.as_mut().map(next).transpose()?.flatten();
        let rows = |batch: &Option<RecordBatch>| batch.as_ref().map_or(0, RecordBatch::num_rows);
        if self.second.is_some() && rows(&first) != rows(&second) {
            return Err(damaged("its columns do not have a value for each row"));
        }
        self.rows.came += rows(&first) as i64;
        let Rows { said, came } = self.rows;
        match first {
            Some(first) if came <= said => Ok(Some(Batch { first, second, at: 0 })),
            None if came == said => Ok(None),
            _ => Err(damaged(&format!("it says that it has {said} rows, and there are {came}"))),
        }
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        if self.taken == self.made.len() {
            let made = calm(|| self.make());
            self.stored.told(made).inspect_err(|error| {
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
        .map_err(told)
}
