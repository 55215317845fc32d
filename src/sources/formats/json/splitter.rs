//! Owns cutting one JSON document into lines of JSON while it is read: a row each, as it was written, without the white
//! space between its tokens. No more of it is held than a piece and how deep it is nested.
//!
//! What is wrong with a document is told with its place. What is wrong within a row, such as a bad escape, stays in its
//! line: that row is set aside, and no other.

use std::io::{self, Read};

use memchr::memchr3;

use super::path_walk::{Role, Walk};
use super::selector::Step;
use crate::domain::text::{self, quoted};
use crate::sources::files::unpack::Bytes;

/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// The deepest nesting of a document; of rows it is less, see `domain::json_size`.
const MAX_DEPTH: usize = 10_000;
/// The longest token that is looked at: a key on the way to the rows, or a number or word beside them.
const MAX_TOKEN: usize = 64 << 10;
/// The mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The rows of a document, a line each.
pub(super) struct Splitter {
    bytes: Bytes,
    input: Vec<u8>,
    started: bool,
    ended: bool,
    output: Vec<u8>,
    given: usize,
    machine: Machine,
}

impl Splitter {
    /// Cuts the values that these steps lead to, or the elements of the lists that they lead to.
    pub fn of(bytes: Bytes, selector: &str, steps: Vec<Step>, wants_list: bool) -> Self {
        Self {
            bytes,
            input: Vec::new(),
            started: false,
            ended: false,
            output: Vec::new(),
            given: 0,
            machine: Machine::new(Walk::new(selector, steps, wants_list)),
        }
    }

    fn more(&mut self) -> io::Result<()> {
        self.input.resize(PIECE, 0);
        let mut length = 0;
        // A mark comes whole, if there is one.
        let enough = if self.started { 1 } else { MARK.len() };
        while length < enough {
            match self.bytes.read(&mut self.input[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.input.truncate(length);
        self.output.clear();
        self.given = 0;
        let start = if !self.started && self.input.starts_with(MARK) { MARK.len() } else { 0 };
        self.started = true;
        if length == 0 {
            self.ended = true;
            return self.machine.end();
        }
        self.machine.take(&self.input[start..], &mut self.output)
    }
}

impl Read for Splitter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.output.len() {
            if self.ended || buffer.is_empty() {
                return Ok(0);
            }
            self.more()?;
        }
        let length = buffer.len().min(self.output.len() - self.given);
        buffer[..length].copy_from_slice(&self.output[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
    /// More of a text; whether it is a key.
    Text {
        key: bool,
        escaped: bool,
    },
    /// More of a number or word.
    Word,
    /// Nothing but white space.
    Nothing,
}

impl Next {
    fn expected(self) -> &'static str {
        match self {
            Self::Value => "a value",
            Self::ValueOrEnd => "a value or `]`",
            Self::KeyOrEnd => "a key or `}`",
            Self::Key => "a key",
            Self::Colon => "`:`",
            Self::CommaOrEnd => "`,` or the end of the list or object",
            Self::Text { .. } => "the end of a text",
            Self::Word => "the end of a number or word",
            Self::Nothing => "the end of the document",
        }
    }
}

/// Reads a document byte by byte.
struct Machine {
    walk: Walk,
    next: Next,
    /// Whether each list or object that is open is an object.
    open: Vec<bool>,
    /// How deep the row is that is being written.
    row: Option<usize>,
    /// A key that is looked at, or a number or word that is no part of a row.
    token: Vec<u8>,
    line: u64,
    column: u64,
    /// Whether the last byte was a CR, which ends a line as LF does.
    after_return: bool,
    /// Whether the document is an object.
    is_object: bool,
}

impl Machine {
    fn new(walk: Walk) -> Self {
        Self {
            walk,
            next: Next::Value,
            open: Vec::new(),
            row: None,
            token: Vec::new(),
            line: 1,
            column: 1,
            after_return: false,
            is_object: false,
        }
    }

    /// Takes more of the document, and writes what of it is rows.
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            if let Next::Text { key, escaped: false } = self.next {
                // Most of a document is text.
                let rest = &input[at..];
                let length = memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len());
                if length > 0 {
                    self.text(&rest[..length], key, output)?;
                    at += length;
                    continue;
                }
            }
            self.byte(*byte, output)?;
            self.count(*byte);
            at += 1;
        }
        Ok(())
    }

    /// A piece of a text, without quotes, backslashes and ends of lines.
    fn text(&mut self, piece: &[u8], key: bool, output: &mut Vec<u8>) -> io::Result<()> {
        self.column += piece.iter().filter(|byte| !matches!(byte, 0x80..=0xBF)).count() as u64;
        self.after_return = false;
        if self.row.is_some() {
            // Whether it is good is said of the row.
            output.extend_from_slice(piece);
        } else if let Some(at) = piece.iter().position(|byte| *byte < 0x20) {
            return Err(self.found(piece[at]));
        }
        if key {
            self.keep(piece)?;
        }
        Ok(())
    }

    fn count(&mut self, byte: u8) {
        match byte {
            b'\n' if self.after_return => {}
            b'\n' | b'\r' => {
                self.line += 1;
                self.column = 1;
            }
            0x80..=0xBF => {}
            _ => self.column += 1,
        }
        self.after_return = byte == b'\r';
    }

    fn keep(&mut self, piece: &[u8]) -> io::Result<()> {
        // Within a row nobody looks at keys.
        if self.row.is_none() {
            self.token.extend_from_slice(piece);
            if self.token.len() > MAX_TOKEN {
                let what = format!("a key, number or word of more than {MAX_TOKEN} bytes");
                return Err(self.wrong(&what));
            }
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8, output: &mut Vec<u8>) -> io::Result<()> {
        match self.next {
            Next::Text { key, escaped } => return self.text_byte(byte, key, escaped, output),
            Next::Word if matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') =>
            {
                if self.row.is_some() {
                    output.push(byte);
                }
                return self.keep(&[byte]);
            }
            Next::Word => self.word_ended(output)?,
            _ => {}
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(());
        }
        let within = self.open.last().copied();
        match (self.next, byte, within) {
            (Next::Value | Next::ValueOrEnd, b'[' | b'{', _) => self.opens(byte == b'{', output),
            (Next::Value | Next::ValueOrEnd, b'"', _) => {
                self.begins(byte, output)?;
                self.next = Next::Text { key: false, escaped: false };
                Ok(())
            }
            (Next::Value | Next::ValueOrEnd, b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z', _) => {
                self.begins(byte, output)?;
                self.next = Next::Word;
                self.token.clear();
                self.keep(&[byte])
            }
            (Next::KeyOrEnd | Next::Key, b'"', _) => {
                if self.row.is_some() {
                    output.push(byte);
                }
                self.token.clear();
                self.next = Next::Text { key: true, escaped: false };
                Ok(())
            }
            (Next::Colon, b':', _) => self.punctuation(byte, Next::Value, output),
            (Next::CommaOrEnd, b',', Some(true)) => self.punctuation(byte, Next::Key, output),
            (Next::CommaOrEnd, b',', Some(false)) => self.punctuation(byte, Next::Value, output),
            (Next::ValueOrEnd | Next::CommaOrEnd, b']', Some(false))
            | (Next::KeyOrEnd | Next::CommaOrEnd, b'}', Some(true)) => self.closes(byte, output),
            _ => Err(self.found(byte)),
        }
    }

    fn punctuation(&mut self, byte: u8, next: Next, output: &mut Vec<u8>) -> io::Result<()> {
        if self.row.is_some() {
            output.push(byte);
        }
        self.next = next;
        Ok(())
    }

    fn text_byte(
        &mut self,
        byte: u8,
        key: bool,
        escaped: bool,
        output: &mut Vec<u8>,
    ) -> io::Result<()> {
        if byte == b'\n' {
            return Err(self.found(byte));
        }
        if self.row.is_some() {
            output.push(byte);
        } else if escaped && !b"\"\\/bfnrtu".contains(&byte) {
            return Err(self.found(byte));
        }
        if !escaped && byte == b'"' {
            return if key { self.key_ended() } else { self.value_ended(output) };
        }
        self.next = Next::Text { key, escaped: !escaped && byte == b'\\' };
        if key { self.keep(&[byte]) } else { Ok(()) }
    }

    fn key_ended(&mut self) -> io::Result<()> {
        self.next = Next::Colon;
        if self.row.is_none() && self.walk.wants_key(self.open.len()) {
            let text = [b"\"", &self.token[..], b"\""].concat();
            let key: String = serde_json::from_slice(&text)
                .map_err(|_| self.wrong(&format!("the key {}", shown(&text))))?;
            self.walk.key(key).map_err(|twice| self.problem(&twice))?;
        }
        Ok(())
    }

    fn word_ended(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if self.row.is_none()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&self.token).is_err()
        {
            return Err(self.wrong(&shown(&self.token)));
        }
        self.value_ended(output)
    }

    /// A value begins that is no list or object, or does so with this byte.
    fn begins(&mut self, byte: u8, output: &mut Vec<u8>) -> io::Result<Role> {
        if self.row.is_some() {
            output.push(byte);
            return Ok(Role::Other);
        }
        let role =
            self.walk.begins(byte, self.open.len()).map_err(|problem| self.problem(&problem))?;
        if role == Role::Row {
            self.row = Some(self.open.len());
            output.push(byte);
        }
        Ok(role)
    }

    fn opens(&mut self, object: bool, output: &mut Vec<u8>) -> io::Result<()> {
        let role = self.begins(if object { b'{' } else { b'[' }, output)?;
        if self.open.is_empty() {
            self.is_object = object;
        }
        self.open.push(object);
        if self.open.len() > MAX_DEPTH {
            return Err(
                self.problem(&format!("lists and objects are nested more than {MAX_DEPTH} deep"))
            );
        }
        self.walk.opened(role, self.open.len());
        self.next = if object { Next::KeyOrEnd } else { Next::ValueOrEnd };
        Ok(())
    }

    fn closes(&mut self, byte: u8, output: &mut Vec<u8>) -> io::Result<()> {
        if self.row.is_some() {
            output.push(byte);
        }
        self.walk.closed(self.open.len());
        self.open.pop();
        self.value_ended(output)
    }

    fn value_ended(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if self.row == Some(self.open.len()) {
            self.row = None;
            output.push(b'\n');
        }
        self.next = if self.open.is_empty() { Next::Nothing } else { Next::CommaOrEnd };
        Ok(())
    }

    /// The end of the bytes.
    fn end(&mut self) -> io::Result<()> {
        if self.next == Next::Word {
            self.word_ended(&mut Vec::new())?;
        }
        if self.next == Next::Nothing {
            return self.walk.ended().map_err(no_document);
        }
        let Self { line, column, .. } = self;
        let what = match (self.next, self.open.len()) {
            (Next::Value, 0) => "holds no JSON document".to_owned(),
            (next, _) => format!(
                "ends within its JSON document: in line {line}, column {column}, {} was expected",
                next.expected()
            ),
        };
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
    }

    /// The error of a byte that should not be there.
    fn found(&self, byte: u8) -> io::Error {
        match (self.next, byte) {
            (Next::Nothing, b'{') if self.is_object && self.line > 1 => no_document(
                "is no JSON document, but JSON Lines, which have an object on each line: write kind = \"jsonl\""
                    .to_owned(),
            ),
            (Next::Nothing, b'{' | b'[') => {
                self.problem("another JSON document begins, and one is read: let each be a file")
            }
            (Next::Text { .. }, b'\n') => {
                self.wrong("the end of the line: within a text it is written as `\\n`")
            }
            (_, b' '..=b'~') => self.wrong(&format!("`{}`", char::from(byte))),
            (_, byte) => self.wrong(&format!("the byte 0x{byte:02X}")),
        }
    }

    fn wrong(&self, found: &str) -> io::Error {
        self.problem(&format!("{} was expected, and there is {found}", self.next.expected()))
    }

    fn problem(&self, what: &str) -> io::Error {
        let Self { line, column, .. } = self;
        no_document(format!("line {line}, column {column}: {what}"))
    }
}

fn shown(token: &[u8]) -> String {
    quoted(&text::beginning(&String::from_utf8_lossy(token)))
}

fn no_document(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
