//! Owns rejects in bulk: a chunk of 4 MiB may be two million rows that are bad in the same way, and
//! its cost must follow its bytes, not two million messages. Rows are written one behind
//! the other, as differences, and what defects share is kept once.

use std::collections::HashMap;
use std::sync::Arc;

use super::raw::RawRef;
use super::reject::{Defect, MAX_DEFECTS, ReasonCode, Reject};

/// Bytes of a piece of memory: what is there is not moved, unless a row is large.
const PIECE: usize = 1 << 20;
/// Room for most rows: with less another piece begins.
const ROOM: usize = 4 << 10;
/// The most texts that are looked for; then the others are forgotten, and perhaps kept once more.
const KNOWN: usize = 4_096;

/// Rows set aside, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Rejects {
    length: usize,
    pieces: Vec<Vec<u8>>,
    raws: Vec<RawRef>,
    texts: Vec<Arc<str>>,
    /// Places in `texts`.
    known: HashMap<Arc<str>, usize>,
    last: Place,
}

/// Where the row before was.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    row: i64,
    line: i64,
    end: i64,
}

impl Rejects {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a row. Of more than [`MAX_DEFECTS`] defects, those are left out that are not told.
    pub fn push(&mut self, raw: RawRef, reject: Reject) {
        let mut out = match self.pieces.pop_if(|piece| piece.len() + ROOM < PIECE) {
            Some(piece) => piece,
            None => Vec::with_capacity(PIECE),
        };
        if self.raws.last() != Some(&raw) {
            self.raws.push(raw);
        }
        put(&mut out, self.raws.len() as u64 - 1);
        put_signed(&mut out, reject.raw_row.wrapping_sub(self.last.row));
        self.last.row = reject.raw_row;
        let (line, range) = (reject.line.is_some(), reject.byte_range.is_some());
        out.push(u8::from(line) | u8::from(range) << 1 | u8::from(reject.key.is_some()) << 2);
        if let Some(line) = reject.line {
            put_signed(&mut out, line.wrapping_sub(self.last.line));
            self.last.line = line;
        }
        if let Some((start, end)) = reject.byte_range {
            put_signed(&mut out, start.wrapping_sub(self.last.end));
            put_signed(&mut out, end.wrapping_sub(start));
            self.last.end = end;
        }
        if let Some(key) = &reject.key {
            put_bytes(&mut out, key.as_bytes());
        }
        put_bytes(&mut out, &reject.raw);
        if reject.defects.len() > MAX_DEFECTS {
            let told: Vec<_> = reject.kinds().collect();
            put(&mut out, told.len() as u64);
            told.into_iter().for_each(|defect| self.put_defect(&mut out, defect));
        } else {
            put(&mut out, reject.defects.len() as u64);
            reject.defects.iter().for_each(|defect| self.put_defect(&mut out, defect));
        }
        self.pieces.push(out);
        self.length += 1;
    }

    /// A message is kept as the text around the value that was found: that is the same in many.
    fn put_defect(&mut self, out: &mut Vec<u8>, defect: &Defect) {
        match &defect.field {
            Some(field) => put(out, self.text(field) as u64 + 1),
            None => put(out, 0),
        }
        out.push(defect.reason as u8);
        let message = &defect.message;
        let Some(found) = &defect.found else {
            out.push(WITHOUT_VALUE);
            return put(out, self.text(message) as u64);
        };
        match message.split_once(found.as_str()) {
            Some((before, behind)) => {
                out.push(VALUE_WITHIN);
                put(out, self.text(before) as u64);
                put(out, self.text(behind) as u64);
            }
            None => {
                out.push(VALUE_BESIDE);
                put(out, self.text(message) as u64);
            }
        }
        put_bytes(out, found.as_bytes());
    }

    fn text(&mut self, text: &str) -> usize {
        if let Some(place) = self.known.get(text) {
            return *place;
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        let place = self.texts.len();
        let text: Arc<str> = text.into();
        self.known.insert(text.clone(), place);
        self.texts.push(text);
        place
    }

    /// The rows as they were added.
    #[expect(
        clippy::expect_used,
        reason = "nothing but `push` writes what is read here, and a row must not be lost in silence"
    )]
    pub fn iter(&self) -> impl Iterator<Item = (RawRef, Reject)> + Send {
        let rows = Rows { of: self, pieces: self.pieces.iter(), left: &[], last: Place::default() };
        rows.map(|row| row.expect("a row that was set aside is as it was added"))
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len() + 32).sum();
        self.pieces.iter().map(Vec::capacity).sum::<usize>() + texts
    }
}

const WITHOUT_VALUE: u8 = 0;
const VALUE_WITHIN: u8 = 1;
const VALUE_BESIDE: u8 = 2;

struct Rows<'a> {
    of: &'a Rejects,
    pieces: std::slice::Iter<'a, Vec<u8>>,
    left: &'a [u8],
    last: Place,
}

impl Iterator for Rows<'_> {
    type Item = Option<(RawRef, Reject)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left.is_empty() {
            self.left = self.pieces.next()?;
        }
        Some(self.row())
    }
}

impl<'a> Rows<'a> {
    fn row(&mut self) -> Option<(RawRef, Reject)> {
        let raw = *self.of.raws.get(self.number()? as usize)?;
        self.last.row = self.last.row.wrapping_add(self.signed()?);
        let flags = self.byte()?;
        let mut line = None;
        if flags & 1 != 0 {
            self.last.line = self.last.line.wrapping_add(self.signed()?);
            line = Some(self.last.line);
        }
        let mut byte_range = None;
        if flags & 2 != 0 {
            let start = self.last.end.wrapping_add(self.signed()?);
            self.last.end = start.wrapping_add(self.signed()?);
            byte_range = Some((start, self.last.end));
        }
        let key = match flags & 4 {
            0 => None,
            _ => Some(String::from_utf8(self.bytes()?.to_vec()).ok()?),
        };
        let bytes = self.bytes()?.to_vec();
        let count = self.number()? as usize;
        let defects = (0..count).map(|_| self.defect()).collect::<Option<_>>()?;
        Some((raw, Reject { raw_row: self.last.row, line, byte_range, key, raw: bytes, defects }))
    }

    fn defect(&mut self) -> Option<Defect> {
        let field = match self.number()?.checked_sub(1) {
            Some(place) => Some(self.of.texts.get(place as usize)?.to_string()),
            None => None,
        };
        let reason = *ReasonCode::ALL.get(usize::from(self.byte()?))?;
        let kind = self.byte()?;
        let before = self.text()?;
        if kind == WITHOUT_VALUE {
            return Some(Defect { field, reason, message: before.to_owned(), found: None });
        }
        let behind = if kind == VALUE_WITHIN { Some(self.text()?) } else { None };
        let found = String::from_utf8(self.bytes()?.to_vec()).ok()?;
        let message = match behind {
            Some(behind) => format!("{before}{found}{behind}"),
            None => before.to_owned(),
        };
        Some(Defect { field, reason, message, found: Some(found) })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.left.split_at_checked(length)?;
        self.left = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let place = self.number()? as usize;
        self.of.texts.get(place).map(|text| &**text)
    }
}

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign are short.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, (number << 1 ^ number >> 63) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(rows: &[(RawRef, Reject)]) -> Rejects {
        let mut rejects = Rejects::default();
        rows.iter().for_each(|(raw, reject)| rejects.push(*raw, reject.clone()));
        rejects
    }

    #[test]
    fn a_row_that_is_bad_like_the_one_before_takes_a_few_bytes() {
        let mut rejects = Rejects::default();
        const ROWS: i64 = 200_000;
        for row in 1..=ROWS {
            let found = format!("\"{row}x\"");
            let message = format!("price: {found} is not a decimal number (expected digits)");
            let price = Defect {
                field: Some("price".to_owned()),
                reason: ReasonCode::InvalidDecimal,
                message,
                found: Some(found),
            };
            let whole = "the row has 1 fields, the header 2: add the missing fields";
            let whole = Defect::without_value(None, ReasonCode::WrongFieldCount, whole);
            let defects = if row % 2 == 0 { vec![price] } else { vec![whole] };
            let byte_range = Some((row * 8, row * 8 + 7));
            let raw = b"123456x".to_vec();
            let (line, key) = (Some(row + 1), None);
            let reject = Reject { raw_row: row, line, byte_range, key, raw, defects };
            rejects.push(RawRef::File(1), reject);
        }
        assert!(rejects.bytes() < 32 * ROWS as usize, "{}", rejects.bytes());
        let (_, last) = rejects.iter().last().unwrap();
        assert_eq!((last.raw_row, last.line, rejects.len()), (ROWS, Some(ROWS + 1), ROWS as usize));
    }

    #[test]
    fn of_a_row_that_is_bad_all_over_only_what_is_told_is_kept() {
        let defect = |at: usize| {
            let field = Some(format!("f{}", at / 2));
            Defect::without_value(field, ReasonCode::NewField, "new")
        };
        let defects: Vec<_> = (0..500).map(defect).collect();
        let (line, byte_range, key, raw) = (None, None, None, Vec::new());
        let reject = Reject { raw_row: 1, line, byte_range, key, raw, defects };
        let told: Vec<_> = reject.kinds().cloned().collect();
        let rejects = kept(&[(RawRef::File(1), reject)]);
        assert_eq!(rejects.iter().next().unwrap().1.defects, told);
    }

    fn any_defect() -> impl Strategy<Value = Defect> {
        let field = prop::option::of("[a-c]{0,2}");
        let value = prop::option::of("[a-c\"é]{0,3}");
        (field, 0..ReasonCode::ALL.len(), value, "[a-c é]{0,6}").prop_map(
            |(field, reason, found, text)| {
                let message = format!("{text}{}{text}", found.as_deref().unwrap_or_default());
                Defect { field, reason: ReasonCode::ALL[reason], message, found }
            },
        )
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were_added(
            rows in prop::collection::vec(
                (
                    0..3i64,
                    any::<i64>(),
                    prop::option::of(any::<i64>()),
                    prop::option::of((any::<i64>(), any::<i64>())),
                    prop::collection::vec(any::<u8>(), 0..200),
                    prop::collection::vec(any_defect(), 0..5),
                    any::<bool>(),
                    prop::option::of("[a-cé|]{0,5}"),
                ),
                0..40,
            ),
        ) {
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(file, raw_row, line, byte_range, mut raw, defects, long, key)| {
                    if long {
                        raw = raw.repeat(500);
                    }
                    (RawRef::File(file), Reject { raw_row, line, byte_range, key, raw, defects })
                })
                .collect();
            let rejects = kept(&rows);
            prop_assert_eq!(rejects.len(), rows.len());
            prop_assert_eq!(rejects.iter().collect::<Vec<_>>(), rows);
        }
    }
}
