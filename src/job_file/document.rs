//! Owns a job file as a TOML document with positions: reads any serde type from it and says every
//! problem with its line and its key, in plain words instead of serde's.
//!
//! Must not know which keys a job file has.

use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{DefinitionError, Problem};
use super::line::Place;
use super::stand_in::{self, StandIns};
use super::syntax;
use crate::domain::fault::Fault;

/// The most problems reported of one table; a file with more is wrong in kind, not in detail.
const MAX_PROBLEMS: usize = 20;

/// A job file's text, parsed.
#[derive(Clone)]
pub(super) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeValue<'a>>,
}

impl<'a> Document<'a> {
    /// Parses TOML.
    ///
    /// # Errors
    /// When the text is no TOML.
    pub(super) fn parse(path: &Path, text: &'a str) -> Result<Self, DefinitionError> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(DefinitionError::invalid(path, syntax::problems(text, &errors)));
        }
        let span = table.span();
        let root = Spanned::new(span, DeValue::Table(table.into_inner()));
        Ok(Self { text, root })
    }

    /// The entry that `keys` lead to, numbers being places in lists: where its key is, or an item
    /// of a list itself, and its value.
    pub(super) fn find(&self, keys: &[&str]) -> Option<(Range<usize>, &Spanned<DeValue<'a>>)> {
        let mut found = (0..0, &self.root);
        for key in keys {
            found = match found.1.get_ref() {
                DeValue::Table(table) => {
                    let (key, value) = table.get_key_value(*key)?;
                    (key.span(), value)
                }
                DeValue::Array(list) => {
                    let item = list.get(key.parse::<usize>().ok()?)?;
                    (item.span(), item)
                }
                _ => return None,
            };
        }
        Some(found)
    }

    /// The keys of the table that `keys` lead to, in the order of the file.
    pub(super) fn keys(&self, keys: &[&str]) -> Vec<String> {
        let Some(table) = self.find(keys).and_then(|(_, value)| value.get_ref().as_table()) else {
            return Vec::new();
        };
        let mut keys: Vec<_> = table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().map(|key| key.get_ref().to_string()).collect()
    }

    /// Whether there is a table where `keys` lead to.
    pub(super) fn has_table(&self, keys: &[&str]) -> bool {
        self.find(keys).is_some_and(|(_, value)| value.get_ref().is_table())
    }

    /// Whether there is anything where `keys` lead to.
    pub(super) fn has(&self, keys: &[&str]) -> bool {
        self.find(keys).is_some()
    }

    /// The text at `keys`.
    pub(super) fn text_at(&self, keys: &[&str]) -> Option<&str> {
        self.find(keys)?.1.get_ref().as_str()
    }

    /// The value at `keys` exactly as it is written in the file.
    pub(super) fn written(&self, keys: &[&str]) -> Option<&'a str> {
        self.text.get(self.find(keys)?.1.span())
    }

    /// A problem at the key that `keys` lead to, or at the nearest table above it that exists.
    pub(super) fn problem_at(&self, keys: &[&str], message: impl Into<String>) -> Problem {
        let found = (0..=keys.len()).rev().find_map(|n| self.find(&keys[..n]));
        let place = Place::of(self.text, found.map_or(0, |(span, _)| span.start));
        place.problem(keys.iter().map(|key| (*key).to_owned()).collect(), message)
    }

    /// Takes away the entry of the root table named `key`, so that [`Document::read`] passes it.
    pub(super) fn remove(&mut self, key: &str) {
        if let DeValue::Table(table) = self.root.get_mut() {
            table.remove(key);
        }
    }

    /// Reads the table that `keys` lead to. When `problems` got any more, what is read lacks what
    /// they are about.
    ///
    /// serde stops at the first error; the entry that it complains of is taken out and the rest
    /// tried again, so that one look at the file finds what is wrong in all of it.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        keys: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let (_, value) = self.find(keys)?;
        let behind = stand_in::behind(self.text);
        let mut stand_ins = StandIns::new(&behind);
        let mut value = value.clone();
        let before = problems.len();
        while problems.len() < before + MAX_PROBLEMS {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return Some(read).filter(|_| stand_ins.is_empty()),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| value.span());
            let fault = Fault::of(error.message());
            let mut path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            let offset = locate(&value, &span, &fault, &mut path);
            // What serde reports now may be caused by the placeholder; only that more is missing is not.
            let is_missing =
                matches!(fault, Fault::MissingKey { .. }) && span.start < self.text.len();
            if !stand_ins.is_empty() && !is_missing {
                if stand_ins.change(&mut value) {
                    continue;
                }
                return None;
            }
            if let Fault::MissingKey { key } = &fault {
                path.push(key.clone());
                // What was taken out is reported already, and so is what was there under a misspelled name.
                let meant = format!("; did you mean `{key}`?");
                let table = &path[..path.len() - 1];
                let known = |problem: &Problem| {
                    problem.keys == path
                        || (problem.message.ends_with(&meant) && problem.keys.starts_with(table))
                };
                if !problems[before..].iter().any(known) {
                    let place = Place::of(self.text, offset.unwrap_or(span.start));
                    problems.push(place.problem(path.clone(), fault.describe(&path)));
                }
                if !stand_ins.give(&mut value, &path[keys.len()..]) {
                    return None;
                }
                continue;
            }
            let place = Place::of(self.text, offset.unwrap_or(span.start));
            problems.push(place.problem(path.clone(), fault.describe(&path)));
            if !remove_entry(&mut value, &path[keys.len()..]) {
                return None;
            }
        }
        None
    }
}

/// Where the key, or the item of a list, is that `span` and `fault` point to. `path` becomes the
/// way to it.
///
/// An unknown key has its own span, except within a table that serde buffers to find out its type:
/// there the span is that of the whole table, and the key is looked for by its name.
fn locate(
    value: &Spanned<DeValue<'_>>,
    span: &Range<usize>,
    fault: &Fault,
    path: &mut Vec<String>,
) -> Option<usize> {
    let inside = value.span() == *span;
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, child) in table.iter() {
                let named = inside && fault.names(key.get_ref());
                path.push(key.get_ref().to_string());
                if named || key.span() == *span {
                    return Some(key.span().start);
                }
                if let Some(found) = locate(child, span, fault, path) {
                    return Some(found);
                }
                if child.span() == *span {
                    return Some(key.span().start);
                }
                path.pop();
            }
            None
        }
        DeValue::Array(list) => {
            for (at, child) in list.iter().enumerate() {
                path.push(at.to_string());
                if let Some(found) = locate(child, span, fault, path) {
                    return Some(found);
                }
                if child.span() == *span {
                    return Some(child.span().start);
                }
                path.pop();
            }
            None
        }
        _ => None,
    }
}

/// Takes out the entry that `path` leads to.
fn remove_entry(value: &mut Spanned<DeValue<'_>>, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else { return false };
    match value.get_mut() {
        DeValue::Table(table) if rest.is_empty() => table.remove(key.as_str()).is_some(),
        DeValue::Table(table) => {
            table.get_mut(key.as_str()).is_some_and(|child| remove_entry(child, rest))
        }
        DeValue::Array(list) => {
            let at = key.parse().unwrap_or(usize::MAX);
            if at >= list.len() {
                return false;
            }
            if rest.is_empty() {
                let kept = list.iter().enumerate().filter(|(n, _)| *n != at);
                *list = kept.map(|(_, item)| item.clone()).collect();
                return true;
            }
            list.get_mut(at).is_some_and(|item| remove_entry(item, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde or schemars")]
    struct Api {
        base_url: String,
        auth: Option<Auth>,
        limit: Option<u32>,
        steps: Option<Vec<Auth>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde or schemars")]
    enum Auth {
        ApiKey { value: String },
        Bearer { token: String },
    }

    fn problems(text: &str) -> Vec<String> {
        let document = Document::parse(Path::new("x.toml"), text).unwrap();
        let mut problems = Vec::new();
        let _ = document.read::<Api>(&["api"], &mut problems);
        assert!(!problems.is_empty());
        problems.into_iter().map(|p| format!("{}:{} {p}", p.line, p.column)).collect()
    }

    #[test]
    fn every_unknown_key_of_a_table_is_reported_with_its_place() {
        let found = problems("[api]\nbase_ur = 1\nbase_url = 'x'\n  limt = 2\nlimit = 'y'\n");
        assert_eq!(
            found,
            [
                "2:1 api.base_ur: unknown key; did you mean `base_url`?",
                "5:1 api.limit: expected a whole number from 0 to 4294967295, found the text \"y\"",
                "4:3 api.limt: unknown key; did you mean `limit`?",
            ]
        );
    }

    #[test]
    fn a_key_within_a_tagged_table_is_found_by_its_name() {
        let found =
            problems("[api]\nbase_url = 'x'\n[api.auth]\ntype = 'bearer'\ntoken = 'a'\ntokn = 1\n");
        assert_eq!(found, ["6:1 api.auth.tokn: unknown key; did you mean `token`?"]);
    }

    #[test]
    fn a_text_in_place_of_a_table_is_not_repeated() {
        let found = problems("[api]\nbase_url = 'x'\nauth = 'Bearer c4nary'\n");
        assert_eq!(found, ["3:1 api.auth: expected a table, found a text"]);
    }

    #[test]
    fn all_missing_keys_of_a_table_are_named_whatever_their_type() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only read by serde or schemars")]
        struct Table {
            text: String,
            list: Vec<u8>,
            number: u16,
            word: std::num::NonZeroU8,
            table: Auth,
            last: bool,
        }
        let said = |text: &str| {
            let document = Document::parse(Path::new("x.toml"), text).unwrap();
            let mut problems = Vec::new();
            assert!(document.read::<Table>(&["api"], &mut problems).is_none());
            problems.iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            said("[api]\n")[..4],
            ["api.text: missing", "api.list: missing", "api.number: missing", "api.word: missing"]
        );
        let found = said("[api]\nnumber = 'x'\ntabel = {}\n");
        let number = "api.number: expected a whole number from 0 to 65535, found the text \"x\"";
        assert!(found.contains(&number.to_owned()), "{found:?}");
        assert!(found.contains(&"api.text: missing".to_owned()), "{found:?}");
    }

    #[test]
    fn a_missing_key_names_its_table_and_an_unknown_word_its_neighbours() {
        assert_eq!(problems("\n[api]\nlimit = 1\n"), ["2:1 api.base_url: missing"]);
        let found = problems("[api]\nbase_url = 'x'\nauth = { type = 'bearr', token = 'a' }\n");
        assert_eq!(found, ["3:10 api.auth.type: unknown word \"bearr\"; did you mean `bearer`?"]);
    }
}
