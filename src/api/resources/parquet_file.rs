//! Owns writing exported rows as a file of Parquet, a group of rows after the other.
//!
//! All values are looked at before: a column has the type of its field if that holds each of them exactly, and is text if
//! it does not. Numbers with a fraction are decimals with as many places as the longest has; nothing is rounded.

use std::io;
use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::{
    ArrayRef, Date32Array, Decimal128Array, Decimal256Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::i256;
use arrow_schema::extension::Json;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, NaiveDate};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::db::exported_rows::Values;
use crate::values::calendar::{write_date, write_instant};
use crate::values::field::FieldKind;

/// Bytes of a group of rows, about: so many are held until it is written.
const GROUP: usize = 16 << 20;
/// The digits of a decimal of 128 bits, and of 256.
const PRECISIONS: [u8; 2] = [38, 76];
/// The time zone of instants.
const UTC: &str = "UTC";

/// A file that is being written.
pub(super) struct ParquetFile {
    columns: Vec<Column>,
    writer: Option<ArrowWriter<Vec<u8>>>,
}

/// What is known of the values of a column.
struct Column {
    name: String,
    kind: FieldKind,
    /// Whether the type of the field holds all of them.
    fits: bool,
    /// Whether 64 bits do.
    is_small: bool,
    /// The most digits in front of the decimal point, and behind it.
    whole: usize,
    fraction: usize,
}

impl ParquetFile {
    /// A file of columns of these names and types.
    pub fn of(names: &[String], kinds: &[FieldKind]) -> Self {
        let column = |(name, kind): (&String, &FieldKind)| Column {
            name: name.clone(),
            kind: *kind,
            fits: true,
            is_small: true,
            whole: 0,
            fraction: 0,
        };
        Self { columns: names.iter().zip(kinds).map(column).collect(), writer: None }
    }

    /// Looks at rows that are to be written.
    pub fn look_at(&mut self, rows: &[Values]) {
        for row in rows {
            for (column, value) in self.columns.iter_mut().zip(row) {
                if let Some(value) = value {
                    column.look_at(value);
                }
            }
        }
    }

    /// Writes rows; answers what is to be put behind the bytes before, which may be nothing yet.
    ///
    /// # Errors
    /// When a value was not looked at.
    pub fn write(&mut self, rows: &[Values]) -> io::Result<Vec<u8>> {
        let arrays = self.columns.iter().enumerate().map(|(at, column)| {
            let values: Vec<_> =
                rows.iter().map(|row| row.get(at).and_then(|value| value.as_deref())).collect();
            column.array(&values)
        });
        let arrays: Vec<_> = arrays.collect::<io::Result<_>>()?;
        let batch = RecordBatch::try_new(self.schema(), arrays).map_err(io::Error::other)?;
        let writer = self.writer()?;
        writer.write(&batch).map_err(cannot)?;
        if writer.memory_size() >= GROUP {
            writer.flush().map_err(cannot)?;
            writer.sync()?;
        }
        Ok(std::mem::take(writer.inner_mut()))
    }

    /// The end of the file.
    ///
    /// # Errors
    /// Never in practice.
    pub fn end(&mut self) -> io::Result<Vec<u8>> {
        self.writer()?;
        self.writer.take().map_or(Ok(Vec::new()), |writer| writer.into_inner().map_err(cannot))
    }

    fn schema(&self) -> SchemaRef {
        let field = |column: &Column| {
            let field = Field::new(&column.name, column.data_type(), true);
            match column.kind {
                FieldKind::Json => field.with_extension_type(Json::default()),
                _ => field,
            }
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    fn writer(&mut self) -> io::Result<&mut ArrowWriter<Vec<u8>>> {
        let schema = self.schema();
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties));
                Ok(none.insert(writer.map_err(cannot)?))
            }
        }
    }
}

fn cannot(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

impl Column {
    fn look_at(&mut self, value: &str) {
        self.fits = self.fits
            && match self.kind {
                FieldKind::Integer | FieldKind::Decimal | FieldKind::Money | FieldKind::Percent => {
                    match Digits::of(value) {
                        Some(Digits { whole, fraction, .. }) => {
                            self.whole = self.whole.max(whole.len());
                            self.fraction = self.fraction.max(fraction.len());
                            self.is_small = self.is_small && value.parse::<i64>().is_ok();
                            self.whole + self.fraction <= usize::from(PRECISIONS[1])
                                && (self.kind != FieldKind::Integer || fraction.is_empty())
                        }
                        None => false,
                    }
                }
                FieldKind::Boolean => matches!(value, "true" | "false"),
                FieldKind::Timestamp => micros(value).is_some(),
                FieldKind::Date => days(value).is_some(),
                FieldKind::Text | FieldKind::Json | FieldKind::Url | FieldKind::Uuid => true,
            };
    }

    fn data_type(&self) -> DataType {
        if !self.fits {
            return DataType::Utf8;
        }
        let scale = i8::try_from(self.fraction).unwrap_or(i8::MAX);
        let [precision, widest] = PRECISIONS;
        let is_narrow = self.whole + self.fraction <= usize::from(precision);
        match self.kind {
            FieldKind::Integer if self.is_small => DataType::Int64,
            FieldKind::Integer | FieldKind::Decimal | FieldKind::Money | FieldKind::Percent => {
                match is_narrow {
                    true => DataType::Decimal128(precision, scale),
                    false => DataType::Decimal256(widest, scale),
                }
            }
            FieldKind::Boolean => DataType::Boolean,
            FieldKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            FieldKind::Date => DataType::Date32,
            FieldKind::Text | FieldKind::Json | FieldKind::Url | FieldKind::Uuid => DataType::Utf8,
        }
    }

    fn array(&self, values: &[Option<&str>]) -> io::Result<ArrayRef> {
        let scaled = |value: &str| Digits::of(value)?.scaled(self.fraction);
        Ok(match self.data_type() {
            DataType::Int64 => {
                Arc::new(Int64Array::from(self.each(values, |value| value.parse().ok())?))
            }
            DataType::Decimal128(precision, scale) => {
                let numbers = self.each(values, |value| scaled(value)?.parse().ok())?;
                let array = Decimal128Array::from(numbers);
                let array = array.with_precision_and_scale(precision, scale);
                Arc::new(array.map_err(io::Error::other)?)
            }
            DataType::Decimal256(precision, scale) => {
                let numbers = self.each(values, |value| i256::from_string(&scaled(value)?))?;
                let array = Decimal256Array::from(numbers);
                let array = array.with_precision_and_scale(precision, scale);
                Arc::new(array.map_err(io::Error::other)?)
            }
            DataType::Boolean => {
                let mut builder = BooleanBuilder::with_capacity(values.len());
                let values = self.each(values, |value| value.parse().ok())?;
                values.into_iter().for_each(|value| builder.append_option(value));
                Arc::new(builder.finish())
            }
            DataType::Timestamp(..) => {
                let array = TimestampMicrosecondArray::from(self.each(values, micros)?);
                Arc::new(array.with_timezone(UTC))
            }
            DataType::Date32 => Arc::new(Date32Array::from(self.each(values, days)?)),
            _ => Arc::new(StringArray::from_iter(values.iter().copied())),
        })
    }

    /// Each value as what its type holds.
    fn each<T>(
        &self,
        values: &[Option<&str>],
        of: impl Fn(&str) -> Option<T>,
    ) -> io::Result<Vec<Option<T>>> {
        let one = |value: &Option<&str>| match value {
            None => Ok(None),
            Some(value) => of(value).map(Some).ok_or_else(|| {
                io::Error::other(format!("the column `{}` is not what it was", self.name))
            }),
        };
        values.iter().map(one).collect()
    }
}

/// A number as it is written, without zeros in front.
struct Digits<'v> {
    is_negative: bool,
    whole: &'v str,
    fraction: &'v str,
}

impl<'v> Digits<'v> {
    fn of(value: &'v str) -> Option<Self> {
        let (is_negative, digits) = match value.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = !whole.is_empty() && is_digits(whole) && is_digits(fraction);
        is_number.then(|| Self { is_negative, whole: whole.trim_start_matches('0'), fraction })
    }

    /// The whole number that it is, times ten to the scale.
    fn scaled(&self, scale: usize) -> Option<String> {
        let zeros = scale.checked_sub(self.fraction.len())?;
        let sign = if self.is_negative { "-" } else { "" };
        Some(format!("{sign}0{}{}{}", self.whole, self.fraction, "0".repeat(zeros)))
    }
}

/// The microseconds since 1970 of an instant, if it is written as it would be by them.
fn micros(value: &str) -> Option<i64> {
    let micros = DateTime::parse_from_rfc3339(value).ok()?.timestamp_micros();
    let mut text = String::new();
    write_instant(micros, &mut text);
    (text == value).then_some(micros)
}

/// The days since 1970 of a date, if it is written as it would be by them.
fn days(value: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(value, "%Y-%m-%d").ok()?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    let mut text = String::new();
    write_date(days, &mut text);
    (text == value).then(|| i32::try_from(days).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::sources::files::format::RowFormat;
    use crate::sources::formats::parquet::{Parquet, ParquetParams};

    /// The bytes of a file with these columns, and the rows that are read from it.
    fn round(columns: &[(&str, FieldKind)], rows: &[Values]) -> (Vec<u8>, Vec<String>) {
        let names: Vec<_> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let kinds: Vec<_> = columns.iter().map(|(_, kind)| *kind).collect();
        let mut file = ParquetFile::of(&names, &kinds);
        let mut bytes = Vec::new();
        rows.chunks(700).for_each(|part| file.look_at(part));
        for part in rows.chunks(700) {
            bytes.extend(file.write(part).unwrap());
        }
        bytes.extend(file.end().unwrap());
        let format = Parquet::new(ParquetParams::default(), Vec::new()).unwrap();
        let content = format.content("f", Box::new(Cursor::new(bytes.clone())), 1 << 30);
        let mut text = String::new();
        content.unwrap().read_to_string(&mut text).unwrap();
        (bytes, text.lines().skip(1).map(str::to_owned).collect())
    }

    fn column(kind: FieldKind, values: &[&str]) -> Vec<String> {
        let rows: Vec<Values> = values
            .iter()
            .map(|value| vec![Some((*value).to_owned())])
            .chain([vec![None]])
            .collect();
        let (_, rows) = round(&[("v", kind)], &rows);
        assert_eq!(rows.last().map(String::as_str), Some("{\"v\":null}"));
        let inner = |row: &String| row["{\"v\":".len()..row.len() - 1].to_owned();
        rows[..values.len()].iter().map(inner).collect()
    }

    #[test]
    fn parquet_holds_each_value_exactly_or_as_text() {
        use FieldKind::{Boolean, Date, Decimal, Integer, Json, Text, Timestamp};
        let of = column;
        let text = |text: &str| format!("\"{text}\"");
        assert_eq!(of(Integer, &["-1", "9223372036854775807"]), ["-1", "9223372036854775807"]);
        assert_eq!(of(Integer, &["9223372036854775808", "-7"]), ["9223372036854775808", "-7"]);
        let (wide, wider, widest) = ("9".repeat(38), "9".repeat(76), "9".repeat(77));
        assert_eq!(of(Integer, &[&wide]), std::slice::from_ref(&wide));
        assert_eq!(of(Integer, &[&wider, "-1"]), [wider.clone(), "-1".to_owned()]);
        assert_eq!(of(Integer, &[&widest, "1"]), [text(&widest), text("1")]);
        assert_eq!(of(Decimal, &["0.10", "-0.05", "12", "-0"]), ["0.10", "-0.05", "12.00", "0.00"]);
        let small = format!("0.{}", "1".repeat(60));
        assert_eq!(of(Decimal, &[&small]), std::slice::from_ref(&small));
        assert_eq!(of(Decimal, &[&small, &wide]), [text(&small), text(&wide)]);
        assert_eq!(of(Decimal, &["1.5", "none"]), [text("1.5"), text("none")]);
        assert_eq!(of(Boolean, &["true", "false"]), ["true", "false"]);
        assert_eq!(of(Boolean, &["true", "yes"]), [text("true"), text("yes")]);
        let times = ["2024-02-29T12:00:00Z", "0001-01-01T00:00:00.000001Z"];
        assert_eq!(of(Timestamp, &times), times.map(text));
        let other = ["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.0000001Z", "soon"];
        assert_eq!(of(Timestamp, &other), other.map(text));
        assert_eq!(of(Date, &["2024-02-29", "1969-12-31"]), ["2024-02-29", "1969-12-31"].map(text));
        assert_eq!(of(Date, &["2024-02-30"]), [text("2024-02-30")]);
        assert_eq!(of(Text, &["", "NULL"]), [text(""), text("NULL")]);
        assert_eq!(of(Json, &["[1]", "\"a\""]), ["[1]", "\"a\""]);
    }

    #[test]
    fn a_parquet_file_of_many_rows_comes_in_parts() {
        // Texts that can hardly be packed.
        let text = |row: usize| {
            let digits = (1..125)
                .map(|n| format!("{:016x}", (row * 125 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            digits.collect::<String>()
        };
        let rows: Vec<Values> =
            (0..20_000).map(|row| vec![Some(row.to_string()), Some(text(row))]).collect();
        let columns = [("id", FieldKind::Integer), ("text", FieldKind::Text)];
        let (bytes, read) = round(&columns, &rows);
        assert_eq!(read.len(), 20_000);
        assert_eq!(read[19_999], format!("{{\"id\":19999,\"text\":\"{}\"}}", text(19_999)));
        let reader = parquet::file::reader::SerializedFileReader::new(bytes::Bytes::from(bytes));
        let groups = parquet::file::reader::FileReader::num_row_groups(&reader.unwrap());
        assert!((2..20).contains(&groups), "{groups}");
        let (_, none) = round(&columns, &[]);
        assert!(none.is_empty());
    }
}
