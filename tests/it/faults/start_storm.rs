//! Fault 10: everybody starts everything at once.

use std::collections::BTreeMap;

use futures::future::join_all;
use kasparro::api::{Admission, WithoutToken};
use reqwest::StatusCode;
use serde_json::json;

use super::trial::{Figures, Trial};
use crate::api::TestApi;

const SOURCES: usize = 10;
const REQUESTS: usize = 1_000;
const CLIENTS: usize = 50;

async fn api() -> TestApi {
    let admission = Admission { without_token: WithoutToken::ThisMachine, rate: None };
    let api = TestApi::admitting(admission).await;
    for source in 0..SOURCES {
        let job = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n";
        api.app.write(&format!("source_{source}.toml"), job);
    }
    api.app.write("a.csv", "id,name\n1,one\n");
    api
}

/// How often each status was answered.
async fn start(api: &TestApi, requests: usize, key: Option<&str>) -> BTreeMap<StatusCode, usize> {
    let send = async |number: usize| {
        let source = if key.is_some() { 0 } else { number % SOURCES };
        let mut request = api.client.post(api.url("/runs"));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let body = json!({ "source": format!("source_{source}") });
        // The API has a bound on connections, and the system on ports.
        request.json(&body).send().await.expect("an answer").status()
    };
    let mut answers = BTreeMap::new();
    for status in join_all((0..requests).map(send)).await {
        *answers.entry(status).or_default() += 1;
    }
    answers
}

#[tokio::test]
async fn a_thousand_requests_for_ten_sources_start_ten_runs() {
    let api = api().await;
    let answers = start(&api, REQUESTS, None).await;
    let expected = [(StatusCode::ACCEPTED, SOURCES), (StatusCode::CONFLICT, REQUESTS - SOURCES)];
    assert_eq!(answers, BTreeMap::from(expected));
    let active = "select count(*) || ' of ' || count(distinct source) from etl_runs";
    assert_eq!(api.app.texts(active).await, ["10 of 10"]);
    Trial {
        number: "10a",
        fault: "1,000 `POST /runs` at once for ten sources",
        promised: "one active run per source; everyone is answered 202 or 409",
    }
    .held(&Figures { rounds: 1, observed: format!("10 × 202, {} × 409", REQUESTS - SOURCES) });
    api.app.database.close().await;
}

#[tokio::test]
async fn one_idempotency_key_from_fifty_clients_makes_one_run() {
    let api = api().await;
    let answers = start(&api, CLIENTS, Some("the same")).await;
    let expected = [(StatusCode::ACCEPTED, 1), (StatusCode::OK, CLIENTS - 1)];
    assert_eq!(answers, BTreeMap::from(expected));
    assert_eq!(api.app.number("select count(*) from etl_runs").await, 1);
    Trial {
        number: "10b",
        fault: "one `Idempotency-Key` from 50 clients at once",
        promised: "one run; everyone is told which",
    }
    .held(&Figures { rounds: 1, observed: format!("1 × 202, {} × 200", CLIENTS - 1) });
    api.app.database.close().await;
}
