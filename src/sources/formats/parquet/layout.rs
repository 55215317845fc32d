//! Owns looking through a file before anything is made of it: that it is one and all of it is there, and that what it says
//! of its own size can be true. Whoever reads it takes memory by that, and takes the number of its rows from it.

use std::io::{self, Read};

use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::thrift::{Held, Stop, Walk};
use crate::sources::files::first_bytes;
use crate::sources::files::spool::Spool;

/// Bytes that reading a file takes, at most, besides the row that is written.
pub(super) const LIMIT: u64 = 120 << 20;
/// What a file ends in whose footer is encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The length of a footer and the magic bytes behind it.
const TAIL: u64 = 8;
/// Groups within groups of columns.
const MOST_DEEP: usize = 64;
/// Bytes of a page that are looked at for its header.
const HEADER: u64 = 256;
/// The longest header of a page, which may have the least and the greatest value.
const LONGEST_HEADER: u64 = 16 << 20;
/// Bytes that the reader makes of what a footer says of a piece of a column, of a column and of a group of rows, at most.
const OF_DESCRIPTION: u64 = 1 << 10;
/// The widest value of a fixed number of bytes.
const WIDEST: i32 = 16 << 20;

/// A file that is not as it should be.
pub(super) fn damaged(what: &str) -> io::Error {
    let text = format!("the Parquet file is damaged, or not all of it is there: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A file that is as it should be, and cannot be read all the same.
pub(super) fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Refuses what is no Parquet, is encrypted, has columns that cannot be, or more of them than can be held. Answers bytes
/// that are held of what the footer says.
pub(super) fn refuse_others(spool: &Spool) -> io::Result<u64> {
    const IS_ENCRYPTED: &str = "is encrypted, which cannot be read: let it be made without";
    let beginning = part(spool, 0, first_bytes::ENOUGH as u64)?;
    if beginning.starts_with(ENCRYPTED) {
        return Err(refused(IS_ENCRYPTED));
    }
    if !beginning.starts_with(first_bytes::PARQUET) {
        let is = match first_bytes::without_rows(&beginning) {
            _ if beginning.is_empty() => "is empty, and no Parquet file is".to_owned(),
            Some(is) => format!("is no Parquet file: it {is}"),
            None => "is no Parquet file: if it is a text, write kind = \"csv\" or another that reads texts".to_owned(),
        };
        return Err(refused(&is));
    }
    let end = spool.len();
    let tail = part(spool, end.saturating_sub(TAIL), TAIL)?;
    let [a, b, c, d, magic @ ..] = &tail[..] else {
        return Err(damaged("it has only its first bytes"));
    };
    if end < TAIL + first_bytes::PARQUET.len() as u64 {
        return Err(damaged("it has only its first bytes"));
    }
    match magic {
        first_bytes::PARQUET => {}
        ENCRYPTED => return Err(refused(IS_ENCRYPTED)),
        _ => return Err(damaged("it does not end as one")),
    }
    let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    let start = end.checked_sub(TAIL + length).filter(|start| *start >= 4);
    let start = start.ok_or_else(|| damaged("its footer is longer than it"))?;
    let too_large = |what: String| {
        let limit = LIMIT / 2;
        refused(&format!(
            "cannot be read in {LIMIT} bytes of memory: {what}, and {limit} is the limit for it. Let the file be \
             written with fewer and larger groups of rows, or with fewer columns"
        ))
    };
    if length > LIMIT / 4 {
        return Err(too_large(format!(
            "its footer has {length} bytes, of which twice as many are made"
        )));
    }
    match footer(&part(spool, start, length)?) {
        Ok(Footer { is_encrypted: true, .. }) => Err(refused(IS_ENCRYPTED)),
        Ok(Footer { described, .. }) => match length * 2 + described * OF_DESCRIPTION {
            held if held <= LIMIT / 2 => Ok(held),
            held => Err(too_large(format!(
                "what its footer says of {described} columns and pieces of them takes {held} bytes"
            ))),
        },
        Err(_) => Err(damaged("its footer is none")),
    }
}

/// What a footer says.
#[derive(Debug, Default)]
struct Footer {
    is_encrypted: bool,
    /// Columns, groups of rows, and pieces of columns in them.
    described: u64,
}

/// Looks through a footer.
///
/// # Errors
/// When its columns are not what the number of them says, or lie too deep.
fn footer(bytes: &[u8]) -> Result<Footer, Stop> {
    let mut footer = Footer::default();
    Walk::of(bytes).structure(|id, held, walk| match (id, held) {
        (2, Held::Structs(elements)) => {
            footer.described = footer.described.saturating_add(elements);
            schema(elements, walk).map(|()| true)
        }
        (4, Held::Structs(groups)) => {
            for _ in 0..groups {
                footer.described = footer.described.saturating_add(1);
                walk.structure(|id, held, _| {
                    if let (1, Held::Structs(columns)) = (id, held) {
                        footer.described = footer.described.saturating_add(columns);
                    }
                    Ok(false)
                })?;
            }
            Ok(true)
        }
        (8, _) => {
            footer.is_encrypted = true;
            Ok(false)
        }
        _ => Ok(false),
    })?;
    Ok(footer)
}

/// Walks through the columns, which are a tree written down from its root: each says how many children follow.
fn schema(elements: u64, walk: &mut Walk<'_>) -> Result<(), Stop> {
    let mut open: Vec<u64> = Vec::new();
    for left in (0..elements).rev() {
        let mut children = 0;
        walk.structure(|id, held, _| {
            if let (5, Held::Number(number)) = (id, held) {
                children = number;
            }
            Ok(false)
        })?;
        if let Some(above) = open.last_mut() {
            *above -= 1;
        }
        let children = u64::try_from(children).map_err(|_| Stop::Damaged)?;
        if children > left {
            return Err(Stop::Damaged);
        }
        open.push(children);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > MOST_DEEP {
            return Err(Stop::Damaged);
        }
        if open.is_empty() && left > 0 {
            return Err(Stop::Damaged);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(Stop::Damaged) }
}

/// Refuses a file whose rows are not as many as it says, as far as that can be seen without reading them.
pub(super) fn refuse_implausible(spool: &Spool, metadata: &ParquetMetaData) -> io::Result<()> {
    let mut rows = 0_i64;
    for group in metadata.row_groups() {
        let of_group = group.num_rows();
        rows = rows.saturating_add(of_group.max(0));
        for column in group.columns() {
            if column.file_path().is_some() {
                return Err(refused("has columns in other files, which are not looked for"));
            }
            if column.compression() == Compression::LZO {
                return Err(refused("is packed with LZO, which cannot be read"));
            }
            let width = column.column_descr().type_length();
            if width > WIDEST {
                let name = column.column_path().string();
                return Err(refused(&format!(
                    "cannot be read in {LIMIT} bytes of memory: each value of the column {name:?} takes {width} bytes, and \
                     {WIDEST} is the limit for it. Let the column be written as bytes of any length"
                )));
            }
            let values = column.num_values();
            let is_flat = column.column_descr().max_rep_level() == 0;
            if of_group < 0 || values < 0 || is_flat && values != of_group || values < of_group {
                return Err(damaged("its columns do not have a value for each row"));
            }
            refuse_implausible_pages(spool, column)?;
        }
    }
    match rows == metadata.file_metadata().num_rows() {
        true => Ok(()),
        false => Err(damaged("its parts do not have as many rows as it says")),
    }
}

/// What a page is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Values of rows.
    #[default]
    Rows,
    /// Values of rows, with their levels apart.
    RowsApart,
    /// Values that pages of rows refer to.
    Dictionary,
    /// Anything else, which is passed over.
    Other,
}

/// What a page says of itself.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Page {
    /// What it is.
    pub kind: PageKind,
    /// Bytes of it in the file.
    pub packed: i64,
    /// Bytes of it as they are read.
    pub unpacked: i64,
    /// Values of a page of rows, with those that are null.
    pub values: i64,
    /// Rows, where it says so.
    pub rows: Option<i64>,
    /// Values that pages of rows refer to.
    pub entries: i64,
    /// Bytes of levels in front of what is packed.
    pub levels: i64,
    /// Whether nothing is packed, whatever the column says.
    pub is_plain: bool,
}

fn refuse_implausible_pages(spool: &Spool, column: &ColumnChunkMetaData) -> io::Result<()> {
    let wrong = || damaged("a page of it does not have what its header says");
    let first = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let (first, length) = (u64::try_from(first), u64::try_from(column.compressed_size()));
    let (Ok(mut at), Ok(length)) = (first, length) else { return Err(wrong()) };
    let end = at.checked_add(length).filter(|end| *end <= spool.len()).ok_or_else(wrong)?;
    let width = match column.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => i64::from(column.column_descr().type_length().max(1)),
    };
    let mut values = 0_i64;
    while at < end {
        let (page, header) = page(spool, at, end)?;
        let fits = page.unpacked >= 0
            && page.packed >= 0
            && page.levels >= 0
            && page.values >= 0
            && page.entries >= 0
            && page.entries.saturating_mul(width) <= page.unpacked;
        let next = at.saturating_add(header).saturating_add(page.packed.max(0).unsigned_abs());
        if !fits || next > end {
            return Err(wrong());
        }
        values = values.saturating_add(page.values);
        at = next;
    }
    if values == column.num_values() { Ok(()) } else { Err(wrong()) }
}

/// What the header of a page says, and how long it is.
pub(super) fn page(spool: &Spool, at: u64, end: u64) -> io::Result<(Page, u64)> {
    let mut most = HEADER;
    loop {
        let bytes = part(spool, at, most.min(end - at))?;
        let mut walk = Walk::of(&bytes);
        match header(&mut walk) {
            Ok(page) => return Ok((page, (bytes.len() - walk.rest().len()) as u64)),
            Err(Stop::Cut) if bytes.len() as u64 == most && most < LONGEST_HEADER => most *= 16,
            Err(_) => return Err(damaged("the header of a page is none")),
        }
    }
}

/// Reads the header of a page. The reader takes its fields for what they should be, whatever type is written there, and would
/// read what is behind them for fields.
fn header(walk: &mut Walk<'_>) -> Result<Page, Stop> {
    let mut page = Page::default();
    walk.structure(|id, held, walk| {
        match (id, held) {
            (1, Held::Number(kind)) => {
                page.kind = match kind {
                    0 => PageKind::Rows,
                    2 => PageKind::Dictionary,
                    3 => PageKind::RowsApart,
                    _ => PageKind::Other,
                };
            }
            (2, Held::Number(bytes)) => page.unpacked = bytes,
            (3, Held::Number(bytes)) => page.packed = bytes,
            (4, Held::Number(_)) | (6, Held::Struct) => {}
            (5 | 7 | 8, Held::Struct) => {
                of_kind(id, walk, &mut page)?;
                return Ok(true);
            }
            // A field that is other than it should be.
            (1..=8, _) => return Err(Stop::Damaged),
            _ => {}
        }
        Ok(false)
    })?;
    Ok(page)
}

/// Reads what the header says of a page of rows, of a dictionary, or of a page of rows with levels apart.
fn of_kind(kind: i64, walk: &mut Walk<'_>, page: &mut Page) -> Result<(), Stop> {
    walk.structure(|id, held, _| {
        match (kind, id, held) {
            (7, 1, Held::Number(entries)) => page.entries = entries,
            (5 | 8, 1, Held::Number(values)) => page.values = values,
            (8, 3, Held::Number(rows)) => page.rows = Some(rows),
            (8, 5 | 6, Held::Number(bytes)) => page.levels = page.levels.saturating_add(bytes),
            (8, 7, Held::Truth(is_packed)) => page.is_plain = !is_packed,
            (5, 2..=4, Held::Number(_)) | (7, 2, Held::Number(_)) | (8, 2 | 4, Held::Number(_)) => {
            }
            (5, 5, Held::Struct) | (8, 8, Held::Struct) | (7, 3, Held::Truth(_)) => {}
            (5, 1..=5, _) | (7, 1..=3, _) | (8, 1..=8, _) => return Err(Stop::Damaged),
            _ => {}
        }
        Ok(false)
    })
}

fn part(spool: &Spool, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    spool.part(start, length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
