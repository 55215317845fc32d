//! Owns the keys of a job file that say which method a request has and what it carries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body::Body;
use super::graphql_query::{self, Variable};
use super::param_value::ParamValue;
use super::template::{Names, Template, filled};
use crate::files;
use crate::sources::{SourceError, SourceErrorKind};

/// The key under which toml hands on a date or a time.
const TOML_TIME: &str = "$__toml_private_datetime";
/// The longest file with a query that is read.
const MAX_QUERY: u64 = 1 << 20;

/// The method of a request. kasparro only reads: there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Method {
    /// Asks for an address.
    #[serde(rename = "GET")]
    Get,
    /// Asks by a body, as searches and GraphQL do.
    #[serde(rename = "POST")]
    Post,
}

/// A query in the language GraphQL, sent by POST.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphQlParams {
    /// The query. Its braces are its own: no template is replaced in it, values go into `variables`.
    pub query: Option<String>,
    /// Instead of `query`: a file with it, relative to the job file.
    pub query_file: Option<PathBuf>,
    /// The variables of the query. Texts may have templates.
    #[serde(default)]
    pub variables: Map<String, Value>,
}

/// The variable of a GraphQL query that takes the number or cursor of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageVariable<'a> {
    pub name: &'a str,
    /// Whether the first page has one.
    pub is_of_first: bool,
}

/// What is wrong with a variable of a GraphQL query.
#[derive(Debug)]
pub(super) struct UnfitVariable {
    /// The keys of the job file below `rest_api`.
    pub keys: Vec<String>,
    /// What is wrong there.
    pub problem: String,
    /// Whether no server would answer; an unused variable many ignore.
    pub is_fatal: bool,
}

/// The keys of a body, of which there is one at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyParams<'a> {
    pub method: Option<Method>,
    pub json: Option<&'a Value>,
    pub form: Option<&'a BTreeMap<String, ParamValue>>,
    pub graphql: Option<&'a GraphQlParams>,
}

impl<'a> BodyParams<'a> {
    /// POST where there is a body and no method is named.
    pub fn method(&self) -> reqwest::Method {
        match self.method {
            Some(Method::Post) => reqwest::Method::POST,
            None if !self.keys().is_empty() => reqwest::Method::POST,
            Some(Method::Get) | None => reqwest::Method::GET,
        }
    }

    /// Whether a value can be set at an exact JSONPath of the body.
    ///
    /// # Errors
    /// Why not.
    pub fn take_value_at(&self, path: &str) -> Result<(), SourceError> {
        let mut body = match (self.json, self.form, self.graphql) {
            (Some(json), ..) => Body::Json(json.clone()),
            (_, Some(_), _) => Body::Form(Vec::new()),
            (.., Some(graphql)) => {
                Body::GraphQl { query: String::new(), variables: graphql.variables.clone() }
            }
            (None, None, None) if self.method == Some(Method::Post) => {
                Body::Json(Map::new().into())
            }
            (None, None, None) => Body::None,
        };
        body.set(path, Value::Null)
    }

    fn keys(&self) -> Vec<&'static str> {
        let keys =
            [self.json.map(|_| "json"), self.form.map(|_| "form"), self.graphql.map(|_| "graphql")];
        keys.into_iter().flatten().collect()
    }

    /// What serde cannot check: the keys, and what is wrong there.
    /// `page` is the variable of a GraphQL query that takes the number or cursor of a page.
    pub fn problems(&self, page: Option<PageVariable<'_>>) -> Vec<(Vec<String>, String)> {
        let mut problems = Vec::new();
        match self.keys().as_slice() {
            [one, other, ..] => {
                let message = format!(
                    "stands beside `{one}`, and a request has one body: remove one of them"
                );
                problems.push((vec![(*other).to_owned()], message));
            }
            [key] if self.method == Some(Method::Get) => {
                let message = format!(
                    "is GET, and a request with `{key}` is sent by POST: write method = \"POST\""
                );
                problems.push((vec!["method".to_owned()], message));
            }
            _ => {}
        }
        if let Some(json) = self.json {
            if !json.is_object() && !json.is_array() {
                problems.push((vec!["json".to_owned()], "expected a table or a list".to_owned()));
            }
            find_times(json, &mut vec!["json".to_owned()], &mut problems);
        }
        if let Some(graphql) = self.graphql {
            problems.extend(graphql.problems(page));
        }
        problems
    }

    /// The texts that may have templates, by their keys.
    pub fn texts(self) -> Vec<(Vec<String>, &'a str)> {
        let mut texts = Vec::new();
        if let Some(json) = self.json {
            collect(json, &mut vec!["json".to_owned()], &mut texts);
        }
        for (name, value) in self.form.into_iter().flatten() {
            let keys = vec!["form".to_owned(), name.clone()];
            texts.extend(value.texts().into_iter().map(|text| (keys.clone(), text)));
        }
        for (name, value) in self.graphql.iter().flat_map(|graphql| &graphql.variables) {
            let mut keys = vec!["graphql".to_owned(), "variables".to_owned(), name.clone()];
            collect(value, &mut keys, &mut texts);
        }
        texts
    }

    /// The body, with the values of its templates.
    ///
    /// # Errors
    /// When a name has no value, or the file of the query cannot be read.
    pub fn body(&self, names: &dyn Names, base_dir: &Path) -> Result<Body, SourceError> {
        if let Some(json) = self.json {
            return filled(json, names).map(Body::Json);
        }
        if let Some(form) = self.form {
            let mut pairs = Vec::new();
            for (name, value) in form {
                let texts = value.filled(names)?;
                pairs.extend(texts.into_iter().map(|text| (name.clone(), text)));
            }
            return Ok(Body::Form(pairs));
        }
        let Some(graphql) = self.graphql else { return Ok(Body::None) };
        let variables = graphql.variables.iter();
        let variables = variables.map(|(name, value)| Ok((name.clone(), filled(value, names)?)));
        let variables = variables.collect::<Result<_, SourceError>>()?;
        Ok(Body::GraphQl { query: graphql.query(base_dir)?, variables })
    }
}

impl GraphQlParams {
    fn problems(&self, page: Option<PageVariable<'_>>) -> Vec<(Vec<String>, String)> {
        let mut problems = Vec::new();
        let key = |name: &str| vec!["graphql".to_owned(), name.to_owned()];
        match (&self.query, &self.query_file) {
            (Some(_), Some(_)) => {
                let message = "stands beside `query`: remove one of them".to_owned();
                problems.push((key("query_file"), message));
            }
            (None, None) => {
                let message = "needs `query`, or `query_file` with the name of a file with it";
                problems.push((vec!["graphql".to_owned()], message.to_owned()));
            }
            (Some(query), None) => match wrong(query) {
                Some(why) => problems.push((key("query"), why)),
                None => {
                    let unfit = self.unfit_variables(query, page).into_iter();
                    let unfit = unfit.filter(|unfit| unfit.is_fatal);
                    problems.extend(unfit.map(|unfit| (unfit.keys, unfit.problem)));
                }
            },
            (None, Some(_)) => {}
        }
        for (name, value) in &self.variables {
            let mut keys = vec!["graphql".to_owned(), "variables".to_owned(), name.clone()];
            find_times(value, &mut keys, &mut problems);
        }
        problems
    }

    /// What is wrong with the variables in `variables` that a query does not declare, and so does not use.
    pub fn unused(&self, base_dir: &Path) -> Vec<(Vec<String>, String)> {
        let Ok(query) = self.query(base_dir) else { return Vec::new() };
        let unfit = self.unfit_variables(&query, None).into_iter();
        unfit.filter(|unfit| !unfit.is_fatal).map(|unfit| (unfit.keys, unfit.problem)).collect()
    }

    /// The variables that the query declares, where it stands in the job file.
    pub(super) fn declared(&self) -> Vec<String> {
        let declared = self.query.as_deref().and_then(graphql_query::variables);
        declared.into_iter().flatten().map(|variable| variable.name).collect()
    }

    /// The variables that the query does not declare, and those that it needs and nobody gives; `page` is the one
    /// that takes the number or cursor of a page.
    pub(super) fn unfit_variables(
        &self,
        query: &str,
        page: Option<PageVariable<'_>>,
    ) -> Vec<UnfitVariable> {
        // What cannot be read says nothing.
        let Some(declared) = graphql_query::variables(query) else { return Vec::new() };
        let is_declared = |name: &str| declared.iter().any(|variable| variable.name == name);
        let names: Vec<_> =
            declared.iter().map(|variable| format!("`${}`", variable.name)).collect();
        let those = match names.is_empty() {
            true => "it declares none".to_owned(),
            false => format!("it declares {}", names.join(", ")),
        };
        let mut unfit = Vec::new();
        let mut say = |keys: &[&str], is_fatal, problem| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            unfit.push(UnfitVariable { keys, problem, is_fatal });
        };
        for name in self.variables.keys().filter(|name| !is_declared(name)) {
            let problem = format!("is no variable of the query, which does not use it: {those}");
            say(&["graphql", "variables", name], false, problem);
        }
        if let Some(name) = page.map(|page| page.name).filter(|name| !is_declared(name)) {
            let problem = format!("is `{name}`, no variable of the query: {those}");
            say(&["paginator", "variable"], true, problem);
        }
        let is_page = |name: &str| page.is_some_and(|page| page.name == name);
        let missing = declared.iter().filter(|Variable { name, is_required }| {
            let is_given = page.is_some_and(|page| page.is_of_first && page.name == *name);
            *is_required && !is_given && !self.variables.contains_key(name)
        });
        for Variable { name, .. } in missing {
            let problem = match is_page(name) {
                true => format!(
                    "needs `{name}` for the first page already, which has no cursor: write its type without the `!`"
                ),
                false => format!("needs the variable `{name}`: give it a value in `variables`"),
            };
            say(&["graphql"], true, problem);
        }
        unfit
    }

    /// The query.
    ///
    /// # Errors
    /// When its file cannot be read, or it is none.
    pub fn query(&self, base_dir: &Path) -> Result<String, SourceError> {
        const KEY: &str = "rest_api.graphql.query_file";
        let invalid = |message: String| SourceError::new(SourceErrorKind::InvalidConfig, message);
        let query = match (&self.query, &self.query_file) {
            (Some(query), _) => return Ok(query.clone()),
            (None, Some(file)) => {
                files::read_text(&base_dir.join(file), MAX_QUERY).map_err(|error| {
                    invalid(format!("`{KEY}` = {} cannot be read", file.display())).caused_by(error)
                })?
            }
            (None, None) => String::new(),
        };
        match wrong(&query) {
            Some(why) => Err(invalid(format!("`{KEY}` {why}"))),
            None => Ok(query),
        }
    }
}

/// What is wrong with a query: kasparro only reads.
fn wrong(query: &str) -> Option<String> {
    let code = query.lines().map(|line| line.split('#').next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    match code.split_whitespace().next() {
        None => Some("is empty".to_owned()),
        Some(word) if word.starts_with("mutation") || word.starts_with("subscription") => {
            Some(format!(
                "begins with `{word}`: only queries are sent, since they are repeated when they fail"
            ))
        }
        Some(_) => None,
    }
}

/// The texts in a value, by the keys that lead to them.
fn collect<'v>(value: &'v Value, keys: &mut Vec<String>, texts: &mut Vec<(Vec<String>, &'v str)>) {
    match value {
        Value::String(text) => texts.push((keys.clone(), text)),
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                keys.push(at.to_string());
                collect(element, keys, texts);
                keys.pop();
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                keys.push(key.clone());
                collect(field, keys, texts);
                keys.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The dates and times in a value: TOML has them, and JSON has not.
fn find_times(value: &Value, keys: &mut Vec<String>, problems: &mut Vec<(Vec<String>, String)>) {
    match value {
        Value::Object(fields) if fields.contains_key(TOML_TIME) => {
            let message = "is a date of TOML, and JSON has none: write it in quotes";
            problems.push((keys.clone(), message.to_owned()));
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                keys.push(key.clone());
                find_times(field, keys, problems);
                keys.pop();
            }
        }
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                keys.push(at.to_string());
                find_times(element, keys, problems);
                keys.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with the templates of these texts, if only these names are known.
pub(super) fn template_problems<'t>(
    texts: impl IntoIterator<Item = (Vec<String>, &'t str)>,
    known: &[String],
) -> Vec<(Vec<String>, String)> {
    let wrong = |(keys, text): (Vec<String>, &str)| {
        let problem = match Template::parse(text) {
            Ok(template) => template.unknown(known),
            Err(problem) => Some(problem),
        };
        Some((keys, problem?))
    };
    texts.into_iter().filter_map(wrong).collect()
}
