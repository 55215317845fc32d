//! Owns unpacking a file while it is read, by what its first bytes say.
//!
//! Must not know where the bytes come from.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;
use schemars::JsonSchema;
use serde::Deserialize;

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// A packed file that was packed once more on its way.
const MOST_LAYERS: usize = 2;

/// How a file is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As its first bytes say.
    #[default]
    Auto,
    /// gzip, and nothing else.
    Gzip,
    /// Not at all: it is taken as it comes.
    None,
}

/// Bytes that may be packed.
pub type Bytes = Box<dyn Read + Send>;

/// Bytes that are not packed any more.
pub struct Unpacked {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether they were packed: then they end where the packing says, or in an error.
    pub packed: bool,
}

/// The unpacked bytes.
///
/// # Errors
/// When the first bytes cannot be read, or say that the file is not packed as it should be.
pub fn unpacked(mut bytes: Bytes, compression: Compression) -> io::Result<Unpacked> {
    let mut packed = false;
    if compression == Compression::None {
        return Ok(Unpacked { bytes, packed });
    }
    for layer in 0..=MOST_LAYERS {
        let (beginning, whole) = with_beginning(bytes)?;
        bytes = whole;
        let is_packed = beginning == GZIP;
        if beginning == GZIP[..1] {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its first byte alone came"));
        }
        if layer == 0 && compression == Compression::Gzip && !is_packed && !beginning.is_empty() {
            let text = "is no gzip, and `files.compression` = \"gzip\" says that it is";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if !is_packed || layer == MOST_LAYERS {
            break;
        }
        bytes = Box::new(Gunzip(Some(member(BufReader::new(bytes)))));
        packed = true;
    }
    Ok(Unpacked { bytes, packed })
}

/// The first two bytes, which are still there.
fn with_beginning(mut bytes: Bytes) -> io::Result<(Vec<u8>, Bytes)> {
    let mut beginning = Vec::with_capacity(GZIP.len());
    bytes.by_ref().take(GZIP.len() as u64).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Box::new(Cursor::new(beginning).chain(bytes))))
}

/// All members of a gzip file, one after the other; zeros may stand behind the last, as padding.
struct Gunzip(Option<GzDecoder<BufReader<Bytes>>>);

fn member(bytes: BufReader<Bytes>) -> GzDecoder<BufReader<Bytes>> {
    GzDecoder::new(bytes)
}

impl Read for Gunzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.0 {
            let read = decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            let Some(ended) = self.0.take() else { break };
            let mut rest = ended.into_inner();
            if skip_zeros(&mut rest)? {
                self.0 = Some(member(rest));
            }
        }
        Ok(0)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Gives the bytes in pieces of that size.
    struct Pieces(Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn read(bytes: &[u8], piece: usize, compression: Compression) -> io::Result<Vec<u8>> {
        let pieces = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
        let mut out = Vec::new();
        unpacked(pieces, compression)?.bytes.read_to_end(&mut out)?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn members_follow_each_other_and_a_part_of_a_file_is_never_a_file(
            texts in prop::collection::vec("[a-z]{1,40}", 1..4),
            zeros in 0..9_usize,
            piece in 1..50_usize,
            cut in 1..30_usize,
        ) {
            let members: Vec<_> = texts.iter().map(|text| packed(text.as_bytes())).collect();
            let mut file = members.concat();
            let whole = texts.concat().into_bytes();
            let last = members.last().map_or(0, Vec::len);
            // Within the last member: between two members a file may well end.
            let short = &file[..file.len() - cut.min(last - 1)];
            prop_assert!(read(short, piece, Compression::Auto).is_err());
            file.extend(vec![0; zeros]);
            prop_assert_eq!(read(&file, piece, Compression::Auto).unwrap(), whole.clone());
            prop_assert_eq!(read(&packed(&file), piece, Compression::Gzip).unwrap(), whole);
            file.extend(b"x");
            prop_assert!(read(&file, piece, Compression::Auto).is_err());
        }
    }

    #[test]
    fn what_is_not_packed_comes_as_it_is_unless_the_job_file_says_that_it_is_packed() {
        let error = read(&GZIP[..1], 1, Compression::Auto).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        for text in [&b""[..], b"a", b"a,b\n1,2\n"] {
            assert_eq!(read(text, 1, Compression::Auto).unwrap(), text);
            assert_eq!(read(&packed(text), 3, Compression::None).unwrap(), packed(text));
        }
        assert_eq!(read(b"", 1, Compression::Gzip).unwrap(), b"");
        let error = read(b"a,b", 1, Compression::Gzip).unwrap_err();
        assert!(error.to_string().contains("is no gzip"), "{error}");
    }
}
