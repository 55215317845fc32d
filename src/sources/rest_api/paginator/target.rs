//! Owns where a request takes the number or the cursor of its page: a query parameter, a value of the body, a variable
//! of a GraphQL query, or the path. What is wrong with the keys that say so, and how it is set there.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sources::SourceError;
use crate::sources::rest_api::body_params::{BodyParams, PageVariable};
use crate::sources::rest_api::request::RequestParts;
use crate::sources::rest_api::template::{Template, text_of};

/// What asks for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::rest_api) enum Asks {
    /// Its number.
    Number,
    /// How many records come before it.
    Offset,
    /// What the page before gave.
    Cursor,
}

impl Asks {
    /// The name of it in the template of a path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "page.number",
            Self::Offset => "page.offset",
            Self::Cursor => "page.cursor",
        }
    }

    /// Whether the first page is asked for by it.
    fn is_of_first(self) -> bool {
        self != Self::Cursor
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Number => "the number of the page",
            Self::Offset => "the number of records before the page",
            Self::Cursor => "the cursor",
        }
    }
}

/// Where a request takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::rest_api) enum Target<'a> {
    /// A query parameter.
    Param(&'a str),
    /// An exact JSONPath of the body.
    Body(&'a str),
    /// A variable of a GraphQL query.
    Variable(&'a str),
    /// The path below `base_url`, a template.
    Path(&'a str),
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(name) => write!(f, "`{name}`"),
            Self::Body(path) => write!(f, "`{path}` of the body"),
            Self::Variable(name) => write!(f, "the variable `{name}`"),
            Self::Path(path) => write!(f, "the path `{path}`"),
        }
    }
}

impl Target<'_> {
    /// Puts it there. The path is a part of the address, which was made with it.
    ///
    /// # Errors
    /// When the body has no such place.
    pub fn set(self, request: &mut RequestParts, value: Value) -> Result<(), SourceError> {
        match self {
            Self::Param(name) => request.set_query(name, &text_of(&value)),
            Self::Body(path) => request.set_body_value(path, value)?,
            Self::Variable(name) => request.set_variable(name, value)?,
            Self::Path(_) => {}
        }
        Ok(())
    }
}

/// The path of a page, a template of the job file with a name that is this page's own.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::sources::rest_api) struct PagePath<'a> {
    pub template: &'a str,
    pub name: &'static str,
    pub value: Value,
}

/// The name of a query parameter, which is known without the job file.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Param {
    name: Cow<'static, str>,
    /// Whether the job file has it.
    is_set: bool,
}

impl Param {
    /// The name of one that the job file does not have.
    pub(super) const fn unless_set(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), is_set: false }
    }
}

impl From<String> for Param {
    fn from(name: String) -> Self {
        Self { name: name.into(), is_set: true }
    }
}

impl Serialize for Param {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// As the text that it is: what is stored of a job file is compared by it.
impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// The keys of the job file that say where it goes.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources::rest_api) struct Targets<'a> {
    pub asks: Asks,
    pub param: Option<&'a str>,
    pub body_path: Option<&'a str>,
    pub variable: Option<&'a str>,
    pub path: Option<&'a str>,
    /// The query parameter that takes it where the job file names no place.
    pub otherwise: Option<&'a str>,
}

impl<'a> Targets<'a> {
    /// Those of numbered pages.
    pub fn numbered(asks: Asks, param: &'a Param, others: [&'a Option<String>; 3]) -> Self {
        let [body_path, variable, path] = others.map(Option::as_deref);
        let name = &*param.name;
        let (param, otherwise) = (param.is_set.then_some(name), Some(name));
        Self { asks, param, body_path, variable, path, otherwise }
    }

    /// The place; of several the first.
    pub fn target(&self) -> Option<Target<'a>> {
        let named = self.named().into_iter().next().map(|(_, target)| target);
        named.or(self.otherwise.map(Target::Param))
    }

    fn named(&self) -> Vec<(&'static str, Target<'a>)> {
        let all = [
            ("param", self.param.map(Target::Param)),
            ("body_path", self.body_path.map(Target::Body)),
            ("variable", self.variable.map(Target::Variable)),
            ("path", self.path.map(Target::Path)),
        ];
        all.into_iter().filter_map(|(key, target)| Some((key, target?))).collect()
    }

    /// The variable of a GraphQL query that takes it.
    pub fn page_variable(&self) -> Option<PageVariable<'a>> {
        let name = self.variable?;
        Some(PageVariable { name, is_of_first: self.asks.is_of_first() })
    }

    /// What is wrong with the keys by themselves: the key, or `None` for the table, and what is wrong there.
    pub fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let mut problems = Vec::new();
        match self.named().as_slice() {
            [] if self.otherwise.is_none() => {
                let problem = format!(
                    "needs one of `param`, `body_path`, `variable` and `path`, which takes {}",
                    self.asks.shown()
                );
                problems.push((None, problem));
            }
            [] | [_] => {}
            [(one, _), (other, _), ..] => {
                let problem = format!(
                    "stands beside `{one}`, and {} goes to one place: remove one of them",
                    self.asks.shown()
                );
                problems.push((Some(*other), problem));
            }
        }
        let Some(Ok(template)) = self.path.map(Template::parse) else { return problems };
        let name = self.asks.name();
        if self.path.is_some_and(|path| path.contains("://")) {
            let problem = "the address belongs into `rest_api.base_url`; this is what follows it";
            problems.push((Some("path"), problem.to_owned()));
        }
        if !template.names().any(|other| other == name) {
            let problem = format!(
                "asks for the same page each time: write `${{{name}}}` for {}",
                self.asks.shown()
            );
            problems.push((Some("path"), problem));
        }
        if template.has_format(name) {
            let problem = format!(
                "has `${{{name}}}` with a format, and the value is no time: write `${{{name}}}`"
            );
            problems.push((Some("path"), problem));
        }
        problems
    }

    /// What is wrong with them for a request with this body.
    pub fn request_problems(&self, body: &BodyParams<'_>) -> Vec<(Option<&'static str>, String)> {
        match self.target() {
            // The cursor of a query goes wherever the API takes it.
            Some(Target::Param(_)) if body.graphql.is_some() && self.asks.is_of_first() => {
                let problem = "is for numbers in the address, and a GraphQL query takes its page in a variable: name \
                               it with `variable`, or use `cursor` if the answer gives one";
                vec![(Some("type"), problem.to_owned())]
            }
            Some(Target::Variable(_)) if body.graphql.is_none() => {
                let problem =
                    "is a variable of a GraphQL query, and there is none: see [rest_api.graphql]";
                vec![(Some("variable"), problem.to_owned())]
            }
            Some(Target::Body(path)) => {
                let problem = body.take_value_at(path).err();
                problem.map(|error| (Some("body_path"), error.text())).into_iter().collect()
            }
            Some(Target::Param(_) | Target::Variable(_) | Target::Path(_)) | None => Vec::new(),
        }
    }
}
