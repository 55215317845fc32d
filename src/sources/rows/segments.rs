//! Owns JSONPaths taken apart: where in a value a path ends, and which key was meant there.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::domain::suggest::nearest_field;
use crate::values::json_path;

/// The most keys of a value that are looked through for the one that was meant …
const MOST_KEYS: usize = 300;
/// … and the longest: how alike two words are takes time by the product of their lengths.
const LONGEST_KEY: usize = 200;

/// The segments of a path behind its `$`: `.a`, `['b c']`, `[0]`, `..d`, `[?@.e]`.
pub(in crate::sources) fn segments(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let mut rest = path.trim().strip_prefix('$').unwrap_or_default();
    while !rest.is_empty() {
        let (segment, behind) = rest.split_at(length(rest));
        segments.push(segment);
        rest = behind;
    }
    segments
}

/// The length of the first segment of what is behind a `$`.
fn length(text: &str) -> usize {
    let dots = text.find(|c: char| c != '.').unwrap_or(text.len());
    if !text[dots..].starts_with('[') {
        let end = text[dots..].find(['.', '[']).map_or(text.len(), |end| dots + end);
        return end.max(1);
    }
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in text.char_indices().skip(dots) {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        if depth == 0 {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// What a segment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources) enum Asks<'p> {
    /// One key.
    Key(&'p str),
    /// A key at any depth.
    KeyBelow(&'p str),
    /// An element by its number, from the end when that is negative.
    Element(i64),
    /// All values, some of them, or several keys.
    Several,
}

/// What a segment asks for.
pub(in crate::sources) fn asks(segment: &str) -> Asks<'_> {
    let (name, below) = match segment.strip_prefix("..") {
        Some(name) => (name, true),
        None => (segment.strip_prefix('.').unwrap_or(segment), false),
    };
    let bracketed = name.trim().strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let key = match bracketed.map(str::trim) {
        Some(inner) if !below && let Ok(number) = inner.parse() => return Asks::Element(number),
        Some(inner) => quoted(inner),
        None => Some(name.trim()).filter(|name| !name.is_empty() && *name != "*"),
    };
    match key {
        Some(key) if below => Asks::KeyBelow(key),
        Some(key) => Asks::Key(key),
        None => Asks::Several,
    }
}

/// A single name in quotes without escapes.
fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains([quote, '\\'])).then_some(inner)
    })
}

/// Where a path that finds nothing ends: the values found last, and the first segment that none of
/// them has.
pub(in crate::sources) struct End<'v, 'p> {
    /// The path up to them.
    pub before: String,
    /// The values.
    pub found: Vec<&'v Value>,
    /// What they lack.
    pub lacks: &'p str,
    /// The path behind it.
    pub behind: String,
}

/// Where a path ends in a value; `None` when it finds something.
pub(in crate::sources) fn end_of<'v, 'p>(path: &'p str, value: &'v Value) -> Option<End<'v, 'p>> {
    let segments = segments(path);
    let mut before = "$".to_owned();
    let mut found = vec![value];
    for (at, segment) in segments.iter().enumerate() {
        let longer = format!("{before}{segment}");
        let next = found_by(&longer, value)?;
        if next.is_empty() {
            return Some(End {
                before,
                found,
                lacks: segment,
                behind: segments[at + 1..].concat(),
            });
        }
        (before, found) = (longer, next);
    }
    None
}

fn found_by<'v>(path: &str, value: &'v Value) -> Option<Vec<&'v Value>> {
    let path: JsonPath = json_path::parse(path).ok()?;
    Some(path.query(value).all())
}

/// The path that was meant by one that finds nothing in a value: with the nearest key that is there.
pub(in crate::sources) fn meant(path: &str, value: &Value) -> Option<String> {
    let end = end_of(path, value)?;
    let mut keys = Vec::new();
    let (key, below) = match asks(end.lacks) {
        Asks::Key(key) => {
            keys.extend(end.found.iter().filter_map(|v| v.as_object()).flat_map(|o| o.keys()));
            (key, "")
        }
        Asks::KeyBelow(key) => {
            end.found.iter().for_each(|value| keys_below(value, &mut keys));
            (key, "..")
        }
        Asks::Element(_) | Asks::Several => return None,
    };
    let keys = keys.iter().take(MOST_KEYS).map(|key| key.as_str());
    let keys = keys.filter(|other| *other != key && other.len() <= LONGEST_KEY);
    let meant = nearest_field(Some(key).filter(|key| key.len() <= LONGEST_KEY)?, keys)?;
    let simple = meant.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !meant.starts_with(|c: char| c.is_ascii_digit());
    let segment = match (simple, below.is_empty()) {
        (true, true) => format!(".{meant}"),
        (true, false) => format!("..{meant}"),
        (false, _) => format!("{below}['{}']", meant.replace('\\', "\\\\").replace('\'', "\\'")),
    };
    Some(format!("{}{segment}{}", end.before, end.behind))
}

/// The keys of a value and of all that is in it, as many as are looked at.
fn keys_below<'v>(value: &'v Value, keys: &mut Vec<&'v String>) {
    if keys.len() >= MOST_KEYS {
        return;
    }
    match value {
        Value::Object(fields) => {
            keys.extend(fields.keys());
            fields.values().for_each(|value| keys_below(value, keys));
        }
        Value::Array(elements) => elements.iter().for_each(|value| keys_below(value, keys)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_taken_apart_at_its_segments() {
        for (path, parts) in [
            ("$", &[] as &[&str]),
            ("$.a.b", &[".a", ".b"]),
            ("$['a.b']['c]']", &["['a.b']", "['c]']"]),
            ("$[\"a\\\"]\"].x", &["[\"a\\\"]\"]", ".x"]),
            ("$..a[*].b[0]", &["..a", "[*]", ".b", "[0]"]),
            ("$..[0].*", &["..[0]", ".*"]),
            ("$.a[?@.b[0] == ']'][1:2]", &[".a", "[?@.b[0] == ']']", "[1:2]"]),
        ] {
            assert_eq!(segments(path), parts, "{path}");
            assert_eq!(format!("${}", parts.concat()), path);
        }
        assert_eq!(asks(".a"), Asks::Key("a"));
        assert_eq!(asks("['a b']"), Asks::Key("a b"));
        assert_eq!(asks("..a"), Asks::KeyBelow("a"));
        assert_eq!(asks("[-1]"), Asks::Element(-1));
        for several in ["[*]", ".*", "..*", "['a','b']", "[?@.a]", "[1:]", "..[0]"] {
            assert_eq!(asks(several), Asks::Several, "{several}");
        }
    }

    #[test]
    fn the_nearest_key_is_offered_where_the_path_ends() {
        let record = json!({
            "cust": { "fullname": "x", "e mail": 1 }, "tags": [{ "nm": 1 }], "deep": { "vats": 2 }
        });
        for (path, offered) in [
            ("$.cust.name", Some("$.cust.fullname")),
            ("$['cust']['email'].x", Some("$['cust']['e mail'].x")),
            ("$.tags[0].zz", None),
            ("$.tags[0].n", Some("$.tags[0].nm")),
            ("$..vat", Some("$..vats")),
            ("$.customer.name", Some("$.cust.name")),
            ("$.tags[7].nm", None),
            ("$.cust.fullname", None),
            ("$.cust.zzz", None),
        ] {
            assert_eq!(meant(path, &record).as_deref(), offered, "{path}");
        }
    }

    #[test]
    fn hostile_keys_are_not_looked_through() {
        let mut record: serde_json::Map<_, _> =
            (0..200_000).map(|n| (format!("nam{n}"), json!(1))).collect();
        record.insert("n".repeat(8 << 20), json!(1));
        let record = json!({ "a": record });
        let began = std::time::Instant::now();
        for path in ["$.a.name", "$..name"] {
            assert!(meant(path, &record).is_some(), "{path}");
        }
        let long = format!("$.a.{}", "n".repeat(1_900));
        assert_eq!(meant(&long, &record), None);
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_all_of_its_segments(path in "\\$[.a\\[\\]'\"\\\\?@*0-9 é]{0,24}") {
            let parts = segments(&path);
            proptest::prop_assert!(parts.iter().all(|part| !part.is_empty()));
            proptest::prop_assert_eq!(format!("${}", parts.concat()), path.trim());
            let _ = meant(&path, &json!({ "a": [{ "a": 1 }] }));
        }
    }
}
