//! HTTP: one request, and the response at the end of its redirects.
//!
//! `client` sends, `response` is what came, `redirects` where a response may lead, `public_address`
//! what is not internal, `decompress` how large a body may be, `body_text` how its bytes become text, `error_response` what a refusal means,
//! `said` whether a response is a page, `rates` what headers say of rates, `redact` what is shown of secrets,
//! `redact_json` how a JSON text stays one without them, `tls` which certificates count.
//!
//! Must not know: pages, records, and how the next request follows from a response.

pub(super) mod body_text;
pub(super) mod client;
pub(super) mod decompress;
pub(super) mod error_response;
pub(super) mod public_address;
pub(in crate::sources::rest_api) mod put;
pub(super) mod rates;
pub(super) mod redact;
pub(super) mod redact_json;
pub(super) mod redirects;
pub(super) mod response;
pub(super) mod said;
pub(super) mod tls;
