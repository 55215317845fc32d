//! Owns the body of a request: its kinds, their bytes, and how a paginator changes them.

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};

use super::exact_path::ExactPath;
use crate::sources::{SourceError, SourceErrorKind};

/// What a request carries.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Body {
    /// Nothing.
    #[default]
    None,
    /// JSON.
    Json(Value),
    /// Names and values, as forms of web pages send them.
    Form(Vec<(String, String)>),
    /// A query in the language GraphQL.
    GraphQl {
        /// The query, of which nothing is ever replaced.
        query: String,
        /// Its variables.
        variables: Map<String, Value>,
    },
}

impl Body {
    /// The bytes to send, none for no body.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Json(value) => value.to_string().into_bytes(),
            Self::Form(pairs) => encoded(pairs).into_bytes(),
            Self::GraphQl { query, variables } => {
                serde_json::json!({ "query": query, "variables": variables })
                    .to_string()
                    .into_bytes()
            }
        }
    }

    /// The header `content-type` of such a body.
    pub fn content_type(&self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Json(_) | Self::GraphQl { .. } => {
                Some(HeaderValue::from_static("application/json"))
            }
            Self::Form(_) => Some(HeaderValue::from_static("application/x-www-form-urlencoded")),
        }
    }

    /// Sets the value at an exact JSONPath, such as `$.after`; objects on the way are made.
    pub fn set(&mut self, path: &str, value: Value) -> Result<(), SourceError> {
        let path = ExactPath::parse(path)?;
        let invalid = |message: &str| SourceError::new(SourceErrorKind::InvalidConfig, message);
        match self {
            Self::None => Err(invalid("the request has no body in which a value could be set")
                .advise(
                    "write `method = \"POST\"` and `json`, `form` or `graphql` under [rest_api]",
                )),
            Self::Json(Value::Object(fields)) => path.set(fields, value),
            Self::Json(_) => {
                Err(invalid("the body is no JSON object, so no value of it can be set"))
            }
            Self::Form(pairs) => match path.only_key() {
                Some(key) => {
                    set_pair(pairs, key, &value);
                    Ok(())
                }
                None => Err(invalid("a form has names and values only, and nothing below them")
                    .advise("name the field, such as `$.after`")),
            },
            Self::GraphQl { variables, .. } => match path.below("variables") {
                Some(path) => path.set(variables, value),
                None => Err(invalid("only the variables of a GraphQL query can be set")
                    .advise("such as `$.variables.after`")),
            },
        }
    }

    /// Sets a variable of a GraphQL query.
    pub fn set_variable(&mut self, name: &str, value: Value) -> Result<(), SourceError> {
        match self {
            Self::GraphQl { variables, .. } => {
                variables.insert(name.to_owned(), value);
                Ok(())
            }
            Self::None | Self::Json(_) | Self::Form(_) => {
                let message =
                    format!("`{name}` is to be a variable of a GraphQL query, and there is none");
                Err(SourceError::new(SourceErrorKind::InvalidConfig, message)
                    .advise("write the query under [rest_api.graphql]"))
            }
        }
    }
}

/// Sets the one field of that name, where it is or behind the others.
fn set_pair(pairs: &mut Vec<(String, String)>, key: &str, value: &Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let at = pairs.iter().position(|(name, _)| name == key).unwrap_or(pairs.len());
    pairs.retain(|(name, _)| name != key);
    pairs.insert(at.min(pairs.len()), (key.to_owned(), text));
}

/// Names and values in the form of a query.
#[expect(clippy::expect_used, reason = "the address is a constant")]
fn encoded(pairs: &[(String, String)]) -> String {
    let mut url = Url::parse("http://form.invalid/").expect("an address");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graphql() -> Body {
        let variables = json!({ "first": 2 }).as_object().unwrap().clone();
        Body::GraphQl { query: "{ a }".to_owned(), variables }
    }

    fn text(body: &Body) -> String {
        String::from_utf8(body.to_bytes()).unwrap()
    }

    #[test]
    fn each_kind_of_body_has_its_bytes_and_takes_a_cursor() {
        let mut json = Body::Json(json!({ "limit": 2 }));
        json.set("$.paging.after", json!("c")).unwrap();
        assert_eq!(text(&json), r#"{"limit":2,"paging":{"after":"c"}}"#);
        let mut form = Body::Form(vec![("q".into(), "a&b ü".into()), ("c".into(), "1".into())]);
        form.set("$.c", json!(7)).unwrap();
        form.set("$.d", json!("x")).unwrap();
        assert_eq!(text(&form), "q=a%26b+%C3%BC&c=7&d=x");
        let mut query = graphql();
        query.set_variable("after", json!("c")).unwrap();
        query.set("$.variables.page.n", json!(1)).unwrap();
        assert_eq!(
            text(&query),
            r#"{"query":"{ a }","variables":{"first":2,"after":"c","page":{"n":1}}}"#
        );
    }

    #[test]
    fn a_body_that_cannot_take_the_value_says_what_to_do() {
        for (mut body, path, says) in [
            (Body::None, "$.a", "`method = \"POST\"`"),
            (Body::Json(json!([1])), "$.a", "no JSON object"),
            (Body::Form(vec![]), "$.a.b", "nothing below them"),
            (graphql(), "$.query", "only the variables"),
        ] {
            let error = body.set(path, json!(1)).unwrap_err();
            assert!(format!("{error}").contains(says), "{error}");
        }
        assert_eq!(graphql(), {
            let mut body = graphql();
            body.set("$.query", json!(1)).unwrap_err();
            body
        });
        let error = Body::None.set_variable("after", json!(1)).unwrap_err();
        assert!(error.to_string().contains("[rest_api.graphql]"), "{error}");
    }
}
