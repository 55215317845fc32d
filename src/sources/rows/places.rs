//! Owns places in a JSON value: which of them are within others, and where in the text many of them are, found in one
//! walk. It costs no more steps than there are in the places and members in the text.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::scan::Scan;

/// A step into an object or a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Key(String),
    Element(usize),
}

/// Places, by their steps.
#[derive(Debug, Default)]
pub(super) struct Places<'p> {
    root: Node<'p>,
    count: usize,
}

/// What is at the end of a step.
#[derive(Debug, Default)]
struct Node<'p> {
    /// Which of the places it is, if it is one.
    number: Option<usize>,
    keys: HashMap<&'p str, Node<'p>>,
    elements: HashMap<usize, Node<'p>>,
}

impl<'p> Places<'p> {
    /// Each once.
    pub fn of(places: impl IntoIterator<Item = &'p Vec<Place>>) -> Self {
        let mut all = Self::default();
        for place in places {
            let mut node = &mut all.root;
            for step in place {
                visited();
                node = match step {
                    Place::Key(key) => node.keys.entry(key.as_str()).or_default(),
                    Place::Element(number) => node.elements.entry(*number).or_default(),
                };
            }
            if node.number.is_none() {
                node.number = Some(all.count);
                all.count += 1;
            }
        }
        all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Which of them a place is.
    pub fn number(&self, place: &[Place]) -> Option<usize> {
        self.root.at(place)?.number
    }

    /// Whether a place is one of them, or leads to one.
    pub fn leads_to(&self, place: &[Place]) -> bool {
        !self.is_empty() && self.root.at(place).is_some()
    }

    /// Whether one of them is within a place.
    pub fn are_within(&self, place: &[Place]) -> bool {
        self.root.at(place).is_some_and(|node| !node.is_last())
    }

    /// Whether a place is within one of them.
    pub fn are_around(&self, place: &[Place]) -> bool {
        let Some((_, before)) = place.split_last() else { return false };
        let mut node = &self.root;
        for step in before {
            if node.number.is_some() {
                return true;
            }
            match node.next(step) {
                Some(next) => node = next,
                None => return false,
            }
        }
        node.number.is_some()
    }

    /// Where they are in a JSON text, by their numbers; empty where nothing is.
    ///
    /// # Errors
    /// The key that is there twice where one of them is.
    pub fn spans(&self, json: &str) -> Result<Vec<Range<usize>>, &'p str> {
        let mut spans = vec![0..0; self.count];
        if self.count > 0 {
            self.root.walk(&mut Scan::of(json), &mut spans)?;
        }
        Ok(spans)
    }
}

impl<'p> Node<'p> {
    fn next(&self, step: &Place) -> Option<&Self> {
        visited();
        match step {
            Place::Key(key) => self.keys.get(key.as_str()),
            Place::Element(number) => self.elements.get(number),
        }
    }

    fn at(&self, place: &[Place]) -> Option<&Self> {
        place.iter().try_fold(self, |node, step| node.next(step))
    }

    fn is_last(&self) -> bool {
        self.keys.is_empty() && self.elements.is_empty()
    }

    /// Goes over the value at this place.
    fn walk(&self, scan: &mut Scan<'_>, spans: &mut [Range<usize>]) -> Result<(), &'p str> {
        let start = scan.at;
        if !self.keys.is_empty() && scan.take(b'{') {
            self.members(scan, spans)?;
            scan.take(b'}');
        } else if !self.elements.is_empty() && scan.take(b'[') {
            for number in 0.. {
                visited();
                scan.white();
                match self.elements.get(&number) {
                    Some(node) => node.walk(scan, spans)?,
                    None => scan.pass(),
                }
                scan.white();
                if !scan.take(b',') {
                    break;
                }
            }
            scan.take(b']');
        } else {
            scan.pass();
        }
        if let Some(number) = self.number {
            spans[number] = start..scan.at;
        }
        Ok(())
    }

    fn members(&self, scan: &mut Scan<'_>, spans: &mut [Range<usize>]) -> Result<(), &'p str> {
        let mut passed = HashSet::new();
        while let Some(key) = scan.key() {
            visited();
            match key.and_then(|key| self.keys.get_key_value(&*key)) {
                Some((key, _)) if !passed.insert(*key) => return Err(key),
                Some((_, node)) => node.walk(scan, spans)?,
                None => scan.pass(),
            }
            scan.white();
            if !scan.take(b',') {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
thread_local! {
    /// How many steps and members were looked at.
    static VISITED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts one more step or member that is looked at, for tests that bound their number.
pub(super) fn visited() {
    #[cfg(test)]
    VISITED.with(|visited| visited.set(visited.get() + 1));
}

/// How many steps and members `look` looks at.
#[cfg(test)]
pub(super) fn visits(look: impl FnOnce()) -> usize {
    let before = VISITED.get();
    look();
    VISITED.get() - before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop::sample::select(vec![Value::Null, Value::from(-1.5), Value::from("a,]}\"")]);
        leaf.prop_recursive(4, 20, 3, |inner| {
            let key = prop::sample::select(vec!["a", "b\"", "c}"]).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..3)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    fn places(value: &Value, at: &[Place], all: &mut Vec<(Vec<Place>, Value)>) {
        all.push((at.to_vec(), value.clone()));
        let mut below = |step, value: &Value| places(value, &[at, &[step][..]].concat(), all);
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| below(Place::Key(key.clone()), value));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| below(Place::Element(at), value));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn each_place_is_found_where_its_value_stands(
            value in value(),
            picked in prop::collection::vec(any::<bool>(), 60),
            pretty in any::<bool>(),
        ) {
            let mut all = Vec::new();
            places(&value, &[], &mut all);
            let (picked, others): (Vec<_>, Vec<_>) =
                all.iter().zip(picked.iter().chain(std::iter::repeat(&true))).partition(|(_, picked)| **picked);
            let wanted = Places::of(picked.iter().map(|((place, _), _)| place));
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let spans = wanted.spans(&text).unwrap();
            prop_assert_eq!(spans.len(), picked.len());
            for ((place, value), _) in &picked {
                let span = spans[wanted.number(place).unwrap()].clone();
                prop_assert_eq!(&serde_json::from_str::<Value>(&text[span]).unwrap(), value);
            }
            for ((place, _), _) in &others {
                let is_any = |fits: &dyn Fn(&[Place]) -> bool| picked.iter().any(|((one, _), _)| fits(one));
                prop_assert_eq!(wanted.number(place), None);
                prop_assert_eq!(wanted.leads_to(place), is_any(&|one| one.starts_with(place)));
                prop_assert_eq!(wanted.are_within(place), is_any(&|one| one.starts_with(place)));
                prop_assert_eq!(wanted.are_around(place), is_any(&|one| place.starts_with(one)));
            }
        }
    }
}
