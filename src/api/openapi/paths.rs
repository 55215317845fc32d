//! Owns what the document says of paths, as whoever looks at a request before its operation needs it.

use poem::http::Method;

/// A path of the document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KnownPath {
    /// What it can be asked.
    pub(crate) methods: Vec<Method>,
    /// The names of its parameters, in order.
    pub(crate) parameters: Vec<String>,
}

/// What the query of an operation may hold.
pub(crate) struct Queries {
    pub(crate) method: Method,
    /// The path, cut at slashes; `None` is a parameter.
    pub(crate) segments: Vec<Option<String>>,
    /// The names of its parameters.
    pub(crate) names: Vec<String>,
}
