//! Fault 10: everybody starts everything at once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::trial::{Figures, Trial};
use crate::app::TestApp;
use crate::process::{Process, free_address, kasparro};

const SOURCES: usize = 10;
const REQUESTS: usize = 1_000;
const CLIENTS: usize = 50;
const BUSY: u16 = 503;

/// An API in a process of its own: its clients' troubles are not the server's.
struct Api {
    app: TestApp,
    address: String,
    _serve: Process,
}

impl Api {
    async fn start() -> Self {
        let app = TestApp::empty().await;
        for source in 0..SOURCES {
            let job = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n";
            app.write(&format!("source_{source}.toml"), job);
        }
        app.write("a.csv", "id,name\n1,one\n");
        let address = free_address();
        let arguments = ["serve", "--offline", "--listen", &address, "--rate-limit", "0"];
        let mut serve = Process::start(kasparro(&app, &arguments));
        serve.says("API listening").await;
        Self { app, address, _serve: serve }
    }
}

/// What became of many requests at once.
struct Told {
    /// How often each answer was given, …
    answers: BTreeMap<u16, usize>,
    /// … and how often a client was told to come again first.
    again: usize,
}

async fn start(api: &Api, requests: usize, key: Option<&str>) -> Told {
    let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
    let send = async |number: usize| {
        let source = if key.is_empty() { number % SOURCES } else { 0 };
        let body = format!("{{\"source\": \"source_{source}\"}}");
        let request = format!(
            "POST /runs HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            api.address,
            body.len()
        );
        let mut again = 0;
        loop {
            let status = ask(&api.address, &request).await.expect("an answer");
            if status != BUSY {
                break (status, again);
            }
            again += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut told = Told { answers: BTreeMap::new(), again: 0 };
    for (status, again) in join_all((0..requests).map(send)).await {
        *told.answers.entry(status).or_default() += 1;
        told.again += again;
    }
    told
}

/// A client of few words: a thousand that are cleverer need longer on one thread of a busy machine
/// than the API waits for a word.
async fn ask(address: &str, request: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other(answer))
}

#[tokio::test]
async fn a_thousand_requests_for_ten_sources_start_ten_runs() {
    let api = Api::start().await;
    let told = start(&api, REQUESTS, None).await;
    let expected = [(202, SOURCES), (409, REQUESTS - SOURCES)];
    assert_eq!(told.answers, BTreeMap::from(expected));
    let active = "select count(*) || ' of ' || count(distinct source) from etl_runs";
    assert_eq!(api.app.texts(active).await, ["10 of 10"]);
    Trial {
        number: "10a",
        fault: "1,000 `POST /runs` at once for ten sources",
        promised: "one active run per source; everyone is answered 202 or 409, or told with a 503 to \
                   come again",
    }
    .held(&Figures {
        rounds: 1,
        observed: format!("10 × 202, {} × 409, {} × 503 before", REQUESTS - SOURCES, told.again),
    });
    api.app.database.close().await;
}

#[tokio::test]
async fn one_idempotency_key_from_fifty_clients_makes_one_run() {
    let api = Api::start().await;
    let told = start(&api, CLIENTS, Some("the same")).await;
    let expected = [(202, 1), (200, CLIENTS - 1)];
    assert_eq!(told.answers, BTreeMap::from(expected));
    assert_eq!(api.app.number("select count(*) from etl_runs").await, 1);
    Trial {
        number: "10b",
        fault: "one `Idempotency-Key` from 50 clients at once",
        promised: "one run; every client gets its id",
    }
    .held(&Figures { rounds: 1, observed: format!("1 × 202, {} × 200", CLIENTS - 1) });
    api.app.database.close().await;
}
