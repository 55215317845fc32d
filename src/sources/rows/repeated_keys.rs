//! Owns which keys an object of a JSON text has twice, and whether what a path finds depends on one: then
//! nobody knows which of the values counts.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::places::{Place, Places, visited};
use super::segments::{Asks, asks, segments};
use crate::domain::json_size::{JsonSize, values_of};

/// The most repeated keys that are told apart.
const MOST: usize = 100_000;

/// Where an object of a JSON text has a key once more; `value` is what the text was parsed to.
///
/// # Errors
/// When there are too many of them.
pub(super) fn repeated(json: &str, value: &Value) -> Result<Vec<Vec<Place>>, serde_json::Error> {
    let mut found = Vec::new();
    // Parsed, an object has each key once.
    if values_of(value) != JsonSize::of(json).values {
        let mut json = serde_json::Deserializer::from_str(json);
        Look { at: &mut Vec::new(), found: &mut found }.deserialize(&mut json)?;
    }
    match found.get(MOST).and_then(|place| key(place)) {
        Some(key) => Err(twice(key)),
        None => Ok(found),
    }
}

/// The error of an object that has a key twice.
pub(super) fn twice(key: &str) -> serde_json::Error {
    let key = crate::domain::text::quoted(key);
    let message = format!("the key {key} is there twice, and it is unknown which value counts");
    serde::de::Error::custom(message)
}

/// A repeated key on which it depends what a path finds in the value, which is at these places.
pub(super) fn decisive<'r>(
    path: &str,
    repeated: &'r [Vec<Place>],
    found: &Places<'_>,
) -> Option<&'r str> {
    let steps: Vec<Step<'_>> = segments(path).into_iter().map(Step::of).collect();
    let is_decisive = |place: &&Vec<Place>| match meets(&steps, place) {
        Meets::No => false,
        Meets::Yes => !found.are_around(place),
        Meets::IfFound => found.is_empty() || found.leads_to(place),
    };
    repeated.iter().find(is_decisive).and_then(|place| key(place))
}

fn key(place: &[Place]) -> Option<&str> {
    match place.last() {
        Some(Place::Key(key)) => Some(key),
        Some(Place::Element(_)) | None => None,
    }
}

/// What a segment of a path leads to.
enum Step<'p> {
    Key(&'p str),
    Element(usize),
    /// One counted from the end, which is not known here.
    FromEnd,
    /// The keys that it names.
    Named(&'p str),
    /// What fits its filter.
    Filter(&'p str),
    Any,
    Below,
}

impl<'p> Step<'p> {
    fn of(segment: &'p str) -> Self {
        match asks(segment) {
            Asks::Key(key) => Self::Key(key),
            Asks::Element(number) => number.try_into().map_or(Self::FromEnd, Self::Element),
            Asks::KeyBelow(_) => Self::Below,
            Asks::Several if segment.starts_with("..") => Self::Below,
            Asks::Several if segment.contains('?') => Self::Filter(segment),
            Asks::Several if segment.contains(['\'', '"']) && !segment.contains('\\') => {
                Self::Named(segment)
            }
            Asks::Several => Self::Any,
        }
    }
}

/// Whether a path comes by a place.
enum Meets {
    No,
    Yes,
    /// If that leads to what was found.
    IfFound,
}

fn meets(steps: &[Step<'_>], place: &[Place]) -> Meets {
    let mut from_end = false;
    for (at, step) in place.iter().enumerate() {
        let fits = match (steps.get(at), step) {
            (Some(Step::Below), _) => return Meets::Yes,
            (Some(Step::Key(wanted)), Place::Key(key)) => wanted == key,
            (Some(Step::Element(wanted)), Place::Element(number)) => wanted == number,
            (Some(Step::FromEnd), Place::Element(_)) => {
                from_end = true;
                true
            }
            (Some(Step::Named(names)), Place::Key(key)) => names.contains(key.as_str()),
            (Some(Step::Any | Step::Filter(_)), _) => true,
            _ => false,
        };
        if !fits {
            // A filter looks at other places.
            let is_asked = |step: &Step<'_>| match (step, key(place)) {
                (Step::Filter(text), Some(key)) => text.contains(key),
                _ => false,
            };
            return if steps.iter().any(is_asked) { Meets::Yes } else { Meets::No };
        }
    }
    if from_end { Meets::IfFound } else { Meets::Yes }
}

/// Looks for keys that their object has had.
struct Look<'l> {
    at: &'l mut Vec<Place>,
    found: &'l mut Vec<Vec<Place>>,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { at, found } = self;
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            visited();
            at.push(Place::Key(key.clone()));
            if !keys.insert(key) && found.len() <= MOST {
                found.push(at.clone());
            }
            map.next_value_seed(Look { at: &mut *at, found: &mut *found })?;
            at.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { at, found } = self;
        for number in 0.. {
            at.push(Place::Element(number));
            let element = list.next_element_seed(Look { at: &mut *at, found: &mut *found })?;
            at.pop();
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
