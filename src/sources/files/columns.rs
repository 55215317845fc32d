//! Owns which column of a file each locator of a mapping means, and which are not there, for formats
//! whose rows have columns.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::slice;

use crate::domain::text::{MAX_QUOTED, quoted};
use crate::job_file::Definition;
use crate::sources::{AbsentColumn, SourceError, SourceErrorKind};
use crate::values::field::Locator;

/// The most missing columns for which the nearest header is searched.
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

impl Wanted {
    /// Whether it is a column without which no file is read.
    pub fn is_needed_column(&self) -> bool {
        self.needed && self.is_column()
    }

    fn is_column(&self) -> bool {
        matches!(self.locator, Locator::Column(_) | Locator::Named(_))
    }

    /// Everything that a mapping looks up in a row, in the order of [`Definition::locators`].
    pub fn of(definition: &Definition) -> Vec<Self> {
        let fields = definition.fields.iter().map(|field| Self {
            locator: field.from.clone(),
            needed: field.required && field.default.is_none(),
            key: false,
        });
        let parts = &definition.external_id.parts;
        let key = parts.iter().map(|part| Self { locator: part.clone(), needed: true, key: true });
        let also = definition.fields.iter().flat_map(|field| {
            let needed = field.required && field.default.is_none();
            let wanted =
                move |locator: &Locator| Self { locator: locator.clone(), needed, key: false };
            field.also().iter().map(wanted)
        });
        fields.chain(key).chain(also).collect()
    }
}

/// Why a file has no column for a locator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved<'w> {
    /// The locator is a path, which means nothing among columns.
    Path(&'w str),
    /// A name fits two columns, the ones at these places.
    Ambiguous(&'w str, usize, usize),
    /// A needed column of one of these names is absent.
    Absent(&'w [String]),
}

impl Unresolved<'_> {
    /// Names the file, the column, the nearest header and all headers.
    pub fn in_file(&self, file: &str, columns: &[String]) -> SourceError {
        match self {
            Self::Path(path) => {
                let message = format!("the path {path:?} means nothing in a file of columns");
                SourceError::new(SourceErrorKind::InvalidConfig, message)
                    .advise("write column = \"…\"")
            }
            Self::Ambiguous(name, one, other) => {
                if columns[*one] == columns[*other] {
                    let mapped = match *name == columns[*one] {
                        true => "it".to_owned(),
                        false => quoted(name),
                    };
                    let (name, one, other) = (quoted(&columns[*one]), one + 1, other + 1);
                    let message = format!(
                        "{file}: columns {one} and {other} are both called {name}, and {mapped} is mapped"
                    );
                    return SourceError::new(SourceErrorKind::InvalidFile, message).advise(
                        "name the columns yourself with csv.header = [\"…\", …], which passes over the file's header \
                         with csv.skip_rows = 1",
                    );
                }
                let message = format!(
                    "{file}: {} fits the columns {} and {}",
                    quoted(name),
                    quoted(&columns[*one]),
                    quoted(&columns[*other])
                );
                SourceError::new(SourceErrorKind::InvalidFile, message)
                    .advise("write the one you mean exactly as the header does")
            }
            Self::Absent(names) => absent(file, columns, names),
        }
    }
}

/// The column that each locator means; `None` when the file has no such column.
///
/// # Errors
/// When a needed column is absent or a name fits two columns.
pub fn resolve<'w>(
    columns: &[String],
    wanted: &'w [Wanted],
) -> Result<Vec<Option<usize>>, Unresolved<'w>> {
    let columns = &Columns::new(columns);
    let mut found = Vec::with_capacity(wanted.len());
    for Wanted { locator, needed, .. } in wanted {
        let column = match locator {
            Locator::Whole(_) | Locator::Nowhere => None,
            Locator::Column(names) => column_of(columns, names, *needed)?,
            Locator::Named(name) => column_of(columns, slice::from_ref(name), *needed)?,
            Locator::Path(path) => return Err(Unresolved::Path(path)),
        };
        found.push(column);
    }
    // Where keys are made of whole rows, no single column is needed; but one that is mapped has to be there.
    let is_whole = |wanted: &Wanted| matches!(wanted.locator, Locator::Whole(_));
    if found.iter().all(Option::is_none) && wanted.iter().any(is_whole) {
        let names = wanted.iter().find_map(|wanted| match &wanted.locator {
            Locator::Column(names) => Some(names.as_slice()),
            Locator::Named(name) => Some(slice::from_ref(name)),
            _ => None,
        });
        return names.map_or(Ok(found), |names| Err(Unresolved::Absent(names)));
    }
    Ok(found)
}

/// The columns by their names: a header of tens of thousands costs as much per column as a short one.
struct Columns<'c> {
    names: &'c [String],
    exact: HashMap<&'c str, usize>,
    /// Names that two columns have, with the places of both.
    twice: HashMap<&'c str, (usize, usize)>,
    /// By [`fold`]; made when the first name has no exact match.
    loose: OnceCell<HashMap<String, Vec<usize>>>,
}

impl<'c> Columns<'c> {
    fn new(names: &'c [String]) -> Self {
        let mut exact = HashMap::with_capacity(names.len());
        let mut twice = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            let first = *exact.entry(name.as_str()).or_insert(at);
            if first != at {
                twice.entry(name.as_str()).or_insert((first, at));
            }
        }
        Self { names, exact, twice, loose: OnceCell::new() }
    }

    /// The places of columns of one name, if [`distinct`] calls a later one of them so.
    fn numbered(&self, name: &str) -> Option<(usize, usize)> {
        let (plain, _) = name.strip_suffix(')')?.rsplit_once(" (")?;
        let (first, _) = self.twice.get(plain)?;
        let place = distinct(self.names).iter().position(|distinct| distinct == name)?;
        Some((*first, place))
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

fn column_of<'w>(
    columns: &Columns<'_>,
    names: &'w [String],
    needed: bool,
) -> Result<Option<usize>, Unresolved<'w>> {
    match find(columns, names)? {
        None if needed => Err(Unresolved::Absent(names)),
        column => Ok(column),
    }
}

/// An exact match of any name comes before a loose match of any.
fn find<'w>(columns: &Columns<'_>, names: &'w [String]) -> Result<Option<usize>, Unresolved<'w>> {
    for name in names {
        if let Some((one, other)) = columns.twice.get(name.as_str()) {
            return Err(Unresolved::Ambiguous(name, *one, *other));
        }
        if let Some(column) = columns.exact.get(name.as_str()) {
            return Ok(Some(*column));
        }
    }
    // A column that only its place tells from another is none that can be named.
    for name in names {
        if let Some((one, other)) = columns.numbered(name) {
            return Err(Unresolved::Ambiguous(name, one, other));
        }
    }
    for name in names {
        match columns.alike(name) {
            [] => {}
            [column] => return Ok(Some(*column)),
            [one, other, ..] => return Err(Unresolved::Ambiguous(name, *one, *other)),
        }
    }
    Ok(None)
}

/// How many of the mapped columns there are, and whether those are among them without which no file is read; one at
/// least where none is needed by itself.
pub fn located(columns: &[String], wanted: &[Wanted]) -> (usize, bool) {
    let columns = &Columns::new(columns);
    let (mut found, mut has_needed) = (0, true);
    for Wanted { locator, needed, .. } in wanted {
        let names = match locator {
            Locator::Column(names) => names,
            Locator::Named(name) => slice::from_ref(name),
            Locator::Path(_) | Locator::Whole(_) | Locator::Nowhere => continue,
        };
        match find(columns, names) {
            Ok(Some(_)) => found += 1,
            Ok(None) => has_needed &= !needed,
            // The header has it, and more than once.
            Err(_) => found += 1,
        }
    }
    let any_needed = wanted.iter().any(Wanted::is_needed_column);
    let any_mapped = wanted.iter().any(Wanted::is_column);
    (found, has_needed && (any_needed || !any_mapped || found > 0))
}

/// Letters and digits in lower case: `"Item #"` and `item` are the same. A name without any is
/// compared as it is.
pub fn fold(name: &str) -> String {
    let folded: String =
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if folded.is_empty() { name.trim().to_owned() } else { folded }
}

/// The mapped columns that a header lacks, each once.
pub fn lacking(columns: &[String], wanted: &[Wanted]) -> Vec<AbsentColumn> {
    let by_name = Columns::new(columns);
    let mut lacking: Vec<AbsentColumn> = Vec::new();
    for Wanted { locator, .. } in wanted {
        let names = match locator {
            Locator::Column(names) => names,
            Locator::Named(name) => slice::from_ref(name),
            Locator::Path(_) | Locator::Whole(_) | Locator::Nowhere => continue,
        };
        let column = locator.label().unwrap_or_default();
        let known = lacking.iter().any(|absent| absent.column == column);
        if !known && matches!(find(&by_name, names), Ok(None)) {
            // Looking for what was meant takes a while for each of them.
            let looked_for = lacking.len() < SUGGESTED;
            let nearest = looked_for.then(|| nearest(columns, names).cloned()).flatten();
            lacking.push(AbsentColumn {
                column: column.to_owned(),
                nearest,
                unreached: false,
                part: None,
            });
        }
    }
    lacking
}

/// The columns behind the first `width`: those that are mapped, or all when they are known by their
/// places only.
pub fn unreached(
    columns: &[String],
    wanted: &[Wanted],
    width: usize,
    by_place: bool,
) -> Vec<AbsentColumn> {
    if width >= columns.len() {
        return Vec::new();
    }
    let located = resolve(columns, wanted).unwrap_or_default();
    let label = |at: usize| {
        let mapped = wanted.iter().zip(&located).find(|(_, column)| **column == Some(at));
        mapped.and_then(|(wanted, _)| wanted.locator.label())
    };
    (width..columns.len())
        .filter_map(|at| label(at).or_else(|| by_place.then_some(columns[at].as_str())))
        .map(|column| AbsentColumn {
            column: column.to_owned(),
            nearest: None,
            unreached: true,
            part: None,
        })
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

/// The names under which columns are kept: of several columns of one name, the later ones are numbered.
pub fn distinct(columns: &[String]) -> Vec<String> {
    let all: HashSet<&str> = columns.iter().map(String::as_str).collect();
    let mut counts: HashMap<&str, usize> = HashMap::with_capacity(columns.len());
    let mut kept = Vec::with_capacity(columns.len());
    for name in columns {
        let count = counts.entry(name.as_str()).or_default();
        kept.push(loop {
            *count += 1;
            let numbered = format!("{name} ({count})");
            match *count {
                1 => break name.clone(),
                _ if !all.contains(numbered.as_str()) => break numbered,
                _ => {}
            }
        });
    }
    kept
}

fn absent(file: &str, columns: &[String], names: &[String]) -> SourceError {
    /// The columns that are listed.
    const LISTED: usize = 50;
    let wanted = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" or ");
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
    let message = format!("{file}: no column {wanted}.{hint} The columns are {has}{more}");
    SourceError::new(SourceErrorKind::InvalidFile, message)
        .advise("give the right name, or another alias, in the job file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn look(header: &[&str], names: &[&str], needed: bool) -> Result<Option<usize>, String> {
        let header = columns(header);
        let wanted = [Wanted { locator: Locator::Column(columns(names)), needed, key: false }];
        let found = resolve(&header, &wanted);
        found.map(|found| found[0]).map_err(|error| error.in_file("f.csv", &header).text())
    }

    #[test]
    fn a_column_that_is_kept_under_a_number_cannot_be_mapped_by_it() {
        let error = look(&["id", "Labels", "Labels"], &["Labels (2)"], false).unwrap_err();
        let says = "f.csv: columns 2 and 3 are both called \"Labels\", and \"Labels (2)\" is mapped; name the columns \
                    yourself";
        assert!(error.starts_with(says), "{error}");
        // A column that is called so is found, and one that is not there is not.
        assert_eq!(look(&["a", "a", "a (2)"], &["a (2)"], false), Ok(Some(2)));
        assert_eq!(look(&["a", "b"], &["a (2)"], false), Ok(None));
        assert_eq!(look(&["a", "a"], &["a (7)"], false), Ok(None));
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
        assert_eq!(resolve(&names, &wanted).unwrap()[1_999], Some(59_970));
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
}
