//! Owns reading a text of any encoding as UTF-8.
//!
//! It begins with the mark of UTF-8, so that nobody guesses again. What is no text in its encoding becomes a byte that
//! UTF-8 has nowhere, and behind it the bytes that were there, such as `<81>`: so the row that it is in is set aside, and
//! a row that holds U+FFFD by itself is not.

use std::fmt::Write as _;
use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding};

use super::unpack::Bytes;

/// The mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// A byte that no text in UTF-8 has.
pub const NO_TEXT: u8 = 0xFF;
/// Bytes decoded at once.
const PIECE: usize = 64 << 10;
/// Bytes that may have to be looked back at: more than any character has.
const BACK: usize = 16;

/// A text that is transcoded while it is read.
pub struct Transcoded {
    bytes: Bytes,
    decoder: Decoder,
    /// What was read, from `at` on not decoded yet; in front of it what was before.
    input: Vec<u8>,
    at: usize,
    ended: bool,
    done: bool,
    output: Vec<u8>,
    given: usize,
}

impl Transcoded {
    /// The text of bytes in an encoding; a byte order mark is no part of it.
    pub fn of(bytes: Bytes, from: &'static Encoding) -> Self {
        Self {
            bytes,
            decoder: from.new_decoder_with_bom_removal(),
            input: Vec::with_capacity(PIECE + BACK),
            at: 0,
            ended: false,
            done: false,
            output: MARK.to_vec(),
            given: 0,
        }
    }

    /// Reads more, once all was decoded.
    fn more(&mut self) -> io::Result<()> {
        if self.ended || self.at < self.input.len() {
            return Ok(());
        }
        self.input.drain(..self.input.len().saturating_sub(BACK));
        self.at = self.input.len();
        self.input.resize(self.at + PIECE, 0);
        let read = self.bytes.read(&mut self.input[self.at..]);
        self.input.truncate(self.at + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(())
    }

    fn decode(&mut self) -> io::Result<()> {
        self.more()?;
        self.given = 0;
        // Three bytes of each are the most that come of one.
        self.output.resize(3 * PIECE + 64, 0);
        let input = &self.input[self.at..];
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.output, self.ended);
        self.at += read;
        self.output.truncate(written);
        match result {
            DecoderResult::InputEmpty => self.done = self.ended,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(length, behind) => {
                let end = self.at.saturating_sub(usize::from(behind));
                let start = end.saturating_sub(usize::from(length));
                self.output.push(NO_TEXT);
                self.output.extend(shown(&self.input[start..end]).into_bytes());
            }
        }
        Ok(())
    }
}

fn shown(bytes: &[u8]) -> String {
    let mut text = String::from("<");
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
    text.push('>');
    text
}

impl Read for Transcoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.given == self.output.len() {
            if self.done {
                return Ok(0);
            }
            self.decode()?;
        }
        let length = buffer.len().min(self.output.len() - self.given);
        buffer[..length].copy_from_slice(&self.output[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use encoding_rs::*;
    use proptest::prelude::*;

    use super::*;

    const ALL: [&Encoding; 10] = [
        SHIFT_JIS,
        GB18030,
        GBK,
        BIG5,
        EUC_JP,
        EUC_KR,
        ISO_2022_JP,
        WINDOWS_1252,
        MACINTOSH,
        KOI8_R,
    ];

    /// Gives the bytes in pieces of that size.
    struct Pieces(Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn transcoded(bytes: &[u8], from: &'static Encoding, piece: usize, take: usize) -> Vec<u8> {
        let pieces = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
        let mut text = Pieces2(Transcoded::of(pieces, from), take);
        let mut out = Vec::new();
        text.read_to_end(&mut out).unwrap();
        out
    }

    struct Pieces2(Transcoded, usize);

    impl Read for Pieces2 {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn utf_16(text: &str, from: &'static Encoding) -> Vec<u8> {
        let units = text.encode_utf16();
        match from == UTF_16BE {
            true => units.flat_map(u16::to_be_bytes).collect(),
            false => units.flat_map(u16::to_le_bytes).collect(),
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_encoded_comes_back_however_it_is_read(
            encoding in prop::sample::select(ALL.to_vec()),
            text in "[a-z,\\n|\\\\éßЖ表示能力ソ名前の東京你好한글\u{fffd}😀]{0,80}",
            piece in 1..9_usize,
            take in 1..9_usize,
        ) {
            let text: String = text.chars().filter(|c| !encoding.encode(&c.to_string()).2).collect();
            let (bytes, _, _) = encoding.encode(&text);
            let expected = [MARK, text.as_bytes()].concat();
            prop_assert_eq!(transcoded(&bytes, encoding, piece, take), expected);
        }

        #[test]
        fn any_text_comes_back_from_utf_16(text in any::<String>(), piece in 1..9_usize, mark in any::<bool>()) {
            let text = text.trim_start_matches('\u{feff}');
            for encoding in [UTF_16LE, UTF_16BE] {
                let mark = if mark { "\u{feff}" } else { "" };
                let bytes = utf_16(&format!("{mark}{text}"), encoding);
                let expected = [MARK, text.as_bytes()].concat();
                prop_assert_eq!(transcoded(&bytes, encoding, piece, 7), expected);
            }
        }

        #[test]
        fn any_bytes_become_a_text_in_which_only_what_is_none_is_marked(
            encoding in prop::sample::select(ALL.to_vec()),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            piece in 1..9_usize,
        ) {
            let text = transcoded(&bytes, encoding, piece, 7);
            let whole = encoding.decode_without_bom_handling_and_without_replacement(&bytes);
            prop_assert_eq!(&text, &transcoded(&bytes, encoding, 1000, 1000));
            prop_assert_eq!(text.contains(&NO_TEXT), whole.is_none());
            prop_assert!(text.split(|byte| *byte == NO_TEXT).all(|part| std::str::from_utf8(part).is_ok()));
        }
    }

    #[test]
    fn what_is_no_text_is_shown_as_it_was_and_takes_nothing_with_it() {
        let text = transcoded(b"1,\x81\n2,\x95\\\xA0,\xEF\xBF", SHIFT_JIS, 1, 9);
        assert_eq!(
            text,
            [MARK, b"1,\xff<81>\n2,", "表".as_bytes(), b"\xff<A0>,\xff<EFBF>"].concat()
        );
        let odd = transcoded(b"a\0b", UTF_16LE, 2, 9);
        assert_eq!(odd, [MARK, b"a\xff<62>"].concat());
    }
}
