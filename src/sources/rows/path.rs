//! Owns JSONPaths compiled once. Most are a chain of keys, which is walked without a query engine. A key that is
//! there twice where a path comes by is an error: JSON says nothing of which value counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_json_path::{JsonPath, LocatedNode, PathElement};

use super::places::{Place, Places, visited};
use super::repeated_keys::{decisive, repeated, twice};
use crate::domain::json_size::{MAX_DEPTH, PRUNED, prune};
use crate::domain::text;
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::{exact_numbers, json_path};

/// A path into a JSON value.
#[derive(Debug, Clone)]
pub(in crate::sources) enum Path {
    /// `$`, `$.a`, `$.a['b c']`: at most one value.
    Keys(Vec<String>),
    /// Anything else of RFC 9535: any number of values.
    Query(Query),
}

/// A path that the query engine follows.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Query {
    text: String,
    path: JsonPath,
}

impl Query {
    /// The values that it leads to in a value.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.path.query(value).all()
    }

    /// The same with where they are.
    pub fn located<'v>(&self, value: &'v Value) -> Vec<LocatedNode<'v>> {
        self.path.query_located(value).all()
    }

    /// The same in a JSON text. A value in which a key is there twice is as it stands there.
    fn find<'b>(&self, json: &'b str) -> Result<Vec<Cow<'b, str>>, serde_json::Error> {
        let pruned = prune(json, MAX_DEPTH);
        let value: Value = exact_numbers::parse(&pruned)?;
        let unpruned = |text: String| match text.contains(PRUNED) {
            true => Cow::Owned(text.replace(PRUNED, &too_deep())),
            false => Cow::Owned(text),
        };
        let repeated = repeated(&pruned, &value)?;
        if repeated.is_empty() {
            return Ok(self.all(&value).into_iter().map(|v| unpruned(v.to_string())).collect());
        }
        let found = self.path.query_located(&value).all();
        let places: Vec<Vec<Place>> = found.iter().map(place_of).collect();
        if let Some(key) = decisive(&self.text, &repeated, &Places::of(&places)) {
            return Err(twice(key));
        }
        let repeated = Places::of(&repeated);
        let wanted = Places::of(places.iter().filter(|place| repeated.are_within(place)));
        let spans = wanted.spans(&pruned).map_err(twice)?;
        let text = |(node, place): (LocatedNode<'_>, &Vec<Place>)| {
            let Some(number) = wanted.number(place) else {
                return Ok(unpruned(node.node().to_string()));
            };
            match pruned.get(spans[number].clone()) {
                Some(text) if !text.is_empty() => Ok(unpruned(text.to_owned())),
                _ => Err(serde::de::Error::custom("the text has changed")),
            }
        };
        found.into_iter().zip(&places).map(text).collect()
    }
}

fn place_of(node: &LocatedNode<'_>) -> Vec<Place> {
    let place = |element: &PathElement<'_>| match element {
        PathElement::Name(key) => Place::Key((*key).to_owned()),
        PathElement::Index(number) => Place::Element(*number),
    };
    node.location().iter().map(place).collect()
}

impl Path {
    /// Compiles a JSONPath.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match keys_of(text) {
            Some(keys) if text.len() <= json_path::MAX_BYTES => Ok(Self::Keys(keys)),
            _ => {
                let path = json_path::parse(text)?;
                Ok(Self::Query(Query { text: text.to_owned(), path }))
            }
        }
    }

    /// The values that it leads to in a JSON text, each as it stands there or as JSON. What is nested
    /// too deep to be parsed makes a record that holds it unreadable, and nothing else.
    ///
    /// # Errors
    /// When the text is no JSON, or has a key twice on which it depends what is found.
    pub fn find<'b>(&self, json: &'b str) -> Result<Vec<Cow<'b, str>>, serde_json::Error> {
        match self {
            Self::Keys(keys) => Ok(walk_text(keys, json)?.map(Cow::Borrowed).into_iter().collect()),
            Self::Query(query) => query.find(json),
        }
    }
}

/// JSON that no record may hold.
fn too_deep() -> String {
    format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1))
}

/// The error of a text that is no path, under the key of the job file that has it.
pub(in crate::sources) fn invalid(key: &str, path: &str, error: &str) -> SourceError {
    let path = text::cut(path, text::MAX_QUOTED);
    // A key alone is what most tools would take.
    let advice = match (path.starts_with('$'), key) {
        (false, "data_selector") => {
            Some(format!("write `$.{path}[*]` for the list under that key"))
        }
        (false, "total_path") => Some(format!("write `$.{path}`")),
        _ => None,
    };
    let message = format!("`{key}` = `{path}` is no JSONPath: {error}");
    SourceError { advice, ..SourceError::new(SourceErrorKind::InvalidConfig, message) }
}

/// The value at the end of a chain of keys.
pub(in crate::sources) fn walk<'v>(keys: &[String], value: &'v Value) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.as_object()?.get(key))
}

/// The same in JSON text: the piece of it that is the value, untouched.
///
/// # Errors
/// When it is no JSON, or a key on the way is there twice.
pub(in crate::sources) fn walk_text<'t>(
    keys: &[String],
    json: &'t str,
) -> Result<Option<&'t str>, serde_json::Error> {
    let mut json = json.trim();
    for key in keys {
        if !json.starts_with('{') {
            return Ok(None);
        }
        let mut members = serde_json::Deserializer::from_str(json);
        match Member(key).deserialize(&mut members)? {
            Some((_, true)) => return Err(twice(key)),
            Some((value, false)) => json = value.get(),
            None => return Ok(None),
        }
    }
    Ok(Some(json))
}

/// The member of an object with this key, and whether there are several; nothing is kept of the
/// others, which may be millions.
struct Member<'k>(&'k str);

impl<'t> DeserializeSeed<'t> for Member<'_> {
    type Value = Option<(&'t RawValue, bool)>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Member<'_> {
    type Value = Option<(&'t RawValue, bool)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = members.next_key::<Cow<'t, str>>()? {
            visited();
            let value: &RawValue = members.next_value()?;
            if key == self.0 {
                found = Some((value, found.is_some()));
            }
        }
        Ok(found)
    }
}

/// The keys of a path that is only keys; `None` when the query engine must evaluate it.
fn keys_of(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('$')?;
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (key, behind) = match rest.strip_prefix('.') {
            Some(dotted) => dotted.split_at(name_length(dotted)?),
            None => rest.strip_prefix("['")?.split_once("']")?,
        };
        // Escapes, and quotes in a selector list, are the query engine's business.
        if key.contains(['\\', '\'']) {
            return None;
        }
        keys.push(key.to_owned());
        rest = behind;
    }
    Some(keys)
}

fn name_length(text: &str) -> Option<usize> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let length = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (length > 0 && starts_well).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::super::places::visits;
    use super::*;
    use serde_json::json;

    #[test]
    fn chains_of_keys_need_no_query() {
        for (text, keys) in
            [("$", vec![]), ("$.a_1.b", vec!["a_1", "b"]), ("$['a b'].c", vec!["a b", "c"])]
        {
            assert_eq!(keys_of(text), Some(keys.into_iter().map(String::from).collect()), "{text}");
        }
        for text in ["$.a[0]", "$..a", "$.a[*]", "$.*", "$['a','b']", "$['it\\'s']", "$.ä", "$.1"]
        {
            assert_eq!(keys_of(text), None, "{text}");
        }
    }

    #[test]
    fn all_ways_find_the_same() {
        let value = json!({ "a": { "b": 1, "c d": [2] }, "n": null, "l": [{ "b": 3 }] });
        for text in ["$", "$.a", "$.a.b", "$.a['c d']", "$.n", "$.n.x", "$.l.b", "$.nothing"] {
            let keys = keys_of(text).unwrap();
            let found = JsonPath::parse(text).unwrap().query(&value).at_most_one().unwrap();
            assert_eq!(walk(&keys, &value), found, "{text}");
            let json = value.to_string();
            let expected = found.map(Value::to_string);
            assert_eq!(walk_text(&keys, &json).unwrap(), expected.as_deref(), "{text}");
        }
    }

    const PATHS: [&str; 11] = [
        "$.data",
        "$['data']",
        "$.data[*]",
        "$.data[0]",
        "$.data[-1]",
        "$.data[?@.id > 0]",
        "$..id",
        "$.data[*].id",
        "$['data','more'][*]",
        "$.*",
        "$[?@[0].id]",
    ];

    #[test]
    fn a_key_that_is_there_twice_where_a_path_comes_by_is_an_error_that_names_it() {
        for path in PATHS {
            let parsed = Path::parse(path).unwrap();
            assert!(parsed.find(r#"{"data":[{"id":1},{"id":2}]}"#).is_ok(), "{path}");
            let error =
                parsed.find(r#"{"data":[{"id":1}],"n":0,"d\u0061ta":[{"id":2}]}"#).unwrap_err();
            let says = "the key \"data\" is there twice, and it is unknown which value counts";
            assert!(error.is_data() && error.to_string() == says, "{path}: {error}");
        }
        for (path, json) in [
            ("$.meta.total", r#"{"meta":{"total":1,"total":2}}"#),
            ("$.meta.total", r#"{"meta":{"total":1},"meta":{}}"#),
            ("$[0].total", r#"[{"total":1,"total":1},[]]"#),
            ("$.data[-1].id", r#"{"data":[{"id":1},{"id":2,"id":3}]}"#),
            ("$.data[?@.ok == true]", r#"{"data":[{"ok":true,"ok":false}]}"#),
            ("$.data[?@.ok == true].list", r#"{"data":[{"ok":false,"ok":true,"list":1}]}"#),
            ("$.data[?@.at == $.now]", r#"{"now":1,"now":2,"data":[{"at":2}]}"#),
        ] {
            assert!(Path::parse(path).unwrap().find(json).is_err(), "{path}: {json}");
        }
    }

    /// A record with a key twice is set aside by whoever reads it: it must not look like a good one.
    #[test]
    fn what_is_found_keeps_the_keys_that_it_has_twice_and_others_do_no_harm() {
        let record = r#"{"id":1,"a":{"x":1.50,"x":[]},"id":7}"#;
        for path in ["$.data", "$.data[*]", "$.data[0]", "$.data[?@.id > 0]", "$[?@[0].id]"] {
            let json = format!(r#"{{"m":1,"m":2,"data":[{record},{{"id":2}}]}}"#);
            let found = match Path::parse(path).unwrap().find(&json) {
                Ok(found) => found,
                // `$[?…]` looks at all of them.
                Err(_) if path.starts_with("$[") => continue,
                Err(error) => panic!("{path}: {error}"),
            };
            assert!(found[0].contains(record), "{path}: {found:?}");
        }
        for (path, json, expected) in [
            ("$[0].total", r#"[{"total":7},[{"id":1,"id":2}]]"#, "7"),
            ("$.data[-1].id", r#"{"data":[{"id":1,"id":2},{"id":3,"n":1,"n":2}]}"#, "3"),
            ("$['a','b'].n", r#"{"c":1,"c":2,"b":{"n":3}}"#, "3"),
        ] {
            assert_eq!(Path::parse(path).unwrap().find(json).unwrap(), [expected], "{path}");
        }
    }

    /// Neither each record nor each repeated key costs a walk over the whole answer.
    #[test]
    fn the_work_grows_with_the_text_however_many_keys_are_there_twice() {
        let record = r#"{"id":1,"a":{"x":1,"x":2},"b":[{"y":1},{"y":2,"z":0,"y":3}]}"#;
        let visits = |path: &str, records: usize| {
            let text = format!(r#"{{"m":1,"m":2,"data":[{}]}}"#, vec![record; records].join(","));
            let path = Path::parse(path).unwrap();
            visits(|| assert_eq!(path.find(&text).unwrap().len() % records, 0))
        };
        for path in [
            "$.data[?@.id > 0]",
            "$.data[*]",
            "$.data[*].b[*]",
            "$.data[*].b[-1]",
            "$.data[*]['a','b']",
        ] {
            let [few, many] = [100, 400].map(|records| visits(path, records));
            assert!(few > 0 && many <= 4 * few, "{path}: {few} {many}");
            assert!(many < 400 * 80, "{path}: {many}");
        }
    }
}
