//! Owns what each operation needs: the scope of a token, and which paths are pages for browsers.
//!
//! What is not named here needs most, so a new operation is never open by oversight.

use poem::http::Method;

use crate::domain::token::Scope;

/// The scope that a request needs; `None` when it needs no token.
pub(super) fn scope(method: &Method, path: &str) -> Option<Scope> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method, segments.as_slice()) {
        (&Method::GET | &Method::HEAD, _) if is_probe(path) => None,
        (&Method::GET | &Method::HEAD, _) => Some(Scope::Read),
        (&Method::POST, ["runs"] | ["runs", _, "cancel" | "retry"] | ["sources", _, "preview"]) => {
            Some(Scope::Run)
        }
        _ => Some(Scope::Admin),
    }
}

/// Whether it is asked there how the service is: that is answered however busy the others are.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/health" | "/health/ready")
}

/// Whether a browser shows what is at that path.
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/docs" | "/openapi.json") || path.starts_with("/docs/")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for path in ["/runs", "/runs/7/cancel", "/sources/a/preview"] {
            assert_eq!(needed(Method::POST, path), Some(Scope::Run), "{path}");
        }
        for path in ["/sources/a/pause", "/quarantine/redrive", "/new", "/runs/7/x", "/health"] {
            assert_eq!(needed(Method::POST, path), Some(Scope::Admin), "{path}");
        }
        assert_eq!(needed(Method::DELETE, "/runs"), Some(Scope::Admin));
    }
}
