//! `grant = "jwt_bearer"` in whole runs, against a login server that checks what it is sent as it should.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kasparro::db::runs::Run;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use reqwest::Url;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use wiremock::matchers::{header, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::app::{TestApp, request};
use crate::canary::{Canary, assert_tables_are_clean, assert_text_is_clean};

const PRIVATE_KEY: &str = include_str!("../fixtures/login/service.key");
const ISSUER: &str = "kasparro@example.com";
const SCOPE: &str = "https://api.example.com/read";
const ACCESS: &str = "AccJ4w9Tq6BnXe2";

/// A login server that knows a public key, and what it has found wrong.
struct LoginServer {
    public_key: Vec<u8>,
    address: String,
    given: usize,
    wrong: Vec<String>,
}

impl LoginServer {
    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        match self.checked(&String::from_utf8_lossy(&request.body)) {
            Ok(()) => {
                self.given += 1;
                let token =
                    json!({ "access_token": ACCESS, "expires_in": 3600, "token_type": "Bearer" });
                ResponseTemplate::new(200).set_body_json(token)
            }
            Err(why) => {
                let said = json!({ "error": "invalid_grant", "error_description": why });
                self.wrong.push(why);
                ResponseTemplate::new(400).set_body_json(said)
            }
        }
    }

    /// Checks an assertion as RFC 7523 says.
    fn checked(&self, form: &str) -> Result<(), String> {
        let form = Url::parse(&format!("x:?{form}")).map_err(|error| error.to_string())?;
        let form: HashMap<_, _> = form.query_pairs().into_owned().collect();
        let is = |what: &str, value: Option<&str>, expected: &str| match value == Some(expected) {
            true => Ok(()),
            false => Err(format!("{what} is {value:?}, not {expected}")),
        };
        let field = |name: &str| form.get(name).map(String::as_str);
        is("grant_type", field("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer")?;
        let assertion = field("assertion").ok_or("there is no assertion")?;
        let (signed, signature) = assertion.rsplit_once('.').ok_or("it has no signature")?;
        let (head, claims) = signed.split_once('.').ok_or("it has no claims")?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        let json = |part: &str| -> Result<Value, String> {
            serde_json::from_slice(&bytes(part)?).map_err(|error| error.to_string())
        };
        let (head, claims) = (json(head)?, json(claims)?);
        is("alg", head["alg"].as_str(), "RS256")?;
        is("typ", head["typ"].as_str(), "JWT")?;
        is("kid", head["kid"].as_str(), "key-1")?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key)
            .verify(signed.as_bytes(), &bytes(signature)?)
            .map_err(|_| "the signature is not that of the key")?;
        is("iss", claims["iss"].as_str(), ISSUER)?;
        is("sub", claims["sub"].as_str(), "admin@example.com")?;
        is("aud", claims["aud"].as_str(), &self.address)?;
        is("scope", claims["scope"].as_str(), SCOPE)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (iat, exp) = (claims["iat"].as_u64().unwrap_or(0), claims["exp"].as_u64().unwrap_or(0));
        if iat > now || now - iat > 600 {
            return Err(format!("iat is {iat} at {now}"));
        }
        if exp <= now || exp > iat + 3600 {
            return Err(format!("exp is {exp} at {now}"));
        }
        Ok(())
    }
}

/// The bytes of a key, and what stands in no table and no text.
fn key(pem: &str) -> (Vec<u8>, Canary) {
    let digits: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let part = &digits[200..232];
    (STANDARD.decode(&digits).unwrap(), Canary::new(part, part))
}

async fn run(app: &TestApp) -> Run {
    let online = RunRequest { access: Access::Network, ..request(Mode::Full) };
    app.run_as("items", &online).await
}

#[tokio::test]
async fn a_service_account_signs_what_the_login_server_can_verify() {
    let (der, canary) = key(PRIVATE_KEY);
    let server = MockServer::start().await;
    let url = server.uri();
    let public_key = RsaKeyPair::from_pkcs8(&der).unwrap().public_key().as_ref().to_vec();
    let login =
        LoginServer { public_key, address: format!("{url}/token"), given: 0, wrong: Vec::new() };
    let login = Arc::new(Mutex::new(login));
    let answering = Arc::clone(&login);
    Mock::given(path("/token"))
        .respond_with(move |request: &Request| answering.lock().unwrap().answer(request))
        .mount(&server)
        .await;
    Mock::given(path("/items"))
        .and(header("authorization", format!("Bearer {ACCESS}")))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([{ "id": 1, "name": "a" }])))
        .mount(&server)
        .await;
    let app = TestApp::empty().await;
    let job = |more: &str| {
        format!(
            "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"{url}\"\npath = \"items\"\n\
             auth = {{ type = \"oauth2\", grant = \"jwt_bearer\", token_url = \"{url}/token\", \
             private_key = {{ file = \"account.json\" }}, subject = \"admin@example.com\", scope = \"{SCOPE}\"{more} }}\n\
             [fields]\nname = {{ from = \"$.name\" }}\n"
        )
    };
    let account = |pem: &str| {
        let account = json!({
            "type": "service_account", "client_email": ISSUER, "private_key_id": "key-1", "private_key": pem,
        });
        account.to_string()
    };
    app.write("items.toml", job(""));
    app.write("account.json", account(PRIVATE_KEY));
    let good = run(&app).await;
    assert_eq!(good.status, RunStatus::Success, "{good:?} {:?}", login.lock().unwrap().wrong);
    assert_eq!(login.lock().unwrap().given, 1);
    assert_eq!(app.texts("select name from unified_records").await, ["a"]);
    // The server does check: what is signed for another, by another, is refused, and the run says so.
    for (more, says) in [
        (", audience = \"https://elsewhere.example/token\"", "aud is"),
        (", issuer = \"somebody@example.com\"", "iss is"),
        (", claims = { exp = 1 }", "exp is"),
        (", key_id = \"another\"", "kid is"),
        (", client_id = \"me\"", ""),
    ] {
        app.write("items.toml", job(more));
        let run = run(&app).await;
        let error = run.error.unwrap_or_default();
        assert_eq!(run.status == RunStatus::Failed, !says.is_empty(), "{more}: {error}");
        let wrong = login.lock().unwrap().wrong.pop().unwrap_or_default();
        assert!(wrong.starts_with(says), "{more}: {wrong}");
        assert_eq!(error.contains("invalid_grant"), !says.is_empty(), "{more}: {error}");
        assert_text_is_clean(std::slice::from_ref(&canary), "the error", &error);
    }
    assert_tables_are_clean(&app, &[canary, Canary::new(ACCESS, ACCESS)]).await;
    app.database.close().await;
}
