//! Owns reading the XML of a workbook piece by piece, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use workbook_xml::XmlVersion;
use workbook_xml::events::{BytesStart, Event};
use workbook_xml::reader::Reader;

use crate::sources::files::unpack::Bytes;

/// The most bytes of one piece: a tag, or the text between two.
const MAX_PIECE: u64 = 16 << 20;

/// XML that is being read.
pub(super) struct Xml {
    reader: Reader<Bounded>,
    buffer: Vec<u8>,
}

/// A piece of XML.
#[derive(Debug)]
pub(super) enum Piece {
    /// A tag opens. What is empty opens and closes.
    Open(Tag),
    /// A tag of this name closes.
    Close(String),
    /// Text.
    Text(String),
    /// Nothing comes any more.
    End,
}

/// A tag that opens.
#[derive(Debug)]
pub(super) struct Tag {
    /// Its name, without a prefix.
    pub name: String,
    attributes: BytesStart<'static>,
}

impl Tag {
    /// The value of an attribute, whatever its prefix.
    pub fn get(&self, name: &str) -> Option<String> {
        attribute(&self.attributes, name)
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().flatten().find(|found| found.key.local_name().as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned)
}

impl Xml {
    /// The XML of these bytes.
    pub fn of(bytes: Bytes) -> Self {
        let bounded = Bounded { bytes: BufReader::with_capacity(64 << 10, bytes), left: MAX_PIECE };
        let mut reader = Reader::from_reader(bounded);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new() }
    }

    /// The next piece.
    ///
    /// # Errors
    /// When the bytes cannot be read, or are no XML.
    pub fn next(&mut self) -> io::Result<Piece> {
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = MAX_PIECE;
            let event = self.reader.read_event_into(&mut self.buffer).map_err(no_xml)?;
            return Ok(match event {
                Event::Start(tag) | Event::Empty(tag) => {
                    let name = tag.local_name().as_ref().to_owned();
                    Piece::Open(Tag { name, attributes: tag.into_owned() })
                }
                Event::End(tag) => Piece::Close(tag.local_name().as_ref().to_owned()),
                Event::Text(text) => Piece::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Piece::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(reference) => {
                    let char = reference.resolve_char_ref().map_err(no_xml)?;
                    let named = workbook_xml::escape::resolve_predefined_entity(&reference);
                    match (char, named) {
                        (Some(char), _) => Piece::Text(char.to_string()),
                        (None, Some(text)) => Piece::Text(text.to_owned()),
                        (None, None) => {
                            let text = format!(
                                "has the entity `&{};`, which XML does not know",
                                &*reference
                            );
                            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                        }
                    }
                }
                Event::Eof => Piece::End,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            });
        }
    }

    /// The text up to the end of the tag of this name that was opened, without that of tags in it but `t`.
    pub fn text(&mut self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Piece::Text(piece) => text.push_str(&piece),
                Piece::Close(closed) if closed == name => return Ok(text),
                Piece::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Piece::Open(_) | Piece::Close(_) => {}
            }
        }
    }

    /// The text of a string that may be made of runs, up to the end of the tag of this name: readings are left out.
    pub fn rich_text(&mut self, name: &str) -> io::Result<String> {
        let (mut text, mut wanted, mut reading) = (String::new(), false, 0);
        loop {
            match self.next()? {
                Piece::Open(tag) if tag.name == "t" => wanted = reading == 0,
                Piece::Open(tag) if tag.name == "rPh" => reading += 1,
                Piece::Close(closed) if closed == "rPh" => reading -= 1,
                Piece::Close(closed) if closed == "t" => wanted = false,
                Piece::Text(piece) if wanted => text.push_str(&piece),
                Piece::Close(closed) if closed == name => return Ok(unescaped(text)),
                Piece::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Piece::Open(_) | Piece::Close(_) | Piece::Text(_) => {}
            }
        }
    }
}

/// A text with characters that XML does not have, which workbooks write as `_x000D_`.
pub(super) fn unescaped(text: String) -> String {
    if !text.contains("_x") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("_x") {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let code = escape.get(2..6).filter(|_| escape.as_bytes().get(6) == Some(&b'_'));
        let char = code
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|code| u32::from_str_radix(code, 16).ok())
            .and_then(char::from_u32);
        match char {
            Some(char) => {
                out.push(char);
                rest = &escape[7..];
            }
            None => {
                out.push_str("_x");
                rest = &escape[2..];
            }
        }
    }
    out + rest
}

fn no_xml(error: impl Into<workbook_xml::Error>) -> io::Error {
    match error.into() {
        workbook_xml::Error::Io(error) => std::sync::Arc::try_unwrap(error)
            .unwrap_or_else(|error| io::Error::new(error.kind(), error.to_string())),
        error => {
            io::Error::new(io::ErrorKind::InvalidData, format!("the workbook is damaged: {error}"))
        }
    }
}

/// Bytes of which a piece may have only so many.
struct Bounded {
    bytes: BufReader<Bytes>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl BufRead for Bounded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            let text = format!("the workbook has a piece of more than {MAX_PIECE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.bytes.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.left = self.left.saturating_sub(amount as u64);
        self.bytes.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_xml_does_not_have_are_unescaped() {
        for (text, expected) in [
            ("a_x000D_b", "a\rb"),
            ("_x005F_x0041_", "_x0041_"),
            ("_x00", "_x00"),
            ("a_xZZZZ_é_x0041_", "a_xZZZZ_éA"),
            ("plain_text", "plain_text"),
        ] {
            assert_eq!(unescaped(text.to_owned()), expected);
        }
    }
}
