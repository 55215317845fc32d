//! Owns that each name in a query is a parameter of the operation, and occurs once: a
//! misspelled one would be skipped, and the answer be that to another question.
//!
//! Must not know any operation: the document says what they take.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use poem::http::Method;
use poem::{Endpoint, IntoResponse, Request, Response};

use super::problem::{Kind, Problem};
use super::required_scope;
use crate::api::openapi::paths::Queries;
use crate::domain::suggest;

/// Lets requests to `inner` whose parameters are known.
pub(crate) struct KnownQueries<E> {
    inner: E,
    operations: Vec<Queries>,
}

impl<E: Endpoint> KnownQueries<E> {
    /// Before `inner`, which answers these operations.
    pub(crate) fn new(inner: E, operations: Vec<Queries>) -> Self {
        Self { inner, operations }
    }

    fn check(&self, method: &Method, path: &str, query: &str) -> Result<(), Problem> {
        // Probes take anything: whoever adds the time to get past a cache is answered as before.
        if required_scope::is_probe(path) {
            return Ok(());
        }
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut operations = self.operations.iter();
        let Some(operation) = operations.find(|o| o.method == *method && o.is_at(path)) else {
            // Nothing is there, or a page to look at.
            return Ok(());
        };
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            let name = decoded(name);
            if !operation.names.iter().any(|known| *known == name) {
                return Err(refused(&name, &operation.names));
            }
            if seen.contains(&name) {
                return Err(problem(&name, "is given twice"));
            }
            seen.push(name);
        }
        Ok(())
    }
}

impl Queries {
    fn is_at(&self, path: &str) -> bool {
        let mut asked = path.split('/').skip(1);
        let all = self.segments.iter().all(|segment| {
            let asked = asked.next();
            asked.is_some_and(|asked| {
                segment.as_ref().is_none_or(|segment| *segment == decoded(asked))
            })
        });
        all && asked.next().is_none()
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => {
            let spaced = text.replace('+', " ");
            Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
        }
        false => percent_decode_str(text).decode_utf8_lossy(),
    }
}

fn refused(name: &str, known: &[String]) -> Problem {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = match known.is_empty() {
        true => "; this takes no parameters".to_owned(),
        false => suggest::hint(name, "parameters", &known),
    };
    problem(name, &format!("is not known here{hint}"))
}

fn problem(name: &str, what: &str) -> Problem {
    // It stands in the answer, so it has an end.
    let shown: String = name.chars().take(100).collect();
    Problem::new(Kind::InvalidParameter, format!("parameter `{shown}` {what}"))
}

impl<E: Endpoint> Endpoint for KnownQueries<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if let Some(query) = request.uri().query() {
            self.check(request.method(), request.uri().path(), query)?;
        }
        Ok(self.inner.call(request).await?.into_response())
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;

    use super::*;
    use crate::api::openapi::document;

    fn queries() -> KnownQueries<impl Endpoint> {
        KnownQueries::new(make_sync(|_| "answered"), document::queries())
    }

    fn refusal(method: Method, path: &str, query: &str) -> Option<String> {
        let refused = queries().check(&method, path, query).err()?;
        let problem: serde_json::Value =
            serde_json::from_str(&poem_openapi::types::ToJSON::to_json_string(&refused)).unwrap();
        assert_eq!(problem["status"], 400);
        Some(problem["detail"].as_str().unwrap().to_owned())
    }

    #[test]
    fn every_operation_takes_its_own_parameters_and_no_others() {
        let queries = queries();
        assert!(queries.operations.len() > 15, "{}", queries.operations.len());
        for operation in &queries.operations {
            let segments = operation.segments.iter().map(|s| s.as_deref().unwrap_or("7"));
            let path = format!("/{}", segments.collect::<Vec<_>>().join("/"));
            let check = |query: &str| queries.check(&operation.method, &path, query);
            for name in &operation.names {
                check(&format!("{name}=1")).unwrap();
                assert!(check(&format!("{name}=1&{name}=1")).is_err(), "{path} {name}");
            }
            let strange = check("strange=1");
            assert_eq!(
                strange.is_err(),
                !required_scope::is_probe(&path),
                "{} {path}",
                operation.method
            );
        }
    }

    #[test]
    fn the_parameter_is_named_with_the_nearest_there_is() {
        let refusal = |path: &str, query: &str| refusal(Method::GET, path, query);
        let expected = "parameter `limt` is not known here; did you mean `limit`?";
        for query in ["limt=7", "limt", "%6cimt=7", "limit=1&limt=7"] {
            assert_eq!(refusal("/runs", query).as_deref(), Some(expected), "{query}");
        }
        assert_eq!(
            refusal("/runs/7", "a+b=1").as_deref(),
            Some("parameter `a b` is not known here; this takes no parameters")
        );
        assert_eq!(
            refusal("/runs", "limit=1&limit=2").as_deref(),
            Some("parameter `limit` is given twice")
        );
        let known = refusal("/runs", "zzzz=1").unwrap();
        assert!(known.ends_with("known parameters: source, status, limit, cursor"), "{known}");
        assert_eq!(refusal("/runs", ""), None);
        assert_eq!(refusal("/docs", "x=1"), None);
    }

    #[test]
    fn the_spelling_of_a_path_hides_nothing() {
        assert!(refusal(Method::GET, "/%72uns", "limt=1").is_some());
        assert!(refusal(Method::HEAD, "/runs", "limt=1").is_some());
        assert!(refusal(Method::POST, "/runs", "limit=1").is_some());
    }
}
