//! The console without a browser: who gets in, what a page is made of, what its forms do. What needs a browser is in
//! `tests/browser.rs`.

use std::time::Duration;

use kasparro::api::{AuthConfig, WithoutToken};
use kasparro::db::api_tokens;
use kasparro::domain::run::RunStatus;
use kasparro::domain::token::{Scope, Token};
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};

use crate::api::TestApi;

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n\
                   [fields]\nname = { column = \"name\", required = true }\n";

/// A console, and a browser that follows no redirect.
pub struct Console {
    pub api: TestApi,
    browser: Client,
    pub cookie: Option<String>,
}

impl Console {
    /// One that needs no token.
    pub async fn open() -> Self {
        Self::of(AuthConfig::of(WithoutToken::ThisMachine)).await
    }

    pub async fn of(auth_config: AuthConfig) -> Self {
        let api = TestApi::admitting(auth_config).await;
        let browser =
            Client::builder().no_proxy().pool_max_idle_per_host(0).redirect(Policy::none());
        Self { api, browser: browser.build().unwrap(), cookie: None }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.browser.request(method, self.api.url(path));
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// What a form of a page of ours sends.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin");
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        form.iter().for_each(|(name, value)| {
            body.append_pair(name, value);
        });
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(body.finish()).send().await.unwrap()
    }

    pub async fn sign_in(&mut self, token: &str, to: &str) -> Response {
        let response = self.post("/ui/session", &[("token", token), ("to", to)]).await;
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            self.cookie = cookie.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        response
    }

    pub async fn token(&self, scope: Scope) -> Token {
        let token = Token::from_random(&rand::random());
        let (id, hash) = (token.id(), token.hash());
        assert!(
            api_tokens::insert(&self.api.pool, id, &hash, scope, Some("<eva>"), None)
                .await
                .unwrap()
        );
        token
    }
}

pub fn location(response: &Response) -> &str {
    assert_eq!(response.status(), 303);
    response.headers()[LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_to_the_login_and_back() {
    let mut console = Console::open().await;
    let token = console.token(Scope::Read).await;
    let address = "/ui/runs?status=failed";
    let login = console.get(address).await;
    assert_eq!(location(&login), "/ui/login?to=%2Fui%2Fruns%3Fstatus%3Dfailed");
    assert!(console.page("/ui/login?to=%2Fui%2Fruns%3Fstatus%3Dfailed").await.contains(address));
    let refused = console.sign_in("kas_01234567_no", address).await;
    assert_eq!(refused.status(), 401);
    assert!(console.cookie.is_none());
    let admitted = console.sign_in(&token.reveal(), address).await;
    assert_eq!(location(&admitted), address);
    assert!(console.page(address).await.contains("&lt;eva&gt; (read)"));
    let elsewhere = console.sign_in(&token.reveal(), "https://evil.example/").await;
    assert_eq!(location(&elsewhere), "/ui/");
    let out = console.post("/ui/session/end", &[]).await;
    assert_eq!(location(&out), "/ui/login");
    // What the browser still holds counts no more.
    for _ in 0..50 {
        if console.get("/ui/").await.status() == 303 {
            return console.api.app.database.close().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("somebody who signed out is signed in");
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let mut console = Console::open().await;
    let token = console.token(Scope::Read).await;
    console.sign_in(&token.reveal(), "").await;
    assert_eq!(console.get("/ui/").await.status(), 200);
    assert!(api_tokens::revoke(&console.api.pool, token.id()).await.unwrap());
    // Another one, or nobody would need any.
    console.token(Scope::Read).await;
    for _ in 0..50 {
        if console.get("/ui/").await.status() == 303 {
            return console.api.app.database.close().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the token was revoked, and its session goes on");
}

#[tokio::test]
async fn the_cookie_counts_for_the_console_only_and_tokens_for_the_api_only() {
    let mut console = Console::open().await;
    let token = console.token(Scope::Admin).await;
    console.sign_in(&token.reveal(), "").await;
    assert_eq!(console.get("/ui/runs").await.status(), 200);
    for path in ["/runs", "/stats", "/openapi.json"] {
        assert_eq!(console.get(path).await.status(), 401, "{path}");
    }
    console.cookie = None;
    let bearer = console.request(Method::GET, "/ui/runs").bearer_auth(token.reveal());
    assert_eq!(bearer.send().await.unwrap().status(), 303);
    console.api.app.database.close().await;
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let mut console = Console::open().await;
    console.api.app.write("shop.toml", JOB);
    console.api.app.write("shop.csv", "id,name\n1,a\n");
    let token = console.token(Scope::Admin).await;
    console.sign_in(&token.reveal(), "").await;
    let path = "/ui/sources/shop/run";
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ];
    for (name, value) in foreign {
        let response =
            console.request(Method::POST, path).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 403, "{name}: {value}");
        assert!(response.text().await.unwrap().contains("another site"));
    }
    assert_eq!(console.api.app.number("select count(*) from etl_runs").await, 0);
    let own = console.request(Method::POST, path).header("origin", &console.api.base).send().await;
    assert_eq!(location(&own.unwrap()), "/ui/runs/1?done=started.1");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_scope_that_does_not_suffice_is_said_before_and_refused_after() {
    let mut console = Console::open().await;
    console.api.app.write("shop.toml", JOB);
    let token = console.token(Scope::Read).await;
    console.sign_in(&token.reveal(), "").await;
    let page = console.page("/ui/").await;
    assert!(page.contains("disabled title=\"needs a token with the scope `run`\""), "{page}");
    let refused = console.post("/ui/sources/shop/run", &[]).await;
    assert_eq!(refused.status(), 403);
    let page = refused.text().await.unwrap();
    assert!(page.contains("the token has the scope `read`; this needs `run`"), "{page}");
    assert!(page.contains("Sign out"), "a refusal is a page like any other");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn who_guesses_tokens_has_to_wait() {
    let mut console = Console::open().await;
    let token = console.token(Scope::Read).await;
    for _ in 0..10 {
        assert_eq!(console.sign_in("kas_0_0", "").await.status(), 401);
    }
    let refused = console.sign_in("kas_0_0", "").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    // Whoever guesses keeps nobody out.
    assert_eq!(location(&console.sign_in(&token.reveal(), "").await), "/ui/");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn runs_are_started_cancelled_and_retried_by_buttons() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    app.write("shop.csv", "id,name\n1,a\n2,\n");
    assert!(console.page("/ui/").await.contains("never run"));
    let started = console.post("/ui/sources/shop/run", &[]).await;
    assert_eq!(location(&started), "/ui/runs/1?done=started.1");
    assert!(console.page("/ui/runs/1?done=started.1").await.contains("Run 1 was started."));
    let busy = console.post("/ui/sources/shop/run", &[]).await;
    assert_eq!(busy.status(), 409);
    assert!(busy.text().await.unwrap().contains("run 1 of source &quot;shop&quot; is active"));
    let cancelled = console.post("/ui/runs/1/cancel", &[]).await;
    assert_eq!(location(&cancelled), "/ui/runs/1?done=cancelled.1");
    assert_eq!(console.post("/ui/runs/1/retry", &[]).await.status(), 409);
    let run = app.run("shop").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let page = console.page(&format!("/ui/runs/{}", run.id)).await;
    for part in ["2 read = <b>1</b> inserted", "<b>1</b> set aside", "adds up", "normalize_batch"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let overview = console.page("/ui/").await;
    assert!(overview.contains("new reason missing_field in name"), "{overview}");
    console.api.app.database.close().await
}

#[tokio::test]
async fn hostile_text_is_text_on_every_page() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    app.write("shop.csv", "id,name\n1,a\n");
    let hostile = "<script>alert(1)</script>\" onx=\"1\u{202e}\u{1b}[31m";
    app.run("shop").await;
    sqlx::query("update etl_runs set error = $1, stop_reason = $1, status = 'failed'")
        .bind(hostile)
        .execute(&app.pool)
        .await
        .unwrap();
    sqlx::query("update run_tasks set error = $1").bind(hostile).execute(&app.pool).await.unwrap();
    for path in ["/ui/", "/ui/runs", "/ui/runs/1"] {
        let page = console.page(path).await;
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}: {page}");
        assert!(page.contains("⟨U+202E⟩⟨1b⟩[31m"), "{path}: {page}");
        assert!(!page.contains("<script>") && !page.contains("\" onx="), "{path}: {page}");
        assert!(!page.contains("style="), "{path}: {page}");
    }
    for path in [
        "/ui/runs?source=%3Cscript%3E%22%20onx%3D",
        "/ui/login?to=%22%3E%3Cscript%3E",
        "/ui/%3Cscript%3E",
    ] {
        let page = console.get(path).await.text().await.unwrap();
        assert!(!page.contains("<script>"), "{path}: {page}");
    }
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_page_allows_no_script_but_the_consoles_and_is_shown_in_no_frame() {
    let console = Console::open().await;
    let response = console.get("/ui/").await;
    let headers = response.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["referrer-policy"], "same-origin");
    assert_eq!(headers["cache-control"], "no-store");
    let page = response.text().await.unwrap();
    let scripts: Vec<&str> =
        page.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(scripts.len(), 2, "{page}");
    for script in scripts {
        let asset = console.get(script).await;
        assert_eq!(asset.status(), 200, "{script}");
        assert!(asset.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    }
    assert_eq!(console.get("/ui/assets/0000000000000000/console.js").await.status(), 404);
    console.api.app.database.close().await;
}

#[tokio::test]
async fn the_page_of_the_machinery_shows_tokens_and_revokes_one() {
    let mut console = Console::open().await;
    let page = console.page("/ui/system").await;
    for part in ["no worker lives", "Nothing waits.", "No token was made", "unified_records"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let [admin, other] = [console.token(Scope::Admin).await, console.token(Scope::Read).await];
    console.sign_in(&admin.reveal(), "").await;
    assert!(console.page("/ui/system").await.contains("&lt;eva&gt;"));
    let revoked = console.post(&format!("/ui/tokens/{}/revoke", other.id()), &[]).await;
    assert_eq!(location(&revoked), "/ui/system?done=revoked.1");
    assert!(console.page("/ui/system").await.contains("revoked</span>"));
    assert_eq!(console.post("/ui/tokens/x/revoke", &[]).await.status(), 400);
    console.api.app.database.close().await;
}

#[tokio::test]
async fn every_page_of_the_navigation_is_there() {
    let console = Console::open().await;
    let page = console.page("/ui/").await;
    let navigation = page.split("</nav>").next().unwrap().split("<nav").nth(1).unwrap();
    let links: Vec<&str> =
        navigation.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(links.len() > 3, "{navigation}");
    for link in links {
        let page = console.page(link).await;
        assert!(page.contains(&format!("href=\"{link}\" aria-current=\"page\"")), "{link}: {page}");
        assert_eq!(page.matches("aria-current").count(), 1, "{link}: {page}");
    }
    console.api.app.database.close().await;
}

#[tokio::test]
async fn sources_are_paused_and_resumed_together_and_by_themselves() {
    let console = Console::open().await;
    for name in ["shop", "stock"] {
        console.api.app.write(&format!("{name}.toml"), JOB);
    }
    let paused = console.post("/ui/sources/pause", &[("source", "stock")]).await;
    assert_eq!(location(&paused), "/ui/sources?done=paused.1");
    let page = console.page("/ui/sources?state=paused").await;
    assert!(page.contains("/ui/sources/stock") && !page.contains("/ui/sources/shop"), "{page}");
    let paused = console.post("/ui/sources/shop/pause", &[("reason", "it moves")]).await;
    assert_eq!(location(&paused), "/ui/sources/shop?done=paused.1");
    assert!(console.page("/ui/sources/shop").await.contains("it moves"));
    assert_eq!(console.post("/ui/sources/shop/run", &[]).await.status(), 409);
    // One that is not there keeps no other from being resumed; none at all are not all.
    let names = [("source", "shop"), ("source", "nope"), ("source", "stock")];
    let resumed = console.post("/ui/sources/resume", &names).await;
    assert_eq!(location(&resumed), "/ui/sources?done=resumed.2");
    assert_eq!(console.post("/ui/sources/resume", &names).await.status(), 409);
    assert_eq!(console.post("/ui/sources/run", &[]).await.status(), 422);
    let started = console.post("/ui/sources/run", &[("source", "shop"), ("source", "stock")]).await;
    assert_eq!(location(&started), "/ui/sources?done=started-runs.2");
    assert_eq!(console.post("/ui/sources/shop/resume", &[]).await.status(), 409);
    console.api.app.database.close().await;
}

#[tokio::test]
async fn the_page_of_a_source_shows_its_schema_its_files_and_its_job_file() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    app.write("shop.csv", "id,name\n1,a\n");
    app.run("shop").await;
    app.write("shop.csv", "id,name,price\n1,a,2\n");
    app.run("shop").await;
    app.write("shop.toml", format!("description = \"<i>shop</i>\"\n{JOB}"));
    let schema = console.page("/ui/sources/shop?tab=schema").await;
    assert!(
        schema.contains("Version 1") && schema.contains("price") && schema.contains("added"),
        "{schema}"
    );
    let input = console.page("/ui/sources/shop?tab=input").await;
    assert!(input.contains("shop.csv"), "{input}");
    let job = console.page("/ui/sources/shop?tab=job").await;
    assert!(job.contains("+ description = &quot;&lt;i&gt;shop&lt;/i&gt;&quot;"), "{job}");
    assert_eq!(console.get("/ui/sources/nope").await.status(), 404);
    console.api.app.database.close().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_by_a_page() {
    let console = Console::open().await;
    for (path, status, said) in [
        ("/ui/runs/7", 404, "there is no run 7"),
        ("/ui/nothing", 404, "there is nothing at /ui/nothing"),
        ("/ui/runs?status=fialed", 400, "parameter `status`"),
        ("/ui/runs/x", 404, "there is no run x"),
        ("/ui/runs?before=x", 400, "a parameter"),
        ("/ui/runs?source=%00", 400, "no text holds U+0000"),
        ("/ui/quarantine?field=%00", 400, "no text holds U+0000"),
        ("/ui/drift?run=1&after=%00", 400, "no text holds U+0000"),
        ("/ui/runs/1/cancel", 405, "takes POST, not GET"),
        ("/ui/sources/nope", 404, "there is no source"),
    ] {
        let response = console.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8", "{path}");
        let page = response.text().await.unwrap();
        assert!(page.contains(said), "{path}: {page}");
    }
    assert_eq!(location(&console.get("/ui").await), "/ui/");
    assert_eq!(console.get("/").await.status(), 307);
    // Also once there is a token: the console asks for it by itself.
    console.token(Scope::Read).await;
    let html = console.request(Method::GET, "/").header("accept", "text/html,*/*");
    assert_eq!(location(&html.send().await.unwrap()), "/ui/");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_page_that_follows_is_told_when_something_has_changed() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    app.write("shop.csv", "id,name\n1,a\n");
    let mut stream = console.get("/ui/stream?topics=runs").await;
    let mut other = console.get("/ui/stream?topics=drift").await;
    let hello = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&hello).contains("event: hello"), "{hello:?}");
    app.run("shop").await;
    let changed = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await;
    let changed = changed.expect("the page is told").unwrap().unwrap();
    assert!(String::from_utf8_lossy(&changed).contains("event: changed"), "{changed:?}");
    let hello = other.chunk().await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&hello).contains("changed"), "{hello:?}");
    // Each of two that listen is told that it is heard, the second one too.
    let mut second = console.get("/ui/stream?topics=runs").await;
    let hello = second.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&hello).contains("event: hello"), "{hello:?}");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_token_signs_in_so_many_browsers_and_the_oldest_make_room() {
    let mut console = Console::open().await;
    let token = console.token(Scope::Read).await;
    for _ in 0..25 {
        console.sign_in(&token.reveal(), "").await;
    }
    assert_eq!(console.api.app.number("select count(*) from console_sessions").await, 20);
    assert_eq!(console.get("/ui/").await.status(), 200, "the newest is among them");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn what_needs_attention_is_not_covered_by_runs_that_load_nothing() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    app.write("shop.csv", "id,name\n1,a\n");
    app.run("shop").await;
    std::fs::remove_file(app.path("shop.csv")).unwrap();
    let failed = app.run("shop").await;
    assert_eq!(failed.status, RunStatus::Failed, "{failed:?}");
    let says = async || {
        let page = console.page("/ui/").await;
        page.contains("shop failed") && page.contains(&format!("/ui/runs/{}/retry", failed.id))
    };
    assert!(says().await);
    let replay = console.post("/ui/sources/shop/run", &[("mode", "replay"), ("dry_run", "true")]);
    assert_eq!(replay.await.status(), 303);
    app.drain().await;
    assert!(says().await, "a dry replay that went well has loaded nothing");
    let queued = console.post("/ui/sources/shop/run", &[]).await;
    assert!(says().await, "a run under way has loaded nothing yet");
    let run = location(&queued).split('?').next().unwrap().to_owned();
    assert_eq!(console.post(&format!("{run}/cancel"), &[]).await.status(), 303);
    assert!(says().await, "nor has one that was cancelled");
    app.write("shop.csv", "id,name\n1,b\n");
    app.run("shop").await;
    assert!(!console.page("/ui/").await.contains("shop failed"));
    console.api.app.database.close().await;
}
