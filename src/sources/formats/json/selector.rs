//! Owns `json.data_selector`: which values of a document are rows.

use crate::sources::files::location::ParamProblem;
use crate::sources::rows::path::Path;
use crate::sources::rows::segments::segments;

/// The key of the job file.
pub(super) const KEY: &str = "data_selector";

/// A step on the way to the rows, which can be taken while a document is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The value under a key.
    Key(String),
    /// The element of this number.
    Element(u64),
    /// All values.
    All,
}

/// `json.data_selector`, compiled.
#[derive(Debug, Clone)]
pub(super) struct Selector {
    /// As the job file says it.
    pub text: String,
    /// Whether it ends in `[*]`: an object in place of the list is no row.
    pub wants_list: bool,
    /// How the rows are found.
    pub way: Way,
}

/// How rows are found.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Step by step, while the document is read; without the `[*]` at the end.
    Steps(Vec<Step>),
    /// By a query of the whole document.
    Query(Path),
}

impl Selector {
    /// Compiles it.
    ///
    /// # Errors
    /// When it is no JSONPath.
    pub fn new(text: &str) -> Result<Self, ParamProblem> {
        let (list, wants_list) = match text.strip_suffix("[*]") {
            Some(list) if !list.ends_with("..") => (list, true),
            _ => (text, false),
        };
        let path = Path::parse(list).map_err(|error| {
            let meant = match text.starts_with('$') {
                true => String::new(),
                false => format!("; write `$.{text}[*]` for the list under that key"),
            };
            ParamProblem::of(KEY, format!("`{text}` is no JSONPath: {error}{meant}"))
        })?;
        let steps: Option<Vec<Step>> = segments(list).into_iter().map(step).collect();
        let way = steps.map_or(Way::Query(path), Way::Steps);
        Ok(Self { text: text.to_owned(), wants_list, way })
    }
}

/// The step of a segment of a path, if it can be taken while a document is read.
fn step(segment: &str) -> Option<Step> {
    if let Some(name) = segment.strip_prefix('.') {
        return match name {
            "*" => Some(Step::All),
            name if name.is_empty() || name.starts_with(['.', '[']) => None,
            name => Some(Step::Key(name.to_owned())),
        };
    }
    let inner = segment.strip_prefix('[')?.strip_suffix(']')?.trim();
    if inner == "*" {
        return Some(Step::All);
    }
    let quoted = ['\'', '"'].into_iter().find_map(|quote| {
        let name = inner.strip_prefix(quote)?.strip_suffix(quote)?;
        (!name.contains([quote, '\\'])).then(|| Step::Key(name.to_owned()))
    });
    quoted.or_else(|| inner.parse().ok().map(Step::Element))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_keys_and_numbers_are_taken_step_by_step_and_others_asked_of_the_whole() {
        let key = |name: &str| Step::Key(name.to_owned());
        for (text, expected) in [
            ("$", Some((vec![], false))),
            ("$[*]", Some((vec![], true))),
            ("$.data.items[*]", Some((vec![key("data"), key("items")], true))),
            ("$['a b'][0].x", Some((vec![key("a b"), Step::Element(0), key("x")], false))),
            ("$.pages[*].rows[*]", Some((vec![key("pages"), Step::All, key("rows")], true))),
            ("$.byid.*", Some((vec![key("byid"), Step::All], false))),
            ("$..rows[*]", None),
            ("$.rows[?@.a]", None),
            ("$.rows[1:]", None),
            ("$['a','b']", None),
        ] {
            let selector = Selector::new(text).unwrap();
            let found = match selector.way {
                Way::Steps(steps) => Some((steps, selector.wants_list)),
                Way::Query(_) => None,
            };
            assert_eq!(found, expected, "{text}");
        }
        let problem = Selector::new("items").unwrap_err().message;
        assert!(problem.contains("write `$.items[*]`"), "{problem}");
    }
}
