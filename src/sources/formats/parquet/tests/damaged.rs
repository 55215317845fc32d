//! What is no file of Parquet, or none any more.

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{Int64Array, StringArray};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterVersion;

use super::*;

/// A small file of three row groups.
fn small(properties: parquet::file::properties::WriterPropertiesBuilder) -> Vec<u8> {
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in 0..9 {
        (0..row % 3).for_each(|tag| tags.values().append_value(format!("tag {tag}")));
        tags.append(row % 4 > 0);
    }
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..9));
    let names = (0..9).map(|row| (row != 3).then(|| format!("name {}", row % 2)));
    let names: ArrayRef = Arc::new(StringArray::from_iter(names));
    let columns = vec![("id", ids), ("name", names), ("tags", Arc::new(tags.finish()) as ArrayRef)];
    file_of(columns, properties.set_max_row_group_row_count(Some(4)).build())
}

fn all_small() -> Vec<Vec<u8>> {
    let plain = WriterProperties::builder().set_created_by("k".to_owned());
    let zstd = Compression::ZSTD(ZstdLevel::default());
    vec![
        small(plain.clone()),
        small(plain.clone().set_compression(Compression::SNAPPY).set_dictionary_enabled(false)),
        small(plain.set_compression(zstd).set_writer_version(WriterVersion::PARQUET_2_0)),
    ]
}

#[test]
fn a_file_that_was_cut_anywhere_is_an_error() {
    for file in all_small() {
        assert_eq!(rows_of(&file).len(), 9);
        for length in 0..file.len() {
            let error = lines_of(&file[..length]).unwrap_err();
            let says = ["is empty", "is no Parquet file", "not all of it is there"];
            assert!(says.iter().any(|says| error.contains(says)), "{length}: {error}");
        }
    }
}

/// Many a changed byte leaves a file that is as good as another. But never are there fewer rows, or is the process gone.
#[test]
fn a_file_with_another_byte_anywhere_has_all_its_rows_or_is_an_error() {
    for file in all_small() {
        let mut errors = 0;
        for at in 0..file.len() {
            for with in [file[at] ^ 1, file[at] ^ 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = with;
                match lines_of(&damaged) {
                    Ok(lines) => assert_eq!(lines.len(), 10, "byte {at} as {with}"),
                    Err(error) => {
                        errors += 1;
                        assert!(!error.is_empty() && error.len() < 2_000, "{error}");
                    }
                }
            }
        }
        assert!(errors > file.len() / 2, "{errors}");
    }
}

#[test]
fn a_file_without_a_piece_of_it_has_all_its_rows_or_is_an_error() {
    for file in all_small() {
        for start in (0..file.len()).step_by(3) {
            for length in [1, 4, 17, 100] {
                let end = (start + length).min(file.len());
                let without = [&file[..start], &file[end..]].concat();
                let zeros = [&file[..start], &vec![0; end - start], &file[end..]].concat();
                for damaged in [without, zeros] {
                    if let Ok(lines) = lines_of(&damaged) {
                        assert_eq!(lines.len(), 10, "{length} bytes at {start}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_codec_that_nobody_reads_is_named() {
    let packed = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let file = small(packed.set_dictionary_enabled(false));
    // LZO is the number 3, which is written as 6.
    let says = (0..file.len()).filter_map(|at| {
        let mut other = file.clone();
        other[at] = 6;
        lines_of(&other).err()
    });
    let lzo = says.filter(|error| error == "is packed with LZO, which cannot be read").count();
    assert_eq!(lzo, 9, "one of each column of each row group");
}

#[test]
fn what_is_no_parquet_is_said_to_be_what_it_is() {
    let good = small(WriterProperties::builder());
    let mut encrypted = good.clone();
    let end = encrypted.len();
    encrypted[end - 1] = b'E';
    for (file, says) in [
        (&b"id,name\n1,a\n"[..], "is no Parquet file: if it is a text, write kind = \"csv\""),
        (b"", "is empty, and no Parquet file is"),
        (b"<html><body>Sign in", "is no Parquet file: it is an HTML page"),
        (b"%PDF-1.7", "it is a PDF document"),
        (b"PAR1", "it has only its first bytes"),
        (b"PAR1PAR1", "it has only its first bytes"),
        (b"PAR1\xff\xff\xff\xffPAR1", "its footer is longer than it"),
        (b"PARE\0\0\0\0PARE", "is encrypted"),
        (&encrypted, "is encrypted"),
        (&good[..good.len() - 1], "it does not end as one"),
    ] {
        let error = lines_of(file).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

/// A footer says how many columns lie in each other; a tree of a million would be walked through down to its end.
#[test]
fn columns_that_lie_too_deep_are_refused() {
    for (groups, is_good) in [(20, true), (200, false), (300_000, false)] {
        let mut footer = vec![0x15, 2, 0x19, 0xfc];
        let mut elements = groups + 2;
        while elements > 0x7f {
            footer.push(elements as u8 | 0x80);
            elements >>= 7;
        }
        footer.push(elements as u8);
        for at in 0..=groups {
            let repetition = if at == 0 { &[][..] } else { &[0x35, 2][..] };
            footer.extend_from_slice(repetition);
            footer.push(if at == 0 { 0x48 } else { 0x18 });
            footer.extend_from_slice(&[1, b'g', 0x15, 2, 0]);
        }
        // The only one with values: type, repetition and name.
        footer.extend_from_slice(&[0x15, 2, 0x25, 2, 0x18, 1, b'v', 0]);
        footer.extend_from_slice(&[0x16, 0, 0x19, 0x0c, 0]);
        let length = (footer.len() as u32).to_le_bytes();
        let file = [b"PAR1", &footer[..], &length, b"PAR1"].concat();
        let lines = lines_of(&file);
        assert_eq!(lines.is_ok(), is_good, "{groups}: {lines:?}");
        if let Err(error) = lines {
            assert!(error.contains("its footer is none"), "{error}");
        }
    }
}

#[test]
fn a_file_that_is_larger_than_what_may_be_put_aside_is_refused() {
    let file = small(WriterProperties::builder());
    let format = Parquet::new(ParquetParams::default(), Vec::new()).unwrap();
    let error = format.content("f", Box::new(Cursor::new(file)), 100).err().unwrap();
    assert!(error.to_string().contains("`files.max_spool` = 100"), "{error}");
}

/// Found by fuzzing: the reader took what stood behind such a field for a list of two milliards of numbers.
#[test]
fn fields_of_a_page_that_are_of_another_type_are_damage() {
    use super::super::layout::page;
    let of = |header: &[u8]| {
        let spool = crate::sources::files::spool::Spool::of(&mut &header[..], 1 << 20).unwrap();
        page(&spool, 0, header.len() as u64).map(|(page, length)| (page.entries, length))
    };
    let dictionary = [0x15, 4, 0x15, 0x44, 0x15, 0x66, 0x4c, 0x15, 6, 0x15, 0, 0x12, 0, 0];
    assert_eq!(of(&dictionary).unwrap(), (3, 14));
    // A truth in place of a structure, and of a number; a number in place of a structure; a field far away.
    let mut other = dictionary;
    other[6] = 0x42;
    assert!(of(&other[..12]).is_err());
    for (at, with) in [(0, 0x11), (6, 0x45), (7, 0x11), (11, 0x1c)] {
        let mut other = dictionary;
        other[at] = with;
        assert!(of(&other).is_err(), "{at}");
    }
    assert!(of(&[0x05, 0x80, 0x80, 0x08, 4, 0]).is_err());
}
