//! Every type, and every digit of it.

use arrow_array::builder::{
    FixedSizeBinaryBuilder, Int32Builder, ListBuilder, MapBuilder, StringBuilder,
};
use arrow_array::types::{Float16Type, Int8Type, Int32Type};
use arrow_array::*;
use arrow_buffer::{NullBuffer, OffsetBuffer, i256};
use arrow_schema::extension::Uuid;
use arrow_schema::{DataType, Fields};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType as Physical, FixedLenByteArray, FixedLenByteArrayType,
    Int32Type as Stored32, Int64Type as Stored64, Int96, Int96Type,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

/// A file with one column, as it is declared, with these values and levels.
fn raw<T: Physical>(column: &str, values: &[T::T], levels: &[(i16, i16)]) -> Vec<u8> {
    raw_file::<T>(column, values, levels, WriterProperties::default())
}

/// The same, written in a certain way.
pub(super) fn raw_file<T: Physical>(
    column: &str,
    values: &[T::T],
    levels: &[(i16, i16)],
    properties: WriterProperties,
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message m {{ {column} }}")).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut chunk = group.next_column().unwrap().unwrap();
    let (defined, repeated): (Vec<_>, Vec<_>) = levels.iter().copied().unzip();
    let defined = (!levels.is_empty()).then_some(&defined[..]);
    chunk
        .typed::<T>()
        .write_batch(values, defined, (!levels.is_empty()).then_some(&repeated[..]))
        .unwrap();
    chunk.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn numbers_are_written_with_every_digit() {
    assert_eq!(values(Int8Array::from(vec![Some(i8::MIN), None])), ["-128", "null"]);
    assert_eq!(values(Int16Array::from(vec![i16::MIN])), ["-32768"]);
    assert_eq!(values(Int32Array::from(vec![i32::MIN])), ["-2147483648"]);
    assert_eq!(
        values(Int64Array::from(vec![i64::MIN, i64::MAX])),
        ["-9223372036854775808", "9223372036854775807"]
    );
    assert_eq!(values(UInt8Array::from(vec![u8::MAX])), ["255"]);
    assert_eq!(values(UInt16Array::from(vec![u16::MAX])), ["65535"]);
    assert_eq!(values(UInt32Array::from(vec![u32::MAX])), ["4294967295"]);
    assert_eq!(values(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(
        values(BooleanArray::from(vec![Some(true), Some(false), None])),
        ["true", "false", "null"]
    );
    assert_eq!(values(NullArray::new(2)), ["null", "null"]);
}

#[test]
fn fractions_are_written_with_the_digits_that_tell_them_apart_in_their_width() {
    let numbers = vec![0.1_f32, 16_777_216.0, 1e-45, f32::NAN, f32::NEG_INFINITY, -0.0];
    assert_eq!(
        values(Float32Array::from(numbers)),
        ["0.1", "16777216.0", "1e-45", "\"NaN\"", "\"-Infinity\"", "-0.0"]
    );
    let numbers = vec![0.1_f64, 0.1 + 0.2, 1e300, f64::INFINITY, 5e-324];
    assert_eq!(
        values(Float64Array::from(numbers)),
        ["0.1", "0.30000000000000004", "1e300", "\"Infinity\"", "5e-324"]
    );
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    let numbers = [0.1, 65504.0, 1.0, 6e-8, f32::NAN].map(Half::from_f32);
    assert_eq!(
        values(Float16Array::from(numbers.to_vec())),
        ["0.1", "65500.0", "1.0", "6e-8", "\"NaN\""]
    );
    for bits in 0..=u16::MAX {
        let number = Half::from_bits(bits);
        let mut out = Vec::new();
        super::super::values::half(number.to_f32(), &mut out);
        if number.is_finite() {
            let read: f32 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            assert_eq!(Half::from_f32(read).to_bits(), bits);
        }
    }
}

#[test]
fn decimals_keep_their_digits_and_their_scale_however_they_are_stored() {
    let decimal = |digits: Vec<i128>, precision, scale| {
        values(Decimal128Array::from(digits).with_precision_and_scale(precision, scale).unwrap())
    };
    assert_eq!(decimal(vec![1950, -5, 0, 100], 9, 2), ["19.50", "-0.05", "0.00", "1.00"]);
    let widest = 10_i128.pow(38) - 1;
    assert_eq!(
        decimal(vec![widest, -widest], 38, 38),
        [format!("0.{}", "9".repeat(38)), format!("-0.{}", "9".repeat(38))]
    );
    assert_eq!(decimal(vec![7], 18, 0), ["7"]);
    let digits = "9".repeat(76);
    let widest = Decimal256Array::from(vec![i256::from_string(&digits).unwrap()]);
    let widest = widest.with_precision_and_scale(76, 10).unwrap();
    assert_eq!(values(widest), [format!("{}.{}", "9".repeat(66), "9".repeat(10))]);
    let narrow = Decimal32Array::from(vec![-12345]).with_precision_and_scale(9, 4).unwrap();
    assert_eq!(values(narrow), ["-1.2345"]);
    let narrow = Decimal64Array::from(vec![12345]).with_precision_and_scale(18, 4).unwrap();
    assert_eq!(values(narrow), ["1.2345"]);
    let file = raw::<Stored32>("required int32 v (DECIMAL(5,2));", &[-12345], &[]);
    assert_eq!(rows_of(&file), ["{\"v\":-123.45}"]);
    let file = raw::<Stored64>("required int64 v (DECIMAL(18,1));", &[i64::MAX], &[]);
    assert_eq!(rows_of(&file), ["{\"v\":922337203685477580.7}"]);
    let bytes = ByteArray::from(vec![0xff, 0x85]);
    let file = raw::<ByteArrayType>("required binary v (DECIMAL(9,2));", &[bytes], &[]);
    assert_eq!(rows_of(&file), ["{\"v\":-1.23}"]);
    let bytes = FixedLenByteArray::from(ByteArray::from(vec![0, 1, 0]));
    let file = raw::<FixedLenByteArrayType>(
        "required fixed_len_byte_array(3) v (DECIMAL(5,3));",
        &[bytes],
        &[],
    );
    assert_eq!(rows_of(&file), ["{\"v\":0.256}"]);
    let mut out = Vec::new();
    super::super::values::decimal(12, -3, &mut out);
    assert_eq!(out, b"12000");
}

#[test]
fn texts_and_bytes_are_what_they_are() {
    assert_eq!(
        values(StringArray::from(vec!["a\"b\n\u{1f600}", ""])),
        ["\"a\\\"b\\n\u{1f600}\"", "\"\""]
    );
    assert_eq!(values(LargeStringArray::from(vec!["x"])), ["\"x\""]);
    assert_eq!(
        values(StringViewArray::from(vec!["a text that is longer than twelve bytes"])),
        ["\"a text that is longer than twelve bytes\""]
    );
    let bytes: Vec<&[u8]> = vec![b"text", b"\xff\x00", b"\0", b""];
    assert_eq!(
        values(BinaryArray::from(bytes.clone())),
        ["\"text\"", "\"\\\\xff00\"", "\"\\\\x00\"", "\"\""]
    );
    assert_eq!(values(LargeBinaryArray::from(bytes)).len(), 4);
    let fixed = FixedSizeBinaryArray::try_from_iter([[0xff, 0xad], *b"ok"].into_iter()).unwrap();
    assert_eq!(values(fixed), ["\"\\\\xffad\"", "\"ok\""]);
    let mut uuids = FixedSizeBinaryBuilder::new(16);
    uuids.append_value(std::array::from_fn::<_, 16, _>(|at| at as u8 * 0x11)).unwrap();
    uuids.append_null();
    let field = Field::new("v", DataType::FixedSizeBinary(16), true).with_extension_type(Uuid);
    let batch =
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(uuids.finish())]);
    assert_eq!(
        rows_of(&written(&batch.unwrap(), WriterProperties::default())),
        ["{\"v\":\"00112233-4455-6677-8899-aabbccddeeff\"}", "{\"v\":null}"]
    );
}

#[test]
fn texts_that_are_said_to_be_json_are_what_they_say() {
    let texts = ["{\"a\":\n [1.10, 123456789012345678901234567890]}", "null", "no json", "1 2"];
    let texts: Vec<_> = texts.into_iter().map(ByteArray::from).collect();
    let file = raw::<ByteArrayType>("required binary v (JSON);", &texts, &[]);
    assert_eq!(
        rows_of(&file),
        [
            "{\"v\":{\"a\":  [1.10, 123456789012345678901234567890]}}",
            "{\"v\":null}",
            "{\"v\":\"no json\"}",
            "{\"v\":\"1 2\"}",
        ]
    );
}

#[test]
fn dates_and_times_are_told_in_every_unit_and_utc_only_where_they_are() {
    assert_eq!(
        values(Date32Array::from(vec![0, -1, 20_000])),
        ["\"1970-01-01\"", "\"1969-12-31\"", "\"2024-10-04\""]
    );
    assert_eq!(
        values(Date64Array::from(vec![86_400_000, 86_400_001])),
        ["\"1970-01-02\"", "\"1970-01-02T00:00:00.001\""]
    );
    assert_eq!(values(Time32SecondArray::from(vec![86_399])), ["\"23:59:59\""]);
    assert_eq!(values(Time32MillisecondArray::from(vec![1])), ["\"00:00:00.001\""]);
    assert_eq!(values(Time64MicrosecondArray::from(vec![1_500_000])), ["\"00:00:01.5\""]);
    assert_eq!(values(Time64NanosecondArray::from(vec![1])), ["\"00:00:00.000000001\""]);
    assert_eq!(values(TimestampSecondArray::from(vec![-1])), ["\"1969-12-31T23:59:59\""]);
    let utc = |array: TimestampMillisecondArray| values(array.with_timezone("UTC"));
    assert_eq!(utc(vec![1].into()), ["\"1970-01-01T00:00:00.001Z\""]);
    let elsewhere = TimestampMicrosecondArray::from(vec![0]).with_timezone("Europe/Berlin");
    assert_eq!(values(elsewhere), ["\"1970-01-01T00:00:00Z\""]);
    assert_eq!(
        values(TimestampMicrosecondArray::from(vec![-1])),
        ["\"1969-12-31T23:59:59.999999\""]
    );
    assert_eq!(
        values(TimestampNanosecondArray::from(vec![i64::MIN, i64::MAX])),
        ["\"1677-09-21T00:12:43.145224192\"", "\"2262-04-11T23:47:16.854775807\""]
    );
    assert_eq!(
        values(DurationMillisecondArray::from(vec![1_500, -1])),
        ["\"PT1.5S\"", "\"PT-0.001S\""]
    );
    let zone = |column: &str| rows_of(&raw::<Stored64>(column, &[0], &[]));
    assert_eq!(
        zone("required int64 v (TIMESTAMP(MILLIS,true));"),
        ["{\"v\":\"1970-01-01T00:00:00Z\"}"]
    );
    assert_eq!(
        zone("required int64 v (TIMESTAMP(NANOS,false));"),
        ["{\"v\":\"1970-01-01T00:00:00\"}"]
    );
    assert_eq!(zone("required int64 v (TIMESTAMP_MICROS);"), ["{\"v\":\"1970-01-01T00:00:00Z\"}"]);
}

#[test]
fn instants_of_96_bits_keep_their_nanoseconds_and_reach_every_year() {
    let instant = |days: u32, nanos: u64| {
        let mut value = Int96::new();
        value.set_data(nanos as u32, (nanos >> 32) as u32, days);
        value
    };
    let rows = raw::<Int96Type>(
        "optional int96 v;",
        &[
            instant(2_440_588, 1),
            instant(5_373_484, 86_399_999_999_999),
            instant(1_721_426, 123_456_789),
        ],
        &[(1, 0), (1, 0), (0, 0), (1, 0)],
    );
    assert_eq!(
        rows_of(&rows),
        [
            "{\"v\":\"1970-01-01T00:00:00.000000001\"}",
            "{\"v\":\"9999-12-31T23:59:59.999999999\"}",
            "{\"v\":null}",
            "{\"v\":\"0001-01-01T00:00:00.123456789\"}",
        ]
    );
    let nested = "optional group l (LIST) { repeated group list { optional int96 element; } }";
    let file = raw::<Int96Type>(nested, &[instant(2_440_588, 0)], &[(3, 0), (2, 1), (0, 0)]);
    assert_eq!(rows_of(&file), ["{\"l\":[\"1970-01-01T00:00:00\",null]}", "{\"l\":null}"]);
    let none = raw::<Int96Type>("required int96 v;", &[instant(0, u64::MAX)], &[]);
    assert!(lines_of(&none).unwrap_err().contains("an instant that is none"));
}

#[test]
fn intervals_keep_months_days_and_milliseconds() {
    let bytes: Vec<u8> = [14_u32, 3, 1_500].iter().flat_map(|part| part.to_le_bytes()).collect();
    let value = FixedLenByteArray::from(ByteArray::from(bytes));
    let column = "required fixed_len_byte_array(12) v (INTERVAL);";
    assert_eq!(
        rows_of(&raw::<FixedLenByteArrayType>(column, &[value], &[])),
        ["{\"v\":\"P14M3DT1.5S\"}"]
    );
    assert_eq!(values(IntervalYearMonthArray::from(vec![14])), ["\"P14M\""]);
}

#[test]
fn what_is_nested_is_nested() {
    let mut lists = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    lists.values().values().append_value(1);
    lists.values().values().append_null();
    lists.values().append(true);
    lists.values().append(true);
    lists.values().append(false);
    lists.append(true);
    lists.append(true);
    lists.append(false);
    assert_eq!(values(lists.finish()), ["[[1,null],[],null]", "[]", "null"]);
    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        [Some([Some(1), Some(2)]), None, Some([Some(3), None])],
        2,
    );
    assert_eq!(values(fixed), ["[1,2]", "null", "[3,null]"]);
    let large = LargeListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)]), None]);
    assert_eq!(values(large), ["[1]", "null"]);
    let fields = Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("size", DataType::Int32, true),
    ]);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, None]));
    let sizes: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(2), None]));
    let nulls = NullBuffer::from(vec![true, true, false]);
    let records = StructArray::new(fields.clone(), vec![texts, sizes], Some(nulls));
    assert_eq!(
        values(records.clone()),
        ["{\"name\":\"a\",\"size\":null}", "{\"name\":null,\"size\":2}", "null"]
    );
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([2, 1]), Arc::new(records), None);
    let file = file_of(vec![("items", Arc::new(lists))], WriterProperties::default());
    let lines = lines_of(&file).unwrap();
    assert_eq!(
        lines,
        [
            "{\"row\":{\"items\":[{\"name\":null,\"size\":null}]}}",
            "{\"items\":[{\"name\":\"a\",\"size\":null},{\"name\":null,\"size\":2}]}",
            "{\"items\":[null]}",
        ]
    );
}

#[test]
fn a_map_is_an_object_with_its_keys() {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    maps.keys().append_value("a\"");
    maps.values().append_value(1);
    maps.keys().append_value("b");
    maps.values().append_null();
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    assert_eq!(values(maps.finish()), ["{\"a\\\"\":1,\"b\":null}", "{}", "null"]);
    let mut maps = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    maps.keys().append_value(-7);
    maps.values().append_value("x");
    maps.append(true).unwrap();
    assert_eq!(values(maps.finish()), ["{\"-7\":\"x\"}"]);
    // Without values it is a list of its keys.
    let keys =
        "optional group m (MAP) { repeated group key_value { required binary key (UTF8); } }";
    let key = ByteArray::from("k");
    assert_eq!(rows_of(&raw::<ByteArrayType>(keys, &[key], &[(2, 0)])), ["{\"m\":[\"k\"]}"]);
}

/// The only row of a map with this column of keys, which has these keys, without values.
fn keys<T: Physical>(column: &str, keys: &[T::T]) -> serde_json::Value {
    let map = format!(
        "required group m (MAP) {{ repeated group key_value {{ {column} required group value {{ \
                       optional int32 n; }} }} }}"
    );
    let schema = Arc::new(parse_message_type(&format!("message m {{ {map} }}")).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let repeated: Vec<i16> = (0..keys.len()).map(|at| i16::from(at > 0)).collect();
    let levels = vec![1; keys.len()];
    let mut chunk = group.next_column().unwrap().unwrap();
    chunk.typed::<T>().write_batch(keys, Some(&levels), Some(&repeated)).unwrap();
    chunk.close().unwrap();
    let mut chunk = group.next_column().unwrap().unwrap();
    chunk.typed::<Stored32>().write_batch(&[], Some(&levels), Some(&repeated)).unwrap();
    chunk.close().unwrap();
    group.close().unwrap();
    let row = rows_of(&writer.into_inner().unwrap()).remove(0);
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let members = row["m"].as_object().unwrap();
    assert_eq!(members.len(), keys.len(), "{row}");
    members.keys().cloned().collect::<Vec<_>>().into()
}

#[test]
fn keys_of_a_map_are_texts_whatever_type_they_have() {
    let bytes =
        |keys: &[&str]| -> Vec<ByteArray> { keys.iter().copied().map(ByteArray::from).collect() };
    let json = bytes(&["{\"a\":\n\"b\"}", "\"1\"", "1", "[1,2]", "null", "no json", ""]);
    assert_eq!(
        keys::<ByteArrayType>("required binary key (JSON);", &json),
        serde_json::json!(["{\"a\":\n\"b\"}", "\"1\"", "1", "[1,2]", "null", "no json", ""])
    );
    let document = ByteArray::from(vec![5, 0, 0, 0, 0]);
    assert_eq!(
        keys::<ByteArrayType>("required binary key (BSON);", &[document]),
        serde_json::json!(["\\x0500000000"])
    );
    assert_eq!(
        keys::<ByteArrayType>(
            "required binary key;",
            &[ByteArray::from(vec![0xff]), "a\"b".into()]
        ),
        serde_json::json!(["\\xff", "a\"b"])
    );
    assert_eq!(
        keys::<ByteArrayType>(
            "required binary key (DECIMAL(9,2));",
            &[ByteArray::from(vec![0xff, 0x85])]
        ),
        serde_json::json!(["-1.23"])
    );
    let fixed = |bytes: Vec<u8>| FixedLenByteArray::from(ByteArray::from(bytes));
    assert_eq!(
        keys::<FixedLenByteArrayType>(
            "required fixed_len_byte_array(3) key (DECIMAL(5,3));",
            &[fixed(vec![0, 1, 0])]
        ),
        serde_json::json!(["0.256"])
    );
    assert_eq!(
        keys::<FixedLenByteArrayType>(
            "required fixed_len_byte_array(16) key (UUID);",
            &[fixed(vec![0x11; 16])]
        ),
        serde_json::json!(["11111111-1111-1111-1111-111111111111"])
    );
    let months = [14_u32, 3, 1_500].iter().flat_map(|part| part.to_le_bytes()).collect();
    assert_eq!(
        keys::<FixedLenByteArrayType>(
            "required fixed_len_byte_array(12) key (INTERVAL);",
            &[fixed(months)]
        ),
        serde_json::json!(["P14M3DT1.5S"])
    );
    for (column, shown) in [
        ("int32 key (DATE)", "1970-01-04"),
        ("int32 key (TIME_MILLIS)", "00:00:00.003"),
        ("int32 key (UINT_8)", "3"),
        ("int32 key (DECIMAL(5,2))", "0.03"),
    ] {
        assert_eq!(
            keys::<Stored32>(&format!("required {column};"), &[3]),
            serde_json::json!([shown])
        );
    }
    for (column, shown) in [
        ("int64 key", "3"),
        ("int64 key (TIMESTAMP_MICROS)", "1970-01-01T00:00:00.000003Z"),
        ("int64 key (TIME_MICROS)", "00:00:00.000003"),
        ("int64 key (DECIMAL(18,1))", "0.3"),
    ] {
        assert_eq!(
            keys::<Stored64>(&format!("required {column};"), &[3]),
            serde_json::json!([shown])
        );
    }
    let mut instant = Int96::new();
    instant.set_data(1, 0, 2_440_588);
    assert_eq!(
        keys::<Int96Type>("required int96 key;", &[instant]),
        serde_json::json!(["1970-01-01T00:00:00.000000001"])
    );
    use parquet::data_type::{BoolType, DoubleType, FloatType};
    assert_eq!(keys::<BoolType>("required boolean key;", &[true]), serde_json::json!(["true"]));
    assert_eq!(
        keys::<DoubleType>("required double key;", &[f64::NAN, 0.5, f64::INFINITY]),
        serde_json::json!(["NaN", "0.5", "Infinity"])
    );
    assert_eq!(keys::<FloatType>("required float key;", &[0.1]), serde_json::json!(["0.1"]));
}

#[test]
fn values_of_a_dictionary_are_those_that_it_has_however_many_there_are() {
    let words: DictionaryArray<Int8Type> =
        vec![Some("a"), None, Some("b"), Some("a")].into_iter().collect();
    assert_eq!(values(words), ["\"a\"", "null", "\"b\"", "\"a\""]);
    // More than its keys can tell apart, a batch after the other.
    let batch = |from: u32| {
        let words: Vec<_> = (from..from + 100).map(|number| format!("word {number}")).collect();
        let words: DictionaryArray<Int8Type> =
            words.iter().map(|word| Some(word.as_str())).collect();
        RecordBatch::try_from_iter([("v", Arc::new(words) as ArrayRef)]).unwrap()
    };
    let mut writer = ArrowWriter::try_new(Vec::new(), batch(0).schema(), None).unwrap();
    (0..3).for_each(|part| writer.write(&batch(part * 100)).unwrap());
    let rows = rows_of(&writer.into_inner().unwrap());
    assert_eq!((rows.len(), rows[299].as_str()), (300, "{\"v\":\"word 299\"}"));
    let numbers: Vec<_> = (0..5_000).map(|number| number % 3).collect();
    let rows = values(Int64Array::from(numbers));
    assert!(rows.iter().enumerate().all(|(at, row)| *row == (at % 3).to_string()));
}

#[test]
fn every_codec_that_is_in_use_is_read() {
    let texts: Vec<_> = (0..3_000).map(|number| format!("the text of {number}")).collect();
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        let properties = WriterProperties::builder().set_compression(codec).build();
        let file = file_of(vec![("v", Arc::new(StringArray::from(texts.clone())))], properties);
        let rows = rows_of(&file);
        assert_eq!(rows.len(), 3_000, "{codec}");
        assert_eq!(rows[2_999], "{\"v\":\"the text of 2999\"}", "{codec}");
    }
}
