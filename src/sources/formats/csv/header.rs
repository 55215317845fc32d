//! Owns the names of columns: the header's rows to one name per column, and what is wrong with a
//! header that has not the columns of the mapping.

use std::collections::HashMap;

use crate::domain::text::quoted;
use crate::sources::files::columns::{self, Unresolved, Wanted, fold};
use crate::sources::{FirstRow, SourceError, SourceErrorKind};

/// The names of `count` columns without a header.
pub(super) fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("column_{n}")).collect()
}

/// One name per column of a header that takes several rows; a column without any is numbered.
pub(super) fn joined(rows: &[Vec<String>]) -> Vec<String> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut names = numbered(width);
    for (column, name) in names.iter_mut().enumerate() {
        let parts: Vec<&str> = rows
            .iter()
            .filter_map(|row| row.get(column).map(String::as_str))
            .filter(|part| !part.trim().is_empty())
            .collect();
        if !parts.is_empty() {
            *name = parts.join(" ");
        }
    }
    names
}

/// The rows of a header whose names of groups reach to the right: a cell with nothing in it, in a row that is not
/// the last, belongs to the group on its left. None is carried where no row below has a name.
pub(super) fn carried(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let named =
        |row: &Vec<String>, at: usize| row.get(at).is_some_and(|name| !name.trim().is_empty());
    let carry = |(number, row): (usize, &Vec<String>)| {
        let below = &rows[number + 1..];
        let mut group = "";
        let width = below.iter().map(Vec::len).max().unwrap_or(0).max(row.len());
        let cells = (0..width).map(|at| {
            let cell = row.get(at).map_or("", String::as_str);
            if !cell.trim().is_empty() {
                group = cell;
            }
            let is_named = below.iter().any(|row| named(row, at));
            if is_named { group.to_owned() } else { cell.to_owned() }
        });
        cells.collect()
    };
    rows.iter().enumerate().map(carry).collect()
}

/// A name without what cannot be seen at its ends: byte order marks, zero-width characters, no-break spaces, and
/// the rest of a line end.
pub(super) fn visible_name(name: &str) -> &str {
    match name.as_bytes() {
        // Keys are mostly ASCII, and each is looked at.
        [b' '..=b'~', .., b' '..=b'~'] | [b' '..=b'~'] => name,
        _ => name.trim_matches(is_invisible),
    }
}

/// Whether a character is not seen, and no plain space.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{a0}' | '\u{202f}' | '\r')
}

/// Columns of one name, as a note of the file has them; `None` if there are none.
pub(super) fn duplicates(columns: &[String]) -> Option<String> {
    let mut seen = HashMap::with_capacity(columns.len());
    columns.iter().enumerate().find_map(|(at, name)| {
        let first = seen.insert(name, at)?;
        Some(format!(
            "columns {} and {} are both called {}, and not mapped; csv.header names the columns",
            first + 1,
            at + 1,
            quoted(name)
        ))
    })
}

/// What the first row of a file is whose columns the job file names: a header if most of its cells, and two
/// at least, are such names.
pub(super) fn first_row(names: &[String], cells: &[&str]) -> FirstRow {
    let folded: Vec<String> = names.iter().map(|name| fold(name)).collect();
    let places: Vec<Option<usize>> =
        cells.iter().map(|cell| folded.iter().position(|name| *name == fold(cell))).collect();
    let known = places.iter().flatten().count();
    let in_place = |(at, place): (usize, &Option<usize>)| place.is_none_or(|place| place == at);
    if known < 2 || known * 2 < cells.len() {
        FirstRow::Data
    } else if places.iter().enumerate().all(in_place) {
        FirstRow::Header
    } else {
        FirstRow::OtherHeader
    }
}

/// The column that each locator means; `None` when the file has no such column.
///
/// # Errors
/// Permanent, as of [`columns::resolve`]. Of a header that was taken for one column, says what probably
/// cuts it.
pub(super) fn resolve(
    file: &str,
    columns: &[String],
    wanted: &[Wanted],
) -> Result<Vec<Option<usize>>, SourceError> {
    columns::resolve(columns, wanted).map_err(|unresolved| match (&unresolved, columns) {
        (Unresolved::Absent(names), [whole]) if let Some(delimiter) = delimiter_within(whole) => {
            let wanted = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" or ");
            SourceError::new(SourceErrorKind::InvalidFile, format!("{file}: no column {wanted}: the whole header is one column, {}. It looks as if {delimiter} stands between fields", quoted(whole))).advise(format!("set csv.delimiter = {delimiter}"))
        }
        _ => unresolved.in_file(file, columns),
    })
}

/// The delimiter that probably cuts a header that was read as one column, as a job file writes it.
fn delimiter_within(header: &str) -> Option<&'static str> {
    /// The likelier ones first.
    const DELIMITERS: [(&str, &str); 9] = [
        (";", "\";\""),
        ("\t", "\"tab\""),
        (",", "\",\""),
        ("|", "\"|\""),
        ("^", "\"^\""),
        ("~", "\"~\""),
        (":", "\":\""),
        ("\u{1f}", "\"\\u001f\""),
        ("\u{1}", "\"\\u0001\""),
    ];
    let counted = DELIMITERS.map(|(delimiter, shown)| (header.matches(delimiter).count(), shown));
    let most = counted.iter().map(|(count, _)| *count).max().filter(|most| *most > 0)?;
    counted.iter().find(|(count, _)| *count == most).map(|(_, shown)| *shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::field::Locator;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn look(header: &[&str], names: &[&str], needed: bool) -> Result<Option<usize>, String> {
        let wanted = [Wanted { locator: Locator::Column(columns(names)), needed, key: false }];
        resolve("f.csv", &columns(header), &wanted).map(|c| c[0]).map_err(|e| e.text())
    }

    #[test]
    fn a_header_that_is_one_column_is_said_to_be_cut_by_something_else() {
        for (header, delimiter) in [
            ("sku,title,brand,price", "\",\""),
            ("sku;title, German;price;x", "\";\""),
            ("sku\ttitle", "\"tab\""),
            ("sku^title^price", "\"^\""),
        ] {
            let error = look(&[header], &["sku"], true).unwrap_err();
            for part in
                ["whole header is one column", &format!("set csv.delimiter = {delimiter}"), "f.csv"]
            {
                assert!(error.contains(part), "{part}: {error}");
            }
            assert!(!error.contains("Did you mean"), "{error}");
        }
        assert!(!look(&["skus"], &["sku"], true).unwrap_err().contains("one column"));
    }

    #[test]
    fn a_first_row_of_the_columns_names_is_a_header_and_one_of_values_is_none() {
        let names = columns(&["id", "Unit Price", "name"]);
        for (cells, found) in [
            (&["id", "unit price", "NAME"][..], FirstRow::Header),
            (&["id", "unit_price"], FirstRow::Header),
            (&["id", "name", "Unit Price"], FirstRow::OtherHeader),
            (&["1", "2.5", "name"], FirstRow::Data),
            (&["name", "2.5", "x"], FirstRow::Data),
        ] {
            assert_eq!(first_row(&names, cells), found, "{cells:?}");
        }
    }

    #[test]
    fn a_header_of_several_rows_is_joined_and_gaps_are_numbered() {
        let rows = [columns(&["net", "", "id"]), columns(&["price", " ", "id", "x"])];
        assert_eq!(joined(&rows), ["net price", "column_2", "id id", "x"]);
    }

    #[test]
    fn names_of_groups_reach_to_the_right_as_far_as_there_are_columns() {
        let rows =
            [columns(&["", "2024", "", "", "Sum"]), columns(&["id", "qty", "price", " ", "total"])];
        assert_eq!(
            joined(&carried(&rows)),
            ["id", "2024 qty", "2024 price", "column_4", "Sum total"]
        );
        let rows = [columns(&["", "2024"]), columns(&["", "qty", "price"]), columns(&["id", ""])];
        assert_eq!(joined(&carried(&rows)), ["id", "2024 qty", "2024 price"]);
    }

    #[test]
    fn columns_of_one_name_are_kept_under_several() {
        let names = columns(&["a", "b", "a", "a (2)", "a"]);
        assert_eq!(columns::distinct(&names), ["a", "b", "a (3)", "a (2)", "a (4)"]);
        assert!(duplicates(&names).unwrap().contains("columns 1 and 3 are both called \"a\""));
    }
}
