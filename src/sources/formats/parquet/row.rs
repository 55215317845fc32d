//! Owns the text of a row while it is written: how long it may become.

use std::io;

use super::layout::refused;

/// A row that is being written.
pub(super) struct Row<'t> {
    text: &'t mut Vec<u8>,
    /// Up to where it may go.
    end: usize,
    most: usize,
}

impl<'t> Row<'t> {
    /// One behind what is in the text, of so many bytes at most.
    pub fn in_text(text: &'t mut Vec<u8>, most: usize) -> Self {
        let end = text.len().saturating_add(most);
        Self { text, end, most }
    }

    /// Writes more of it.
    ///
    /// # Errors
    /// When it becomes too long.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.text.len().saturating_add(bytes.len()) > self.end {
            return Err(refused(&format!(
                "has a row of more than {} bytes, written as JSON: raise `parquet.max_row_bytes` if the row is good",
                self.most
            )));
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    /// A value of a few bytes is written, and counted with what is put behind it.
    pub fn small(&mut self) -> &mut Vec<u8> {
        self.text
    }

    /// Up to where the text goes now.
    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// Makes a text in JSON of what was written behind `begin`, if it is none: a number or another word.
    ///
    /// # Errors
    /// When it becomes too long.
    pub fn quote_from(&mut self, begin: usize) -> io::Result<()> {
        if self.text.get(begin) == Some(&b'"') {
            return Ok(());
        }
        self.text.insert(begin, b'"');
        self.put(b"\"")
    }
}

impl io::Write for Row<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
