//! Owns `after` of the job files of a folder, seen together: whose runs follow whose.

use std::collections::{HashMap, VecDeque};

use super::Definition;
use super::error::Problem;
use crate::domain::suggest;

/// Which source's runs start when those of others have ended.
#[derive(Debug, Default)]
pub struct Order<'a> {
    after: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Order<'a> {
    /// That of these job files.
    pub fn of(definitions: impl IntoIterator<Item = &'a Definition>) -> Self {
        let names = |definition: &'a Definition| {
            let after = definition.after.iter().map(|source| source.as_str());
            (definition.source.as_str(), after.collect())
        };
        Self { after: definitions.into_iter().map(names).collect() }
    }

    /// The circle that a source stands in, from it back to it; `None` when it is in none.
    pub fn circle(&self, source: &'a str) -> Option<Vec<&'a str>> {
        // The way back from each source that was reached; the shortest one is found first.
        let mut from: HashMap<&str, &str> = HashMap::new();
        let mut open = VecDeque::from([source]);
        while let Some(at) = open.pop_front() {
            for next in self.after.get(at).into_iter().flatten().copied() {
                if next == source {
                    let mut circle = vec![source];
                    let back = std::iter::successors(Some(at), |at| from.get(at).copied());
                    circle.extend(back.take_while(|at| *at != source));
                    circle.push(source);
                    circle.reverse();
                    return Some(circle);
                }
                if !from.contains_key(next) {
                    from.insert(next, at);
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// What is wrong with `after` of one of the job files: sources that are none of `names`, and circles.
    pub fn problems(&self, definition: &'a Definition, names: &[String]) -> Vec<Problem> {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        for (at, source) in definition.after.iter().enumerate() {
            if !known.contains(&source.as_str()) {
                let hint = suggest::hint(source.as_str(), "sources", &known);
                found.push((
                    at,
                    format!("there is no source {source:?}{hint}", source = source.as_str()),
                ));
            }
        }
        if let Some(circle) = self.circle(definition.source.as_str()) {
            let next = circle.get(1);
            let at = definition.after.iter().position(|source| Some(&source.as_str()) == next);
            let shown = circle.join(" after ");
            let message = format!("a circle, whose runs would never end: {shown}; take one out");
            found.push((at.unwrap_or(0), message));
        }
        let look = definition.inspect(|job| {
            for (at, message) in found {
                job.problem(&["after", &at.to_string()], message);
            }
        });
        look.map(|(problems, _)| problems).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn job(name: &str, after: &str) -> Definition {
        let text = format!("kind = 'csv'\nprimary_key = ['id']\nafter = {after}\n[csv]\n");
        Definition::parse(name.parse().unwrap(), Path::new("job.toml"), text, &["csv"]).unwrap()
    }

    fn said(jobs: &[Definition]) -> Vec<String> {
        let names: Vec<_> = jobs.iter().map(|job| job.source.to_string()).collect();
        let order = Order::of(jobs);
        let problems = jobs.iter().flat_map(|job| order.problems(job, &names));
        problems.map(|problem| format!("{}: {problem}", problem.line)).collect()
    }

    #[test]
    fn a_source_that_there_is_not_is_named_with_the_nearest_one() {
        assert_eq!(
            said(&[job("issues", "['issues_old', 'isues']"), job("issues_old", "['nothing']")]),
            [
                "3: after[1]: there is no source \"isues\"; did you mean `issues`?",
                "3: after[0]: there is no source \"nothing\"; known sources: issues, issues_old",
            ]
        );
    }

    #[test]
    fn each_source_of_a_circle_is_told_and_those_behind_it_are_not() {
        let jobs = [
            job("a", "['d', 'b']"),
            job("b", "['c']"),
            job("c", "['a']"),
            job("e", "['a']"),
            job("d", "['d']"),
        ];
        let never = "a circle, whose runs would never end:";
        assert_eq!(
            said(&jobs),
            [
                format!("3: after[1]: {never} a after b after c after a; take one out"),
                format!("3: after[0]: {never} b after c after a after b; take one out"),
                format!("3: after[0]: {never} c after a after b after c; take one out"),
                format!("3: after[0]: {never} d after d; take one out"),
            ]
        );
    }
}
