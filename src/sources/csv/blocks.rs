//! Owns the way of rows into and out of raw blocks: the bytes of a chunk to blocks, rejects and a
//! shape, and a stored block back to its good rows. Pure; must not know files.

use bytes::Bytes;

use super::grammar::Quiet;
use super::row::{CsvRow, RowBuffer, RowReader};
use crate::domain::file::RawBlock;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, Reject};
use crate::domain::shape::{Place, Shape};
use crate::domain::task::Chunk;
use crate::sources::ParsedChunk;

/// Rows of a block.
const BLOCK_ROWS: usize = 256;
/// Bytes after which a block is closed even with fewer rows.
const BLOCK_BYTES: usize = 1 << 20;
/// Rows of a chunk whose cells are judged for the shape: enough for a majority, few enough not to
/// slow the loading path down.
const SHAPE_ROWS: u64 = 1_000;

/// Counts lines lazily: only rejects need to know theirs.
struct Lines<'a> {
    text: &'a [u8],
    newline: u8,
    counted: usize,
    line: i64,
}

impl Lines<'_> {
    /// The line of the byte at `offset`; offsets must not go backwards.
    fn at(&mut self, offset: usize) -> i64 {
        let passed = &self.text[self.counted..offset];
        self.line += memchr::memchr_iter(self.newline, passed).count() as i64;
        self.counted = offset;
        self.line
    }
}

/// Reads the rows of a chunk, whose bytes are `bytes`.
///
/// The blocks are slices of `bytes`: no row is copied.
pub(super) fn parse(reader: &RowReader, bytes: &Bytes, chunk: &Chunk, file_id: i64) -> ParsedChunk {
    let raw_ref = RawRef::File(file_id).to_string();
    let mut parsed = ParsedChunk {
        shape: Shape { lexical: true, ..Shape::default() },
        ..ParsedChunk::default()
    };
    let newline = reader.grammar.newline();
    let mut lines = Lines { text: bytes, newline, counted: 0, line: chunk.first_line };
    let mut quiet = Quiet::default();
    let mut buffer = RowBuffer::default();
    let mut at = 0;
    let mut block_start = 0;
    while at < bytes.len() {
        let Some(extent) = reader.grammar.extent(&bytes[at..], true, &mut quiet) else { break };
        quiet.advance(extent.next);
        let row = &bytes[at..at + extent.next];
        let number = chunk.first_row + parsed.rows;
        let content = reader.grammar.content(row);
        match reader.read(content, &mut buffer) {
            Ok(row) => observe(&mut parsed.shape, &row, &raw_ref, number),
            Err(defects) => {
                let start = chunk.start + at as u64;
                parsed.rejects.push(reject(number, lines.at(at), start, content, defects));
            }
        }
        if starts_block(&parsed.blocks) {
            let first_line = lines.at(at);
            block_start = at;
            parsed.blocks.push(RawBlock {
                first_row: number,
                first_line,
                start: chunk.start + at as u64,
                payload: Bytes::new(),
                row_ends: Vec::with_capacity(BLOCK_ROWS),
            });
        }
        if let Some(block) = parsed.blocks.last_mut() {
            block.payload = bytes.slice(block_start..at + extent.next);
            block.row_ends.push(block.payload.len() as i32);
        }
        parsed.rows += 1;
        at += extent.next;
    }
    parsed
}

fn starts_block(blocks: &[RawBlock]) -> bool {
    blocks.last().is_none_or(|block| {
        block.row_ends.len() >= BLOCK_ROWS || block.payload.len() >= BLOCK_BYTES
    })
}

fn observe(shape: &mut Shape, row: &CsvRow<'_>, raw_ref: &str, number: i64) {
    if shape.rows >= SHAPE_ROWS {
        return;
    }
    shape.rows += 1;
    row.visit(|name, kind| {
        shape.observe(name, kind, || Place { raw_ref: raw_ref.to_owned(), row: number });
    });
}

/// Gives `visit` the good rows of a block in order and stops at its first error. Its last argument
/// makes a reject of the row.
pub(super) fn good_rows<E>(
    reader: &RowReader,
    block: &RawBlock,
    mut visit: impl FnMut(&CsvRow<'_>, i64, &mut dyn FnMut(Vec<Defect>) -> Reject) -> Result<(), E>,
) -> Result<(), E> {
    let newline = reader.grammar.newline();
    let mut lines = Lines { text: &block.payload, newline, counted: 0, line: block.first_line };
    let mut buffer = RowBuffer::default();
    let mut start = 0;
    for (index, end) in block.row_ends.iter().enumerate() {
        let end = (*end as usize).min(block.payload.len());
        let number = block.first_row + index as i64;
        let content = reader.grammar.content(&block.payload[start.min(end)..end]);
        if let Ok(row) = reader.read(content, &mut buffer) {
            let offset = block.start + start as u64;
            let mut to_reject = |defects| reject(number, lines.at(start), offset, content, defects);
            visit(&row, number, &mut to_reject)?;
        }
        start = end;
    }
    Ok(())
}

fn reject(number: i64, line: i64, start: u64, content: &[u8], defects: Vec<Defect>) -> Reject {
    let start = start as i64;
    Reject {
        raw_row: number,
        line: Some(line),
        byte_range: Some((start, start + content.len() as i64)),
        raw: content[..content.len().min(Reject::MAX_RAW)].to_vec(),
        defects,
    }
}
