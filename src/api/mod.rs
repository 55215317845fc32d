//! Floor 5: the HTTP API. `resources/` answers, `openapi/` describes, `http/` is what every request
//! goes through.
//!
//! Must not know: how sources are read, the queue's tables, the command line.

mod console;
pub(crate) mod http;
mod openapi;
pub(crate) mod resources;
mod state;
mod uploads;

pub use http::auth::{AuthConfig, WithoutToken};
pub use http::server::{listen, serve};
pub use openapi::document::openapi_json;
pub use state::ApiState;
pub use uploads::{UploadBucket, UploadFolder, Uploads};
