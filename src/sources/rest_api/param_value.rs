//! Owns the values of query parameters and of the fields of forms.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::template::{self, Names};
use crate::sources::SourceError;

/// The value of a query parameter or of a field of a form.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, a number, true/false, or a list of those")]
pub enum ParamValue {
    /// One value.
    One(Scalar),
    /// Several: the name is repeated for each.
    Several(Vec<Scalar>),
}

/// A single value.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, a number or true/false")]
pub enum Scalar {
    /// A text, which may have templates.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
}

impl ParamValue {
    fn scalars(&self) -> &[Scalar] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }

    /// Those of its values that may have templates.
    pub(super) fn texts(&self) -> Vec<&str> {
        let texts = self.scalars().iter().filter_map(|value| match value {
            Scalar::Text(text) => Some(text.as_str()),
            Scalar::Integer(_) | Scalar::Number(_) | Scalar::Boolean(_) => None,
        });
        texts.collect()
    }

    /// Its values as they are sent. A text that is one template without a value is left out.
    pub(super) fn filled(&self, names: &dyn Names) -> Result<Vec<String>, SourceError> {
        let mut filled = Vec::new();
        for scalar in self.scalars() {
            match scalar {
                Scalar::Text(text) => match template::parsed(text)?.value(names)? {
                    Value::Null => {}
                    Value::Array(values) => filled.extend(values.iter().map(template::text_of)),
                    value => filled.push(template::text_of(&value)),
                },
                other => filled.push(other.to_string()),
            }
        }
        Ok(filled)
    }
}

impl Scalar {
    /// The value as JSON.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Integer(number) => Value::from(*number),
            Self::Number(number) => Value::from(*number),
            Self::Boolean(flag) => Value::from(*flag),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Boolean(flag) => flag.fmt(f),
        }
    }
}
