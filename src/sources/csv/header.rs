//! Owns the names of columns: the header's rows to one name per column, and which column each
//! locator of the mapping means.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;
use std::slice;

use super::{AbsentColumn, SourceError};
use crate::domain::text::{MAX_QUOTED, quoted};
use crate::sources::FirstRow;
use crate::values::field::Locator;

/// The most lacking columns for which the nearest header is looked for.
const SUGGESTED: usize = 20;

/// A locator of the mapping, and whether rows are useless without it (a required field, or a part
/// of the key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where the value is.
    pub locator: Locator,
    /// Whether a file without such a column is refused.
    pub needed: bool,
    /// Whether it is a part of the key.
    pub key: bool,
}

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

/// Refuses a header in which a name stands twice: nothing could tell the columns apart.
pub(super) fn refuse_duplicates(file: &str, columns: &[String]) -> Result<(), SourceError> {
    let mut seen = HashMap::with_capacity(columns.len());
    for (at, name) in columns.iter().enumerate() {
        if let Some(first) = seen.insert(name, at) {
            return Err(SourceError::permanent(format!(
                "{file}: columns {} and {} are both called {}; name the columns yourself \
                 with csv.header = [\"…\", …] and pass over the file's header with \
                 csv.skip_lines",
                first + 1,
                at + 1,
                quoted(name)
            )));
        }
    }
    Ok(())
}

/// The column that each locator means; `None` when the file has no such column.
///
/// # Errors
/// Permanent, when a needed column is absent or a name fits two columns. Names the file, the
/// column, the nearest header and all headers.
pub(super) fn resolve(
    file: &str,
    columns: &[String],
    wanted: &[Wanted],
) -> Result<Vec<Option<usize>>, SourceError> {
    let columns = &Columns::new(columns);
    let mut found = Vec::with_capacity(wanted.len());
    for Wanted { locator, needed, .. } in wanted {
        let column = match locator {
            Locator::Nowhere => None,
            Locator::Column(names) => column_of(file, columns, names, *needed)?,
            Locator::Named(name) => column_of(file, columns, slice::from_ref(name), *needed)?,
            Locator::Path(path) => {
                return Err(SourceError::permanent(format!(
                    "the path {path:?} means nothing in a CSV file: write column = \"…\""
                )));
            }
        };
        found.push(column);
    }
    Ok(found)
}

/// The columns by their names: a header of tens of thousands costs as much per column as a short one.
struct Columns<'c> {
    names: &'c [String],
    exact: HashMap<&'c str, usize>,
    /// By [`fold`]; made when the first name has no exact match.
    loose: OnceCell<HashMap<String, Vec<usize>>>,
}

impl<'c> Columns<'c> {
    fn new(names: &'c [String]) -> Self {
        let mut exact = HashMap::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            exact.entry(name.as_str()).or_insert(at);
        }
        Self { names, exact, loose: OnceCell::new() }
    }

    fn alike(&self, name: &str) -> &[usize] {
        let loose = self.loose.get_or_init(|| {
            let mut loose: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, name) in self.names.iter().enumerate() {
                loose.entry(fold(name)).or_default().push(at);
            }
            loose
        });
        loose.get(&fold(name)).map_or(&[], Vec::as_slice)
    }
}

fn column_of(
    file: &str,
    columns: &Columns<'_>,
    names: &[String],
    needed: bool,
) -> Result<Option<usize>, SourceError> {
    match find(file, columns, names)? {
        None if needed => Err(absent(file, columns.names, names)),
        column => Ok(column),
    }
}

/// An exact match of any name comes before a loose match of any.
fn find(file: &str, columns: &Columns<'_>, names: &[String]) -> Result<Option<usize>, SourceError> {
    if let Some(column) = names.iter().find_map(|name| columns.exact.get(name.as_str())) {
        return Ok(Some(*column));
    }
    for name in names {
        match columns.alike(name) {
            [] => {}
            [column] => return Ok(Some(*column)),
            [one, other, ..] => {
                return Err(SourceError::permanent(format!(
                    "{file}: {} fits the columns {} and {}; write the one you mean exactly as the \
                     header does",
                    quoted(name),
                    quoted(&columns.names[*one]),
                    quoted(&columns.names[*other])
                )));
            }
        }
    }
    Ok(None)
}

/// Letters and digits in lower case: `"Item #"` and `item` are the same. A name without any is
/// compared as it is.
fn fold(name: &str) -> String {
    let folded: String =
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if folded.is_empty() { name.trim().to_owned() } else { folded }
}

/// The mapped columns that a header lacks, each once.
pub(super) fn lacking(columns: &[String], wanted: &[Wanted]) -> Vec<AbsentColumn> {
    let by_name = Columns::new(columns);
    let mut lacking: Vec<AbsentColumn> = Vec::new();
    for Wanted { locator, .. } in wanted {
        let names = match locator {
            Locator::Column(names) => names,
            Locator::Named(name) => slice::from_ref(name),
            Locator::Path(_) | Locator::Nowhere => continue,
        };
        let column = locator.label().unwrap_or_default();
        let known = lacking.iter().any(|absent| absent.column == column);
        if !known && matches!(find("", &by_name, names), Ok(None)) {
            // Looking for what was meant takes a while for each of them.
            let looked_for = lacking.len() < SUGGESTED;
            let nearest = looked_for.then(|| nearest(columns, names).cloned()).flatten();
            lacking.push(AbsentColumn { column: column.to_owned(), nearest, unreached: false });
        }
    }
    lacking
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

/// The columns behind the first `width`: those that are mapped, or all when they are known by their
/// places only.
pub(super) fn unreached(
    columns: &[String],
    wanted: &[Wanted],
    width: usize,
    by_place: bool,
) -> Vec<AbsentColumn> {
    if width >= columns.len() {
        return Vec::new();
    }
    let located = resolve("", columns, wanted).unwrap_or_default();
    let label = |at: usize| {
        let mapped = wanted.iter().zip(&located).find(|(_, column)| **column == Some(at));
        mapped.and_then(|(wanted, _)| wanted.locator.label())
    };
    (width..columns.len())
        .filter_map(|at| label(at).or_else(|| by_place.then_some(columns[at].as_str())))
        .map(|column| AbsentColumn { column: column.to_owned(), nearest: None, unreached: true })
        .collect()
}

/// The header that is most like one of the names, if any is.
fn nearest<'c>(columns: &'c [String], names: &[String]) -> Option<&'c String> {
    // Likeness takes time by the square of the length.
    let short = |name: &&String| name.len() <= MAX_QUOTED;
    let columns = || columns.iter().filter(short);
    let pairs =
        names.iter().filter(short).flat_map(|name| columns().map(move |column| (name, column)));
    pairs
        .map(|(name, column)| (strsim::jaro_winkler(&fold(name), &fold(column)), column))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, column)| column)
}

fn absent(file: &str, columns: &[String], names: &[String]) -> SourceError {
    /// The columns that are listed.
    const LISTED: usize = 50;
    let wanted = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" or ");
    if let [whole] = columns
        && let Some(delimiter) = delimiter_within(whole)
    {
        return SourceError::permanent(format!(
            "{file}: no column {wanted}: the whole header is one column, {}. It looks as if {delimiter} \
             stands between fields; set csv.delimiter = {delimiter}",
            quoted(whole)
        ));
    }
    let hint = match nearest(columns, names) {
        Some(name) => format!(" Did you mean {}?", quoted(name)),
        None => String::new(),
    };
    let listed = columns.iter().take(LISTED).map(|name| quoted(name)).collect::<Vec<_>>();
    let more = match columns.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let has = listed.join(", ");
    SourceError::permanent(format!(
        "{file}: no column {wanted}.{hint} The columns are {has}{more}; give the right name, or another \
         alias, in the job file"
    ))
}

/// What a header that was taken for one column is probably cut by, as a job file writes it.
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

/// How a file is named in messages.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn look(header: &[&str], names: &[&str], needed: bool) -> Result<Option<usize>, String> {
        let wanted = [Wanted { locator: Locator::Column(columns(names)), needed, key: false }];
        resolve("f.csv", &columns(header), &wanted).map(|c| c[0]).map_err(|e| e.message)
    }

    #[test]
    fn a_header_of_tens_of_thousands_of_columns_is_no_work_per_column() {
        let names: Vec<String> = (0..60_000).map(|n| format!("column number {n}")).collect();
        let wanted: Vec<Wanted> = (0..2_000)
            .map(|n| Wanted {
                locator: Locator::Column(vec![format!("COLUMN number-{}", n * 30)]),
                needed: true,
                key: false,
            })
            .collect();
        let begun = std::time::Instant::now();
        refuse_duplicates("f.csv", &names).unwrap();
        assert_eq!(resolve("f.csv", &names, &wanted).unwrap()[1_999], Some(59_970));
        // By the square it takes minutes.
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
        let error = look(&names.iter().map(String::as_str).collect::<Vec<_>>(), &["x"], true);
        let error = error.unwrap_err();
        assert!(error.contains("and 59950 more") && error.len() < 3_000, "{error}");
    }

    #[test]
    fn an_exact_name_wins_over_a_loose_one() {
        assert_eq!(look(&["item", "Item #"], &["Item #"], true), Ok(Some(1)));
        assert_eq!(look(&["a", " ITEM-No. "], &["sku", "Item no"], true), Ok(Some(1)));
        assert_eq!(look(&["Artikelnummer", "SKU"], &["sku", "Artikelnummer"], true), Ok(Some(0)));
        assert_eq!(look(&["#", "%"], &["%"], true), Ok(Some(1)));
    }

    #[test]
    fn a_name_that_fits_two_columns_is_refused() {
        let error = look(&["Item #", "Item."], &["item"], false).unwrap_err();
        assert!(error.contains("\"Item #\"") && error.contains("\"Item.\""), "{error}");
    }

    #[test]
    fn an_absent_column_is_refused_only_when_needed() {
        assert_eq!(look(&["a"], &["b"], false), Ok(None));
        let error = look(&["prise", "name"], &["price"], true).unwrap_err();
        for part in ["f.csv", "\"price\"", "Did you mean \"prise\"", "\"name\""] {
            assert!(error.contains(part), "{error}");
        }
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
    fn duplicate_columns_are_refused_by_name() {
        let error = refuse_duplicates("f.csv", &columns(&["a", "b", "a"])).unwrap_err();
        assert!(error.message.contains("columns 1 and 3 are both called \"a\""), "{error}");
    }
}
