//! Owns whether a row holds the names of a header that stood above it, compared as names of columns are everywhere: not by
//! case, spaces and punctuation, unless only these tell two of them apart. Must not know where rows are.

use std::borrow::Cow;
use std::collections::HashMap;

use encoding_rs::Encoding;

use super::header::is_invisible;
use crate::sources::files::columns::fold;

/// The names of headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderNames {
    encoding: &'static Encoding,
    ways: Vec<Box<[NamesOfRow]>>,
    /// The letters and digits that names end in, by the one that they begin with.
    edges: Box<[u128; 128]>,
    /// Whether a cell without letters and digits may stand among them.
    odd: bool,
    several_lines: bool,
}

/// A row of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamesOfRow {
    /// A number for each name, without the empty ones at the end.
    names: Vec<u32>,
    sorted: Vec<u32>,
    /// As they stand there.
    plain: HashMap<String, u32>,
    /// As they are compared.
    folded: HashMap<String, u32>,
}

/// How the names of a row stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As in the header.
    Same,
    /// All of them are there, at other places.
    Other,
}

/// A cell with nothing on it.
const EMPTY: u32 = 0;

impl HeaderNames {
    /// Of the cells of the rows of each header; `None` where there are none.
    pub fn new(headers: &[Vec<Vec<String>>], encoding: &'static Encoding) -> Option<Self> {
        let ways: Vec<Box<[NamesOfRow]>> = headers
            .iter()
            .map(|rows| rows.iter().map(|row| NamesOfRow::of(row)).collect())
            .collect();
        let cells = || headers.iter().flatten().flatten();
        let mut edges = Box::new([0; 128]);
        let mut odd = false;
        for cell in cells() {
            match ends(cell.as_bytes()) {
                Some((first, last)) if first < 128 && last < 128 => {
                    edges[first as usize] |= 1_u128 << last;
                }
                Some(_) => {}
                None => odd = true,
            }
        }
        let breaks = |cell: &String| cell.contains(['\n', '\r']);
        let several_lines = ways.iter().any(|rows| rows.len() > 1) || cells().any(breaks);
        let any = ways.iter().flatten().next().is_some();
        any.then_some(Self { encoding, ways, edges, odd, several_lines })
    }

    /// The rows of each header.
    pub fn ways(&self) -> impl Iterator<Item = &[NamesOfRow]> {
        self.ways.iter().map(AsRef::as_ref)
    }

    /// Whether a header may take more lines than one.
    pub fn take_several_lines(&self) -> bool {
        self.several_lines
    }

    /// Whether a cell of these bytes may be one of the names; it costs little.
    pub fn may_have(&self, cell: &[u8]) -> bool {
        match ends(cell) {
            None => self.odd,
            Some((first, last)) if first < 128 && last < 128 => {
                self.edges[first as usize] >> last & 1 == 1
            }
            Some(_) => true,
        }
    }

    /// A cell as text.
    pub fn text<'c>(&self, cell: &'c [u8]) -> Cow<'c, str> {
        self.encoding.decode_without_bom_handling(cell).0
    }
}

impl NamesOfRow {
    fn of(cells: &[String]) -> Self {
        let mut plain: HashMap<String, u32> = HashMap::new();
        let mut names: Vec<u32> = Vec::with_capacity(cells.len());
        for cell in cells {
            let name = visible(cell);
            let next = plain.len() as u32 + 1;
            names.push(match name {
                "" => EMPTY,
                name => *plain.entry(name.to_owned()).or_insert(next),
            });
        }
        without_end(&mut names);
        let mut folded: HashMap<String, Option<u32>> = HashMap::new();
        for (name, number) in &plain {
            // Numbers that differ in a sign or a point are not the same.
            if tells(name) {
                folded.entry(fold(name)).and_modify(|one| *one = None).or_insert(Some(*number));
            }
        }
        let folded = folded.into_iter().filter_map(|(name, one)| Some((name, one?))).collect();
        let sorted = sorted(&names);
        Self { names, sorted, plain, folded }
    }

    /// Whether these cells are its names.
    pub fn order<'c>(&self, cells: impl Iterator<Item = Cow<'c, str>>) -> Option<Order> {
        let mut found = Vec::with_capacity(self.names.len());
        for cell in cells {
            found.push(self.number(&cell)?);
        }
        without_end(&mut found);
        if found == self.names {
            return Some(Order::Same);
        }
        (sorted(&found) == self.sorted).then_some(Order::Other)
    }

    /// How many of its names a row of these cells has, and whether all of those stand at their places.
    pub fn shared(&self, cells: &[Cow<'_, str>]) -> (usize, bool) {
        let (mut found, mut in_place) = (Vec::new(), true);
        for (at, cell) in cells.iter().enumerate() {
            let Some(number) = self.number(cell).filter(|number| *number != EMPTY) else {
                continue;
            };
            in_place &= self.names.get(at) == Some(&number);
            found.push(number);
        }
        found.sort_unstable();
        found.dedup();
        (found.len(), in_place)
    }

    /// How many columns have names.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether it has the name of a cell.
    pub fn has(&self, cell: &str) -> bool {
        self.number(cell).is_some()
    }

    fn number(&self, cell: &str) -> Option<u32> {
        match visible(cell) {
            "" => Some(EMPTY),
            name => self.plain.get(name).or_else(|| self.folded.get(&fold(name))).copied(),
        }
    }
}

/// So many names that are written otherwise, or stand in another order, are no row of data.
const MANY: usize = 3;

/// Whether these rows have so many names that they are known again however they are written.
pub(super) fn are_many(rows: &[Vec<String>]) -> bool {
    rows.iter().flatten().filter(|cell| !visible(cell).is_empty()).count() >= MANY
}

/// Whether these rows can be told from rows of data by their names: there are letters in two of them, or in one if it is
/// that of a `mapped` column.
pub(super) fn tell(rows: &[Vec<String>], mapped: bool) -> bool {
    let names = || rows.iter().flatten().filter(|cell| !visible(cell).is_empty());
    let with_letters = names().filter(|name| tells(name)).count();
    names().count() >= 2 && with_letters >= if mapped { 1 } else { 2 }
}

/// Whether a name has letters: rows of numbers may be the same as names that have none.
pub(super) fn tells(name: &str) -> bool {
    fold(name).contains(char::is_alphabetic)
}

/// Without what people do not see at the ends.
fn visible(name: &str) -> &str {
    name.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// The first and the last byte that may belong to a letter or digit.
fn ends(cell: &[u8]) -> Option<(u8, u8)> {
    let counts = |byte: &&u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let first = cell.iter().find(counts)?;
    let last = cell.iter().rfind(counts)?;
    Some((first.to_ascii_lowercase(), last.to_ascii_lowercase()))
}

fn without_end(names: &mut Vec<u32>) {
    let length = names.iter().rposition(|name| *name != EMPTY).map_or(0, |last| last + 1);
    names.truncate(length);
}

/// The names that are not empty, in order.
fn sorted(names: &[u32]) -> Vec<u32> {
    let mut sorted: Vec<u32> = names.iter().copied().filter(|name| *name != EMPTY).collect();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(header: &[&str], row: &[&str]) -> Option<Order> {
        let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
        let names = HeaderNames::new(&[vec![header]], encoding_rs::UTF_8).unwrap();
        let found = names.ways[0][0].order(row.iter().map(|cell| Cow::from(*cell)));
        let may_have = |cell: &str| names.may_have(cell.as_bytes());
        assert!(found.is_none() || row.iter().all(|cell| cell.trim().is_empty() || may_have(cell)));
        found
    }

    #[test]
    fn names_are_the_same_as_people_vary_them_and_as_they_stand_where_only_that_tells_them_apart() {
        use Order::{Other, Same};
        for (header, row, found) in [
            (&["sku", "Unit Price"][..], &["SKU", " unit_price"][..], Some(Same)),
            (&["sku", "name"], &["name", "Sku#"], Some(Other)),
            (&["sku", "name"], &["sku", "name", "", " "], Some(Same)),
            (&["sku", "", "name"], &["sku", "name"], Some(Other)),
            (&["sku", "name"], &["sku", "sku"], None),
            (&["sku", "name"], &["sku"], None),
            (&["sku", "name"], &["sku", "name", "more"], None),
            (&["t +", "t -"], &["t -", "t +"], Some(Other)),
            (&["t +", "t -"], &["T -", "T +"], None),
            (&["n", "1", "2"], &["n", "-1", "2"], None),
            (&["n", "a", "a"], &["N", "a", "a"], Some(Same)),
            (&["Größe", "\u{feff}é"], &["É", "GRÖSSE"], None),
            (&["Größe", "\u{feff}é"], &["É", "GRÖßE"], Some(Other)),
            (&["#", "id"], &[" # ", "ID"], Some(Same)),
        ] {
            assert_eq!(order(header, row), found, "{header:?} {row:?}");
        }
    }
}
