//! Owns texts that would be JSON, were it not for numbers that JSON does not have: `NaN`, `Infinity` and their like,
//! which some languages write. One of them takes no record with it but its own.
//!
//! Beside such a text stands a twin of the same length, with a text in place of each of them: what is found in
//! the twin is found in the original at the same place.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// What is written in place of a number; case counts.
const WORDS: [&str; 8] = ["NaN", "nan", "Infinity", "infinity", "Inf", "inf", "INF", "undefined"];

/// A text that is JSON but for such numbers.
#[derive(Debug)]
pub(in crate::sources) struct Mended<'t> {
    text: &'t str,
    twin: String,
    /// What stands in the twin for each of the words: no other value of the text is written so.
    marks: Vec<(String, &'t str)>,
}

/// Where such a number is in a text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sources) struct NoNumber<'t> {
    /// What is written there.
    pub word: &'t str,
    /// The JSON pointer that leads there.
    pub pointer: String,
    /// The byte at which it begins, from 0.
    pub at: usize,
}

impl<'t> Mended<'t> {
    /// `None` for a text without such numbers, or that is no JSON even without them.
    pub fn of(text: &'t str) -> Option<Self> {
        let mut twin = String::with_capacity(text.len());
        let mut marks: Vec<(String, &str)> = Vec::new();
        let mut copied = 0;
        for (at, word) in words(text) {
            twin.push_str(&text[copied..at]);
            copied = at + word.len();
            let mark = match marks.iter().find(|(_, known)| *known == word) {
                Some((mark, _)) => mark.clone(),
                None => {
                    let mark = mark(text, word.len(), &marks)?;
                    marks.push((mark.clone(), word));
                    mark
                }
            };
            twin.push_str(&mark);
        }
        twin.push_str(&text[copied..]);
        let is_json = serde_json::from_str::<&RawValue>(&twin).is_ok();
        (is_json && !marks.is_empty()).then_some(Self { text, twin, marks })
    }

    /// The twin, which is JSON.
    pub fn twin(&self) -> &str {
        &self.twin
    }

    /// What was found in the twin, as the original has it.
    pub fn original(&self, found: Cow<'_, str>) -> Cow<'t, str> {
        match found {
            Cow::Borrowed(piece) => match offset_in(&self.twin, piece) {
                Some(at) => Cow::Borrowed(&self.text[at..at + piece.len()]),
                None => Cow::Owned(self.with_words(piece.to_owned())),
            },
            Cow::Owned(piece) => Cow::Owned(self.with_words(piece)),
        }
    }

    fn with_words(&self, mut text: String) -> String {
        for (mark, word) in &self.marks {
            text = text.replace(mark, word);
        }
        text
    }
}

/// At which byte of a text a piece of it begins; `None` when it is none.
pub(in crate::sources) fn offset_in(text: &str, piece: &str) -> Option<usize> {
    let at = (piece.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (at + piece.len() <= text.len()).then_some(at)
}

/// The first such number of a text that is JSON but for them.
pub(in crate::sources) fn first(text: &str) -> Option<NoNumber<'_>> {
    let (at, word) = words(text).next()?;
    Mended::of(text)?;
    Some(NoNumber { word, pointer: pointer(&text[..at]), at })
}

/// A JSON string of a length that the text does not hold.
fn mark(text: &str, length: usize, known: &[(String, &str)]) -> Option<String> {
    let letters = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').map(char::from);
    let strings = letters.map(|letter| format!("\"{}\"", letter.to_string().repeat(length - 2)));
    let mut free = strings.filter(|mark| {
        !text.contains(mark.as_str()) && known.iter().all(|(other, _)| other != mark)
    });
    free.next()
}

/// The words that stand where a value may stand, in order.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => at = behind_string(bytes, at),
                b'-' | b'+' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                    let begin = at;
                    let is_part =
                        |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
                    at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                    let word = &text[begin..at];
                    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
                    if WORDS.contains(&unsigned) {
                        return Some((begin, word));
                    }
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// The place behind a string that begins at `at`.
fn behind_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The JSON pointer (RFC 6901) of the value that begins behind this beginning of a JSON text.
pub(in crate::sources) fn pointer(before: &str) -> String {
    /// An open object with the key it is at, or an open list with the place it is at.
    enum Open<'t> {
        Object(&'t str),
        List(usize),
    }
    let bytes = before.as_bytes();
    let (mut open, mut at, mut string) = (Vec::new(), 0, "\"\"");
    while let Some(byte) = bytes.get(at) {
        let begin = at;
        at += 1;
        match byte {
            b'"' => {
                at = behind_string(bytes, begin);
                string = &before[begin..at];
            }
            b'{' => open.push(Open::Object("\"\"")),
            b'[' => open.push(Open::List(0)),
            b'}' | b']' => drop(open.pop()),
            b':' => {
                if let Some(Open::Object(key)) = open.last_mut() {
                    *key = string;
                }
            }
            b',' => {
                if let Some(Open::List(place)) = open.last_mut() {
                    *place += 1;
                }
            }
            _ => {}
        }
    }
    let part = |open: &Open<'_>| match open {
        Open::List(place) => format!("/{place}"),
        Open::Object(key) => {
            let key: String = serde_json::from_str(key).unwrap_or_default();
            format!("/{}", key.replace('~', "~0").replace('/', "~1"))
        }
    };
    open.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_number_that_json_does_not_have_is_found_with_its_place() {
        for (text, word, pointer, at) in [
            (r#"{"a":NaN}"#, "NaN", "/a", 5),
            (r#"{"a":1,"b":[1,"x,]",{"c/d~":-Infinity}]}"#, "-Infinity", "/b/2/c~1d~0", 28),
            ("[nan]", "nan", "/0", 1),
            ("NaN", "NaN", "", 0),
            (r#"{"NaN":"NaN","é\"":[[],undefined]}"#, "undefined", "/é\"/1", 24),
        ] {
            assert_eq!(first(text), Some(NoNumber { word, pointer: pointer.into(), at }), "{text}");
        }
        for text in [r#"{"a":"NaN"}"#, "[1e5,true,null]", "[NaN,]", "[NaN", "[None]", "{'a':NaN}"] {
            assert_eq!(first(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_found_in_the_twin_is_the_original() {
        let text = r#"[{"a": NaN, "b": "A"}, {"a": -Infinity, "b": nan}]"#;
        let mended = Mended::of(text).unwrap();
        let twin: Vec<&RawValue> = serde_json::from_str(mended.twin()).unwrap();
        let found: Vec<_> =
            twin.iter().map(|element| mended.original(Cow::Borrowed(element.get()))).collect();
        assert_eq!(found, [r#"{"a": NaN, "b": "A"}"#, r#"{"a": -Infinity, "b": nan}"#]);
        let value: Value = serde_json::from_str(mended.twin()).unwrap();
        let owned = mended.original(Cow::Owned(value[1].to_string()));
        assert_eq!(owned, r#"{"a":-Infinity,"b":nan}"#);
    }

    fn with_words() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "NaN",
            "-Infinity",
            "inf",
            "1e5",
            "\"NaN\"",
            "null",
            "\"A\\\"\"",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(" ,"))),
                prop::collection::vec(("[a-c]", inner), 0..4).prop_map(|fields| {
                    let fields: Vec<_> =
                        fields.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_twin_is_json_of_the_same_length_and_leads_back(text in with_words()) {
            match Mended::of(&text) {
                Some(mended) => {
                    prop_assert_eq!(mended.twin().len(), text.len());
                    prop_assert!(serde_json::from_str::<Value>(mended.twin()).is_ok());
                    prop_assert_eq!(mended.original(Cow::Owned(mended.twin().to_owned())), text.as_str());
                    prop_assert!(first(&text).is_some());
                }
                None => prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text),
            }
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}:,\"\\\\a-zNI0-9é -]{0,30}") {
            let _ = (Mended::of(&text), first(&text));
        }
    }
}
