//! Owns a job file as a TOML document with positions: reads any serde type from it and says every
//! problem with its line, in words for people instead of serde's.
//!
//! Must not know which keys a job file has.

use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{DefinitionError, Problem};
use super::suggest;

/// The most problems reported of one table; a file with more is wrong in kind, not in detail.
const MAX_PROBLEMS: usize = 20;

/// A job file's text, parsed.
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
        match DeTable::parse(text) {
            Ok(table) => {
                let span = table.span();
                let root = Spanned::new(span, DeValue::Table(table.into_inner()));
                Ok(Self { text, root })
            }
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let message = format!("not TOML: {}", error.message());
                Err(DefinitionError::invalid(path, vec![problem(text, offset, message)]))
            }
        }
    }

    /// The entry that `keys` lead to: where its key stands, and its value.
    fn find(&self, keys: &[&str]) -> Option<(Range<usize>, &Spanned<DeValue<'a>>)> {
        let mut found = (0..0, &self.root);
        for key in keys {
            let (key, value) = found.1.get_ref().as_table()?.get_key_value(*key)?;
            found = (key.span(), value);
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
        problem(self.text, found.map_or(0, |(span, _)| span.start), message.into())
    }

    /// Takes away the entry of the root table named `key`, so that [`Document::read`] passes it.
    pub(super) fn remove(&mut self, key: &str) {
        if let DeValue::Table(table) = self.root.get_mut() {
            table.remove(key);
        }
    }

    /// Reads the table that `keys` lead to. `None` when `problems` got any more.
    ///
    /// serde stops at the first error; the entry that it complains of is taken out and the rest
    /// tried again, so that one look at the file finds what is wrong in all of it.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        keys: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let (_, value) = self.find(keys)?;
        let mut value = value.clone();
        let before = problems.len();
        while problems.len() < before + MAX_PROBLEMS {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) if problems.len() == before => return Some(read),
                Ok(_) => return None,
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| value.span());
            let fault = Fault::of(error.message());
            if problems.len() > before && matches!(fault, Fault::MissingKey { .. }) {
                return None;
            }
            let place = Place::of(&value, &span, &fault, keys);
            problems.push(problem(self.text, place.offset, fault.describe(&place.table)));
            if !place.entry.is_some_and(|entry| remove_entry(&mut value, &entry)) {
                return None;
            }
        }
        None
    }
}

/// Where in the document an error belongs.
struct Place {
    offset: usize,
    /// For people: `[fields.name]`.
    table: String,
    /// The span of the key of the entry to blame, when there is one.
    entry: Option<Range<usize>>,
}

impl Place {
    fn of(root: &Spanned<DeValue<'_>>, span: &Range<usize>, fault: &Fault, keys: &[&str]) -> Self {
        let mut path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let entry = locate(root, span, fault, &mut path);
        if entry.is_some() && !matches!(fault, Fault::MissingKey { .. }) {
            path.pop();
        }
        let offset = entry.as_ref().map_or(span.start, |entry| entry.start);
        let table =
            if path.is_empty() { "the top level".into() } else { format!("[{}]", path.join(".")) };
        Self { offset, table, entry }
    }
}

/// The span of the key that `span` and `fault` point to. `path` becomes the way to it.
///
/// An unknown key has its own span, except within a table that serde buffers to find out its type:
/// there the span is that of the whole table, and the key is looked for by its name.
fn locate(
    value: &Spanned<DeValue<'_>>,
    span: &Range<usize>,
    fault: &Fault,
    path: &mut Vec<String>,
) -> Option<Range<usize>> {
    let inside = value.span() == *span;
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, child) in table.iter() {
                let named = inside && fault.names(key.get_ref());
                path.push(key.get_ref().to_string());
                if named || key.span() == *span {
                    return Some(key.span());
                }
                if let Some(found) = locate(child, span, fault, path) {
                    return Some(found);
                }
                if child.span() == *span {
                    return Some(key.span());
                }
                path.pop();
            }
            None
        }
        DeValue::Array(list) => list.iter().find_map(|child| locate(child, span, fault, path)),
        _ => None,
    }
}

/// Takes out the entry whose key stands at `key`.
fn remove_entry(value: &mut Spanned<DeValue<'_>>, key: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => {
            let mut keys = table.keys();
            let name = keys.find(|name| name.span() == *key).map(|name| name.get_ref().to_string());
            match name {
                Some(name) => table.remove(name.as_str()).is_some(),
                None => table.iter_mut().any(|(_, child)| remove_entry(child, key)),
            }
        }
        DeValue::Array(list) => list.iter_mut().any(|child| remove_entry(child, key)),
        _ => false,
    }
}

/// What serde complains of, read from its message: the only place where it says so.
enum Fault {
    UnknownKey { key: String, known: Vec<String> },
    UnknownWord { word: String, known: Vec<String> },
    MissingKey { key: String },
    Other(String),
}

impl Fault {
    fn of(message: &str) -> Self {
        let unknown = |prefix: &str| {
            let rest = message.strip_prefix(prefix)?;
            let (word, known) = rest
                .rsplit_once("`, ")
                .filter(|_| !rest.contains("`, expected"))
                .or_else(|| rest.split_once("`, expected"))?;
            // What stands between backticks behind it are the words that serde knows.
            let known = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Some((word.to_owned(), known))
        };
        if let Some((key, known)) = unknown("unknown field `") {
            return Self::UnknownKey { key, known };
        }
        if let Some((word, known)) = unknown("unknown variant `") {
            return Self::UnknownWord { word, known };
        }
        match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(key) => Self::MissingKey { key: key.to_owned() },
            None => Self::Other(message.to_owned()),
        }
    }

    /// Whether the fault is the presence of a key of this name.
    fn names(&self, name: &str) -> bool {
        matches!(self, Self::UnknownKey { key, .. } if key == name)
    }

    fn describe(&self, table: &str) -> String {
        match self {
            Self::UnknownKey { key, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let at = if table.starts_with('[') { "in" } else { "at" };
                format!("unknown key `{key}` {at} {table}{}", suggest::hint(key, "keys", &known))
            }
            Self::UnknownWord { word, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("unknown word \"{word}\"{}", suggest::hint(word, "words", &known))
            }
            Self::MissingKey { key } => {
                let at = if table.starts_with('[') { "in" } else { "at" };
                format!("missing key `{key}` {at} {table}")
            }
            // Whoever forgets the table may have written a secret in its place.
            Self::Other(message) if text_for_table(message) => {
                "invalid type: a text, expected a table".to_owned()
            }
            Self::Other(message) => message
                .replace("a sequence", "a list")
                .replace("sequence", "list")
                .replace("a map", "a table")
                .replace("invalid type: map", "invalid type: table"),
        }
    }
}

/// Whether a message repeats a text that stands where a table belongs.
fn text_for_table(message: &str) -> bool {
    let tables = ["a map", "struct ", "internally tagged enum "];
    message
        .strip_prefix("invalid type: string ")
        .and_then(|rest| rest.rsplit_once(", expected "))
        .is_some_and(|(_, expected)| tables.iter().any(|table| expected.starts_with(table)))
}

fn problem(text: &str, offset: usize, message: String) -> Problem {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Problem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Api {
        base_url: String,
        auth: Option<Auth>,
        limit: Option<u32>,
        steps: Option<Vec<Auth>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
    #[allow(dead_code)]
    enum Auth {
        ApiKey { value: String },
        Bearer { token: String },
    }

    fn problems(text: &str) -> Vec<String> {
        let document = Document::parse(Path::new("x.toml"), text).unwrap();
        let mut problems = Vec::new();
        assert!(document.read::<Api>(&["api"], &mut problems).is_none());
        problems.into_iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect()
    }

    #[test]
    fn every_unknown_key_of_a_table_is_reported_with_its_place() {
        let found = problems("[api]\nbase_ur = 1\nbase_url = 'x'\n  limt = 2\nlimit = 'y'\n");
        assert_eq!(
            found,
            [
                "2:1 unknown key `base_ur` in [api]; did you mean `base_url`?",
                "5:1 invalid type: string \"y\", expected u32",
                "4:3 unknown key `limt` in [api]; did you mean `limit`?",
            ]
        );
    }

    #[test]
    fn a_key_within_a_tagged_table_is_found_by_its_name() {
        let found =
            problems("[api]\nbase_url = 'x'\n[api.auth]\ntype = 'bearer'\ntoken = 'a'\ntokn = 1\n");
        assert_eq!(found, ["6:1 unknown key `tokn` in [api.auth]; did you mean `token`?"]);
    }

    #[test]
    fn a_text_in_place_of_a_table_is_not_repeated() {
        let found = problems("[api]\nbase_url = 'x'\nauth = 'Bearer c4nary'\n");
        assert_eq!(found, ["3:1 invalid type: a text, expected a table"]);
    }

    #[test]
    fn a_missing_key_names_its_table_and_an_unknown_word_its_neighbours() {
        assert_eq!(problems("\n[api]\nlimit = 1\n"), ["2:1 missing key `base_url` in [api]"]);
        let found = problems("[api]\nbase_url = 'x'\nauth = { type = 'bearr', token = 'a' }\n");
        assert_eq!(found, ["3:10 unknown word \"bearr\"; did you mean `bearer`?"]);
    }
}
