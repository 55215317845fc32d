//! Owns unpacking a file while it is read, by what its first bytes say, and finding what is in an archive.
//!
//! Must not know where the bytes come from.

mod archive;
mod bytes;
mod codec;
mod density;
mod parts;
#[cfg(test)]
mod tests;
mod zstd;

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use glob::Pattern;
use schemars::JsonSchema;
use serde::Deserialize;

use super::first_bytes;
use super::spool::Spool;
pub use archive::Archive;
use archive::Members;
pub use bytes::Bytes;
use codec::Codec;
use density::{Counted, Watched};
use parts::Parts;

/// A packed file that was packed once more on its way.
const MOST_LAYERS: usize = 2;
/// Bytes that say what a file is; of an archive also what its first member is called.
const BEGINNING: usize = 512;
/// What a ZIP archive begins with, with members and without.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// How a file is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As its first bytes say.
    #[default]
    Auto,
    /// gzip, and nothing else.
    Gzip,
    /// Zstandard, and nothing else.
    Zstd,
    /// xz, and nothing else.
    Xz,
    /// bzip2, and nothing else.
    Bzip2,
    /// A ZIP archive, and nothing else.
    Zip,
    /// Not at all: it is taken as it comes.
    None,
}

impl Compression {
    fn codec(self) -> Option<Codec> {
        match self {
            Self::Auto | Self::Zip | Self::None => None,
            Self::Gzip => Some(Codec::Gzip),
            Self::Zstd => Some(Codec::Zstd),
            Self::Xz => Some(Codec::Xz),
            Self::Bzip2 => Some(Codec::Bzip2),
        }
    }
}

/// How files are unpacked.
#[derive(Debug, Clone)]
pub struct Packing {
    /// How they are packed.
    pub compression: Compression,
    /// Which members of an archive are read: these, or all that may be files of rows.
    pub member: Vec<Pattern>,
    /// What the names of files end in that look like archives and are none to the format, such as `.xlsx`; empty if
    /// there are none.
    pub own_archives: &'static [&'static str],
    /// Whether files are no texts, and whoever reads them knows what is none of them.
    pub binary: bool,
    /// The most bytes of an archive, which is put aside to be read.
    pub max_spool: u64,
}

impl Packing {
    /// The most bytes of an archive if the job file says nothing.
    pub const MAX_SPOOL: u64 = 4 << 30;

    /// Files that are packed so, and no archives.
    pub fn of(compression: Compression) -> Self {
        let (member, own_archives) = (Vec::new(), &[][..]);
        Self { compression, member, own_archives, binary: false, max_spool: Self::MAX_SPOOL }
    }

    /// Whether a file that begins so is an archive of files. Not if it is one of the format's own, unless members are
    /// asked for or its first one is such a file.
    pub fn is_archive(&self, beginning: &[u8]) -> bool {
        ZIP.iter().any(|magic| beginning.starts_with(magic))
            && (self.own_archives.is_empty()
                || !self.member.is_empty()
                || archive::begins_with(beginning, self.own_archives))
    }
}

/// Bytes that are not packed any more.
pub struct Unpacked {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether they were packed: then they end where the packing says, or in an error.
    pub packed: bool,
}

/// What a file holds: itself, or a member of an archive.
pub struct Content {
    /// The member's name.
    pub member: Option<String>,
    /// Its bytes, or why there are none: the other members may be read all the same.
    pub bytes: io::Result<Unpacked>,
}

/// What a file holds, in its order.
pub struct Contents {
    packing: Packing,
    of: Of,
}

enum Of {
    Itself(Option<Unpacked>),
    Archive(Members),
}

/// Whether a file that begins so is unpacked: it cannot be read from anywhere but its beginning.
pub fn is_packed(beginning: &[u8], packing: &Packing) -> bool {
    packing.compression != Compression::None
        && (Codec::of(beginning).is_some() || packing.is_archive(beginning))
}

/// What a file holds. `end_is_told` says that its bytes do not just stop: a file that does, and may have been cut between
/// two parts that are packed each by itself, ends in an error. An archive is put aside first. Blocking.
///
/// # Errors
/// When the first bytes cannot be read, or say that the file is not packed as it should be, or none of rows; when an
/// archive cannot be read.
pub fn contents(bytes: Bytes, packing: &Packing, end_is_told: bool) -> io::Result<Contents> {
    let Peeled { mut bytes, packed, beginning } = peeled(bytes, packing.compression, end_is_told)?;
    let is_archive = packing.compression != Compression::None && packing.is_archive(&beginning);
    if packing.compression == Compression::Zip && !is_archive && !beginning.is_empty() {
        return Err(is_no("no ZIP archive", "zip"));
    }
    if is_archive {
        let members = Members::of(Spool::of(&mut bytes, packing.max_spool)?, &packing.member)?;
        return Ok(Contents { packing: packing.clone(), of: Of::Archive(members) });
    }
    refuse_without_rows(&beginning, packing)?;
    Ok(Contents { packing: packing.clone(), of: Of::Itself(Some(Unpacked { bytes, packed })) })
}

impl Contents {
    /// The file itself, where it is an archive, which was put aside as it came.
    pub fn aside(&self) -> Option<Spool> {
        let as_it_came = matches!(self.packing.compression, Compression::Auto | Compression::Zip);
        match &self.of {
            Of::Archive(members) if as_it_came => Some(members.aside()),
            _ => None,
        }
    }
}

impl Iterator for Contents {
    type Item = Content;

    fn next(&mut self) -> Option<Content> {
        match &mut self.of {
            Of::Itself(bytes) => {
                let unpacked = bytes.take()?;
                Some(Content { member: None, bytes: Ok(unpacked) })
            }
            Of::Archive(members) => {
                let (name, bytes) = members.next()?;
                let bytes = bytes.and_then(|bytes| member(bytes, &self.packing));
                Some(Content { member: Some(name), bytes })
            }
        }
    }
}

/// A member of an archive, which may be packed once more.
fn member(bytes: Bytes, packing: &Packing) -> io::Result<Unpacked> {
    let (counted, came) = Counted::of(bytes);
    let Peeled { bytes, beginning, .. } = peeled(Box::new(counted), Compression::Auto, true)?;
    refuse_without_rows(&beginning, packing)?;
    // What is stored as it is comes as it is.
    Ok(Unpacked { bytes: Box::new(Watched::of(bytes, came)), packed: true })
}

/// The only thing that a file holds.
///
/// # Errors
/// As of [`contents`]; when it is an archive of several members that are read.
pub fn only(bytes: Bytes, packing: &Packing, end_is_told: bool) -> io::Result<Unpacked> {
    let mut all = contents(bytes, packing, end_is_told)?;
    let first = all.next().map(|content| content.bytes);
    if let Some(Content { member: Some(second), .. }) = all.next() {
        let second = crate::domain::text::quoted(&second);
        let text = format!(
            "is a ZIP archive of several members, such as {second}: name the one that is read with `files.member`"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    first.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

fn refuse_without_rows(beginning: &[u8], packing: &Packing) -> io::Result<()> {
    match first_bytes::without_rows(beginning) {
        Some(is) if packing.own_archives.is_empty() && !packing.binary => {
            let advice = first_bytes::kind(beginning).unwrap_or_else(|| {
                "let it be a file of rows, packed with gzip, zstd, xz or bzip2, or not at all"
                    .to_owned()
            });
            let text = format!("it {is}: {advice}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        _ => Ok(()),
    }
}

/// Bytes without what they were packed in, and their beginning.
struct Peeled {
    bytes: Bytes,
    packed: bool,
    beginning: Vec<u8>,
}

fn peeled(bytes: Bytes, compression: Compression, end_is_told: bool) -> io::Result<Peeled> {
    let (counted, came) = Counted::of(bytes);
    let (mut beginning, mut bytes) = with_beginning(Box::new(counted))?;
    if compression == Compression::None {
        return Ok(Peeled { bytes, packed: false, beginning });
    }
    let mut packed = false;
    for layer in 0..=MOST_LAYERS {
        if let Some(codec) = Codec::of_cut(&beginning) {
            let text =
                format!("it ends in the first bytes of what is packed with {}", codec.name());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let codec = Codec::of(&beginning);
        if let (0, false, Some(wanted)) = (layer, beginning.is_empty(), compression.codec())
            && codec != Some(wanted)
        {
            return Err(is_no(&format!("no {}", wanted.name()), wanted.name()));
        }
        let (Some(codec), true) = (codec, layer < MOST_LAYERS) else { break };
        // What is within ends where it is packed.
        let parts = Parts::of(codec, bytes, &beginning, end_is_told || packed)?;
        let watched = Watched::of(Box::new(parts), Arc::clone(&came));
        (beginning, bytes) = with_beginning(Box::new(watched))?;
        packed = true;
    }
    Ok(Peeled { bytes, packed, beginning })
}

fn is_no(what: &str, word: &str) -> io::Error {
    let text = format!("is {what}, and `files.compression` = \"{word}\" says that it is");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The first bytes, as many as say what a file is, which are still there.
fn with_beginning(mut bytes: Bytes) -> io::Result<(Vec<u8>, Bytes)> {
    let mut beginning = Vec::with_capacity(BEGINNING);
    bytes.by_ref().take(BEGINNING as u64).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Box::new(Cursor::new(beginning).chain(bytes))))
}
