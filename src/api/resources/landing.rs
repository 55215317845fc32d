//! Owns what `/` answers.

use poem_openapi::{ApiResponse, OpenApi};

/// It is an operation because poem's router prefers what is nested under `/`,
/// which is all of the API, to a route at `/`.
pub(crate) struct LandingApi;

#[derive(ApiResponse)]
enum Landing {
    #[oai(status = 307)]
    Docs(#[oai(header = "Location")] String),
}

#[OpenApi]
impl LandingApi {
    #[oai(path = "/", method = "get", hidden)]
    async fn landing(&self) -> Landing {
        Landing::Docs("/docs".to_owned())
    }
}
