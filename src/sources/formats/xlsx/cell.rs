//! Owns what a cell of a spreadsheet holds, and how it is written in a row of JSON.

use std::io::{self, Write as _};

use crate::sources::rows::lines::NO_VALUE;

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Nothing.
    Blank,
    /// A text, or a date or time as text.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// True or false.
    Bool(bool),
    /// An error, such as `#N/A`.
    Error(String),
    /// A formula without a result.
    Formula(String),
}

/// The cells of a row that hold something, by their columns from 0 on, in their order.
#[derive(Debug, Default)]
pub(super) struct SheetRow {
    /// Its number in the sheet, from 1.
    pub number: u32,
    /// The cells.
    pub cells: Vec<(u32, Cell)>,
}

impl Cell {
    /// What people see, for the name of a column.
    pub fn shown(&self) -> String {
        match self {
            Self::Blank => String::new(),
            Self::Text(text) | Self::Number(text) | Self::Error(text) => text.trim().to_owned(),
            Self::Bool(value) => value.to_string().to_uppercase(),
            Self::Formula(_) => String::new(),
        }
    }

    /// Writes it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Blank => out.extend_from_slice(b"null"),
            Self::Text(text) => serde_json::to_writer(out, text)?,
            Self::Number(text) if is_json_number(text) => out.extend_from_slice(text.as_bytes()),
            Self::Number(text) => serde_json::to_writer(out, text)?,
            Self::Bool(value) => write!(out, "{value}")?,
            Self::Error(shown) => no_value(out, shown)?,
            Self::Formula(formula) => no_value(out, &format!("={formula}"))?,
        }
        Ok(())
    }
}

fn no_value(out: &mut Vec<u8>, shown: &str) -> io::Result<()> {
    write!(out, "{{\"{NO_VALUE}\":")?;
    serde_json::to_writer(&mut *out, shown)?;
    out.push(b'}');
    Ok(())
}

/// Whether a number is written as JSON writes it.
fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
        }
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(exponent)
        && digits(fraction)
        && digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
}

/// The number of a column from its letters, from 0 on: `A`, `XFD`.
pub(super) fn column_of(letters: &str) -> Option<u32> {
    let value = letters.bytes().try_fold(0_u32, |value, byte| {
        let letter = u32::from(byte.to_ascii_uppercase());
        let letter = letter.checked_sub(u32::from(b'A')).filter(|letter| *letter < 26)? + 1;
        value.checked_mul(26)?.checked_add(letter)
    })?;
    value.checked_sub(1).filter(|column| *column < MAX_COLUMNS)
}

/// The columns of a sheet.
pub(super) const MAX_COLUMNS: u32 = 16_384;

/// The letters of a column.
pub(super) fn letters(column: u32) -> String {
    let mut rest = column + 1;
    let mut letters = Vec::new();
    while rest > 0 {
        letters.push(char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

/// Row and column of a cell, from 1 and 0 on: `B3`.
pub(super) fn place(reference: &str) -> Option<(u32, u32)> {
    let plain: String = reference.chars().filter(|c| *c != '$').collect();
    let split = plain.find(|c: char| c.is_ascii_digit())?;
    let row: u32 = plain[split..].parse().ok().filter(|row| *row > 0)?;
    Some((row, column_of(&plain[..split])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_their_letters() {
        for (name, column) in [("A", 0), ("z", 25), ("AA", 26), ("XFD", 16_383)] {
            assert_eq!(column_of(name), Some(column), "{name}");
            assert_eq!(letters(column), name.to_uppercase());
        }
        for bad in ["", "XFE", "A1", "é", "AAAAAAAAAAAA"] {
            assert_eq!(column_of(bad), None, "{bad}");
        }
        assert_eq!(place("$B$3"), Some((3, 1)));
        assert_eq!(place("B0"), None);
    }

    #[test]
    fn numbers_keep_their_digits_and_what_is_none_in_json_is_a_text() {
        let written = |text: &str| {
            let mut out = Vec::new();
            Cell::Number(text.to_owned()).write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        for good in ["0.1", "1E-2", "-0", "1.0000000000000001E+20", "12345678901234567890"] {
            assert_eq!(written(good), good);
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok());
        }
        for bad in [".5", "01", "1.", "INF", "", "1e"] {
            assert_eq!(written(bad), format!("\"{bad}\""));
        }
    }
}
