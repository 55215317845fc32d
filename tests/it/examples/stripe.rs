//! Stripe: the last record's id is the cursor, the newest come first, months are asked for apart.

use kasparro::domain::run::RunStatus;
use serde_json::json;
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header, query};

/// 2023-01-01T00:00:00Z.
const BEGIN: i64 = 1_672_531_200;
const DAY: i64 = 86_400;

/// A charge every six hours of the first days of 2023, by number: when it was created, and its amount.
struct Charges {
    amounts: Vec<i64>,
    refuse: usize,
}

impl Charges {
    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        assert_eq!(request.url.path(), "/charges");
        // The key is the user's name, without a password.
        assert_eq!(header(request, "authorization"), "Basic c2tfdGVzdDo=");
        assert_eq!(header(request, "stripe-version"), "2025-03-31.basil");
        let query = query(request);
        assert_eq!(query["expand[]"], "data.balance_transaction");
        if self.refuse > 0 {
            self.refuse -= 1;
            let error = json!({ "error": { "code": "rate_limit", "message": "Request rate limit exceeded." } });
            return ResponseTemplate::new(429)
                .insert_header("retry-after", "1")
                .set_body_json(error);
        }
        let bound = |name: &str| query.get(name).map(|time| time.parse::<i64>().unwrap());
        let from = bound("created[gte]").unwrap_or(i64::MIN);
        let to = bound("created[lt]").unwrap_or(i64::MAX);
        let limit = query["limit"].parse::<usize>().unwrap().min(100);
        let after = query.get("starting_after").map(|id| id[3..].parse::<usize>().unwrap());
        let created = |n: usize| BEGIN + n as i64 * DAY / 4;
        let numbers = (0..self.amounts.len()).rev().filter(|n| (from..to).contains(&created(*n)));
        let mut rest = numbers.filter(|n| after.is_none_or(|after| *n < after)).peekable();
        let data: Vec<_> = rest
            .by_ref()
            .take(limit)
            .map(|n| {
                json!({ "id": format!("ch_{n}"), "object": "charge", "amount": self.amounts[n],
                        "currency": "eur", "created": created(n), "description": format!("Charge {n}"),
                        "status": "succeeded" })
            })
            .collect();
        let has_more = rest.peek().is_some();
        let body =
            json!({ "object": "list", "url": "/v1/charges", "has_more": has_more, "data": data });
        ResponseTemplate::new(200).set_body_json(body)
    }
}

#[tokio::test]
async fn charges_of_all_months_are_read_newest_first_and_amounts_are_exact() {
    // 150 days: six windows of a month, each more than a page.
    let charges =
        Shared::new(Charges { amounts: (0..600).map(|n| n * 7 + 5).collect(), refuse: 1 });
    let example = Example::new(&["stripe_charges"], {
        let charges = charges.clone();
        move |request| charges.with(|held| held.answer(request))
    })
    .await;
    example.app.write("secrets/STRIPE_KEY", "sk_test");
    let run = example.run("stripe_charges").await;
    assert!(matches!(run.status, RunStatus::Success), "{run:?}");
    assert_eq!(run.counters.inserted, 600, "{run:?}");
    let price = "select price::text from unified_records where external_id = 'ch_1'";
    assert_eq!(example.app.texts(price).await, ["0.12"]);
    let currency = "select distinct currency from unified_records";
    assert_eq!(example.app.texts(currency).await, ["EUR"]);
    let when = "select to_char(source_updated_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') from unified_records \
                where external_id = 'ch_4'";
    assert_eq!(example.app.texts(when).await, ["2023-01-02 00:00"]);
    example.end().await;
}
