//! Owns PostgreSQL's binary COPY format: rows into bytes, bytes into a COPY.
//! Source: PostgreSQL documentation, "COPY", section "Binary Format", and the types' send functions.

use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;

/// Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Bytes handed to the connection at a time; it keeps its own copy of each piece.
const PIECE: usize = 256 << 10;
/// Less than this is written as arrays instead. The end of a COPY is a packet of its own, and without
/// `TCP_NODELAY`, which sqlx does not set, it may wait 44 ms until the server's system has acknowledged the
/// rows: over TCP that befalls most COPYs up to 128 KiB, a few of up to half a MiB, hardly any beyond.
pub(super) const SMALL: usize = 512 << 10;

/// Rows in binary COPY format. Every row must get as many values as [`CopyBuffer::row`] announced.
#[derive(Debug)]
pub struct CopyBuffer<'v> {
    bytes: Vec<u8>,
    /// Values that are too large to be copied, and the number of bytes in front of each.
    large: Vec<(usize, &'v [u8])>,
}

impl Default for CopyBuffer<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'v> CopyBuffer<'v> {
    /// A buffer with the format's head and no row yet.
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(PIECE + (PIECE >> 2));
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        bytes.extend_from_slice(&[0; 8]); // no flags, no header extension
        Self { bytes, large: Vec::new() }
    }

    /// Head and rows so far, without the format's end and without what is larger than `PIECE`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts a row of `columns` values.
    pub fn row(&mut self, columns: i16) {
        self.bytes.extend_from_slice(&columns.to_be_bytes());
    }

    /// `bytea`, or `text` that is valid UTF-8 without U+0000; `json` as well.
    pub fn bytes(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// The same of a value that lives as long as the buffer: a large one is not copied.
    pub fn kept_bytes(&mut self, value: &'v [u8]) {
        if value.len() < PIECE {
            return self.bytes(value);
        }
        self.bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.large.push((self.bytes.len(), value));
    }

    /// SQL null.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&(-1i32).to_be_bytes());
    }

    /// `text`, or null.
    pub fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.null(),
        }
    }

    /// `bigint`, or null.
    pub fn bigint(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.bytes(&value.to_be_bytes()),
            None => self.null(),
        }
    }

    /// `integer`.
    pub fn integer(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    /// `timestamptz` from microseconds since 1970-01-01 UTC, or null.
    pub fn timestamptz(&mut self, micros: Option<i64>) {
        self.bigint(micros.map(|micros| micros - POSTGRES_EPOCH_MICROS));
    }

    /// `jsonb` from JSON text that lives as long as the buffer.
    pub fn jsonb(&mut self, json: &'v str) {
        self.bytes.extend_from_slice(&(json.len() as i32 + 1).to_be_bytes());
        self.bytes.push(1); // the only version of jsonb's wire format
        match json.len() < PIECE {
            true => self.bytes.extend_from_slice(json.as_bytes()),
            false => self.large.push((self.bytes.len(), json.as_bytes())),
        }
    }

    /// `integer[]`, one-dimensional.
    pub fn integers(&mut self, values: impl ExactSizeIterator<Item = i32>) {
        const INT4_OID: i32 = 23;
        let length = 20 + 8 * values.len() as i32;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        for word in [1, 0, INT4_OID, values.len() as i32, 1] {
            self.bytes.extend_from_slice(&i32::to_be_bytes(word));
        }
        for value in values {
            self.bytes.extend_from_slice(&4i32.to_be_bytes());
            self.bytes.extend_from_slice(&value.to_be_bytes());
        }
    }

    /// `numeric` from canonical digits ([`crate::domain::decimal`]), or null.
    pub fn numeric(&mut self, canonical: Option<&str>) {
        let Some(canonical) = canonical else { return self.null() };
        let (sign, unsigned) = match canonical.strip_prefix('-') {
            Some(unsigned) => (0x4000u16, unsigned),
            None => (0, canonical),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 12]);
        let groups = self.push_groups(whole.as_bytes(), fraction.as_bytes());
        let whole_groups = whole.len().div_ceil(4);
        let weight = (whole_groups as i16) - 1;
        let length = (self.bytes.len() - at - 4) as i32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
        let head = [groups as u16, weight as u16, sign, fraction.len() as u16];
        for (i, word) in head.into_iter().enumerate() {
            let start = at + 4 + 2 * i;
            self.bytes[start..start + 2].copy_from_slice(&word.to_be_bytes());
        }
    }

    /// Digits in groups of four, aligned at the decimal point; returns the number of groups.
    fn push_groups(&mut self, whole: &[u8], fraction: &[u8]) -> usize {
        let value = |digits: &[u8]| digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
        let (head, tail) = whole.split_at(whole.len() % 4);
        let mut groups = 0;
        for group in std::iter::once(head).filter(|h| !h.is_empty()).chain(tail.chunks(4)) {
            self.bytes.extend_from_slice(&value(group).to_be_bytes());
            groups += 1;
        }
        for group in fraction.chunks(4) {
            let scaled = value(group) * 10u16.pow(4 - group.len() as u32);
            self.bytes.extend_from_slice(&scaled.to_be_bytes());
            groups += 1;
        }
        groups
    }
}

/// Runs `statement`, a `COPY … FROM STDIN (FORMAT binary)`, with the rows that `encode` makes of
/// `items`. They are sent as they are made: a copy of the whole never exists.
///
/// # Errors
/// Whatever the server answers; the transaction is then to be rolled back, or its savepoint.
pub async fn copy_in<'v, T>(
    connection: &mut PgConnection,
    statement: &'static str,
    items: impl IntoIterator<Item = T, IntoIter: Send> + Send,
    mut encode: impl FnMut(&mut CopyBuffer<'v>, T) + Send,
) -> Result<u64, sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut buffer = CopyBuffer::new();
    for item in items {
        encode(&mut buffer, item);
        if buffer.bytes.len() >= PIECE || !buffer.large.is_empty() {
            send(&mut copy, &mut buffer).await?;
        }
    }
    buffer.bytes.extend_from_slice(&(-1i16).to_be_bytes());
    send(&mut copy, &mut buffer).await?;
    copy.finish().await
}

async fn send(
    copy: &mut PgCopyIn<&mut PgConnection>,
    buffer: &mut CopyBuffer<'_>,
) -> Result<(), sqlx::Error> {
    let mut sent = 0;
    for (place, value) in buffer.large.drain(..) {
        copy.send(&buffer.bytes[sent..place]).await?;
        sent = place;
        for piece in value.chunks(PIECE) {
            copy.send(piece).await?;
        }
    }
    copy.send(&buffer.bytes[sent..]).await?;
    buffer.bytes.clear();
    Ok(())
}
