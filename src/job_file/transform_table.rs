//! Owns one step of `transform` as it is written: a word, or a table of what the step needs.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::values::transform::{Pattern, Transform};

/// A step of `transform`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum TransformTable {
    /// A step that needs nothing.
    Word(TransformWord),
    /// A step with what it needs.
    Step(StepTable),
}

/// A step that needs nothing.
#[derive(Debug, Clone, Copy, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TransformWord {
    /// White space at both ends is removed.
    Trim,
    /// Small letters become capital ones.
    Upper,
    /// Capital letters become small ones.
    Lower,
    /// `="01"`, which makes spreadsheets keep the text `01`, becomes `01`.
    SpreadsheetText,
}

/// One of `extract`, `replace`, `split` and `lookup`, with what belongs to it.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StepTable {
    /// A regular expression: the text becomes its first group, or all that it finds.
    extract: Option<String>,
    /// A regular expression: all that it finds becomes `with`.
    replace: Option<String>,
    /// With `replace`: the text in place of what is found; `$1` is the first group.
    with: Option<String>,
    /// A separator: the text becomes one of the parts between.
    split: Option<String>,
    /// With `split`: which part, counted from 1.
    part: Option<usize>,
    /// For each text another one.
    lookup: Option<BTreeMap<String, String>>,
    /// With `lookup`: what becomes of texts that are not in it. `reject`, if not given: the row is set aside;
    /// `keep`: they stay as they are.
    otherwise: Option<Otherwise>,
}

/// What becomes of texts that a lookup does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Otherwise {
    /// The row is set aside.
    Reject,
    /// They stay as they are.
    Keep,
}

impl<'de> Deserialize<'de> for TransformTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StepVisitor)
    }
}

struct StepVisitor;

impl<'de> Visitor<'de> for StepVisitor {
    type Value = TransformTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word such as \"trim\", or a table such as { extract = \"[0-9]+\" }")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<TransformTable, E> {
        TransformWord::deserialize(StrDeserializer::new(word)).map(TransformTable::Word)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TransformTable, A::Error> {
        StepTable::deserialize(MapAccessDeserializer::new(map)).map(TransformTable::Step)
    }
}

impl TransformTable {
    /// The step.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn step(&self) -> Result<Transform, String> {
        match self {
            Self::Word(TransformWord::Trim) => Ok(Transform::Trim),
            Self::Word(TransformWord::Upper) => Ok(Transform::Upper),
            Self::Word(TransformWord::Lower) => Ok(Transform::Lower),
            Self::Word(TransformWord::SpreadsheetText) => Ok(Transform::SpreadsheetText),
            Self::Step(table) => table.step(),
        }
    }
}

impl StepTable {
    fn step(&self) -> Result<Transform, String> {
        let pattern = |key: &str, text: &str| {
            Pattern::within(text).map_err(|why| format!("`{key}` = {text:?} {why}"))
        };
        let step = match self {
            Self { extract: Some(text), replace: None, split: None, lookup: None, .. } => {
                Transform::Extract(pattern("extract", text)?)
            }
            Self {
                replace: Some(text), extract: None, split: None, lookup: None, with, ..
            } => {
                let with = with.clone().ok_or("`replace` needs `with`, which may be \"\"")?;
                let pattern = pattern("replace", text)?;
                if let Some(group) = pattern.unknown_group(&with) {
                    return Err(format!(
                        "`with` = {with:?} asks for the group `{group}`, which {text:?} does not have: write ${{1}} for \
                         the first group in front of letters, and $$ for a dollar"
                    ));
                }
                Transform::Replace(pattern, with)
            }
            Self {
                split: Some(separator),
                extract: None,
                replace: None,
                lookup: None,
                part,
                ..
            } => {
                if separator.is_empty() {
                    return Err("`split` is empty: give what stands between the parts".to_owned());
                }
                match part {
                    None | Some(0) => {
                        return Err("`split` needs `part`, counted from 1".to_owned());
                    }
                    Some(part) => Transform::Split(separator.clone(), *part),
                }
            }
            Self { lookup: Some(words), extract: None, replace: None, split: None, .. } => {
                let keep = self.otherwise == Some(Otherwise::Keep);
                Transform::Lookup(words.clone(), keep)
            }
            _ => {
                let message = "each table has one of `extract`, `replace`, `split` and `lookup`: \
                               write a table for each step";
                return Err(message.to_owned());
            }
        };
        for (key, given, belongs_to) in [
            ("with", self.with.is_some() && self.replace.is_none(), "replace"),
            ("part", self.part.is_some() && self.split.is_none(), "split"),
            ("otherwise", self.otherwise.is_some() && self.lookup.is_none(), "lookup"),
        ] {
            if given {
                return Err(format!("`{key}` belongs to `{belongs_to}`"));
            }
        }
        Ok(step)
    }
}
