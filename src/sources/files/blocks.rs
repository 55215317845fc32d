//! Owns the way of rows into and out of raw blocks: the bytes of a chunk to blocks and a shape, and
//! a stored block back to its rows, good or bad. Pure; must not know files.
//!
//! Rows are evaluated once, on their way out: reading a chunk only finds where they end.

use bytes::Bytes;

use super::format::{LineBreaks, Memo, RowReader, ShapeBuilder};
use crate::domain::file::{ChosenRows, RawBlock};
use crate::domain::reject::{Defect, Reject};
use crate::domain::task::Chunk;
use crate::sources::{KeyWatch, MOST_PICKED, ParsedChunk};

/// Rows of a block: few enough for one of them to be unpacked at little cost, enough for what each block
/// costs by itself not to count.
const BLOCK_ROWS: usize = 1024;
/// Bytes after which a block is closed even with fewer rows.
const BLOCK_BYTES: usize = 1 << 20;

/// Counts lines lazily: only rejects and blocks need to know theirs.
struct Lines<'a> {
    text: &'a [u8],
    breaks: LineBreaks,
    counted: usize,
    line: i64,
}

impl Lines<'_> {
    /// The line of the byte at `offset`; offsets must not go backwards.
    fn at(&mut self, offset: usize) -> i64 {
        let passed = &self.text[self.counted..offset];
        self.line += self.breaks.count(passed);
        self.counted = offset;
        self.line
    }
}

/// Cuts the rows of a chunk, whose bytes are `bytes`, into blocks, and copies the rows whose keys
/// `watch` picks out.
///
/// The blocks are slices of `bytes`: no other row is copied.
pub(in super::super) fn parse<R: RowReader>(
    reader: &R,
    bytes: &Bytes,
    chunk: &Chunk,
    file_id: i64,
    mut watch: Option<KeyWatch<'_>>,
) -> ParsedChunk {
    let mut parsed = ParsedChunk::default();
    let mut blocks = Blocks::new(bytes, chunk, reader.line_breaks());
    let mut shape = reader.shape(file_id);
    let mut memo = R::Memo::default();
    let mut buffer = R::Buffer::default();
    let mut at = 0;
    let mut picked_bytes = 0;
    while at < bytes.len() {
        let Some(span) = reader.next_row(&bytes[at..], true, &mut memo) else { break };
        memo.advance(span.next);
        let number = chunk.first_row + parsed.rows;
        blocks.row(number, at, at + span.next);
        if watch.is_some() || shape.is_open() {
            let content = reader.content(&bytes[at..at + span.next]);
            shape.row(reader, content, number, &mut buffer);
            if let Some(watch) = &mut watch
                && reader.read_key(content, &mut buffer).is_some_and(|row| watch(&row))
            {
                parsed.picked.push(number);
                if picked_bytes + span.next <= MOST_PICKED {
                    let row = blocks.copy_of(number, at, at + span.next);
                    picked_bytes += row.held_bytes();
                    parsed.watched.push(row);
                } else {
                    picked_bytes = usize::MAX / 2;
                }
            }
        }
        parsed.rows += 1;
        at += span.next;
    }
    if picked_bytes > MOST_PICKED {
        parsed.watched = Vec::new();
    }
    parsed.shape = shape.finish(reader);
    parsed.blocks = blocks.finish();
    parsed
}

/// Blocks in the making; the last is open until the next begins.
struct Blocks<'a> {
    bytes: &'a Bytes,
    chunk_start: u64,
    lines: Lines<'a>,
    start: usize,
    end: usize,
    blocks: Vec<RawBlock>,
}

impl<'a> Blocks<'a> {
    fn new(bytes: &'a Bytes, chunk: &Chunk, breaks: LineBreaks) -> Self {
        let lines = Lines { text: bytes, breaks, counted: 0, line: chunk.first_line };
        Self { bytes, chunk_start: chunk.start, lines, start: 0, end: 0, blocks: Vec::new() }
    }

    fn row(&mut self, number: i64, start: usize, end: usize) {
        let size = self.end - self.start;
        let full = |open: &RawBlock| open.row_ends.len() >= BLOCK_ROWS || size >= BLOCK_BYTES;
        if self.blocks.last().is_none_or(full) {
            self.close();
            self.start = start;
            self.blocks.push(RawBlock {
                first_row: number,
                first_line: self.lines.at(start),
                start: self.chunk_start + start as u64,
                payload: Bytes::new(),
                row_ends: Vec::with_capacity(BLOCK_ROWS),
            });
        }
        self.end = end;
        if let Some(open) = self.blocks.last_mut() {
            open.row_ends.push((end - self.start) as i32);
        }
    }

    /// The row that was added last, on its own: it does not keep the chunk in memory.
    fn copy_of(&mut self, number: i64, start: usize, end: usize) -> RawBlock {
        RawBlock {
            first_row: number,
            first_line: self.lines.at(start),
            start: self.chunk_start + start as u64,
            payload: Bytes::copy_from_slice(&self.bytes[start..end]),
            row_ends: vec![(end - start) as i32],
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.blocks.last_mut() {
            open.payload = self.bytes.slice(self.start..self.end);
        }
    }

    fn finish(mut self) -> Vec<RawBlock> {
        self.close();
        self.blocks
    }
}

/// A row of a block, as it is found there.
pub(in super::super) struct BlockRow<'a, 'b> {
    /// Its number within the file, from 1.
    pub number: i64,
    content: &'a [u8],
    start: usize,
    block: &'a RawBlock,
    lines: &'b mut Lines<'a>,
}

impl<'a> BlockRow<'a, '_> {
    /// Its bytes, without its line end.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Sets the row aside.
    pub fn reject(&mut self, defects: Vec<Defect>) -> Reject {
        let start = (self.block.start + self.start as u64) as i64;
        let content = self.content;
        Reject {
            raw_row: self.number,
            line: Some(self.lines.at(self.start)),
            byte_range: Some((start, start + content.len() as i64)),
            key: None,
            raw: content[..content.len().min(Reject::MAX_RAW)].to_vec(),
            defects,
        }
    }
}

/// Gives `visit` the chosen rows of a block in order, read or with what is wrong with them, and
/// stops at its first error.
pub(in super::super) fn rows<R: RowReader, E>(
    reader: &R,
    block: &RawBlock,
    chosen: &ChosenRows,
    mut visit: impl FnMut(BlockRow<'_, '_>, Result<R::Row<'_>, Vec<Defect>>) -> Result<(), E>,
) -> Result<(), E> {
    let breaks = reader.line_breaks();
    let mut lines = Lines { text: &block.payload, breaks, counted: 0, line: block.first_line };
    let mut buffer = R::Buffer::default();
    let end_of = |index: usize| (block.row_ends[index] as usize).min(block.payload.len());
    for index in chosen.within(block) {
        let end = end_of(index);
        let start = index.checked_sub(1).map_or(0, end_of).min(end);
        let content = reader.content(&block.payload[start..end]);
        let number = block.first_row + index as i64;
        let row = BlockRow { number, content, start, block, lines: &mut lines };
        visit(row, reader.read(content, &mut buffer))?;
    }
    Ok(())
}
