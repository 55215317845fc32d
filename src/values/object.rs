//! Owns JSON objects in canonical form (see [`super::json`]) at the end of a batch's arena: walking
//! over their members, merging two objects, bringing members into order. No tree is built.

use std::cmp::Ordering;

/// Merges two objects: `base` from `base_start` to
/// `own_start`, and the mapping's own members from there to the end. In their place is one
/// object; its own members win. Works in place, so that a row allocates nothing.
pub(crate) fn merge(arena: &mut String, base_start: usize, own_start: usize) {
    let merged_start = arena.len();
    let mut base = Members { at: base_start + 1, end: own_start - 1 };
    let mut own = Members { at: own_start + 1, end: merged_start - 1 };
    arena.push('{');
    let (mut left, mut right) = (base.next(arena), own.next(arena));
    while let Some(member) = left.or(right) {
        let order = match (left, right) {
            (Some(left), Some(right)) => compare_keys(left.key(arena), right.key(arena)),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let chosen = if order == Ordering::Less { member } else { right.unwrap_or(member) };
        if arena.len() > merged_start + 1 {
            arena.push(',');
        }
        arena.extend_from_within(chosen.start..chosen.end);
        if order != Ordering::Greater {
            left = base.next(arena);
        }
        if order != Ordering::Less {
            right = own.next(arena);
        }
    }
    arena.push('}');
    arena.drain(base_start..merged_start);
}

/// Brings the members of the object from `start` to the end into the order of their keys, and answers whether each key
/// is there once; of equal ones the last stays. Values and keys are in canonical form but for that.
pub(crate) fn sort_members(arena: &mut String, start: usize) -> bool {
    let mut walk = Members { at: start + 1, end: arena.len() - 1 };
    let mut members: Vec<Member> = std::iter::from_fn(|| walk.next(arena)).collect();
    members.sort_by(|a, b| compare_keys(a.key(arena), b.key(arena)));
    let mut sorted = String::with_capacity(arena.len() - start);
    let mut is_unique = true;
    for (i, member) in members.iter().enumerate() {
        let repeated = members.get(i + 1).is_some_and(|next| next.key(arena) == member.key(arena));
        is_unique &= !repeated;
        if !repeated {
            sorted.push(if sorted.is_empty() { '{' } else { ',' });
            sorted.push_str(&arena[member.start..member.end]);
        }
    }
    arena.truncate(start);
    arena.push_str(&sorted);
    arena.push('}');
    is_unique
}

/// Keys are in the byte order of what they say, not of how JSON spells it.
fn compare_keys(a: &str, b: &str) -> Ordering {
    if !a.contains('\\') && !b.contains('\\') {
        return a.cmp(b);
    }
    let unescape = |key: &str| {
        serde_json::from_str::<String>(&format!("\"{key}\"")).unwrap_or_else(|_| key.to_owned())
    };
    unescape(a).cmp(&unescape(b))
}

/// A member of an object: `"key":value`.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    /// Behind the key's last character, before its quote.
    key_end: usize,
    end: usize,
}

impl Member {
    fn key(self, arena: &str) -> &str {
        &arena[self.start + 1..self.key_end]
    }
}

/// Walks over the members of a canonical object between its braces.
struct Members {
    at: usize,
    end: usize,
}

impl Members {
    fn next(&mut self, arena: &str) -> Option<Member> {
        if self.at >= self.end {
            return None;
        }
        let bytes = &arena.as_bytes()[..self.end];
        let start = self.at;
        let key_end = string_end(bytes, start + 1);
        let end = value_end(bytes, key_end + 2);
        self.at = end + 1;
        Some(Member { start, key_end, end })
    }
}

/// The place of the quote that ends the string whose content starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    // A plain loop: the strings are short, and a vectorized search costs more than it saves.
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The place behind the value that starts at `at`.
fn value_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::json;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn merged(base: &str, own: &str) -> String {
        let mut arena = format!("before{base}{own}");
        merge(&mut arena, 6, 6 + base.len());
        arena.strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn members_of_both_objects_stand_in_order() {
        assert_eq!(
            merged(r#"{"a":{"x":[1,"},"]},"c":"\"}"}"#, r#"{"b":2,"d":null}"#),
            r#"{"a":{"x":[1,"},"]},"b":2,"c":"\"}","d":null}"#
        );
        assert_eq!(merged("{}", r#"{"b":2}"#), r#"{"b":2}"#);
        assert_eq!(merged(r#"{"b":2}"#, "{}"), r#"{"b":2}"#);
        assert_eq!(merged("{}", "{}"), "{}");
    }

    #[test]
    fn an_own_member_wins() {
        assert_eq!(merged(r#"{"a":1,"b":1}"#, r#"{"b":2}"#), r#"{"a":1,"b":2}"#);
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::vec(("[a-c\"\\\\\n]{0,2}", "[a\"{},\\\\]{0,3}"), 0..5)
            .prop_map(|members| members.into_iter().map(|(k, v)| (k, Value::from(v))).collect())
    }

    proptest! {
        #[test]
        fn merging_text_is_merging_objects(base in object(), own in object()) {
            let text = |object: &Map<String, Value>| {
                let mut out = String::new();
                json::write_value(&Value::Object(object.clone()), &mut out).unwrap();
                out
            };
            let mut expected = base.clone();
            expected.extend(own.clone());
            prop_assert_eq!(merged(&text(&base), &text(&own)), text(&expected));
        }
    }
}
