//! Owns the files that pages load: each has its hash in its address, so a browser keeps it for ever and never has an
//! old one.

use std::sync::LazyLock;

use poem::http::StatusCode;
use poem::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use poem::web::Path;
use poem::{IntoResponse, Response, RouteMethod, get, handler};

/// A file that is part of the binary.
pub(crate) struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
    address: LazyLock<String>,
}

/// The style sheet.
pub(crate) static STYLE: Asset = Asset {
    name: "console.css",
    kind: "text/css; charset=utf-8",
    content: include_bytes!("assets/console.css"),
    address: LazyLock::new(|| STYLE.hashed()),
};
/// What pages can do more with script.
pub(crate) static SCRIPT: Asset = Asset {
    name: "console.js",
    kind: "text/javascript; charset=utf-8",
    content: include_bytes!("assets/console.js"),
    address: LazyLock::new(|| SCRIPT.hashed()),
};
/// idiomorph 0.8.0, as npm has it. Licence: BSD Zero Clause (`assets/idiomorph-LICENSE`).
pub(crate) static MORPH: Asset = Asset {
    name: "idiomorph.js",
    kind: "text/javascript; charset=utf-8",
    content: include_bytes!("assets/idiomorph-0.8.0.min.js"),
    address: LazyLock::new(|| MORPH.hashed()),
};

impl Asset {
    /// Where a page loads it from.
    pub(crate) fn address(&'static self) -> &'static str {
        &self.address
    }

    fn hashed(&self) -> String {
        let hash = blake3::hash(self.content).to_hex();
        format!("/ui/assets/{}/{}", &hash[..16], self.name)
    }
}

/// The files, to be nested at `/ui/assets`.
#[handler]
pub(crate) fn asset(Path((hash, name)): Path<(String, String)>) -> Response {
    let address = format!("/ui/assets/{hash}/{name}");
    match [&STYLE, &SCRIPT, &MORPH].into_iter().find(|asset| asset.address() == address) {
        Some(asset) => Response::builder()
            .header(CONTENT_TYPE, asset.kind)
            .header(CACHE_CONTROL, "public, max-age=31536000, immutable")
            .body(bytes::Bytes::from_static(asset.content)),
        // A page of another version is open: it loads anew.
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Where they are.
pub(crate) fn route() -> RouteMethod {
    get(asset)
}
