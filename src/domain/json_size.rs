//! Owns the size of a JSON text, found without parsing it: parsed, a value of two bytes takes a
//! hundred, and brackets within brackets take stack, here and in PostgreSQL.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The deepest nesting of a record: serde_json's own limit.
pub const MAX_DEPTH: usize = 127;
/// The most values in a record, those within lists and objects included.
pub const MAX_VALUES: usize = 1_000_000;

/// What replaces what was nested too deep; with its quotes.
pub const PRUNED: &str = "\"\\u0001nested too deep\\u0001\"";

/// How much a JSON text holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonSize {
    /// How deep lists and objects are nested.
    pub depth: usize,
    /// An upper bound of the number of its values, see [`values_of`].
    pub values: usize,
}

impl JsonSize {
    /// The size of a text; what it says of one that is no JSON means nothing.
    pub fn of(json: &str) -> Self {
        let bytes = json.as_bytes();
        let (mut depth, mut deepest, mut values) = (0usize, 0, 1usize);
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at += string_length(&bytes[at..]),
                b'[' | b'{' => {
                    depth += 1;
                    values += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' => values += 1,
                _ => {}
            }
        }
        Self { depth: deepest, values }
    }
}

/// The number that [`JsonSize::of`] gives for the text of this value: of a text with a key twice in one
/// object it gives more.
pub fn values_of(value: &Value) -> usize {
    fn within(value: &Value) -> usize {
        match value {
            Value::Array(elements) => {
                elements.len().max(1) + elements.iter().map(within).sum::<usize>()
            }
            Value::Object(fields) => {
                fields.len().max(1) + fields.values().map(within).sum::<usize>()
            }
            _ => 0,
        }
    }
    1 + within(value)
}

/// The first key that occurs twice in one object of a JSON text.
pub fn repeated_key(json: &str) -> Option<String> {
    serde_json::from_str::<Repeated>(json).ok()?.0
}

/// The first key that occurs twice in one object.
struct Repeated(Option<String>);

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Repeated(None))
    }
}

impl<'de> Visitor<'de> for Repeated {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, Repeated(within))) = map.next_entry::<String, Repeated>()? {
            self.0 = self.0.or(within);
            if self.0.is_none() && !keys.insert(key.clone()) {
                self.0 = Some(key);
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(Repeated(within)) = list.next_element()? {
            self.0 = self.0.or(within);
        }
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

/// The JSON text with every list or object that is nested deeper than `most` replaced by a text that
/// says so, [`PRUNED`]; the text itself when there is none.
pub fn prune(json: &str, most: usize) -> Cow<'_, str> {
    if JsonSize::of(json).depth <= most {
        return Cow::Borrowed(json);
    }
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut at, mut copied) = (0usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += string_length(&bytes[at + 1..]),
            b'[' | b'{' => {
                if depth == most {
                    out.push_str(&json[copied..at]);
                    out.push_str(PRUNED);
                }
                depth += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == most {
                    copied = at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if depth <= most {
        out.push_str(&json[copied..]);
    }
    Cow::Owned(out)
}

/// Length of a string, its closing quote included, behind its opening quote.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
        if at >= bytes.len() {
            break;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn values(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
            Value::Object(members) => 1 + members.values().map(values).sum::<usize>(),
            _ => 1,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![any::<String>(), "[\\[\\]{}\",\\\\]{0,9}"];
        let leaf = prop_oneof![Just(Value::Null), text.clone().prop_map(Value::from)];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            let members = prop::collection::vec((text.clone(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn depth_is_exact_and_no_value_is_missed(value in any_json()) {
            for json in [value.to_string(), serde_json::to_string_pretty(&value).expect("JSON")] {
                let size = JsonSize::of(&json);
                prop_assert_eq!(size.depth, depth(&value));
                prop_assert!(size.values >= values(&value));
                prop_assert!(size.values <= 2 * values(&value));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            JsonSize::of(&text);
        }
    }

    #[test]
    fn what_is_too_deep_is_pruned_and_nothing_else() {
        let json = r#"{"a":[1,{"b":["]",[2]]}],"c":[3]}"#;
        assert_eq!(prune(json, 5), json);
        assert_eq!(prune(json, 4), format!(r#"{{"a":[1,{{"b":["]",{PRUNED}]}}],"c":[3]}}"#));
        assert_eq!(prune(json, 2), format!(r#"{{"a":[1,{PRUNED}],"c":[3]}}"#));
        assert_eq!(prune(json, 0), PRUNED);
    }

    proptest! {
        #[test]
        fn what_is_pruned_is_json_of_that_depth(value in any_json(), most in 0usize..6) {
            let json = value.to_string();
            let pruned: Value = serde_json::from_str(&prune(&json, most)).expect("JSON");
            prop_assert_eq!(depth(&pruned), depth(&value).min(most));
        }
    }

    #[test]
    fn a_text_that_ends_within_an_escape_has_an_end() {
        for text in ["\"", "\"\\", "\"a\\\"", "[[\"\\"] {
            JsonSize::of(text);
        }
    }
}
