//! Owns `rest_api.for_each`: the parents for whose children is asked, and what is wrong with it.
//!
//! Must not know how requests are made.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;

use super::param_value::Scalar;
use super::side_by_side;
use super::template::{PARENT, Template};
use crate::domain::parent::{Parent, ParentRecords, WhichParents};
use crate::domain::source_name::SourceName;

/// How many parents are asked for side by side, unless the job file says otherwise.
const SIDE_BY_SIDE: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// The most parents in one request.
const MOST_TOGETHER: u32 = 1_000;

/// The parents for whose children is asked: the records of another source, or a list of values.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// The source whose records are the parents. None of them is asked for again.
    pub source: Option<String>,
    /// The fields of these records that requests and children need, such as ["number"]: `${parent.number}` in
    /// templates, `$._parent.number` in `[fields]`.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Which of them: those that are new or have "changed" since their children were read, or "all" in each run.
    pub only: Option<Only>,
    /// After how long the children of a parent that has not changed are read again: "7d".
    #[serde(default, with = "crate::job_file::duration")]
    #[schemars(with = "Option<String>")]
    pub refresh: Option<Duration>,
    /// The values, in place of a source: each run asks for all of them.
    pub values: Option<Vec<Scalar>>,
    /// The name of a value: with "region" `${parent.region}` and `$._parent.region`.
    pub r#as: Option<String>,
    /// How many chains of requests are open at most, 4 without it and never more than 100.
    pub concurrency: Option<NonZeroU32>,
    /// How many parents one request asks for: `${parent.id:join(,)}` is then their values, with commas between.
    pub batch: Option<NonZeroU32>,
}

/// Which parents are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Those that are new, or whose record is another than when their children were read.
    #[default]
    Changed,
    /// All, in each run.
    All,
}

/// What is wrong: the keys below `rest_api`, and what.
type Problems = Vec<(Vec<String>, String)>;

impl ForEach {
    /// How many chains are open at most.
    pub fn side_by_side(&self) -> u32 {
        self.concurrency.unwrap_or(SIDE_BY_SIDE).get().min(side_by_side::MOST)
    }

    /// How many parents one request asks for.
    pub fn batch(&self) -> u32 {
        self.batch.map_or(1, NonZeroU32::get)
    }

    /// Whether a run may leave parents out.
    pub fn only_changed(&self) -> bool {
        self.values.is_none() && self.only != Some(Only::All)
    }

    /// The names of what is known of a parent.
    pub fn names(&self) -> Vec<&str> {
        match &self.values {
            Some(_) => self.r#as.iter().map(String::as_str).collect(),
            None => self.fields.iter().map(String::as_str).collect(),
        }
    }

    /// The parents of a run; `all` says that it reads everything.
    pub fn which(&self, all: bool) -> WhichParents {
        match (&self.values, &self.r#as) {
            (Some(values), Some(name)) => {
                let parent = |value: &Scalar| Parent {
                    key: value.to_string(),
                    fields: Map::from_iter([(name.clone(), value.to_json())]),
                };
                WhichParents::These(values.iter().map(parent).collect())
            }
            _ => WhichParents::Records(ParentRecords {
                source: self.source.clone().unwrap_or_default(),
                fields: self.fields.clone(),
                all: all || self.only == Some(Only::All),
                refresh: self.refresh,
            }),
        }
    }

    /// What tells what is asked for from what another job file asks for.
    pub fn identity(&self) -> String {
        let Self { source, fields, values, r#as, batch, .. } = self;
        format!("{source:?} {fields:?} {values:?} {as:?} {batch:?}", r#as = r#as)
    }

    /// What is wrong with it for requests with these texts, given by their keys.
    pub fn problems(&self, texts: &[(Vec<String>, &str)]) -> Problems {
        let mut problems = Vec::new();
        let mut say = |below: &[&str], text: String| {
            let keys = ["for_each"].iter().chain(below).map(|key| (*key).to_owned());
            problems.push((keys.collect(), text));
        };
        match (&self.source, &self.values) {
            (Some(_), Some(_)) => say(
                &["values"],
                "is another list of parents than `source`: remove one of the two".to_owned(),
            ),
            (None, None) => say(
                &[],
                "names no parents: write `source = \"…\"` with `fields`, or `values = […]` with `as`".to_owned(),
            ),
            (Some(source), None) => {
                if let Err(error) = source.parse::<SourceName>() {
                    say(&["source"], format!("{error}"));
                }
                if self.fields.is_empty() {
                    let text = "names nothing of a parent: write for example [\"number\"], for `${parent.number}`";
                    say(&["fields"], text.to_owned());
                }
                if self.r#as.is_some() {
                    say(&["as"], "names the values of `values`, and there are none".to_owned());
                }
                if self.only == Some(Only::All) && self.refresh.is_some() {
                    let text = "is for parents that have not changed, and `only = \"all\"` reads all in each run";
                    say(&["refresh"], text.to_owned());
                }
            }
            (None, Some(values)) => {
                for (key, is_there) in [
                    ("fields", !self.fields.is_empty()),
                    ("only", self.only.is_some()),
                    ("refresh", self.refresh.is_some()),
                ] {
                    if is_there {
                        say(&[key], "is for the records of a `source`, and `values` are none".to_owned());
                    }
                }
                if values.is_empty() {
                    say(&["values"], "is an empty list".to_owned());
                }
                let keys: Vec<_> = values.iter().map(Scalar::to_string).collect();
                if let Some(at) = keys.iter().position(|key| key.trim().is_empty()) {
                    say(
                        &["values", &at.to_string()],
                        "is empty, and nothing can be asked for with it: remove it".to_owned(),
                    );
                }
                if let Some((at, key)) =
                    keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key))
                {
                    say(&["values", &at.to_string()], format!("`{key}` is there twice"));
                }
                match &self.r#as {
                    None => say(&[], "has `values` without a name: write `as = \"region\"`".to_owned()),
                    Some(name) if !is_name(name) => say(&["as"], no_name(name)),
                    Some(_) => {}
                }
            }
        }
        for (at, name) in self.fields.iter().enumerate() {
            let at_text = at.to_string();
            if !is_name(name) {
                say(&["fields", &at_text], no_name(name));
            } else if self.fields[..at].contains(name) {
                say(&["fields", &at_text], format!("`{name}` is there twice"));
            }
        }
        if self.refresh.is_some_and(|refresh| refresh.is_zero()) {
            say(&["refresh"], "is no time at all".to_owned());
        }
        if let Some(text) = self.concurrency.and_then(|most| side_by_side::problem(most.get())) {
            say(&["concurrency"], text);
        }
        if self.batch() > MOST_TOGETHER {
            say(&["batch"], format!("is more than {MOST_TOGETHER}, too many for one request"));
        }
        let named = |(_, text): &(Vec<String>, &str)| {
            text.contains("${") && Template::parse(text).is_ok_and(|t| t.names_any(PARENT))
        };
        let known = self.names();
        if let Some(name) = known.first()
            && !texts.iter().any(named)
        {
            say(
                &[],
                format!(
                    "asks the same of the API for each parent: write `${{{PARENT}{name}}}` in `path`, `params` or the \
                     body"
                ),
            );
        }
        if self.batch() > 1 {
            for (keys, text) in texts.iter().filter(|text| named(text)) {
                problems.extend(unjoined(keys, text));
            }
        }
        problems
    }
}

/// What is wrong with a template that names one of several parents.
fn unjoined(keys: &[String], text: &str) -> Option<(Vec<String>, String)> {
    let template = Template::parse(text).ok()?;
    // There a list may stand for itself.
    let takes_lists = keys
        .first()
        .is_some_and(|key| matches!(key.as_str(), "params" | "json" | "form" | "graphql"));
    if takes_lists && template.is_one_name() {
        return None;
    }
    let name = template.unjoined(PARENT)?;
    let text = format!(
        "has `${{{name}}}`, and `for_each.batch` puts several parents into a request: write `${{{name}:join(,)}}`"
    );
    Some((keys.to_vec(), text))
}

/// Whether templates and JSONPaths can have it as it is.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn no_name(name: &str) -> String {
    format!(
        "`{name}` cannot stand in a template: letters, digits and `_` can, with no digit in front"
    )
}

/// A parent that is too large to be repeated for each of its children.
pub(super) const MOST_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(for_each: &str, path: &str) -> Vec<String> {
        let for_each: ForEach = toml::from_str(for_each).unwrap();
        let texts = [(vec!["path".to_owned()], path)];
        let found = for_each.problems(&texts).into_iter();
        found.map(|(keys, problem)| format!("{}: {problem}", keys.join("."))).collect()
    }

    #[test]
    fn what_can_be_read_has_no_problem() {
        for (for_each, path) in [
            ("source = 'issues'\nfields = ['number']", "i/${parent.number}"),
            ("source = 'issues'\nfields = ['id', 'name']\nonly = 'all'", "i/${parent.id}"),
            (
                "source = 'issues'\nfields = ['id']\nrefresh = '7d'\nconcurrency = 9",
                "i/${parent.id}",
            ),
            ("source = 'issues'\nfields = ['id']\nbatch = 50", "i/${parent.id:join(,)}"),
            ("values = ['eu', 7, true]\nas = 'region'", "i/${parent.region}"),
        ] {
            assert_eq!(problems(for_each, path), Vec::<String>::new(), "{for_each}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_key() {
        for (for_each, path, says) in [
            ("", "x", "for_each: names no parents"),
            (
                "source = 'a'\nvalues = [1]\nas = 'x'",
                "${parent.x}",
                "for_each.values: is another list",
            ),
            ("source = 'a'", "x", "for_each.fields: names nothing of a parent"),
            ("source = 'A B'\nfields = ['x']", "${parent.x}", "for_each.source: "),
            (
                "source = 'a'\nfields = ['x', 'x']",
                "${parent.x}",
                "for_each.fields.1: `x` is there twice",
            ),
            (
                "source = 'a'\nfields = ['$.x']",
                "${parent.x}",
                "for_each.fields.0: `$.x` cannot stand",
            ),
            (
                "source = 'a'\nfields = ['x']\nas = 'x'",
                "${parent.x}",
                "for_each.as: names the values",
            ),
            ("source = 'a'\nfields = ['x']", "all", "for_each: asks the same of the API"),
            (
                "source = 'a'\nfields = ['x']\nonly = 'all'\nrefresh = '1d'",
                "${parent.x}",
                "for_each.refresh: is for parents that have not changed",
            ),
            (
                "source = 'a'\nfields = ['x']\nrefresh = '0s'",
                "${parent.x}",
                "for_each.refresh: is no time",
            ),
            (
                "source = 'a'\nfields = ['x']\nbatch = 2000",
                "${parent.x:join(,)}",
                "for_each.batch: is more",
            ),
            (
                "source = 'a'\nfields = ['x']\nconcurrency = 101",
                "${parent.x}",
                "for_each.concurrency: expected 100 at most, found 101",
            ),
            (
                "source = 'a'\nfields = ['x']\nbatch = 2",
                "${parent.x}",
                "path: has `${parent.x}`, and",
            ),
            ("values = []\nas = 'x'", "${parent.x}", "for_each.values: is an empty list"),
            (
                "values = [1, ' ', '']\nas = 'x'",
                "${parent.x}",
                "for_each.values.1: is empty, and nothing",
            ),
            ("values = [1, '1']\nas = 'x'", "${parent.x}", "for_each.values.1: `1` is there twice"),
            ("values = [1]", "x", "for_each: has `values` without a name"),
            ("values = [1]\nas = 'a b'", "x", "for_each.as: `a b` cannot stand"),
            (
                "values = [1]\nas = 'x'\nonly = 'all'",
                "${parent.x}",
                "for_each.only: is for the records",
            ),
        ] {
            let found = problems(for_each, path);
            assert!(found.iter().any(|problem| problem.starts_with(says)), "{for_each}: {found:?}");
        }
    }
}
