//! Owns headers that come again between rows, as in files that were put together: as a whole, however many lines they
//! take. One line of several may be a row of data.

use super::lines::Found;
use super::{Grammar, MARK};

/// The ways in which a header may come again: the lines of each follow each other, but for blank ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sources::formats::csv) struct Headers(Vec<Lines>);

/// Lines without their quotes; none is empty, and there is one at least.
type Lines = Box<[Box<[u8]>]>;

impl Headers {
    /// Of the lines of each way without quotes, in the order in which they are looked for.
    pub fn new(ways: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Self {
        let lines = |way: Vec<Vec<u8>>| way.into_iter().map(Vec::into_boxed_slice).collect();
        let is_any =
            |way: &Vec<Vec<u8>>| !way.is_empty() && way.iter().all(|line| !line.is_empty());
        Self(ways.into_iter().filter(is_any).map(lines).collect())
    }
}

impl Grammar {
    /// Length of the header at the start of `text`, the end of its last line not counted.
    pub(super) fn header_at(&self, text: &[u8], complete: bool) -> Found {
        let Headers(ways) = &self.blank.headers;
        if ways.is_empty() || !self.may_begin_header(text.first().copied()) {
            return Found::Other;
        }
        let mark = if text.starts_with(MARK) { MARK.len() } else { 0 };
        if !complete && mark == 0 && MARK.starts_with(text) {
            return Found::Unknown;
        }
        let mut found = ways.iter().map(|way| self.lines_at(way, &text[mark..], complete));
        match found.find(|found| *found != Found::Other) {
            Some(Found::Length(length)) => Found::Length(mark + length),
            Some(found) => found,
            None => Found::Other,
        }
    }

    fn may_begin_header(&self, first: Option<u8>) -> bool {
        let Headers(ways) = &self.blank.headers;
        first == self.quote
            || first == MARK.first().copied()
            || ways.iter().any(|way| way[0].first().copied() == first)
    }

    /// Length of these lines at the start of `text`.
    fn lines_at(&self, lines: &Lines, text: &[u8], complete: bool) -> Found {
        let mut at = 0;
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                match self.line_ends_at(&text[at..], complete) {
                    Found::Length(length) => at += length,
                    found => return found,
                }
            }
            match self.repeats(line.iter(), text[at..].iter()) {
                Ok(length) => at += length,
                Err(decided) if !decided && !complete => return Found::Unknown,
                Err(_) => return Found::Other,
            }
        }
        self.ended_at(text, at, complete)
    }

    /// Length of the line ends at the start of `text`, one at least.
    pub(super) fn line_ends_at(&self, text: &[u8], complete: bool) -> Found {
        let mut at = 0;
        loop {
            match self.line_end_at(text, at, complete) {
                Found::Length(length) => at += length,
                Found::Other if at > 0 => return Found::Length(at),
                found => return found,
            }
        }
    }

    /// How many bytes repeat a line, quotes not counted; otherwise whether that was decided before the bytes ended.
    fn repeats<'b>(
        &self,
        line: impl Iterator<Item = &'b u8>,
        bytes: impl Iterator<Item = &'b u8>,
    ) -> Result<usize, bool> {
        let mut line = line.peekable();
        let mut length = 0;
        for byte in bytes {
            if Some(*byte) == self.quote {
                length += 1;
                continue;
            }
            match line.next() {
                None => return Ok(length),
                Some(expected) if expected == byte => length += 1,
                Some(_) => return Err(true),
            }
        }
        if line.peek().is_none() { Ok(length) } else { Err(false) }
    }

    /// Whether the last of several lines is the last of a header, or looks so.
    pub(super) fn ends_like_header(&self, rows: &[u8]) -> bool {
        let Headers(ways) = &self.blank.headers;
        let Some(last) = rows.last() else { return false };
        ways.iter().filter_map(|way| way.last()).any(|line| {
            if line.last() != Some(last) && self.quote != Some(*last) {
                return false;
            }
            let Ok(length) = self.repeats(line.iter().rev(), rows.iter().rev()) else {
                return false;
            };
            let rest = &rows[..rows.len() - length];
            let rest = rest.strip_suffix(MARK).unwrap_or(rest);
            rest.last().is_some_and(|end| self.breaks.is_end(*end))
        })
    }

    /// How often what lies behind a row repeats the header.
    pub fn headers_within(&self, mut gap: &[u8]) -> usize {
        let Headers(ways) = &self.blank.headers;
        if ways.is_empty() && self.blank.names.is_none() {
            return 0;
        }
        let mut headers = 0;
        while !gap.is_empty() {
            let found = [self.header_at(gap, true), self.names_at(gap, true)];
            let length = |found| match found {
                Found::Length(length) => Some(length),
                Found::Other | Found::Unknown => None,
            };
            let header = found.into_iter().find_map(length).unwrap_or(0);
            headers += usize::from(header > 0);
            let line = gap[header..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            gap = line.map_or(&[], |line| &gap[header + line + 1..]);
        }
        headers
    }

    /// Whether a row is the same as a line of a header that takes several.
    pub fn is_line_of_header(&self, row: &[u8]) -> bool {
        let Headers(ways) = &self.blank.headers;
        let mut lines = ways.iter().filter(|way| way.len() > 1).flatten();
        lines.any(|line| self.is_line(line, row))
    }

    /// Whether a row is the same as a line that may be a header.
    pub fn is_doubtful_line(&self, row: &[u8]) -> bool {
        let row = || row.strip_prefix(MARK).unwrap_or(row);
        self.blank.doubtful.iter().any(|line| self.is_line(line, row()))
    }

    fn is_line(&self, line: &[u8], row: &[u8]) -> bool {
        let first = row.first().copied();
        (line.first().copied() == first || first == self.quote)
            && self.repeats(line.iter(), row.iter()) == Ok(row.len())
    }
}
