//! What every request goes through, whatever it asks for: connections, who asks, limits, time-outs,
//! bodies, pages of lists, streams of events, and how a request is refused.
//!
//! Must not know any resource.

pub(crate) mod auth;
pub(crate) mod concurrency_limit;
pub(crate) mod connection_limit;
pub(crate) mod credentials;
pub(crate) mod endpoint;
pub(crate) mod error_handler;
pub(crate) mod event_stream;
pub(crate) mod file_body;
pub(crate) mod json_body;
pub(crate) mod pagination;
pub(crate) mod peek;
pub(crate) mod problem;
pub(crate) mod query_parameters;
pub(crate) mod rate_limit;
pub(crate) mod required_scope;
pub(crate) mod security_headers;
pub(crate) mod server;
pub(crate) mod session_cookie;
pub(crate) mod token_cache;
pub(crate) mod write_timeout;
