//! An API that repeats whatever it is sent, and the job files that lead to it.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::TestApp;

/// The variable with the key that is sent in a header.
pub const KEY_VARIABLE: &str = "KASPARRO_CANARY_KEY";

/// Everything that came with a request, as servers spell it: with fewer and more escapes.
fn echo(request: &Request) -> String {
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    // The secret ones first: errors quote no more than the beginning.
    headers.sort();
    headers.reverse();
    let query: Vec<_> = request.url.query_pairs().map(|(_, value)| value.into_owned()).collect();
    format!("{} {} {}", headers.join(" "), request.url, query.join(" "))
}

fn escaped(body: &Value) -> String {
    let escape = |c: char| format!("\\u{:04X}", u32::from(c));
    let mut text = body.to_string();
    for c in ['+', '&', '<', '>'] {
        text = text.replace(c, &escape(c));
    }
    text
}

/// An API that repeats what it is sent in answers of every kind, each at a path of its own.
pub async fn parrot(access_token: &str) -> MockServer {
    let server = MockServer::start().await;
    // What a login server is sent, it repeats as well.
    let access_token = access_token.to_owned();
    let give = move |request: &Request| {
        let sent = String::from_utf8_lossy(&request.body).into_owned();
        let body = json!({ "access_token": access_token, "expires_in": 3600, "sent": sent });
        ResponseTemplate::new(200).set_body_json(body)
    };
    Mock::given(method("POST")).and(path("/login")).respond_with(give).mount(&server).await;
    let refuse = |request: &Request| {
        let sent = String::from_utf8_lossy(&request.body).into_owned();
        let body = json!({ "error": format!("{sent} {}", echo(request)) });
        ResponseTemplate::new(401).set_body_json(body)
    };
    Mock::given(method("POST")).and(path("/no_login")).respond_with(refuse).mount(&server).await;
    let at = |place: &str| Mock::given(method("GET")).and(path(format!("/{place}")));
    let good = |request: &Request| {
        let echo = echo(request);
        json!([
            { "id": 1, "name": echo, "price": 1, "next": { "url": echo } },
            { "id": 2, "name": "set aside", "price": echo },
            { "id": format!("3 {echo}"), "name": "set aside", "price": 1 },
            echo,
        ])
    };
    at("good")
        .respond_with(move |request: &Request| {
            ResponseTemplate::new(200).set_body_string(good(request).to_string())
        })
        .mount(&server)
        .await;
    at("escaped")
        .respond_with(move |request: &Request| {
            ResponseTemplate::new(200).set_body_string(escaped(&good(request)))
        })
        .mount(&server)
        .await;
    for (place, status) in [("unauthorized", 401), ("broken", 500), ("limited", 404)] {
        at(place)
            .respond_with(move |request: &Request| {
                let body = json!({ "error": echo(request) });
                ResponseTemplate::new(status).set_body_json(body)
            })
            .mount(&server)
            .await;
    }
    at("page")
        .respond_with(|request: &Request| {
            let body =
                format!("<html>{}", echo(request).replace('&', "&amp;").replace('<', "&lt;"));
            ResponseTemplate::new(200).set_body_raw(body, "text/html")
        })
        .mount(&server)
        .await;
    at("elsewhere")
        .respond_with(|request: &Request| {
            let to = format!("http://other.example/?{}", request.url.query().unwrap_or("none"));
            let key = request.headers.get("x-key").map(|key| key.to_str().unwrap().to_owned());
            let to = format!("{to}&key={}", key.unwrap_or_default());
            ResponseTemplate::new(302).insert_header("location", to)
        })
        .mount(&server)
        .await;
    at("within")
        .respond_with(|request: &Request| {
            let to = format!("/limited?again&{}", request.url.query().unwrap_or("none"));
            ResponseTemplate::new(307).insert_header("location", to)
        })
        .mount(&server)
        .await;
    at("slow")
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(3600)))
        .mount(&server)
        .await;
    server
}

const PLACES: [&str; 9] =
    ["good", "escaped", "unauthorized", "broken", "page", "elsewhere", "within", "slow", "nobody"];

/// Three sources for each answer: one sends its key in a header, one in the query, one a token that its key has
/// brought; and one whose login is refused.
pub fn write_sources(app: &TestApp, key: &str, api: &str) {
    app.write("key", key);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for place in PLACES {
        let header =
            format!("in = \"header\", name = \"x-key\", value = {{ env = \"{KEY_VARIABLE}\" }}");
        let query = "in = \"query\", name = \"key\", value = { file = \"key\" }".to_owned();
        let token = |path: &str| {
            format!(
                "type = \"oauth2\", grant = \"client_credentials\", token_url = \"{api}/{path}\", \
                 client_id = {{ file = \"key\" }}, client_secret = {{ env = \"{KEY_VARIABLE}\" }}"
            )
        };
        let (header, query) =
            (format!("type = \"api_key\", {header}"), format!("type = \"api_key\", {query}"));
        let mut all = vec![("header", header), ("query", query), ("token", token("login"))];
        if place == "unauthorized" {
            all.push(("no_token", token("no_login")));
        }
        for (by, auth) in all {
            let base_url =
                if place == "nobody" { format!("http://{free}") } else { api.to_owned() };
            let timeout = if place == "slow" { "500ms" } else { "30s" };
            app.write(
                &format!("{place}_{by}.toml"),
                format!(
                    "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\n\
                     base_url = \"{base_url}\"\npath = \"{place}\"\ndata_selector = \"$[*]\"\n\
                     timeout = \"{timeout}\"\nretry = {{ max_attempts = 2 }}\n\
                     auth = {{ {auth} }}\n\
                     headers = {{ x-second = {{ file = \"key\" }} }}\n[fields]\n\
                     name = {{ from = \"$.name\" }}\n\
                     price = {{ from = \"$.price\", type = \"decimal\" }}\n\
                     next = {{ from = \"$.next\", type = \"json\" }}\n"
                ),
            );
        }
    }
}

/// Job files into which somebody wrote a secret, each in another way.
pub fn write_broken_sources(app: &TestApp, literal: &str) {
    let base = "base_url = \"http://127.0.0.1:9/\"";
    for (name, lines) in [
        ("token", format!("{base}\nauth = {{ type = \"bearer\", token = \"{literal}\" }}")),
        ("list", format!("{base}\nauth = {{ type = \"bearer\", token = [\"{literal}\"] }}")),
        ("auth", format!("{base}\nauth = \"Bearer {literal}\"")),
        ("headers", format!("{base}\nheaders = \"x-key: {literal}\"")),
        ("header", format!("{base}\nheaders = {{ x-key = [\"{literal}\"] }}")),
        (
            "more",
            format!(
                "{base}\nauth = {{ type = \"bearer\", token = {{ env = \"X\", value = \"{literal}\" }} }}"
            ),
        ),
        ("open", format!("{base}\nauth = {{ type = \"bearer\", token = \"{literal} }}")),
        ("bare", format!("{base}\nauth = {{ type = \"bearer\", token = {literal} }}")),
        ("user", format!("base_url = \"https://me:{literal}@api.example/v1\"")),
        ("query", format!("base_url = \"https://api.example/v1?key={literal}\"")),
    ] {
        let job = format!("kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\n{lines}\n");
        app.write(&format!("broken_{name}.toml"), job);
    }
}

/// How many of them there are.
pub const BROKEN: usize = 10;
