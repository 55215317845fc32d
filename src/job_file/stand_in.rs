//! Owns a placeholder for a missing key, so that reading goes on to the next one: serde reports only
//! the first. A value of each type is tried until the key is accepted; what is read that way is not used.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of each type that a key may have.
const ONE_OF_EACH: &str = "a = 'x'\nb = ['x']\nc = 1\nd = {}\ne = true\nf = []\n";

/// Text of values that lie behind all of another text: no place of theirs is one of its.
pub(super) fn behind(text: &str) -> String {
    format!("{}{ONE_OF_EACH}", "\n".repeat(text.len()))
}

/// Keys that are stood in for.
pub(super) struct StandIns<'a> {
    values: DeTable<'a>,
    given: Vec<(Vec<String>, usize)>,
}

impl<'a> StandIns<'a> {
    /// Of the values in a text that [`behind`] gave.
    pub(super) fn new(text: &'a str) -> Self {
        let values = DeTable::parse(text).map(Spanned::into_inner).unwrap_or_default();
        Self { values, given: Vec::new() }
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Puts a value where `path` leads, which is a key that is missing there.
    pub(super) fn give(&mut self, value: &mut Spanned<DeValue<'a>>, path: &[String]) -> bool {
        // Else it is not what is missing, and would be for ever.
        if self.given.iter().any(|(given, _)| given == path) {
            return false;
        }
        self.given.push((path.to_vec(), 0));
        self.put(value, path, 0)
    }

    /// Puts another value where the last one was not taken.
    pub(super) fn change(&mut self, value: &mut Spanned<DeValue<'a>>) -> bool {
        let Some((path, at)) = self.given.last_mut() else { return false };
        *at += 1;
        let (path, at) = (path.clone(), *at);
        self.put(value, &path, at)
    }

    fn put(&self, value: &mut Spanned<DeValue<'a>>, path: &[String], at: usize) -> bool {
        let Some((key, table)) = path.split_last() else { return false };
        let Some((place, stand_in)) = self.values.iter().nth(at) else { return false };
        let Some(DeValue::Table(table)) = entry(value, table).map(Spanned::get_mut) else {
            return false;
        };
        table.remove(key.as_str());
        table.insert(Spanned::new(place.span(), key.clone().into()), stand_in.clone());
        true
    }
}

fn entry<'v, 'a>(
    value: &'v mut Spanned<DeValue<'a>>,
    path: &[String],
) -> Option<&'v mut Spanned<DeValue<'a>>> {
    let Some((key, rest)) = path.split_first() else { return Some(value) };
    let child = match value.get_mut() {
        DeValue::Table(table) => table.get_mut(key.as_str())?,
        DeValue::Array(list) => list.get_mut(key.parse::<usize>().ok()?)?,
        _ => return None,
    };
    entry(child, rest)
}
