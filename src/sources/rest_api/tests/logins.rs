//! How requests are authenticated, each kind against an API that looks at what it is sent, and a login server
//! that gives tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wiremock::Request;
use wiremock::matchers::{any, body_json, body_string, header_exists};

use super::*;
use crate::sources::TokenStore;
use crate::sources::token_store::TokensInMemory;

/// The headers of the only request that came, by name.
async fn sent(auth: &str, more: &str) -> Request {
    let server = MockServer::start().await;
    let empty = ResponseTemplate::new(200).set_body_string("[]");
    Mock::given(any()).respond_with(empty).mount(&server).await;
    let source = source(&server.uri(), &format!("auth = {auth}\n{more}"));
    source.fetch(&source.first(), Access::Network).await.unwrap();
    server.received_requests().await.unwrap().remove(0)
}

fn header_of<'r>(request: &'r Request, name: &str) -> &'r str {
    request.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn a_key_goes_into_a_header_with_a_prefix_into_the_query_or_into_a_cookie() {
    let key = "value = { file = \"key\" }";
    let request = sent(
        &format!("{{ type = \"api_key\", name = \"authorization\", prefix = \"Token \", {key} }}"),
        "",
    )
    .await;
    assert_eq!(header_of(&request, "authorization"), format!("Token {CANARY}"));
    let cookie = format!("{{ type = \"api_key\", in = \"cookie\", name = \"sid\", {key} }}");
    let request = sent(&cookie, "headers = { cookie = { file = \"key\" } }").await;
    assert_eq!(header_of(&request, "cookie"), format!("{CANARY}; sid={CANARY}"));
    let request = sent(&cookie, "").await;
    assert_eq!(header_of(&request, "cookie"), format!("sid={CANARY}"));
}

#[tokio::test]
async fn a_user_has_a_name_and_perhaps_a_password() {
    for (auth, both) in [
        ("username = \"me\", password = { file = \"key\" }", format!("me:{CANARY}")),
        ("username = { file = \"key\" }", format!("{CANARY}:")),
        ("username = \"me\"", "me:".to_owned()),
    ] {
        let request = sent(&format!("{{ type = \"basic\", {auth} }}"), "").await;
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, both);
        assert_eq!(header_of(&request, "authorization"), format!("Basic {encoded}"));
    }
}

#[tokio::test]
async fn a_list_writes_all_that_the_api_wants() {
    let list = "[{ type = \"api_key\", name = \"x-app\", value = { file = \"key\" } },
                 { type = \"bearer\", token = { file = \"key\" } }]";
    let request = sent(list, "").await;
    assert_eq!(header_of(&request, "x-app"), CANARY);
    assert_eq!(header_of(&request, "authorization"), format!("Bearer {CANARY}"));
}

fn problems(auth: &str) -> Vec<String> {
    let text = format!("base_url = \"https://a.example\"\nauth = {auth}");
    let params: RestApiParams = toml::from_str(&text).unwrap();
    let whole = |(keys, problem): (Vec<String>, String)| format!("{}: {problem}", keys.join("."));
    params.problems().into_iter().map(whole).collect()
}

#[test]
fn what_cannot_work_is_told_with_its_key_before_anything_is_sent() {
    let oauth = |more: &str| {
        format!("{{ type = \"oauth2\", token_url = \"https://l.example/t\", {more} }}")
    };
    let client = "client_id = \"a\", client_secret = { env = \"X\" }";
    for (auth, says) in [
        ("[]".to_owned(), "auth: is an empty list"),
        (
            "[{ type = \"bearer\", token = { env = \"X\" } }, { type = \"basic\", username = \"a\" }]".into(),
            "auth.1: writes into the header `authorization`, as another",
        ),
        ("[{ type = \"basic\", username = \"a:b\" }]".into(), "auth.0.username: has a colon"),
        (
            "{ type = \"api_key\", in = \"cookie\", name = \"a b\", value = { env = \"X\" } }".into(),
            "auth.name: `a b` cannot be the name of a cookie",
        ),
        (oauth("grant = \"client_credentials\""), "auth.grant: grant = \"client_credentials\" needs `client_id`"),
        (
            oauth(&format!("grant = \"client_credentials\", {client}, refresh_token = {{ env = \"X\" }}")),
            "auth.refresh_token: means nothing to",
        ),
        (oauth("grant = \"jwt_bearer\""), "needs `private_key`"),
        (oauth("grant = \"refresh_token\", rotating = false"), "needs `refresh_token`"),
        (
            oauth(&format!("grant = \"client_credentials\", {client}, extra = {{ client_secret = \"x\" }}")),
            "auth.extra: cannot hold `client_secret`",
        ),
        (
            "{ type = \"oauth2\", grant = \"client_credentials\", client_id = \"a\", token_url = \"l.example\" }".into(),
            "auth.token_url: is no address",
        ),
        ("{ type = \"login\", path = \"login\" }".into(), "needs `token`"),
        (
            "{ type = \"login\", path = \"login\", token = \"$.t\", json = { password = \"x\" } }".into(),
            "auth.json: has a secret written out under `password`",
        ),
        (
            "{ type = \"login\", path = \"login\", token = \"t\", json = {} }".into(),
            "auth.token: `token` = `t` is no JSONPath",
        ),
        (
            "{ type = \"login\", path = \"login\", token = \"$.t\", form = { a = [1] } }".into(),
            "auth.form: has a list or a table in it",
        ),
    ] {
        let problems = problems(&auth);
        assert!(problems.iter().any(|problem| problem.contains(says)), "{auth}: {problems:?}");
    }
}

#[test]
fn neither_a_table_nor_a_list_is_refused_without_being_repeated() {
    for literal in ["\"Bearer s3cr3t\"", "7", "1.5", "true", "[\"s3cr3t\"]", "[[\"s3cr3t\"]]"] {
        let text = format!("base_url = \"https://a.example\"\nauth = {literal}");
        let error = toml::from_str::<RestApiParams>(&text).unwrap_err();
        assert!(!error.message().contains("s3cr3t"), "{error}");
    }
}

/// An API that takes the token that its login server gave last, and how often that was.
struct Guarded {
    server: MockServer,
    given: Arc<AtomicUsize>,
}

impl Guarded {
    /// `token_request` must fit what the login server is sent; `answer` is its answer with the number of the
    /// token in place of `#`.
    async fn new(token_request: impl wiremock::Match + 'static, answer: &'static str) -> Self {
        let server = MockServer::start().await;
        let given = Arc::new(AtomicUsize::new(0));
        let count = given.clone();
        let give = move |_: &Request| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let body = answer.replace('#', &number.to_string());
            ResponseTemplate::new(200)
                .set_body_string(body)
                .insert_header("x-token", format!("token-canary-{number}"))
        };
        Mock::given(path("/login")).and(token_request).respond_with(give).mount(&server).await;
        let last = given.clone();
        let answer = move |request: &Request| {
            let good = format!("Bearer token-canary-{}", last.load(Ordering::SeqCst));
            let sent = request.headers.get("authorization").map(|value| value.to_str().unwrap());
            match sent == Some(&good) {
                true => {
                    ResponseTemplate::new(200).set_body_string(format!("[{{\"sent\":\"{good}\"}}]"))
                }
                false => ResponseTemplate::new(401).set_body_string(format!("bad: {sent:?}")),
            }
        };
        Mock::given(path("/coins")).respond_with(answer).mount(&server).await;
        Self { server, given }
    }

    fn source(&self, auth: &str) -> Opened {
        let url = self.server.uri();
        source(&url, &format!("auth = {}", auth.replace("LOGIN", &format!("{url}/login"))))
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

const TOKEN: &str = r##"{"access_token":"token-canary-#","expires_in":3600}"##;

async fn fetched(
    source: &RestApiSource,
    tokens: &Arc<dyn TokenStore>,
) -> Result<Page, SourceError> {
    let page = source.fetch_with(&source.first(), Access::Network, tokens).await;
    assert!(!format!("{page:?}").contains("token-canary"), "{page:?}");
    page
}

#[tokio::test]
async fn a_token_is_had_once_and_anew_when_the_api_refuses_it() {
    let form = format!(
        "scope=read+all&audience=x&tenant=7&grant_type=client_credentials&client_id=me&client_secret={CANARY_ENCODED}"
    );
    let fields: std::collections::BTreeSet<String> = form.split('&').map(str::to_owned).collect();
    let fits = move |request: &Request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        body.split('&').map(str::to_owned).collect::<std::collections::BTreeSet<_>>() == fields
    };
    let api = Guarded::new(fits, TOKEN).await;
    let source = api.source(
        "{ type = \"oauth2\", grant = \"client_credentials\", token_url = \"LOGIN\", client_id = \"me\", \
         client_secret = { file = \"key\" }, scope = \"read all\", audience = \"x\", extra = { tenant = \"7\" } }",
    );
    let tokens: Arc<dyn TokenStore> = Arc::new(TokensInMemory::default());
    for _ in 0..3 {
        let page = fetched(&source, &tokens).await.unwrap();
        assert_eq!(page.body, "[{\"sent\":\"Bearer ***\"}]", "the API repeated it");
    }
    assert_eq!(api.given(), 1);
    // Somebody else has had another one, with which the first has ended.
    api.given.fetch_add(1, Ordering::SeqCst);
    fetched(&source, &tokens).await.unwrap();
    assert_eq!(api.given(), 3);
}

#[tokio::test]
async fn a_token_that_is_never_accepted_is_renewed_once_and_then_told() {
    let api = Guarded::new(any(), r##"{"access_token":"token-canary-x#"}"##).await;
    let source = api.source(
        "{ type = \"oauth2\", grant = \"client_credentials\", token_url = \"LOGIN\", client_id = \"me\", \
         credentials_in = \"header\", client_secret = { file = \"key\" } }",
    );
    let tokens: Arc<dyn TokenStore> = Arc::new(TokensInMemory::default());
    let error = fetched(&source, &tokens).await.unwrap_err();
    assert_eq!((error.kind, api.given()), (SourceErrorKind::Unauthorized, 2));
    assert!(
        error.text().contains("the token that `rest_api.auth` gives is not accepted"),
        "{error}"
    );
    assert_no_secret(&error.text());
    let requests = api.server.received_requests().await.unwrap();
    let basic = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("me:{CANARY_ENCODED}"),
    );
    assert_eq!(header_of(&requests[0], "authorization"), format!("Basic {basic}"));
    assert_eq!(requests[0].body, b"grant_type=client_credentials");
}

#[tokio::test]
async fn a_refusal_of_the_login_server_is_told_in_its_words_with_what_to_do() {
    for (status, class) in [
        (400, FailureClass::Permanent),
        (401, FailureClass::Permanent),
        (503, FailureClass::Transient),
    ] {
        let server = MockServer::start().await;
        let refusal = ResponseTemplate::new(status)
            .set_body_string(format!("{{\"error\":\"invalid_grant\",\"sent\":\"{CANARY}\"}}"));
        Mock::given(path("/login")).respond_with(refusal).mount(&server).await;
        let url = server.uri();
        let source = source(
            &url,
            &format!(
                "auth = {{ type = \"oauth2\", grant = \"refresh_token\", token_url = \"{url}/login\", \
                 rotating = false, refresh_token = {{ file = \"key\" }} }}"
            ),
        );
        let error = failure(&source).await;
        assert_eq!(error.class(), class, "{error}");
        assert!(error.text().contains("the login server gave no token"), "{error}");
        assert!(error.text().contains("invalid_grant"), "{error}");
        let is_refused = class == FailureClass::Permanent;
        assert_eq!(error.text().contains("kasparro auth set"), is_refused, "{error}");
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_rotating_refresh_token_is_not_used_where_the_next_one_is_not_kept() {
    let rotating = r##"{"access_token":"token-canary-#","refresh_token":"refresh-canary-#"}"##;
    let auth = |rotates: &str| {
        format!(
            "{{ type = \"oauth2\", grant = \"refresh_token\", token_url = \"LOGIN\", client_id = \"me\", \
             {rotates}refresh_token = {{ file = \"key\" }} }}"
        )
    };
    let tokens: Arc<dyn TokenStore> = Arc::new(TokensInMemory::default());
    let api = Guarded::new(any(), rotating).await;
    let error = fetched(&api.source(&auth("")), &tokens).await.unwrap_err();
    assert!(error.text().contains("KASPARRO_SECRET_KEY"), "{error}");
    assert_eq!(api.given(), 0);
    let error = fetched(&api.source(&auth("rotating = false, ")), &tokens).await.unwrap_err();
    assert!(error.text().contains("replaces the refresh token, though"), "{error}");
    let api = Guarded::new(any(), TOKEN).await;
    fetched(&api.source(&auth("rotating = false, ")), &tokens).await.unwrap();
}

#[tokio::test]
async fn a_login_sends_its_body_and_its_token_is_found_in_the_answer_or_its_headers() {
    let tokens = || -> Arc<dyn TokenStore> { Arc::new(TokensInMemory::default()) };
    let expected = json!({ "user": "me", "auth": { "password": CANARY } });
    let api = Guarded::new(body_json(expected), r##"{"data":{"token":"token-canary-#"}}"##).await;
    let source = api.source(
        "{ type = \"login\", path = \"login\", token = \"$.data.token\", \
         json = { user = \"me\", auth = { password = { file = \"key\" } } } }",
    );
    fetched(&source, &tokens()).await.unwrap();
    let form = format!("password={CANARY_ENCODED}&user=me");
    let api = Guarded::new(body_string(form), "").await;
    let source = api.source(
        "{ type = \"login\", path = \"login\", token_header = \"x-token\", \
         form = { user = \"me\", password = { file = \"key\" } } }",
    );
    // A login server that answers without a body is one that gave no token.
    let error = fetched(&source, &tokens()).await.unwrap_err();
    assert!(error.text().contains("gave no token"), "{error}");
    let api = Guarded::new(header_exists("content-type"), "{}").await;
    let source = api.source(
        "{ type = \"login\", path = \"login\", token_header = \"x-token\", ttl = \"10m\", \
         form = { user = \"me\" } }",
    );
    fetched(&source, &tokens()).await.unwrap();
    let source =
        api.source("{ type = \"login\", path = \"login\", token = \"$.tokn\", json = {} }");
    let error = fetched(&source, &tokens()).await.unwrap_err();
    assert!(error.text().contains("`$.tokn` leads to no text"), "{error}");
    assert!(error.text().contains("see `rest_api.auth.token`"), "{error}");
}
