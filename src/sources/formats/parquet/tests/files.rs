//! Files as a source reads them: what is held at once, which columns there are, and what a job file says.

use arrow_array::{Int64Array, StringArray, StructArray};
use arrow_schema::{DataType, Fields};

use super::*;
use crate::job_file::Definition;
use crate::sources::files::Wanted;
use crate::sources::files::format::{Doubts, Survey};

const FIELDS: &str = "name = {}\nprice = { from = '$.offer.net', type = 'decimal' }";

/// How many rows a file has, and which columns it lacks, with those that may be meant.
type Surveyed = (i64, Vec<(String, Option<String>)>);

/// Of a file that is read for these fields: how many rows it has, and the mapped fields that it lacks, with what may be
/// meant.
fn surveyed(fields: &str, file: &[u8]) -> Result<Surveyed, String> {
    let job = format!(
        "kind = 'parquet'\nprimary_key = ['id']\n[files]\npaths = ['*']\n[fields]\n{fields}\n"
    );
    let name = "table".parse().unwrap();
    let definition = Definition::parse(name, "table.toml".as_ref(), job, &["parquet"]).unwrap();
    let format = Parquet::new(ParquetParams::default(), Wanted::of(&definition)).unwrap();
    let lines = lines_of(file).unwrap();
    let text = lines.join("\n") + "\n";
    let head = format.head("f", text.as_bytes(), true, Doubts::default()).unwrap().unwrap();
    assert_eq!(head.first_row, lines[0].len() + 1);
    let reader = format.reader("f", &head.layout).map_err(|error| error.to_string())?;
    let (mut survey, mut buffer) = (format.survey(&reader), Default::default());
    let mut keys = 0;
    for line in &lines[1..] {
        survey.row(&reader, line.as_bytes(), b"", &mut buffer, &mut |_| keys += 1);
    }
    let surveyed = survey.finish("f", keys, head.layout).unwrap();
    let absent = format.absent(&surveyed.layout, None).expect("the file says it");
    Ok((keys, absent.into_iter().map(|absent| (absent.column, absent.nearest)).collect()))
}

fn offers(rows: i64) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| row.to_string())));
    let net: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let field = Field::new("net", DataType::Int64, false);
    let offers = StructArray::new(Fields::from(vec![field]), vec![net], None);
    let columns = vec![("id", ids), ("name", names), ("offer", Arc::new(offers) as ArrayRef)];
    file_of(columns, WriterProperties::builder().set_max_row_group_row_count(Some(100)).build())
}

#[test]
fn the_file_says_which_fields_there_are_even_without_a_row() {
    for rows in [0, 1, 250] {
        assert_eq!(surveyed(FIELDS, &offers(rows)), Ok((rows, vec![])));
        let fields = "name = { from = 'nane' }\nprice = { from = '$.offer.gross' }";
        let (_, absent) = surveyed(fields, &offers(rows)).unwrap();
        let absent: Vec<_> = absent.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(absent, ["$.offer.gross", "nane"], "{rows}");
    }
    let (_, absent) = surveyed("name = { from = 'nam' }", &offers(0)).unwrap();
    assert_eq!(absent, [("nam".to_owned(), Some("name".to_owned()))]);
}

#[test]
fn a_name_that_two_columns_have_is_refused_only_where_it_is_mapped() {
    let field = |name: &str| Field::new(name, DataType::Int64, false);
    let fields = vec![field("id"), field("x"), field("x"), field("x")];
    let columns: Vec<ArrayRef> =
        (0..4).map(|n| Arc::new(Int64Array::from(vec![n])) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let file = written(&batch, WriterProperties::default());
    assert_eq!(
        lines_of(&file).unwrap(),
        [
            "{\"row\":{\"id\":null,\"x\":null,\"x (2)\":null,\"x (3)\":null},\"twice\":[\"x\"]}",
            "{\"id\":0,\"x\":1,\"x (2)\":2,\"x (3)\":3}",
        ]
    );
    assert_eq!(surveyed("name = { from = 'x (2)' }", &file), Ok((1, vec![])));
    for from in ["x", "$.x"] {
        let error = surveyed(&format!("name = {{ from = '{from}' }}"), &file).unwrap_err();
        assert!(error.contains("f: two columns are called \"x\", and it is mapped"), "{error}");
    }
}

#[test]
fn little_of_a_large_file_is_held_at_once() {
    /// Bytes that rows may take at once.
    const MOST: usize = 12 << 20;
    let long = "x".repeat(1 << 20);
    // 200 rows that share a text of a mebibyte, and 40 row groups of texts that are all different.
    let shared: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|_| long.as_str())));
    let different = (0..40_000).map(|row| format!("{row:>1000}"));
    let different: ArrayRef = Arc::new(StringArray::from_iter_values(different));
    for (array, rows) in [(shared, 200), (different, 40_000)] {
        let properties = WriterProperties::builder()
            .set_dictionary_page_size_limit(8 << 20)
            .set_max_row_group_row_count(Some(1_000));
        let file = file_of(vec![("v", array)], properties.build());
        let spool = crate::sources::files::spool::Spool::of(&mut &file[..], 1 << 30).unwrap();
        let mut lines = super::super::table::Lines::of(spool, 64 << 20).unwrap();
        let (mut piece, mut came, mut most) = (vec![0; 1 << 20], 0, 0);
        loop {
            let read = lines.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            came += piece[..read].iter().filter(|byte| **byte == b'\n').count();
            most = most.max(lines.held());
        }
        assert_eq!(came, rows + 1);
        assert!((1..MOST).contains(&most), "{most} bytes at once");
    }
}

#[test]
fn every_key_is_explained_and_bad_values_are_refused_by_key() {
    let schema = serde_json::to_value(schemars::schema_for!(ParquetParams)).unwrap();
    for (key, value) in schema["properties"].as_object().unwrap() {
        assert!(value["description"].is_string(), "{key}");
    }
    for (key, params) in [
        ("parquet.chunk_size", ParquetParams { chunk_size: 0, ..ParquetParams::default() }),
        ("parquet.max_row_bytes", ParquetParams { max_row_bytes: 0, ..ParquetParams::default() }),
    ] {
        let error = Parquet::new(params, Vec::<Wanted>::new()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}
