//! Owns what `/` answers.

use poem_openapi::param::Header;
use poem_openapi::{ApiResponse, OpenApi};

/// It is an operation because poem's router prefers what is nested under `/`,
/// which is all of the API, to a route at `/`.
pub(crate) struct LandingApi;

#[derive(ApiResponse)]
enum Landing {
    /// The console, for browsers.
    #[oai(status = 303)]
    Console(#[oai(header = "Location")] String),
    #[oai(status = 307)]
    Docs(#[oai(header = "Location")] String),
}

#[OpenApi]
impl LandingApi {
    #[oai(path = "/", method = "get", hidden)]
    async fn landing(&self, #[oai(name = "Accept")] accept: Header<Option<String>>) -> Landing {
        match accept.0.is_some_and(|accept| accept.contains("text/html")) {
            true => Landing::Console("/ui/".to_owned()),
            false => Landing::Docs("/docs".to_owned()),
        }
    }
}
