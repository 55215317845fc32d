//! Owns what each operation needs: the scope of a token, and which paths are pages for browsers.
//!
//! What is not named here needs most, so a new operation is never open by oversight.

use poem::http::Method;

use crate::domain::token::Scope;

/// What needs `run`: starting runs, what can be done to one that was started, asking a source as a run does, and saying that
/// a change of a schema is known.
const RUN: [(Method, &str); 6] = [
    (Method::POST, "/drift/{id}/acknowledge"),
    (Method::POST, "/runs"),
    (Method::POST, "/runs/{id}/cancel"),
    (Method::POST, "/runs/{id}/retry"),
    (Method::POST, "/sources/{name}/files"),
    (Method::POST, "/sources/{name}/preview"),
];

/// The scope that a request needs; `None` when it needs no token.
pub(crate) fn scope(method: &Method, path: &str) -> Option<Scope> {
    match *method {
        Method::GET | Method::HEAD if is_probe(path) => None,
        Method::GET | Method::HEAD => Some(Scope::Read),
        _ if RUN.iter().any(|(of, at)| of == method && is_at(at, path)) => Some(Scope::Run),
        _ => Some(Scope::Admin),
    }
}

/// What of the console needs more than `read`.
const CONSOLE: [(&str, Scope); 8] = [
    ("/ui/drift/{id}/acknowledge", Scope::Run),
    ("/ui/drift/{id}/replay", Scope::Run),
    ("/ui/runs/{id}/cancel", Scope::Run),
    ("/ui/runs/{id}/retry", Scope::Run),
    ("/ui/sources/{name}/run", Scope::Run),
    ("/ui/sources/run", Scope::Run),
    ("/ui/session/end", Scope::Read),
    ("/ui/quarantine/{fingerprint}/dry-run", Scope::Run),
];

/// Whether the path is one of the console's.
pub(crate) fn is_console(path: &str) -> bool {
    path == "/ui" || path.starts_with("/ui/")
}

/// The scope that a request to the console needs; `None` for what is there before somebody has signed in.
pub(crate) fn console_scope(method: &Method, path: &str) -> Option<Scope> {
    match *method {
        Method::GET | Method::HEAD if path == "/ui/login" || path.starts_with("/ui/assets/") => {
            None
        }
        Method::POST if path == "/ui/session" => None,
        Method::GET | Method::HEAD => Some(Scope::Read),
        Method::POST => {
            let named = CONSOLE.iter().find(|(at, _)| is_at(at, path));
            Some(named.map_or(Scope::Admin, |(_, scope)| *scope))
        }
        _ => Some(Scope::Admin),
    }
}

/// Whether the path is one of those: `{…}` stands for any segment.
fn is_at(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let fits = pattern.split('/').all(|wanted| {
        segments.next().is_some_and(|segment| wanted.starts_with('{') || wanted == segment)
    });
    fits && segments.next().is_none()
}

/// Whether it is asked there how the service is: that is answered however busy the others are.
pub(crate) fn is_probe(path: &str) -> bool {
    matches!(path, "/health" | "/health/ready")
}

/// Whether a file is uploaded there: its body may be large, and takes its time.
pub(crate) fn is_upload(method: &Method, path: &str) -> bool {
    *method == Method::POST && is_at("/sources/{name}/files", path)
}

/// Whether a browser shows what is at that path.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/docs" | "/openapi.json") || path.starts_with("/docs/")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::openapi::document;

    #[test]
    fn looking_needs_read_starting_needs_run_and_everything_else_admin() {
        let needed = |method, path| scope(&method, path);
        assert_eq!(needed(Method::GET, "/health"), None);
        assert_eq!(needed(Method::HEAD, "/health/ready"), None);
        for path in [
            "/",
            "/runs",
            "/runs/7/events",
            "/stats",
            "/docs",
            "/openapi.json",
            "/health/x",
            "/%68ealth",
        ] {
            assert_eq!(needed(Method::GET, path), Some(Scope::Read), "{path}");
        }
        for path in
            ["/runs", "/runs/7/cancel", "/runs/7/retry", "/sources/a/preview", "/sources/a/files"]
        {
            assert_eq!(needed(Method::POST, path), Some(Scope::Run), "{path}");
        }
        for path in [
            "/sources/a/pause",
            "/sources/a/previews",
            "/quarantine/redrive",
            "/new",
            "/runs/7",
            "/runs/7/x",
            "/runs/7/cancel/x",
            "/health",
            "",
        ] {
            assert_eq!(needed(Method::POST, path), Some(Scope::Admin), "{path}");
        }
        assert_eq!(needed(Method::DELETE, "/runs"), Some(Scope::Admin));
    }

    /// What the document has, with what each needs. A new operation that changes something is decided
    /// here before it is anybody's.
    #[test]
    fn every_operation_of_the_document_is_decided_and_nothing_else_is() {
        const ADMIN: [&str; 5] = [
            "/quarantine/redrive",
            "/rate-limits/{key}",
            "/runs/{id}/accept-deletions",
            "/sources/{name}/pause",
            "/sources/{name}/resume",
        ];
        const PROBES: [&str; 2] = ["/health", "/health/ready"];
        let document: Value = serde_json::from_str(&document::openapi_json()).unwrap();
        let (mut run, mut admin, mut probes, mut read) = (vec![], vec![], vec![], 0);
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                let method: Method = method.to_uppercase().parse().unwrap();
                match scope(&method, path) {
                    None => probes.push(path.as_str()),
                    Some(Scope::Read) => read += 1,
                    Some(Scope::Run) => run.push((method, path.as_str())),
                    Some(Scope::Admin) => admin.push(path.as_str()),
                }
            }
        }
        for named in [&mut admin, &mut probes] {
            named.sort_unstable();
        }
        run.sort_unstable_by_key(|(_, path)| *path);
        assert_eq!((run.as_slice(), read > 10), (RUN.as_slice(), true));
        assert_eq!((admin.as_slice(), probes.as_slice()), (ADMIN.as_slice(), PROBES.as_slice()));
        for page in ["/", "/docs", "/openapi.json"] {
            assert!(is_page(page) && !document["paths"].as_object().unwrap().contains_key(page));
        }
    }
}
