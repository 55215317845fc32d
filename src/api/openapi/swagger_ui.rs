//! Owns the page at `/docs`: Swagger UI without a word of script in the page itself and without any
//! other host, so that the policy of the page can forbid both.

use poem::endpoint::make_sync;
use poem::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use poem::{Response, Route, get};
use poem_openapi::OpenApiService;

/// Swagger UI writes style attributes, so styles cannot be told from what was injected; scripts can.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>kasparro</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"#;

/// No validator: it is another host, which would be told of the document.
const START: &str = r##"SwaggerUIBundle({
  dom_id: "#ui",
  url: "/openapi.json",
  deepLinking: true,
  validatorUrl: null,
});
"##;

/// The page and its parts, to be nested at `/docs`.
pub(crate) fn routes() -> Route {
    // poem-openapi has Swagger UI within a page of its own only: its parts are cut out of that.
    let whole = OpenApiService::new((), "", "").swagger_ui_html();
    let style = between(&whole, "<style charset=\"UTF-8\">", "</style>");
    let script = between(&whole, "<script charset=\"UTF-8\">", "</script>");
    Route::new()
        .at("/", part("text/html; charset=utf-8", "no-store", PAGE.to_owned()))
        .at("/start.js", part("text/javascript; charset=utf-8", KEEP, START.to_owned()))
        .at("/swagger-ui.js", part("text/javascript; charset=utf-8", KEEP, script))
        .at("/swagger-ui.css", part("text/css; charset=utf-8", KEEP, style))
}

/// The parts are the same until kasparro is another version; no cache may keep them.
const KEEP: &str = "private, max-age=3600";

fn part(kind: &'static str, cache: &'static str, text: String) -> poem::RouteMethod {
    let text = bytes::Bytes::from(text);
    get(make_sync(move |_| {
        Response::builder()
            .header(CONTENT_TYPE, kind)
            .header(CACHE_CONTROL, cache)
            .header(CONTENT_SECURITY_POLICY, POLICY)
            .body(text.clone())
    }))
}

fn between(text: &str, start: &str, end: &str) -> String {
    let rest = text.split_once(start).map(|(_, rest)| rest).unwrap_or_default();
    rest.split_once(end).map(|(inner, _)| inner).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use poem::{Endpoint, Request};

    use super::*;

    async fn read(path: &str) -> String {
        let request = Request::builder().uri(path.parse().unwrap()).finish();
        let response = routes().call(request).await.unwrap();
        response.into_body().into_string().await.unwrap()
    }

    #[tokio::test]
    async fn swagger_ui_is_found_in_the_page_of_the_library() {
        assert!(read("/swagger-ui.js").await.contains("SwaggerUIBundle"));
        assert!(read("/swagger-ui.css").await.contains(".swagger-ui"));
    }

    #[tokio::test]
    async fn the_page_has_no_script_of_its_own_and_names_no_other_host() {
        let page = read("/").await;
        assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/docs/").count());
        for text in [page, read("/start.js").await] {
            assert!(!text.contains("//"), "{text}");
        }
    }
}
