//! Owns how the unpacked bytes of a file become what rows are looked for in: transcoded to UTF-8 if need be, and turned into
//! rows by formats whose files are none.
//!
//! Files of which neither is needed can be read anywhere, and are planned and read in parts.

use std::io::{Cursor, Read};

use encoding_rs::Encoding;

use super::encodings::{self, GUESSED_FROM, Reading, Unreadable};
use super::format::RowFormat;
use super::transcode::Transcoded;
use super::unpack::{self, Bytes, Compression, Packing};
use crate::sources::{SourceError, SourceErrorKind};

/// What rows are looked for in.
pub struct Readable {
    /// Its bytes.
    pub bytes: Bytes,
    /// What they were transcoded from.
    pub transcoded: Option<Reading>,
}

/// The unpacked bytes of a file.
pub struct Text {
    /// These.
    pub bytes: Bytes,
    /// What whoever sends them says that they are in: it counts where neither they nor the job file say it, and where
    /// they are no UTF-8, since servers often declare their usual charset.
    pub charset: Option<&'static Encoding>,
}

/// What rows of a format are looked for in, of the unpacked bytes of the file of this name. Blocking.
///
/// # Errors
/// When the beginning cannot be read, or is none of such a file. What cannot be read later is an error of the bytes.
pub fn readable<F: RowFormat>(
    format: &F,
    file: &str,
    text: Text,
    max_spool: u64,
    failed: impl Fn(std::io::Error) -> SourceError,
) -> Result<Readable, SourceError> {
    let (reading, bytes) = encoding(format, file, text, &failed)?;
    let (bytes, transcoded): (Bytes, _) = match reading {
        Some(reading) if reading.transcoded => {
            (Box::new(Transcoded::of(bytes, reading.encoding)), Some(reading))
        }
        _ => (bytes, None),
    };
    let bytes = format.content(file, bytes, max_spool).map_err(failed)?;
    Ok(Readable { bytes, transcoded })
}

/// The encoding of a text, and all of its bytes.
fn encoding<F: RowFormat>(
    format: &F,
    file: &str,
    Text { mut bytes, charset }: Text,
    failed: impl Fn(std::io::Error) -> SourceError,
) -> Result<(Option<Reading>, Bytes), SourceError> {
    let mut beginning = Vec::new();
    // Mostly little of it says enough.
    for most in [64 << 10, GUESSED_FROM] {
        let want = most - beginning.len();
        let read = bytes.by_ref().take(want as u64).read_to_end(&mut beginning).map_err(&failed)?;
        let complete = read < want;
        let reading = format
            .encoding(&beginning, complete)
            .map_err(|unreadable| refused(file, unreadable))?;
        let told = charset.filter(|_| !format.names_encoding());
        let told = told.and_then(|charset| encodings::told(charset, &beginning, complete));
        let reading = told.or(reading);
        if reading.is_some() || complete {
            let bytes = Box::new(Cursor::new(beginning).chain(bytes));
            return Ok((reading, bytes));
        }
    }
    Ok((None, Box::new(Cursor::new(beginning).chain(bytes))))
}

fn refused(file: &str, unreadable: Unreadable) -> SourceError {
    let Unreadable { what, advice } = unreadable;
    SourceError::new(SourceErrorKind::InvalidFile, format!("{file} {what}")).advise(advice)
}

/// Whether a file that begins so can be read anywhere: it is neither packed nor to be transcoded, and its bytes are rows.
/// `complete` says that this is all of it; otherwise `None` means that more bytes are needed, at most
/// [`GUESSED_FROM`]. What cannot be read at all is said by whoever reads it.
pub fn is_plain<F: RowFormat>(
    format: &F,
    packing: &Packing,
    beginning: &[u8],
    complete: bool,
) -> Option<bool> {
    // One that is said to be packed and is not is refused by whoever unpacks it.
    let is_said = !matches!(packing.compression, Compression::Auto | Compression::None);
    if F::CONVERTED || is_said || unpack::is_packed(beginning, packing) {
        return Some(false);
    }
    match format.encoding(beginning, complete) {
        Ok(None) if !complete && beginning.len() < GUESSED_FROM => None,
        Ok(Some(reading)) => Some(!reading.transcoded),
        Ok(None) | Err(_) => Some(true),
    }
}
