//! Shopify: a GraphQL connection, whose errors come with 200, and which says in its body to wait.

use kasparro::domain::run::RunStatus;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header};

struct Shop {
    products: usize,
    throttle: usize,
}

impl Shop {
    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        assert_eq!(request.method.as_str(), "POST");
        assert_eq!(header(request, "x-shopify-access-token"), "shpat");
        let body: Value = request.body_json().expect("JSON");
        assert!(
            body["query"]
                .as_str()
                .expect("a query")
                .contains("products(first: $first, after: $after")
        );
        let variables = &body["variables"];
        let q = variables["q"].as_str().expect("a text");
        assert!(q.starts_with("updated_at:>='") && q.ends_with("Z'"), "{q}");
        if self.throttle > 0 {
            self.throttle -= 1;
            let error = json!({ "message": "Throttled", "extensions": { "code": "THROTTLED" } });
            return ResponseTemplate::new(200).set_body_json(json!({ "errors": [error] }));
        }
        let first = variables["first"].as_u64().unwrap().min(250) as usize;
        let after = variables.get("after").and_then(Value::as_str);
        let from: usize = after.map_or(0, |cursor| cursor[1..].parse().unwrap());
        let end = (from + first).min(self.products);
        let node = |n: usize| {
            json!({ "id": format!("gid://shopify/Product/{n}"), "title": format!("Product {n}"), "vendor": "V",
                    "updatedAt": "2026-02-01T00:00:00Z", "variants": { "nodes": [{ "id": n, "sku": "s", "price": "1.00" }] } })
        };
        let nodes: Vec<_> = (from..end).map(node).collect();
        let info = json!({ "hasNextPage": end < self.products, "endCursor": format!("c{end}") });
        let data = json!({ "products": { "nodes": nodes, "pageInfo": info } });
        let cost =
            json!({ "requestedQueryCost": 52, "throttleStatus": { "currentlyAvailable": 900.0 } });
        ResponseTemplate::new(200)
            .set_body_json(json!({ "data": data, "extensions": { "cost": cost } }))
    }
}

#[tokio::test]
async fn a_connection_is_read_to_its_end_through_throttling() {
    let shop = Shared::new(Shop { products: 230, throttle: 1 });
    let example = Example::new(&["shopify_products"], {
        let shop = shop.clone();
        move |request| shop.with(|held| held.answer(request))
    })
    .await;
    example.app.write("secrets/SHOPIFY_TOKEN", "shpat");
    let run = example.run("shopify_products").await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 230), "{run:?}");
    assert_eq!(example.requests().await.len(), 4, "three pages, one of which was throttled");
    example.end().await;
}
