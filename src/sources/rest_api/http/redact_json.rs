//! Owns that a JSON text stays what it is when secrets are replaced in it: valid JSON of the same values, in which no
//! two keys of an object become one.
//!
//! Must not know what is replaced.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::sources::rows::no_number::Mended;

/// What stands in place of a secret.
pub(in crate::sources::rest_api) const REDACTED: &str = "***";

/// Replaces secrets in a piece of text, and says in how many places; `None` where there are none.
pub(super) type Redact<'a> = &'a dyn Fn(&[u8]) -> Option<(Vec<u8>, u64)>;

/// Whether a text is JSON, but for numbers that JSON does not have.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok() || Mended::of(text).is_some()
}

/// The text with secrets replaced within its strings, and in how many places. A number that holds one becomes a
/// string. `escaped` says that none is there as it is written: then only strings with escapes are looked into.
pub(super) fn redacted(json: &str, redact: Redact<'_>, escaped: bool) -> (String, u64) {
    let mut pass = Pass { json, redact, escaped, edits: Vec::new(), open: Vec::new(), places: 0 };
    pass.run();
    let (mut out, mut copied) = (String::with_capacity(json.len()), 0);
    for (range, replacement) in pass.edits {
        out.push_str(&json[copied..range.start]);
        out.push_str(&replacement);
        copied = range.end;
    }
    out.push_str(&json[copied..]);
    (out, pass.places)
}

/// One way through a text.
struct Pass<'a> {
    json: &'a str,
    redact: Redact<'a>,
    /// Whether only strings with escapes may hold a secret.
    escaped: bool,
    /// What is replaced by what, in order.
    edits: Vec<(Range<usize>, String)>,
    /// The open lists and objects.
    open: Vec<Open>,
    places: u64,
}

/// An open list or object.
enum Open {
    List,
    Object {
        /// Its keys, with their quotes, and which edit replaces each.
        keys: Vec<(Range<usize>, Option<usize>)>,
        /// Whether a key comes next.
        at_key: bool,
    },
}

impl Pass<'_> {
    fn run(&mut self) {
        let bytes = self.json.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let begin = at;
            at += 1;
            match byte {
                b'{' => self.open.push(Open::Object { keys: Vec::new(), at_key: true }),
                b'[' => self.open.push(Open::List),
                b'}' | b']' => {
                    if let Some(Open::Object { keys, .. }) = self.open.pop() {
                        self.tell_apart(&keys);
                    }
                }
                b',' => {
                    if let Some(Open::Object { at_key, .. }) = self.open.last_mut() {
                        *at_key = true;
                    }
                }
                b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
                b'"' => {
                    at = behind_string(bytes, begin);
                    self.string(begin..at);
                }
                _ => {
                    let is_part = |byte: &&u8| !b"{}[],:\" \t\n\r".contains(*byte);
                    at = begin + bytes[begin..].iter().take_while(is_part).count();
                    if !self.escaped
                        && let Some((_, places)) = (self.redact)(&bytes[begin..at])
                    {
                        self.places += places;
                        self.edits.push((begin..at, format!("\"{REDACTED}\"")));
                    }
                }
            }
        }
    }

    fn string(&mut self, range: Range<usize>) {
        let string = &self.json[range.clone()];
        let may_hold_one = !self.escaped || string.contains('\\');
        let edit = if may_hold_one { redacted_string(string, self.redact) } else { None };
        let edit = edit.map(|(replacement, places)| {
            self.places += places;
            self.edits.push((range.clone(), replacement));
            self.edits.len() - 1
        });
        if let Some(Open::Object { keys, at_key }) = self.open.last_mut()
            && std::mem::take(at_key)
        {
            keys.push((range, edit));
        }
    }

    /// Gives the keys of an object that became another's different names. A key that came twice still does.
    fn tell_apart(&mut self, keys: &[(Range<usize>, Option<usize>)]) {
        if keys.iter().all(|(_, edit)| edit.is_none()) {
            return;
        }
        let others = keys.iter().filter(|(_, edit)| edit.is_none());
        let mut taken: HashSet<String> =
            others.map(|(range, _)| decoded(&self.json[range.clone()]).into_owned()).collect();
        let mut names: HashMap<String, String> = HashMap::new();
        for (range, edit) in keys.iter().filter_map(|(range, edit)| Some((range, (*edit)?))) {
            let Some((_, replacement)) = self.edits.get_mut(edit) else { continue };
            let base = decoded(replacement).into_owned();
            let name = names.entry(decoded(&self.json[range.clone()]).into_owned());
            let name = name.or_insert_with(|| {
                let numbered = (2_u64..).map(|number| format!("{base}{number}"));
                let mut names = std::iter::once(base.clone()).chain(numbered);
                let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
                taken.insert(name.clone());
                name
            });
            if *name != base {
                *replacement = Value::from(name.as_str()).to_string();
            }
        }
    }
}

/// A JSON string, with its quotes, without secrets; `None` where there are none in it.
fn redacted_string(string: &str, redact: Redact<'_>) -> Option<(String, u64)> {
    let content = string.get(1..string.len().saturating_sub(1))?;
    let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let as_written = |content| redact(content).map(|(text, _)| format!("\"{}\"", lossy(text)));
    if !content.contains('\\') {
        let (text, places) = redact(content.as_bytes())?;
        return Some((format!("\"{}\"", lossy(text)), places));
    }
    let Ok(value) = serde_json::from_str::<String>(string) else {
        // Half of a surrogate pair, which is JSON, and text nowhere.
        let (_, places) = redact(content.as_bytes())?;
        let redacted = as_written(content.as_bytes());
        let redacted = redacted.filter(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        return Some((redacted.unwrap_or_else(|| format!("\"{REDACTED}\"")), places));
    };
    let (text, places) = redact(value.as_bytes())?;
    let text = lossy(text);
    // What is around the secret stays as it was written, where it can.
    let redacted = as_written(content.as_bytes())
        .filter(|redacted| serde_json::from_str::<String>(redacted).is_ok_and(|it| it == text));
    Some((redacted.unwrap_or_else(|| Value::from(text).to_string()), places))
}

/// The value of a JSON string.
fn decoded(string: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(string) {
        Ok(value) => Cow::Owned(value),
        Err(_) => Cow::Borrowed(string),
    }
}

/// The place behind the string that begins at `at`.
fn behind_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
#[path = "redact_json_tests.rs"]
mod tests;
