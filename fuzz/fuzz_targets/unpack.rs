//! Any bytes as a packed file or an archive: unpacked or refused, and the same however they come.
//!
//! An input is two bytes, digits as they read, and the file.

#![no_main]

use std::io::{Cursor, Read};

use kasparro_fuzz::Pieces;
use kasparro_fuzz::sources::files::unpack::{Compression, Packing, contents};
use libfuzzer_sys::fuzz_target;

/// The most unpacked bytes that are looked at.
const MOST: u64 = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&[told, piece], file)) = input.split_first_chunk() else { return };
    let packing = Packing { max_spool: 1 << 20, ..Packing::of(Compression::Auto) };
    let read = |piece: usize| {
        let bytes = Box::new(Pieces(Cursor::new(file.to_vec()), piece));
        let all = contents(bytes, &packing, told != b'0').ok()?;
        let text = |content: kasparro_fuzz::sources::files::unpack::Content| {
            let mut text = Vec::new();
            let read = content.bytes.and_then(|all| all.bytes.take(MOST).read_to_end(&mut text));
            (content.member, read.ok().map(|_| text))
        };
        Some(all.map(text).collect::<Vec<_>>())
    };
    let few = usize::from(piece.wrapping_sub(b'0')) + 1;
    assert_eq!(read(few), read(1 << 16), "it matters how the bytes come");
});
