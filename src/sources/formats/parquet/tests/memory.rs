//! Files that take more memory than others: they are read in little of it, or refused by what they have too much of.

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{BinaryArray, StringArray};
use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};

use super::super::layout::LIMIT;
use super::super::table::Lines;
use super::types::raw_file;
use super::*;
use crate::sources::files::spool::Spool;

/// Reads a file to its end: how many rows it has, and how many bytes of them were held at once, at most.
fn read(file: &[u8]) -> Result<(usize, usize), String> {
    let spool = Spool::of(&mut &file[..], 1 << 30).unwrap();
    let mut lines = Lines::of(spool, 64 << 20).map_err(|error| error.to_string())?;
    let (mut piece, mut rows, mut most) = (vec![0; 1 << 20], 0, 0);
    loop {
        match lines.read(&mut piece).map_err(|error| error.to_string())? {
            0 => return Ok((rows - 1, most)),
            read => rows += piece[..read].iter().filter(|byte| **byte == b'\n').count(),
        }
        most = most.max(lines.held());
    }
}

fn plain() -> parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder().set_dictionary_enabled(false)
}

#[test]
fn columns_whose_pages_do_not_fit_into_memory_together_are_refused_by_name() {
    let long = vec![b'x'; 4 << 20];
    let names: Vec<_> = (0..40).map(|column| format!("c{column}")).collect();
    let of = |columns: usize| {
        let array = || Arc::new(BinaryArray::from(vec![&long[..]])) as ArrayRef;
        let columns = names[..columns].iter().map(|name| (name.as_str(), array())).collect();
        file_of(columns, plain().build())
    };
    assert_eq!(read(&of(12)).unwrap().0, 1);
    let error = read(&of(40)).unwrap_err();
    assert!(error.starts_with(&format!("cannot be read in {LIMIT} bytes of memory: ")), "{error}");
    for says in
        ["a page of the column \"c2", "takes 41943", "Let the file be written with smaller pages"]
    {
        assert!(error.contains(says), "{error}");
    }
    // The row as text would be longer than a row may be.
    let error = read(&of(20)).unwrap_err();
    assert!(error.starts_with("has a row of more than 67108864 bytes"), "{error}");
    assert!(error.contains("raise `parquet.max_row_bytes`"), "{error}");
}

#[test]
fn rows_that_are_longer_than_the_others_are_read_fewer_at_once() {
    let long = "x".repeat(1 << 20);
    let texts = (0..5_000).map(|row| if row < 4_820 { "short" } else { &long });
    let file = file_of(
        vec![("v", Arc::new(StringArray::from_iter_values(texts)))],
        plain().set_write_batch_size(1).build(),
    );
    let (rows, held) = read(&file).unwrap();
    assert_eq!(rows, 5_000);
    assert!((1 << 20..LIMIT as usize).contains(&held), "{held}");
}

#[test]
fn texts_that_begin_alike_are_read_fewer_at_once_than_their_pages_would_allow() {
    let alike = "x".repeat(100_000);
    let texts = (0..1_500).map(|row| format!("{alike}{row}"));
    let properties = plain().set_encoding(Encoding::DELTA_BYTE_ARRAY).build();
    let file = file_of(vec![("v", Arc::new(StringArray::from_iter_values(texts)))], properties);
    assert!(file.len() < 1 << 20, "{}", file.len());
    let (rows, held) = read(&file).unwrap();
    assert_eq!(rows, 1_500);
    assert!((1 << 20..LIMIT as usize).contains(&held), "{held}");
}

#[test]
fn a_list_may_have_a_million_values_in_a_row_and_is_refused_by_name_with_fifty() {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in 0..3 {
        (0..[2, 1_000_000, 1][row]).for_each(|value| lists.values().append_value(value));
        lists.append(true);
    }
    let file = file_of(vec![("v", Arc::new(lists.finish()))], WriterProperties::default());
    assert_eq!(read(&file).unwrap().0, 3);
    // A row with so many values that are null takes a few bytes.
    let column = "optional group l (LIST) { repeated group list { optional int64 element; } }";
    let levels = (0..5_000_000).map(|value| (2, i16::from(value > 0)));
    let levels: Vec<_> = levels.collect();
    let properties =
        plain().set_data_page_row_count_limit(usize::MAX).set_write_batch_size(levels.len());
    let file = raw_file::<Int64Type>(column, &[], &levels, properties.build());
    assert!(file.len() < 10_000, "{}", file.len());
    let error = read(&file).unwrap_err();
    assert!(error.contains("a page of the column \"l.list.element\" takes "), "{error}");
}

#[test]
fn a_footer_that_describes_too_much_is_refused() {
    let names: Vec<_> = (0..30_000).map(|column| format!("column {column}")).collect();
    let array: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1]));
    let columns = names.iter().map(|name| (name.as_str(), Arc::clone(&array))).collect();
    let error = read(&file_of(columns, plain().build())).unwrap_err();
    let says = "what its footer says of 60002 columns and pieces of them takes ";
    assert!(error.contains(says) && error.contains("62914560 is the limit for it"), "{error}");
}

#[test]
fn values_wider_than_what_may_be_held_are_refused_by_name() {
    let column = "optional fixed_len_byte_array(1000000000) v;";
    let file = raw_file::<parquet::data_type::FixedLenByteArrayType>(
        column,
        &[],
        &[(0, 0)],
        WriterProperties::default(),
    );
    let error = read(&file).unwrap_err();
    let says =
        "each value of the column \"v\" takes 1000000000 bytes, and 16777216 is the limit for it";
    assert!(error.contains(says), "{error}");
}

#[test]
fn what_unpacks_to_more_than_it_says_is_damaged() {
    use super::super::layout::Page;
    use super::super::pages::unpacks_to;
    use parquet::basic::{BrotliLevel, Compression, GzipLevel};
    for codec in
        [Compression::GZIP(GzipLevel::default()), Compression::BROTLI(BrotliLevel::default())]
    {
        let text = ByteArray::from(vec![b'x'; 100_000]);
        let properties = plain().set_compression(codec).build();
        let file = raw_file::<ByteArrayType>("required binary v;", &[text], &[], properties);
        assert_eq!(read(&file).unwrap().0, 1);
        let (page, header) =
            super::super::layout::page(&spool_of(&file), 4, file.len() as u64).unwrap();
        let packed = &file[4 + header as usize..][..page.packed as usize];
        assert!(unpacks_to(codec, packed, &page).unwrap());
        assert!(!unpacks_to(codec, packed, &Page { unpacked: 99_999, ..page }).unwrap());
    }
}

fn spool_of(file: &[u8]) -> Spool {
    Spool::of(&mut &file[..], 1 << 30).unwrap()
}
