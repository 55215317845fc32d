//! CoinGecko: numbered pages of 250 at most, an empty list behind the last, `ETag`.

use kasparro::domain::run::RunStatus;
use serde_json::json;
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header, query};

const COINS: u64 = 612;

fn answer(prices: &Shared<u64>, request: &Request) -> ResponseTemplate {
    assert_eq!(request.url.path(), "/coins/markets");
    let query = query(request);
    assert_eq!((query["vs_currency"].as_str(), query["order"].as_str()), ("usd", "id_asc"));
    let (page, size): (u64, u64) =
        (query["page"].parse().unwrap(), query["per_page"].parse::<u64>().unwrap().min(250));
    let price = prices.with(|price| *price);
    let etag = format!("W/\"{page}-{price}\"");
    if header(request, "if-none-match") == etag {
        return ResponseTemplate::new(304).insert_header("etag", etag.as_str());
    }
    let coins: Vec<_> = ((page - 1) * size..(page * size).min(COINS))
        .map(|id| {
            json!({ "id": format!("coin-{id:04}"), "symbol": "c", "name": format!("Coin {id}"),
                    "current_price": price, "last_updated": "2026-11-27T10:00:00.000Z" })
        })
        .collect();
    ResponseTemplate::new(200).insert_header("etag", etag.as_str()).set_body_json(coins)
}

#[tokio::test]
async fn coins_are_read_to_the_last_page_and_cost_no_body_while_nothing_changes() {
    let prices = Shared::new(7);
    let example = Example::new(&["coingecko"], {
        let prices = prices.clone();
        move |request| answer(&prices, request)
    })
    .await;
    let run = example.run("coingecko").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (612, 612));
    let asked = example.requests().await.len();
    let run = example.run("coingecko").await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (612, 612));
    let again = example.requests().await.split_off(asked);
    let conditional = again.iter().filter(|request| header(request, "if-none-match").is_empty());
    assert_eq!(conditional.count(), 0, "each page is asked for with its ETag");
    prices.with(|price| *price = 8);
    let run = example.run("coingecko").await;
    assert_eq!((run.status, run.counters.updated), (RunStatus::Success, 612), "{run:?}");
    example.end().await;
}
