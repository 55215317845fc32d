//! Owns how a value of a column is written as JSON: with every digit that it has.

use std::fmt::Display;
use std::io::{self, Write as _};

use arrow_array::cast::AsArray;
use arrow_array::types as is;
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use serde_json::value::RawValue;

use super::columns::{Column, Meaning};
use super::layout::{damaged, refused};
use super::row::Row;
use super::times::{self, NANOS};

/// Writes a value. `second` is what came of the column when it was read a second time.
pub(super) fn write(
    column: &Column,
    array: &dyn Array,
    second: Option<&dyn Array>,
    row: usize,
    out: &mut Row<'_>,
) -> io::Result<()> {
    let data_type = array.data_type();
    if *data_type == DataType::Null || array.is_null(row) {
        out.put(b"null")?;
        return Ok(());
    }
    match data_type {
        DataType::Boolean => bare(array.as_boolean().value(row), out.small()),
        DataType::Int8 => bare(of::<is::Int8Type>(array, row), out.small()),
        DataType::Int16 => bare(of::<is::Int16Type>(array, row), out.small()),
        DataType::Int32 => bare(of::<is::Int32Type>(array, row), out.small()),
        DataType::Int64 => bare(of::<is::Int64Type>(array, row), out.small()),
        DataType::UInt8 => bare(of::<is::UInt8Type>(array, row), out.small()),
        DataType::UInt16 => bare(of::<is::UInt16Type>(array, row), out.small()),
        DataType::UInt32 => bare(of::<is::UInt32Type>(array, row), out.small()),
        DataType::UInt64 => bare(of::<is::UInt64Type>(array, row), out.small()),
        DataType::Float16 => half(of::<is::Float16Type>(array, row).to_f32(), out.small()),
        DataType::Float32 => {
            let number = of::<is::Float32Type>(array, row);
            float(f64::from(number), &format!("{number:?}"), out.small());
        }
        DataType::Float64 => {
            let number = of::<is::Float64Type>(array, row);
            float(number, &format!("{number:?}"), out.small());
        }
        DataType::Decimal32(_, scale) => {
            decimal(of::<is::Decimal32Type>(array, row), *scale, out.small())
        }
        DataType::Decimal64(_, scale) => {
            decimal(of::<is::Decimal64Type>(array, row), *scale, out.small())
        }
        DataType::Decimal128(_, scale) => {
            decimal(of::<is::Decimal128Type>(array, row), *scale, out.small());
        }
        DataType::Decimal256(_, scale) => {
            decimal(of::<is::Decimal256Type>(array, row), *scale, out.small());
        }
        DataType::Utf8View => match (column.meaning, array.as_string_view().value(row)) {
            (Meaning::Json, value) => json(value, out)?,
            (_, value) => text(value, out)?,
        },
        DataType::BinaryView => bytes(array.as_binary_view().value(row), out)?,
        DataType::FixedSizeBinary(_) => {
            let value = array.as_fixed_size_binary().value(row);
            match column.meaning {
                Meaning::Uuid => uuid(value, out.small()),
                _ => bytes(value, out)?,
            }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
            let second = second.map(|second| second.as_list::<i32>().values().as_ref());
            elements(column, list.values(), second, (start as usize, end as usize), out)?;
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (start, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
            let second = second.map(|second| second.as_list::<i64>().values().as_ref());
            elements(column, list.values(), second, (start as usize, end as usize), out)?;
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let start = list.value_offset_at(row);
            let end = start + list.value_length() as usize;
            let second = second.map(|second| second.as_fixed_size_list().values().as_ref());
            elements(column, list.values(), second, (start, end), out)?;
        }
        DataType::Struct(_) => fields(column, array, second, row, out)?,
        DataType::Map(..) => map(column, array, second, row, out)?,
        _ => time(array, second, row, out)?,
    }
    Ok(())
}

/// Writes fields that stand side by side as an object.
pub(super) fn object<'a>(
    fields: impl Iterator<Item = (&'a Column, &'a dyn Array, Option<&'a dyn Array>)>,
    row: usize,
    out: &mut Row<'_>,
) -> io::Result<()> {
    out.put(b"{")?;
    for (at, (column, array, second)) in fields.enumerate() {
        if at > 0 {
            out.put(b",")?;
        }
        out.put(column.key.as_bytes())?;
        write(column, array, second, row, out)?;
    }
    out.put(b"}")?;
    Ok(())
}

fn fields(
    column: &Column,
    array: &dyn Array,
    second: Option<&dyn Array>,
    row: usize,
    out: &mut Row<'_>,
) -> io::Result<()> {
    let second = second.map(AsArray::as_struct);
    let fields = array
        .as_struct()
        .columns()
        .iter()
        .enumerate()
        .map(|(at, field)| (field.as_ref(), second.map(|second| second.column(at).as_ref())));
    let fields = column.inner.iter().zip(fields);
    object(fields.map(|(column, (field, second))| (column, field, second)), row, out)
}

fn elements(
    column: &Column,
    values: &dyn Array,
    second: Option<&dyn Array>,
    (start, end): (usize, usize),
    out: &mut Row<'_>,
) -> io::Result<()> {
    let Some(of) = column.inner.first() else { return Err(damaged("a list is of nothing")) };
    out.put(b"[")?;
    for at in start..end {
        if at > start {
            out.put(b",")?;
        }
        write(of, values, second, at, out)?;
    }
    out.put(b"]")?;
    Ok(())
}

/// A map is an object with its keys as texts. One whose keys are no single values is a list of keys and values.
fn map(
    column: &Column,
    array: &dyn Array,
    second: Option<&dyn Array>,
    row: usize,
    out: &mut Row<'_>,
) -> io::Result<()> {
    let [key, value] = &column.inner[..] else { return Err(damaged("a map is of nothing")) };
    let map = array.as_map();
    let second = second.map(AsArray::as_map);
    let (start, end) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
    let is_plain = key.inner.is_empty();
    out.put(if is_plain { b"{" } else { b"[" })?;
    for at in start..end {
        if at > start {
            out.put(b",")?;
        }
        let second_key = second.map(|second| second.keys().as_ref());
        let second_value = second.map(|second| second.values().as_ref());
        if is_plain {
            let begin = out.length();
            write(key, map.keys(), second_key, at, out)?;
            out.quote_from(begin)?;
            out.put(b":")?;
            write(value, map.values(), second_value, at, out)?;
        } else {
            out.put(b"{\"key\":")?;
            write(key, map.keys(), second_key, at, out)?;
            out.put(b",\"value\":")?;
            write(value, map.values(), second_value, at, out)?;
            out.put(b"}")?;
        }
    }
    out.put(if is_plain { b"}" } else { b"]" })?;
    Ok(())
}

fn of<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn bare(value: impl Display, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// The shortest digits that tell a number from any other of its width. What is no number in JSON is a text.
fn float(number: f64, digits: &str, out: &mut Vec<u8>) {
    let is_number = number.is_finite();
    let shown = match digits {
        "inf" => "\"Infinity\"",
        "-inf" => "\"-Infinity\"",
        _ if !is_number => "\"NaN\"",
        digits => digits,
    };
    out.extend_from_slice(shown.as_bytes());
}

/// The shortest digits of a number of 16 bits.
pub(super) fn half(number: f32, out: &mut Vec<u8>) {
    type Half = <is::Float16Type as ArrowPrimitiveType>::Native;
    // Five digits tell each of them from any other.
    let shortest = (0..5).find_map(|digits| {
        let short: f32 = format!("{number:.digits$e}").parse().ok()?;
        (Half::from_f32(short).to_f32() == number).then_some(short)
    });
    float(f64::from(number), &format!("{:?}", shortest.unwrap_or(number)), out);
}

/// Digits with the decimal point where the scale says.
pub(super) fn decimal(digits: impl Display, scale: i8, out: &mut Vec<u8>) {
    let digits = digits.to_string();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", &*digits),
    };
    out.extend_from_slice(sign.as_bytes());
    let scale = i32::from(scale);
    if scale <= 0 {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.extend((scale..0).map(|_| b'0'));
        }
        return;
    }
    let places = scale as usize;
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    out.extend_from_slice(whole.as_bytes());
    out.push(b'.');
    out.extend_from_slice(fraction.as_bytes());
}

fn text(text: &str, out: &mut Row<'_>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

/// JSON is what it says, in one line; a text that is none after all is a text.
fn json(value: &str, out: &mut Row<'_>) -> io::Result<()> {
    let Ok(value) = serde_json::from_str::<&RawValue>(value) else { return text(value, out) };
    // Within texts there are no line ends.
    for (at, line) in value.get().split(['\n', '\r']).enumerate() {
        if at > 0 {
            out.put(b" ")?;
        }
        out.put(line.as_bytes())?;
    }
    Ok(())
}

/// Bytes are the text that they are, or their digits; those with a NUL are hardly meant as a text.
fn bytes(bytes: &[u8], out: &mut Row<'_>) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(utf8) if !utf8.contains('\0') => text(utf8, out),
        _ => {
            // As JSON writes one backslash.
            out.put(b"\"\\\\x")?;
            for byte in bytes {
                write!(out, "{byte:02x}")?;
            }
            out.put(b"\"")
        }
    }
}

fn uuid(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    out.push(b'"');
}

fn time(
    array: &dyn Array,
    second: Option<&dyn Array>,
    row: usize,
    out: &mut Row<'_>,
) -> io::Result<()> {
    let mut text = String::with_capacity(36);
    match array.data_type() {
        DataType::Date32 => times::date(i64::from(of::<is::Date32Type>(array, row)), &mut text),
        DataType::Date64 => {
            let (seconds, nanos) = parted(of::<is::Date64Type>(array, row), TimeUnit::Millisecond);
            match (seconds.rem_euclid(86_400), nanos) {
                (0, 0) => times::date(seconds.div_euclid(86_400), &mut text),
                _ => times::instant(seconds, nanos, false, &mut text),
            }
        }
        DataType::Time32(unit) => {
            let value = match unit {
                TimeUnit::Second => of::<is::Time32SecondType>(array, row),
                _ => of::<is::Time32MillisecondType>(array, row),
            };
            time_of_day(i64::from(value), *unit, &mut text)?;
        }
        DataType::Time64(unit) => {
            let value = match unit {
                TimeUnit::Microsecond => of::<is::Time64MicrosecondType>(array, row),
                _ => of::<is::Time64NanosecondType>(array, row),
            };
            time_of_day(value, *unit, &mut text)?;
        }
        DataType::Timestamp(unit, zone) => {
            let value = match unit {
                TimeUnit::Second => of::<is::TimestampSecondType>(array, row),
                TimeUnit::Millisecond => of::<is::TimestampMillisecondType>(array, row),
                TimeUnit::Microsecond => of::<is::TimestampMicrosecondType>(array, row),
                TimeUnit::Nanosecond => of::<is::TimestampNanosecondType>(array, row),
            };
            let (seconds, nanos) = match second {
                Some(second) => whole(value, of::<is::TimestampSecondType>(second, row))?,
                None => parted(value, *unit),
            };
            times::instant(seconds, nanos, zone.is_some(), &mut text);
        }
        DataType::Duration(unit) => {
            let value = match unit {
                TimeUnit::Second => of::<is::DurationSecondType>(array, row),
                TimeUnit::Millisecond => of::<is::DurationMillisecondType>(array, row),
                TimeUnit::Microsecond => of::<is::DurationMicrosecondType>(array, row),
                TimeUnit::Nanosecond => of::<is::DurationNanosecondType>(array, row),
            };
            let (seconds, nanos) = parted(value, *unit);
            times::span(0, 0, seconds, nanos, &mut text);
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = of::<is::IntervalDayTimeType>(array, row);
            let months = second.map_or(0, |second| of::<is::IntervalYearMonthType>(second, row));
            // They are stored without a sign.
            let [months, days, millis] =
                [months, value.days, value.milliseconds].map(|part| i64::from(part as u32));
            let (seconds, nanos) = parted(millis, TimeUnit::Millisecond);
            times::span(months, days, seconds, nanos, &mut text);
        }
        other => {
            return Err(refused(&format!(
                "has a column of the type {other}, which cannot be read"
            )));
        }
    }
    out.put(b"\"")?;
    out.put(text.as_bytes())?;
    out.put(b"\"")
}

fn time_of_day(value: i64, unit: TimeUnit, text: &mut String) -> io::Result<()> {
    let (seconds, nanos) = parted(value, unit);
    if !(0..86_400).contains(&seconds) {
        return Err(damaged("it has a time of day that is none"));
    }
    times::time(seconds, nanos, text);
    Ok(())
}

/// Seconds, and nanoseconds behind them.
fn parted(value: i64, unit: TimeUnit) -> (i64, i64) {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS,
    };
    (value.div_euclid(per_second), value.rem_euclid(per_second) * (NANOS / per_second))
}

/// The instant of which these are the nanoseconds, as far as 64 bits hold them, and the whole seconds.
fn whole(nanos: i64, seconds: i64) -> io::Result<(i64, i64)> {
    let rest = nanos.wrapping_sub(seconds.wrapping_mul(NANOS));
    match (0..NANOS).contains(&rest) {
        true => Ok((seconds, rest)),
        false => Err(damaged("it has an instant that is none")),
    }
}
