//! Owns handing the pages of a file to the reader, one after the other: each is counted before it is read, and looked through
//! for what the reader would make of it.

use std::io::{self, Read};
use std::iter;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::{Compression, ConvertedType, Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::budget::{self, Budget, Exceeded};
use super::layout::{self, PageKind};
use super::stored::Stored;
use super::streams::{deltas, lz4_frame_fits, records};

/// Bytes that unpacking with Brotli takes besides what it unpacks.
const BROTLI_WINDOW: u64 = 17 << 20;

/// A group of rows of a file.
pub(super) struct Group {
    pub stored: Stored,
    pub metadata: Arc<ParquetMetaData>,
    pub index: usize,
    pub budget: Arc<Budget>,
    /// Which of those that the budget knows is the first column.
    pub first_column: usize,
    /// Rows that are read at once.
    pub at_once: usize,
}

impl RowGroups for Group {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.index).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let chunk = self.metadata.row_group(self.index).column(column);
        let (at, length) = chunk.byte_range();
        let reader = ColumnReader {
            stored: self.stored.clone(),
            name: chunk.column_path().string(),
            chunk: chunk.clone().into_builder().clear_statistics().build()?,
            at,
            end: at.saturating_add(length),
            next: None,
            rows_begun: 0,
            budget: Arc::clone(&self.budget),
            column: self.first_column + column,
            at_once: self.at_once as u64,
        };
        Ok(Box::new(Only(Some(reader))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(iter::once(self.metadata.row_group(self.index)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The only piece of a column in a group of rows.
struct Only(Option<ColumnReader>);

impl Iterator for Only {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|reader| Ok(Box::new(reader) as Box<dyn PageReader>))
    }
}

impl PageIterator for Only {}

/// Reads the pages of a column.
struct ColumnReader {
    stored: Stored,
    chunk: ColumnChunkMetaData,
    name: String,
    at: u64,
    end: u64,
    /// The next page and the length of its header, if somebody asked for them.
    next: Option<(layout::Page, u64)>,
    rows_begun: u64,
    budget: Arc<Budget>,
    column: usize,
    at_once: u64,
}

impl From<Exceeded> for ParquetError {
    fn from(_: Exceeded) -> Self {
        Self::General("it does not fit into memory".to_owned())
    }
}

fn implausible() -> ParquetError {
    ParquetError::General("a page of it does not have what its header says".to_owned())
}

impl ColumnReader {
    /// The next page that is not passed over.
    fn peek(&mut self) -> Result<Option<(layout::Page, u64)>> {
        while self.next.is_none() && self.at < self.end {
            let (page, header) = layout::page(&self.stored.spool, self.at, self.end)
                .map_err(|error| ParquetError::External(Box::new(error)))?;
            match page.kind {
                PageKind::Other => self.at += header + page.packed.unsigned_abs(),
                _ => self.next = Some((page, header)),
            }
        }
        Ok(self.next)
    }

    fn pass(&mut self, page: &layout::Page, header: u64) {
        self.at = self.at.saturating_add(header).saturating_add(page.packed.unsigned_abs());
        self.next = None;
    }

    fn read(&self, page: &layout::Page, header: u64) -> Result<Page> {
        let (packed, unpacked) = (page.packed.unsigned_abs(), page.unpacked.unsigned_abs());
        let codec = match page.is_plain {
            true => Compression::UNCOMPRESSED,
            false => self.chunk.compression(),
        };
        let besides = match codec {
            Compression::UNCOMPRESSED => packed.saturating_sub(unpacked),
            Compression::BROTLI(_) => packed + unpacked + BROTLI_WINDOW,
            _ => packed,
        };
        self.budget.moment(self.column, &self.name, unpacked.saturating_add(besides))?;
        let data = self.stored.part(self.at + header, packed);
        if !unpacks_to(codec, data, page)? {
            return Err(implausible());
        }
        let alone = self.chunk.clone().into_builder();
        let alone = alone
            .set_dictionary_page_offset(None)
            .set_data_page_offset(i64::try_from(self.at)?)
            .set_total_compressed_size(i64::try_from(header + packed)?)
            .build()?;
        let mut reader = SerializedPageReader::new(Arc::new(self.stored.clone()), &alone, 0, None)?;
        reader.get_next_page()?.ok_or_else(implausible)
    }

    /// Bytes that each value takes as it is read.
    fn width(&self) -> u64 {
        let column = self.chunk.column_descr();
        match column.physical_type() {
            Type::BYTE_ARRAY if column.converted_type() == ConvertedType::DECIMAL => 48,
            Type::BYTE_ARRAY | Type::INT96 => 16,
            Type::FIXED_LEN_BYTE_ARRAY => {
                u64::from(column.type_length().max(1).unsigned_abs()) + 16
            }
            _ => 8,
        }
    }

    /// Counts a page, and refuses one of which more would be made than it has values.
    fn count(&mut self, page: &Page) -> Result<()> {
        let (bytes, values) = (page.buffer().len() as u64, u64::from(page.num_values()));
        if let Page::DictionaryPage { .. } = page {
            let bytes = bytes.saturating_add(values.saturating_mul(self.width()));
            return Ok(self.budget.dictionary(self.column, &self.name, bytes)?);
        }
        let column = self.chunk.column_descr();
        let (most_defined, most_repeated) = (column.max_def_level(), column.max_rep_level());
        let levels = Levels::of(page, most_repeated, most_defined).ok_or_else(implausible)?;
        let (at_once, longest) = match levels.repeated {
            _ if most_repeated == 0 => {
                self.rows_begun = self.rows_begun.saturating_add(values);
                (values.min(self.at_once), 1)
            }
            Some(levels) => {
                let found =
                    records(levels, width_of(most_repeated), values).ok_or_else(implausible)?;
                self.rows_begun = self.rows_begun.saturating_add(found.begun);
                (values.min(found.longest.saturating_mul(self.at_once)), found.longest)
            }
            // The old way of packing levels: all of it may be one row.
            None => {
                self.rows_begun = u64::MAX;
                (values, values)
            }
        };
        let of_levels =
            [most_defined, most_repeated].into_iter().filter(|most| *most > 0).count() as u64 * 2;
        // They grow while they come; and what is in lists is copied once more.
        let copies = if longest > 1 { 3 } else { 2 };
        let made = at_once.saturating_mul(of_levels + self.width()).saturating_mul(copies);
        let unfolded =
            unfolded(page.encoding(), levels.values, values, at_once).ok_or_else(implausible)?;
        let page = budget::Page {
            bytes,
            is_referred_to: column.physical_type() == Type::BYTE_ARRAY,
            made: made.saturating_add(unfolded),
            last_row: self.rows_begun,
        };
        Ok(self.budget.page(self.column, &self.name, page)?)
    }
}

/// Bytes that so many values become which are written as differences, and what is held to get at them.
fn unfolded(encoding: Encoding, data: &[u8], values: u64, at_once: u64) -> Option<u64> {
    const LENGTH: u64 = 4;
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => Some(deltas(data, values)?.count * LENGTH),
        Encoding::DELTA_BYTE_ARRAY => {
            let shared = deltas(data, values)?;
            let own = deltas(data.get(shared.length..)?, values)?;
            let longest = u64::try_from(shared.greatest).ok()?;
            let unfolded = at_once.saturating_mul(longest).saturating_add(data.len() as u64);
            Some(unfolded.saturating_add((shared.count + own.count) * LENGTH))
        }
        _ => Some(0),
    }
}

/// What a page of rows is made of.
struct Levels<'p> {
    /// Which values go on with a row; `None` if they are packed in the old way.
    repeated: Option<&'p [u8]>,
    values: &'p [u8],
}

impl<'p> Levels<'p> {
    fn of(page: &'p Page, most_repeated: i16, most_defined: i16) -> Option<Self> {
        match page {
            Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
                let mut rest: &[u8] = buf;
                let mut levels = |most: i16, encoding| {
                    if most == 0 {
                        return Some(None);
                    }
                    if encoding != Encoding::RLE {
                        let bits = u64::from(*num_values) * u64::from(width_of(most));
                        rest = rest.get(usize::try_from(bits.div_ceil(8)).ok()?..)?;
                        return Some(None);
                    }
                    let (length, behind) = rest.split_first_chunk()?;
                    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                    rest = behind.get(length..)?;
                    Some(behind.get(..length))
                };
                let repeated = levels(most_repeated, *rep_level_encoding)?;
                levels(most_defined, *def_level_encoding)?;
                Some(Self { repeated, values: rest })
            }
            Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, .. } => {
                let buf: &Bytes = buf;
                let (repeated, rest) = buf.split_at_checked(*rep_levels_byte_len as usize)?;
                let values = rest.get(*def_levels_byte_len as usize..)?;
                Some(Self { repeated: Some(repeated), values })
            }
            Page::DictionaryPage { .. } => None,
        }
    }
}

/// Bits of a level.
fn width_of(most: i16) -> u32 {
    i16::BITS - most.leading_zeros()
}

/// Whether no more comes of a page than it says. Others than these are unpacked into the room that it says.
pub(super) fn unpacks_to(
    codec: Compression,
    mut packed: impl Read,
    page: &layout::Page,
) -> io::Result<bool> {
    let levels = page.levels.unsigned_abs();
    let most = page.unpacked.unsigned_abs().saturating_sub(levels);
    if !matches!(codec, Compression::GZIP(_) | Compression::BROTLI(_) | Compression::LZ4)
        || most == 0
    {
        return Ok(true);
    }
    io::copy(&mut packed.by_ref().take(levels), &mut io::sink())?;
    let unpacked: Box<dyn Read + '_> = match codec {
        Compression::GZIP(_) => {
            Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::new(packed)))
        }
        Compression::BROTLI(_) => Box::new(brotli_decompressor::Decompressor::new(packed, 4096)),
        _ => {
            let mut bytes = Vec::new();
            packed.read_to_end(&mut bytes)?;
            return Ok(lz4_frame_fits(&bytes, most));
        }
    };
    // What is damaged is said by whoever unpacks it.
    Ok(io::copy(&mut unpacked.take(most + 1), &mut io::sink())
        .map_or(true, |length| length <= most))
}

impl Iterator for ColumnReader {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ColumnReader {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some((page, header)) = self.peek()? else { return Ok(None) };
        let read = self.read(&page, header)?;
        self.pass(&page, header);
        self.count(&read)?;
        Ok(Some(read))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        let Some((page, _)) = self.peek()? else { return Ok(None) };
        let number = |number: i64| usize::try_from(number).ok();
        Ok(Some(PageMetadata {
            num_rows: page.rows.and_then(number),
            num_levels: number(page.values),
            is_dict: page.kind == PageKind::Dictionary,
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if let Some((page, header)) = self.peek()? {
            let rows = if self.chunk.column_descr().max_rep_level() == 0 {
                Some(page.values)
            } else {
                page.rows
            };
            self.rows_begun = self.rows_begun.saturating_add(rows.map_or(0, i64::unsigned_abs));
            self.pass(&page, header);
        }
        Ok(())
    }
}
