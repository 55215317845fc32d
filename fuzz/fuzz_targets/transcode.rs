//! Any bytes in any encoding: a text in which only what is none is marked, the same however they come.
//!
//! An input is two bytes, digits as they read, and the text.

#![no_main]

use std::io::{Cursor, Read};

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, UTF_16BE, UTF_16LE,
    WINDOWS_1252,
};
use kasparro_fuzz::Pieces;
use kasparro_fuzz::sources::files::encodings::{Readable, of_text};
use kasparro_fuzz::sources::files::transcode::{NO_TEXT, Transcoded};
use libfuzzer_sys::fuzz_target;

const ALL: [&Encoding; 9] =
    [UTF_16LE, UTF_16BE, SHIFT_JIS, GB18030, BIG5, EUC_JP, EUC_KR, ISO_2022_JP, WINDOWS_1252];

fuzz_target!(|input: &[u8]| {
    let Some((&[encoding, piece], file)) = input.split_first_chunk() else { return };
    let from = ALL[usize::from(encoding.wrapping_sub(b'0')) % ALL.len()];
    let read = |piece: usize| {
        let mut text = Vec::new();
        let bytes = Box::new(Pieces(Cursor::new(file.to_vec()), piece));
        Transcoded::of(bytes, from).read_to_end(&mut text).expect("bytes in memory are read");
        text
    };
    let text = read(usize::from(piece.wrapping_sub(b'0')) + 1);
    assert_eq!(text, read(1 << 16), "it matters how the bytes come");
    let (_, malformed) = from.decode_with_bom_removal(file);
    assert_eq!(text.contains(&NO_TEXT), malformed, "what is no text is not marked");
    for part in text.split(|byte| *byte == NO_TEXT) {
        std::str::from_utf8(part).expect("UTF-8 but for the marks");
    }
    // What was transcoded is not guessed again.
    let can = Readable { single_bytes: true, guesses: true };
    let again = of_text(None, &text, true, can)
        .expect("its mark says what it is")
        .expect("all of it is there");
    assert!(!again.transcoded);
});
