//! Files that come over HTTP and are kept in a bucket: whole or not at all, and only where a run reads them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kasparro::api::{self, ApiState, AuthConfig, UploadBucket, Uploads, WithoutToken};
use kasparro::domain::run::Mode;
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use serde_json::Value;

use crate::api::problem;
use crate::app::{TestApp, UPLOAD, request};
use crate::bucket::{Bucket, KEY, SECRET};
use crate::raw_api::RawApi;

struct Shop {
    app: TestApp,
    bucket: Arc<Mutex<Bucket>>,
    base: String,
    client: reqwest::Client,
    _s3: RawApi,
}

impl Shop {
    async fn open(entry: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bucket = Arc::new(Mutex::new(Bucket::default()));
        let held = Arc::clone(&bucket);
        let s3 = RawApi::serve(move |asked| held.lock().unwrap().answer(asked)).await;
        let app = TestApp::empty().await;
        app.write("id", KEY);
        app.write("secret", SECRET);
        app.write(
            "shop.toml",
            format!(
                "kind = \"csv\"\nprimary_key = [\"id\"]\n\n[files]\npaths = [{entry:?}]\nexclude = [\"old*\"]\ns3 = {{ \
                 endpoint = \"http://{}\", access_key_id = {{ file = \"id\" }}, secret_access_key = {{ file = \"secret\" \
                 }} }}\n\n[fields]\nname = {{ column = \"name\", type = \"text\" }}\n",
                s3.address
            ),
        );
        let listener = api::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let place = UploadBucket::new("s3://acme-in/up".to_owned(), Some(UPLOAD));
        let uploads = Some(Uploads::Bucket(place));
        let state = ApiState { uploads, access: Access::Network, ..app.api_state() };
        let auth = AuthConfig::of(WithoutToken::ThisMachine);
        tokio::spawn(api::serve(state, auth, listener, Duration::ZERO, std::future::pending()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { app, bucket, base, client, _s3: s3 }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Bucket) -> T) -> T {
        change(&mut self.bucket.lock().unwrap())
    }

    fn objects(&self) -> Vec<(String, String)> {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        self.with(|it| it.objects.iter().map(|(key, body)| (key.clone(), text(body))).collect())
    }

    async fn send(&self, query: &str, body: &str) -> reqwest::Response {
        let url = format!("{}/sources/shop/files?{query}", self.base);
        self.client.post(url).body(body.to_owned()).send().await.unwrap()
    }

    async fn kept(&self, query: &str, body: &str) -> (u16, Value) {
        let answer = self.send(query, body).await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(status < 300, "{status}: {value}");
        (status, value["outcome"].clone())
    }
}

const FIRST: &str = "id,name\n1,A\n";
const SECOND: &str = "id,name\n1,B\n2,C\n";

#[tokio::test]
async fn an_uploaded_file_is_an_object_that_the_next_run_reads() {
    let shop = Shop::open("s3://acme-in/up/shop/*.csv").await;
    let answer = shop.send("file=a%20b%2Bc.csv", FIRST).await;
    assert_eq!(answer.status(), 201);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["path"], "s3://acme-in/up/shop/a b+c.csv");
    assert_eq!(shop.objects(), [("up/shop/a b+c.csv".to_owned(), FIRST.to_owned())]);
    let online = RunRequest { access: Access::Network, ..request(Mode::Incremental) };
    let run = shop.app.run_as("shop", &online).await;
    assert_eq!((run.status.as_str(), run.counters.inserted), ("success", 1));

    assert_eq!(shop.kept("file=a%20b%2Bc.csv", FIRST).await, (200, "unchanged".into()));
    let refused = problem(shop.send("file=a%20b%2Bc.csv", SECOND).await, 409, "file-exists").await;
    assert!(refused["detail"].as_str().unwrap().contains("replace=true"), "{refused}");
    // As long as the other, and still another.
    problem(shop.send("file=a%20b%2Bc.csv", "id,name\n1,Z\n").await, 409, "file-exists").await;
    assert_eq!(shop.objects()[0].1, FIRST);
    let replaced = shop.kept("file=a%20b%2Bc.csv&replace=true", SECOND).await;
    assert_eq!(replaced, (201, "replaced".into()));
    assert_eq!(shop.objects()[0].1, SECOND);
    assert_eq!(shop.with(|it| it.puts), 2);
    shop.app.database.close().await;
}

#[tokio::test]
async fn of_two_files_that_come_at_once_none_takes_the_others_place() {
    let shop = Shop::open("s3://acme-in/up/**/*.csv").await;
    shop.with(|it| it.quicker = Some(SECOND.into()));
    problem(shop.send("file=a.csv", FIRST).await, 409, "file-exists").await;
    assert_eq!(shop.objects()[0].1, SECOND);
    shop.with(|it| it.quicker = Some(FIRST.into()));
    assert_eq!(shop.kept("file=b.csv", FIRST).await, (200, "unchanged".into()));
    // Whoever wants to replace what is there gets his way, and a service without conditions takes files, too.
    shop.with(|it| it.quicker = Some(SECOND.into()));
    assert_eq!(shop.kept("file=c.csv&replace=true", FIRST).await.0, 201);
    shop.with(|it| it.knows_conditions = false);
    assert_eq!(shop.kept("file=d.csv", FIRST).await, (201, "new".into()));
    assert_eq!(shop.objects()[2..].iter().filter(|(_, body)| body == FIRST).count(), 2);
    shop.app.database.close().await;
}

#[tokio::test]
async fn what_no_run_would_read_and_what_the_bucket_refuses_is_told() {
    let shop = Shop::open("s3://acme-in/elsewhere/*.csv").await;
    let refused = problem(shop.send("file=a.csv", FIRST).await, 422, "unread-file").await;
    assert!(
        refused["detail"].as_str().unwrap().contains("add \"s3://acme-in/up/shop/*.csv\""),
        "{refused}"
    );
    let shop = Shop::open("s3://acme-in/up/shop/*.csv").await;
    let refused = problem(shop.send("file=old1.csv", FIRST).await, 422, "unread-file").await;
    assert!(refused["detail"].as_str().unwrap().contains("files.exclude"), "{refused}");
    let large = "x".repeat(UPLOAD as usize + 1);
    problem(shop.send("file=a.csv", &large).await, 413, "body-too-large").await;
    shop.app.write("secret", "0ther-secret-canary");
    let refused = problem(shop.send("file=a.csv", FIRST).await, 502, "unreadable-source").await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("403") && !detail.contains("canary"), "{refused}");
    assert_eq!(shop.objects(), []);
    shop.app.database.close().await;
}

#[tokio::test]
async fn an_entry_that_leads_to_no_object_fails_the_run_unless_there_may_be_none() {
    let shop = Shop::open("s3://acme-in/up/shop/*.csv").await;
    let online = || RunRequest { access: Access::Network, ..request(Mode::Incremental) };
    let two = shop
        .app
        .read("shop.toml")
        .replace("paths = [", "when_gone = \"tombstone\"\npaths = [\"s3://acme-in/other/*.csv\", ")
        + "\n[missing]\naction = \"tombstone\"\nmax_ratio = 1.0\n";
    shop.app.write("shop.toml", two);
    shop.with(|it| {
        it.objects.insert("up/shop/a.csv".to_owned(), FIRST.into());
        it.objects.insert("other/b.csv".to_owned(), b"id,name\n7,G\n".to_vec());
    });
    let run = shop.app.run_as("shop", &online()).await;
    assert_eq!((run.status.as_str(), run.counters.inserted), ("success", 2), "{run:?}");
    shop.with(|it| it.objects.remove("other/b.csv"));
    let run = shop.app.run_as("shop", &online()).await;
    let error = run.error.clone().unwrap_or_default();
    assert_eq!(run.status.as_str(), "failed", "{run:?}");
    for said in ["there is no file s3://acme-in/other/*.csv", "allow_empty = true"] {
        assert!(error.contains(said), "{error}");
    }
    let deleted = "select count(*) from unified_records where deleted_at is not null";
    assert_eq!(shop.app.number(deleted).await, 0);
    let allowed = shop.app.read("shop.toml").replace("[files]\n", "[files]\nallow_empty = true\n");
    shop.app.write("shop.toml", allowed);
    let run = shop.app.run_as("shop", &online()).await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!(shop.app.number(deleted).await, 1);
    shop.app.database.close().await;
}
