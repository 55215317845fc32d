//! WooCommerce: numbered pages whose number a header tells, 400 behind the last, orders whose lines are the
//! records, and orders that are gone.

use kasparro::domain::run::{Mode, RunStatus};
use serde_json::json;
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header, query};

fn modified(n: u32) -> String {
    format!("2026-03-{:02}T{:02}:{:02}:00", 1 + n / 1440, n / 60 % 24, n % 60)
}

/// Orders by number and the minute in which they were modified; each has two lines.
fn answer(orders: &[(u32, u32)], request: &Request) -> ResponseTemplate {
    assert_eq!(request.url.path(), "/orders");
    assert_eq!(header(request, "authorization"), "Basic Y2s6Y3M=");
    let query = query(request);
    assert_eq!((query["orderby"].as_str(), query["dates_are_gmt"].as_str()), ("modified", "true"));
    let after = query.get("modified_after").cloned().unwrap_or_default();
    let mut all: Vec<_> = orders.iter().filter(|(_, when)| modified(*when) > after).collect();
    all.sort_by_key(|(number, when)| (*when, *number));
    let page: usize = query["page"].parse().unwrap();
    let size = query["per_page"].parse::<usize>().unwrap().min(100);
    let pages = all.len().div_ceil(size);
    if page > pages.max(1) {
        let error = json!({ "code": "rest_post_invalid_page_number", "data": { "status": 400 },
                            "message": "The page number requested is larger than the number of pages available." });
        return ResponseTemplate::new(400).set_body_json(error);
    }
    let orders: Vec<_> = all
        .iter()
        .skip((page - 1) * size)
        .take(size)
        .map(|(number, when)| {
            let line = |n: u32| {
                json!({ "id": number * 10 + n, "name": format!("Part {n}"), "price": 1.5, "quantity": n })
            };
            json!({ "id": number, "currency": "EUR", "date_modified_gmt": modified(*when),
                    "line_items": [line(1), line(2)] })
        })
        .collect();
    ResponseTemplate::new(200)
        .insert_header("x-wp-total", all.len().to_string().as_str())
        .insert_header("x-wp-totalpages", pages.to_string().as_str())
        .set_body_json(orders)
}

#[tokio::test]
async fn lines_of_all_orders_are_records_and_those_of_orders_that_are_gone_go_with_the_second_sweep()
 {
    let orders = Shared::new((1..=430).map(|n| (n, n)).collect::<Vec<_>>());
    let example = Example::new(&["woo_orders"], {
        let orders = orders.clone();
        move |request| orders.with(|held| answer(held, request))
    })
    .await;
    example.app.write("secrets/WC_KEY", "ck");
    example.app.write("secrets/WC_SECRET", "cs");
    let run = example.run("woo_orders").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (860, 860));
    let order = "select attributes ->> 'order' from unified_records where name = 'Part 2' order by 1 limit 1";
    assert_eq!(example.app.texts(order).await, ["1"]);

    // Behind the watermark, less a minute, and one more for a bound that excludes: two orders.
    let asked = example.requests().await.len();
    let run = example.run("woo_orders").await;
    assert!(run.counters.rows_read <= 8 && run.counters.updated == 0, "{run:?}");
    assert!(example.requests().await.len() - asked <= 3);

    orders.with(|held| held.retain(|(number, _)| *number != 17));
    let gone = "select count(*) from unified_records where deleted_at is not null";
    for (sweep, expected) in [(1, 0), (2, 2)] {
        let run = example.run_mode("woo_orders", Mode::Full).await;
        assert_eq!(example.app.number(gone).await, expected, "sweep {sweep}: {run:?}");
    }
    example.end().await;
}
