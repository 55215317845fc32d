//! Owns the members of a ZIP archive that is put aside. Nothing is written by their names.
//!
//! The directory at the end says where they are: what stands in front of each may have no sizes.

use std::io::{self, Read};

use flate2::Crc;
use flate2::read::DeflateDecoder;
use glob::{MatchOptions, Pattern};
use zip::{CompressionMethod, ZipArchive};

use super::bytes::Bytes;
use super::codec::Codec;
use super::density::{Counted, Watched};
use super::parts::Parts;
use crate::domain::text::quoted;
use crate::sources::files::spool::Spool;

/// The most members of an archive.
const MAX_MEMBERS: usize = 10_000;
/// Names that an error shows.
const SHOWN: usize = 5;

/// An archive.
pub struct Archive {
    archive: ZipArchive<Spool>,
    spool: Spool,
    names: Vec<String>,
}

impl Archive {
    /// Reads the directory.
    ///
    /// # Errors
    /// When it is damaged, or names too many members, or one twice.
    pub fn of(spool: Spool) -> io::Result<Self> {
        let archive = ZipArchive::new(spool.clone())
            .map_err(|error| damaged(&format!("its directory cannot be read: {error}")))?;
        if archive.len() > MAX_MEMBERS {
            let found = archive.len();
            return Err(refused(format!(
                "is a ZIP archive with {found} members, and {MAX_MEMBERS} are the most"
            )));
        }
        if archive.has_duplicate_names() {
            return Err(refused("is a ZIP archive with two members of the same name".to_owned()));
        }
        let name = |index| {
            let entry =
                archive.by_index_data(index).map_err(|error| damaged(&error.to_string()))?;
            let name = entry.name().map_err(|error| damaged(&error.to_string()))?;
            Ok(name.into_owned())
        };
        let names = (0..archive.len()).map(name).collect::<io::Result<_>>()?;
        Ok(Self { archive, spool, names })
    }

    /// The names of its members.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many bytes all members have, as the directory says.
    pub fn unpacked_size(&self) -> u128 {
        self.archive.decompressed_size().unwrap_or(u128::MAX)
    }

    /// The bytes of a member, by its place among the names. They end in an error if they are not what the directory says.
    ///
    /// # Errors
    /// When it is encrypted, packed in an unknown way or damaged.
    pub fn open(&mut self, index: usize) -> io::Result<Bytes> {
        let entry =
            self.archive.by_index_raw(index).map_err(|error| damaged(&error.to_string()))?;
        if entry.encrypted() {
            return Err(refused("is encrypted: let it be packed without a password".to_owned()));
        }
        let Some(start) = entry.data_start() else { return Err(damaged("it is nowhere")) };
        let (size, packed, crc) = (entry.size(), entry.compressed_size(), entry.crc32());
        let method = entry.compression();
        drop(entry);
        if start.saturating_add(packed) > self.spool.len() {
            return Err(damaged("it goes beyond the end of the archive"));
        }
        let (part, came) = Counted::of(Box::new(self.spool.part(start, packed)));
        let part: Bytes = Box::new(part);
        let bytes: Bytes = match method {
            CompressionMethod::STORE => part,
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(part)),
            CompressionMethod::BZIP2 => Box::new(Parts::of(Codec::Bzip2, part, &[], true)?),
            CompressionMethod::ZSTD => Box::new(Parts::of(Codec::Zstd, part, &[], true)?),
            CompressionMethod::XZ => Box::new(Parts::of(Codec::Xz, part, &[], true)?),
            other => {
                return Err(refused(format!(
                    "is packed in a way that cannot be read ({other}): use Deflate or Zstandard"
                )));
            }
        };
        let bytes = Box::new(Watched::of(bytes, came));
        Ok(Box::new(Checked { bytes, crc: Crc::new(), expected: crc, left: size }))
    }

    /// Whether it is a workbook of Excel or of OpenDocument, and no archive of files.
    fn is_workbook(&self) -> bool {
        let has = |name: &str| self.names.iter().any(|of| of == name);
        has("[Content_Types].xml") && self.names.iter().any(|of| of.starts_with("xl/"))
            || has("mimetype") && has("content.xml")
    }

    fn is_file(&self, index: usize) -> bool {
        let entry = self.archive.by_index_data(index);
        entry.is_ok_and(|entry| !entry.is_dir() && !entry.is_symlink())
    }
}

/// The members that are read, in the order of the directory.
pub(super) struct Members {
    archive: Archive,
    chosen: std::vec::IntoIter<usize>,
}

impl Members {
    /// The members whose names one of the patterns matches; without patterns all that may be files of rows.
    pub fn of(spool: Spool, patterns: &[Pattern]) -> io::Result<Self> {
        let archive = Archive::of(spool)?;
        if patterns.is_empty() && archive.is_workbook() {
            let text = "is a workbook, as spreadsheets are: read it with kind = \"xlsx\"";
            return Err(refused(text.to_owned()));
        }
        let is_wanted =
            |index: &usize| is_chosen(&archive.names[*index], patterns) && archive.is_file(*index);
        let (chosen, others): (Vec<usize>, Vec<usize>) =
            (0..archive.names.len()).partition(is_wanted);
        if chosen.is_empty() {
            let others: Vec<&str> =
                others.iter().map(|index| archive.names[*index].as_str()).collect();
            return Err(refused(nothing_chosen(&others, patterns)));
        }
        Ok(Self { archive, chosen: chosen.into_iter() })
    }

    /// The archive.
    pub fn aside(&self) -> Spool {
        self.archive.spool.clone()
    }
}

impl Iterator for Members {
    type Item = (String, io::Result<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.chosen.next()?;
        Some((self.archive.names[index].clone(), self.archive.open(index)))
    }
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Whether the first member of an archive that begins so is a file with one of these endings, or a folder.
pub(super) fn begins_with(beginning: &[u8], endings: &[&str]) -> bool {
    let length =
        beginning.get(26..28).map_or(0, |two| usize::from(two[0]) | usize::from(two[1]) << 8);
    let name = beginning.get(30..).unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(length)]).to_ascii_lowercase();
    name.ends_with('/') || endings.iter().any(|ending| name.ends_with(ending))
}

/// Whether a member is read: what is hidden, and what macOS puts beside files, only if a pattern names it so.
fn is_chosen(name: &str, patterns: &[Pattern]) -> bool {
    let hidden: Vec<&str> = name.split(['/', '\\']).filter(|part| is_hidden(part)).collect();
    if patterns.is_empty() {
        return hidden.is_empty();
    }
    // A pattern without a folder is one of names, wherever they are.
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    let file = name.rsplit('/').next().unwrap_or(name);
    patterns.iter().any(|pattern| {
        let text = pattern.as_str();
        if !text.contains('/') {
            let is_named = hidden.is_empty() || is_hidden(file) && is_hidden(text);
            return is_named && pattern.matches_with(file, options);
        }
        let mut named = text.split('/').filter(|part| is_hidden(part));
        let are_named = hidden
            .iter()
            .all(|part| named.any(|name| Pattern::new(name).is_ok_and(|name| name.matches(part))));
        are_named && pattern.matches_with(name, options)
    })
}

/// Whether a name, or a part of a pattern, is one of those that nobody sees.
fn is_hidden(part: &str) -> bool {
    part == "__MACOSX" || part.starts_with('.') && !part.trim_matches('.').is_empty()
}

fn nothing_chosen(others: &[&str], patterns: &[Pattern]) -> String {
    if others.is_empty() {
        return "is a ZIP archive without members".to_owned();
    }
    let shown: Vec<_> = others.iter().take(SHOWN).map(|name| quoted(name)).collect();
    let more = if others.len() > SHOWN { ", …" } else { "" };
    let what = match patterns {
        [] => "that could be a file of rows",
        _ => "that `files.member` matches",
    };
    format!("is a ZIP archive without a member {what}: it has {}{more}", shown.join(", "))
}

fn damaged(what: &str) -> io::Error {
    let text = format!("the ZIP archive is damaged: {what}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A member, whose size and checksum are looked at when it ends.
struct Checked {
    bytes: Bytes,
    crc: Crc,
    expected: u32,
    left: u64,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.bytes.read(buffer)?;
        self.crc.update(&buffer[..read]);
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(damaged("a member is longer than its directory says")),
        }
        if read == 0 && self.left > 0 {
            return Err(damaged("a member ends before its end"));
        }
        if read == 0 && self.crc.sum() != self.expected {
            return Err(damaged("the checksum of a member is another"));
        }
        Ok(read)
    }
}
