//! Owns unpacking a file while it is read, by what its first bytes say.
//!
//! Must not know where the bytes come from.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;
use schemars::JsonSchema;
use serde::Deserialize;

use super::first_bytes;

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Where the header of a block of BGZF says that it is one: such a file ends with an empty one.
const BGZF: std::ops::Range<usize> = 12..14;
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

/// The unpacked bytes. `end_is_told` says that they do not just stop: a file that does, and may have been cut between two
/// parts that are packed each by itself, ends in an error.
///
/// # Errors
/// When the first bytes cannot be read, or say that the file is not packed as it should be, or none of rows.
pub fn unpacked(
    mut bytes: Bytes,
    compression: Compression,
    end_is_told: bool,
) -> io::Result<Unpacked> {
    let mut packed = false;
    for layer in 0..=MOST_LAYERS {
        let (beginning, whole) = with_beginning(bytes)?;
        bytes = whole;
        let is_packed = beginning.starts_with(&GZIP);
        if let Some(is) = first_bytes::without_rows(&beginning) {
            let text =
                format!("it {is}: let the API make a file of rows, packed with gzip or not at all");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if compression == Compression::None {
            return Ok(Unpacked { bytes, packed });
        }
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
        let is_bgzf = beginning.get(BGZF) == Some(b"BC") && beginning[3] & 4 != 0;
        // What is within ends where it is packed.
        let end_is_told = end_is_told || packed;
        bytes = Box::new(Gunzip::of(bytes, is_bgzf, end_is_told));
        packed = true;
    }
    Ok(Unpacked { bytes, packed })
}

/// The first bytes, as many as say what a file is, which are still there.
fn with_beginning(mut bytes: Bytes) -> io::Result<(Vec<u8>, Bytes)> {
    let mut beginning = Vec::with_capacity(first_bytes::ENOUGH);
    bytes.by_ref().take(first_bytes::ENOUGH as u64).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Box::new(Cursor::new(beginning).chain(bytes))))
}

/// All members of a gzip file, one after the other; zeros may stand behind the last, as padding.
struct Gunzip {
    member: Option<GzDecoder<BufReader<Bytes>>>,
    /// How many were read to their end.
    ended: usize,
    /// Whether the present one had any bytes.
    any: bool,
    is_bgzf: bool,
    end_is_told: bool,
}

impl Gunzip {
    fn of(bytes: Bytes, is_bgzf: bool, end_is_told: bool) -> Self {
        let member = Some(GzDecoder::new(BufReader::new(bytes)));
        Self { member, ended: 0, any: false, is_bgzf, end_is_told }
    }

    /// Behind the last member, if nothing told that it is. One that is alone is taken for the whole file, as most are.
    fn refuse_cut(&self) -> io::Result<()> {
        let may_be_cut = if self.is_bgzf { self.any } else { self.ended > 1 };
        if self.end_is_told || !may_be_cut {
            return Ok(());
        }
        let text = "it is packed in several parts and ends behind one of them, and the server did not say how long it is: \
                    it may be cut. Let the server send its length, or pack the file in one part";
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }
}

impl Read for Gunzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.member {
            let read = decoder.read(buffer)?;
            if read > 0 {
                self.any = true;
                return Ok(read);
            }
            let Some(ended) = self.member.take() else { break };
            self.ended += 1;
            let mut rest = ended.into_inner();
            if skip_zeros(&mut rest)? {
                self.member = Some(GzDecoder::new(rest));
                self.any = false;
            } else {
                self.refuse_cut()?;
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
        read_to(bytes, piece, compression, true)
    }

    fn read_to(
        bytes: &[u8],
        piece: usize,
        compression: Compression,
        end_is_told: bool,
    ) -> io::Result<Vec<u8>> {
        let pieces = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
        let mut out = Vec::new();
        unpacked(pieces, compression, end_is_told)?.bytes.read_to_end(&mut out)?;
        Ok(out)
    }

    /// A block of BGZF.
    fn block(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::GzBuilder::new()
            .extra(&b"BC\x02\0\0\0"[..])
            .write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
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
            // Unless somebody told where it ends, it may have been cut there.
            let untold = read_to(&file, piece, Compression::Auto, false);
            prop_assert_eq!(untold.is_ok(), members.len() == 1);
            prop_assert_eq!(read_to(&packed(&file), piece, Compression::Auto, false).unwrap(), whole.clone());
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

    #[test]
    fn a_file_of_blocks_whose_end_nobody_told_is_whole_if_its_last_block_is_empty() {
        let [one, two, none] = [&b"a,b\n"[..], b"1,2\n", b""].map(block);
        let read = |blocks: &[&[u8]], told| read_to(&blocks.concat(), 5, Compression::Auto, told);
        for cut in [&[&*one][..], &[&one, &two]] {
            let error = read(cut, false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
            assert!(read(cut, true).is_ok());
        }
        assert_eq!(read(&[&one, &two, &none], false).unwrap(), b"a,b\n1,2\n");
    }

    #[test]
    fn a_file_that_is_packed_otherwise_or_is_none_of_rows_is_named_for_what_it_is() {
        for (text, is) in [
            (&b"\x28\xb5\x2f\xfd\x04\0"[..], "it is packed with zstd"),
            (b"<!doctype html>", "it is an HTML page"),
            (b"<?xml version='1.0'?>", "it is XML"),
        ] {
            for bytes in [text.to_vec(), packed(text)] {
                let error = read(&bytes, 3, Compression::Auto).unwrap_err();
                assert!(error.to_string().contains(is), "{error}");
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            }
            assert!(read(text, 3, Compression::None).is_err());
        }
    }
}
