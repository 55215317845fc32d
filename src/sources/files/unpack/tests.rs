//! What is unpacked is what was packed, or an error.

use std::io::Write;

use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const GZIP: [u8; 2] = [0x1f, 0x8b];

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Gives the bytes in pieces of that size.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn read(bytes: &[u8], piece: usize, compression: Compression) -> io::Result<Vec<u8>> {
    read_to(bytes, piece, compression, true)
}

fn read_to(
    bytes: &[u8],
    piece: usize,
    compression: Compression,
    end_is_told: bool,
) -> io::Result<Vec<u8>> {
    let pieces = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
    let mut out = Vec::new();
    only(pieces, &Packing::of(compression), end_is_told)?.bytes.read_to_end(&mut out)?;
    Ok(out)
}

/// A block of BGZF.
fn block(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .extra(&b"BC\x02\0\0\0"[..])
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #[test]
    fn members_follow_each_other_and_a_part_of_a_file_is_never_a_file(
        texts in prop::collection::vec("[a-z]{1,40}", 1..4),
        zeros in 0..9_usize,
        piece in 1..50_usize,
        cut in 1..30_usize,
    ) {
        let members: Vec<_> = texts.iter().map(|text| gzip(text.as_bytes())).collect();
        let mut file = members.concat();
        let whole = texts.concat().into_bytes();
        let last = members.last().map_or(0, Vec::len);
        // Within the last member: between two members a file may well end.
        let short = &file[..file.len() - cut.min(last - 1)];
        prop_assert!(read(short, piece, Compression::Auto).is_err());
        // Unless somebody told where it ends, it may have been cut there.
        let untold = read_to(&file, piece, Compression::Auto, false);
        prop_assert_eq!(untold.is_ok(), members.len() == 1);
        prop_assert_eq!(read_to(&gzip(&file), piece, Compression::Auto, false).unwrap(), whole.clone());
        file.extend(vec![0; zeros]);
        prop_assert_eq!(read(&file, piece, Compression::Auto).unwrap(), whole.clone());
        prop_assert_eq!(read(&gzip(&file), piece, Compression::Gzip).unwrap(), whole);
        file.extend(b"x");
        prop_assert!(read(&file, piece, Compression::Auto).is_err());
    }
}

#[test]
fn what_is_not_packed_comes_as_it_is_unless_the_job_file_says_that_it_is_packed() {
    let error = read(&GZIP[..1], 1, Compression::Auto).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    for text in [&b""[..], b"a", b"a,b\n1,2\n"] {
        assert_eq!(read(text, 1, Compression::Auto).unwrap(), text);
        assert_eq!(read(&gzip(text), 3, Compression::None).unwrap(), gzip(text));
    }
    assert_eq!(read(b"", 1, Compression::Gzip).unwrap(), b"");
    let error = read(b"a,b", 1, Compression::Gzip).unwrap_err();
    assert!(error.to_string().contains("is no gzip"), "{error}");
}

#[test]
fn a_file_of_blocks_whose_end_nobody_told_is_whole_if_its_last_block_is_empty() {
    let [one, two, none] = [&b"a,b\n"[..], b"1,2\n", b""].map(block);
    let read = |blocks: &[&[u8]], told| read_to(&blocks.concat(), 5, Compression::Auto, told);
    for cut in [&[&*one][..], &[&one, &two]] {
        let error = read(cut, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        assert!(read(cut, true).is_ok());
    }
    assert_eq!(read(&[&one, &two, &none], false).unwrap(), b"a,b\n1,2\n");
}

#[test]
fn a_file_that_is_packed_otherwise_or_is_none_of_rows_is_named_for_what_it_is() {
    for (text, is) in
        [(&b"<!doctype html>"[..], "it is an HTML page"), (b"<?xml version='1.0'?>", "it is XML")]
    {
        for bytes in [text.to_vec(), gzip(text)] {
            let error = read(&bytes, 3, Compression::Auto).unwrap_err();
            assert!(error.to_string().contains(is), "{error}");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        assert!(read(text, 3, Compression::None).is_err());
    }
}

type Pack = fn(&[u8]) -> Vec<u8>;
const PACKS: [Pack; 4] = [gzip, zstd, xz, bzip2];

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

fn xz(text: &[u8]) -> Vec<u8> {
    xz_of(text, 1 << 20)
}

fn xz_of(text: &[u8], dictionary: u32) -> Vec<u8> {
    let mut options = lzma_rust2::XzOptions::with_preset(1);
    options.lzma_options.dict_size = dictionary;
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(text: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn however_a_file_is_packed_all_of_it_comes_or_an_error(
        pack in prop::sample::select(PACKS.to_vec()),
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 1..4),
        piece in 1..5000_usize,
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let whole = [b"a,b\n".to_vec(), texts.concat()].concat();
        let mut parts = vec![pack(b"a,b\n")];
        parts.extend(texts.iter().map(|text| pack(text)));
        let mut file = parts.concat();
        prop_assert_eq!(read(&file, piece, Compression::Auto).unwrap(), whole.clone());
        prop_assert_eq!(read(&pack(&file), piece, Compression::Auto).unwrap(), whole.clone());
        prop_assert!(read_to(&file, piece, Compression::Auto, false).is_err());
        let last = parts.last().map_or(0, Vec::len);
        // Of a single part: wherever it is cut, but for its first byte or two, which may be text.
        let cut = 3 + cut.index(last - 3);
        let error = read(&parts[parts.len() - 1][..cut], piece, Compression::Auto).unwrap_err();
        prop_assert!(error.kind() != io::ErrorKind::InvalidData, "{}", error);
        // A bit that is wrong is noticed, or was one that says nothing, as the time in gzip's header.
        let at = flip.index(file.len());
        file[at] ^= 1 << bit;
        if let Ok(read) = read(&file, piece, Compression::Auto) {
            prop_assert!(at < 12 || read == whole);
        }
        file[at] ^= 1 << bit;
        file.extend(b"x");
        prop_assert!(read(&file, piece, Compression::Auto).is_err());
    }
}

#[test]
fn frames_that_zstd_passes_over_hold_nothing() {
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let text = zstd(b"id\n1\n");
    for file in [[&*skipped, &text].concat(), [&*text, &skipped].concat()] {
        assert_eq!(read(&file, 3, Compression::Zstd).unwrap(), b"id\n1\n");
    }
    assert!(read(&skipped[..9], 3, Compression::Auto).is_err());
}

#[test]
fn what_takes_too_much_memory_to_unpack_is_refused_by_name() {
    let long = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
    for file in [long.to_vec(), xz_of(b"id\n", 64 << 20)] {
        let error = read(&file, 100, Compression::Auto).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("at most 32 MiB are looked back"), "{error}");
    }
    assert_eq!(read(&xz_of(b"id\n", 32 << 20), 100, Compression::Auto).unwrap(), b"id\n");
}

#[test]
fn a_decompression_bomb_is_noticed() {
    for (packed, is_bomb) in [(65_000, true), (69_000, false)] {
        let came = Arc::new(std::sync::atomic::AtomicU64::new(packed));
        let zeros = io::repeat(b'0').take(65 << 20);
        let mut unpacked = density::Watched::of(Box::new(zeros), came);
        let read = io::copy(&mut unpacked, &mut io::sink());
        assert_eq!(
            read.is_err_and(|error| error.to_string().contains("decompression bomb")),
            is_bomb
        );
    }
}

/// An archive of members with these names.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in members {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::DEFLATE);
        writer.start_file(*name, options).unwrap();
        writer.write_all(text).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Names and texts, or what is wrong.
fn members(file: &[u8], packing: &Packing) -> Vec<(String, Result<String, String>)> {
    let all = contents(Box::new(Cursor::new(file.to_vec())), packing, true).unwrap();
    let text = |content: Content| {
        let mut text = String::new();
        let read = content.bytes.and_then(|mut unpacked| unpacked.bytes.read_to_string(&mut text));
        (content.member.unwrap_or_default(), read.map(|_| text).map_err(|error| error.to_string()))
    };
    all.map(text).collect()
}

#[test]
fn the_members_of_an_archive_are_read_in_its_order_and_a_broken_one_costs_no_other() {
    let nested = gzip(b"id\n3\n");
    let file = archive(&[
        ("b.csv", &b"id\n1\n"[..]),
        ("../../etc/a.csv", b"id\n2\n"),
        ("__MACOSX/._b.csv", b"no"),
        ("in/.hidden", b"no"),
        ("c.csv.gz", &nested),
        ("page.csv", b"<!doctype html>"),
    ]);
    let auto = Packing::of(Compression::Auto);
    let found = members(&file, &auto);
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["b.csv", "../../etc/a.csv", "c.csv.gz", "page.csv"]);
    let texts: Vec<_> = found.iter().filter_map(|(_, text)| text.as_deref().ok()).collect();
    assert_eq!(texts, ["id\n1\n", "id\n2\n", "id\n3\n"]);
    assert!(found[3].1.as_ref().is_err_and(|error| error.contains("is an HTML page")), "{found:?}");
    let error = read(&file, 9, Compression::Auto).unwrap_err().to_string();
    assert!(error.contains("several members, such as \"../../etc/a.csv\""), "{error}");
    let single = archive(&[("a.csv", b"id\n1\n"), (".x", b"")]);
    assert_eq!(read(&single, 9, Compression::Auto).unwrap(), b"id\n1\n");
    // Packed as a whole, as some servers do.
    assert_eq!(members(&gzip(&file), &auto), found);
    let chosen = |pattern: &str| {
        let member = vec![Pattern::new(pattern).unwrap()];
        members(&file, &Packing { member, ..Packing::of(Compression::Zip) }).len()
    };
    // What macOS puts beside files, and what is hidden, is read only if it is named.
    assert_eq!([chosen("*.csv"), chosen("?.csv"), chosen("c*"), chosen("**/*.csv")], [3, 2, 1, 3]);
    assert_eq!([chosen("._*"), chosen("in/.*"), chosen("__MACOSX/._*.csv")], [1, 1, 1]);
    let mut broken = file.clone();
    // Within the data of the first member, behind its local header.
    broken[36] ^= 0xff;
    let found = members(&broken, &auto);
    assert!(found[0].1.is_err() && found[1].1.is_ok(), "{found:?}");
}

#[test]
fn an_archive_that_cannot_be_read_says_why() {
    let refused = |file: &[u8], packing: &Packing| {
        let opened = contents(Box::new(Cursor::new(file.to_vec())), packing, true);
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let auto = Packing::of(Compression::Auto);
    let file = archive(&[("a.txt", b"1"), ("b.txt", b"2")]);
    let csv = Packing { member: vec![Pattern::new("*.csv").unwrap()], ..auto.clone() };
    let error = refused(&file, &csv);
    assert!(error.contains("`files.member` matches: it has \"a.txt\", \"b.txt\""), "{error}");
    assert!(refused(&archive(&[]), &auto).contains("without members"));
    let small = Packing { max_spool: 10, ..auto.clone() };
    assert!(refused(&file, &small).contains("`files.max_spool` = 10 bytes"));
    assert!(refused(&file[..file.len() - 30], &auto).contains("is damaged"));
    assert!(refused(b"id\n", &Packing::of(Compression::Zip)).contains("is no ZIP archive"));
    // The flag that says that a member is encrypted, in both places.
    let mut secret = archive(&[("a.csv", b"id\n")]);
    let directory = secret.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    secret[6] |= 1;
    secret[directory + 8] |= 1;
    let found = members(&secret, &auto);
    assert!(found[0].1.as_ref().is_err_and(|error| error.contains("is encrypted")), "{found:?}");
}

#[test]
fn an_archive_of_a_formats_own_is_a_file_and_one_of_such_files_an_archive() {
    let workbook = archive(&[("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"")]);
    let own = Packing { own_archives: &[".xlsx"], ..Packing::of(Compression::Auto) };
    let one = contents(Box::new(Cursor::new(workbook.clone())), &own, true).unwrap();
    assert_eq!(one.map(|content| content.member).collect::<Vec<_>>(), [None]);
    let as_rows =
        contents(Box::new(Cursor::new(workbook.clone())), &Packing::of(Compression::Auto), true);
    let said = as_rows.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("kind = \"xlsx\""), "{said}");
    let several = archive(&[("a.xlsx", &workbook), ("b.xlsx", &workbook)]);
    let several = contents(Box::new(Cursor::new(several)), &own, true).unwrap();
    let names: Vec<_> =
        several.filter_map(|content| content.bytes.ok().and(content.member)).collect();
    assert_eq!(names, ["a.xlsx", "b.xlsx"]);
}
