//! Owns the ways in which files are packed: what each begins with, and how its parts are unpacked.
//!
//! A file may hold several parts, each packed by itself: members of gzip, frames of zstd, streams of xz and bzip2. A
//! part reads nothing behind its own end.

use std::io::{self, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::bytes::{MAX_WINDOW, Source};
use super::zstd::Zstd;

/// What xz needs beside that, in KiB.
const XZ_OVERHEAD: u32 = 1 << 10;

/// A way to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = b"\xfd7zXZ\0";
/// What the first block of bzip2 begins with, and what ends a file without one.
const BZIP2: [&[u8]; 2] = [b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"];
/// In front of that: `BZh` and a digit.
const BZIP2_HEAD: usize = 4;
/// Where the header of a block of BGZF says that it is one: such a file ends with an empty one.
const BGZF: std::ops::Range<usize> = 12..14;

impl Codec {
    const ALL: [Self; 4] = [Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];

    /// How a file is packed that begins so.
    pub fn of(beginning: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.begins(beginning))
    }

    /// How a file is packed of which these few bytes are all, if it was cut before it said so.
    pub fn of_cut(all: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| {
            let (magic, least): (&[u8], usize) = match codec {
                Self::Gzip => (GZIP, 1),
                // The first byte alone is an opening bracket.
                Self::Zstd => (ZSTD, 2),
                Self::Xz => (XZ, 1),
                Self::Bzip2 => return is_cut_bzip2(all),
            };
            all.len() >= least && all.len() < magic.len() && magic.starts_with(all)
        })
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Whether a file that begins so ends with a part that has nothing in it.
    pub fn ends_empty(self, beginning: &[u8]) -> bool {
        self == Self::Gzip
            && beginning.get(BGZF) == Some(b"BC")
            && beginning.get(3).is_some_and(|flags| flags & 4 != 0)
    }

    /// Begins a part.
    pub fn part(self, source: Source) -> io::Result<Box<dyn Part>> {
        Ok(match self {
            Self::Gzip => Box::new(GzDecoder::new(source)),
            Self::Zstd => Box::new(Zstd::begin(source)?),
            Self::Xz => {
                let most = (MAX_WINDOW >> 10) as u32 + XZ_OVERHEAD;
                Box::new(XzReader::new_mem_limit(source, false, most))
            }
            Self::Bzip2 => Box::new(BzDecoder::new(source)),
        })
    }

    fn begins(self, beginning: &[u8]) -> bool {
        match (self, beginning) {
            (Self::Gzip, _) => beginning.starts_with(GZIP),
            // The second is a frame that is passed over, which may come first.
            (Self::Zstd, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) => true,
            (Self::Zstd, _) => beginning.starts_with(ZSTD),
            (Self::Xz, _) => beginning.starts_with(XZ),
            (Self::Bzip2, [b'B', b'Z', b'h', b'1'..=b'9', block @ ..]) => {
                BZIP2.iter().any(|magic| block.starts_with(magic))
            }
            (Self::Bzip2, _) => false,
        }
    }
}

fn is_cut_bzip2(all: &[u8]) -> bool {
    let [b'B', b'Z', b'h', rest @ ..] = all else { return false };
    let Some((level, block)) = rest.split_first() else { return true };
    level.is_ascii_digit()
        && all.len() < BZIP2_HEAD + BZIP2[0].len()
        && BZIP2.iter().any(|magic| magic.starts_with(block))
}

/// A part that is being unpacked. It ends where its packing says, or in an error.
pub(super) trait Part: Read + Send {
    /// What stands behind a part that was read to its end.
    fn behind(self: Box<Self>) -> io::Result<Source>;
}

impl Part for GzDecoder<Source> {
    fn behind(self: Box<Self>) -> io::Result<Source> {
        Ok(self.into_inner())
    }
}

impl Part for XzReader<Source> {
    fn behind(self: Box<Self>) -> io::Result<Source> {
        Ok(self.into_inner())
    }
}

impl Part for BzDecoder<Source> {
    fn behind(self: Box<Self>) -> io::Result<Source> {
        Ok(self.into_inner())
    }
}

impl Part for Zstd {
    fn behind(self: Box<Self>) -> io::Result<Source> {
        self.ended()
    }
}

/// What went wrong while something was unpacked, as whoever reads it understands it.
pub(super) fn unpacking(codec: Codec, error: io::Error) -> io::Error {
    let name = codec.name();
    if error.kind() == io::ErrorKind::OutOfMemory {
        let window = MAX_WINDOW >> 20;
        let text = format!(
            "is packed so that unpacking it takes more memory than is given for that: at most {window} MiB are looked back \
             at, which all of `xz -0` to `xz -8`, and zstd without `--long` and `--ultra`, keep to"
        );
        return io::Error::new(io::ErrorKind::InvalidData, text);
    }
    match error.kind() {
        // What it means that bytes did not come is said by who brings them.
        _ if error.get_ref().is_some_and(|inner| inner.is::<crate::sources::SourceError>()) => {
            error
        }
        io::ErrorKind::UnexpectedEof => {
            let text = format!("it ends in the middle of what is packed with {name}");
            io::Error::new(io::ErrorKind::UnexpectedEof, text)
        }
        io::ErrorKind::InvalidData | io::ErrorKind::Unsupported | io::ErrorKind::Other => {
            let text = format!("what is packed with {name} is damaged: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        }
        _ => error,
    }
}
