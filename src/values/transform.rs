//! Owns what is done to a text before it becomes a value: white space, case, a part of it, another word for it.

use std::collections::BTreeMap;

use regex::Regex;

use super::conversion_error::ConversionError;
use crate::domain::reject::ReasonCode;

/// One step, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transform {
    /// White space at both ends is removed.
    Trim,
    /// Small letters become capital ones.
    Upper,
    /// Capital letters become small ones.
    Lower,
    /// `="01"`, which makes spreadsheets keep the text `01`, becomes `01`.
    SpreadsheetText,
    /// The first group of the expression, or what all of it found.
    Extract(Pattern),
    /// All that the expression finds becomes another text, in which `$1` is the first group.
    Replace(Pattern, String),
    /// One of the parts between separators, counted from 1.
    Split(String, usize),
    /// Another text for each; whether others stay as they are.
    Lookup(BTreeMap<String, String>, bool),
}

impl Transform {
    /// The text after the step.
    pub(super) fn apply(&self, text: &str) -> Result<String, ConversionError> {
        let nothing = |problem: String| ConversionError::new(ReasonCode::NoMatch, problem);
        match self {
            Self::Trim => Ok(text.trim().to_owned()),
            Self::Upper => Ok(text.to_uppercase()),
            Self::Lower => Ok(text.to_lowercase()),
            Self::SpreadsheetText => Ok(spreadsheet_text(text).unwrap_or(text).to_owned()),
            Self::Extract(pattern) => {
                let found = pattern.0.captures(text);
                let group = usize::from(pattern.0.captures_len() > 1);
                let found = found.and_then(|groups| groups.get(group));
                let none = || nothing(format!("has nothing that `extract` finds ({})", pattern.0));
                found.map(|found| found.as_str().to_owned()).ok_or_else(none)
            }
            Self::Replace(pattern, with) => Ok(pattern.0.replace_all(text, with).into_owned()),
            Self::Split(separator, part) => {
                let found = text.split(separator.as_str()).nth(part - 1);
                let none = || nothing(format!("has no part {part} between \"{separator}\""));
                found.map(str::to_owned).ok_or_else(none)
            }
            Self::Lookup(words, keep) => match words.get(text) {
                Some(word) => Ok(word.clone()),
                None if *keep => Ok(text.to_owned()),
                None => Err(ConversionError::new(
                    ReasonCode::NotAllowed,
                    format!("is not in `lookup` ({})", few(words.keys())),
                )),
            },
        }
    }
}

/// The text that a spreadsheet shows for `="text"`, in which quotes are doubled.
fn spreadsheet_text(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("=\"")?.strip_suffix('"')?;
    (!inner.contains('"')).then_some(inner)
}

/// The first of many, for messages.
pub(super) fn few<'a>(words: impl ExactSizeIterator<Item = &'a String>) -> String {
    const MOST: usize = 8;
    let more = if words.len() > MOST { ", …" } else { "" };
    words.take(MOST).map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ") + more
}

/// A regular expression of the crate `regex`, which takes time in proportion to the text whatever the text is.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The most bytes of a compiled one: job files have many.
    const MAX_SIZE: usize = 1 << 20;

    /// Compiles it to be looked for anywhere in a text.
    ///
    /// # Errors
    /// When it is none, or too large, as the end of a sentence about it.
    pub fn within(text: &str) -> Result<Self, String> {
        Self::compile(text, text)
    }

    /// Compiles it to fit whole texts.
    ///
    /// # Errors
    /// As of [`Pattern::within`].
    pub fn whole(text: &str) -> Result<Self, String> {
        Self::compile(text, &format!("^(?:{text})$"))
    }

    fn compile(written: &str, text: &str) -> Result<Self, String> {
        // What is wrong is shown as it was written.
        let compile = |text: &str| {
            let mut builder = regex::RegexBuilder::new(text);
            builder.size_limit(Self::MAX_SIZE).build()
        };
        compile(written).and_then(|_| compile(text)).map(Self).map_err(|error| {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default().trim();
            format!(
                "is no regular expression that can be used: {}",
                last.trim_start_matches("error: ")
            )
        })
    }

    /// The first group that a replacement names and that the expression does not have.
    pub fn unknown_group(&self, with: &str) -> Option<String> {
        let known = |name: &str| match name.parse::<usize>() {
            Ok(number) => number < self.0.captures_len(),
            Err(_) => self.0.capture_names().flatten().any(|known| known == name),
        };
        let mut rest = with;
        while let Some(at) = rest.find('$') {
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                rest = behind;
                continue;
            }
            let name = match rest.strip_prefix('{') {
                Some(braced) => braced.split_once('}').map(|(name, _)| name),
                None => {
                    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    Some(&rest[..end.unwrap_or(rest.len())]).filter(|name| !name.is_empty())
                }
            };
            if let Some(name) = name.filter(|name| !known(name)) {
                return Some(name.to_owned());
            }
        }
        None
    }

    /// Whether it finds something.
    pub fn finds(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::within(text).expect("a regular expression")
    }

    #[test]
    fn each_step_does_what_its_name_says() {
        let lookup = |keep| {
            let words = [("M", "male"), ("F", "female")];
            let words = words.map(|(from, to)| (from.to_owned(), to.to_owned()));
            Transform::Lookup(words.into(), keep)
        };
        for (step, text, expected) in [
            (Transform::Trim, " a \u{a0}", "a"),
            (Transform::Upper, "straße", "STRASSE"),
            (Transform::Lower, "ÄB", "äb"),
            (Transform::SpreadsheetText, "=\"01\"", "01"),
            (Transform::SpreadsheetText, "01", "01"),
            (Transform::SpreadsheetText, "=\"a\"&\"b\"", "=\"a\"&\"b\""),
            (Transform::Extract(pattern(r"\d+")), "ab 12 cd 3", "12"),
            (Transform::Extract(pattern(r"size: (\w+)")), "size: XL, red", "XL"),
            (Transform::Replace(pattern(r"(\d+)/(\d+)"), "$2.$1".to_owned()), "1/2 3/4", "2.1 4.3"),
            (Transform::Split("-".to_owned(), 2), "a-b-c", "b"),
            (Transform::Split("-".to_owned(), 1), "abc", "abc"),
            (lookup(false), "M", "male"),
            (lookup(true), "X", "X"),
        ] {
            assert_eq!(step.apply(text).as_deref(), Ok(expected), "{step:?} {text}");
        }
        for (step, text, reason) in [
            (Transform::Extract(pattern(r"\d+")), "abc", ReasonCode::NoMatch),
            (Transform::Split("-".to_owned(), 4), "a-b-c", ReasonCode::NoMatch),
            (lookup(false), "m", ReasonCode::NotAllowed),
        ] {
            assert_eq!(step.apply(text).unwrap_err().reason, reason, "{step:?} {text}");
        }
    }

    #[test]
    fn a_replacement_names_only_groups_that_are_there() {
        let grams = pattern("([0-9]+) (?P<unit>g)");
        for (with, unknown) in [
            ("$1", None),
            ("${1}g of $unit", None),
            ("$$5", None),
            ("$ 5", None),
            ("$1g", Some("1g")),
            ("$3", Some("3")),
            ("US$5", Some("5")),
            ("${other}", Some("other")),
        ] {
            assert_eq!(grams.unknown_group(with).as_deref(), unknown, "{with}");
        }
    }

    #[test]
    fn a_whole_pattern_fits_all_of_a_text() {
        let sku = Pattern::whole("a|b[0-9]").expect("a regular expression");
        assert!(sku.finds("a") && sku.finds("b7"));
        assert!(!sku.finds("ab7") && !sku.finds("b7\n"));
        assert!(Pattern::whole("a)|(b").is_err(), "it closes no group of ours");
        let error = Pattern::within("(").unwrap_err();
        assert!(error.contains("unclosed group"), "{error}");
    }
}
