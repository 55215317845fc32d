//! Owns unpacking all parts of a file, one after the other.

use std::io::{self, BufRead, BufReader, Read};

use super::bytes::Bytes;
use super::codec::{Codec, Part, unpacking};

/// All parts of a file; zeros may stand behind the last, as padding.
pub(super) struct Parts {
    codec: Codec,
    at: At,
    /// How many were read to their end.
    ended: usize,
    /// Whether the present one had any bytes.
    any: bool,
    ends_empty: bool,
    end_is_told: bool,
}

/// Where it is read.
enum At {
    Within(Box<dyn Part>),
    End,
    /// Behind an error, which is no end.
    Broken,
}

impl Parts {
    /// The parts of bytes that begin so. `end_is_told` says that they do not just stop.
    pub fn of(codec: Codec, bytes: Bytes, beginning: &[u8], end_is_told: bool) -> io::Result<Self> {
        let part = codec.part(BufReader::with_capacity(64 << 10, bytes));
        let part = part.map_err(|error| unpacking(codec, error))?;
        let ends_empty = codec.ends_empty(beginning);
        Ok(Self { codec, at: At::Within(part), ended: 0, any: false, ends_empty, end_is_told })
    }

    /// Behind the last part, if nothing told that it is. One that is alone is taken for the whole file, as most are.
    fn refuse_cut(&self) -> io::Result<()> {
        let may_be_cut = if self.ends_empty { self.any } else { self.ended > 1 };
        if self.end_is_told || !may_be_cut {
            return Ok(());
        }
        let text = "it is packed in several parts and ends behind one of them, and the server did not say how long it is: \
                    it may be cut. Let the server send its length, or pack the file in one part";
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }

    fn next_part(&mut self, ended: Box<dyn Part>) -> io::Result<At> {
        let unpacking = |error| unpacking(self.codec, error);
        let mut rest = ended.behind().map_err(unpacking)?;
        if skip_zeros(&mut rest)? {
            Ok(At::Within(self.codec.part(rest).map_err(unpacking)?))
        } else {
            self.refuse_cut()?;
            Ok(At::End)
        }
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let mut part = match std::mem::replace(&mut self.at, At::Broken) {
                At::Within(part) => part,
                At::End => {
                    self.at = At::End;
                    return Ok(0);
                }
                At::Broken => {
                    let text = "it could not be unpacked, and was read on";
                    return Err(io::Error::other(text));
                }
            };
            match part.read(buffer) {
                Ok(0) => {
                    self.ended += 1;
                    self.at = self.next_part(part)?;
                    if matches!(self.at, At::Within(_)) {
                        self.any = false;
                    }
                }
                Ok(read) => {
                    self.any = true;
                    self.at = At::Within(part);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.at = At::Within(part);
                    return Err(error);
                }
                Err(error) => return Err(unpacking(self.codec, error)),
            }
        }
    }
}

/// Passes over zeros; answers whether anything stands behind them.
fn skip_zeros(bytes: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = bytes.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let other = zeros < buffer.len();
        bytes.consume(zeros);
        if other {
            return Ok(true);
        }
    }
}
