//! Owns the texts that the cells of a workbook share.

use std::io;

use super::book::damaged;
use super::xml::{Piece, Xml};

/// The most bytes of all of them: cells name them in any order, so that they are held.
const MAX_BYTES: usize = 64 << 20;

/// Texts by their numbers.
#[derive(Debug, Default)]
pub(super) struct Strings {
    text: String,
    ends: Vec<u32>,
}

impl Strings {
    /// Reads all of them.
    pub fn of(mut xml: Xml) -> io::Result<Self> {
        let mut strings = Self::default();
        loop {
            match xml.next()? {
                Piece::Open(tag) if tag.name == "si" => {
                    strings.text.push_str(&xml.rich_text("si")?);
                    strings.ends.push(strings.text.len() as u32);
                    if strings.text.len() + 4 * strings.ends.len() > MAX_BYTES {
                        let most = MAX_BYTES >> 20;
                        let text = format!(
                            "the workbook has more than {most} MiB of texts that its cells share, which are held in memory: \
                             save the sheet as CSV, or as several workbooks"
                        );
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                }
                Piece::End => return Ok(strings),
                _ => {}
            }
        }
    }

    /// The text of a number.
    pub fn get(&self, number: &str) -> io::Result<&str> {
        let found = number.trim().parse::<usize>().ok().and_then(|at| {
            let end = *self.ends.get(at)? as usize;
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            self.text.get(start..end)
        });
        found.ok_or_else(|| damaged("a cell names a text that is not there"))
    }
}
