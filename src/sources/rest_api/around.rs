//! Owns finding what surrounds the records in a body, without parsing the records.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::sources::rows::segments::{Asks, asks, segments};

/// The longest value around the records that is looked at: what tells pages apart is short.
const MOST_BYTES: usize = 64 << 10;
/// The most elements of a list of which one is the list of records and another may tell pages apart.
const MOST_SIBLINGS: usize = 4;

/// Where the records are in a body.
#[derive(Debug)]
pub(super) struct RecordsPlace {
    /// The keys and numbers that lead to them, as far as it is no more than that.
    steps: Vec<Step>,
    /// What comes behind.
    rest: Rest,
    /// The last of the keys without its spelling.
    key: Option<String>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Element(usize),
}

/// What picks the records out of what the steps lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// All of it.
    Nothing,
    /// Some of its values, or something within each.
    Some,
    /// Something at any depth.
    Below,
}

impl RecordsPlace {
    /// The place that a path leads to, the `[*]` at its end left out.
    pub fn of(path: &str) -> Self {
        let (steps, rest) = steps_of(path);
        let key = steps.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(plain(key)),
            Step::Element(_) => None,
        });
        Self { steps, rest, key: key.filter(|_| rest != Rest::Below) }
    }

    /// What the key of the records is called, without its spelling.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether there is nothing but records.
    pub fn is_whole(&self) -> bool {
        self.rest == Rest::Nothing
    }
}

/// The keys and numbers that a path begins with, and what comes behind them.
fn steps_of(path: &str) -> (Vec<Step>, Rest) {
    let mut steps = Vec::new();
    for segment in segments(path) {
        match asks(segment) {
            Asks::Key(key) => steps.push(Step::Key(key.to_owned())),
            Asks::Element(number) if let Ok(number) = number.try_into() => {
                steps.push(Step::Element(number));
            }
            Asks::KeyBelow(_) => return (steps, Rest::Below),
            Asks::Several if segment.starts_with("..") => {
                return (steps, Rest::Below);
            }
            Asks::Element(_) | Asks::Several => return (steps, Rest::Some),
        }
    }
    (steps, Rest::Nothing)
}

/// A visitor of what surrounds the records.
pub(super) trait Looks {
    /// Looks at the value of `key` of the object at the place `at`.
    fn look(&mut self, at: &str, key: &str, value: &Value);

    /// The same for a value that is too long to be looked at.
    fn skip(&mut self, _at: &str, _key: &str, _json: &str) {}
}

/// Looks at what surrounds the records; returns how many values the list has out of which they are
/// picked, if it is a list.
pub(super) fn look(body: &str, place: &RecordsPlace, findings: &mut dyn Looks) -> Option<usize> {
    let mut around = body.trim_start();
    let mut at = String::new();
    for step in &place.steps {
        around = match step {
            Step::Key(key) if around.starts_with('{') => {
                let inner = look_at(around, Some(key), &at, findings).ok()?;
                at = join(&at, key);
                inner?
            }
            Step::Element(number) if around.starts_with('[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(around).ok()?;
                look_beside(&elements, *number, &at, findings);
                at = format!("{at}[{number}]");
                elements.get(*number)?.get()
            }
            Step::Key(_) | Step::Element(_) => return None,
        };
    }
    match place.rest {
        Rest::Below if around.starts_with('{') => {
            look_at(around, None, &at, findings).ok()?;
            None
        }
        Rest::Some if around.starts_with('[') => {
            Some(serde_json::from_str::<Length>(around).ok()?.0)
        }
        Rest::Nothing | Rest::Some | Rest::Below => None,
    }
}

/// Looks at the elements of a short list besides that of the records, as in `[{"pages": 7}, […]]`.
fn look_beside(elements: &[&RawValue], records: usize, at: &str, findings: &mut dyn Looks) {
    // Where the list of records is not there, the others may say why.
    let is_list = elements.get(records).is_none_or(|element| element.get().starts_with('['));
    if !is_list || elements.len() > MOST_SIBLINGS {
        return;
    }
    for (number, element) in elements.iter().enumerate() {
        let element = element.get();
        if number != records && element.starts_with('{') && element.len() <= MOST_BYTES {
            // What is no good JSON says nothing.
            let _ = look_at(element, None, &format!("{at}[{number}]"), findings);
        }
    }
}

/// Looks at an object around the records; answers the value behind `key`, where they are.
fn look_at<'b>(
    object: &'b str,
    key: Option<&str>,
    at: &str,
    findings: &mut dyn Looks,
) -> Result<Option<&'b str>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(object);
    json.deserialize_map(Around { key, at, findings })
}

struct Around<'a> {
    key: Option<&'a str>,
    at: &'a str,
    findings: &'a mut dyn Looks,
}

impl<'b> Visitor<'b> for Around<'_> {
    type Value = Option<&'b str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut inner = None;
        while let Some(name) = map.next_key::<Cow<'b, str>>()? {
            if Some(&*name) == self.key {
                inner = Some(map.next_value::<&'b RawValue>()?.get());
                continue;
            }
            if name.len() > MOST_BYTES {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&'b RawValue>()?.get();
            if value.len() > MOST_BYTES {
                self.findings.skip(self.at, &name, value);
                continue;
            }
            if let Ok(value) = serde_json::from_str(value) {
                self.findings.look(self.at, &name, &value);
            }
        }
        Ok(inner)
    }
}

/// How many elements a list has.
struct Length(usize);

impl<'de> serde::Deserialize<'de> for Length {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Length, A::Error> {
                let mut length = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                Ok(Length(length))
            }
        }
        deserializer.deserialize_seq(Counting)
    }
}

/// A key without what APIs spell differently: `hasMore`, `has_more` and `has-more` are the same.
pub(super) fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The place of a key within another.
pub(super) fn join(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}
